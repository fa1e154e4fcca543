"""Messages with the fields of every example in the 3DS server's documentation, and values of our own."""

from collections.abc import Mapping
from typing import Any

TRANSACTION = "8700f0ef-0e96-471c-b107-1d2534f3f5a5"
_ACS_TRANSACTION = "fb95703f-92e7-4278-a20c-62b9a9200e84"
_DS_TRANSACTION = "87cbe14f-5960-4a01-a0bb-ae2c9871804a"

_MERCHANT = {
    "acquirerBIN": "438309",
    "acquirerMerchantID": "00002000000",
    "mcc": "5411",
    "merchantCountryCode": "208",
    "merchantName": "A Shop",
    "threeDSRequestorURL": "https://requestor.example.org",
}
_CARDHOLDER = {
    "cardExpiryDate": "3012",
    "cardholderName": "Jane Q Example",
    "email": "jane.q@example.org",
    "billAddrCity": "Aarhus",
    "billAddrCountry": "208",
    "billAddrLine1": "Storegade 1",
    "billAddrPostCode": "8000",
    "billAddrState": "82",
}

BROWSER_AREQ: Mapping[str, Any] = {
    **_MERCHANT,
    **_CARDHOLDER,
    "acctNumber": "9000100111111103",
    "notificationURL": "https://3ds_callback.example.org/challenge/end",
    "threeDSCompInd": "Y",
    "threeDSRequestorAuthenticationInd": "01",
    "deviceChannel": "02",
    "browserJavascriptEnabled": True,
    "browserAcceptHeader": "text/html,application/xhtml+xml,application/xml; q=0.9,*/*;q=0.8",
    "browserIP": "192.168.1.12",
    "browserJavaEnabled": True,
    "browserLanguage": "da",
    "browserColorDepth": "48",
    "browserScreenHeight": "400",
    "browserScreenWidth": "600",
    "browserTZ": "0",
    "browserUserAgent": "Mozilla/5.0 (Windows NT 6.1; Win64; x64; rv:47.0) Gecko/20100101 Firefox/47.0",
    "messageCategory": "01",
    "messageType": "AReq",
    "messageVersion": "2.1.0",
    "purchaseAmount": "102",
    "purchaseCurrency": "208",
    "purchaseExponent": "2",
    "purchaseDate": "20260316141312",
    "transType": "01",
}
REQUESTOR_AREQ: Mapping[str, Any] = {
    **_MERCHANT,
    **_CARDHOLDER,
    "acctNumber": "9000100111111103",
    "deviceChannel": "03",
    "threeRIInd": "01",
    "messageCategory": "02",
    "messageType": "AReq",
    "messageVersion": "2.1.0",
}
DECOUPLED_AREQ: Mapping[str, Any] = {
    **_MERCHANT,
    **_CARDHOLDER,
    "acctNumber": "9000100111112180",
    "threeDSRequestorDecReqInd": "Y",
    "threeDSRequestorDecMaxTime": "00005",
    "messageType": "AReq",
    "messageVersion": "2.2.0",
    "messageCategory": "01",
    "deviceChannel": "02",
    "transType": "01",
    "threeDSRequestorAuthenticationInd": "01",
    "threeDSRequestorID": "az0123456780",
    "threeDSRequestorName": "A Requestor",
    "purchaseAmount": "102",
    "purchaseCurrency": "208",
    "purchaseExponent": "2",
    "mobilePhone": {"cc": "45", "subscriber": "12345678"},
    "shipAddrCity": "Aarhus",
    "shipAddrCountry": "208",
    "shipAddrLine1": "Storegade 1",
    "shipAddrPostCode": "8000",
    "shipAddrState": "82",
}
"""The example lacks what the field tables require of a browser."""

_OF_AN_ACS = {
    "acsOperatorID": "an-acs",
    "acsReferenceNumber": "an-acs-1",
    "acsTransID": _ACS_TRANSACTION,
    "dsReferenceNumber": "a-ds-1",
    "dsTransID": _DS_TRANSACTION,
    "threeDSServerTransID": TRANSACTION,
}
_ARES_2_1_0 = {**_OF_AN_ACS, "messageType": "ARes", "messageVersion": "2.1.0"}
_ERRO = {"messageType": "Erro", "errorComponent": "S", "messageVersion": "2.2.0", "threeDSServerTransID": TRANSACTION}
_INFO = ["01", "02", "84", "90"]
_METHOD_URL = "https://acs.example.org/3ds-method"

RESPONSES: Mapping[str, Mapping[str, Any]] = {
    "frictionless": {
        **_ARES_2_1_0,
        "authenticationValue": "AAABBBCCCDDDEEEFFFGGGHHHIII=",
        "eci": "05",
        "transStatus": "Y",
    },
    "challenge": {
        **_ARES_2_1_0,
        "acsChallengeMandated": "N",
        "acsURL": "https://acs.example.org/challenge",
        "authenticationType": "01",
        "transStatus": "C",
    },
    "decoupled": {
        **_OF_AN_ACS,
        "messageType": "ARes",
        "messageVersion": "2.2.0",
        "acsChallengeMandated": "Y",
        "acsDecConInd": "Y",
        "authenticationType": "04",
        "cardholderInfo": "01",
        "transStatus": "D",
    },
    "decoupled result": {
        "acsTransID": _ACS_TRANSACTION,
        "authenticationType": "04",
        "authenticationValue": "AAABBBCCCDDDEEEFFFGGGHHHIII=",
        "dsTransID": _DS_TRANSACTION,
        "eci": "05",
        "interactionCounter": "00",
        "messageCategory": "01",
        "messageType": "RReq",
        "messageVersion": "2.2.0",
        "threeDSServerTransID": TRANSACTION,
        "transStatus": "Y",
    },
    "card range data": {
        "dsProtocolVersions": ["2.2.0", "2.3.1"],
        "dsStartProtocolVersion": "2.2.0",
        "dsEndProtocolVersion": "2.3.1",
        "acsProtocolVersions": [
            {
                "acsInfoInd": _INFO,
                "threeDSMethodURL": _METHOD_URL,
                "version": "2.2.0",
                "supportedMsgExt": [{"id": "A000000802-001", "version": "2.0"}],
            }
        ],
        "acsStartProtocolVersion": "2.2.0",
        "acsEndProtocolVersion": "2.2.0",
        "acsInfoInd": _INFO,
        "threeDSServerProtocolVersions": ["2.1.0", "2.2.0", "2.3.1"],
        "threeDSMethodURL": _METHOD_URL,
        "threeDSServerTransID": TRANSACTION,
        "scheme": "mastercard",
        "messageType": "CRD",
    },
    "no result yet": {**_ERRO, "errorCode": "305", "errorDescription": "No RReq yet", "errorDetail": "No response yet"},
    "result gone": {**_ERRO, "errorCode": "203", "errorDescription": "Unknown", "errorDetail": "Unknown id"},
    "timeout": {**_ERRO, "errorCode": "405", "errorDescription": "No DS", "errorDetail": "Connection timeout"},
}
"""What the server sends; ``supportedMsgExt`` is in an earlier example of the same."""
