"""Files of D1 that say something else than what is known, and what the gateway then does otherwise."""

from collections.abc import Callable
from typing import Any

import pytest

CARDS = "/banking/v2/issuers/{issuerId}/cards"
CARD = f"{CARDS}/{{cardId}}"
HISTORY = "/banking/v1/issuers/{issuerId}/cards/{cardId}/3ds/operations"
CONSUMER = "/banking/d1/v1/issuers/{issuerId}/consumers/{consumerId}"
NOTIFICATION = "/notifications/d1/v1/issuers/{issuerId}/cards/{cardId}/3ds/notifications"

Spoil = Callable[[dict[str, Any]], object]


def schema(document: dict[str, Any], name: str) -> Any:
    return document["components"]["schemas"][name]


def renamed(properties: dict[str, Any], old: str, new: str) -> None:
    properties[new] = properties.pop(old)


MUTATIONS = [
    pytest.param(
        lambda d: renamed(d["paths"], f"{CARD}/operations:suspend", f"{CARD}/operations/suspend"),
        [f"suspend_card: path: the file has {CARD}/operations/suspend"],
        id="a slash for the colon",
    ),
    pytest.param(
        lambda d: renamed(d["paths"], f"{CONSUMER}/otp", f"{CONSUMER}/otps"),
        [f"deliver_otp: path: the file has {CONSUMER}/otps"],
        id="another word in a path",
    ),
    pytest.param(
        lambda d: renamed(d["paths"], HISTORY, HISTORY.removeprefix("/banking")),
        [f"list_operations: path: the file has {HISTORY.removeprefix('/banking')}"],
        id="a path without its base",
    ),
    pytest.param(
        lambda d: renamed(d["paths"][CARD], "put", "post"),
        ["register_card: method: the file has POST"],
        id="another method",
    ),
    pytest.param(
        lambda d: d["paths"][HISTORY]["get"]["parameters"].pop(),
        ["list_operations: query limit: not in the file"],
        id="no such parameter of the query",
    ),
    pytest.param(
        lambda d: d["paths"][HISTORY]["get"]["parameters"].append(
            {"name": "from", "in": "query", "required": True, "schema": {"type": "string"}}
        ),
        ["list_operations: query from: required, and never sent"],
        id="a parameter more",
    ),
    pytest.param(
        lambda d: d["paths"][HISTORY]["get"]["parameters"][-1]["schema"].update(maximum=20),
        ["list_operations: query limit: at most 20, the gateway sends 50"],
        id="a smaller page",
    ),
    pytest.param(
        lambda d: d["paths"][CARDS]["post"]["parameters"].append(
            {"name": "X-Tenant", "in": "header", "required": True, "schema": {"type": "string"}}
        ),
        ["create_card: header X-Tenant: required, and never sent"],
        id="a header more",
    ),
    pytest.param(
        lambda d: d["paths"][CARDS]["post"]["parameters"].append(
            {"name": "X-User-Id", "in": "header", "required": True, "schema": {"type": "string"}}
        ),
        ["create_card: header x-user-id: required, and may be left out"],
        id="a header that must not be left out",
    ),
    pytest.param(
        lambda d: d["components"]["parameters"]["UserId"]["schema"].update(pattern="^[0-9]{1,15}$"),
        [
            f"{call}: header x-user-id: the file's pattern is ^[0-9]{{1,15}}$, the gateway's ^[A-Za-z0-9_-]{{1,15}}$"
            for call in (
                *("create_card", "delete_card", "register_card", "renew_card", "replace_card", "resume_card"),
                *("suspend_card", "register_consumer"),
            )
        ],
        id="a narrower header",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "CreateCardRequest")["properties"], "nameOnCard", "nameOnTheCard"),
        ["create_card: request nameOnCard: no such property; nameOnTheCard?"],
        id="a property renamed",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "CreateCardRequest")["properties"], "accounts", "accountsInformation"),
        ["create_card: request accounts: no such property; accountsInformation?"],
        id="a property with a longer name",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "AccountInformation")["properties"], "type", "category"),
        ["create_card: request accounts.type: no such property, and others are refused"],
        id="a property that is refused",
    ),
    pytest.param(
        lambda d: schema(d, "RenewCardRequest").update(required=["newCardId", "channel"]),
        [
            "renew_card: request channel: required, and never sent",
            "renew_card: request newCardId: required, and may be left out",
        ],
        id="properties required",
    ),
    pytest.param(
        lambda d: schema(d, "AccountInformation")["properties"].update(number={"type": "integer"}),
        ["create_card: request accounts.number: sent as string, the file has integer"],
        id="another type",
    ),
    pytest.param(
        lambda d: schema(d, "AccountInformation")["properties"].update(number={"type": "string", "maxLength": 34}),
        ["create_card: request accounts.number: at most 34 characters, the gateway sends 64"],
        id="a shorter text",
    ),
    pytest.param(
        lambda d: schema(d, "ReasonText").update(pattern="^[a-zA-Z0-9 ]{1,32}$"),
        [
            f"{call}: request reason: at most 32 characters, the gateway sends 64"
            for call in (
                *("delete_card", "renew_card", "replace_card", "resume_card", "suspend_card", "delete_consumer"),
                "delete_authenticator",
            )
        ],
        id="a pattern of fewer characters",
    ),
    pytest.param(
        lambda d: schema(d, "RegisterCardRequest")["properties"]["state"].update(enum=["ACTIVE"]),
        ["register_card: request state: INACTIVE may be sent, the file has ACTIVE"],
        id="a value less",
    ),
    pytest.param(
        lambda d: schema(d, "Decision")["properties"]["reasonCode"].update(enum=["USER_DECISION"]),
        [
            f"{call}: request reasonCode: ISSUER_DECISION may be sent, the file has USER_DECISION"
            for call in ("delete_consumer", "delete_authenticator")
        ],
        id="not the value that the gateway chooses",
    ),
    pytest.param(
        lambda d: d["paths"][f"{CARD}/operations:delete"]["post"].pop("requestBody"),
        ["delete_card: request: the file has no body"],
        id="no body",
    ),
    pytest.param(
        lambda d: d["paths"][f"{CARD}/operations:delete"]["post"]["responses"].pop("204"),
        ["delete_card: status: the file has no success"],
        id="no success",
    ),
    pytest.param(
        lambda d: d["paths"][CARDS]["post"]["responses"]["201"].pop("content"),
        ["create_card: 201: no body, the gateway needs one"],
        id="no body in a response",
    ),
    pytest.param(
        lambda d: renamed(d["paths"][CARDS]["post"]["responses"]["201"]["content"], "application/json", "text/csv"),
        ["create_card: 201: a body of text/csv, the gateway takes JSON"],
        id="another media type",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "CreateCardResponse")["properties"], "cardId", "id"),
        [
            "create_card: 201 cardId: read, and not in the file",
            (
                "create_card: 201: the gateway does not take what the file shows: "
                "D1's response names no card. A card may have been created."
            ),
        ],
        id="a property of a response renamed",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "TokenOfD1")["properties"], "expires_in", "expiresIn"),
        ["token: 200 expires_in: read, and not in the file; expiresIn?"],
        id="a property of a token renamed",
    ),
    pytest.param(
        lambda d: schema(d, "ErrorWithCode").update(properties={"code": {"type": "string"}}),
        [
            f"{call}: {status}: none of error, errorCode in the error"
            for call, statuses in (
                ("create_card", (400, 401, 403, 404, 500)),
                ("delete_card", (400, 401, 403, 404, 500)),
                ("register_card", (400, 401, 403, 404, 409, 500)),
                ("renew_card", (400, 401, 403, 404, 500)),
                ("replace_card", (400, 401, 403, 404, 500)),
                ("resume_card", (403, 404)),
                ("suspend_card", (403, 404)),
                ("register_consumer", (400, 401, 403)),
            )
            for status in statuses
        ],
        id="another error",
    ),
    pytest.param(
        lambda d: renamed(schema(d, "ThreeDSOperation")["properties"], "consumerId", "consumerID"),
        [
            f"{place}consumerId: read, and not in the file; consumerID?"
            for place in ("list_operations: 200 operations.", "get_operation: 200 ", "three_ds_notification: request ")
        ],
        id="a property of a notification renamed",
    ),
    pytest.param(
        lambda d: schema(d, "ConsumerOperation")["properties"].update(startTime={"type": "integer"}),
        ["consumer_notification: request startTime: the file has a form that the gateway does not take"],
        id="a number in a notification",
    ),
    pytest.param(
        lambda d: schema(d, "ConsumerOperation")["required"].remove("status"),
        ["consumer_notification: request status: may be absent, the gateway expects it"],
        id="less that is always there",
    ),
    pytest.param(
        lambda d: schema(d, "ConsumerOperation")["properties"]["operation"]["enum"].append("SCA_RESET"),
        ["consumer_notification: request operation: unknown to the contract: SCA_RESET"],
        id="an unknown value",
    ),
    pytest.param(
        lambda d: schema(d, "OtpDelivery")["properties"]["otp"].pop("required"),
        [
            (
                "deliver_otp: request: what the file requires does not suffice: "
                "otp.value must be a string of 1 to 1024 characters"
            ),
        ],
        id="a password that may be absent",
    ),
    pytest.param(
        lambda d: d["paths"][f"{CONSUMER}/otp"]["post"]["parameters"].pop(2),
        ["deliver_otp: query cardId: read, and not in the file"],
        id="no such parameter of a callback",
    ),
    pytest.param(
        lambda d: renamed(d["paths"][NOTIFICATION]["post"]["responses"], "204", "202"),
        ["three_ds_notification: status: answered with 204, the file has 202"],
        id="another success of a callback",
    ),
    pytest.param(
        lambda d: schema(d, "ConsumerInformation").update(required=["language"]),
        [
            f"{place}language: required, and may be left out"
            for place in ("register_consumer: request personalInformation.", "consumer_information: 200 ")
        ],
        id="a property required of the gateway",
    ),
    pytest.param(
        lambda d: schema(d, "AuthenticationResult")["properties"]["status"].update(enum=["SUCCESSFUL", "FAILED"]),
        ["authentication_result: 200 status: PENDING may be sent, the file has SUCCESSFUL, FAILED"],
        id="a value less of the gateway",
    ),
    pytest.param(
        lambda d: d["paths"][f"{CONSUMER}/authentication"]["post"]["responses"]["200"].pop("content"),
        ["authenticate: 200: answered with a body, the file has none"],
        id="no body in an answer",
    ),
]
"""What a file says otherwise, and each difference that follows from it."""
