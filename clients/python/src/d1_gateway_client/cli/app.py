"""The commands: ``d1-gateway-client watch | call | subscriptions``."""

import typer

from d1_gateway_client.cli import subscriptions
from d1_gateway_client.cli.call import call
from d1_gateway_client.cli.watch import watch

__all__ = ["app"]

app = typer.Typer(
    help="Call d1-gateway and watch its notifications from a terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(watch)
app.command()(call)
app.add_typer(subscriptions.app, name="subscriptions")
