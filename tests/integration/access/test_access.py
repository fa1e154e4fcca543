import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
import structlog
from cryptography.x509.oid import ExtendedKeyUsageOID
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.typing import EventDict

from gateway.auth import grant as access
from gateway.auth.caller import Callers
from gateway.auth.issuers import Issuers, authorized_issuer
from gateway.auth.policy_file import PolicyFile
from gateway.grpc_api.interceptors.access import AccessInterceptor
from gateway.grpc_api.interceptors.chain import Chain, Context
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1 import service_pb2_grpc as card_grpc
from tests.unit.auth.auth_pki import SPIFFE, Authority, Pair, uri
from tests.unit.auth.auth_server import CARD_SERVICE, CLIENTS, ONE, POLICY, VOCABULARY, Served, serving
from tests.unit.auth.auth_tokens import jwk_set, signed, until

OPERATOR = CLIENTS.issue([uri("spiffe://bank/ops/anna")])
STRANGER = CLIENTS.issue([uri("spiffe://bank/stranger")])
NAMELESS = CLIENTS.issue(common_name=SPIFFE)
RESUME = card.ResumeCardRequest(issuer_id=ONE, card_id="card-1", reason_code=card.RESUME_REASON_CARD_FOUND)
LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    async with serving(tmp_path_factory.mktemp("served")) as served:
        yield served


@pytest.fixture
def served(shared: Served) -> Served:
    """A server that has recorded no grants yet. Its files stay as they are."""
    shared.cards.grants.clear()
    return shared


