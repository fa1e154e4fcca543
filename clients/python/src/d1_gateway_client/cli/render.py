"""Notifications as lines: for people, or as JSON for programs."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

from google.protobuf.json_format import MessageToJson
from rich.console import Console
from rich.text import Text

from gateway.cli.selecting import Kind
from gateway.cli.telling import one_line
from issuer.notification.v1 import messages_pb2 as notification

__all__ = ["Layout", "as_json", "as_table"]

_WIDTHS = (27, 8, 24, 24, 10)
_HEADER = ("TIME", "KIND", "CARD/CONSUMER", "OPERATION", "STATUS", "OPERATION ID")
_STYLES = {"SUCCESSFUL": "green", "FAILED": "red", "PENDING": "yellow"}
_STATUS = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """What stands above the lines, if anything, and how a notification becomes one."""

    header: str | None
    line: Callable[[notification.Notification], str]


def as_json() -> Layout:
    """Write each as one JSON object, with proto3's names, in ASCII."""
    return Layout(None, lambda shown: MessageToJson(shown, indent=None))


def as_table() -> Layout:
    """Write each as a line of a table: in colour where standard output is a terminal.

    Columns are as wide as they usually have to be; a longer text moves those after it.
    """
    # It only renders: writing, with what can go wrong, is not its work.
    console = Console(file=StringIO(), force_terminal=sys.stdout.isatty() or None, highlight=False)
    return Layout(_rendered(console, _HEADER), lambda shown: _rendered(console, _cells(shown)))


def _cells(shown: notification.Notification) -> tuple[str, ...]:
    kind = Kind.THREE_DS if shown.HasField("three_ds_operation") else Kind.CONSUMER
    operation = shown.three_ds_operation if kind is Kind.THREE_DS else shown.consumer_operation
    return (
        shown.receive_time.ToJsonString(),
        kind,
        shown.card_id or shown.consumer_id,
        operation.operation_text,
        operation.status_text,
        operation.operation_id,
    )


def _rendered(console: Console, cells: tuple[str, ...]) -> str:
    line = Text()
    for number, cell in enumerate(cells):
        width = _WIDTHS[number] if number < len(_WIDTHS) else 0
        style = _STYLES.get(cell, "") if number == _STATUS else ""
        # D1's own words: nothing in them may steer a terminal.
        line.append(f"{one_line(cell) or '-':{width}}", style=style).append("  ")
    line.rstrip()
    with console.capture() as captured:
        console.print(line, soft_wrap=True, end="")
    return captured.get()
