"""The commands: ``d1-gateway-client watch | call | answer | subscriptions``."""

import typer

from d1_gateway_client.cli import subscriptions
from d1_gateway_client.cli.answer import answer
from d1_gateway_client.cli.call import call
from d1_gateway_client.cli.watch import watch

__all__ = ["app"]

app = typer.Typer(
    help="Call d1-gateway, watch its notifications and answer its callbacks from a terminal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(watch)
app.command()(call)
app.command()(answer)
app.add_typer(subscriptions.app, name="subscriptions")