@pytest.fixture
async def changing(tmp_path: Path) -> AsyncIterator[Served]:
    """A server whose files the test changes."""
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
def logged() -> Iterator[list[EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def denials(logged: list[EventDict]) -> list[EventDict]:
    return [line for line in logged if line["event"] == "access_denied"]


def bearer(**changes: Any) -> Sequence[tuple[str, str]]:
    now = int(time.time())
    return (("authorization", f"Bearer {signed(**{'exp': now + 300, 'iat': now, **changes})}"),)


async def resume(channel: grpc.aio.Channel, *, metadata: Any = None) -> None:
    await card_grpc.CardServiceStub(channel).ResumeCard(RESUME, metadata=metadata, timeout=10)


async def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Take a failed call's code, and the reason and outcome of its ErrorInfo."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    trailing: dict[str, Any] = dict(caught.value.trailing_metadata())
    assert trailing["x-correlation-id"]
    info = error_details_pb2.ErrorInfo()
    status_pb2.Status.FromString(trailing["grpc-status-details-bin"]).details[0].Unpack(info)
    return caught.value.code(), info.reason, info.metadata["outcome"]


def reflection(channel: grpc.aio.Channel) -> Any:
    return reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", channel)).ServerReflectionInfo


UNAUTHENTICATED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", "NOT_SENT")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", "NOT_SENT")


async def test_a_caller_that_is_granted_an_rpc_is_served_under_its_grant(served: Served) -> None:
    async with served.channel() as channel:
        await resume(channel)
        await resume(channel, metadata=bearer())

    by_certificate, by_token = served.cards.grants
    assert by_certificate is not None
    assert by_token is not None
    assert (by_certificate.caller.identity, by_certificate.issuers) == (SPIFFE, frozenset({ONE}))
    assert (by_token.caller.identity, by_token.issuers) == ("jwt:card-service", None)


async def test_a_caller_that_is_not_granted_an_rpc_is_refused_and_the_log_says_who_it_was(
    served: Served, logged: list[EventDict]
) -> None:
    delete = card.DeleteCardRequest(issuer_id=ONE, card_id="card-1", reason_code="CLOSED_CARD")
    async with served.channel() as channel, served.channel(STRANGER) as strange:
        assert await failure(card_grpc.CardServiceStub(channel).DeleteCard(delete)) == DENIED
        assert await failure(resume(strange)) == DENIED

    assert [(line["rpc"], line["caller"], line["why"]) for line in denials(logged)] == [
        ("/issuer.card.v1.CardService/DeleteCard", SPIFFE, "rpc not granted"),
        ("/issuer.card.v1.CardService/ResumeCard", "spiffe://bank/stranger", "rpc not granted"),
    ]
    assert served.cards.grants == []


async def test_a_certificate_without_a_name_identifies_nobody(served: Served, logged: list[EventDict]) -> None:
    async with served.channel(NAMELESS) as channel:
        assert await failure(resume(channel)) == UNAUTHENTICATED
        await resume(channel, metadata=bearer())

    (denial,) = denials(logged)
    assert denial["why"].startswith("certificate: must name")


BAD_METADATA: dict[str, Sequence[tuple[str, str]]] = {
    "garbage": (("authorization", "Bearer a.b.c"),),
    "another scheme": (("authorization", "Basic dXNlcjpwYXNz"),),
    "two tokens": (*bearer(), *bearer()),
    "an expired token": bearer(exp=1_000_000_000),
    "a token for another audience": bearer(aud="another-service"),
}


@pytest.mark.parametrize("metadata", BAD_METADATA.values(), ids=BAD_METADATA.keys())
async def test_a_bad_token_is_refused_and_stands_in_no_log(
    served: Served, logged: list[EventDict], metadata: Sequence[tuple[str, str]]
) -> None:
    async with served.channel() as channel:
        assert await failure(resume(channel, metadata=metadata)) == UNAUTHENTICATED

    assert [line["log_level"] for line in denials(logged)] == ["warning"]
    for _, value in metadata:
        assert value.partition(" ")[2] not in str(logged)


BAD_CERTIFICATES = {
    "of another CA": Authority("Clients").issue([uri(SPIFFE)]),
    "signed by itself": Authority("Others").issue([uri(SPIFFE)]),
    "expired": CLIENTS.issue([uri(SPIFFE)], begins=timedelta(hours=-2), ends=timedelta(hours=-1)),
    "not valid yet": CLIENTS.issue([uri(SPIFFE)], begins=timedelta(hours=1), ends=timedelta(hours=2)),
    "for servers": CLIENTS.issue([uri(SPIFFE)], usage=ExtendedKeyUsageOID.SERVER_AUTH),
    "with a key that is not its own": Pair(CARD_SERVICE.certificate, STRANGER.key),
    "none": None,
}


@pytest.mark.parametrize("pair", BAD_CERTIFICATES.values(), ids=BAD_CERTIFICATES.keys())
async def test_a_bad_certificate_gets_no_connection_even_with_a_token(served: Served, pair: Pair | None) -> None:
    async with served.channel(pair) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await resume(channel, metadata=bearer())

    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert served.cards.grants == []


async def test_reflection_is_for_those_to_whom_it_is_granted(served: Served) -> None:
    async with served.channel(OPERATOR) as channel, served.channel() as other, served.channel(NAMELESS) as nameless:
        replies = reflection(channel)(iter([LIST_SERVICES] * 2))
        assert len([reply async for reply in replies if reply.HasField("list_services_response")]) == 2

        # Without a request: grpc's client ends a stream with its own INTERNAL if it writes while the refusal comes.
        assert await failure(reflection(other)().read()) == DENIED
        assert await failure(reflection(nameless)().read()) == UNAUTHENTICATED


async def test_a_change_of_the_policy_reaches_the_next_call(changing: Served, logged: list[EventDict]) -> None:
    async with changing.channel() as channel:
        await resume(channel)
        changing.policy_file.write_text(POLICY.replace("CardService/ResumeCard", "CardService/DeleteCard"))
        await until(lambda: any(line["event"] == "policy_reloaded" for line in logged))

        assert await failure(resume(channel)) == DENIED


async def test_a_token_of_a_key_that_was_taken_out_is_refused_on_the_same_connection(
    changing: Served, logged: list[EventDict]
) -> None:
    metadata = bearer()
    async with changing.channel() as channel:
        await resume(channel, metadata=metadata)
        changing.jwks_file.write_bytes(jwk_set())
        await until(lambda: any(line["event"] == "jwks_found_empty" for line in logged))

        assert await failure(resume(channel, metadata=metadata)) == UNAUTHENTICATED


async def test_grants_of_calls_at_the_same_time_are_not_mixed_up(served: Served) -> None:
    async with served.channel() as channel:
        await asyncio.gather(*(resume(channel, metadata=bearer() if number % 2 else None) for number in range(40)))

    identities = [grant.caller.identity for grant in served.cards.grants if grant is not None]
    assert sorted(identities) == ["jwt:card-service"] * 20 + [SPIFFE] * 20


async def test_an_rpc_that_cannot_be_wrapped_is_not_served_past_the_policy(served: Served) -> None:
    interceptor = AccessInterceptor(Callers(None), PolicyFile(served.policy_file, VOCABULARY))

    async def unparsed(_: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(_coroutine)

    async def blocking(_: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda request, _: request, request_deserializer=bytes)

    for continuation in (unparsed, blocking):
        with pytest.raises(TypeError, match="an rpc handler must"):
            await Chain(interceptor).intercept_service(continuation, _Details())


async def _coroutine(request: Any, _: Context) -> Any:
    return request


class _Details(grpc.HandlerCallDetails):
    method = "/some.Service/Method"
    invocation_metadata = ()


def test_without_a_grant_no_issuer_is_refused() -> None:
    assert authorized_issuer(Issuers([ONE]), ONE) == ONE

    assert access.current() is None
