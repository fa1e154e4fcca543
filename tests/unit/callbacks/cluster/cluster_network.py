"""Gateways in one process, without I/O: each with a clock and a relay of its own, joined by a network that errs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from adapters.nats.callbacks.codec import decode
from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.relay import Relay
from gateway.callbacks.tokens import CallbackTokens
from tests.unit.callbacks.broker_clock import VirtualClock, VirtualTimer

__all__ = ["Gateway", "Network"]

_NOTICED_SECONDS = 0.25
_SLOW_SECONDS = 1.5
_SLOW_SHARE = 0.01
_FAST_SECONDS = 0.05
_LATENCIES = (0.0, 0.001, 0.001, 0.02)
_REMEMBERED_SECONDS = 2.4


class _Timer(VirtualTimer):
    """A timer of one gateway, for which it waits while the gateway is held up."""

    __slots__ = ("_gateway",)

    def __init__(self, gateway: "Gateway", callback: Callable[..., object], args: tuple[object, ...]) -> None:
        super().__init__(callback, args)
        self._gateway = gateway

    def run(self) -> None:
        if self._gateway.is_paused:
            self._gateway.due.append(self)
        elif not self._gateway.is_dead:
            super().run()


@dataclass(slots=True, eq=False)
class Gateway:
    """A gateway; its clock is its own, and ahead of the common one."""

    id: str
    network: "Network"
    ahead: float
    broker: SharedBroker = field(init=False)
    relay: Relay = field(init=False)
    is_dead: bool = False
    is_paused: bool = False
    is_wired: bool = True
    """Whether it is connected, in truth."""
    is_linked: bool = True
    """Whether it believes that it is."""
    knows_delay_of: set[str] = field(default_factory=set)
    """Of whom it has heard something that was not late."""
    _heard: dict[str, float] = field(default_factory=dict)
    _paused_at: float = 0.0
    _paused_seconds: float = 0.0
    due: list[VirtualTimer] = field(default_factory=list)
    """What would have run while it was held up."""
    _received: list[Callable[[], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens = CallbackTokens(self.network.random.randbytes, owner=self.id)
        self.broker = SharedBroker(self, wall_clock=lambda: self.time() + 1e9, tokens=tokens)
        self.relay = Relay(self.id, self.broker, self, self)
        self.relay.start()

    def __str__(self) -> str:
        return f"g{int(self.id, 16)}"

    @property
    def registry(self) -> Relay:
        return self.relay

    @property
    def works(self) -> bool:
        return not self.is_dead and not self.is_paused

    # As a clock.

    def time(self) -> float:
        return self.network.clock.time() + self.ahead

    def call_at(self, when: float, callback: Callable[..., object], /, *args: object) -> VirtualTimer:
        timer = _Timer(self, callback, args)
        self.network.clock.add(when - self.ahead, timer)
        return timer

    # As a link.

    def broadcast(self, message: peer.PeerMessage) -> None:
        # NATS brings it back, and it changes nothing: no matter when.
        self.relay.receive(message)
        if self.is_linked:
            data = message.SerializeToString()
            for gateway in self.network.gateways:
                if gateway is not self:
                    self.network.carry(self, gateway, message, data, is_to_all=True)

    def send(self, gateway: str, message: peer.PeerMessage) -> bool:
        # That a connection is lost may be seen at once or in a while; what was refused is never carried.
        if not self.is_linked or not (self.is_wired or self.network.random.random() < 0.5):
            return False
        for each in self.network.gateways:
            if each.id == gateway:
                self.network.carry(self, each, message, message.SerializeToString(), is_to_all=False)
        return True

    # What befalls it.

    def receive(self, task: Callable[[], object]) -> None:
        """Do what comes in over a connection; if it is held up, that waits."""
        if self.is_paused:
            self._received.append(task)
        elif not self.is_dead:
            task()

    def note(self, sender: str, seconds: float) -> None:
        """Keep whether it can know how long messages take; it forgets whom it has not heard for long."""
        awake = self.network.clock.time() - self._paused_seconds
        if awake - self._heard.get(sender, awake) > _REMEMBERED_SECONDS:
            self.knows_delay_of.discard(sender)
        self._heard[sender] = awake
        if seconds <= _FAST_SECONDS:
            self.knows_delay_of.add(sender)

    def pause(self) -> None:
        self.is_paused = True
        self._paused_at = self.network.clock.time()

    def resume(self) -> None:
        """Go on: what is due first, as an event loop does it."""
        self.is_paused = False
        self._paused_seconds += self.network.clock.time() - self._paused_at
        due, self.due = self.due, []
        for timer in due:
            # It may have been cancelled while it waited.
            if not timer.is_cancelled:
                timer.run()
        received, self._received = self._received, []
        for task in received:
            task()

    def die(self) -> None:
        self.is_dead = True
        self.due.clear()
        self._received.clear()

    def unplug(self) -> None:
        self._set_wired(is_wired=False)

    def plug_in(self) -> None:
        self._set_wired(is_wired=True)

    def _set_wired(self, *, is_wired: bool) -> None:
        self.is_wired = is_wired
        self.network.clock.call_at(self.network.clock.time() + _NOTICED_SECONDS, lambda: self.receive(self._see))

    def _see(self) -> None:
        if self.is_linked != self.is_wired:
            self.is_linked = self.is_wired
            if self.is_linked:
                self.relay.linked()


class Network:
    """Carries what gateways say. Of what one says to all, and of what it says to one, nothing overtakes anything."""

    def __init__(self, seed: int, count: int, *, is_calm: bool) -> None:
        self.clock = VirtualClock()
        self.random = Random(seed)  # noqa: S311 # the same network each time
        self.is_calm = is_calm
        """Whether nothing is lost and nothing late."""
        self.deaf_until = 0.0
        """Until when no presence is heard."""
        self.on_request: Callable[[Gateway, peer.PeerMessage], None] = lambda _, __: None
        self.gateways: list[Gateway] = []
        self._arrivals: dict[tuple[str, str, bool], float] = {}
        for number in range(count):
            # Powers of two: sums with them are exact.
            self.gateways.append(Gateway(f"{number:016x}", self, 2.0 ** (10 + number)))

    def carry(
        self, sender: Gateway, receiver: Gateway, message: peer.PeerMessage, data: bytes, *, is_to_all: bool
    ) -> None:
        kind = message.WhichOneof("content")
        if kind == "request":
            self.on_request(sender, message)
        is_presence = kind == "presence"
        if not sender.is_wired or (is_presence and not self.is_calm and self.clock.time() < self.deaf_until):
            return
        # The subject for all and that of the receiver are subscriptions of their own.
        way = sender.id, receiver.id, is_to_all
        arrival = max(self._arrivals.get(way, 0.0), self.clock.time() + self._seconds())
        self._arrivals[way] = arrival
        arrive = self._arrive_presence if is_presence else self._arrive
        self.clock.call_at(arrival, arrive, receiver, data, self.clock.time())

    def _arrive_presence(self, receiver: Gateway, data: bytes, sent: float) -> None:
        def take() -> None:
            # Most of all messages, and so simple that it need not be checked each time.
            message = peer.PeerMessage.FromString(data)
            receiver.note(message.sender, self.clock.time() - sent)
            receiver.relay.receive(message)

        if receiver.is_wired:
            receiver.receive(take)

    def _arrive(self, receiver: Gateway, data: bytes, sent: float) -> None:
        del sent
        if receiver.is_wired:
            receiver.receive(lambda: receiver.relay.receive(decode(data)))

    def _seconds(self) -> float:
        chance = self.random.random()
        if not self.is_calm and chance < _SLOW_SHARE:
            return _SLOW_SECONDS * self.random.random()
        return _LATENCIES[int(chance * len(_LATENCIES))]
