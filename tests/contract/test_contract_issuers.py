"""The issuer of a request: every rpc needs one that the gateway serves, and may leave the only one out."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from gateway.settings import AggregatorSettings, Settings
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from issuer.notification.v1 import messages_pb2 as notification
from sandbox import Sandbox
from tests.contract.card_rpcs import RPCS, Rpc, changed, prepare
from tests.contract.d1_rpcs import D1_RPCS, THREEDS_RPCS, UPSTREAM_RPCS, make_ready, refused_unsent
from tests.contract.watching import watching
from tests.running import SECOND_ISSUER, Failure, Running, failure_of, running_gateway, settings_for

_Code = grpc.StatusCode
_RESULT = authentication.AuthenticationResult(
    authentication_id="authn-1", status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
)
_OTHERS = {
    "CompleteAuthentication": (
        "consumers",
        consumer.CompleteAuthenticationRequest(consumer_id="consumer-1", result=_RESULT),
    ),
    "CommitCursor": ("notifications", notification.CommitCursorRequest(subscription="billing", cursor="0-0")),
    "GetSubscription": ("notifications", notification.GetSubscriptionRequest(subscription="billing")),
    "ListSubscriptions": ("notifications", notification.ListSubscriptionsRequest()),
    "ResetSubscription": (
        "notifications",
        notification.ResetSubscriptionRequest(subscription="billing", after_cursor="0-0"),
    ),
    "DeleteSubscription": ("notifications", notification.DeleteSubscriptionRequest(subscription="billing")),
}
"""The rpcs that call no upstream and are no streams, with their service."""
_UNARY = {**UPSTREAM_RPCS, **{name: Rpc(name, "", request, service) for name, (service, request) in _OTHERS.items()}}


def _is_unknown(failure: Failure) -> bool:
    assert failure.message == "This gateway is not configured for issuer NOBODY0001: correct issuer_id."
    return (failure.code, failure.reason) == (_Code.NOT_FOUND, "ISSUER_UNKNOWN")


def _is_required(failure: Failure) -> bool:
    assert set(failure.violations) == {"issuer_id"}
    return (failure.code, failure.reason) == (_Code.INVALID_ARGUMENT, "ISSUER_REQUIRED")


@pytest.mark.parametrize("rpc", _UNARY.values(), ids=_UNARY.keys())
async def test_the_issuer_has_to_be_one_that_is_served(running: Running, running_two: Running, rpc: Rpc) -> None:
    unknown = changed(rpc.request, issuer_id="NOBODY0001")
    for gateway in (running, running_two):
        assert _is_unknown(await refused_unsent(gateway, rpc, unknown))
    assert _is_required(await refused_unsent(running_two, rpc, rpc.request))


async def test_a_watch_needs_its_issuer_as_every_call_does(running_two: Running) -> None:
    async with watching(running_two, issuer_id="NOBODY0001") as watch:
        assert _is_unknown(await watch.failure())
    async with watching(running_two) as watch:
        assert _is_required(await watch.failure())


@pytest.mark.parametrize("rpc", D1_RPCS.values(), ids=D1_RPCS.keys())
async def test_with_several_issuers_the_named_one_is_served(running_two: Running, rpc: Rpc) -> None:
    make_ready(running_two.sandbox)
    # D1 does not know the second issuer: it rejects the gateway's assertion.
    failure = await failure_of(rpc.call(running_two, changed(rpc.request, issuer_id=SECOND_ISSUER)))
    assert (failure.reason, failure.outcome) == ("UPSTREAM_AUTHENTICATION", "NOT_SENT")
    await rpc.call(running_two, changed(rpc.request, issuer_id="SANDBOX001"))


async def test_the_3ds_server_serves_every_issuer_under_the_gateways_api_key(running_two: Running) -> None:
    rpc = THREEDS_RPCS["LookupCard"]
    for issuer_id in ("SANDBOX001", SECOND_ISSUER):
        assert (await rpc.call(running_two, changed(rpc.request, issuer_id=issuer_id))).enrolled


async def test_no_issuer_id_means_the_only_issuer_and_its_name_the_same(running: Running) -> None:
    await RPCS["SuspendCard"].call(running, changed(RPCS["SuspendCard"].request, issuer_id="SANDBOX001"))
    await RPCS["ResumeCard"].call(running)
    suspended = {each.card_id: each.suspended_for is not None for each in running.sandbox.store.cards()}
    assert suspended == {"card-active": True, "card-suspended": False}


_COMMON_NAMES = {"SANDBOX001": "TLSMA-ECDSA/PPR/SANDBOX", SECOND_ISSUER: "TLSMA-ECDSA/PPR/SANDBOX002"}


@pytest.fixture(scope="module")
async def shared_strict_sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(tmp_path_factory.mktemp("strict") / "keys") as started:
        prepare(started.store)
        yield started


@pytest.fixture
def strict_sandbox(shared_strict_sandbox: Sandbox) -> Sandbox:
    """A D1 that knows two issuers, each by its own client certificate."""
    for issuer_id, common_name in _COMMON_NAMES.items():
        shared_strict_sandbox.issuers.put(issuer_id, common_name=common_name)
    return shared_strict_sandbox


async def _outcomes(sandbox: Sandbox, used: Settings) -> dict[str, str]:
    """Make a call for each issuer; return what became of it."""
    rpc = D1_RPCS["ListThreeDSOperations"]
    outcomes = {}
    async with running_gateway(sandbox, used) as running:
        for issuer_id in _COMMON_NAMES:
            try:
                await rpc.call(running, changed(rpc.request, issuer_id=issuer_id))
            except grpc.aio.AioRpcError as error:
                outcomes[issuer_id] = error.details() or ""
            else:
                outcomes[issuer_id] = "OK"
    return outcomes


async def test_each_issuers_calls_and_tokens_go_over_its_own_client_certificate(
    strict_sandbox: Sandbox, tmp_path: Path
) -> None:
    pki = strict_sandbox.pki
    second = {SECOND_ISSUER: pki.second_gateway_client}
    used = settings_for(strict_sandbox, tmp_path, second_issuer=True, clients=second)
    assert await _outcomes(strict_sandbox, used) == {"SANDBOX001": "OK", SECOND_ISSUER: "OK"}

    swapped = {"SANDBOX001": pki.second_gateway_client, SECOND_ISSUER: pki.gateway_client}
    used = settings_for(strict_sandbox, tmp_path, second_issuer=True, clients=swapped)
    for refusal in (await _outcomes(strict_sandbox, used)).values():
        assert refusal.startswith("Nothing was sent, because no access token could be obtained.")
        assert refusal.endswith("(HTTP 403): The client certificate is not the issuer's")


async def test_one_token_of_their_aggregator_serves_all_its_issuers(strict_sandbox: Sandbox, tmp_path: Path) -> None:
    issuers, pki = strict_sandbox.issuers, strict_sandbox.pki
    issuers.put_aggregator("AGGREGATOR", common_name=_COMMON_NAMES["SANDBOX001"])
    for issuer_id, common_name in _COMMON_NAMES.items():
        issuers.put(issuer_id, common_name=common_name, aggregator_id="AGGREGATOR")
    strict_sandbox.tokens.expire_all()
    used = settings_for(
        strict_sandbox, tmp_path, second_issuer=True, clients={SECOND_ISSUER: pki.second_gateway_client}
    )
    signers = used.issuers["SANDBOX001"].assertion_keys
    refusals = await _outcomes(strict_sandbox, used)
    assert all("no access token could be obtained" in refusal for refusal in refusals.values())
    changes = {
        "aggregators": {"AGGREGATOR": AggregatorSettings(assertion_keys=signers)},
        "issuers": {
            issuer_id: issuer.model_copy(update={"assertion_keys": (), "aggregator": "AGGREGATOR"})
            for issuer_id, issuer in used.issuers.items()
        },
    }

    outcomes = await _outcomes(strict_sandbox, used.model_copy(update=changes))

    assert set(outcomes.values()) == {"OK"}
    assert len(strict_sandbox.tokens._issued) == 1
