"""What the adapter of D1 declares as assumed, and which code uses it."""

import ast
import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import adapters.d1
from adapters.d1.api import endpoints
from adapters.d1.assumptions import Assumption
from adapters.d1.callbacks import schema
from adapters.d1.openapi import Exchange

__all__ = ["Name", "behaviour", "file_of", "names", "shapes", "uses"]


@dataclass(frozen=True, slots=True)
class Name:
    """A name in the code that an assumption is declared on."""

    module: str
    name: str
    value: Any
    assumption: Assumption

    @property
    def place(self) -> str:
        """Where it stands: file and name."""
        return f"`{self.name}` in {file_of(self.module)}"


def names() -> Sequence[Name]:
    """Return every name that is annotated with an assumption."""
    return [
        Name(module.__name__, prefix + name, getattr(scope, name), each)
        for module in _modules()
        for prefix, scope in [("", module), *((f"{each.__name__}.", each) for each in _classes(module))]
        for name, annotation in vars(scope).get("__annotations__", {}).items()
        for each in getattr(annotation, "__metadata__", ())
        if isinstance(each, Assumption)
    ]


def behaviour() -> Sequence[tuple[str, Assumption]]:
    """Return what is assumed about D1's behaviour, each with the file that rests on it."""
    return [(file_of(module.__name__), each) for module in _modules() for each in getattr(module, "ASSUMPTIONS", ())]


def file_of(module: str) -> str:
    """Return the file of a module of the adapter."""
    return f"`{module.replace('.', '/')}.py`"


@cache
def _modules() -> Sequence[ModuleType]:
    found = pkgutil.walk_packages(adapters.d1.__path__, "adapters.d1.")
    return [importlib.import_module(each.name) for each in found]


def _classes(module: ModuleType) -> list[type]:
    return [each for each in vars(module).values() if isinstance(each, type) and each.__module__ == module.__name__]


def shapes(exchange: Exchange) -> Mapping[str, frozenset[str]]:
    """Return the names in each object of a call's bodies, by the object's path."""
    found: dict[str, set[str]] = {}
    waiting = [("", exchange.sends)]
    while waiting:
        prefix, properties = waiting.pop()
        if properties:
            found.setdefault(f"sends {prefix}", set()).update(each.name for each in properties)
            waiting += [(f"{prefix}{each.name}.", each.children) for each in properties]
    for path in exchange.reads:
        parents, _, name = path.rpartition(".")
        found.setdefault(f"reads {parents and parents + '.'}", set()).add(name)
    return {path: frozenset(each) for path, each in found.items()}


@cache
def _uses() -> Mapping[str, Sequence[str]]:
    found: dict[str, list[str]] = {}
    for module in _modules():
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        for function, node in _functions(tree):
            for used in sorted(set(_used(module.__name__, node))):
                found.setdefault(used, []).append(f"`{function}` in {file_of(module.__name__)}")
    return found


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


def _used(module: str, node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        match each:
            case ast.Attribute(value=ast.Name(id="d1"), attr=name):
                yield f"{schema.__name__}.{name}"
            case ast.Attribute(value=ast.Name(id="endpoints"), attr=name):
                yield f"{endpoints.__name__}.{name}"
            case ast.Name(id=name):
                yield f"{module}.{name}"
                yield f"{endpoints.__name__}.{name}"
            case ast.Call(func=ast.Name(id="body"), keywords=keywords):
                yield from (f"property {keyword.arg}" for keyword in keywords)
            case ast.Subscript(value=ast.Name(id="FIELDS"), slice=ast.Constant(value=str(key))):
                yield f"property {key}"


def uses(key: str) -> Sequence[str]:
    """Return the functions that use a name, in the form ``module.name``, or ``property key`` for a key of `FIELDS`."""
    return _uses().get(key, ())
