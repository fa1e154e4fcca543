"""The last hour, as the charts show it."""

from gateway.operators.history import MINUTES, Growth, History
from gateway.telemetry.metrics import Metrics
from tests.fakes import FakeEventLog
from tests.unit.notifications.watches import a_log_of


class Recorded:
    """A history whose clock the test turns."""

    def __init__(self, log: FakeEventLog) -> None:
        self.metrics = Metrics()
        self.now = 1_800_000_000.0
        self.size = 1_000_000
        self.history = History(self.metrics.registry, log, lambda: self.size, clock=lambda: self.now)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, with a sample every ten seconds."""
        for _ in range(int(seconds / 10)):
            self.now += 10
            await self.history.sample()

    def call(self, code: str, count: int = 1) -> None:
        self.metrics.rpcs.labels("issuer.card.v1.CardService/SuspendCard", code).inc(count)


async def test_what_happens_is_shown_in_its_minute_and_nothing_before_the_start() -> None:
    recorded = Recorded(a_log_of(0))
    await recorded.history.sample()
    recorded.call("OK", 5)
    recorded.call("CANCELLED")
    await recorded.pass_time(120)
    recorded.call("UNAVAILABLE", 2)

    minutes = recorded.history.minutes["calls"]

    assert minutes[-3:] == [(6, 0), (0, 0), (0, 2)], "what came after the last sample is shown at once"
    assert minutes[:-3] == [None] * (MINUTES - 3)


async def test_a_poll_for_a_result_that_nobody_answers_is_no_fallback() -> None:
    recorded = Recorded(a_log_of(0))
    await recorded.history.sample()
    for kind, outcome in (
        ("authentication_result", "answered"),
        ("deliver_otp", "withdrawn"),
        ("authentication_result", "no_handler"),
        ("authentication_result", "exhausted"),
        ("deliver_otp", "no_handler"),
        ("deliver_otp", "refused"),
    ):
        recorded.metrics.callbacks.labels(kind, outcome).inc()

    assert recorded.history.minutes["callbacks"][-1] == (2, 2)


async def test_no_more_is_kept_than_an_hour() -> None:
    recorded = Recorded(a_log_of(0))
    recorded.call("OK", 100)
    await recorded.pass_time(4000)

    assert len(recorded.history._samples) == 361
    assert None not in recorded.history.minutes["calls"]


async def test_the_growth_of_the_log_is_told_once_it_is_known_and_while_the_log_cannot_be_read() -> None:
    log = a_log_of(100)
    recorded = Recorded(log)
    await recorded.pass_time(50)
    assert recorded.history.growth is None
    for number in range(30):
        log.put(log.held[number].event)
    recorded.size += 60_000
    await recorded.pass_time(130)
    log.fail()
    await recorded.pass_time(60)

    assert recorded.history.growth == Growth(30 * 3600 / 170, 60_000 * 3600 / 170)
