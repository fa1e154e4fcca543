from gateway.workers.backoff import Backoff


def test_each_death_at_once_doubles_the_wait_up_to_ten_seconds() -> None:
    backoff = Backoff()

    assert [backoff.seconds_after(0) for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]


def test_a_minute_of_life_forgets_what_was_before() -> None:
    backoff = Backoff()
    for _ in range(6):
        backoff.seconds_after(0)

    assert backoff.seconds_after(59.9) == 10
    assert backoff.seconds_after(60) == 0.5
    assert backoff.seconds_after(1) == 1
