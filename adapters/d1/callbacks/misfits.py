"""Counts and logs what D1 sends in another form than it documents. It is kept all the same."""

from collections import defaultdict
from functools import partial

from adapters.d1.callbacks.fields import Fields
from gateway.logging.throttled import ThrottledLog
from gateway.ports.meter import UpstreamMeter

__all__ = ["Misfits"]


class Misfits:
    """Where fields are reported that did not fit."""

    def __init__(self, meter: UpstreamMeter) -> None:
        self._meter = meter
        self._kept: defaultdict[str, ThrottledLog] = defaultdict(partial(ThrottledLog, "misfits_kept"))

    def report(self, message: str, fields: Fields) -> None:
        """Count each misfit of a parsed message of that name, and log their paths, never a value."""
        if not fields.misfits:
            return
        for field in fields.misfits:
            self._meter.misfit("d1", message, field)
        self._kept[message].warning(message=message, fields=fields.misfits)
