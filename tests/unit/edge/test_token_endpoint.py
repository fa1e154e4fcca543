import base64
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from adapters.d1.callbacks import token_body
from adapters.d1.callbacks.schema import TOKEN_PATH
from gateway.edge.auth_token_endpoint import TokenEndpoint, parse_basic, require_bearer
from gateway.edge.auth_tokens import Client, OAuthClients, Tokens
from gateway.edge.request_body import BODY_SECONDS
from gateway.edge.responses import answer_errors

KEY = ECKey.generate_key("P-256")
SECRET = "a:secret?of/d1>>"
FORM = "application/x-www-form-urlencoded"
texts = st.text(max_size=30)
Caller: TypeAlias = "TestClient[web.Request, web.Application]"


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


@asynccontextmanager
async def served(scope: str = "notify history") -> AsyncIterator[Caller]:
    async def greet(_: web.Request) -> web.Response:
        return web.Response(text="let in")

    known = Client("d1-client", hashlib.sha256(SECRET.encode()).hexdigest(), scope)
    own = Client("issuer-client", hashlib.sha256(b"another secret").hexdigest(), "own", "ISSUER0002")
    tokens = Tokens(KEY, clients=OAuthClients(known, own), lifetime_seconds=900)
    endpoint = TokenEndpoint(tokens, path=TOKEN_PATH, body=token_body)
    app = web.Application(middlewares=[answer_errors, require_bearer(endpoint)], client_max_size=4096)
    app[BODY_SECONDS] = 10.0
    app.add_routes(endpoint.routes())
    app.router.add_post("/callback", greet)
    app.router.add_post("/issuers/{issuerId}/callback", greet)
    async with TestClient(TestServer(app, access_log=None)) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[Caller]:
    async with served() as running:
        yield running


class Reply(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


async def request_token(
    client: Caller,
    body: bytes = b"grant_type=client_credentials",
    *,
    content_type: str = FORM,
    authorization: str | None = None,
) -> Reply:
    headers = {"Content-Type": content_type, "Authorization": basic() if authorization is None else authorization}
    async with client.post(TOKEN_PATH, data=body, headers=headers) as response:
        return Reply(response.status, await response.json(), response.headers)


async def test_without_an_agreed_scope_the_response_has_none() -> None:
    async with served(scope="") as client:
        status, body, _ = await request_token(client)
        assert status == 200
        assert "scope" not in body
        status, body, _ = await request_token(client, b"grant_type=client_credentials&scope=notify")
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
    client: Caller, body: bytes, error: str
) -> None:
    reply = await request_token(client, body)

    assert (reply.status, reply.body) == (400, {"error": error})


@pytest.mark.parametrize("scope", ["", "&scope=", "&scope=notify", "&scope=history+notify", "&scope=notify%20history"])
async def test_any_part_of_the_agreed_scope_may_be_requested(client: Caller, scope: str) -> None:
    assert (await request_token(client, b"grant_type=client_credentials" + scope.encode())).status == 200


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
    client: Caller, content_type: str, status: int
) -> None:
    assert (await request_token(client, content_type=content_type)).status == status


async def test_too_large_a_form_is_refused(client: Caller) -> None:
    assert (await request_token(client, b"grant_type=client_credentials&x=" + b"x" * 5000)).status == 413


async def test_after_ten_failures_even_the_right_secret_has_to_wait(client: Caller) -> None:
    token = (await request_token(client)).body["access_token"]
    for number in range(10):
        assert (await request_token(client, authorization=basic(secret=f"guess-{number}"))).status == 401

    for authorization in (basic(secret="another guess"), basic()):
        status, body, headers = await request_token(client, authorization=authorization)
        assert (status, body) == (429, {"error": "too many requests"})
        assert 1 <= int(headers["Retry-After"]) <= 6
    assert await call_back(client, f"Bearer {token}") == (200, "let in"), "callbacks still work"


async def test_who_requests_tokens_without_end_has_to_wait(client: Caller) -> None:
    for _ in range(120):
        assert (await request_token(client)).status == 200

    # The limit is a rate: meanwhile further requests may succeed.
    while (reply := await request_token(client)).status == 200:
        pass
    assert (reply.status, reply.body) == (429, {"error": "too many requests"})
    assert reply.headers["Retry-After"] == "1"


async def call_back(client: Caller, *authorizations: str, path: str = "/callback") -> tuple[int, str]:
    headers = [("Authorization", each) for each in authorizations]
    async with client.post(path, headers=headers) as response:
        return response.status, await response.text()


async def test_a_callback_with_a_token_is_let_in(client: Caller) -> None:
    token = (await request_token(client)).body["access_token"]

    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await call_back(client, f"{scheme} {token}") == (200, "let in")


OWN = basic("issuer-client", "another secret")


async def test_a_token_is_good_for_the_callbacks_that_its_client_makes(client: Caller) -> None:
    common = (await request_token(client)).body["access_token"]
    own = (await request_token(client, authorization=OWN)).body["access_token"]

    statuses = {
        path: [(await call_back(client, f"Bearer {token}", path=path))[0] for token in (common, own)]
        for path in ("/callback", "/issuers/ISSUER0001/callback", "/issuers/ISSUER0002/callback", "/nowhere")
    }
    assert statuses == {
        "/callback": [200, 401],
        "/issuers/ISSUER0001/callback": [200, 401],
        "/issuers/ISSUER0002/callback": [401, 200],
        "/nowhere": [404, 404],
    }
    # The path is that which the callback is served for, however it is written.
    assert (await call_back(client, f"Bearer {common}", path="/issuers/ISSUER000%32/callback"))[0] == 401


async def test_each_client_gets_its_own_scope_for_its_own_secret(client: Caller) -> None:
    assert (await request_token(client, authorization=OWN)).body["scope"] == "own"
    form = b"grant_type=client_credentials&scope="
    for authorization, scope, status in ((OWN, b"own", 200), (OWN, b"notify", 400), (None, b"own", 400)):
        assert (await request_token(client, form + scope, authorization=authorization)).status == status
    for authorization in (basic("issuer-client"), basic(secret="another secret")):
        assert (await request_token(client, authorization=authorization)).status == 401


async def test_wrong_secrets_of_one_client_do_not_hold_up_another(client: Caller) -> None:
    for client_id in ("issuer-client", "nobody"):
        for number in range(10):
            assert (await request_token(client, authorization=basic(client_id, f"guess-{number}"))).status == 401
        assert (await request_token(client, authorization=basic(client_id, "a guess"))).status == 429
    assert (await request_token(client, authorization=OWN)).status == 429

    assert (await request_token(client)).status == 200
