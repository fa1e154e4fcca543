"""The 3-D Secure server's error message: the Erro."""

import uuid
from collections.abc import Mapping
from typing import Any

from gateway.threeds.rules.formats import FORMATS
from sandbox.threeds.contract import DESCRIPTIONS, VERSIONS

__all__ = ["ErroError"]

_LONGEST_DETAIL = 2048


class ErroError(Exception):
    """An Erro. Its detail names fields, never a value."""

    def __init__(self, code: str, detail: str, *, component: str = "S", status: int = 200) -> None:
        """Make an Erro.

        Args:
            code: The ``errorCode``.
            detail: The ``errorDetail``.
            component: The rejecting component: S the server, D the directory server, A the ACS.
            status: The HTTP status.
        """
        super().__init__(f"{code} {detail}")
        self.code = code
        self.detail = detail[:_LONGEST_DETAIL]
        self.component = component
        self.status = status

    def body(self, rejected: Mapping[str, Any], message_type: str | None) -> dict[str, str]:
        """Return the Erro.

        Args:
            rejected: The rejected message, as far as it could be parsed.
            message_type: The expected message type; None if it has no name.
        """
        version = rejected.get("messageVersion")
        body = {
            "messageType": "Erro",
            "messageVersion": version if version in VERSIONS else VERSIONS[0],
            "errorCode": self.code,
            "errorComponent": self.component,
            "errorDescription": DESCRIPTIONS[self.code],
            "errorDetail": self.detail,
            # Versions before 2.3.1 require one even if the message had none.
            "threeDSServerTransID": _id(rejected, "threeDSServerTransID") or str(uuid.uuid4()),
        }
        if message_type is not None:
            body["errorMessageType"] = message_type
        if (sdk_trans_id := _id(rejected, "sdkTransID")) and rejected.get("deviceChannel") == "01":
            body["sdkTransID"] = sdk_trans_id
        return body


def _id(message: Mapping[str, Any], name: str) -> str | None:
    value = message.get(name)
    _, is_uuid = FORMATS["uuid"]
    return value if isinstance(value, str) and is_uuid(value) else None
