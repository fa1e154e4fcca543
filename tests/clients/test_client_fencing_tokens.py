"""A watch's handling of fencing tokens, and its return to standby."""

from d1_gateway_client._watching import Progress
from d1_gateway_client.contracts.issuer.notification.v1 import (
    Notification,
    WatcherRole,
    WatchNotificationsRequest,
    WatchNotificationsResponse,
)


def active(fencing_token: int, *cursors: str, cursor: str = "") -> WatchNotificationsResponse:
    return WatchNotificationsResponse(
        notifications=[Notification(cursor=each) for each in cursors],
        cursor=cursor or cursors[-1],
        role=WatcherRole.ACTIVE,
        fencing_token=fencing_token,
    )


def standby(cursor: str) -> WatchNotificationsResponse:
    return WatchNotificationsResponse(cursor=cursor, role=WatcherRole.STANDBY)


def handed_out(progress: Progress) -> list[str]:
    received = []
    while (notification := progress.next()) is not None:
        received.append(notification.cursor)
    return received


def a_subscription() -> Progress:
    return Progress(WatchNotificationsRequest(subscription="fraud"))


def test_a_batch_with_a_smaller_fencing_token_is_dropped() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2"))
    assert handed_out(progress) == ["1", "2"]
    progress.take(active(8, "3"))
    assert handed_out(progress) == ["3"]

    progress.take(active(7, "4"))

    assert handed_out(progress) == []
    assert (progress.cursor, progress.fencing_token) == ("3", 8)


def test_standing_by_keeps_the_highest_fencing_token() -> None:
    progress = a_subscription()
    progress.take(active(7, "1"))

    progress.take(standby("0"))

    assert (progress.role, progress.fencing_token) == (WatcherRole.STANDBY, 7)


def test_a_watch_without_a_subscription_drops_nothing() -> None:
    progress = Progress(WatchNotificationsRequest())
    for cursor in ("1", "2"):
        progress.take(active(0, cursor))
        assert handed_out(progress) == [cursor]

    assert progress.fencing_token == 0


def test_what_comes_again_after_standing_by_is_not_handed_out_twice() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2", "3"))
    assert handed_out(progress) == ["1", "2", "3"]
    progress.take(standby("1"))
    assert progress.cursor == "3", "a commit must now cover everything handed out"
    progress.take(active(9, cursor="1"))
    assert progress.cursor == "3"
    progress.take(active(9, "2", "3", "4"))

    assert handed_out(progress) == ["4"]
    assert progress.cursor == "4"
