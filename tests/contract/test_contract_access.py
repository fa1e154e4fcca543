"""Authentication and authorisation at a running gateway: certificates, tokens and the policy's grants."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import grpc
import orjson
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2_grpc
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from structlog.testing import capture_logs

from gateway.settings import AccessSettings, Settings, TokenSettings
from issuer.callback.v1.service_pb2_grpc import CallbackServiceStub
from issuer.card.v1 import messages_pb2 as card
from issuer.card.v1.service_pb2_grpc import CardServiceStub
from issuer.notification.v1 import messages_pb2 as notification
from issuer.notification.v1.service_pb2_grpc import NotificationServiceStub
from sandbox import Sandbox
from sandbox.common.pki import STRANGER
from sandbox.gateway import credentials
from tests.contract.calling_back import registration
from tests.contract.card_rpcs import RPCS, changed
from tests.running import SECOND_ISSUER, Running, failure_of, running_gateway, settings_for

SUSPEND = card.SuspendCardRequest(issuer_id="SANDBOX001", card_id="card-active", reason_code="USER_DECISION")
_ASK = "ask the gateway's operators for a grant."
KEY = ECKey.generate_key("P-256", {"kid": "callers-1", "use": "sig"})


def granting(used: Settings, folder: Path, identity: str, rpcs: str, tokens: TokenSettings | None = None) -> Settings:
    """Grant a caller some rpcs for the sandbox's issuer, and nothing else to anybody."""
    file = folder / "policy-of-the-test.toml"
    grants = f'[{{ rpcs = ["{rpcs}"], issuers = ["SANDBOX001"] }}]'
    file.write_text(f'[[callers]]\nidentity = "{identity}"\ngrants = {grants}\n')
    changed: dict[str, object] = {"access": AccessSettings(policy_file=file, tokens=tokens)}
    if tokens is not None:
        changed["grpc"] = used.grpc.model_copy(update={"tls_client_ca_file": None})
    return used.model_copy(update=changed)


@asynccontextmanager
async def as_stranger(running: Running) -> AsyncIterator[grpc.aio.Channel]:
    pki = running.sandbox.pki
    async with grpc.aio.secure_channel(running.addresses.grpc, credentials(pki.server_ca, pki.stranger)) as channel:
        yield channel


def bearer(**changes: object) -> Mapping[str, str]:
    claims = {
        "iss": "https://login.example",
        "aud": "d1-gateway",
        "sub": "card-service",
        "exp": int(time.time()) + 300,
    } | changes
    token = jwt.encode({"alg": "ES256", "kid": "callers-1"}, claims, KEY, algorithms=["ES256"])
    return {"authorization": f"Bearer {token}"}


async def test_a_caller_that_is_granted_nothing_may_do_nothing(running: Running) -> None:
    async with as_stranger(running) as channel:
        failure = await failure_of(CardServiceStub(channel).SuspendCard(SUSPEND, timeout=10))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
        assert failure.outcome == "NOT_SENT"
        assert failure.message == f"The policy does not name {STRANGER}; {_ASK}"
        watch = NotificationServiceStub(channel).WatchNotifications(notification.WatchNotificationsRequest())
        assert (await failure_of(watch.read())).reason == "PERMISSION_DENIED"
        # Without a request: grpc's client ends a stream with its own INTERNAL if it writes while the refusal comes.
        assert (await failure_of(CallbackServiceStub(channel).HandleCallbacks().read())).reason == "PERMISSION_DENIED"
        reflector: Any = reflection_pb2_grpc.ServerReflectionStub(cast("grpc.Channel", channel))
        assert (await failure_of(reflector.ServerReflectionInfo().read())).reason == "PERMISSION_DENIED"
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert running.sandbox.store.card("card-active").suspended_for is None


async def test_a_malformed_request_of_a_caller_without_a_grant_is_not_even_looked_at(running: Running) -> None:
    async with as_stranger(running) as channel:
        failure = await failure_of(CardServiceStub(channel).SuspendCard(card.SuspendCardRequest(), timeout=10))
    assert (failure.reason, failure.violations) == ("PERMISSION_DENIED", {})


@asynccontextmanager
async def granted(sandbox: Sandbox, folder: Path, rpc: str) -> AsyncIterator[grpc.aio.Channel]:
    """Connect as a stranger that a gateway for two issuers grants an rpc for one of them."""
    used = granting(settings_for(sandbox, folder, second_issuer=True), folder, STRANGER, rpc)
    async with running_gateway(sandbox, used) as running, as_stranger(running) as channel:
        yield channel


