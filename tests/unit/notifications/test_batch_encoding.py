from hypothesis import example, given
from hypothesis import strategies as st

from gateway.notifications import batch_encoding, cursor
from gateway.ports import StoredEvent
from issuer.notification.v1 import messages_pb2 as notification
from issuer.threeds.v1 import operation_pb2 as threeds
from tests.fakes import an_event

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
        operation.type = draw(st.sampled_from(threeds.OperationType.values()))
        operation.error = draw(st.text(max_size=300))
        operation.unrecognized.update(draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)))
    return made


def stored(sequence: int, payload: bytes) -> StoredEvent:
    return StoredEvent(sequence, an_event(1)._replace(payload=payload))


@given(
    made=st.lists(notifications(), max_size=8),
    start=st.integers(0, 2**62),
    beyond=st.integers(0, 1000),
    role=st.sampled_from(ROLES),
    fence=st.integers(0, 2**64 - 1),
)
@example(made=[], start=0, beyond=7, role=notification.WATCHER_ROLE_STANDBY, fence=0)  # A heartbeat.
def test_the_bytes_of_a_batch_are_those_of_the_message_they_stand_for(
    made: list[notification.Notification],
    start: int,
    beyond: int,
    role: "notification.WatcherRole.ValueType",
    fence: int,
) -> None:
    events = [stored(start + place, each.SerializeToString()) for place, each in enumerate(made, start=1)]
    last = start + len(made) + beyond
    expected = notification.WatchNotificationsResponse(cursor=cursor.encode("0a1b2c3d", last), role=role, fence=fence)
    for event, each in zip(events, made, strict=True):
        added = expected.notifications.add()
        added.CopyFrom(each)
        added.cursor = cursor.encode("0a1b2c3d", event.sequence)

    sent = batch_encoding.batch("0a1b2c3d", events, last, batch_encoding.watcher_fields(role, fence))

    assert notification.WatchNotificationsResponse.FromString(sent) == expected
    assert all(event.event.payload in sent for event in events)


def test_a_payload_keeps_fields_that_this_version_does_not_know() -> None:
    unknown = bytes([0xFA, 0x07, 0x03]) + b"new"  # field 127, three bytes
    payload = an_event(1).payload + unknown

    sent = batch_encoding.batch(
        "0a1b2c3d", [stored(1, payload)], 1, batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)
    )

    (received,) = notification.WatchNotificationsResponse.FromString(sent).notifications
    assert received.three_ds_operation.operation_id == "op-1"
    assert unknown in received.SerializeToString()


def test_a_payload_of_any_length_is_framed() -> None:
    for length in (0, 1, 90, 110, 127, 128, 16_300, 16_384, 70_000):
        text = "x" * length
        payload = notification.Notification(correlation_id=text).SerializeToString()

        sent = batch_encoding.batch(
            "0a1b2c3d", [stored(1, payload)] * 2, 1, batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)
        )

        received = notification.WatchNotificationsResponse.FromString(sent)
        assert [each.correlation_id for each in received.notifications] == [text, text]
