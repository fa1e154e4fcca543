"""``python -m bench.scenarios.threeds_translation``: the CPU time of translating one Authenticate.

The request is a full browser AReq of 2.2.0, the response an ARes with a challenge. Measured is the work between the two
sockets: check, write JSON, read JSON, build the reply. The baseline is ``json_format`` in both directions with no rules
but those of the contract.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable
from pathlib import Path

import orjson
from google.protobuf import json_format
from protovalidate import Validator

from adapters.threeds.codec import decode, to_body
from bench.common.results import Row, format_figures
from bench.common.threeds_messages import AREQ, ARES
from gateway.threeds.rules.compiler import check_request
from issuer.threeds.v1 import areq_pb2, ares_pb2, messages_pb2

__all__ = ["main", "measure_translation"]

_ROUNDS = 40
_CALLS = 100


def _request() -> messages_pb2.AuthenticateRequest:
    return messages_pb2.AuthenticateRequest(areq=decode(areq_pb2.AReq, AREQ))


def _challenge(ares: ares_pb2.ARes) -> messages_pb2.BrowserChallenge:
    creq = {
        "threeDSServerTransID": ares.three_ds_server_trans_id,
        "acsTransID": ares.acs_trans_id,
        "messageVersion": "2.2.0",
        "messageType": "CReq",
        "challengeWindowSize": "05",
    }
    encoded = base64.urlsafe_b64encode(orjson.dumps(creq)).rstrip(b"=").decode()
    return messages_pb2.BrowserChallenge(acs_url=ares.acs_url, creq=encoded, max_session_data_length=1024)


def _with_plans(validator: Validator) -> Callable[[], bytes]:
    request = _request()
    answer = orjson.dumps(ARES)

    def translate() -> bytes:
        if validator.collect_violations(request) or check_request(request.areq):
            raise AssertionError("the request is valid")
        to_body(request.areq, "2.2.0")
        ares = decode(ares_pb2.ARes, orjson.loads(answer))
        return messages_pb2.AuthenticateResponse(ares=ares, challenge=_challenge(ares)).SerializeToString()

    return translate


def _with_json_format(validator: Validator) -> Callable[[], bytes]:
    request = _request()
    # json_format does not know EMV's codes: it gets the names of the enum's values.
    named = {**ARES, "messageVersion": 2, "acsChallengeMandated": 1, "transStatus": 5}
    answer = json.dumps({name: value for name, value in named.items() if name != "messageType"})

    def translate() -> bytes:
        if validator.collect_violations(request):
            raise AssertionError("the request is valid")
        json_format.MessageToJson(request.areq, indent=None).encode()
        ares = json_format.Parse(answer, ares_pb2.ARes())
        return messages_pb2.AuthenticateResponse(ares=ares, challenge=_challenge(ares)).SerializeToString()

    return translate


async def measure_translation(folder: Path, *, quick: bool) -> list[Row]:
    """Measure both ways in turns.

    Args:
        folder: Unused.
        quick: Run a quarter of the rounds.
    """
    del folder
    return await asyncio.to_thread(_measure, _ROUNDS // 4 if quick else _ROUNDS)


def _measure(rounds: int) -> list[Row]:
    validator = Validator()
    ways = {"gateway": _with_plans(validator), "json_format in both directions": _with_json_format(validator)}
    for translate in ways.values():
        translate()  # makes the plans
    costs: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, translate in ways.items():
            costs[name].append(_microseconds(translate))
    return [Row("translation", "full browser AReq of 2.2.0", name, cpu_us=cost) for name, cost in costs.items()]


def _microseconds(translate: Callable[[], bytes]) -> float:
    began = time.thread_time_ns()
    for _ in range(_CALLS):
        translate()
    return (time.thread_time_ns() - began) / _CALLS / 1000


def main() -> None:
    """Measure both ways and print them."""
    for row in _measure(_ROUNDS):
        print(f"{row.server}: {format_figures(row.cpu_us)} us of CPU a call")  # noqa: T201 - a report


if __name__ == "__main__":
    main()
