"""D1, or whoever got hold of its certificate, at every callback of the edge: well and badly."""

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
from tests.e2e.canary_media import Evidence, Medium, seen_answer
from tests.e2e.canary_requests import CARD, CONSUMER
from tests.e2e.canary_values import Canaries
from tests.running import consumer_notification_path, notification_path

__all__ = ["QUESTIONS", "Edge"]

_CONSUMER_PATH: Final = f"/banking/d1/v1/issuers/SANDBOX001/consumers/{CONSUMER}"
_TRACE_PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_RAW_SECONDS: Final = 10.0
_FORM: Final = {"grant_type": "client_credentials"}


@dataclass(frozen=True, slots=True)
class _Callback:
    method: str
    path: str
    body: Mapping[str, Any] | None = None


QUESTIONS: Final = ("consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials")
"""The kinds of questions."""


class Edge:
    """Calls the edge, and gathers what it answers."""

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
        """Get the token that callbacks have to carry."""
        async with self._session.post(
            self._url + EDGE_TOKEN_PATH,
            data=_FORM,
            headers=self._headers() | {"Authorization": self._credentials.authorization()},
        ) as answer:
            self._token = orjson.loads(await seen_answer(self._evidence, "token", answer))["access_token"]
        self._canaries.add("token of the edge", self._token)

    async def ask(self, kind: str) -> int:
        """Ask a question as it should be; returns the status."""
        return await self._send(self._callbacks()[kind])

    async def notify(self) -> None:
        """Notify as it should be, twice: a duplicate is answered too."""
        headers = {"x-correlation-id": self._canaries["correlation id"]}
        for kind in ("three_ds_notification", "consumer_notification") * 2:
            assert await self._send(self._callbacks()[kind], headers=headers) == 204

    async def do_badly(self) -> None:
        """Send what is refused to every callback, and to where there is none."""
        for callback in self._callbacks().values():
            await self._refused(callback, headers={"Authorization": f"Bearer {self._canaries['wrong bearer token']}"})
            await self._refused(callback, headers={"Authorization": f"Basic {self._canaries['client secret']}"})
            await self._refused(_Callback(self._canaries["last name"].upper(), callback.path))
            for path in self._wrong_paths(callback.path):
                await self._refused(_Callback(callback.method, path, callback.body))
            if callback.body is not None:
                for body, headers in self._wrong_bodies(callback.body):
                    await self._refused(callback, body=body, headers=headers)
        text = self._canaries.all()
        for path in (f"/{self._canaries['PAN']}", f"/{text}", f"/a/../{self._canaries['e-mail']}"):
            await self._refused(_Callback("GET", path))
        await self._fetch_badly()

    async def send_raw(self, address: str, tls: ssl.SSLContext | None) -> None:
        """Send what is no HTTP, or not for this port.

        What comes back is gathered from the edge alone: aiohttp's answer at the admin port quotes to its sender, and to
        nobody else, what that sent.
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
                    answer = await reader.read()
                if tls is not None:
                    self._evidence.add(Medium.EDGE_ANSWERS, "raw", answer)
            except OSError:
                # Hung up on, which is an answer too.
                continue
            finally:
                writer.transport.abort()

    def _callbacks(self) -> dict[str, _Callback]:
        canaries = self._canaries
        purchase = {"merchantName": "Shop", "purchaseAmount": "100", "cardholder": canaries["cardholder name"]}
        otp = {"value": canaries["OTP"], "reason": canaries["reason"], "hint": canaries["unknown field"]}
        delivery = {"otp": otp, "panSuffix": canaries["PAN suffix"], "threeDSDetails": purchase}
        operation = {"operationId": "op-1", "status": "SUCCESSFUL", "startTime": "2026-01-31T14:13:12Z"}
        told = {"note": canaries["unrecognized field of a notification"]}
        return {
            "three_ds_notification": _Callback(
                "POST", notification_path(CARD), operation | told | {"operation": "3DS_FRICTIONLESS", "details": told}
            ),
            "consumer_notification": _Callback(
                "POST", consumer_notification_path(CONSUMER), operation | told | {"operation": "ENROLL_AUTHN"}
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
        # What could be an id, where the rest is wrong.
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
            async with self._session.post(self._url + EDGE_TOKEN_PATH, data=form, headers=headers) as answer:
                await seen_answer(self._evidence, "token", answer)
                assert not answer.ok

    async def _refused(
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
        ) as answer:
            await seen_answer(self._evidence, f"{callback.method} {callback.path}", answer)
            return answer.status

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
