"""``d1-gateway-client answer``: a handler in a terminal, whose replies are typed, piped or fixed."""

import asyncio
import json
import re
import signal
import sys
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from d1_gateway_client import AsyncGatewayClient, CallbackContext, CallbackHandler, GatewayError, Options
from d1_gateway_client.cli.answer_replies import Fixed, Kind, Reason, Source, Typed, refusal, response
from d1_gateway_client.cli.connect import (
    Address,
    CaFile,
    CertificateFile,
    Connection,
    KeyFile,
    ServerName,
    TokenFile,
    checked_options,
)
from d1_gateway_client.cli.descriptors import to_json
from d1_gateway_client.cli.output import FAILED, INTERRUPTED, logged_to_stderr, put, refused, tell
from d1_gateway_client.cli.request_json import UnusableRequestError, read_json

__all__ = ["answer"]

_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CONNECT_SECONDS: Final = 10.0
_FIXED_IN_FLIGHT: Final = 16


def answer(
    *,
    kind: Annotated[list[Kind], typer.Option(help="Kind of callback to answer. Repeat it for more kinds.")],
    reply: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Answer every callback with this JSON; - is standard input. One kind."),
    ] = None,
    refuse: Annotated[Reason | None, typer.Option(help="Refuse every callback, for this reason.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after this many callbacks.")] = None,
    name: Annotated[str, typer.Option(help="Name in the gateway's logs.")] = "d1-gateway-client",
    issuer: Annotated[list[str] | None, typer.Option(help="Issuer id, if the gateway serves several.")] = None,
    address: Address = None,
    ca_file: CaFile = None,
    certificate_file: CertificateFile = None,
    key_file: KeyFile = None,
    token_file: TokenFile = None,
    server_name: ServerName = None,
) -> None:
    """Answer D1's callbacks: print each as JSON, and reply with what is typed.

    A reply is one line: the contract's response as JSON; or refuse REASON [TEXT]; or empty for the usual reply to
    deliver_otp, authenticate and authentication_result. Piped lines answer one callback each; after the last one the
    command ends. A reply after the callback's deadline is too late: D1 has got the fallback.

    One-time passwords and personal data are printed: that is what this command is for. Use it with a sandbox or a test
    system, and beware of logs that keep a terminal's output.

    Ctrl-C takes no further callbacks and waits for the reply to the one that is open; a second one leaves it.

    Exit status:

    - 0: ended by Ctrl-C, by --count or after the last line

    - 1: the gateway refuses the handler or cannot be reached

    - 2: the command line or the reply file is invalid

    - 130: a second Ctrl-C
    """
    connection = Connection(address, ca_file, certificate_file, key_file, token_file, server_name)
    if not _NAME.fullmatch(name):
        raise refused("--name: expected 1 to 64 characters of A-Z a-z 0-9 _ . -")
    try:
        source = _source(kind, reply, refuse)
        handler = CallbackHandler(
            name, issuer_ids=issuer or (), max_in_flight=1 if isinstance(source, Typed) else _FIXED_IN_FLIGHT
        )
        answering = _Answering(handler, source, count)
        for each in kind:
            answering.take(each)
        with logged_to_stderr(), checked_options(connection) as options:
            asyncio.run(answering.run(options, kind))
    except UnicodeEncodeError:
        raise refused("the command line is not valid UTF-8") from None
    except KeyboardInterrupt:
        raise refused("interrupted", INTERRUPTED) from None


def _source(kinds: list[Kind], reply: str | None, refuse: Reason | None) -> Source:
    if reply is not None and refuse is not None:
        raise refused("--reply, --refuse: expected at most one of them")
    if refuse is not None:
        return Fixed(refusal(refuse))
    if reply is None:
        return Typed()
    if len(set(kinds)) > 1:
        raise refused("--reply: expected one --kind, as each has a response of its own")
    data = read_json("--reply", reply)
    try:
        return Fixed(response(kinds[0], data))
    except UnusableRequestError as error:
        for mistake in error.mistakes:
            tell(f"--reply: {mistake}")
        raise typer.Exit(2) from None


class _Answering:
    """A handler that prints callbacks, until enough are answered."""

    def __init__(self, handler: CallbackHandler, source: Source, count: int | None) -> None:
        self._handler = handler
        self._source = source
        self._left = count
        self._registered = asyncio.Event()
        self._given_up = asyncio.Event()
        self._reason: BaseException | None = None

    def take(self, kind: Kind) -> None:
        """Handle a kind."""

        async def handle(request: Any, context: CallbackContext) -> Any:
            if self._left is not None:
                self._left -= 1
                if self._left == 0:
                    self._handler.drain()
            try:
                _show(kind, request, context)
            except typer.Exit as end:
                # Nobody has seen this callback. It is left open: once the command has ended, another handler gets it.
                await self._give_up(end)
            return await self._source.reply(kind)

        # Each kind has a decorator of its name.
        getattr(self._handler, kind)(handle)

    async def _give_up(self, reason: BaseException) -> None:
        """End without the replies that are missing; wait for that."""
        self._reason = self._reason or reason
        self._given_up.set()
        await asyncio.Event().wait()

    async def run(self, options: Options, kinds: list[Kind]) -> None:
        """Answer until the end.

        Raises:
            typer.Exit: The gateway refuses the handler or cannot be reached, or nobody reads the output.
            KeyboardInterrupt: A second Ctrl-C.
        """
        signals = 0

        def end() -> None:
            nonlocal signals
            signals += 1
            if signals > 1:
                self._reason = self._reason or KeyboardInterrupt()
                self._given_up.set()
            tell("takes no further callbacks; Ctrl-C again to leave an open one without a reply")
            self._handler.drain()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end)
        async with AsyncGatewayClient(options) as client:
            tasks = [
                asyncio.create_task(self._serve(client, kinds)),
                asyncio.create_task(self._drain_at_the_end()),
                asyncio.create_task(self._given_up.wait()),
            ]
            try:
                await asyncio.wait({tasks[0], tasks[2]}, return_when=asyncio.FIRST_COMPLETED)
                if self._reason is not None:
                    raise self._reason
                await tasks[0]
                if isinstance(self._source, Typed) and self._source.is_empty and not signals:
                    raise refused("standard input is empty: pipe a line for each callback, or give --reply or --refuse")
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, client: AsyncGatewayClient, kinds: list[Kind]) -> None:
        # `serve` does not say when the gateway has registered the handler; before that, a wrong address is retried.
        serving = asyncio.create_task(self._handler._serve(client, self._registered))
        try:
            waiting = asyncio.create_task(self._registered.wait())
            await asyncio.wait({serving, waiting}, timeout=_CONNECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if not (self._registered.is_set() or serving.done()):
                raise refused(f"no gateway registered the handler within {_CONNECT_SECONDS:.0f} s", FAILED)
            if self._registered.is_set():
                tell(f"answers {', '.join(dict.fromkeys(kinds))}; Ctrl-C ends")
            await serving
        except GatewayError as error:
            raise refused(str(error), FAILED) from None
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError, GatewayError):
                await serving

    async def _drain_at_the_end(self) -> None:
        await self._source.ended()
        await self._registered.wait()
        self._handler.drain()


def _show(kind: Kind, request: Any, context: CallbackContext) -> None:
    shown = {
        "kind": kind,
        "issuerId": context.issuer_id,
        "correlationId": context.correlation_id,
        "attempt": context.attempt,
        "secondsLeft": round(context.seconds_left, 1),
        "request": json.loads(to_json(request, indent=None)),
    }
    put(json.dumps(shown, indent=2 if sys.stdout.isatty() else None))
