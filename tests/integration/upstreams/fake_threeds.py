"""The messages of a 3-D Secure server, and a connection to it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from adapters.threeds import HttpThreeDSServer, codec, connect
from gateway.settings import ThreeDSSettings
from issuer.threeds.v1 import areq_pb2

API_KEY = "2f1c3b9e-0d5a-4b8e-9a47-0c5d8f6e7a10"
PAN = "9000100511111111"
TRANSACTION = "d461f105-1792-407f-95ff-9a496fd918a9"
OTHER_TRANSACTION = "0e2a3b64-52a1-4d0b-8f0c-6a1f1a7a2c11"
ACS_TRANSACTION = "5af5e779-4d44-4201-a2bf-4890eb9e0ba7"
DS_TRANSACTION = "87cbe14f-5960-4a01-a0bb-ae2c9871804a"

CRD = {
    "messageType": "CRD",
    "threeDSServerTransID": TRANSACTION,
    "scheme": "standin",
    "dsStartProtocolVersion": "2.1.0",
    "dsEndProtocolVersion": "2.2.0",
    "acsStartProtocolVersion": "2.1.0",
    "acsEndProtocolVersion": "2.2.0",
    "threeDSMethodURL": "https://acs.example/3dsmethod",
}
ARES = {
    "messageType": "ARes",
    "messageVersion": "2.2.0",
    "threeDSServerTransID": TRANSACTION,
    "acsTransID": ACS_TRANSACTION,
    "dsTransID": DS_TRANSACTION,
    "transStatus": "Y",
    "eci": "05",
    "authenticationValue": "AAABBBCCCDDDEEEFFFGGGHHHIII=",
    "acsReferenceNumber": "acs-reference",
    "dsReferenceNumber": "ds-reference",
}
RREQ = {
    "messageType": "RReq",
    "messageVersion": "2.2.0",
    "messageCategory": "01",
    "threeDSServerTransID": TRANSACTION,
    "acsTransID": ACS_TRANSACTION,
    "dsTransID": DS_TRANSACTION,
    "transStatus": "Y",
    "eci": "05",
}
AREQ = {
    "messageType": "AReq",
    "messageVersion": "2.2.0",
    "messageCategory": "01",
    "deviceChannel": "02",
    "threeDSServerTransID": TRANSACTION,
    "acctNumber": PAN,
    "cardholderName": "Cardholder Name",
    "browserJavaEnabled": True,
    "purchaseAmount": "101",
}


def an_areq() -> areq_pb2.AReq:
    """Make a browser's AReq of 2.2.0, with one field of each type: the adapter judges none."""
    return codec.decode(areq_pb2.AReq, AREQ)


def an_erro(code: str, component: str = "S", description: str = "Wrong", **more: str) -> dict[str, str]:
    """Make an Erro."""
    return {
        "messageType": "Erro",
        "messageVersion": "2.2.0",
        "errorCode": code,
        "errorComponent": component,
        "errorDescription": description,
        "errorDetail": "acctNumber",
    } | more


@asynccontextmanager
async def server_at(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[HttpThreeDSServer]:
    """Talk with a server."""
    settings = ThreeDSSettings(base_url=url, api_key=SecretStr(API_KEY))
    async with connect(settings, tls) as client:
        yield HttpThreeDSServer(client)
