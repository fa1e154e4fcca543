"""The command line, ``d1-gateway-client``: notifications, single calls, callbacks. Needs the extra ``cli``."""

import sys

__all__ = ["main"]

_EXTRA = frozenset({"google", "rich", "typer"})
_UNUSABLE = 2
_INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        from d1_gateway_client.cli.app import app  # noqa: PLC0415 (its imports need the extra)
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] not in _EXTRA:
            raise
        sys.stderr.write("d1-gateway-client: the command line needs rich, typer and protobuf: install the extra, cli\n")
        sys.exit(_UNUSABLE)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    app()
