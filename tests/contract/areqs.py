"""AReqs of every version and channel that the gateway and the simulator accept."""

import uuid
from collections.abc import Mapping
from typing import Any

from google.protobuf import struct_pb2

from issuer.threeds.v1 import areq_pb2, codes_pb2, objects_pb2

APP = codes_pb2.DEVICE_CHANNEL_APP
BROWSER = codes_pb2.DEVICE_CHANNEL_BROWSER
REQUESTOR = codes_pb2.DEVICE_CHANNEL_REQUESTOR_INITIATED

VERSIONS: "dict[str, codes_pb2.MessageVersion.ValueType]" = {
    "2.1.0": codes_pb2.MESSAGE_VERSION_2_1_0,
    "2.2.0": codes_pb2.MESSAGE_VERSION_2_2_0,
    "2.3.1": codes_pb2.MESSAGE_VERSION_2_3_1,
}
"""The versions by their text, oldest first."""

FINAL_STATUSES: "dict[str, codes_pb2.TransStatus.ValueType]" = {
    "03": codes_pb2.TRANS_STATUS_AUTHENTICATED,
    "13": codes_pb2.TRANS_STATUS_NOT_AUTHENTICATED,
    "23": codes_pb2.TRANS_STATUS_ATTEMPTED,
    "33": codes_pb2.TRANS_STATUS_REJECTED,
    "43": codes_pb2.TRANS_STATUS_INFORMATIONAL,
    "53": codes_pb2.TRANS_STATUS_UNAVAILABLE,
}
"""The statuses without a challenge, by the last digits of the card numbers that have them."""

NOTIFICATION_URL = "https://requestor.example.org/challenge/end?a=1&b=2"
CARDHOLDER_NAME = "Jane Q Example"
EMAIL = "jane.q@example.org"

_COMMON: Mapping[str, Any] = {
    "message_category": codes_pb2.MESSAGE_CATEGORY_PAYMENT,
    "three_ds_requestor_url": "https://requestor.example.org",
    "card_expiry_date": "2812",
    "acquirer_bin": "438309",
    "acquirer_merchant_id": "00002000000",
    "mcc": "5411",
    "merchant_country_code": "840",
    "merchant_name": "Dummy Merchant",
    "purchase_amount": "101",
    "purchase_currency": "840",
    "purchase_exponent": "2",
    "purchase_date": "20260131141312",
    "cardholder_name": CARDHOLDER_NAME,
    "email": EMAIL,
}
_BROWSER: Mapping[str, Any] = {
    "three_ds_requestor_authentication_ind": "01",
    "three_ds_comp_ind": codes_pb2.COMPLETION_INDICATOR_UNAVAILABLE,
    "notification_url": NOTIFICATION_URL,
    "browser_accept_header": "text/html",
    "browser_java_enabled": False,
    "browser_language": "en",
    "browser_color_depth": "24",
    "browser_screen_height": "900",
    "browser_screen_width": "1440",
    "browser_tz": "-60",
    "browser_user_agent": "Mozilla/5.0",
}
_APP: Mapping[str, Any] = {
    "three_ds_requestor_authentication_ind": "01",
    "device_render_options": objects_pb2.DeviceRenderOptions(sdk_interface="03", sdk_ui_type=["01"]),
    "sdk_app_id": "4f8b0c6a-5a0c-4b8a-9a0e-0a5d1a3f7b21",
    "sdk_enc_data": "e30.e30.e30.e30.e30",
    "sdk_ephem_pub_key": struct_pb2.Struct(
        fields={
            name: struct_pb2.Value(string_value=value)
            for name, value in (("kty", "EC"), ("crv", "P-256"), ("x", "AA"), ("y", "AA"))
        }
    ),
    "sdk_max_timeout": "05",
    "sdk_reference_number": "SDK-1",
}
_REQUESTOR: Mapping[str, Any] = {"three_ri_ind": "05"}


def pan_of(ending: str) -> str:
    """Return a card number whose last four digits select the outcome."""
    return f"900010011111{ending}"


def an_areq(
    version: str, pan: str, channel: "codes_pb2.DeviceChannel.ValueType" = BROWSER, **changes: Any
) -> areq_pb2.AReq:
    """Return an AReq, without a transaction id unless given. A change to None removes a field."""
    fields = {
        "message_version": VERSIONS[version],
        "device_channel": channel,
        "acct_number": pan,
        **_COMMON,
        **_of_channel(version, channel),
        **changes,
    }
    return areq_pb2.AReq(**{name: value for name, value in fields.items() if value is not None})


def _of_channel(version: str, channel: "codes_pb2.DeviceChannel.ValueType") -> dict[str, Any]:
    newest = version == "2.3.1"
    fields: dict[str, Any] = {"acquirer_country_code": "840", "acquirer_country_code_source": "01"} if newest else {}
    if channel == APP:
        fields.update(_APP, sdk_trans_id=str(uuid.uuid4()), **({"sdk_type": "80"} if newest else {}))
    elif channel == REQUESTOR:
        fields.update(_REQUESTOR)
    else:
        fields.update(_BROWSER, browser_javascript_enabled=None if version == "2.1.0" else True)
        fields["accept_language"] = ["en"] if newest else None
    return fields
