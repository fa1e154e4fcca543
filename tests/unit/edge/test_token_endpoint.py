import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from adapters.d1.callbacks import token_body
from adapters.d1.callbacks.schema import TOKEN_PATH
from gateway.edge.auth_token_endpoint import TokenEndpoint, parse_basic, require_bearer
from gateway.edge.auth_tokens import Client, Tokens
from gateway.edge.request_body import BODY_SECONDS
from gateway.edge.responses import answer_errors

KEY = ECKey.generate_key("P-256")
SECRET = "a:secret?of/d1>>"
FORM = "application/x-www-form-urlencoded"
texts = st.text(max_size=30)


def basic(client_id: str = "d1-client", secret: str = SECRET) -> str:
    return "Basic " + base64.urlsafe_b64encode(f"{client_id}:{secret}".encode()).decode()


@given(
    client_id=texts.filter(lambda text: ":" not in text),
    secret=texts,
    url_safe=st.booleans(),
    padded=st.booleans(),
    scheme=st.sampled_from(["Basic", "basic", "BASIC"]),
    space=st.sampled_from([" ", "  "]),
)
def test_credentials_are_read_in_either_alphabet_padded_or_not(
    *, client_id: str, secret: str, url_safe: bool, padded: bool, scheme: str, space: str
) -> None:
    plain = f"{client_id}:{secret}".encode()
    encoded = (base64.urlsafe_b64encode(plain) if url_safe else base64.b64encode(plain)).decode()

    header = scheme + space + (encoded if padded else encoded.rstrip("="))

    assert parse_basic([header]) == (client_id, secret)


def test_only_the_first_colon_ends_the_client_id() -> None:
    assert parse_basic([basic("d1-client", "a:b:c")]) == ("d1-client", "a:b:c")


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [basic(), basic()],
        [""],
        ["Basic"],
        ["Basic "],
        ["Bearer " + basic().removeprefix("Basic ")],
        [basic().removeprefix("Basic ")],
        ["Basic " + base64.b64encode(b"no colon").decode()],
        ["Basic " + base64.b64encode(b"\xff:\xff").decode()],
        ["Basic not!base64"],
        ["Basic a"],
        ["Basic YTpi YTpi"],
        ["Basic \udcff"],
        ["Basic ä"],
    ],
)
def test_what_holds_no_credentials_is_none(headers: list[str]) -> None:
    assert parse_basic(headers) is None


@given(st.lists(st.text(max_size=40) | st.text(max_size=40).map("Basic ".__add__), max_size=2))
def test_whatever_the_headers_reading_them_does_not_break(headers: list[str]) -> None:
    read = parse_basic(headers)

    assert read is None or ":" not in read[0]


def the_tokens(scope: str = "notify history") -> Tokens:
    client = Client("d1-client", hashlib.sha256(SECRET.encode()).hexdigest(), scope)
    return Tokens(KEY, client=client, lifetime_seconds=900)


@asynccontextmanager
async def served(tokens: Tokens) -> AsyncIterator[TestServer]:
    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="let in")

    endpoint = TokenEndpoint(tokens, path=TOKEN_PATH, body=token_body)
    app = web.Application(middlewares=[answer_errors, require_bearer(endpoint)], client_max_size=4096)
    app[BODY_SECONDS] = 10.0
    app.add_routes(endpoint.routes())
    app.router.add_post("/callback", greet)
    server = TestServer(app, access_log=None)
    async with server:
        yield server


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[TestServer]:
    async with served(the_tokens()) as running:
        yield running


@pytest.fixture
async def fresh_server() -> AsyncIterator[TestServer]:
    """A server whose rate limits are the test's own."""
    async with served(the_tokens()) as running:
        yield running


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as opened:
        yield opened


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


async def request_token(
    server: TestServer,
    session: aiohttp.ClientSession,
    body: bytes = b"grant_type=client_credentials",
    *,
    content_type: str = FORM,
    authorization: str | None = None,
) -> Reply:
    headers = {"Content-Type": content_type, "Authorization": basic() if authorization is None else authorization}
    async with session.post(server.make_url(TOKEN_PATH), data=body, headers=headers) as response:
        return Reply(response.status, await response.json(), response.headers)


async def test_the_response_is_what_d1_expects(server: TestServer, session: aiohttp.ClientSession) -> None:
    status, body, headers = await request_token(server, session)

    assert status == 200
    assert set(body) == {"access_token", "token_type", "expires_in", "expires_at", "scope"}
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", "900", "notify history")
    assert body["expires_at"].endswith(".000Z")
    assert datetime.fromisoformat(body["expires_at"]).tzinfo is not None
    assert headers["Cache-Control"] == "no-store"
    assert the_tokens().is_valid(body["access_token"])


