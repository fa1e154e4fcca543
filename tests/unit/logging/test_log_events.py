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
_COMMON: Final = frozenset({"correlation_id"})
"""Fields that any event may have."""
_LOGGERS: Final = frozenset({"_log", "_logger"})


def events(tree: ast.AST) -> Iterator[ast.expr]:
    """Return what is logged as an event, and what is handed to a class that logs it."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=method)) if (
                owner in _LOGGERS and method in _METHODS
            ):
                yield node.args[method == "log"]
            case (
                ast.Call(func=ast.Name(id="ThrottledLog"), args=[event])
                | ast.Call(func=ast.Name(id="partial"), args=[ast.Name(id="ThrottledLog"), event])
            ):
                yield event
            case ast.Dict(keys=[ast.Constant("event"), *_], values=[event, *_]):
                yield event
            case ast.keyword(arg="event", value=event) | ast.AnnAssign(target=ast.Name(id="event"), value=event):
                if isinstance(event, ast.Constant):
                    yield event


def documented() -> Iterator[tuple[str, str, frozenset[str]]]:
    """Return the event, the levels and the fields of each row of the documentation."""
    _, _, listed = (_ROOT / "docs" / "logs.md").read_text().partition("## Events")
    for row in re.findall(r"^\| `(\w+)` \|([^|]+)\|([^|]*)\|", listed, re.MULTILINE):
        yield row[0], row[1], frozenset(re.findall(r"`(\w+)`", row[2]))


def facts(tree: ast.AST) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Return the event, the level and the fields by name of each call that logs a constant."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="_log"), attr=level),
                args=[ast.Constant(str(event))],
                keywords=named,
            ):
                # A traceback has another name in the line.
                names = {"exception" if each.arg == "exc_info" else each.arg for each in named if each.arg}
                is_fault = level == "exception"
                yield event, "error" if is_fault else level, frozenset(names | ({"exception"} if is_fault else set()))


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


def test_every_event_is_documented_with_its_levels_and_fields_and_nothing_else_is() -> None:
    trees = [ast.parse(module.read_text()) for module in modules()]
    logged = {str(each.value) for tree in trees for each in events(tree) if isinstance(each, ast.Constant)}
    rows = [*documented()]

    assert {event for event, _, _ in rows} == logged
    undocumented = [
        (event, level, fields)
        for tree in trees
        for event, level, fields in facts(tree)
        if not any(event == named and level in levels and fields <= shown | _COMMON for named, levels, shown in rows)
    ]
    assert undocumented == []
