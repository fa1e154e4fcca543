"""Checks and reports the results of a load."""

from tests.e2e.watching import operation_ids
from tests.fault.cluster.callbacks import IN_TIME_SECONDS
from tests.fault.cluster.load import Load

__all__ = ["check", "report"]

_MAX_REJECTION_SECONDS = 2.0 + 2.5
"""The default time limit of NATS, and a margin for a busy machine. D1 waits for 5 s."""


def check(load: Load, *, most_cancelled: int = 0) -> None:
    """Check that nothing acknowledged was lost, nothing delivered twice or out of order, and no call failed.

    Args:
        load: The load.
        most_cancelled: The number of calls that may have arrived just as a gateway started to drain.
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
    assert load.posts.slowest_rejection_seconds < _MAX_REJECTION_SECONDS, "an error response took too long"
    assert not load.calls.failures, f"a caller failed: {load.calls.failures}"
    assert load.callbacks.slowest_seconds < IN_TIME_SECONDS, "a callback got neither a reply nor its fallback in time"
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


def report(load: Load, seed: str, **seconds: list[float]) -> None:
    """Print the figures.

    Args:
        load: The load.
        seed: The seed of all random choices.
        seconds: Further measurements.
    """
    posts, calls, callbacks = load.posts, load.calls, load.callbacks
    followers = (*load.followers, load.card_follower)
    figures = {
        "seed": seed,
        "posts acknowledged": posts.acknowledged_count,
        "responses 503": f"{posts.rejected_count}, the slowest after {posts.slowest_rejection_seconds:.2f} s",
        "without response": posts.broken_count,
        "repeats": posts.repeated_count,
        "longest gap in acknowledgements": f"{posts.longest_gap_seconds:.2f} s",
        **{name.replace("_", " "): [f"{each:.2f} s" for each in measured] for name, measured in seconds.items()},
        "breaks of watchers": sum(sum(each.breaks.values()) for each in followers),
        "longest silence of a stream": f"{max(each.longest_silence_seconds for each in followers):.2f} s",
        "read again": f"{len(load.rereads)} times",
        "turns of named watchers": [len(each.turns) for each in load.subscriptions],
        "breaks of named watchers": [sum(each.breaks.values()) for each in load.subscriptions],
        "repeats to named watchers": [
            sum(len(turn.operation_ids) for turn in each.turns.values()) - len(load.stored)
            for each in load.subscriptions
        ],
        "commits": sum(len(each.commits) for each in load.subscriptions),
        "unary": f"{dict(calls.done)}, the slowest {calls.slowest_seconds:.2f} s, failed {len(calls.failures)}",
        "unary ended with CANCELLED": calls.cancelled_count,
        "callbacks": f"{dict(callbacks.succeeded)}, the slowest {callbacks.slowest_seconds:.2f} s",
        "fallbacks": dict(callbacks.fallbacks),
        "callbacks interrupted": dict(callbacks.interrupted),
    }
    print("", *(f"{name}: {value}" for name, value in figures.items()), sep="\n  ")  # noqa: T201 (with -s)
