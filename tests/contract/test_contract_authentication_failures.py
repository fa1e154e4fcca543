"""AuthenticationService: each rpc's error when the 3DS server fails, and whether the server may have acted."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from pydantic import SecretStr

from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ThreeDSErro
from issuer.threeds.v1 import codes_pb2
from issuer.threeds.v1 import messages_pb2 as threeds
from sandbox.common.faults import Drop, Fault
from sandbox.threeds.contract import Operation
from sandbox.threeds.transaction import Phase
from tests.contract.areqs import EMAIL, an_areq, pan_of
from tests.contract.authenticating import Authenticating, authenticating_in
from tests.contract.card_rpcs import Rpc
from tests.contract.d1_failures import UPSTREAM_REJECTIONS
from tests.contract.d1_rpcs import LOOKUPS, THREEDS_RPCS
from tests.running import Error, Failure, failure_of

_Code = grpc.StatusCode
_CONTRACT = Path(__file__).parents[2] / "proto/issuer/threeds/v1/service.proto"
_COMMON = _CONTRACT.parents[2] / "common/v1/error.proto"
_NAME = re.compile(r"[A-Z_]{5,}")
every_rpc = pytest.mark.parametrize("rpc", THREEDS_RPCS.values(), ids=THREEDS_RPCS.keys())


_REJECTED = Error(_Code.INVALID_ARGUMENT, "THREE_DS_REJECTED")
_TIMED_OUT = Error(_Code.DEADLINE_EXCEEDED, "THREE_DS_TIMED_OUT")
_BROKEN = Error(_Code.INTERNAL, "UPSTREAM_CONTRACT", "UNKNOWN")
_MISLED = Error(_Code.INTERNAL, "UPSTREAM_CONTRACT")
_KEPT_OUT = Error(_Code.INTERNAL, "UPSTREAM_AUTHENTICATION")
_FAILED = Error(_Code.INTERNAL, "UPSTREAM_FAILED", "UNKNOWN")
_AWAY = Error(_Code.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "UNKNOWN")
_LOST = Error(_Code.UNKNOWN, "UPSTREAM_NO_RESPONSE", "UNKNOWN")

_REJECTING_CODES = ("101", "102", "103", "201", "202", "203", "204", "301", "302", "303", "304", "305", "306", "307")
_ERROS = {
    **dict.fromkeys(_REJECTING_CODES, _REJECTED),
    "402": _TIMED_OUT,
    "403": Error(_Code.UNAVAILABLE, "THREE_DS_TRANSIENT_FAILURE", retry_seconds=1.0),
    "404": Error(_Code.INTERNAL, "THREE_DS_PERMANENT_FAILURE"),
    "405": _TIMED_OUT,
    "999": _BROKEN,
}
"""The errors by the code of an Erro."""
_IN_DOUBT = {"402", "403", "404", "405"}
"""The codes that do not say whether the AReq came to the ACS."""

_HTML = Fault(html=True)
_RESPONSES: dict[str, tuple[Fault, Error]] = {
    **{name: (case.fault, case.error) for name, case in UPSTREAM_REJECTIONS.items()},
    "401": (Fault(status=401, headers={"Content-Type": "text/plain"}, body="Invalid API Key"), _KEPT_OUT),
    "403": (Fault(status=403), _KEPT_OUT),
    "404": (Fault(status=404), _MISLED),
    "405": (Fault(status=405), _MISLED),
    "504, at once": (Fault(status=504), _AWAY),
    "500, a page": (replace(_HTML, status=500), _FAILED),
    "200, no object": (Fault(status=200, body="[]"), _BROKEN),
    "200, nothing": (Fault(status=200, body=""), _BROKEN),
    "200, of another type": (Fault(status=200, body='{"messageType":"CReq"}'), _BROKEN),
    "200, without a transaction": (Fault(status=200, body="{}"), _BROKEN),
    "200, with a code of no Erro": (Fault(status=200, body='{"errorCode":"SOME_CODE"}'), _BROKEN),
    "200, too large": (Fault(status=200, body=json.dumps({"x": "x" * 2_000_000})), _BROKEN),
}
"""Responses without an Erro."""
_REPEATED = {"504, at once", "200, no object", *(name for name, case in UPSTREAM_REJECTIONS.items() if case.passing)}
"""The responses after which a call without effects is retried."""

_LOSSES = {
    "dropped before": Fault(drop=Drop.BEFORE),
    "dropped after": Fault(drop=Drop.AFTER),
    "truncated": Fault(truncate=True),
}
_ELSEWHERE = {("INVALID_ARGUMENT", "INVALID_REQUEST"), ("INVALID_ARGUMENT", "ISSUER_REQUIRED")} | {
    ("NOT_FOUND", "ISSUER_UNKNOWN"),
    ("NOT_FOUND", "THREE_DS_TRANSACTION_UNKNOWN"),
    ("UNAVAILABLE", "UPSTREAM_UNREACHABLE"),
    ("UNAVAILABLE", "UPSTREAM_CIRCUIT_OPEN"),
    ("UNAUTHENTICATED", "UNAUTHENTICATED"),
    ("PERMISSION_DENIED", "PERMISSION_DENIED"),
    ("RESOURCE_EXHAUSTED", "TOO_MANY_REQUESTS"),
    ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
    ("UNIMPLEMENTED", "RPC_UNKNOWN"),
}
"""The errors that the tests in other modules produce."""
_NOWHERE = {("INTERNAL", "INTERNAL")}
"""The errors that only a bug of the gateway could produce."""


def _erro(code: str, component: str = "D", **more: str) -> str:
    return json.dumps(
        {
            "messageType": "Erro",
            "messageVersion": "2.2.0",
            "errorCode": code,
            "errorComponent": component,
            "errorDescription": "Something is wrong",
            "errorDetail": "acctNumber",
        }
        | more
    )


async def _failure(
    authenticating: Authenticating, rpc: Rpc, fault: Fault, *, sent: int = 1, request: Any = None
) -> Failure:
    """Make a call that must fail, and check the number of attempts."""
    arrivals = authenticating.arrivals(rpc.operation, replace(fault, times=sent + 1))
    failure = await failure_of(rpc.call(authenticating.running, request))
    assert arrivals.count == sent, rpc.name
    assert failure.metadata["upstream"] == "threeds"
    authenticating.sandbox.faults.clear()
    return failure


def _common_errors() -> set[tuple[str, str]]:
    """Return the errors, common to all rpcs, of one that calls an upstream and takes no ``request_id``."""
    comment = re.sub(r"\s*//\s*", " ", _COMMON.read_text())
    (reasons,) = re.findall(r"Common reasons: (.*?) A call with a `request_id`", comment)
    errors = [GatewayError(error_pb2.ErrorReason.Value(f"ERROR_REASON_{name}"), "") for name in _NAME.findall(reasons)]
    return {(error.code.name, error.reason_name) for error in errors}


def test_every_status_that_the_contract_names_is_produced() -> None:
    # The first service of the file; the other one calls D1.
    comments = re.sub(r"\s*//\s*", " ", _CONTRACT.read_text().partition("\n}\n")[0])
    named = set(re.findall(r"\b([A-Z_]+) \(([A-Z_]+)\)", comments)) | _common_errors()
    tables = (*_ERROS.values(), *(expected for _, expected in _RESPONSES.values()), _LOST)
    assert {(expected.code.name, expected.reason) for expected in tables} | _ELSEWHERE | _NOWHERE == named


@pytest.mark.parametrize("status", [200, 400, 500])
@every_rpc
async def test_an_erro_is_mapped_by_its_code_whatever_its_status(
    authenticating: Authenticating, rpc: Rpc, status: int
) -> None:
    for code, expected in _ERROS.items():
        if (rpc.name, code) == ("LookupCard", "305"):
            continue  # A card that is not enrolled.
        sent = 3 if code == "403" and rpc in LOOKUPS else 1
        failure = await _failure(authenticating, rpc, Fault(status=status, body=_erro(code)), sent=sent)
        in_doubt = code in _IN_DOUBT and rpc not in LOOKUPS
        assert failure.error == (expected._replace(outcome="UNKNOWN", retry_seconds=None) if in_doubt else expected)
        assert (failure.detail.upstream_status, failure.detail.upstream_code) == (status, code)
        assert failure.detail.erro == ThreeDSErro(
            error_component="D", error_description="Something is wrong", error_detail="acctNumber"
        )


async def test_what_the_3ds_server_itself_says_of_a_result_is_its_state(authenticating: Authenticating) -> None:
    rpc = THREEDS_RPCS["GetChallengeResult"]
    for code in ("203", "301"):
        failure = await _failure(authenticating, rpc, Fault(status=200, body=_erro(code, "S")))
        assert (failure.code, failure.reason) == (_Code.NOT_FOUND, "THREE_DS_TRANSACTION_UNKNOWN")
    authenticating.sandbox.faults.add(Fault(Operation.POSTAUTH, status=200, body=_erro("305", "S")))
    assert await rpc.call(authenticating.running) == threeds.GetChallengeResultResponse(received=False)


@every_rpc
async def test_a_response_without_an_erro_is_mapped_by_its_status(authenticating: Authenticating, rpc: Rpc) -> None:
    for name, (fault, expected) in _RESPONSES.items():
        sent = 3 if name in _REPEATED and rpc in LOOKUPS else 1
        failure = await _failure(authenticating, rpc, fault, sent=sent)
        assert failure.error == expected, name
        assert failure.metadata["upstream_status"] == str(fault.status or 502)


@pytest.mark.parametrize("fault", _LOSSES.values(), ids=_LOSSES.keys())
async def test_an_areq_whose_response_is_lost_is_not_sent_again(authenticating: Authenticating, fault: Fault) -> None:
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
    request = threeds.AuthenticateRequest(areq=areq)
    failure = await _failure(authenticating, THREEDS_RPCS["Authenticate"], fault, request=request)
    assert failure.error == _LOST
    acted = fault.drop is not Drop.BEFORE
    assert authenticating.phase(areq.three_ds_server_trans_id) is (Phase.CHALLENGED if acted else Phase.LOOKED_UP)


@pytest.mark.parametrize("fault", _LOSSES.values(), ids=_LOSSES.keys())
@pytest.mark.parametrize("rpc", LOOKUPS, ids=lambda rpc: rpc.name)
async def test_a_lookup_whose_response_is_lost_is_sent_three_times(
    authenticating: Authenticating, rpc: Rpc, fault: Fault
) -> None:
    assert (await _failure(authenticating, rpc, fault, sent=3)).error == _LOST


_PASSING = {
    **_LOSSES,
    "502": _HTML,
    "503": Fault(status=503, headers={"Retry-After": "0"}),
    "429": Fault(status=429, headers={"Retry-After": "0"}),
    "504": Fault(status=504),
    "Erro 403": Fault(status=200, body=_erro("403")),
}


@pytest.mark.parametrize("fault", _PASSING.values(), ids=_PASSING.keys())
async def test_a_passing_fault_of_a_lookup_is_not_noticed(authenticating: Authenticating, fault: Fault) -> None:
    twice = replace(fault, times=2)
    lookups = authenticating.arrivals(Operation.PREAUTH, twice)
    areq = await authenticating.looked_up_areq("2.2.0", pan_of("0170"))
    assert lookups.count == 3
    response = await authenticating.authenticate(areq)
    await authenticating.begin_challenge(response.challenge)
    lookups = authenticating.arrivals(Operation.POSTAUTH, twice)
    result = await authenticating.result(areq.three_ds_server_trans_id)
    assert lookups.count == 3
    assert result.rreq.trans_status == codes_pb2.TRANS_STATUS_AUTHENTICATED


_ARES: dict[str, Any] = {"messageType": "ARes", "messageVersion": "2.2.0", "transStatus": "Y"}
_CONTRADICTIONS: dict[str, dict[str, Any]] = {
    "another transaction": {"threeDSServerTransID": str(uuid4())},
    "no transaction": {"threeDSServerTransID": None},
    "another version": {"messageVersion": "2.1.0"},
    "no version": {"messageVersion": None},
    "no type": {"messageType": None},
    "no status": {"transStatus": None},
    "an error": {"errorCode": "305"},
    "a challenge without a place": {"transStatus": "C", "acsTransID": str(uuid4())},
    "a challenge without an id": {"transStatus": "C", "acsURL": "https://acs.example/challenge"},
    "decoupled unasked": {"transStatus": "D", "acsDecConInd": "Y"},
}


@pytest.mark.parametrize("name", _CONTRADICTIONS)
async def test_an_ares_that_contradicts_its_areq_breaks_the_contract(authenticating: Authenticating, name: str) -> None:
    trans_id = str(uuid4())
    request = threeds.AuthenticateRequest(areq=an_areq("2.2.0", pan_of("0103"), three_ds_server_trans_id=trans_id))
    ares = _ARES | {"threeDSServerTransID": trans_id} | _CONTRADICTIONS[name]
    body = json.dumps({key: value for key, value in ares.items() if value is not None})
    failure = await _failure(
        authenticating, THREEDS_RPCS["Authenticate"], Fault(status=200, body=body), request=request
    )
    assert failure.error == _BROKEN


async def test_a_result_of_another_transaction_breaks_the_contract(authenticating: Authenticating) -> None:
    body = json.dumps({"messageType": "RReq", "threeDSServerTransID": str(uuid4()), "transStatus": "Y"})
    failure = await _failure(authenticating, THREEDS_RPCS["GetChallengeResult"], Fault(status=200, body=body))
    assert failure.error == _BROKEN


async def test_an_erros_text_is_passed_on_without_numbers_tokens_and_addresses(authenticating: Authenticating) -> None:
    detail = f"acctNumber {pan_of('0003')} or 9000 1001 1111 0003 of eyJhbGciOiJub25lIn0.e30., {EMAIL}, is\u0007odd"
    body = _erro("203", errorDetail=detail, threeDSServerTransID=pan_of("0003"))
    failure = await _failure(authenticating, THREEDS_RPCS["Authenticate"], Fault(status=200, body=body))
    assert "acctNumber" in failure.metadata["error_detail"]
    assert "is odd" in failure.metadata["error_detail"]
    told = repr(failure).replace(failure.detail.correlation_id, "")
    assert not [part for part in ("9000", "0003", "eyJ", *EMAIL.split("@")) if part in told]


async def test_a_wrong_api_key_is_the_operators_to_mend(tmp_path: Path) -> None:
    key = "00000000-0000-4000-8000-000000000000"
    async with authenticating_in(tmp_path, api_key=SecretStr(key), api_key_file=None) as authenticating:
        calls = (failure_of(rpc.call(authenticating.running)) for rpc in THREEDS_RPCS.values())
        for failure in await asyncio.gather(*calls):
            assert failure.error == _KEPT_OUT
            assert failure.metadata["upstream_status"] == "401"
            assert key not in repr(failure)
        assert authenticating.sandbox.transactions.all() == ()
