"""Every rpc with effects, repeated under its request id: D1 sees it once."""

import asyncio
import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf import descriptor_pool
from google.protobuf.message import Message

from gateway import bootstrap
from gateway.grpc_api.server import SERVICES
from gateway.idempotency.encryption import RecordCipher
from gateway.idempotency.requests import mutating_rpc
from gateway.settings import BackfillSettings, IdempotencySettings, Settings, SettingsError
from issuer.card.v1 import messages_pb2 as card
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox import Sandbox
from sandbox.common.faults import Drop, Fault
from sandbox.d1.model.contract import Operation
from tests.contract import card_rpcs, consumer_rpcs
from tests.contract.card_rpcs import Rpc, changed, credentials
from tests.contract.d1_failures import REJECTIONS, Case
from tests.contract.request_ids import identified, until_held
from tests.running import SECOND_ISSUER, Running, failure_of, running_gateway, settings_for

_D1: Mapping[str, Rpc] = MappingProxyType({**card_rpcs.RPCS, **consumer_rpcs.RPCS})
"""The rpcs that call D1."""

_RPCS: Mapping[str, Rpc] = MappingProxyType(
    {
        **_D1,
        "CompleteAuthentication": Rpc(
            "CompleteAuthentication",
            Operation.GET_TOKEN,
            consumer.CompleteAuthenticationRequest(
                consumer_id="consumer-1",
                result=authentication.AuthenticationResult(
                    authentication_id="authentication-1", status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
                ),
            ),
            "consumers",
        ),
    }
)

_OTHER: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "CreateCard": {"state": card.INITIAL_CARD_STATE_INACTIVE},
        "RegisterCard": {"credentials": credentials("4970101234567891")},
        "RenewCard": {"credentials": credentials(card_rpcs.ACTIVE_PAN, month=11)},
        "ReplaceCard": {"new_card_id": "card-other"},
        "DeleteCard": {"user_id": "clerk-7"},
        "SuspendCard": {"reason_code": "CARD_LOST"},
        "ResumeCard": {"reason_code": "USER_DECISION"},
        "DeleteAuthenticator": {"app_instance_id": "app-2"},
        "RegisterConsumer": {"personal_information": None},
        "DeleteConsumer": {"reason": "Left the bank"},
        "CompleteAuthentication": {
            "result": authentication.AuthenticationResult(
                authentication_id="authentication-1", status=authentication.AUTHENTICATION_STATUS_FAILED
            )
        },
    }
)
"""A change that makes a different request of each."""

_REPEATABLE = [name for name, rpc in _D1.items() if rpc.is_idempotent]
_NOT_REPEATABLE = [name for name, rpc in _D1.items() if not rpc.is_idempotent]
_REPLAYED = ("x-idempotent-replay", "true")


@pytest.fixture
async def sandbox(sandbox: Sandbox) -> Sandbox:
    consumer_rpcs.enrol(sandbox)
    return sandbox


def _forbid(running: Running, rpc: Rpc) -> None:
    """Make every further call of D1 fail, so that it would show."""
    running.sandbox.faults.add(Fault(rpc.operation, status=418, times=1000))


async def _call(running: Running, rpc: Rpc, request: Message) -> tuple[Message, bool]:
    """Call, and return the reply and whether it is a replay."""
    call = getattr(getattr(running, rpc.service), rpc.name)(request, timeout=10)
    reply = await call
    return reply, _REPLAYED in {(key, value) for key, value in await call.trailing_metadata()}


def test_every_mutating_rpc_is_among_the_tested_ones() -> None:
    pool = descriptor_pool.Default()
    methods = [f"/{name}/{method.name}" for name in SERVICES for method in pool.FindServiceByName(name).methods]
    mutating = {method.rpartition("/")[2] for method in methods if mutating_rpc(method)}
    assert mutating == _RPCS.keys() == _OTHER.keys()


