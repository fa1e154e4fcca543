"""The 3-D Secure server as a whole: what it remembers, and the way to it."""

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sandbox.faults import Faults
from sandbox.pki import Identity
from sandbox.server import HOST, serve
from sandbox.threeds.app import make_threeds_app
from sandbox.threeds.contract import Delays
from sandbox.threeds.store import Transactions
from sandbox.tls import server_context

__all__ = ["ThreeDS"]


@dataclass(frozen=True, slots=True)
class ThreeDS:
    """A running 3-D Secure server."""

    url: str
    """Where it is: ``https://127.0.0.1:<port>``."""
    api_key: str
    """What its clients have to send in the header ``APIKey``."""
    transactions: Transactions

    @classmethod
    @asynccontextmanager
    async def start(
        cls, identity: Identity, faults: Faults, *, port: int, delays: Delays, clock: Callable[[], float]
    ) -> AsyncIterator["ThreeDS"]:
        """Run a 3-D Secure server for as long as the block lasts.

        Args:
            identity: What it shows its clients.
            faults: What goes wrong.
            port: Where it listens; 0 for any free port.
            delays: How long some things take.
            clock: Tells the time, in seconds since 1970 (UTC).

        Raises:
            OSError: The port is taken.
        """
        transactions, api_key = Transactions(clock), str(uuid.uuid4())
        app = make_threeds_app(transactions, api_key, delays, faults)
        async with serve(app, port, server_context(identity)) as actual_port:
            yield cls(f"https://{HOST}:{actual_port}", api_key, transactions)
