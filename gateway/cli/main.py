"""The command line, ``d1-gateway``."""

from gateway.aio.signals import TAKEN, hold

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    # What follows takes a second. Until then a signal could only kill without a word, or print a traceback.
    hold(*TAKEN)
    from gateway.cli.app import app  # noqa: PLC0415 (see above)

    app()