@pytest.mark.parametrize("name", _RPCS)
async def test_neither_a_repeated_call_nor_a_different_one_under_its_id_reaches_d1(running: Running, name: str) -> None:
    rpc = _RPCS[name]
    request = identified(rpc)
    first, is_replay = await _call(running, rpc, request)
    assert not is_replay
    _forbid(running, rpc)
    known = consumer_rpcs.known(running.sandbox)
    for same in (request, changed(request, issuer_id=running.sandbox.issuer_id)):
        assert await _call(running, rpc, same) == (first, True)

    failure = await failure_of(rpc.call(running, changed(request, **_OTHER[name])))

    assert failure.error == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED", "NOT_SENT", None)
    assert failure.violations == {"request_id": "request_id.reused"}
    assert await _call(running, rpc, request) == (first, True)
    assert consumer_rpcs.known(running.sandbox) == known


@pytest.mark.parametrize("name", _D1)
async def test_while_a_call_is_in_flight_the_same_one_is_aborted(running: Running, name: str) -> None:
    rpc = _D1[name]
    request = identified(rpc)
    running.sandbox.faults.add(Fault(rpc.operation, latency_ms=1_500))
    running.sandbox.faults.add(Fault(rpc.operation, status=418))
    call = asyncio.create_task(_call(running, rpc, request))
    await until_held(running.sandbox)
    failure = await failure_of(rpc.call(running, request))
    assert failure.error == (grpc.StatusCode.ABORTED, "REQUEST_IN_FLIGHT", "NOT_SENT", 1.0)
    first, is_replay = await call
    assert not is_replay
    assert await _call(running, rpc, request) == (first, True)


async def test_of_a_hundred_identical_calls_at_once_one_reaches_d1(running: Running) -> None:
    rpc = _D1["CreateCard"]
    request = identified(rpc)
    before = len(running.sandbox.store.cards())
    ends = await asyncio.gather(*(_call(running, rpc, request) for _ in range(100)), return_exceptions=True)
    replies = [end for end in ends if not isinstance(end, BaseException)]
    others = [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]
    assert len(replies) + len(others) == 100
    assert len(running.sandbox.store.cards()) == before + 1
    assert [is_replay for _, is_replay in replies].count(False) == 1
    assert len({str(reply) for reply, _ in replies}) == 1
    assert {error.code() for error in others} <= {grpc.StatusCode.ABORTED}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault(drop=Drop.AFTER), "UPSTREAM_NO_RESPONSE"), (Fault(status=200, html=True), "UPSTREAM_CONTRACT")],
    ids=["dropped", "a firewall's page"],
)
@pytest.mark.parametrize("name", _NOT_REPEATABLE)
async def test_a_call_whose_response_was_lost_is_not_sent_again(
    running: Running, name: str, fault: Fault, reason: str
) -> None:
    rpc = _D1[name]
    request = identified(rpc)
    running.sandbox.faults.add(replace(fault, operation=rpc.operation))
    first = await failure_of(rpc.call(running, request))
    assert (first.reason, first.outcome) == (reason, "UNKNOWN")
    known = consumer_rpcs.known(running.sandbox)
    _forbid(running, rpc)
    again = await failure_of(rpc.call(running, request))
    assert (again.code, again.reason, again.outcome) == (first.code, first.reason, "UNKNOWN")
    assert "idempotent_replay" not in first.metadata
    correlation_id = again.metadata["correlation_id"]
    assert correlation_id != first.metadata["correlation_id"]
    assert again.metadata == {**first.metadata, "correlation_id": correlation_id, "idempotent_replay": "true"}
    assert (first.detail.idempotent_replay, again.detail.idempotent_replay) == (False, True)
    assert again.detail.upstream == first.detail.upstream == "d1"
    assert consumer_rpcs.known(running.sandbox) == known
    assert (await failure_of(rpc.call(running, changed(request, **_OTHER[name])))).reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=200, html=True)], ids=["500", "a firewall's page"])
@pytest.mark.parametrize("name", _REPEATABLE)
async def test_an_idempotent_call_is_sent_again_where_its_response_was_lost(
    running: Running, name: str, fault: Fault
) -> None:
    rpc = _D1[name]
    request = identified(rpc)
    running.sandbox.faults.add(replace(fault, operation=rpc.operation, times=20))
    assert (await failure_of(rpc.call(running, request))).outcome == "UNKNOWN"
    running.sandbox.faults.clear()
    first, is_replay = await _call(running, rpc, request)
    assert not is_replay
    assert await _call(running, rpc, request) == (first, True)


