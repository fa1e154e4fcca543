"""D1 hangs up before its response: nobody is left to wait for a handler, and what is stored is stored."""

import asyncio
import json
import sqlite3
import ssl
from collections.abc import Callable, MutableMapping
from contextlib import closing
from typing import Any, Self

import pytest

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from sandbox.handler import Handler
from tests.integration.edge.edge_caller import EdgeCaller, edge_log, end_of, on_tcp, raw_request
from tests.running import Running, edge_tls

_OTP_ROUTE = "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}/otp"
_OTP = raw_request(
    json.dumps({"otp": {"value": "004211"}}).encode(), path=_OTP_ROUTE.format(issuerId="SANDBOX001", consumerId="c-1")
)


class _TlsClient:
    """A TLS client that can close either layer, or one side of it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
        self._reader = reader
        self._writer = writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    @classmethod
    async def connect(cls, running: Running, version: ssl.TLSVersion) -> Self:
        context = edge_tls(running.sandbox)
        context.minimum_version = context.maximum_version = version
        client = cls(*await on_tcp(running), context)
        await client._shake_hands()
        return client

    def send(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def close_tls_writing(self) -> None:
        """Send a closure alert, and keep the connection open to read."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def close_tcp_writing(self) -> None:
        """End the writing side of TCP without a closure alert."""
        self._writer.write_eof()

    def close(self) -> None:
        self.close_tls_writing()
        self._writer.close()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def response(self) -> bytes:
        """Read what the edge still sends until it closes the connection."""
        self._incoming.write(await end_of(self._reader))
        try:
            return self._tls.read(65_536)
        except ssl.SSLError:
            return b""

    async def _shake_hands(self) -> None:
        async with asyncio.timeout(20):
            while True:
                try:
                    return self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    self._incoming.write(await self._reader.read(65_536))
                finally:
                    self._flush()

    def _flush(self) -> None:
        if sent := self._outgoing.read():
            self._writer.write(sent)


class _Deliverer:
    """A handler's responder that delivers no OTP until it may."""

    def __init__(self) -> None:
        self.may_reply = asyncio.Event()

    async def __call__(self, _: callback.CallbackRequest) -> callback.CallbackReply:
        await self.may_reply.wait()
        return callback.CallbackReply(deliver_otp=replies.DeliverOtpResponse())


async def _abandoned(logged: list[MutableMapping[str, Any]]) -> MutableMapping[str, Any]:
    """Wait for the line about a caller that hung up."""
    async with asyncio.timeout(20):
        # Only the edge's log shows it.
        while not (found := [line for line in logged if line["event"] == "callback_abandoned"]):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    (line,) = found
    return line


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
@pytest.mark.parametrize(
    "hang_up", [_TlsClient.close, _TlsClient.close_tls_writing, _TlsClient.close_tcp_writing, _TlsClient.abort]
)
async def test_who_hangs_up_is_not_waited_for_however_the_connection_is_closed(
    running: Running, version: ssl.TLSVersion, hang_up: Callable[[_TlsClient], None]
) -> None:
    deliver = _Deliverer()
    with edge_log() as logged:
        async with Handler.connect(running.channel, {"deliver_otp": deliver}) as handler:
            d1 = await _TlsClient.connect(running, version)
            d1.send(_OTP)
            await handler.until(lambda handler: bool(handler.requests))
            hang_up(d1)
            line = await _abandoned(logged)
            deliver.may_reply.set()
            await handler.until(lambda handler: bool(handler.acknowledgements))
            if hang_up in {_TlsClient.close_tls_writing, _TlsClient.close_tcp_writing}:
                assert await d1.response() == b"", "its TLS connection is closed, as it can tell"
            d1.abort()
    assert [each.outcome for each in handler.acknowledgements] == [callback.REPLY_OUTCOME_ALREADY_ANSWERED]
    assert line["duration_ms"] < 1900, "nobody waits until the deadline"
    shown = {name: line[name] for name in ("callback", "method", "status", "outcome", "log_level")}
    assert shown == {
        "callback": _OTP_ROUTE,
        "method": "POST",
        "status": "none",
        "outcome": "withdrawn",
        "log_level": "warning",
    }


async def test_a_handler_that_connects_later_is_not_sent_what_nobody_waits_for(running: Running) -> None:
    deliver = _Deliverer()
    deliver.may_reply.set()
    with edge_log() as logged:
        gone = await _TlsClient.connect(running, ssl.TLSVersion.TLSv1_3)
        gone.send(_OTP)
        await asyncio.sleep(0.1)
        gone.close()
        assert (await _abandoned(logged))["outcome"] == "withdrawn"
    d1 = await _TlsClient.connect(running, ssl.TLSVersion.TLSv1_3)
    async with Handler.connect(running.channel, {"deliver_otp": deliver}) as handler:
        d1.send(_OTP.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        assert (await d1.response()).startswith(b"HTTP/1.1 204 ")
        await handler.until(lambda handler: bool(handler.acknowledgements))
        assert [each.outcome for each in handler.acknowledgements] == [callback.REPLY_OUTCOME_ACCEPTED]
        assert len(handler.requests) == 1
    d1.abort()


async def test_of_requests_sent_ahead_none_begins_once_who_sent_them_is_gone(running: Running) -> None:
    with edge_log() as logged:
        async with Handler.connect(running.channel, {"deliver_otp": _Deliverer()}) as handler:
            d1 = await _TlsClient.connect(running, ssl.TLSVersion.TLSv1_3)
            d1.send(_OTP * 3)
            await handler.until(lambda handler: bool(handler.requests))
            d1.close()
            assert (await _abandoned(logged))["outcome"] == "withdrawn"
            await asyncio.sleep(0.1)
            assert len(handler.requests) == 1


async def test_a_notification_is_stored_although_who_sent_it_is_gone(caller: EdgeCaller) -> None:
    with edge_log() as logged:
        with closing(sqlite3.connect(caller.running.event_log, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            d1 = await _TlsClient.connect(caller.running, ssl.TLSVersion.TLSv1_3)
            d1.send(caller.raw_event())
            await asyncio.sleep(0.1)
            d1.close()
            await asyncio.sleep(0.1)
        line = await _abandoned(logged)
    assert (line["status"], line["card_id"]) == ("none", caller.card_id)
    assert await caller.stored_operations() == ["op_1"]
