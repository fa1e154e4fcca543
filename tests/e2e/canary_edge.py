"""Callbacks of D1, or of a thief of its certificate, to every path of the edge: valid and invalid ones."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from sandbox.d1.callbacks.edge_client import EdgeCredentials
from sandbox.d1.model.contract import EDGE_TOKEN_PATH
from tests.e2e.canary_media import Evidence, Medium, collect_response
from tests.e2e.canary_requests import CARD, CONSUMER
from tests.e2e.canary_values import Canaries
from tests.running import consumer_notification_path, notification_path

__all__ = ["KINDS", "Edge"]

_CONSUMER_PATH: Final = f"/banking/d1/v1/issuers/SANDBOX001/consumers/{CONSUMER}"
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_RAW_SECONDS: Final = 10.0
_FORM: Final = {"grant_type": "client_credentials"}


@dataclass(frozen=True, slots=True)
class _Callback:
    method: str
    path: str
    body: Mapping[str, Any] | None = None


KINDS: Final = (
    "consumer_information",
    "deliver_otp",
    "authenticate",
    "authentication_result",
    "card_credentials",
)
"""The kinds of callback requests."""


class Edge:
    """Calls the edge and collects its responses."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, token: EdgeCredentials, evidence: Evidence, canaries: Canaries
    ) -> None:
        self._session = session
        self._url = url
        self._credentials = token
        self._evidence = evidence
        self._canaries = canaries
        self._token = ""

    async def fetch_token(self) -> None:
        """Fetch the token that callbacks must carry."""
        async with self._session.post(
            self._url + EDGE_TOKEN_PATH,
            data=_FORM,
            headers=self._headers() | {"Authorization": self._credentials.authorization()},
        ) as response:
            self._token = orjson.loads(await collect_response(self._evidence, "token", response))["access_token"]
        self._canaries.add("token of the edge", self._token)

    async def call(self, kind: str) -> int:
        """Send a valid callback request; return the status."""
        return await self._send(self._callbacks()[kind])

    async def notify(self) -> None:
        """Send a valid notification twice: duplicates get a response too."""
        headers = {"x-correlation-id": self._canaries["correlation id"]}
        for kind in ("three_ds_notification", "consumer_notification") * 2:
            assert await self._send(self._callbacks()[kind], headers=headers) == 204

    async def do_badly(self) -> None:
        """Send invalid requests to every callback and to unknown paths."""
        for callback in self._callbacks().values():
            await self._rejected(callback, headers={"Authorization": f"Bearer {self._canaries['wrong bearer token']}"})
            await self._rejected(callback, headers={"Authorization": f"Basic {self._canaries['client secret']}"})
            await self._rejected(_Callback(self._canaries["last name"].upper(), callback.path))
            for path in self._wrong_paths(callback.path):
                await self._rejected(_Callback(callback.method, path, callback.body))
            if callback.body is not None:
                for body, headers in self._wrong_bodies(callback.body):
                    await self._rejected(callback, body=body, headers=headers)
        text = self._canaries.all()
        for path in (f"/{self._canaries['PAN']}", f"/{text}", f"/a/../{self._canaries['e-mail']}"):
            await self._rejected(_Callback("GET", path))
        await self._fetch_badly()

    async def send_raw(self, address: str, tls: ssl.SSLContext | None) -> None:
        """Send bytes that are not HTTP, or not for this port.

        Only the edge's responses are collected: aiohttp's error at the admin port quotes the request, but to its sender
        only.
        """
        host, _, port = address.rpartition(":")
        text = self._canaries.all().encode()
        for data in (
            b"GET /" + text.replace(b" ", b"%20") + b" HTTP/9.9\r\n\r\n",
            b"GET / HTTP/1.1\r\nX-Card " + text + b"\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: " + text + b"\r\nX-Long: " + text * 20 + b"\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + text + b"\r\n\r\n",
            text + b"\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port), ssl=tls)
            try:
                writer.write(data)
                if tls is None:
                    writer.write_eof()
                async with asyncio.timeout(_RAW_SECONDS):
                    response = await reader.read()
                if tls is not None:
                    self._evidence.add(Medium.EDGE_RESPONSES, "raw", response)
            except OSError:
                # A closed connection is a valid response too.
                continue
            finally:
                writer.transport.abort()

    def _callbacks(self) -> dict[str, _Callback]:
        canaries = self._canaries
        purchase = {"merchantName": "Shop", "purchaseAmount": "100", "cardholder": canaries["cardholder name"]}
        otp = {"value": canaries["OTP"], "reason": canaries["reason"], "hint": canaries["unknown field"]}
        delivery = {"otp": otp, "panSuffix": canaries["PAN suffix"], "threeDSDetails": purchase}
        operation = {"operationId": "op-1", "status": "SUCCESSFUL", "startTime": "2026-01-31T14:13:12Z"}
        extra = {"note": canaries["unrecognized field of a notification"]}
        return {
            "three_ds_notification": _Callback(
                "POST", notification_path(CARD), operation | extra | {"operation": "3DS_FRICTIONLESS", "details": extra}
            ),
            "consumer_notification": _Callback(
                "POST", consumer_notification_path(CONSUMER), operation | extra | {"operation": "ENROLL_AUTHN"}
            ),
            "consumer_information": _Callback("GET", f"{_CONSUMER_PATH}?cardId={CARD}"),
            "deliver_otp": _Callback("POST", f"{_CONSUMER_PATH}/otp", delivery | {"mobile": canaries["phone number"]}),
            "authenticate": _Callback(
                "POST",
                f"{_CONSUMER_PATH}/authentication",
                {"cardId": CARD, "threeDSDetails": purchase, "pan": canaries["PAN"]},
            ),
            "authentication_result": _Callback("GET", f"{_CONSUMER_PATH}/authentication/push_9"),
            "card_credentials": _Callback("GET", f"/cms/api/v1/issuers/SANDBOX001/cards/{CARD}/credentials"),
        }

    def _wrong_paths(self, path: str) -> Iterator[str]:
        pan = self._canaries["PAN"]
        dashed = "-".join(pan[start : start + 4] for start in range(0, 16, 4))
        for name in (CARD, CONSUMER):
            if name in path:
                for wrong in (f"{pan} ", self._canaries["e-mail"], self._canaries["cardholder name"]):
                    yield path.replace(name, wrong)
        # Possible ids in otherwise invalid paths.
        for number in (pan, dashed, self._canaries["phone number"]):
            yield path.replace(CARD, number).replace(CONSUMER, number).replace("SANDBOX001", pan[-10:])
        yield path.partition("?")[0] + f"/{pan}?card={pan}&holder={self._canaries['cardholder name']}"

    def _wrong_bodies(self, good: Mapping[str, Any]) -> Iterator[tuple[bytes, dict[str, str]]]:
        text, as_json = self._canaries.all(), {"Content-Type": "application/json"}
        whole = orjson.dumps({**good, "further": text})
        deep: Any = text
        for _ in range(20):
            deep = {self._canaries["PAN"]: deep}
        yield whole[:-2], as_json
        yield orjson.dumps([text]), as_json
        yield text.encode(), as_json
        yield orjson.dumps({**good, **deep}), as_json
        yield orjson.dumps({**good, "deeper": {"still": [[[[[[[[[[[[[[deep]]]]]]]]]]]]]]}}), as_json
        yield orjson.dumps({**good, "much": text * 100}), as_json
        yield whole, {"Content-Type": f"text/{self._canaries['last name']}"}
        yield whole, as_json | {"Content-Encoding": "gzip"}

    async def _fetch_badly(self) -> None:
        wrong = self._canaries["wrong client secret"]
        guess = EdgeCredentials(self._credentials.client_id, wrong).authorization()
        for authorization, form in (
            (guess, _FORM),
            (f"Basic {wrong}", _FORM),
            (f"Bearer {wrong}", _FORM),
            (self._credentials.authorization(), {"grant_type": wrong}),
            (self._credentials.authorization(), _FORM | {"scope": self._canaries["passphrase"]}),
            (self._credentials.authorization(), {"client_secret": wrong}),
        ):
            headers = self._headers() | {"Authorization": authorization}
            async with self._session.post(self._url + EDGE_TOKEN_PATH, data=form, headers=headers) as response:
                await collect_response(self._evidence, "token", response)
                assert not response.ok

    async def _rejected(
        self, callback: _Callback, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        status = await self._send(callback, body=body, headers=headers)
        assert status >= 400, callback.path

    async def _send(
        self, callback: _Callback, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> int:
        path, _, query = callback.path.partition("?")
        query = f"{query}&pan={self._canaries['PAN']}&name={self._canaries['first name']}"
        url = URL(self._url).with_path(path).with_query(query)
        content = {"json": callback.body} if body is None else {"data": body}
        async with self._session.request(
            callback.method,
            url,
            headers=self._headers() | dict(headers or {}),
            allow_redirects=False,
            skip_auto_headers=["Accept-Encoding"],
            **content,
        ) as response:
            await collect_response(self._evidence, f"{callback.method} {callback.path}", response)
            return response.status

    def _headers(self) -> dict[str, str]:
        canaries = self._canaries
        return {
            "Authorization": f"Bearer {self._token}",
            "Cookie": f"card={canaries['PAN']}",
            "User-Agent": canaries["last name"],
            "Referer": f"https://shop.example/?card={canaries['PAN']}",
            "X-Otp": canaries["OTP"],
            "x-correlation-id": f"card {canaries['PAN']}",
            "traceparent": _TRACE_PARENT,
            "tracestate": canaries["trace state"],
        }