@pytest.mark.parametrize("case", REJECTIONS.values(), ids=REJECTIONS.keys())
async def test_after_a_failure_the_call_is_made_again_unless_it_may_have_changed_something(
    running: Running, case: Case
) -> None:
    rpc = _D1["CreateCard"]
    request = identified(rpc)
    running.sandbox.faults.add(replace(case.fault, operation=rpc.operation, times=20))
    failure = await failure_of(rpc.call(running, request))
    running.sandbox.faults.clear()
    if failure.outcome == "UNKNOWN":
        again = await failure_of(rpc.call(running, request))
        assert (again.code, again.reason, again.outcome) == (failure.code, failure.reason, "UNKNOWN")
    else:
        assert not (await _call(running, rpc, request))[1]


async def test_an_invalid_request_leaves_its_id_free(running: Running) -> None:
    rpc = _D1["SuspendCard"]
    request = identified(rpc)
    for fields in ({"card_id": ""}, {"issuer_id": SECOND_ISSUER}):
        assert (await failure_of(rpc.call(running, changed(request, **fields)))).outcome == "NOT_SENT"
    assert not (await _call(running, rpc, request))[1]


async def test_a_conflicting_result_is_reported_each_time(running: Running) -> None:
    rpc = _RPCS["CompleteAuthentication"]
    await rpc.call(running)
    other = identified(rpc, **_OTHER[rpc.name])
    for _ in range(2):
        assert (await failure_of(rpc.call(running, other))).reason == "AUTHENTICATION_DECIDED"


async def test_one_id_may_be_used_for_another_rpc_and_another_issuer(running_two: Running) -> None:
    request_id = str(uuid4())
    issuer_id = running_two.sandbox.issuer_id
    for name in ("SuspendCard", "CreateCard"):
        rpc = _D1[name]
        request = changed(rpc.request, request_id=request_id, issuer_id=issuer_id)
        assert not (await _call(running_two, rpc, request))[1]
    # D1 does not know the second issuer, but the call reaches it.
    other = changed(_D1["SuspendCard"].request, request_id=request_id, issuer_id=SECOND_ISSUER)
    assert (await failure_of(_D1["SuspendCard"].call(running_two, other))).reason.startswith("UPSTREAM_")


async def test_a_caller_that_leaves_finds_the_reply_when_it_comes_back(running: Running) -> None:
    rpc = _D1["CreateCard"]
    request = identified(rpc)
    before = len(running.sandbox.store.cards())
    running.sandbox.faults.add(Fault(rpc.operation, latency_ms=500))
    call = asyncio.create_task(rpc.call(running, request))
    await until_held(running.sandbox)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    reply, is_replay = await _settled(running, rpc, request)
    assert is_replay
    (made,) = running.sandbox.store.cards()[before:]
    assert reply == card.CreateCardResponse(card_id=made.card_id)


