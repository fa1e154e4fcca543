from hypothesis import example, given
from hypothesis import strategies as st

from gateway.notifications.filter import predicate, scope, takes_all
from gateway.ports import Event, EventKind, Scope
from issuer.consumer.v1 import operation_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds
from tests.fakes import ISSUER, a_consumer_event, an_event

Filter = notification.NotificationFilter
OfThreeDS, OfConsumers = notification.ThreeDSOperationFilter, notification.ConsumerOperationFilter
THREE_DS, CONSUMER = EventKind.THREE_DS_OPERATION, EventKind.CONSUMER_OPERATION
FRICTIONLESS = threeds.THREE_DS_OPERATION_TYPE_FRICTIONLESS
UNKNOWN, UNKNOWN_CONSUMER = threeds.THREE_DS_OPERATION_TYPE_UNSPECIFIED, consumer.CONSUMER_OPERATION_TYPE_UNSPECIFIED

issuers = st.sampled_from([ISSUER, "ISSUER0002"])
# A consumer may have the same id as a card.
cards = st.sampled_from(["card-a", "card-b"])
consumers = st.sampled_from(["consumer-a", "card-a"])
types = st.sampled_from(threeds.ThreeDSOperationType.values())
statuses = st.sampled_from(threeds.ThreeDSOperationStatus.values())
consumer_types = st.sampled_from(consumer.ConsumerOperationType.values())
consumer_statuses = st.sampled_from(consumer.ConsumerOperationStatus.values())

events = st.builds(
    an_event,
    st.integers(1, 3),
    issuer_id=issuers,
    card_id=cards,
    consumer_id=st.just("") | consumers,
    operation_type=types,
    status=statuses,
    recovered=st.booleans(),
) | st.builds(
    a_consumer_event,
    st.integers(1, 3),
    issuer_id=issuers,
    consumer_id=consumers,
    operation_type=consumer_types,
    status=consumer_statuses,
)
filters = st.builds(
    Filter,
    card_ids=st.lists(cards, max_size=2),
    consumer_ids=st.lists(consumers, max_size=2),
    operation_ids=st.lists(st.sampled_from(["op-1", "op-2"]), max_size=2),
    three_ds_operations=st.none()
    | st.builds(OfThreeDS, types=st.lists(types, max_size=2), statuses=st.lists(statuses, max_size=2)),
    consumer_operations=st.none()
    | st.builds(
        OfConsumers, types=st.lists(consumer_types, max_size=2), statuses=st.lists(consumer_statuses, max_size=2)
    ),
    recovered=st.none() | st.booleans(),
)


def agrees(wanted: Filter, event: Event) -> bool:
    """Tell the same from the notification itself, as who reads the contract would."""
    taken = notification.Notification.FromString(event.payload)
    if taken.issuer_id != ISSUER or (wanted.consumer_ids and taken.consumer_id not in wanted.consumer_ids):
        return False
    if (wanted.card_ids and taken.card_id not in wanted.card_ids) or (
        wanted.HasField("recovered") and taken.recovered is not wanted.recovered
    ):
        return False
    kind = taken.WhichOneof("event")
    assert kind is not None
    operation = getattr(taken, kind)
    if wanted.operation_ids and operation.operation_id not in wanted.operation_ids:
        return False
    if not (wanted.HasField("three_ds_operations") or wanted.HasField("consumer_operations")):
        return True
    if not wanted.HasField(f"{kind}s"):  # type: ignore[arg-type]  # one of the two above
        return False
    of_kind = getattr(wanted, f"{kind}s")
    return (not of_kind.types or operation.type in of_kind.types) and (
        not of_kind.statuses or operation.status in of_kind.statuses
    )


