"""Callbacks of D1, or of a thief of its certificate, to every path of the edge: valid and invalid ones."""

import asyncio
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import aiohttp
import orjson
from yarl import URL

from gateway.formats.json_input import MAX_LEVELS
from sandbox.d1.callbacks.edge_client import EdgeCredentials
from sandbox.d1.model.contract import EDGE_TOKEN_PATH
from tests.e2e.canary_media import Evidence, Medium
from tests.e2e.canary_requests import CARD, CONSUMER
from tests.running import consumer_notification_path, notification_path

__all__ = ["KINDS", "Edge"]

_CONSUMER_PATH: Final = f"/banking/d1/v1/issuers/SANDBOX001/consumers/{CONSUMER}"
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_RAW_SECONDS: Final = 10.0
_FORM: Final = {"grant_type": "client_credentials"}


KINDS: Final = ("consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials")
"""The kinds of callback requests."""


@dataclass(frozen=True, slots=True)
class _Callback:
    method: str
    path: str
    body: Mapping[str, Any] | bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


class Edge:
    """Calls the edge and collects its responses."""

    def __init__(self, session: aiohttp.ClientSession, url: str, d1: EdgeCredentials, evidence: Evidence) -> None:
        self._session = session
        self._url = url
        self._d1 = d1
        self._evidence = evidence
        self._canaries = evidence.canaries
        self._token = ""

    async def fetch_token(self) -> None:
        """Fetch the token that callbacks must carry."""
        self._token = orjson.loads(await self._fetch(self._d1.authorization(), _FORM, succeeds=True))["access_token"]
        self._canaries.add("token of the edge", self._token)

    async def call(self, kind: str) -> int:
        """Send a valid callback request; return the status."""
        return await self._send(self._callbacks()[kind])

    async def notify(self) -> None:
        """Send a valid notification twice: duplicates get a response too."""
        headers = {"x-correlation-id": self._canaries["correlation id"]}
        for kind in ("three_ds_notification", "consumer_notification") * 2:
            assert await self._send(replace(self._callbacks()[kind], headers=headers)) == 204

    async def do_badly(self) -> None:
        """Send invalid requests to every callback and to unknown paths."""
        unknown = (f"/{self._canaries['PAN']}", f"/{self._canaries.all()}", f"/a/../{self._canaries['e-mail']}")
        for callback in (*self._wrong_callbacks(), *(_Callback("GET", path) for path in unknown)):
            assert await self._send(callback) >= 400, callback
        wrong = self._canaries["wrong client secret"]
        good, guess = self._d1.authorization(), EdgeCredentials(self._d1.client_id, wrong).authorization()
        for authorization, form in (
            (guess, _FORM),
            (f"Basic {wrong}", _FORM),
            (f"Bearer {wrong}", _FORM),
            (good, {"grant_type": wrong}),
            (good, _FORM | {"scope": self._canaries["passphrase"]}),
            (good, {"client_secret": wrong}),
        ):
            await self._fetch(authorization, form, succeeds=False)

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
        # The last two have another form than D1 documents.
        purchase = {
            "merchantName": "Shop",
            "purchaseAmount": 100,
            "cardholder": canaries["cardholder name"],
            "acsTransId": [canaries["PAN"]],
            "purchaseDate": {"ordered": canaries["account number"]},
        }
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

    def _wrong_callbacks(self) -> Iterator[_Callback]:
        for good in self._callbacks().values():
            for value in (f"Bearer {self._canaries['wrong bearer token']}", f"Basic {self._canaries['client secret']}"):
                yield replace(good, headers={"Authorization": value})
            yield _Callback(self._canaries["last name"].upper(), good.path)
            for path in self._wrong_paths(good.path):
                yield replace(good, path=path)
            if isinstance(good.body, Mapping):
                for body, headers in self._wrong_bodies(good.body):
                    yield replace(good, body=body, headers={"Content-Type": "application/json", **headers})

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
        text = self._canaries.all()
        whole = orjson.dumps({**good, "further": text})
        deep: Any = text
        for _ in range(MAX_LEVELS + 1):
            deep = {self._canaries["PAN"]: deep}
        yield whole[:-2], {}
        yield orjson.dumps([text]), {}
        yield text.encode(), {}
        yield orjson.dumps({**good, **deep}), {}
        yield orjson.dumps({**good, "much": text * 100}), {}
        yield whole, {"Content-Type": f"text/{self._canaries['last name']}"}
        yield whole, {"Content-Encoding": "gzip"}

    async def _fetch(self, authorization: str, form: Mapping[str, str], *, succeeds: bool) -> bytes:
        headers = self._headers() | {"Authorization": authorization}
        async with self._session.post(self._url + EDGE_TOKEN_PATH, data=form, headers=headers) as response:
            assert response.ok is succeeds
            return await self._evidence.add_response("token", response)

    async def _send(self, callback: _Callback) -> int:
        path, _, query = callback.path.partition("?")
        query = f"{query}&pan={self._canaries['PAN']}&name={self._canaries['first name']}"
        content: Any = {"data" if isinstance(callback.body, bytes) else "json": callback.body}
        async with self._session.request(
            callback.method,
            URL(self._url).with_path(path).with_query(query),
            headers=self._headers() | dict(callback.headers),
            allow_redirects=False,
            skip_auto_headers=["Accept-Encoding"],
            **content,
        ) as response:
            await self._evidence.add_response(f"{callback.method} {callback.path}", response)
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
