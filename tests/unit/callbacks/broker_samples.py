"""Questions, replies and handlers for tests of the broker."""

from gateway.callbacks.broker import Topic
from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import questions_pb2 as questions
from issuer.callback.v1 import replies_pb2 as replies

__all__ = ["ISSUER", "OTHER_ISSUER", "TOPICS", "RecordingHandler", "a_question", "a_refusal", "a_reply"]

ISSUER, OTHER_ISSUER = "ISSUER0001", "ISSUER0002"
TOPICS: tuple[Topic, ...] = (
    (ISSUER, "deliver_otp"),
    (ISSUER, "authenticate"),
    (OTHER_ISSUER, "deliver_otp"),
    (OTHER_ISSUER, "authenticate"),
)


def a_question(topic: Topic = TOPICS[0], correlation_id: str = "c-1") -> callback.Question:
    issuer_id, kind = topic
    question = callback.Question(issuer_id=issuer_id, correlation_id=correlation_id)
    if kind == "deliver_otp":
        question.deliver_otp.CopyFrom(questions.DeliverOtpRequest(consumer_id="consumer-1", otp="000000"))
    else:
        question.authenticate.CopyFrom(questions.AuthenticateRequest(consumer_id="consumer-1"))
    return question


def a_reply(token: str, kind: str = "deliver_otp") -> callback.Reply:
    if kind == "deliver_otp":
        return callback.Reply(token=token, deliver_otp=replies.DeliverOtpResponse())
    return callback.Reply(token=token, authenticate=replies.AuthenticateResponse(authentication_id="a-1"))


def a_refusal(token: str) -> callback.Reply:
    return callback.Reply(token=token, refusal=replies.Refusal(reason=replies.REFUSAL_REASON_FAILED))


class RecordingHandler:
    """Keeps what it is sent."""

    def __init__(self) -> None:
        self.questions: list[callback.Question] = []
        self.withdrawn: list[str] = []

    def send(self, question: callback.Question) -> None:
        self.questions.append(question)

    def withdraw(self, token: str) -> None:
        self.withdrawn.append(token)

    @property
    def asked(self) -> list[str]:
        """The correlation ids of what it was sent."""
        return [question.correlation_id for question in self.questions]
