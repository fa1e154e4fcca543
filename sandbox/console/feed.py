"""What the console shows, as items that pages follow."""

import asyncio
import secrets
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson

__all__ = ["Feed", "Render"]

Render: TypeAlias = Callable[[], Mapping[str, Any]]
"""Makes an item's JSON object as it is now. Called when the item is first sent after a change."""

_MOST: Final = 200
"""How many items of a topic are kept."""


@dataclass(slots=True)
class _Entry:
    version: int
    render: Render
    _written: orjson.Fragment | None = None

    def written(self) -> orjson.Fragment:
        """Return the item as JSON, made once for all pages."""
        if self._written is None:
            self._written = orjson.Fragment(orjson.dumps(dict(self.render())))
        return self._written


class Feed:
    """The latest items of each topic.

    Every change of an item has a version, and only the latest one is kept: a reader who knows the feed as of a version
    gets what changed since, however long that took. An item costs nothing to speak of until a page follows.
    """

    def __init__(self) -> None:
        self._name = secrets.token_hex(4)
        self._version = 0
        self._topics: dict[str, OrderedDict[str, _Entry]] = defaultdict(OrderedDict)
        self._counts: dict[str, int] = defaultdict(int)
        self._changed = asyncio.Event()

    def put(self, topic: str, key: str, render: Render) -> None:
        """Add an item, or say that it has changed. The oldest leaves when there are too many."""
        items = self._topics[topic]
        if items.pop(key, None) is None:
            self._counts[topic] += 1
            if len(items) == _MOST:
                items.popitem(last=False)
        self._version += 1
        items[key] = _Entry(self._version, render)
        self._changed.set()

    def position(self, event_id: str) -> int | None:
        """Return the version that an event's id stands for; None if it is another sandbox's, or none."""
        name, _, version = event_id.partition("-")
        if (
            name != self._name
            or not version.isascii()
            or not version.isdecimal()
            or len(version) > len(str(self._version))
        ):
            return None
        return min(int(version), self._version)

    def since(self, version: int) -> tuple[int, bytes]:
        """Return the latest version, and a server-sent event with what has changed since an earlier one."""
        changed = [
            (entry.version, topic, key, entry)
            for topic, items in self._topics.items()
            for key, entry in _newer(items, version)
        ]
        changed.sort(key=lambda each: each[0])
        data = orjson.dumps(
            {
                "counts": dict(self._counts),
                "changes": [(topic, key, entry.written()) for _, topic, key, entry in changed],
            }
        )
        return self._version, b"id: %s-%d\nevent: changes\ndata: %s\n\n" % (self._name.encode(), self._version, data)

    async def changed(self, version: int) -> None:
        """Wait until there is something newer than a version."""
        while self._version <= version:
            self._changed.clear()
            await self._changed.wait()


def _newer(items: OrderedDict[str, _Entry], version: int) -> list[tuple[str, _Entry]]:
    newer = []
    for key, entry in reversed(items.items()):
        if entry.version <= version:
            break
        newer.append((key, entry))
    return newer
