"""The command line, ``d1-gateway``."""

import gc

from gateway.aio.signals import TAKEN, hold
from gateway.grpc_api.core_log import silence_core
from gateway.grpc_api.poller import choose_poller

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # The import takes half a second. A signal during it would kill the process silently, or print a traceback.
    hold(*TAKEN)
    choose_poller()
    silence_core()
    # What is imported stays: collections would take a tenth of the time, and free next to nothing.
    gc.disable()
    from gateway.cli.app import app  # noqa: PLC0415 (see above)

    app()