async def test_a_restart_replays_and_the_files_hold_nothing_of_request_or_reply(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    # The ids of changed cards are noted for automatic backfills, beside the records of requests.
    used = settings_for(sandbox, tmp_path).model_copy(update={"backfill": BackfillSettings(enabled=False)})
    requests = {name: identified(rpc) for name, rpc in _RPCS.items() if name in {"CreateCard", "RegisterCard"}}
    requests["RenewCard"] = identified(_D1["RenewCard"])
    lost = identified(_D1["ReplaceCard"])
    async with running_gateway(sandbox, used) as running:
        first = {name: (await _call(running, _D1[name], request))[0] for name, request in requests.items()}
        sandbox.faults.add(Fault(Operation.REPLACE_CARD, drop=Drop.AFTER))
        await failure_of(_D1["ReplaceCard"].call(running, lost))
        held = _held(tmp_path)
    key = (tmp_path / "d1-gateway.db.key").read_text().strip()
    for form in (key.encode(), bytes.fromhex(key)):
        assert form not in held
    created = first["CreateCard"]
    assert isinstance(created, card.CreateCardResponse)
    for secret in (created.card_id, *_pans(requests.values()), *(request.request_id for request in requests.values())):
        for written in _ways_to_write(secret.encode()):
            assert written not in held
    for request in requests.values():
        assert hashlib.sha256(request.SerializeToString()).digest() not in held

    async with running_gateway(sandbox, used) as running:
        for name, request in requests.items():
            assert await _call(running, _D1[name], request) == (first[name], True)
        again = await failure_of(_D1["ReplaceCard"].call(running, lost))
        assert (again.reason, again.outcome) == ("UPSTREAM_NO_RESPONSE", "UNKNOWN")


def _with_key_file(used: Settings, key_file: Path, content: str, *, forgotten: str | None = None) -> Settings:
    key_file.touch(mode=0o600)
    key_file.write_text(content)
    idempotency = IdempotencySettings(key_file=key_file, forget_records_of=forgotten)
    return used.model_copy(update={"idempotency": idempotency})


async def test_a_key_file_that_the_settings_name_is_the_one_that_is_used(sandbox: Sandbox, tmp_path: Path) -> None:
    rpc = _D1["CreateCard"]
    request = identified(rpc)
    used = _with_key_file(settings_for(sandbox, tmp_path), tmp_path / "first.key", "0a" * 32)
    async with running_gateway(sandbox, used) as running:
        first, _ = await _call(running, rpc, request)
    async with running_gateway(sandbox, used) as running:
        assert await _call(running, rpc, request) == (first, True)
    other = _with_key_file(used, tmp_path / "second.key", "0b" * 32)
    with pytest.raises(SettingsError, match=r"idempotency\.key_file: .*second\.key holds the key") as refused:
        async with bootstrap.running(other):
            pass
    key_id = RecordCipher(bytes.fromhex("0a" * 32)).key_id
    assert f"records of changes under the key {key_id}" in str(refused.value)
    forgetful = _with_key_file(used, tmp_path / "second.key", "0b" * 32, forgotten=key_id)
    async with running_gateway(sandbox, forgetful) as running:
        assert not (await _call(running, rpc, request))[1], "records of another key are unreadable"
    async with running_gateway(sandbox, other) as running:
        assert (await _call(running, rpc, request))[1]
    assert not (tmp_path / "d1-gateway.db.key").exists()


async def test_a_key_file_that_holds_no_key_is_found_before_anything_is_started(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    used = _with_key_file(settings_for(sandbox, tmp_path), tmp_path / "bad.key", "0a" * 31)
    with pytest.raises(SettingsError, match=r"idempotency\.key_file: .*bad\.key does not hold 64"):
        bootstrap.check(used)


def _held(folder: Path) -> bytes:
    """Return the data on disk, except the key."""
    files = [file for file in folder.glob("d1-gateway.db*") if file.suffix != ".key"]
    assert {"d1-gateway.db", "d1-gateway.db-wal"} <= {file.name for file in files}
    held = b"".join(file.read_bytes() for file in files)
    assert b"idempotency/" in held
    return held


def _pans(requests: Any) -> Iterator[str]:
    for request in requests:
        if "credentials" in request.DESCRIPTOR.fields_by_name:
            yield request.credentials.pan
    yield "4970109876543210"


def _ways_to_write(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield secret[::-1]
    for make in (hashlib.md5, hashlib.sha1, hashlib.sha256, hashlib.sha512, hashlib.blake2b, hashlib.blake2s):
        digest = make(secret).digest()
        yield from (digest, digest.hex().encode(), base64.b64encode(digest))
    yield hashlib.blake2b(secret, digest_size=32).digest()
    yield base64.b64encode(secret).rstrip(b"=")
    yield secret.hex().encode()


async def _settled(running: Running, rpc: Rpc, request: Message) -> tuple[Message, bool]:
    """Repeat a call until it is no longer in flight."""
    async with asyncio.timeout(10):
        while True:
            with suppress(grpc.aio.AioRpcError):
                return await _call(running, rpc, request)
            await asyncio.sleep(0.05)