@given(event=events, wanted=filters)
@example(an_event(1, issuer_id="ISSUER0002"), Filter())
@example(a_consumer_event(1, issuer_id="ISSUER0002"), Filter())
@example(an_event(1), Filter())
@example(a_consumer_event(1), Filter())
@example(an_event(1, consumer_id=""), Filter(consumer_ids=["consumer-a"]))
@example(an_event(1, card_id="card-a"), Filter(card_ids=["card-a"]))
@example(a_consumer_event(1, consumer_id="card-a"), Filter(card_ids=["card-a"]))
@example(a_consumer_event(1), Filter(three_ds_operations=OfThreeDS(types=[FRICTIONLESS])))
@example(a_consumer_event(1), Filter(three_ds_operations=OfThreeDS()))
@example(an_event(1), Filter(consumer_operations=OfConsumers()))
@example(a_consumer_event(1), Filter(consumer_operations=OfConsumers()))
@example(
    a_consumer_event(1),
    Filter(three_ds_operations=OfThreeDS(types=[FRICTIONLESS]), consumer_operations=OfConsumers()),
)
@example(an_event(1), Filter(three_ds_operations=OfThreeDS(types=[UNKNOWN])))
@example(an_event(1, operation_type=UNKNOWN), Filter(three_ds_operations=OfThreeDS(types=[UNKNOWN])))
@example(a_consumer_event(1), Filter(consumer_operations=OfConsumers(types=[UNKNOWN_CONSUMER])))
@example(
    a_consumer_event(1, operation_type=UNKNOWN_CONSUMER),
    Filter(consumer_operations=OfConsumers(types=[UNKNOWN_CONSUMER])),
)
@example(an_event(1), Filter(recovered=True))
@example(an_event(1), Filter(recovered=False))
@example(an_event(1, recovered=True), Filter())
@example(an_event(1, recovered=True), Filter(recovered=False))
@example(a_consumer_event(1), Filter(recovered=False))
def test_an_event_passes_if_its_issuer_and_every_list_that_speaks_of_it_agree(event: Event, wanted: Filter) -> None:
    assert predicate(ISSUER, wanted)(event) is agrees(wanted, event)


@given(event=events, wanted=filters)
def test_nothing_that_passes_is_out_of_the_scope(event: Event, wanted: Filter) -> None:
    found = scope(ISSUER, wanted)
    is_inside = (
        found.issuer_id == event.issuer_id
        and found.kind in (None, event.kind)
        and found.subject_id in (None, event.subject_id)
    )

    assert is_inside or not predicate(ISSUER, wanted)(event)


def test_a_filter_that_names_one_card_or_one_consumer_of_the_consumers_kind_has_that_as_its_scope() -> None:
    one_card = Filter(card_ids=["card-a", "card-a"])
    two_cards = Filter(card_ids=["card-a", "card-b"])
    one_consumer = Filter(consumer_ids=["consumer-a"], consumer_operations=OfConsumers())
    consumer_of_any_kind = Filter(consumer_ids=["consumer-a"])

    assert scope(ISSUER, one_card) == Scope(ISSUER, THREE_DS, "card-a")
    assert scope(ISSUER, two_cards) == Scope(ISSUER, THREE_DS)
    assert scope(ISSUER, one_consumer) == Scope(ISSUER, CONSUMER, "consumer-a")
    assert scope(ISSUER, consumer_of_any_kind) == Scope(ISSUER)


def test_a_filter_that_is_changed_afterwards_changes_nothing() -> None:
    wanted = Filter(card_ids=["card-a"], three_ds_operations=OfThreeDS())
    passes = predicate(ISSUER, wanted)

    wanted.card_ids.append("card-b")
    wanted.three_ds_operations.statuses.append(threeds.THREE_DS_OPERATION_STATUS_FAILED)

    assert not passes(an_event(1, card_id="card-b"))


def test_who_asks_for_the_same_gets_the_same_test_and_who_asks_for_something_else_another() -> None:
    def asked(issuer_id: str = ISSUER, *cards: str, recovered: bool | None = None) -> object:
        return predicate(issuer_id, Filter(card_ids=cards, recovered=recovered))

    assert asked(ISSUER, "card-a") is asked(ISSUER, "card-a")
    different = [asked(), asked(ISSUER, "card-a"), asked(ISSUER, "card-b"), asked("ISSUER0002", "card-a")]
    different += [asked(recovered=False), asked(recovered=True)]
    assert len(set(different)) == 6


def test_only_a_filter_that_names_nothing_takes_all() -> None:
    assert takes_all(Filter())
    for wanted in (
        Filter(card_ids=["card-a"]),
        Filter(consumer_ids=["consumer-a"]),
        Filter(operation_ids=["op-1"]),
        Filter(three_ds_operations=OfThreeDS()),
        Filter(consumer_operations=OfConsumers()),
        Filter(recovered=True),
        Filter(recovered=False),
    ):
        assert not takes_all(wanted), wanted
