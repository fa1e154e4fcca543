"""Callback requests, replies and handlers for tests of the broker."""

from gateway.callbacks.broker import Topic
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.callback.v1 import requests_pb2

__all__ = ["ISSUER", "OTHER_ISSUER", "TOPICS", "RecordingHandler", "a_refusal", "a_reply", "a_request"]

ISSUER, OTHER_ISSUER = "ISSUER0001", "ISSUER0002"
TOPICS: tuple[Topic, ...] = (
    (ISSUER, "deliver_otp"),
    (ISSUER, "authenticate"),
    (OTHER_ISSUER, "deliver_otp"),
    (OTHER_ISSUER, "authenticate"),
)


def a_request(topic: Topic = TOPICS[0], correlation_id: str = "c-1") -> callback.CallbackRequest:
    issuer_id, kind = topic
    request = callback.CallbackRequest(issuer_id=issuer_id, correlation_id=correlation_id)
    if kind == "deliver_otp":
        request.deliver_otp.CopyFrom(requests_pb2.DeliverOtpRequest(consumer_id="consumer-1", otp="000000"))
    else:
        request.authenticate.CopyFrom(requests_pb2.AuthenticateConsumerRequest(consumer_id="consumer-1"))
    return request


def a_reply(token: str, kind: str = "deliver_otp") -> callback.CallbackReply:
    if kind == "deliver_otp":
        return callback.CallbackReply(token=token, deliver_otp=replies.DeliverOtpResponse())
    return callback.CallbackReply(
        token=token, authenticate=replies.AuthenticateConsumerResponse(authentication_id="a-1")
    )


def a_refusal(token: str) -> callback.CallbackReply:
    return callback.CallbackReply(
        token=token, refusal=replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_FAILED)
    )


class RecordingHandler:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[callback.CallbackRequest] = []
        self.withdrawn: list[str] = []
        self.is_reading = True
        """Whether it reads at once what it is sent; if not, it never reads what is withdrawn."""

    def send(self, request: callback.CallbackRequest) -> None:
        self.requests.append(callback.CallbackRequest.FromString(request.SerializeToString()))

    def withdraw(self, token: str) -> bool:
        self.withdrawn.append(token)
        return not self.is_reading

    @property
    def asked(self) -> list[str]:
        """The correlation ids of what it was sent."""
        return [request.correlation_id for request in self.requests]
