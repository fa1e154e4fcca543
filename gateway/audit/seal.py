"""The chain of lines: each carries the hash of the line before it, and its own.

A line is ``{"seq":<number>,"prev":"<hash>",<members>,"hash":"<hash>"}``. Its hash is that of all bytes before
``,"hash"``, so it can be checked without a canonical form of JSON.
"""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["MAX_LINE_BYTES", "ORIGIN", "Link", "Seal", "SealedLine", "read_line"]

MAX_LINE_BYTES: Final = 8_192
"""More than any line has: the longest part is the caller's SPIFFE id of at most 2,048 bytes."""

_LINE: Final = re.compile(
    rb'(\{"seq":([1-9][0-9]{0,18}),"prev":"([0-9a-f]{64})",("[^\n]*)),"hash":"([0-9a-f]{64})"\}\n'
)


@dataclass(frozen=True, slots=True)
class Link:
    """A place in the chain: the line to which the next one is linked."""

    sequence: int
    """The line's number in its trail, from 1."""
    hash: str
    """The line's hash, 64 hexadecimal digits."""


ORIGIN: Final = Link(0, "0" * 64)
"""Where a trail begins."""


@dataclass(frozen=True, slots=True)
class SealedLine:
    """A line as it is read."""

    link: Link
    previous_hash: str
    sealed: bytes
    """What its hash is about."""

    def follows(self, link: Link) -> bool:
        """Return whether it is the next line after `link`."""
        return self.previous_hash == link.hash and self.link.sequence == link.sequence + 1


class Seal:
    """Computes hashes: SHA-256, or HMAC-SHA256 for who has a key."""

    def __init__(self, key: bytes | None) -> None:
        """Take a key of 32 bytes; None for SHA-256."""
        self._key = key
        self.name = "sha256" if key is None else "hmac-sha256"
        """The algorithm, as the first line of each file names it."""
        self.key_id = "" if key is None else hmac.digest(key, b"key id", "sha256").hex()[:16]
        """16 hexadecimal digits that tell keys apart and reveal nothing; empty without a key."""

    def line(self, previous: Link, members: bytes) -> tuple[bytes, Link]:
        """Return a line with its line ending, and the link to it.

        Args:
            previous: The line before it.
            members: The members of its JSON object, without braces.
        """
        sequence = previous.sequence + 1
        sealed = b'{"seq":%d,"prev":"%b",%b' % (sequence, previous.hash.encode(), members)
        digest = self._hash(sealed)
        return b'%b,"hash":"%b"}\n' % (sealed, digest.encode()), Link(sequence, digest)

    def holds(self, line: SealedLine) -> bool:
        """Return whether a line is as it was written."""
        return hmac.compare_digest(self._hash(line.sealed), line.link.hash)

    def _hash(self, sealed: bytes) -> str:
        if self._key is None:
            return hashlib.sha256(sealed).hexdigest()
        return hmac.digest(self._key, sealed, "sha256").hex()


def read_line(line: bytes) -> SealedLine | None:
    """Read a line with its line ending; None if it does not have the form of one."""
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    sealed, sequence, previous, _, digest = match.groups()
    return SealedLine(Link(int(sequence), digest.decode()), previous.decode(), sealed)
