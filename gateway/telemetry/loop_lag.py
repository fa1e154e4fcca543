"""How late the event loop runs what is due: everything that this process serves is late by that much."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gateway.telemetry.metrics import Metrics

__all__ = ["measuring_loop_lag"]

_INTERVAL_SECONDS: Final = 1.0


@contextmanager
def measuring_loop_lag(metrics: Metrics) -> Iterator[None]:
    """Measure the running event loop once a second for as long as the context lasts."""
    loop = asyncio.get_running_loop()

    timer: asyncio.TimerHandle

    def wait() -> None:
        nonlocal timer
        due = loop.time() + _INTERVAL_SECONDS
        timer = loop.call_at(due, measure, due)

    def measure(due: float) -> None:
        metrics.loop_lag_seconds.observe(max(0.0, loop.time() - due))
        wait()

    wait()
    try:
        yield
    finally:
        timer.cancel()
