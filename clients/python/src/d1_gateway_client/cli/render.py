"""Notifications as lines: for people, or as JSON for programs."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.text import Text

from d1_gateway_client.cli.descriptors import to_json
from d1_gateway_client.cli.filters import Kind
from d1_gateway_client.cli.output import one_line
from d1_gateway_client.contracts.google.protobuf import Timestamp
from d1_gateway_client.contracts.issuer.consumer.v1 import ConsumerOperation
from d1_gateway_client.contracts.issuer.notification.v1 import Notification

__all__ = ["Layout", "as_json", "as_table"]

_WIDTHS = (27, 8, 24, 24, 10)
_HEADER = ("TIME", "KIND", "CARD/CONSUMER", "OPERATION", "STATUS", "OPERATION ID")
_STYLES = {"SUCCESSFUL": "green", "FAILED": "red", "PENDING": "yellow"}
_STATUS = 4


@dataclass(frozen=True, slots=True)
class Layout:
    """The header above the lines, if any, and the line of a notification."""

    header: str | None
    line: Callable[[Notification], str]


def as_json() -> Layout:
    """Lay each notification out as one JSON object, with the contract's names, in ASCII."""
    return Layout(None, lambda shown: to_json(shown, indent=None))


def as_table() -> Layout:
    """Lay each notification out as a line of a table, in color if standard output is a terminal.

    Columns have a fixed width; a longer text shifts those after it.
    """
    # It only renders; `put` writes.
    console = Console(file=StringIO(), force_terminal=sys.stdout.isatty() or None, highlight=False)
    return Layout(_rendered(console, _HEADER), lambda shown: _rendered(console, _cells(shown)))


def _cells(shown: Notification) -> tuple[str, ...]:
    kind = Kind.CONSUMER if shown.three_ds_operation is None else Kind.THREE_DS
    operation = shown.three_ds_operation or shown.consumer_operation or ConsumerOperation()
    return (
        "" if shown.receive_time is None else Timestamp.timestamp_to_json(shown.receive_time),
        kind,
        shown.card_id or shown.consumer_id,
        operation.type_text,
        operation.status_text,
        operation.operation_id,
        *(("recovered",) if shown.recovered else ()),
    )


def _rendered(console: Console, cells: tuple[str, ...]) -> str:
    line = Text()
    for number, cell in enumerate(cells):
        width = _WIDTHS[number] if number < len(_WIDTHS) else 0
        style = _STYLES.get(cell, "") if number == _STATUS else ""
        # D1's own words: they must not control a terminal.
        line.append(f"{one_line(cell) or '-':{width}}", style=style).append("  ")
    line.rstrip()
    with console.capture() as captured:
        console.print(line, soft_wrap=True, end="")
    return captured.get()
