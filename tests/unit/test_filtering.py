from hypothesis import given
from hypothesis import strategies as st

from gateway.filtering import predicate
from gateway.ports import Event
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds
from tests.fakes import ISSUER, an_event

cards = st.sampled_from(["card-a", "card-b"])
consumers = st.sampled_from(["", "consumer-a", "consumer-b"])
types = st.sampled_from(threeds.OperationType.values())
statuses = st.sampled_from(threeds.OperationStatus.values())

events = st.builds(
    an_event,
    st.integers(1, 3),
    issuer_id=st.sampled_from([ISSUER, "ISSUER0002"]),
    card_id=cards,
    consumer_id=consumers,
    operation_type=types,
    status=statuses,
)
filters = st.builds(
    notification.NotificationFilter,
    card_ids=st.lists(cards, max_size=2),
    consumer_ids=st.lists(consumers.filter(bool), max_size=2),
    operation_types=st.lists(types, max_size=2),
    statuses=st.lists(statuses, max_size=2),
    operation_ids=st.lists(st.sampled_from(["op-1", "op-2"]), max_size=2),
)


@given(event=events, wanted=filters)
def test_an_event_passes_if_its_issuer_and_every_list_that_is_not_empty_agree(
    event: Event, wanted: notification.NotificationFilter
) -> None:
    expected = (
        event.issuer_id == ISSUER
        and (not wanted.card_ids or event.card_id in wanted.card_ids)
        and (not wanted.consumer_ids or event.consumer_id in wanted.consumer_ids)
        and (not wanted.operation_types or event.operation_type in wanted.operation_types)
        and (not wanted.statuses or event.status in wanted.statuses)
        and (not wanted.operation_ids or event.operation_id in wanted.operation_ids)
    )

    assert predicate(ISSUER, wanted)(event) is expected


def test_without_a_filter_everything_of_the_issuer_passes_and_nothing_of_another() -> None:
    passes = predicate(ISSUER, notification.NotificationFilter())

    assert passes(an_event(1))
    assert not passes(an_event(1, issuer_id="ISSUER0002"))


def test_a_notification_without_a_consumer_matches_no_consumer() -> None:
    passes = predicate(ISSUER, notification.NotificationFilter(consumer_ids=["consumer-a"]))

    assert not passes(an_event(1, consumer_id=""))


def test_kinds_that_are_not_known_can_be_asked_for() -> None:
    wanted = notification.NotificationFilter(operation_types=[threeds.OPERATION_TYPE_UNSPECIFIED])
    passes = predicate(ISSUER, wanted)

    assert passes(an_event(1, operation_type=threeds.OPERATION_TYPE_UNSPECIFIED))
    assert not passes(an_event(1, operation_type=threeds.OPERATION_TYPE_FRICTIONLESS))


def test_a_filter_that_is_changed_afterwards_changes_nothing() -> None:
    wanted = notification.NotificationFilter(card_ids=["card-a"])
    passes = predicate(ISSUER, wanted)

    wanted.card_ids.append("card-b")

    assert not passes(an_event(1, card_id="card-b"))
