"""Who may call a gateway: certificates and tokens as its listener meets them, and a policy and keys that change."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from grpc_reflection.v1alpha import reflection_pb2
from structlog.testing import capture_logs
from structlog.typing import EventDict

from gateway.grpc_api import reflection
from gateway.settings import AccessSettings, TokenSettings
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from sandbox import Sandbox
from tests.running import SECOND_ISSUER, failure_of, running_gateway, settings_for
from tests.unit.auth.auth_pki import SPIFFE, Authority, Pair, uri
from tests.unit.auth.auth_tokens import EC, ISSUER, jwk, jwk_set, signed, until

_POLICY = f"""
[[callers]]
identity = "{SPIFFE}"
grants = [{{ rpcs = ["issuer.card.v1.CardService/ResumeCard"], issuers = ["SANDBOX001"] }}]
[[callers]]
identity = "spiffe://bank/second"
grants = [{{ rpcs = ["issuer.card.v1.CardService/*"], issuers = ["{SECOND_ISSUER}"] }}]
[[callers]]
identity = "jwt:card-service"
grants = [{{ rpcs = ["issuer.card.v1.CardService/*"], issuers = ["*"] }}]
[[callers]]
identity = "spiffe://bank/ops/*"
grants = [{{ rpcs = [
    "grpc.reflection.v1.ServerReflection/*", "grpc.reflection.v1alpha.ServerReflection/*"
], issuers = ["*"] }}]
"""
CLIENTS = Authority("Clients")
CARD_SERVICE = CLIENTS.issue([uri(SPIFFE)])
SECOND = CLIENTS.issue([uri("spiffe://bank/second")])
OPERATOR = CLIENTS.issue([uri("spiffe://bank/ops/anna")])
STRANGER = CLIENTS.issue([uri("spiffe://bank/stranger")])
SUBORDINATE = CLIENTS.issue([uri(SPIFFE)], more=[x509.BasicConstraints(ca=True, path_length=None)])
NAMELESS = CLIENTS.issue(common_name=SPIFFE)

_RESUME = card.ResumeCardRequest(issuer_id="SANDBOX001", card_id="card-unknown", reason_code="CARD_FOUND")
_SERVED = (grpc.StatusCode.NOT_FOUND, "UPSTREAM_NOT_FOUND", "REJECTED")
"""The outcome of a call that reaches D1, which does not know the card."""
_UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "NOT_SENT")
_DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "NOT_SENT")


@dataclass(frozen=True, slots=True)
class _Gateway:
    """A gateway that trusts `CLIENTS` and tokens of `EC`, with `_POLICY`."""

    address: str
    server_ca: bytes
    policy_file: Path
    jwks_file: Path

    @asynccontextmanager
    async def channel(self, pair: Pair | None = CARD_SERVICE) -> AsyncIterator[grpc.aio.Channel]:
        key, certificate = (None, None) if pair is None else (pair.key, pair.certificate)
        credentials = grpc.ssl_channel_credentials(self.server_ca, key, certificate)
        # The retries of a handshake that fails would outlast the test.
        options = [("grpc.initial_reconnect_backoff_ms", 20_000), ("grpc.enable_retries", 0)]
        async with grpc.aio.secure_channel(self.address, credentials, options) as channel:
            yield channel


@asynccontextmanager
async def _running(sandbox: Sandbox, folder: Path) -> AsyncIterator[_Gateway]:
    policy_file, jwks_file, ca_file = (folder / name for name in ("callers.toml", "jwks.json", "clients.pem"))
    policy_file.write_text(_POLICY)
    jwks_file.write_bytes(jwk_set(jwk(EC)))
    ca_file.write_bytes(CLIENTS.certificate)
    used = settings_for(sandbox, folder, second_issuer=True)
    tokens = TokenSettings(issuer=ISSUER, jwks_file=jwks_file)
    changes = {
        "grpc": used.grpc.model_copy(update={"tls_client_ca_file": ca_file}),
        "access": AccessSettings(policy_file=policy_file, tokens=tokens),
    }
    async with running_gateway(sandbox, used.model_copy(update=changes)) as running:
        yield _Gateway(running.addresses.grpc, sandbox.pki.server_ca.read_bytes(), policy_file, jwks_file)


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("sandbox")) as started:
        yield started


@pytest.fixture(scope="module")
async def gateway(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[_Gateway]:
    async with _running(sandbox, tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def logged(gateway: _Gateway) -> Iterator[list[EventDict]]:
    del gateway
    with capture_logs() as lines:
        yield lines


def _denials(logged: list[EventDict]) -> list[EventDict]:
    return [line for line in logged if line["event"] == "access_denied"]


def _bearer(**changes: Any) -> Sequence[tuple[str, str]]:
    now = int(time.time())
    return (("authorization", f"Bearer {signed(**{'exp': now + 300, 'iat': now, **changes})}"),)


async def _failed(call: Awaitable[object]) -> tuple[grpc.StatusCode, str, str]:
    failure = await failure_of(call)
    return failure.code, failure.reason, failure.outcome


async def _resume(channel: grpc.aio.Channel, metadata: Any = None) -> tuple[grpc.StatusCode, str, str]:
    return await _failed(CardServiceStub(channel).ResumeCard(_RESUME, metadata=metadata, timeout=30))


def _reflection(channel: grpc.aio.Channel, service: str) -> Any:
    return channel.stream_stream(
        f"/{service}/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )


async def test_a_caller_is_known_by_its_certificate_or_else_by_its_token(gateway: _Gateway) -> None:
    async with gateway.channel() as channel, gateway.channel(STRANGER) as strange:
        assert await _resume(channel) == _SERVED
        assert await _resume(strange, _bearer()) == _SERVED


async def test_who_is_not_granted_an_rpc_is_refused_and_logged(gateway: _Gateway, logged: list[EventDict]) -> None:
    delete = card.DeleteCardRequest(issuer_id="SANDBOX001", card_id="card-1", reason_code="CLOSED_CARD")
    async with gateway.channel() as channel, gateway.channel(STRANGER) as strange:
        assert await _failed(CardServiceStub(channel).DeleteCard(delete)) == _DENIED
        assert await _resume(strange) == _DENIED

    assert [(line["rpc"], line["caller"], line["why"]) for line in _denials(logged)] == [
        ("/issuer.card.v1.CardService/DeleteCard", SPIFFE, "rpc not granted"),
        ("/issuer.card.v1.CardService/ResumeCard", "spiffe://bank/stranger", "rpc not granted"),
    ]


async def test_a_certificate_without_a_name_identifies_nobody(gateway: _Gateway, logged: list[EventDict]) -> None:
    async with gateway.channel(NAMELESS) as channel:
        assert await _resume(channel) == _UNAUTHENTICATED
        assert await _resume(channel, _bearer()) == _SERVED

    (denial,) = _denials(logged)
    assert denial["why"].startswith("certificate: must name")


@pytest.mark.parametrize("pair", [CLIENTS.pair, SUBORDINATE], ids=["the CA's own", "another CA's"])
async def test_the_certificate_of_a_ca_identifies_nobody_even_with_a_token(
    gateway: _Gateway, logged: list[EventDict], pair: Pair
) -> None:
    async with gateway.channel(pair) as channel:
        for metadata in (None, _bearer()):
            resume: Any = CardServiceStub(channel).ResumeCard(_RESUME, metadata=metadata, timeout=30)
            failure = await failure_of(resume)
            assert (failure.code, failure.reason, failure.outcome) == _UNAUTHENTICATED
            assert failure.message == "The client certificate is a CA's: present one of a client's own."

    assert [line["why"] for line in _denials(logged)] == ["certificate: is a CA's"] * 2


_HEADER = "The metadata `authorization` must be there once, and be `Bearer <JWT>`."


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        (
            (("authorization", "Bearer a.b.c"),),
            "The bearer token is not accepted: send a signed JWT of the issuer, and ",
        ),
        ((("authorization", "Basic dXNlcjpwYXNz"),), _HEADER),
        ((*_bearer(), *_bearer()), _HEADER),
        (_bearer(exp=1_000_000_000), "The bearer token has expired: get a new one."),
        (_bearer(aud="another-service"), "The bearer token is not accepted: its claim aud is missing or not as "),
    ],
    ids=["garbage", "another scheme", "two tokens", "an expired token", "a token for another audience"],
)
async def test_a_bad_token_is_refused_and_stands_in_no_log(
    gateway: _Gateway, logged: list[EventDict], metadata: Sequence[tuple[str, str]], message: str
) -> None:
    async with gateway.channel() as channel:
        resume: Any = CardServiceStub(channel).ResumeCard(_RESUME, metadata=metadata, timeout=30)
        failure = await failure_of(resume)
    assert (failure.code, failure.reason, failure.outcome) == _UNAUTHENTICATED
    assert failure.message.startswith(message)

    assert [line["log_level"] for line in _denials(logged)] == ["warning"]
    for _, value in metadata:
        assert value.partition(" ")[2] not in str(logged)


@pytest.mark.parametrize(
    "pair",
    [
        Authority("Clients").issue([uri(SPIFFE)]),
        Authority("Others").issue([uri(SPIFFE)]),
        CLIENTS.issue([uri(SPIFFE)], begins=timedelta(hours=-2), ends=timedelta(hours=-1)),
        CLIENTS.issue([uri(SPIFFE)], begins=timedelta(hours=1)),
        CLIENTS.issue([uri(SPIFFE)], usage=ExtendedKeyUsageOID.SERVER_AUTH),
        Pair(CARD_SERVICE.certificate, STRANGER.key),
        None,
    ],
    ids=[
        "of another CA of the same name",
        "of another CA",
        "expired",
        "not valid yet",
        "for servers",
        "stolen",
        "none",
    ],
)
async def test_a_bad_certificate_gets_no_connection_even_with_a_token(gateway: _Gateway, pair: Pair | None) -> None:
    async with gateway.channel(pair) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await CardServiceStub(channel).ResumeCard(_RESUME, metadata=_bearer(), timeout=30)

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("service", reflection.SERVICES)
async def test_reflection_is_for_those_to_whom_it_is_granted(gateway: _Gateway, service: str) -> None:
    list_services = reflection_pb2.ServerReflectionRequest(list_services="")
    async with gateway.channel(OPERATOR) as channel, gateway.channel() as other, gateway.channel(NAMELESS) as nameless:
        replies = _reflection(channel, service)(iter([list_services] * 2))
        assert len([reply async for reply in replies if reply.HasField("list_services_response")]) == 2

        # Without a request: grpc's client ends a stream with its own INTERNAL if it writes while the refusal comes.
        assert await _failed(_reflection(other, service)().read()) == _DENIED
        assert await _failed(_reflection(nameless, service)().read()) == _UNAUTHENTICATED


async def test_an_unknown_rpc_is_unknown_to_everybody_and_logged_with_its_caller(
    gateway: _Gateway, logged: list[EventDict]
) -> None:
    path = "/issuer.card.v1.CardService/NoCard"
    for pair, caller in ((STRANGER, "spiffe://bank/stranger"), (NAMELESS, None)):
        # There is at most one line a second.
        seen = {"rpc": path, "caller": caller, "event": "rpc_unknown", "log_level": "warning"}
        while not [line for line in logged if line.items() >= seen.items()]:
            async with gateway.channel(pair) as channel:
                call: Any = channel.unary_unary(path)
                assert await _failed(call(b"", timeout=30)) == (
                    grpc.StatusCode.UNIMPLEMENTED,
                    "RPC_UNKNOWN",
                    "NOT_SENT",
                )


async def test_grants_of_calls_at_the_same_time_are_not_mixed_up(gateway: _Gateway) -> None:
    async with gateway.channel(SECOND) as channel:
        token = _bearer()
        outcomes = await asyncio.gather(*(_resume(channel, token if number % 2 else None) for number in range(40)))

    assert outcomes == [_DENIED, _SERVED] * 20


async def test_a_changed_policy_and_a_withdrawn_key_reach_the_next_call(sandbox: Sandbox, tmp_path: Path) -> None:
    async with _running(sandbox, tmp_path) as gateway, gateway.channel() as channel:
        token = _bearer()
        assert [await _resume(channel), await _resume(channel, token)] == [_SERVED, _SERVED]
        with capture_logs() as logged:
            gateway.policy_file.write_text(_POLICY.replace("CardService/ResumeCard", "CardService/DeleteCard"))
            gateway.jwks_file.write_bytes(jwk_set())
            await until(lambda: {"policy_reloaded", "jwks_found_empty"} <= {line["event"] for line in logged})

        assert await _resume(channel) == _DENIED
        assert await _resume(channel, token) == _UNAUTHENTICATED
