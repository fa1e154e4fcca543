"""The minimal process with a gRPC port and an HTTPS port: the baseline of the gateway's start.

Runs as a process of its own, ``python -m bench.baselines.bare_start CERTIFICATE KEY``; writes a line to standard output
as soon as both ports are open.
"""

import asyncio
import ssl
import sys
from pathlib import Path

import grpc
import uvloop
from aiohttp import web

__all__: list[str] = []


async def _serve(credentials: grpc.ServerCredentials, context: ssl.SSLContext) -> None:
    server = grpc.aio.server()
    server.add_secure_port("127.0.0.1:0", credentials)
    runner = web.AppRunner(web.Application())
    await server.start()
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    # Until the process is stopped.
    await asyncio.Event().wait()


def _main(certificate: Path, key: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    uvloop.run(_serve(grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())]), context))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
