"""The names of log events: what people search logs for, and set alarms on."""

import ast
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[3]
_EVENT: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)+")
_METHODS: Final = frozenset({"debug", "info", "warning", "error", "critical", "exception", "log"})
# Given by name elsewhere, and found there.
_PASSED_ON: Final = frozenset({"self._event", "end.event"})
_UNNAMED: Final = frozenset({"workers"})
# By a method, by `log` with its level, by a class that logs it, as an argument and as a default.
_ONE_OF_EACH_KIND: Final = frozenset(
    {"traces_not_exported", "callback_completed", "edge_connection_limit_reached", "rpc_cancelled", "rpc_completed"}
)
_LOGGERS: Final = frozenset({"_log", "_logger"})


def events(tree: ast.AST) -> Iterator[ast.expr]:
    """Return what is logged as an event, and what is handed to a class that logs it."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=method)) if (
                owner in _LOGGERS and method in _METHODS
            ):
                yield node.args[method == "log"]
            case ast.Call(func=ast.Name(id="ThrottledLog"), args=[event]):
                yield event
            case ast.keyword(arg="event", value=event) | ast.AnnAssign(target=ast.Name(id="event"), value=event):
                if isinstance(event, ast.Constant):
                    yield event


def modules() -> Iterator[Path]:
    found = chain.from_iterable((_ROOT / name).rglob("*.py") for name in ("gateway", "adapters"))
    return (module for module in found if _UNNAMED.isdisjoint(module.parts))


def test_every_event_is_named_in_snake_case() -> None:
    found = [event for module in modules() for event in events(ast.parse(module.read_text()))]
    named = {str(event.value) for event in found if isinstance(event, ast.Constant)}

    assert [name for name in named if not _EVENT.fullmatch(name)] == []
    assert named > _ONE_OF_EACH_KIND, "they are not found any more"
    passed_on = {ast.unparse(event) for event in found if not isinstance(event, ast.Constant)}
    assert passed_on <= _PASSED_ON, "an event is a constant, so that it can be searched for"
