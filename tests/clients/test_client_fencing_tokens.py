"""A watch's handling of fencing tokens, and its return to standby."""

from d1_gateway_client._watching import Progress
from d1_gateway_client.contracts.issuer.notification.v1 import (
    CommitCursorRequest,
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


def committed(progress: Progress, cursor: str | None = None) -> tuple[str, int]:
    """Return the cursor and the fencing token of a commit; None: of all that was handed out."""
    request = progress.commit(None if cursor is None else Notification(cursor=cursor))
    assert isinstance(request, CommitCursorRequest)
    return request.cursor, request.fencing_token


def test_a_commit_has_the_fencing_token_under_which_its_notification_was_received() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2", cursor="3"))
    assert handed_out(progress) == ["1", "2"]
    progress.request()
    progress.take(active(9, cursor="0"))

    # Not yet received again: if the subscription was reset meanwhile, this must not undo it.
    assert committed(progress) == ("3", 7)
    assert committed(progress, "1") == ("1", 7)

    progress.take(active(9, "1", "2", cursor="3"))
    assert handed_out(progress) == []
    assert committed(progress) == ("3", 9)
    assert committed(progress, "1") == ("1", 9)


def test_a_commit_that_is_repeated_has_the_same_fencing_token() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2"))
    assert handed_out(progress) == ["1", "2"]
    progress.committed(Notification(cursor="1"))
    progress.request()
    progress.take(active(9, cursor="1"))

    assert committed(progress, "1") == ("1", 7)


def test_after_a_reset_backwards_notifications_are_handed_out_once_more() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2", "3", "4"))
    assert handed_out(progress) == ["1", "2", "3", "4"]
    progress.committed(Notification(cursor="2"))
    progress.request()

    progress.take(active(9, cursor="0"))
    progress.take(active(9, "1", "2", "3", "4", "5"))

    assert handed_out(progress) == ["1", "2", "3", "4", "5"]
    assert committed(progress) == ("5", 9)


def test_a_commit_whose_response_was_lost_makes_nothing_come_twice() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2", "3"))
    assert handed_out(progress) == ["1", "2", "3"]
    progress.request()

    # The gateway has committed 1.
    progress.take(active(9, "2", "3", "4"))

    assert handed_out(progress) == ["4"]
    progress.request()
    progress.take(active(11, "2", "3", "4", "5"))
    assert handed_out(progress) == ["5"]


def test_what_was_committed_elsewhere_does_not_hold_up_the_cursor() -> None:
    progress = a_subscription()
    progress.take(active(7, "1", "2"))
    assert handed_out(progress) == ["1", "2"]
    progress.request()

    progress.take(active(9, "3", cursor="4"))

    assert handed_out(progress) == ["3"]
    assert committed(progress) == ("4", 9)
