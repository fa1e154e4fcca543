"""The handlers that are connected to the gateway, as its log tells."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final

import orjson

from sandbox.console.feed import Feed

__all__ = ["HandlerSessions"]

_MOST_OPEN: Final = 200
_EVENTS: Final = (b'"event":"handler_', b'"event":"gateway_started"')


class HandlerSessions:
    """Puts each handler session into a feed: its name, its kinds, and from when to when it was connected.

    No line of the log tells who answered a callback. But a reply comes from a handler that was connected for the kind,
    and often there is only one.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._numbers = count(1)
        self._open: dict[str, dict[str, Any]] = {}
        """The sessions that have not ended, by their key in the feed, the earliest first."""

    def note(self, lines: Iterable[bytes]) -> None:
        """Note what lines of the log tell."""
        for line in lines:
            if any(event in line for event in _EVENTS):
                with suppress(orjson.JSONDecodeError):
                    self._note(orjson.loads(line))

    def _note(self, line: Any) -> None:
        match line:
            case {"event": "gateway_started", "timestamp": str(now)}:
                # It may have been killed before it could tell that they have gone.
                for key in tuple(self._open):
                    self._end(key, now)
            case {"event": "handler_connected", "handler": str(name), "kinds": list(kinds), "timestamp": str(now)}:
                key = str(next(self._numbers))
                self._open[key] = {"name": name, "kinds": kinds, "began": now, "ended": None}
                self._put(key, self._open[key])
                if len(self._open) > _MOST_OPEN:
                    del self._open[next(iter(self._open))]
            case {"event": "handler_disconnected", "handler": str(name), "timestamp": str(now)}:
                # Of several with one name, any: they are told apart by nothing else.
                key = next((key for key, session in self._open.items() if session["name"] == name), "")
                if key:
                    self._end(key, now)

    def _end(self, key: str, now: str) -> None:
        self._put(key, self._open.pop(key) | {"ended": now})

    def _put(self, key: str, session: Mapping[str, Any]) -> None:
        self._feed.put("handlers", key, partial(dict, session))