async def test_without_an_agreed_scope_the_response_has_none(session: aiohttp.ClientSession) -> None:
    async with served(the_tokens(scope="")) as server:
        status, body, _ = await request_token(server, session)
        assert status == 200
        assert "scope" not in body
        status, body, _ = await request_token(server, session, b"grant_type=client_credentials&scope=notify")
        assert (status, body) == (400, {"error": "invalid_scope"})


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "invalid_request"),
        (b"scope=notify", "invalid_request"),
        (b"grant_type=password", "unsupported_grant_type"),
        (b"grant_type=", "unsupported_grant_type"),
        (b"grant_type=client_credentials&grant_type=client_credentials", "invalid_request"),
        (b"grant_type=client_credentials&scope=notify&scope=notify", "invalid_request"),
        (b"grant_type=client_credentials&scope=everything", "invalid_scope"),
        (b"grant_type=client_credentials&scope=notify+everything", "invalid_scope"),
        (b"\xff\xfe", "invalid_request"),
        (b"grant_type=\xff\xfe", "invalid_request"),
    ],
)
async def test_what_is_no_token_request_is_refused_in_the_words_of_oauth(
    server: TestServer, session: aiohttp.ClientSession, body: bytes, error: str
) -> None:
    reply = await request_token(server, session, body)

    assert (reply.status, reply.body) == (400, {"error": error})


@pytest.mark.parametrize("scope", ["", "&scope=", "&scope=notify", "&scope=history+notify", "&scope=notify%20history"])
async def test_any_part_of_the_agreed_scope_may_be_requested(
    server: TestServer, session: aiohttp.ClientSession, scope: str
) -> None:
    assert (await request_token(server, session, b"grant_type=client_credentials" + scope.encode())).status == 200


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (FORM.upper(), 200),
        (f"{FORM}; charset=utf-8", 200),
        (f"{FORM}; charset=unheard-of", 200),
        ("application/json", 415),
        ("text/plain", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_the_content_type_is_that_of_a_form_whatever_its_parameters(
    server: TestServer, session: aiohttp.ClientSession, content_type: str, status: int
) -> None:
    assert (await request_token(server, session, content_type=content_type)).status == status


@pytest.mark.parametrize(
    "authorization", [basic(secret="wrong"), basic("someone-else"), "Bearer x", "Basic !", basic(secret="")]
)
async def test_wrong_credentials_are_refused_without_a_word_on_what_is_wrong(
    server: TestServer, session: aiohttp.ClientSession, authorization: str
) -> None:
    status, body, headers = await request_token(server, session, authorization=authorization)

    assert (status, body) == (401, {"error": "invalid_client"})
    assert headers["WWW-Authenticate"].startswith("Basic ")


async def test_too_large_a_form_is_refused(server: TestServer, session: aiohttp.ClientSession) -> None:
    assert (await request_token(server, session, b"grant_type=client_credentials&x=" + b"x" * 5000)).status == 413


async def test_after_ten_failures_even_the_right_secret_has_to_wait(
    fresh_server: TestServer, session: aiohttp.ClientSession
) -> None:
    token = (await request_token(fresh_server, session)).body["access_token"]
    for number in range(10):
        assert (await request_token(fresh_server, session, authorization=basic(secret=f"guess-{number}"))).status == 401

    for authorization in (basic(secret="another guess"), basic()):
        status, body, headers = await request_token(fresh_server, session, authorization=authorization)
        assert (status, body) == (429, {"error": "too many requests"})
        assert 1 <= int(headers["Retry-After"]) <= 6
    assert await call_back(fresh_server, session, f"Bearer {token}") == (200, "let in"), "callbacks still work"


async def test_who_requests_tokens_without_end_has_to_wait(
    fresh_server: TestServer, session: aiohttp.ClientSession
) -> None:
    for _ in range(120):
        assert (await request_token(fresh_server, session)).status == 200

    # The limit is a rate: meanwhile further requests may succeed.
    while (reply := await request_token(fresh_server, session)).status == 200:
        pass
    assert (reply.status, reply.body) == (429, {"error": "too many requests"})
    assert reply.headers["Retry-After"] == "1"


async def call_back(server: TestServer, session: aiohttp.ClientSession, *authorizations: str) -> tuple[int, str]:
    headers = [("Authorization", each) for each in authorizations]
    async with session.post(server.make_url("/callback"), headers=headers) as response:
        return response.status, await response.text()


async def test_a_callback_with_a_token_is_let_in(server: TestServer, session: aiohttp.ClientSession) -> None:
    token = (await request_token(server, session)).body["access_token"]

    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await call_back(server, session, f"{scheme} {token}") == (200, "let in")


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Bearer x.y.z", basic(), "Bearer \xff", "Bearer é"])
async def test_a_callback_without_a_token_is_refused(server: TestServer, authorization: str) -> None:
    # Written by hand, because a client of any manners would not send some of these.
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(
        b"POST /callback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n"
        b"Authorization: " + authorization.encode("latin-1") + b"\r\n\r\n"
    )
    response = await reader.read()
    writer.close()
    await writer.wait_closed()

    assert response.startswith(b"HTTP/1.1 401 ")
    assert b'WWW-Authenticate: Bearer error="invalid_token"' in response


async def test_a_callback_with_two_tokens_is_refused(server: TestServer, session: aiohttp.ClientSession) -> None:
    token = (await request_token(server, session)).body["access_token"]

    status, _ = await call_back(server, session, f"Bearer {token}", f"Bearer {token}")

    assert status == 401
