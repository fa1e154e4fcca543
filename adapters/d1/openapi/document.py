"""Reads an OpenAPI 3 file, YAML or JSON. References are followed inside the file only."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.d1.openapi.schema import Schema, UnusableFileError, follow

__all__ = ["Document", "Operation", "Parameter", "read"]

_MAX_BYTES: Final = 4 * 1024 * 1024
_METHODS: Final = ("get", "put", "post", "delete", "patch", "head", "options")
_JSON: Final = re.compile(r"application/([\w.+-]+\+)?json\b")
_ORIGIN: Final = re.compile(r"^[A-Za-z][\w+.-]*://[^/]*")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an operation."""

    name: str
    place: str
    """``path``, ``query``, ``header`` or ``cookie``."""
    required: bool
    schema: Schema


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the file."""

    method: str
    path: str
    """As it is written."""
    full_paths: Sequence[str]
    """With the path of each server before it."""
    deprecated: bool
    parameters: Sequence[Parameter]
    requests: Mapping[str, Schema] | None
    """Schemas by media type; None if the file shows no body."""
    responses: Mapping[str, Mapping[str, Schema]]
    """By status, then by media type."""

    def json_response(self, status: str) -> Schema | None:
        """Return the schema of a response's JSON body; None if it has none."""
        return json_schema(self.responses.get(status, {}))


@dataclass(frozen=True, slots=True)
class Document:
    """An OpenAPI file."""

    title: str
    version: str
    openapi: str
    operations: Sequence[Operation]


def json_schema(content: Mapping[str, Schema]) -> Schema | None:
    """Return the schema of a JSON body; None if there is none."""
    return next((schema for media_type, schema in content.items() if _JSON.match(media_type)), None)


def read(file: Path) -> Document:
    """Read a file.

    Raises:
        UnusableFileError: It cannot be read, is too large, is not an OpenAPI 3 file, or a reference leads nowhere.
    """
    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UnusableFileError(f"cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise UnusableFileError(f"larger than {_MAX_BYTES // 1024 // 1024} MiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnusableFileError("not UTF-8 text") from error
    try:
        return _document(json.loads(text) if text.lstrip().startswith("{") else _from_yaml(text))
    except json.JSONDecodeError as error:
        raise UnusableFileError(f"not JSON: line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise UnusableFileError("nested too deep") from error


def _from_yaml(text: str) -> Any:
    try:
        import yaml  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        raise UnusableFileError(
            "YAML needs PyYAML: install d1-gateway with the extra `openapi`, or convert the file to JSON"
        ) from error
    base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):  # type: ignore[misc, valid-type]
        """Reads `no`, `on` and dates as texts, as YAML 1.2 has them."""

    kept = {"bool": re.compile("true|false"), "int": None, "float": None, "null": None}
    Loader.yaml_implicit_resolvers = {}
    for first, resolvers in base.yaml_implicit_resolvers.items():
        for tag, pattern in resolvers:
            name = tag.rpartition(":")[2]
            if name in kept:
                Loader.add_implicit_resolver(tag, kept[name] or pattern, [first])
    try:
        return yaml.load(text, Loader)  # noqa: S506 (it is a SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise UnusableFileError(f"not YAML: {line}{error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UnusableFileError(f"not YAML: {error}") from error


def _document(root: Any) -> Document:
    if not isinstance(root, dict):
        raise UnusableFileError("not an OpenAPI file: not an object")
    version = str(root.get("openapi", ""))
    if not version.startswith("3."):
        found = f"OpenAPI {root['swagger']}" if "swagger" in root else version and f"OpenAPI {version}"
        raise UnusableFileError(f"not an OpenAPI 3 file{found and f': it is {found}'}")
    if not isinstance(root.get("paths"), dict):
        raise UnusableFileError("not an OpenAPI file: it has no paths")
    _check_references(root)
    info = _object(root.get("info"))
    operations = [each for path, item in root["paths"].items() for each in _operations(root, str(path), item)]
    return Document(str(info.get("title", "")), str(info.get("version", "")), version, operations)


def _check_references(root: Mapping[str, Any]) -> None:
    """Follow every reference, also those that no call uses."""
    seen: set[int] = set()
    waiting: list[Any] = [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, dict | list) or id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, dict) and isinstance(node.get("$ref"), str):
            follow(root, node)
        waiting.extend(node.values() if isinstance(node, dict) else node)


def _object(node: Any) -> Mapping[str, Any]:
    return node if isinstance(node, dict) else {}


def _operations(root: Mapping[str, Any], path: str, item: Any) -> Iterator[Operation]:
    shared = _object(follow(root, item))
    for method in _METHODS:
        node = _object(shared.get(method))
        if not node:
            continue
        servers = node.get("servers") or shared.get("servers") or root.get("servers")
        body = _object(follow(root, node.get("requestBody")))
        yield Operation(
            method=method.upper(),
            path=path,
            full_paths=[base + path for base in _bases(servers)],
            deprecated=node.get("deprecated") is True,
            parameters=list(_parameters(root, shared, node)),
            requests=_content(root, body) if body else None,
            responses={
                str(status).upper(): _content(root, _object(follow(root, response)))
                for status, response in _object(node.get("responses")).items()
            },
        )


def _bases(servers: Any) -> Iterator[str]:
    """Yield the path of each server, without a slash at its end."""
    found = False
    for server in servers if isinstance(servers, list) else ():
        url = _object(server).get("url")
        if not isinstance(url, str):
            continue
        path = _ORIGIN.sub("", url)
        for name, variable in _object(_object(server).get("variables")).items():
            path = path.replace(f"{{{name}}}", str(_object(variable).get("default", "")))
        found = True
        yield path.rstrip("/")
    if not found:
        yield ""


def _parameters(root: Mapping[str, Any], *nodes: Mapping[str, Any]) -> Iterator[Parameter]:
    found = {}
    for node in nodes:
        listed = node.get("parameters")
        for each in listed if isinstance(listed, list) else ():
            parameter = _object(follow(root, each))
            name, place = str(parameter.get("name", "")), str(parameter.get("in", ""))
            schema = Schema(root, parameter.get("schema"))
            found[name, place] = Parameter(name, place, parameter.get("required") is True, schema)
    yield from found.values()


def _content(root: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Schema]:
    return {
        str(media_type): Schema(root, _object(described).get("schema"))
        for media_type, described in _object(node.get("content")).items()
    }
