"""Canaries: unique values, and the forms in which they could appear."""

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Final
from urllib.parse import quote, quote_plus

__all__ = ["ALL", "JOSE", "SECRETS", "TOLD", "WORDS", "Canaries", "forms"]

SECRETS: Final[Mapping[str, str]] = {
    "PAN": "4716920538164073",
    "new PAN": "5398217460935182",
    "PAN at the 3DS server": "9047281639500003",
    "PAN in a JWE": "6011738295046120",
    "PAN of a handler": "4024185937260418",
    "CVV": "8264",
    "PAN suffix": "7391",
    "OTP": "K7QZ-otp-88TW41",
    "phone number": "791154820364",
    "e-mail": "zorvantheia.q@canary-mailbox.example",
    "date of birth": "1961-02-17",
    "account number": "GB29CNRY60161331926819",
    "passphrase": "mule-battery-peg-yonder-93417",
    "client secret": "client-secret-Vw6jHs0tYq2x",
    "wrong client secret": "guessed-secret-Nb4kRm8zLd1c",
    "wrong bearer token": "eyJhbGciOiJFUzI1NiIsImtpZCI6ImZvcmdlZCJ9.eyJzdWIiOiJmb3JnZWQifQ.Zm9yZ2VkLWJ5LW5vYm9keQ",
    "JWE of a caller": "eyJhbGciOiJFQ0RILUVTIn0..Y2FuYXJ5LWl2LTU1.Y2FuYXJ5LWNpcGhlcnRleHQtNTU.Y2FuYXJ5LXRhZy01NQ",
    "JWE of a handler": "eyJhbGciOiJFQ0RILUVTIn0..Y2FuYXJ5LWl2LTc3.Y2FuYXJ5LWNpcGhlcnRleHQtNzc.Y2FuYXJ5LXRhZy03Nw",
    "unknown field": "Xk3-unheard-of-Pq9",
}
"""Values that sanitising removes from upstream texts, or that no upstream ever gets."""

WORDS: Final[Mapping[str, str]] = {
    "first name": "Zorvantheia",
    "middle name": "Ottokarinne",
    "last name": "Quillibrandtsen",
    "title": "Freiherrinx",
    "name on card": "BRUNHILDEX KVASSNIK",
    "second name on card": "OTTILIEZ VANDERMOOT",
    "cardholder name": "Ysoldine Murkwaterton",
    "name of a handler": "Wilhelmar Trautzenberg",
    "address line 1": "Brambleknotz Passage",
    "address line 2": "Stairwell Umbrafell",
    "city": "Quexburghen",
    "state": "Ostravarnia",
    "zip code": "QX-ZJW-KV",
    "reason": "Asked for by Elfriedine Zapf",
}
"""Personal data that look like any other words."""

TOLD: Final[Mapping[str, str]] = {
    "text of an error reply": "No-such-consumer-Gwendolyx",
    "error of a result": "Denied-in-the-app-Thaddeusz",
    "unrecognized field of a notification": "Unheard-of-by-Mehitabelle",
    "correlation id": "correlation-Bartholomeusz-3",
    "trace state": "vendor=span-of-Eustachiusz",
}
"""Values that are not secret by contract, and may appear where the contract says."""

ALL: Final = (*SECRETS, *WORDS, *TOLD)

JOSE: Final = "anything of JOSE"
"""The name of a hit on anything that looks like a JWT or a JWE, of any issuer."""

_JOSE_FORM: Final = re.compile(rb"eyj[a-z0-9_-]{16,}")
# Shorter values and encodings would match by chance.
_SHORTEST: Final = 8
_LONG: Final = 48
_SLICE: Final = 24


@cache
def forms(value: str) -> frozenset[bytes]:
    """Return the forms in which a value could appear, in lower case."""
    found = {*_written(value), *(_digits(value) if value.isdigit() and len(value) >= _SHORTEST else ())}
    return frozenset(each.lower() for each in found if len(each) >= _SHORTEST)


class Canaries:
    """Hands out canaries, and searches for them."""

    def __init__(self) -> None:
        self._values = {**SECRETS, **WORDS, **TOLD}
        self.unused = set(self._values)
        """The canaries not handed out yet."""

    def __getitem__(self, name: str) -> str:
        self.unused.discard(name)
        return self._values[name]

    def add(self, name: str, value: str) -> str:
        """Add a value from elsewhere to the search; return it."""
        self._values[name] = value
        return value

    def hits(self, data: bytes) -> set[str]:
        """Return the names of the canaries in some data, in any form."""
        lower = data.lower()
        found = {name for name, value in self._values.items() if _stands_in(value, lower)}
        return found | ({JOSE} if _JOSE_FORM.search(lower) else set())

    def all(self, names: Iterable[str] | None = None) -> str:
        """Return all canaries, or some, as one text."""
        return " | ".join(self._values[name] for name in (ALL if names is None else names))


def _stands_in(value: str, lower: bytes) -> bool:
    if len(value) < _SHORTEST:
        # A short number is a hit only as a whole, not as part of a time, an address or a measurement.
        alone = rb"(?<![0-9a-z.:_-])" + re.escape(value.lower().encode()) + rb"(?![0-9a-z.:_-])"
        if re.search(alone, lower):
            return True
    return any(form in lower for form in forms(value))


def _written(value: str) -> Iterator[bytes]:
    plain = value.encode()
    for text in (value, quote(value, safe=""), quote_plus(value), "".join(f"%{byte:02x}" for byte in plain)):
        yield text.encode()
    yield "".join(f"\\u{ord(character):04x}" for character in value).encode()
    yield value.encode("utf-16-le")
    yield plain.hex().encode()
    yield plain[::-1].hex().encode()
    # As in BCD and memory dumps: the chunks in reverse, and each chunk reversed.
    for size in (1, 2, 4):
        chunks = [plain[start : start + size] for start in range(0, len(plain), size)]
        yield b"".join(reversed(chunks))
        yield b"".join(chunk[::-1] for chunk in chunks)
    # The part of its base64 that is independent of the context, at each of the three offsets.
    for offset in range(3):
        padded = bytes(offset) + plain
        whole = padded[: len(padded) // 3 * 3]
        for coded in (base64.b64encode(whole), base64.urlsafe_b64encode(whole)):
            yield coded[4:] if offset else coded
    # A long value may be split over pages or lines.
    if len(plain) >= _LONG:
        yield from (plain[start : start + _SLICE] for start in range(0, len(plain) - _SLICE, _SLICE // 2))
    # A hash of a guessable value is no protection.
    yield hashlib.sha256(plain).digest()
    yield hashlib.sha256(plain).hexdigest().encode()


def _digits(digits: str) -> Iterator[bytes]:
    """Return the forms of a number: its end, packed, as an integer, and grouped as on a card."""
    yield digits[-10:].encode()
    yield bytes.fromhex(digits if len(digits) % 2 == 0 else f"{digits}f")
    yield int(digits).to_bytes(8, "big")
    yield int(digits).to_bytes(8, "little")
    groups = [digits[start : start + 4] for start in range(0, len(digits), 4)]
    for separator in (" ", "-", ".", "_", "+", "%20", "\u00a0"):
        yield separator.join(groups).encode()
