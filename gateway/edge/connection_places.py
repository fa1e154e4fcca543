"""The places for connections at the edge: who gets one, and who loses it to another when there are too many."""

import ipaddress
from collections import Counter
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from gateway.edge.connection_refusals import Refusal

__all__ = ["ConnectionPlaces", "FairPlaces", "FairTurns", "address_block"]

_IPV6_BLOCK_BITS: Final = 64
_FAMILIAR_DIVISOR: Final = 4
"""A familiar address may have a quarter of all places more than others."""
_MAX_FAMILIAR: Final = 256
"""How many addresses stay familiar without a connection."""

_Holder = TypeVar("_Holder")


def address_block(address: str) -> str:
    """Return what counts as one address: an IPv4 address, or an IPv6 network of 64 bits (RFC 6177, RFC 4291)."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_BLOCK_BITS), strict=False))


class FairPlaces(Generic[_Holder]):
    """Places that strangers compete for: a new holder displaces the oldest of the address that has most of them.

    So no address loses a place while another one has more, however fast that one comes back. A familiar address may
    have some more than others, but not all: strangers may share it.
    """

    def __init__(self, count: int, is_familiar: Callable[[str], bool]) -> None:
        """Initialise.

        Args:
            count: The number of places.
            is_familiar: Whether known clients come from an address, now or lately.
        """
        self._count = count
        self._is_familiar = is_familiar
        self._holders: dict[str, dict[_Holder, None]] = {}
        self._blocks: dict[_Holder, str] = {}

    def add(self, holder: _Holder, block: str) -> _Holder | None:
        """Give a place to a new holder; return the one that lost it for that, if none was free."""
        self._holders.setdefault(block, {})[holder] = None
        self._blocks[holder] = block
        if len(self._blocks) <= self._count:
            return None
        most: dict[_Holder, None] = max(self._holders.values(), key=len)
        displaced = next(iter(most))
        # Rare: a stranger's address has the most in a flood.
        if self._is_familiar(self._blocks[displaced]):
            displaced = next(iter(self._holders[max(self._holders, key=self._weight)]))
        self.remove(displaced)
        return displaced

    def remove(self, holder: _Holder) -> None:
        """Free the place of a holder, if it has one."""
        block = self._blocks.pop(holder, None)
        if block is not None:
            holders = self._holders[block]
            del holders[holder]
            if not holders:
                del self._holders[block]

    def _weight(self, block: str) -> int:
        """Return how many places an address has, less what a familiar one may have more than others."""
        count = len(self._holders[block])
        return count - self._count // _FAMILIAR_DIVISOR if self._is_familiar(block) else count


class FairTurns(FairPlaces[_Holder]):
    """Places whose holders each get a turn: next is one of an address that has fewest, by the same measure."""

    def __init__(self, count: int, is_familiar: Callable[[str], bool]) -> None:
        """Initialise as `FairPlaces`."""
        super().__init__(count, is_familiar)
        self._waiting: dict[str, dict[_Holder, None]] = {}

    def add(self, holder: _Holder, block: str) -> _Holder | None:
        """Give a place to a new holder, as `FairPlaces` does, in which it waits for its turn."""
        self._waiting.setdefault(block, {})[holder] = None
        return super().add(holder, block)

    def remove(self, holder: _Holder) -> None:
        """Free the place of a holder, if it has one."""
        block = self._blocks.get(holder)
        if block is not None:
            self._end_waiting(holder, block)
        super().remove(holder)

    def next(self) -> _Holder | None:
        """Return whose turn it is, None if nobody waits. It keeps its place."""
        if not self._waiting:
            return None
        block = min(self._waiting, key=self._weight)
        holder = next(iter(self._waiting[block]))
        self._end_waiting(holder, block)
        return holder

    def _end_waiting(self, holder: _Holder, block: str) -> None:
        waiting = self._waiting.get(block, {})
        waiting.pop(holder, None)
        if not waiting:
            self._waiting.pop(block, None)


class ConnectionPlaces:
    """Places of connections whose client is known. Nobody loses one to another."""

    def __init__(self, count: int, count_per_address: int) -> None:
        self._count = count
        self._count_per_address = count_per_address
        self._taken: Counter[str | None] = Counter()
        self._familiar: dict[str, None] = {}
        self.taken_count = 0
        """The number of taken places."""

    def refusal(self, block: str | None) -> Refusal | None:
        """Return why there is no place for a connection of this address, None if there is one.

        Args:
            block: The `address_block`; None for the proxy, whose address stands for many clients.
        """
        if self.taken_count >= self._count:
            return Refusal.FULL
        if block is not None and self._taken[block] >= self._count_per_address:
            return Refusal.SHARE
        return None

    def is_familiar(self, block: str) -> bool:
        """Return whether an address has a place, or is among those that got one last."""
        return block in self._taken or block in self._familiar

    def take(self, block: str | None) -> None:
        """Take a place."""
        if block is not None:
            self._familiar.pop(block, None)
            self._familiar[block] = None
            if len(self._familiar) > _MAX_FAMILIAR:
                del self._familiar[next(iter(self._familiar))]
        self._taken[block] += 1
        self.taken_count += 1

    def free(self, block: str | None) -> None:
        """Free a place."""
        self.taken_count -= 1
        self._taken[block] -= 1
        if not self._taken[block]:
            del self._taken[block]
