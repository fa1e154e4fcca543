"""The load of unary calls at a steady rate over one connection: each is made when it is due.

Runs as a process of its own, ``python -m bench.clients.calls ADDRESS CA PATH AUTHORIZATION REQUEST``, with the framed
request in hexadecimal. Reads lines with calls per second and a time in seconds from standard input, and for each writes
the sorted latencies, in seconds from when a call was due. Whether the calls succeeded must be known from elsewhere.
"""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import uvloop

from bench.clients.http2 import calls
from bench.clients.load import Schedule
from sandbox.common.tls import browser_context

__all__: list[str] = []

_IN_FLIGHT: Final = 100
_LATEST_ANSWER_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Same:
    """The same request every time."""

    framed: bytes

    def request(self) -> bytes:
        return self.framed


async def _obey(address: str, server_ca: str, path: str, authorization: str, framed: str) -> None:
    traffic = _Same(bytes.fromhex(framed))
    opened = calls(
        address,
        browser_context(Path(server_ca)),
        path=path,
        headers={"authorization": authorization},
        count=_IN_FLIGHT,
    )
    async with opened as (through, broken):
        while line := await asyncio.to_thread(sys.stdin.readline):
            rate, seconds = map(float, line.split())
            load = Schedule(traffic, rate)
            running = asyncio.create_task(load.run(through, seconds))
            async with asyncio.timeout(seconds + _LATEST_ANSWER_SECONDS):
                await asyncio.wait((running, broken), return_when=asyncio.FIRST_COMPLETED)
            if broken.done():
                broken.result()
            await running
            sys.stdout.write(orjson.dumps(sorted(load.latencies)).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    uvloop.run(_obey(*sys.argv[1:]))
