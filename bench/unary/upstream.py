"""The upstream that stands for D1 and the 3-D Secure server, with minimal work per call.

Runs as a process of its own, ``python -m bench.unary.upstream CERTIFICATE KEY CLIENT_CA``; see `bench.unary.child`.
It parses a request's first line and length (RFC 9112), and an AReq's transaction; every response is precomputed. It
counts successful calls, except those for tokens. Like D1 it requires a client certificate on its first port; like the
3-D Secure server it requires none on its second.
"""

import asyncio
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import orjson
import uvloop

from bench.common.history_pages import HISTORY_PATH, HistoryPages
from bench.common.threeds_messages import ARES
from bench.unary.child import serve_counts
from bench.unary.surroundings import TOKEN, collect_rarely
from sandbox.common.pki import Identity
from sandbox.common.tls import server_context

__all__: list[str] = []

_HOST: Final = "127.0.0.1"
_END_OF_HEAD: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)
_OK_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_TRANSACTION: Final = re.compile(rb'"threeDSServerTransID": ?"([0-9A-Za-z-]{36})"')


def _ok(value: Mapping[str, Any]) -> bytes:
    body = orjson.dumps(value)
    return _OK_HEAD % len(body) + body


_DONE: Final = b"HTTP/1.1 204 No Content\r\n\r\n"
_NOT_FOUND: Final = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_TOKEN_PATH: Final = b"/authz/v1/oauth2/token"
_TOKEN_ANSWER: Final = _ok({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 900})
_CARDS_PATH: Final = b"/banking/v2/issuers/"
_ANSWERED: Final[bytes] = ARES["threeDSServerTransID"].encode()
# json_format does not know EMV's codes: its users get the numbers of the enums' values, and no message type.
_NUMBERS: Final = {"messageVersion": 2, "acsChallengeMandated": 1, "transStatus": 5}
_AUTHENTICATIONS: Final[Mapping[bytes, bytes]] = {
    b"/auth": _ok(ARES),
    b"/auth/numbers": _ok({name: value for name, value in {**ARES, **_NUMBERS}.items() if name != "messageType"}),
}


class _Upstream:
    def __init__(self) -> None:
        self.count = 0
        self._history = HistoryPages()

    def answer(self, head: bytes, body: bytes) -> bytes:
        path = head.split(b" ", 2)[1]
        if path.startswith(_CARDS_PATH):
            self.count += 1
            return _DONE
        page = self._history.page(path) if path.startswith(HISTORY_PATH) else None
        if page is not None:
            self.count += 1
            return _OK_HEAD % len(page) + page
        authentication = _AUTHENTICATIONS.get(path)
        transaction = None if authentication is None else _TRANSACTION.search(body)
        if authentication is not None and transaction is not None:
            self.count += 1
            # Transaction ids all have the same length.
            return authentication.replace(_ANSWERED, transaction[1])
        return _TOKEN_ANSWER if path == _TOKEN_PATH else _NOT_FOUND


class _Connection(asyncio.Protocol):
    def __init__(self, upstream: _Upstream) -> None:
        self._upstream = upstream
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's TLS transport lacks the base class only.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(_END_OF_HEAD)
            found = _LENGTH.search(head)
            length = 0 if found is None else int(found[1])
            if not end or len(rest) < length:
                return
            self._received = rest[length:]
            self._transport.write(self._upstream.answer(head, rest[:length]))


async def _serve(certificate: str, key: str, client_ca: str) -> None:
    upstream, identity = _Upstream(), Identity(Path(certificate), Path(key))
    loop = asyncio.get_running_loop()
    ports = []
    for context in (server_context(identity, Path(client_ca)), server_context(identity)):
        server = await loop.create_server(lambda: _Connection(upstream), _HOST, ssl=context)
        ports.append(server.sockets[0].getsockname()[1])
    collect_rarely()
    await serve_counts(ports, lambda: upstream.count)


if __name__ == "__main__":
    uvloop.run(_serve(*sys.argv[1:]))
