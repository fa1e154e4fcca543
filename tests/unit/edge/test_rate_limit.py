from types import SimpleNamespace

from gateway.edge.rate_limit import RateLimit


def stopped() -> SimpleNamespace:
    """Return a clock that stands still until it is moved."""
    return SimpleNamespace(now=1000.0)


def used_up(clock: SimpleNamespace) -> RateLimit:
    throttle = RateLimit(3, 30.0, lambda: clock.now)
    for _ in range(3):
        assert throttle.wait_seconds("peer") == 0
        throttle.take("peer")
    return throttle


def test_who_has_used_all_waits_until_there_is_another_one() -> None:
    clock = stopped()
    throttle = used_up(clock)

    assert throttle.wait_seconds("peer") == 10
    clock.now += 9.5
    assert throttle.wait_seconds("peer") == 1
    clock.now += 0.6
    assert throttle.wait_seconds("peer") == 0


def test_after_the_whole_time_all_are_there_again_and_not_more() -> None:
    clock = stopped()
    throttle = used_up(clock)
    clock.now += 10_000

    for _ in range(3):
        assert throttle.wait_seconds("peer") == 0
        throttle.take("peer")
    assert throttle.wait_seconds("peer") == 10


def test_taking_more_than_there_is_makes_no_debt_and_no_other_peer_pays_for_it() -> None:
    throttle = used_up(stopped())
    for _ in range(100):
        throttle.take("peer")

    assert (throttle.wait_seconds("peer"), throttle.wait_seconds("another")) == (10, 0)


def test_the_memory_of_peers_is_bounded_and_forgets_who_was_seen_least_lately() -> None:
    throttle = used_up(stopped())
    for number in range(1023):
        throttle.take(f"peer-{number}")
    assert throttle.wait_seconds("peer") == 10

    throttle.take("one more")

    assert len(throttle._peers) == 1024
    assert throttle.wait_seconds("peer") == 0
