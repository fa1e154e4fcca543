"""Gateways for tests that play one thing through; nothing is lost unless a test says so."""

from collections.abc import Callable

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.callbacks.broker import HandlerSession, Topic
from gateway.ports import Attempts, NoReply
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_samples import TOPICS, RecordingHandler, a_reply, a_request
from tests.unit.callbacks.cluster.cluster_network import Gateway, Network

__all__ = ["Alliance", "Connected"]

_ARRIVED_SECONDS = 0.125


class Connected(RecordingHandler):
    """A handler at a gateway, and the outcomes of its replies."""

    def __init__(self, gateway: Gateway, max_in_flight: int, topics: tuple[Topic, ...]) -> None:
        super().__init__()
        self.gateway = gateway
        self.outcomes: list[int] = []
        self.session: HandlerSession = gateway.relay.connect(self, topics, max_in_flight)

    def token(self, place: int = -1) -> str:
        return self.requests[place].token

    def reply(self, reply: callback.CallbackReply) -> None:
        self.gateway.receive(lambda: self.gateway.relay.take(self.session, reply, self.outcomes.append))

    def answer(self, place: int = -1) -> None:
        """Reply to a callback request, and let that arrive."""
        self.reply(a_reply(self.token(place)))
        self.gateway.network.clock.run_for(_ARRIVED_SECONDS)

    def leave(self) -> None:
        self.gateway.relay.disconnect(self.session)


class Alliance:
    """Gateways that know each other, and how requests ended."""

    def __init__(self, count: int = 2) -> None:
        self.network = Network(1, count, is_calm=True)
        self.gateways = self.network.gateways
        self.ended: dict[str, callback.CallbackReply | NoReply] = {}
        self.requests: list[peer.PeerMessage] = []
        """The callback requests that were sent from gateway to gateway."""
        self.network.on_request = lambda _, message: self.requests.append(message)
        self.arrive()

    def arrive(self) -> None:
        """Let what was said arrive."""
        self.pass_by(_ARRIVED_SECONDS)

    def pass_by(self, seconds: float) -> None:
        self.network.clock.run_for(seconds)

    def connect(self, gateway: int, max_in_flight: int = 16, topics: tuple[Topic, ...] = TOPICS) -> Connected:
        connected = Connected(self.gateways[gateway], max_in_flight, topics)
        self.arrive()
        return connected

    def ask(
        self,
        gateway: int,
        name: str = "q",
        seconds: float = 8.0,
        *,
        attempts: Attempts = Attempts(if_slow=2),
        wait_for_handler: bool = True,
    ) -> Callable[[], None]:
        """Send a callback request, and let it arrive; return what withdraws it."""

        def end(reply: callback.CallbackReply | NoReply) -> None:
            assert name not in self.ended
            self.ended[name] = reply

        broker = self.gateways[gateway].broker
        withdraw = broker.begin(
            a_request(TOPICS[0], name), seconds, end, attempts=attempts, wait_for_handler=wait_for_handler
        )
        self.arrive()
        return withdraw

    def assert_nothing_is_left(self) -> None:
        """Check that no gateway keeps a request, a place for one or a reply."""
        for gateway in self.gateways:
            assert gateway.is_dead or gateway.broker.size[0] == 0
            assert gateway.is_dead or gateway.relay.is_idle
