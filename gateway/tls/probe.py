"""Tries a server: a connection, TLS, a request that changes nothing; and says in words what failed and what to do."""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPMethod
from typing import Final
from urllib.parse import urlsplit

from gateway.aio.sockets import join

__all__ = ["Failure", "probe"]

_ALERT_SECONDS: Final = 0.5
_MAX_SKEW_SECONDS: Final = 60.0
_MAX_HEAD_BYTES: Final = 65_536
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] [0-9]{3}")
_DATE: Final = re.compile(rb"^date:([^\r\n]{1,100})\r?$", re.IGNORECASE | re.MULTILINE)
# The alerts of RFC 8446 section 6.2 that are about the peer's certificate, as OpenSSL names those it received.
_REFUSED: Final = re.compile(r"_ALERT_(.*CERTIFICATE.*|UNKNOWN_CA|ACCESS_DENIED)$")

# Numbers of OpenSSL, `X509_V_ERR_...`: there are no names for them in Python.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_NAMES: Final = frozenset({62, 64})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a server cannot be used."""

    why: str
    advice: str


_UNRESOLVED: Final = Failure("its name does not resolve", "check the name, and this machine's DNS")
_CLOSED: Final = Failure(
    "it closed the connection without an answer", "check the client certificate, if it wants one, and the port"
)
_KNOWN: Final[Mapping[type[Exception], Failure]] = {
    TimeoutError: Failure("no answer in time", "a firewall may drop the connection, or the server hangs"),
    socket.gaierror: _UNRESOLVED,
    UnicodeError: _UNRESOLVED,
    ConnectionRefusedError: Failure("the connection was refused", "check that the server runs, and its port"),
    ConnectionError: _CLOSED,
    EOFError: _CLOSED,
    asyncio.LimitOverrunError: Failure("what answers is no HTTP server", "check the port"),
}
"""In this order, as some are kinds of others."""


async def probe(url: str, tls: ssl.SSLContext | None, *, ca_setting: str, seconds: float) -> Failure | None:
    """Connect to a server, and ask for the head of a page, as any HTTP server answers.

    Args:
        url: Its address, with http or https.
        tls: Trusted CAs and the client certificate; None for plain HTTP.
        ca_setting: The setting that names its CA, for advice.
        seconds: Time for the connection, TLS included, and as much again for the response.

    Returns:
        None if it answered with any status, and this machine's clock agrees with its own.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
    request = f"{HTTPMethod.HEAD} {parts.path or '/'} HTTP/1.1\r\nHost: {join(host, port)}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, limit=_MAX_HEAD_BYTES)
        try:
            async with asyncio.timeout(seconds + _ALERT_SECONDS):
                head = b"" if tls is None else await _said_unasked(reader)
                writer.write(request.encode())
                head += await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.transport.abort()
    except (OSError, EOFError, UnicodeError, asyncio.LimitOverrunError) as error:
        return _explained(error, ca_setting=ca_setting)
    if not _STATUS_LINE.match(head):
        return Failure("what answers is no HTTP server", "check the port")
    return _skewed(head)


async def _said_unasked(reader: asyncio.StreamReader) -> bytes:
    """Wait a moment for the alert of a server that refuses the client's certificate (RFC 8446 section 4.4.2.4).

    What is sent meanwhile would reset its connection, and the alert be lost.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(_ALERT_SECONDS):
            return await reader.read(1)
    return b""


def _explained(error: Exception, *, ca_setting: str) -> Failure:
    """Return what a failed connection means; quotes nothing but OpenSSL's own words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _untrusted(error, ca_setting)
    if isinstance(error, ssl.SSLError):
        return _broken_handshake(error)
    known = (failure for kind, failure in _KNOWN.items() if isinstance(error, kind))
    text = getattr(error, "strerror", None) or type(error).__name__
    return next(known, Failure(f"no connection: {text}", "check the network"))


def _broken_handshake(error: ssl.SSLError) -> Failure:
    refused = _REFUSED.search(error.reason or "")
    if refused is None:
        return Failure(f"the TLS handshake failed ({error.reason})", "check the port, and whether it speaks TLS")
    alert = refused[1].lower().replace("_", " ")
    return Failure(
        f"it refuses the gateway's client certificate (TLS alert: {alert})",
        "check that the certificate is the one that the other side knows, and has not expired",
    )


def _untrusted(error: ssl.SSLCertVerificationError, ca_setting: str) -> Failure:
    words = f" ({error.verify_message})"
    known: Mapping[int, Failure] = {
        _NOT_YET_VALID: Failure(f"its certificate is not valid yet{words}", "set this machine's clock"),
        _EXPIRED: Failure(f"its certificate has expired{words}", "ask its operator; or set this machine's clock"),
    }
    if error.verify_code in _OTHER_NAMES:
        return Failure(f"its certificate is for another name{words}", "use a name that the certificate has")
    return known.get(error.verify_code) or Failure(
        f"its certificate is of another CA{words}", f"name the CA that issued it in {ca_setting}"
    )


def _skewed(head: bytes) -> Failure | None:
    found = _DATE.search(head)
    if found is None:
        return None
    try:
        date = parsedate_to_datetime(found[1].decode("latin-1"))
        # A date with the zone "-0000" is UTC and is parsed without a zone.
        seconds = time.time() - date.replace(tzinfo=date.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
    if abs(seconds) <= _MAX_SKEW_SECONDS:
        return None
    side = "ahead of" if seconds > 0 else "behind"
    return Failure(f"this machine's clock is {abs(seconds):.0f} s {side} its clock", "synchronise the clock (NTP)")
