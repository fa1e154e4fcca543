"""A worker that is no gateway, but behaves like one towards its supervisor: starts in no time, and fails on order.

It answers whoever connects to the edge with its number and process id. Beside the settings file it finds its orders,
and writes down what becomes of it.
"""

import asyncio
import json
import os
import signal
import socket
import sys
import time

from gateway.workers.place import Place

_SLOW_SECONDS = 0.2


class _StandIn:
    def __init__(self, place: Place) -> None:
        assert place.config_file is not None
        self._place = place
        self._folder = place.config_file.parent
        self._answered = 0
        self._stopped = asyncio.Event()
        self._edge = place.edge_sockets()

    def is_ordered(self, order: str) -> bool:
        return (self._folder / order).exists()

    def note(self, what: str) -> None:
        line = {"what": what, "number": self._place.number, "pid": os.getpid(), "port": self._place.grpc_port}
        with (self._folder / "lives.jsonl").open("a") as file:
            file.write(json.dumps({"at": time.monotonic(), **line}) + "\n")

    async def live(self) -> None:
        loop = asyncio.get_running_loop()
        self.note("started")
        if not self.is_ordered("stubborn"):
            loop.add_signal_handler(signal.SIGTERM, self._stopped.set)
        else:
            loop.add_signal_handler(signal.SIGTERM, self.note, "refused to go")
        self._place.when_alone(self._stopped.set)
        admin = await asyncio.start_unix_server(self._admin, self._place.admin_socket)
        if self.is_ordered("mute"):
            await self._stopped.wait()
        await asyncio.sleep(_SLOW_SECONDS)
        for each in self._edge:
            each.listen()
            each.settimeout(0)
            loop.add_reader(each, self._answer, each)
        # Before it is told: what the supervisor does next must not stand before it.
        if not self.is_ordered("fleeting"):
            self.note("ready")
        self._place.tell_ready()
        if self.is_ordered("fleeting"):
            os._exit(9)
        await self._stopped.wait()
        self.note("told to go")
        for each in self._edge:
            loop.remove_reader(each)
            each.close()
        await asyncio.sleep(_SLOW_SECONDS)
        self._place.last_metrics.write_text(self._metrics())
        admin.close()
        self.note("ended")

    def _answer(self, listening: socket.socket) -> None:
        try:
            arrived, _ = listening.accept()
        except BlockingIOError:
            return
        self._answered += 1
        arrived.sendall(f"{self._place.number} {os.getpid()}\n".encode())
        arrived.close()

    def _metrics(self) -> str:
        return (
            f"# TYPE d1_gateway_edge_requests_total counter\nd1_gateway_edge_requests_total {self._answered}\n"
            "# TYPE d1_gateway_streams_open gauge\nd1_gateway_streams_open 1\n"
        )

    async def _admin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
        checks = {"serving": "ok", "storage": "broken" if self.is_ordered("broken") else "ok"}
        ready = json.dumps({"ready": True, "checks": checks, "circuits": {"d1": "closed"}})
        body = (self._metrics() if path == b"/metrics" else ready).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()


async def _main(place: Place) -> None:
    await _StandIn(place).live()


if __name__ == "__main__":
    given = Place.from_argument(sys.argv[1])
    assert given.config_file is not None
    failing = given.config_file.with_name("fail")
    if failing.exists():
        sys.stderr.write("d1-gateway: ordered to fail\n")
        sys.exit(int(failing.read_text()))
    asyncio.run(_main(given))
