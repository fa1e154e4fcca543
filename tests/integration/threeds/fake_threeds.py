"""A 3-D Secure server as these tests need it: a socket on loopback that answers byte by byte what it is told to."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import SecretStr

from adapters.threeds import HttpThreeDSServer, codec, connect
from gateway.ports import Call
from gateway.settings import ThreeDSSettings
from issuer.threeds.v1 import areq_pb2

API_KEY = "2f1c3b9e-0d5a-4b8e-9a47-0c5d8f6e7a10"
PAN = "9000100511111111"
TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
OTHER_TRANSACTION = "0e2a3b64-52a1-4d0b-8f0c-6a1f1a7a2c11"
ACS_TRANSACTION = "5af5e779-4d44-4201-a2bf-4890eb9e0ba7"
DS_TRANSACTION = "87cbe14f-5960-4a01-a0bb-ae2c9871804a"

CRD = {
    "messageType": "CRD",
    "threeDSServerTransID": TRANSACTION,
    "scheme": "standin",
    "dsStartProtocolVersion": "2.1.0",
    "dsEndProtocolVersion": "2.2.0",
    "acsStartProtocolVersion": "2.1.0",
    "acsEndProtocolVersion": "2.2.0",
    "threeDSMethodURL": "https://acs.example/3dsmethod",
}
ARES = {
    "messageType": "ARes",
    "messageVersion": "2.2.0",
    "threeDSServerTransID": TRANSACTION,
    "acsTransID": ACS_TRANSACTION,
    "dsTransID": DS_TRANSACTION,
    "transStatus": "Y",
    "eci": "05",
    "authenticationValue": "AAABBBCCCDDDEEEFFFGGGHHHIII=",
    "acsReferenceNumber": "acs-reference",
    "dsReferenceNumber": "ds-reference",
}
RREQ = {
    "messageType": "RReq",
    "messageVersion": "2.2.0",
    "messageCategory": "01",
    "threeDSServerTransID": TRANSACTION,
    "acsTransID": ACS_TRANSACTION,
    "dsTransID": DS_TRANSACTION,
    "transStatus": "Y",
    "eci": "05",
}
AREQ = {
    "messageType": "AReq",
    "messageVersion": "2.2.0",
    "messageCategory": "01",
    "deviceChannel": "02",
    "threeDSServerTransID": TRANSACTION,
    "threeDSCompInd": "Y",
    "threeDSRequestorURL": "https://requestor.example.org",
    "threeDSRequestorAuthenticationInd": "01",
    "acctNumber": PAN,
    "cardExpiryDate": "3012",
    "cardholderName": "Cardholder Name",
    "acquirerBIN": "438309",
    "acquirerMerchantID": "00002000000",
    "mcc": "5411",
    "merchantCountryCode": "840",
    "merchantName": "Dummy Merchant",
    "notificationURL": "https://requestor.example.org/challenge/end",
    "browserJavascriptEnabled": True,
    "browserAcceptHeader": "text/html",
    "browserIP": "192.168.1.11",
    "browserJavaEnabled": True,
    "browserLanguage": "en",
    "browserColorDepth": "48",
    "browserScreenHeight": "400",
    "browserScreenWidth": "600",
    "browserTZ": "0",
    "browserUserAgent": "Mozilla/5.0",
    "purchaseAmount": "101",
    "purchaseCurrency": "840",
    "purchaseExponent": "2",
    "purchaseDate": "20170316141312",
    "transType": "01",
}


def an_areq(**changes: object) -> areq_pb2.AReq:
    """Make a browser's AReq of 2.2.0, with changes under its EMV names; None takes a field out."""
    fields = {name: value for name, value in (AREQ | changes).items() if value is not None}
    return codec.decode(areq_pb2.AReq, fields)


def an_erro(code: str, component: str = "S", description: str = "Wrong", **more: str) -> dict[str, str]:
    """Make an Erro."""
    return {
        "messageType": "Erro",
        "messageVersion": "2.2.0",
        "errorCode": code,
        "errorComponent": component,
        "errorDescription": description,
        "errorDetail": "acctNumber",
    } | more


@dataclass(frozen=True, slots=True)
class Reply:
    """What to write; then the connection ends, or stays and says nothing more."""

    content: bytes = b""
    hangs: bool = False


HANG = Reply(hangs=True)
BREAK = Reply()


def reply(
    body: Mapping[str, Any] | bytes,
    status: int = 200,
    content_type: str = "application/json; charset=utf-8",
    **headers: str,
) -> Reply:
    """Make an HTTP answer."""
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        "Connection: close",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + content)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived."""

    line: str
    headers: Mapping[str, str]
    """By lower-case name."""
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


@dataclass(slots=True)
class FakeThreeDS:
    """What the server is to say, and what it has seen."""

    url: str = ""
    replies: list[Reply] = field(default_factory=list)
    """One a request; the last one serves all that follow."""
    seen: list[Seen] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The client has left while it waited."""
    connections: set["asyncio.Task[None]"] = field(default_factory=set)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def arrived(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(5), self._arrival:
            await self._arrival.wait_for(lambda: len(self.seen) >= count)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        try:
            await self._answer(reader, writer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            # Swallowed here and only here: asyncio's server reports a cancelled connection as an error.
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        said = self.replies[min(len(self.seen), len(self.replies) - 1)]
        self.seen.append(Seen(line, headers, body))
        async with self._arrival:
            self._arrival.notify_all()
        writer.write(said.content)
        await writer.drain()
        if said.hangs:
            await reader.read()
            self.hung_up.set()


@asynccontextmanager
async def running_threeds(*replies: Reply) -> AsyncIterator[FakeThreeDS]:
    """Run a server on a free port."""
    fake = FakeThreeDS(replies=list(replies))
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield fake
    finally:
        server.close()
        for connection in fake.connections:
            connection.cancel()
        await asyncio.gather(*fake.connections, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def server_at(url: str, **limits: Any) -> AsyncIterator[HttpThreeDSServer]:
    """Talk with a server."""
    async with connect(ThreeDSSettings(base_url=url, api_key=SecretStr(API_KEY), **limits), None) as client:
        yield HttpThreeDSServer(client)


def call(seconds: float | None = None) -> Call:
    """Make the circumstances of a call, with a deadline so many seconds from now."""
    deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
    return Call(issuer_id="ISSUER0001", correlation_id="correlation-1", deadline=deadline)