async def test_a_grant_holds_for_its_rpcs_and_issuers_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    async with granted(sandbox, tmp_path, "issuer.card.v1.CardService/SuspendCard") as channel:
        cards = CardServiceStub(channel)
        await cards.SuspendCard(SUSPEND, timeout=10)
        resume = changed(RPCS["ResumeCard"].request, issuer_id="SANDBOX001")
        failure = await failure_of(cards.ResumeCard(resume, timeout=10))
        assert failure.reason == "PERMISSION_DENIED"
        assert (
            failure.message == f"The policy does not grant issuer.card.v1.CardService/ResumeCard to {STRANGER}; {_ASK}"
        )
        for issuer_id in (SECOND_ISSUER, "UNKNOWN001"):
            other = changed(SUSPEND, issuer_id=issuer_id)
            failure = await failure_of(cards.SuspendCard(other, timeout=10))
            assert failure.reason == "PERMISSION_DENIED"
            assert failure.message.endswith(f"CardService/SuspendCard to {STRANGER} for issuer {issuer_id}; {_ASK}")


async def test_a_page_token_of_another_caller_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    used = settings_for(sandbox, tmp_path)
    both = tmp_path / "policy-of-both.toml"
    grants = 'grants = [{ rpcs = ["issuer.notification.v1.NotificationService/*"], issuers = ["*"] }]'
    both.write_text(f'{used.access.policy_file.read_text()}\n[[callers]]\nidentity = "{STRANGER}"\n{grants}\n')
    used = used.model_copy(update={"access": AccessSettings(policy_file=both)})
    async with running_gateway(sandbox, used) as running, as_stranger(running) as channel:
        for name in ("billing", "fraud"):
            request = notification.ResetSubscriptionRequest(
                subscription=name, position=notification.START_POSITION_LATEST
            )
            await running.notifications.ResetSubscription(request, timeout=10)
        first = await running.notifications.ListSubscriptions(
            notification.ListSubscriptionsRequest(page_size=1), timeout=10
        )
        second = notification.ListSubscriptionsRequest(page_token=first.next_page_token)
        failure = await failure_of(NotificationServiceStub(channel).ListSubscriptions(second, timeout=10))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        page = await running.notifications.ListSubscriptions(second, timeout=10)
        assert [each.name for each in page.subscriptions] == ["fraud"]


async def test_one_denied_issuer_is_one_line_in_the_log(sandbox: Sandbox, tmp_path: Path) -> None:
    async with granted(sandbox, tmp_path, "issuer.card.v1.CardService/*") as channel:
        for request_id in ("", str(uuid4())):
            request = changed(SUSPEND, issuer_id=SECOND_ISSUER, request_id=request_id)
            with capture_logs() as logged:
                failure = await failure_of(CardServiceStub(channel).SuspendCard(request, timeout=10))
            assert failure.reason == "PERMISSION_DENIED"
            denied = [line["why"] for line in logged if line["event"] == "access_denied"]
            assert denied == ["not granted for this issuer"]


async def test_a_handler_may_not_register_for_an_issuer_that_it_is_not_granted(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    async with granted(sandbox, tmp_path, "issuer.callback.v1.CallbackService/*") as channel:
        handling = CallbackServiceStub(channel).HandleCallbacks()
        await handling.write(registration(issuer_ids=["SANDBOX001", SECOND_ISSUER]))
        assert (await failure_of(handling.read())).reason == "PERMISSION_DENIED"


async def test_a_caller_is_known_by_a_token_where_tokens_are_configured(sandbox: Sandbox, tmp_path: Path) -> None:
    jwks = tmp_path / "callers.jwks.json"
    jwks.write_bytes(orjson.dumps(KeySet([KEY]).as_dict(private=False)))
    tokens = TokenSettings(issuer="https://login.example", jwks_file=jwks)
    cards_of_one = ("jwt:card-service", "issuer.card.v1.CardService/*")
    used = granting(settings_for(sandbox, tmp_path), tmp_path, *cards_of_one, tokens)
    trusted = grpc.ssl_channel_credentials(sandbox.pki.server_ca.read_bytes())
    async with (
        running_gateway(sandbox, used) as running,
        grpc.aio.secure_channel(running.addresses.grpc, trusted) as channel,
    ):
        cards = CardServiceStub(channel)
        refused = [
            await failure_of(cards.SuspendCard(SUSPEND, timeout=10, metadata=tuple(metadata.items())))
            for metadata in ({}, bearer(exp=1), bearer(aud="another"), bearer(iss="https://another.example"))
        ]
        assert [failure.code for failure in refused] == [grpc.StatusCode.UNAUTHENTICATED] * 4
        not_accepted = "The bearer token is not accepted: its claim {} is missing or not as required here."
        assert [failure.message for failure in refused] == [
            "No credentials: send a bearer token, as metadata `authorization: Bearer <JWT>`.",
            "The bearer token has expired: get a new one.",
            not_accepted.format("aud"),
            not_accepted.format("iss"),
        ]
        other = await failure_of(cards.SuspendCard(SUSPEND, timeout=10, metadata=tuple(bearer(sub="fraud").items())))
        assert other.code is grpc.StatusCode.PERMISSION_DENIED
        await cards.SuspendCard(SUSPEND, timeout=10, metadata=tuple(bearer().items()))
