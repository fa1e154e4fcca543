"""AReqs as JSON, with few fields beyond the required ones."""

import uuid
from typing import Any

__all__ = ["APP", "BROWSER", "REQUESTOR", "VERSIONS", "make_areq"]

VERSIONS = ("2.1.0", "2.2.0", "2.3.1")
APP, BROWSER, REQUESTOR = "01", "02", "03"

_PURCHASE = {
    "purchaseAmount": "101",
    "purchaseCurrency": "840",
    "purchaseExponent": "2",
    "purchaseDate": "20260131141312",
}
_MERCHANT = {
    "acquirerBIN": "438309",
    "acquirerMerchantID": "00002000000",
    "mcc": "5411",
    "merchantCountryCode": "840",
    "merchantName": "Dummy Merchant",
    "threeDSRequestorURL": "https://requestor.example.org",
}
_BROWSER = {
    "browserAcceptHeader": "text/html",
    "browserColorDepth": "48",
    "browserJavaEnabled": True,
    "browserLanguage": "en",
    "browserScreenHeight": "400",
    "browserScreenWidth": "600",
    "browserTZ": "0",
    "browserUserAgent": "Mozilla/5.0",
    "notificationURL": "https://requestor.example.org/challenge/end?a=1&b=2",
    "threeDSCompInd": "Y",
}
_APP = {
    "deviceRenderOptions": {"sdkInterface": "03", "sdkUiType": ["01"]},
    "sdkEncData": "e30.e30.e30.e30.e30",
    "sdkEphemPubKey": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
    "sdkMaxTimeout": "05",
    "sdkReferenceNumber": "SDK-1",
}


def make_areq(version: str, pan: str, channel: str = BROWSER, category: str = "01", **changes: Any) -> dict[str, Any]:
    """Return an AReq without an id, unless given. A change to None removes the field."""
    areq = {
        "messageType": "AReq",
        "messageVersion": version,
        "messageCategory": category,
        "deviceChannel": channel,
        "acctNumber": pan,
        "cardExpiryDate": "2812",
        **_PURCHASE,
        **_MERCHANT,
        **_of_channel(version, channel),
    }
    if version == "2.3.1":
        areq |= {"acquirerCountryCode": "840", "acquirerCountryCodeSource": "01"}
    areq |= changes
    return {name: value for name, value in areq.items() if value is not None}


def _of_channel(version: str, channel: str) -> dict[str, Any]:
    if channel == REQUESTOR:
        return {"threeRIInd": "05"}
    common = {"threeDSRequestorAuthenticationInd": "01"}
    if channel == APP:
        app = common | _APP | {"sdkAppID": str(uuid.uuid4()), "sdkTransID": str(uuid.uuid4())}
        return app | ({"sdkType": "80"} if version == "2.3.1" else {})
    browser = common | _BROWSER
    if version != "2.1.0":
        browser["browserJavascriptEnabled"] = True
    return browser | ({"acceptLanguage": ["en"]} if version == "2.3.1" else {})
