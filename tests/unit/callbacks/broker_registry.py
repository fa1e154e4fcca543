"""A broker for tests that play one thing through."""

from collections.abc import Callable

from gateway.callbacks.broker import Broker, Outcome, Topic
from gateway.ports import Attempts, NoReply
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_clock import VirtualClock
from tests.unit.callbacks.broker_samples import TOPICS, RecordingHandler, a_reply, a_request

__all__ = [
    "ACCEPTED",
    "ALREADY_ANSWERED",
    "INVALID",
    "LATE",
    "NOT_REGISTERED",
    "UNKNOWN_TOKEN",
    "CallbackRegistry",
    "Connected",
]

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
LATE = callback.REPLY_OUTCOME_LATE
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
UNKNOWN_TOKEN = callback.REPLY_OUTCOME_UNKNOWN_TOKEN
INVALID = callback.REPLY_OUTCOME_INVALID
NOT_REGISTERED = callback.REPLY_OUTCOME_NOT_REGISTERED


class Connected(RecordingHandler):
    """A handler at a broker."""

    def __init__(self, broker: Broker, topics: tuple[Topic, ...], max_in_flight: int) -> None:
        super().__init__()
        self._broker = broker
        self.session = broker.connect(self, topics, max_in_flight)

    def token(self, place: int = 0) -> str:
        return self.requests[place].token

    def reply(self, place: int = 0) -> Outcome:
        """Reply to one of the callback requests that it got."""
        return self.say(a_reply(self.token(place)))

    def say(self, reply: callback.CallbackReply) -> Outcome:
        return self._broker.reply(self.session, reply, self.session.topics)

    def drain(self) -> None:
        self._broker.drain(self.session)

    def leave(self) -> None:
        self._broker.disconnect(self.session)


class CallbackRegistry:
    """A broker, its handlers and how its requests ended, at a time of its own."""

    def __init__(self) -> None:
        self.clock = VirtualClock(1000.0)
        self.broker = Broker(self.clock, wall_clock=lambda: self.clock.time() + 700_000_000)
        self.ended: dict[str, callback.CallbackReply | NoReply] = {}

    def connect(self, max_in_flight: int = 16, topics: tuple[Topic, ...] = TOPICS) -> Connected:
        return Connected(self.broker, topics, max_in_flight)

    def ask(
        self,
        name: str = "q",
        seconds: float = 8.0,
        *,
        topic: Topic = TOPICS[0],
        attempts: Attempts = Attempts(if_slow=3),
        wait_for_handler: bool = True,
    ) -> Callable[[], None]:
        def end(reply: callback.CallbackReply | NoReply) -> None:
            assert name not in self.ended
            self.ended[name] = reply

        return self.broker.begin(
            a_request(topic, name), seconds, end, attempts=attempts, wait_for_handler=wait_for_handler
        )

    def assert_nothing_is_left(self) -> None:
        assert self.broker.size[0] == 0
        assert self.clock.pending == 0
