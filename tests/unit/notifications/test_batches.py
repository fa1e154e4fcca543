"""Batches: the bytes that are sent, and who shares them."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from gateway.notifications import batch_encoding, cursor
from gateway.notifications.batch_cache import BatchCache, Selection
from gateway.notifications.filter import Predicate, predicate
from gateway.ports import LogBounds, Payloads, Read, StoredEvent
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds
from tests.fakes import ISSUER, an_event
from tests.unit.notifications.watches import only

LOG_ID = "0a1b2c3d"
ACTIVE = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)


def everything() -> Predicate:
    return predicate(ISSUER, notification.NotificationFilter())


def stored(first: int, last: int) -> Payloads:
    numbers = range(first, last + 1)
    return Payloads(numbers, [an_event(number).payload for number in numbers], last, LogBounds(0, last))


def test_watchers_share_batches_if_they_want_the_same_position_filter_size_and_token() -> None:
    cache = BatchCache(LOG_ID)
    made = cache.make(0, Selection(everything(), 100, ACTIVE), stored(1, 3))
    fenced = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE, 7)

    assert cache.find(0, Selection(everything(), 100, ACTIVE)) is made
    assert cache.find(1, Selection(everything(), 100, ACTIVE)) is None
    assert cache.find(0, Selection(only("card-a"), 100, ACTIVE)) is None
    assert cache.find(0, Selection(everything(), 99, ACTIVE)) is None
    assert cache.find(0, Selection(everything(), 100, fenced)) is None


def test_an_empty_read_is_not_cached_as_more_may_follow() -> None:
    cache = BatchCache(LOG_ID)

    cache.make(3, Selection(everything(), 100, ACTIVE), stored(4, 3))

    assert cache.find(3, Selection(everything(), 100, ACTIVE)) is None


def test_old_batches_are_evicted_for_new_ones() -> None:
    cache = BatchCache(LOG_ID)
    wanted = Selection(everything(), 100, ACTIVE)

    for number in range(1, 101):
        cache.make(number - 1, wanted, stored(number, number))

    kept = [place for place in range(100) if cache.find(place, wanted)]
    assert kept == list(range(92, 100))


@given(cards=st.lists(st.sampled_from(["card-a", "card-b"]), max_size=40), most=st.integers(1, 7))
def test_batches_hold_in_order_what_is_wanted_and_their_cursors_join(cards: list[str], most: int) -> None:
    events = [StoredEvent(number, an_event(number, card_id=card)) for number, card in enumerate(cards, start=1)]
    through = len(events) + 2
    read = Read(events, through, LogBounds(0, through))

    batches = BatchCache(LOG_ID).make(0, Selection(only("card-a"), most, ACTIVE), Payloads.of(read, only("card-a")))
    messages = [notification.WatchNotificationsResponse.FromString(each.content) for each in batches.batches]

    expected = [f"op-{number}" for number, card in enumerate(cards, start=1) if card == "card-a"]
    received = [[each.three_ds_operation.operation_id for each in message.notifications] for message in messages]
    places = [int(message.cursor.removeprefix(f"{LOG_ID}-")) for message in messages]
    assert [operation for batch in received for operation in batch] == expected
    assert [len(batch) for batch in received] == [message.size for message in batches.batches]
    assert all(1 <= len(batch) <= most for batch in received)
    assert all(before < after for before, after in pairwise(places))
    assert places[-1:] in ([], [through])
    assert batches.through == through


ROLES = [notification.WATCHER_ROLE_ACTIVE, notification.WATCHER_ROLE_STANDBY]


@st.composite
def notifications(draw: st.DrawFn) -> notification.Notification:
    made = notification.Notification(
        issuer_id=draw(st.text(max_size=10)),
        card_id=draw(st.text(max_size=48)),
        correlation_id=draw(st.text(max_size=64)),
    )
    made.receive_time.FromMilliseconds(draw(st.integers(0, 2**41)))
    if draw(st.booleans()):
        operation = made.three_ds_operation
        operation.operation_id = draw(st.text(max_size=300))
        operation.type = draw(st.sampled_from(threeds.ThreeDSOperationType.values()))
        operation.error = draw(st.text(max_size=300))
        operation.unrecognized.update(draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)))
    return made


@given(
    made=st.lists(notifications(), max_size=8),
    start=st.integers(0, 2**62),
    beyond=st.integers(0, 1000),
    role=st.sampled_from(ROLES),
    fencing_token=st.integers(0, 2**64 - 1),
)
@example(  # Cursors of different lengths.
    made=[notification.Notification()] * 4, start=97, beyond=0, role=notification.WATCHER_ROLE_ACTIVE, fencing_token=0
)
@example(made=[], start=0, beyond=7, role=notification.WATCHER_ROLE_STANDBY, fencing_token=0)  # A heartbeat.
def test_the_bytes_of_a_batch_are_those_of_the_message_they_stand_for(
    made: list[notification.Notification],
    start: int,
    beyond: int,
    role: "notification.WatcherRole.ValueType",
    fencing_token: int,
) -> None:
    sequences = range(start + 1, start + 1 + len(made))
    payloads = [each.SerializeToString() for each in made]
    last = start + len(made) + beyond
    expected = notification.WatchNotificationsResponse(
        cursor=cursor.encode(LOG_ID, last), role=role, fencing_token=fencing_token
    )
    for sequence, each in zip(sequences, made, strict=True):
        added = expected.notifications.add()
        added.CopyFrom(each)
        added.cursor = cursor.encode(LOG_ID, sequence)

    sent = batch_encoding.batch(LOG_ID, sequences, payloads, last, batch_encoding.watcher_fields(role, fencing_token))

    assert notification.WatchNotificationsResponse.FromString(sent) == expected
    assert all(payload in sent for payload in payloads)


def test_a_payload_keeps_fields_that_this_version_does_not_know() -> None:
    unknown = bytes([0xFA, 0x07, 0x03]) + b"new"  # field 127, three bytes
    payload = an_event(1).payload + unknown

    sent = batch_encoding.batch(LOG_ID, [1], [payload], 1, ACTIVE)

    (received,) = notification.WatchNotificationsResponse.FromString(sent).notifications
    assert received.three_ds_operation.operation_id == "op-1"
    assert unknown in received.SerializeToString()


def test_a_payload_of_any_length_is_framed() -> None:
    for length in (0, 1, 90, 110, 127, 128, 16_300, 16_384, 70_000):
        text = "x" * length
        payload = notification.Notification(correlation_id=text).SerializeToString()

        sent = batch_encoding.batch(LOG_ID, [1, 2], [payload] * 2, 2, ACTIVE)

        received = notification.WatchNotificationsResponse.FromString(sent)
        assert [each.correlation_id for each in received.notifications] == [text, text]
