"""``python -m bench.threeds_translation``: the CPU time that one Authenticate costs in translation.

The request is a full browser AReq of 2.2.0, the answer an ARes with a challenge. Measured is what happens to them
between the two sockets: check, write JSON, read JSON, build the reply. Beside it stands the plain alternative:
``json_format`` in both directions and no rules but those of the contract.
"""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
from google.protobuf import json_format
from protovalidate import Validator

from adapters.threeds.codec import decode, to_body
from bench.ratios import format_figures
from bench.results import Row
from gateway.threeds.rules.compiler import check_request
from issuer.threeds.v1 import areq_pb2, ares_pb2, messages_pb2

__all__ = ["AREQ", "ARES", "main", "measure_translation"]

_ROUNDS = 40
_CALLS = 100
_TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"

_ADDRESS = {"City": "Copenhagen", "Country": "208", "Line1": "Main Street 1", "Line2": "2nd floor", "PostCode": "1050"}
AREQ: Final[Mapping[str, Any]] = {
    **{f"billAddr{part}": value for part, value in _ADDRESS.items()},
    **{f"shipAddr{part}": value for part, value in _ADDRESS.items()},
    **{kind: {"cc": "45", "subscriber": "12345678"} for kind in ("homePhone", "mobilePhone", "workPhone")},
    "messageVersion": "2.2.0",
    "deviceChannel": "02",
    "messageCategory": "01",
    "threeDSServerTransID": _TRANSACTION,
    "threeDSCompInd": "Y",
    "threeDSRequestorURL": "https://requestor.example.org",
    "threeDSRequestorAuthenticationInd": "01",
    "threeDSRequestorChallengeInd": "04",
    "threeDSRequestorDecReqInd": "N",
    "threeDSRequestorAuthenticationInfo": {
        "threeDSReqAuthData": "reference",
        "threeDSReqAuthMethod": "02",
        "threeDSReqAuthTimestamp": "202811211031",
    },
    "threeDSRequestorPriorAuthenticationInfo": {
        "threeDSReqPriorAuthMethod": "02",
        "threeDSReqPriorAuthTimestamp": "202710211031",
        "threeDSReqPriorRef": "d7c1ee99-9478-44a6-b1f2-391e29c6b340",
    },
    "notificationURL": "https://requestor.example.org/challenge/end",
    "acctNumber": "9000100511111111",
    "cardExpiryDate": "3012",
    "acctType": "02",
    "acctID": "account-1",
    "acctInfo": {
        "chAccAgeInd": "05",
        "chAccChange": "20270101",
        "chAccChangeInd": "04",
        "chAccDate": "20200101",
        "chAccPwChange": "20270101",
        "chAccPwChangeInd": "05",
        "nbPurchaseAccount": "12",
        "paymentAccAge": "20270101",
        "paymentAccInd": "05",
        "provisionAttemptsDay": "0",
        "shipAddressUsage": "20270101",
        "shipAddressUsageInd": "04",
        "shipNameIndicator": "01",
        "suspiciousAccActivity": "01",
        "txnActivityDay": "1",
        "txnActivityYear": "100",
    },
    "acquirerBIN": "438309",
    "acquirerMerchantID": "00002000000",
    "mcc": "5411",
    "merchantCountryCode": "208",
    "merchantName": "Merchant",
    "merchantRiskIndicator": {
        "deliveryEmailAddress": "holder@example.org",
        "deliveryTimeframe": "01",
        "giftCardAmount": "1",
        "giftCardCount": "01",
        "giftCardCurr": "208",
        "preOrderDate": "20290101",
        "preOrderPurchaseInd": "01",
        "reorderItemsInd": "01",
        "shipIndicator": "01",
    },
    "transType": "01",
    "purchaseAmount": "10100",
    "purchaseCurrency": "208",
    "purchaseExponent": "2",
    "purchaseDate": "20281121103112",
    "cardholderName": "Cardholder Name",
    "email": "holder@example.org",
    "addrMatch": "Y",
    "browserAcceptHeader": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "browserUserAgent": "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0",
    "browserIP": "192.0.2.11",
    "browserLanguage": "da-DK",
    "browserJavascriptEnabled": True,
    "browserJavaEnabled": False,
    "browserColorDepth": "24",
    "browserScreenHeight": "1080",
    "browserScreenWidth": "1920",
    "browserTZ": "-60",
}
ARES: Final[Mapping[str, Any]] = {
    "messageType": "ARes",
    "messageVersion": "2.2.0",
    "threeDSServerTransID": _TRANSACTION,
    "acsTransID": "d7c1ee99-9478-44a6-b1f2-391e29c6b340",
    "dsTransID": "f25084f0-5b16-4c0a-ae5d-b24808a95e4b",
    "acsReferenceNumber": "3DS_LOA_ACS_201_13579",
    "dsReferenceNumber": "3DS_LOA_DIS_201_13579",
    "acsOperatorID": "operator",
    "acsURL": "https://acs.example.org/challenge",
    "acsChallengeMandated": "Y",
    "authenticationType": "02",
    "transStatus": "C",
}


def _request() -> messages_pb2.AuthenticateRequest:
    return messages_pb2.AuthenticateRequest(areq=decode(areq_pb2.AReq, AREQ))


def _challenge(ares: ares_pb2.ARes) -> messages_pb2.Challenge:
    creq = {
        "threeDSServerTransID": ares.three_ds_server_trans_id,
        "acsTransID": ares.acs_trans_id,
        "messageVersion": "2.2.0",
        "messageType": "CReq",
        "challengeWindowSize": "05",
    }
    encoded = base64.urlsafe_b64encode(orjson.dumps(creq)).rstrip(b"=").decode()
    return messages_pb2.Challenge(acs_url=ares.acs_url, creq=encoded, session_data_max=1024)


def _with_plans(validator: Validator) -> Callable[[], bytes]:
    request = _request()
    answer = orjson.dumps(ARES)

    def translate() -> bytes:
        if validator.collect_violations(request) or check_request(request.areq):
            raise AssertionError("the request is a good one")
        to_body(request.areq, "2.2.0")
        ares = decode(ares_pb2.ARes, orjson.loads(answer))
        return messages_pb2.AuthenticateResponse(ares=ares, challenge=_challenge(ares)).SerializeToString()

    return translate


def _with_json_format(validator: Validator) -> Callable[[], bytes]:
    request = _request()
    # json_format knows nothing of EMV's codes: it gets the names of the enum's values.
    named = {**ARES, "messageVersion": 2, "acsChallengeMandated": 1, "transStatus": 5}
    answer = json.dumps({name: value for name, value in named.items() if name != "messageType"})

    def translate() -> bytes:
        if validator.collect_violations(request):
            raise AssertionError("the request is a good one")
        json_format.MessageToJson(request.areq, indent=None).encode()
        ares = json_format.Parse(answer, ares_pb2.ARes())
        return messages_pb2.AuthenticateResponse(ares=ares, challenge=_challenge(ares)).SerializeToString()

    return translate


async def measure_translation(folder: Path, *, quick: bool) -> list[Row]:
    """Measure both ways in turns.

    Args:
        folder: Nothing is written there.
        quick: Make a quarter of the rounds.
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
