"""The commands: ``d1-gateway-client watch | call | answer | backfill | subscriptions``."""

from importlib import metadata
from typing import Annotated

import typer

from d1_gateway_client.cli import subscriptions
from d1_gateway_client.cli.answer import answer
from d1_gateway_client.cli.backfill import backfill
from d1_gateway_client.cli.call import call
from d1_gateway_client.cli.watch import watch

__all__ = ["app"]

app = typer.Typer(
    help="Call d1-gateway, watch its notifications and answer its callbacks from a terminal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if is_asked:
        print(f"d1-gateway-client {metadata.version('d1-gateway-client')}")  # noqa: T201 (the command's output)
        raise typer.Exit


@app.callback()
def begin(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options before the command."""
    del version


app.command()(watch)
app.command()(call)
app.command()(answer)
app.command()(backfill)
app.add_typer(subscriptions.app, name="subscriptions")
