"""Replies to callbacks: one for all, or a line of standard input for each."""

import asyncio
import json
import os
import sys
import threading
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, Protocol, cast

import typer
from google.protobuf.descriptor import Descriptor

from d1_gateway_client import CallbackRefusalReason, Refuse
from d1_gateway_client.cli.descriptors import as_client_message, methods
from d1_gateway_client.cli.output import tell
from d1_gateway_client.cli.request_json import UnusableRequestError, parse

__all__ = ["Fixed", "Kind", "Reason", "Source", "Typed", "refusal", "response"]

_STDIN: Final = 0
_REFUSE: Final = "refuse"


class Kind(StrEnum):
    """The kinds of callbacks."""

    CONSUMER_INFORMATION = "consumer_information"
    DELIVER_OTP = "deliver_otp"
    AUTHENTICATE = "authenticate"
    AUTHENTICATION_RESULT = "authentication_result"
    CARD_CREDENTIALS = "card_credentials"


class Reason(StrEnum):
    """The reasons of a refusal."""

    INVALID = "invalid"
    NOT_ALLOWED = "not_allowed"
    NOT_FOUND = "not_found"
    FAILED = "failed"


*_FIRST, _LAST = Reason
_REASONS: Final = f"{', '.join(_FIRST)} or {_LAST}"
_USUAL: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.DELIVER_OTP: {},
    Kind.AUTHENTICATE: {"authentication_id": "..."},
    Kind.AUTHENTICATION_RESULT: {"status": "AUTHENTICATION_STATUS_SUCCESSFUL"},
}
"""The reply of an empty line; a new id in place of the dots."""


class Source(Protocol):
    """Where replies come from."""

    async def reply(self, kind: Kind) -> Any:
        """Return the response to a callback.

        Raises:
            Refuse: The reply is a refusal.
        """
        ...

    async def ended(self) -> None:
        """Wait until there are no more replies."""
        ...


class Fixed:
    """The same reply to every callback."""

    def __init__(self, reply: Any) -> None:
        """Reply with a response, or with a refusal."""
        self._reply = reply

    async def reply(self, kind: Kind) -> Any:
        """Return the reply, or raise it."""
        del kind
        if isinstance(self._reply, Refuse):
            raise self._reply
        return self._reply

    async def ended(self) -> None:
        """Wait forever."""
        await asyncio.Event().wait()


class Typed:
    """A line of standard input for each callback, one callback after the other."""

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._is_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._at_end = asyncio.Event()
        self._ended = asyncio.Event()
        self.is_empty = True
        """Whether no line was read yet."""

    async def reply(self, kind: Kind) -> Any:
        """Return what the next usable line says."""
        self._forget_what_was_typed_before()
        while True:
            if self._is_terminal:
                typer.echo(_prompt(kind), err=True, nl=False)
            line = await self._line()
            try:
                return _parsed(kind, line)
            except UnusableRequestError as error:
                for mistake in error.mistakes:
                    tell(f"reply: {mistake}")

    async def ended(self) -> None:
        """Read standard input; wait until its last line is used."""
        loop = asyncio.get_running_loop()
        # A daemon: nothing can interrupt a read from a terminal.
        threading.Thread(target=self._read, args=(loop,), daemon=True).start()
        await self._ended.wait()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not through sys.stdin, whose lock this thread would hold when the interpreter ends.
        rest = b""
        try:
            while read := os.read(_STDIN, 65536):
                self.is_empty = False
                *lines, rest = (rest + read).split(b"\n")
                for line in lines:
                    loop.call_soon_threadsafe(self._lines.put_nowait, line.decode(errors="replace"))
        except OSError:
            pass
        try:
            if rest:
                loop.call_soon_threadsafe(self._lines.put_nowait, rest.decode(errors="replace"))
            loop.call_soon_threadsafe(self._note_end)
        except RuntimeError:
            pass  # The command has ended.

    def _note_end(self) -> None:
        self._at_end.set()
        self._check_end()

    def _check_end(self) -> None:
        if self._at_end.is_set() and self._lines.empty():
            self._ended.set()

    async def _line(self) -> str:
        taking, ending = asyncio.create_task(self._lines.get()), asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({taking, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not taking.done():
                raise Refuse(CallbackRefusalReason.FAILED)
            return taking.result()
        except asyncio.CancelledError:
            # The deadline passed: what is said next must not follow the prompt.
            if self._is_terminal:
                typer.echo(err=True)
            raise
        finally:
            taking.cancel()
            ending.cancel()
            self._check_end()

    def _forget_what_was_typed_before(self) -> None:
        """Drop what was typed at a terminal for a callback whose deadline passed."""
        if self._is_terminal:
            import termios  # noqa: PLC0415 (Windows has none, and the other commands need none)

            termios.tcflush(_STDIN, termios.TCIFLUSH)
            while not self._lines.empty():
                self._lines.get_nowait()


def refusal(reason: Reason, message: str = "") -> Refuse:
    """Make a refusal.

    Raises:
        ValueError: The message is too long.
    """
    return Refuse(CallbackRefusalReason[reason.name], message)


def response(kind: Kind, data: bytes) -> Any:
    """Read a kind's response from proto3 JSON.

    Raises:
        UnusableRequestError: It is not JSON, or does not fit; its text never repeats a value.
    """
    messages = methods()["CallbackService/HandleCallbacks"].input_type.fields_by_name
    responses = cast("Descriptor", messages["callback_reply"].message_type).fields_by_name
    return as_client_message(parse(data, cast("Descriptor", responses[kind].message_type)))


def _parsed(kind: Kind, line: str) -> Any:
    word, _, rest = line.strip().partition(" ")
    if word == _REFUSE:
        reason, _, text = rest.strip().partition(" ")
        if reason not in set(Reason):
            raise UnusableRequestError(f"{_REFUSE}: expected {_REASONS}, and maybe a text for D1")
        try:
            raise refusal(Reason(reason), text)
        except ValueError as error:
            raise UnusableRequestError(f"{_REFUSE}: {error}") from None
    if word:
        return response(kind, line.encode())
    if kind not in _USUAL:
        raise UnusableRequestError(f"expected JSON, or {_REFUSE} and a reason: {kind} has no usual reply")
    usual = json.dumps(_USUAL[kind]).replace("...", f"auth_{uuid.uuid4().hex}")
    if kind is Kind.AUTHENTICATE:
        tell(f"reply {usual}")
    return response(kind, usual.encode())


def _prompt(kind: Kind) -> str:
    usual = f", Enter for {json.dumps(_USUAL[kind])}" if kind in _USUAL else ""
    return f"{kind}: reply as JSON{usual}, or {_REFUSE} REASON: "
