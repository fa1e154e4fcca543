"""Checks the results of a load."""

from tests.e2e.watching import operation_ids
from tests.fault.cluster.load import Load

__all__ = ["check"]


def check(load: Load, *, most_cancelled: int = 0) -> None:
    """Check that nothing acknowledged was lost, nothing delivered twice or out of order, and no call failed.

    Some calls may have been cancelled: they arrived just as a gateway started to drain.
    """
    stored = operation_ids(load.stored)
    assert len(stored) == len(set(stored)), "something is in the log twice"
    assert set(stored) <= load.posts.sent, "something is in the log that was never posted"
    for card_id, acknowledged in load.posts.acknowledged.items():
        of_card = operation_ids(each for each in load.stored if each.card_id == card_id)
        lost = set(acknowledged) - set(of_card)
        assert not lost, f"acknowledged, and lost: {lost}"
        known = set(acknowledged)
        assert [each for each in of_card if each in known] == acknowledged, f"{card_id} is out of order"
    _check_watchers(load, stored)
    assert load.calls.cancelled_count <= most_cancelled, "calls were cut off"
    assert not load.calls.failures, f"a caller failed: {load.calls.failures}"
    errors = load.stage.errors() - load.errors_before
    assert not errors, f"logged as errors: {errors}"


def _check_watchers(load: Load, stored: list[str]) -> None:
    for follower in load.followers:
        assert follower.operation_ids == stored, "a watcher missed something, or saw it twice or out of order"
    of_card = operation_ids(each for each in load.stored if each.card_id == load.posts.cards[0])
    assert load.card_follower.operation_ids == of_card, "the watcher of a card missed something, or saw it twice"
    for found in load.rereads:
        assert found == stored[: len(found)], "what was read again was not the same"
    places = {load.begin: 0} | {each.cursor: place for place, each in enumerate(load.stored, 1)}
    for subscription in load.subscriptions:
        subscription.check(places, stored)
