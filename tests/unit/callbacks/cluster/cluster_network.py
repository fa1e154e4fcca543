"""Gateways in one process, without I/O: each with a clock and a relay of its own, joined by a network that errs."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from adapters.nats.callbacks.codec import decode
from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.callbacks.cluster.broker import SharedBroker
from gateway.callbacks.cluster.relay import Relay
from gateway.callbacks.tokens import CallbackTokens
from tests.unit.callbacks.broker_clock import VirtualClock, VirtualTimer

__all__ = ["Gateway", "Network"]

Task: TypeAlias = Callable[[], object]

_NOTICED_SECONDS = 0.25
_SLOW_SECONDS = 1.5
_FAST_SECONDS = 0.05
_REMEMBERED_SECONDS = 2.4


class _Timer(VirtualTimer):
    """A timer of one gateway's clock, which has to be taken off the common clock as well."""

    common: VirtualTimer

    def cancel(self) -> None:
        super().cancel()
        self.common.cancel()


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
    _due: list[Task] = field(default_factory=list)
    _received: list[Task] = field(default_factory=list)

    def __post_init__(self) -> None:
        tokens = CallbackTokens(self.network.random.randbytes, owner=self.id)
        self.broker = SharedBroker(self, wall_clock=lambda: self.time() + 1e9, tokens=tokens)
        self.relay = Relay(self.id, self.broker, self, self)
        self.relay.start()

    @property
    def works(self) -> bool:
        return not self.is_dead and not self.is_paused

    # As a clock.

    def time(self) -> float:
        return self.network.clock.time() + self.ahead

    def call_at(self, when: float, callback: Callable[..., object], /, *args: object) -> VirtualTimer:
        timer = _Timer(callback, args)
        timer.common = self.network.clock.call_at(when - self.ahead, self._fire, timer)
        return timer

    def _fire(self, timer: VirtualTimer) -> None:
        def run() -> None:
            # It may have been cancelled while this was held up.
            if not timer.is_cancelled:
                timer.run()

        self._do(run, self._due)

    # As a link.

    def broadcast(self, message: peer.PeerMessage) -> None:
        for gateway in self.network.gateways:
            self.network.carry(self, gateway, message)

    def send(self, gateway: str, message: peer.PeerMessage) -> bool:
        for each in self.network.gateways:
            if each.id == gateway:
                self.network.carry(self, each, message)
        # That a connection is lost may be seen at once or in a while.
        return self.is_linked and (self.is_wired or self.network.random.random() < 0.5)

    # What befalls it.

    def receive(self, task: Task) -> None:
        """Do what comes in over a connection; if it is held up, that waits."""
        self._do(task, self._received)

    def _do(self, task: Task, waiting: list[Task]) -> None:
        if self.is_paused:
            waiting.append(task)
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
        for waiting in (self._due, self._received):
            tasks = waiting[:]
            waiting.clear()
            for task in tasks:
                task()

    def die(self) -> None:
        self.is_dead = True
        self._due.clear()
        self._received.clear()

    def unplug(self) -> None:
        self.is_wired = False
        self.network.clock.call_at(self.network.clock.time() + _NOTICED_SECONDS, self._notice)

    def plug_in(self) -> None:
        self.is_wired = True
        self.network.clock.call_at(self.network.clock.time() + _NOTICED_SECONDS, self._notice)

    def _notice(self) -> None:
        self.receive(self._see)

    def _see(self) -> None:
        if self.is_linked != self.is_wired:
            self.is_linked = self.is_wired
            if self.is_linked:
                self.relay.linked()


class Network:
    """Carries what gateways say. Between two of them nothing overtakes anything."""

    def __init__(self, seed: int, count: int, *, is_calm: bool) -> None:
        self.clock = VirtualClock()
        self.random = Random(seed)  # noqa: S311 # the same network each time
        self.is_calm = is_calm
        """Whether nothing is lost and nothing late."""
        self.deaf_until = 0.0
        """Until when no presence is heard."""
        self.on_asked: Callable[[Gateway, peer.PeerMessage], None] = lambda _, __: None
        self.gateways: list[Gateway] = []
        self._arrivals: dict[tuple[str, str], float] = {}
        for number in range(count):
            # Powers of two: sums with them are exact.
            self.gateways.append(Gateway(f"{number:016x}", self, 2.0 ** (10 + number)))

    def carry(self, sender: Gateway, receiver: Gateway, message: peer.PeerMessage) -> None:
        if message.HasField("request"):
            self.on_asked(sender, message)
        if not sender.is_wired or self._loses(message):
            return
        pair = sender.id, receiver.id
        arrival = max(self._arrivals.get(pair, 0.0), self.clock.time() + self._seconds())
        self._arrivals[pair] = arrival
        self.clock.call_at(arrival, self._arrive, receiver, message.SerializeToString(), self.clock.time())

    def _arrive(self, receiver: Gateway, data: bytes, sent: float) -> None:
        def take() -> None:
            message = decode(data)
            if message.HasField("presence"):
                receiver.note(message.sender, self.clock.time() - sent)
            receiver.relay.receive(message)

        if receiver.is_wired:
            receiver.receive(take)

    def _loses(self, message: peer.PeerMessage) -> bool:
        if self.is_calm:
            return False
        return message.HasField("presence") and self.clock.time() < self.deaf_until

    def _seconds(self) -> float:
        if not self.is_calm and self.random.random() < 0.01:
            return _SLOW_SECONDS * self.random.random()
        return self.random.choice((0.0, 0.001, 0.001, 0.02))
