"""The bodies that D1 is sent, from what a request says."""

from typing import Any

from google.protobuf.message import Message

from adapters.d1.api.endpoints import FIELDS
from issuer.consumer.v1 import messages_pb2 as consumer

__all__ = ["body", "decision", "nested", "word"]


def body(**properties: Any) -> dict[str, Any]:
    """Give what is said the names that D1 knows it by, and leave out what is not said: what is None or empty."""
    return {FIELDS[name]: value for name, value in properties.items() if value not in (None, "", [])}


def decision(request: consumer.DeleteCredentialsRequest | consumer.DeleteConsumerRequest) -> dict[str, Any]:
    """Say who decided and why. D1 wants a code with every change (D1 API v1: reason), so it is never left out."""
    code = request.reason_code or consumer.REASON_CODE_ISSUER_DECISION
    return body(reason=request.reason, reason_code=word(consumer.ReasonCode.Name(code), "REASON_CODE_"))


def nested(message: Message) -> dict[str, Any]:
    """Give what a message of texts and messages says the names that D1 knows it by; a message that is there is said."""
    return {
        FIELDS[field.name]: nested(value) if isinstance(value, Message) else value
        for field, value in message.ListFields()
    }


def word(name: str, prefix: str) -> str:
    """Get D1's word for an enum's value, which is its name without the prefix; empty for the unspecified one."""
    found = name.removeprefix(prefix)
    return "" if found == "UNSPECIFIED" else found
