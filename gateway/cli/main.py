"""The command line, ``d1-gateway``."""

from gateway.aio.signals import TAKEN, hold
from gateway.grpc_api.poller import choose_poller

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # The import takes a second. A signal during it would kill the process silently, or print a traceback.
    hold(*TAKEN)
    choose_poller()
    from gateway.cli.app import app  # noqa: PLC0415 (see above)

    app()
