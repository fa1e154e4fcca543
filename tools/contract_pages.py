"""Writes the contracts' comments as pages: ``python tools/contract_pages.py IMAGE FOLDER``.

Each service has a page, with everything that its rpcs send and return. What no rpc names, and the packages that belong
to no service, have a page for their package. The image needs source information.
"""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from issuer.common.v1 import options_pb2

_Proto: TypeAlias = ServiceDescriptorProto | DescriptorProto | EnumDescriptorProto
_Link: TypeAlias = Callable[[str], str | None]
"""Returns the link from a page to a full name; None for a name that no page describes."""

_IMPORTED = "google/"
_NAME_IN_TEXT = re.compile(r"`([a-z]\w*(?:\.\w+)+)`")
_LEAD = re.compile(r"(?<=\n\n)([A-Z][a-z]+(?: \w+){0,3}:)(?=\s)")
"""The words that say what a paragraph is about, such as "Not idempotent:"."""
_FIRST_SENTENCE = re.compile(r".*?\.(?=\s|\Z)", re.DOTALL)

_README = """\
# Contracts of d1-gateway

`issuer/` has the contracts: plain protobuf, which imports nothing but Google's well-known types. `issuer.binpb` is the
same as a `FileDescriptorSet` with every import, for tools that read one. The gateway's validation rules are not among
them: a field's comment says its format and whether it is required, and the error of an invalid request names each
field that is wrong. Start with what all rpcs have in common: [errors, calls, repeats, common
fields](docs/issuer.common.v1.md#errorreason)."""


@dataclass(frozen=True)
class Declared:
    """A service, a message or an enum, and what its file says of it."""

    proto: _Proto
    package: str
    name: str
    """Without its package."""
    path: tuple[int, ...]
    comments: Mapping[tuple[int, ...], str]

    @property
    def full_name(self) -> str:
        """Its name with its package."""
        return f"{self.package}.{self.name}"

    def comment(self, *path: int) -> str:
        """Return the comment above it, or above a part of it, with the leads of its paragraphs in bold."""
        lines = self.comments.get((*self.path, *path), "").splitlines()
        return _LEAD.sub(r"**\1**", "\n".join(line.removeprefix(" ") for line in lines))


@dataclass(frozen=True)
class Page:
    """A page: a service, or a package's types that no service's page has; and the types that it describes."""

    title: str
    package: str
    types: list[Declared]
    service: Declared | None = None

    @property
    def file_name(self) -> str:
        """The page's file, among all pages."""
        return f"{self.package}.{self.title}.md" if self.service else f"{self.package}.md"

    def heading(self, each: Declared) -> str:
        """Return a type's heading: types of other packages are named with their package."""
        return each.name if each.package == self.package else each.full_name


def main(image: Path, folder: Path) -> None:
    """Write the pages of an image's contracts into a folder's `docs`, and its README."""
    files = [
        file for file in FileDescriptorSet.FromString(image.read_bytes()).file if not file.name.startswith(_IMPORTED)
    ]
    pages = list(_pages({each.full_name: each for file in files for each in _declared(file)}))
    (folder / "docs").mkdir()
    for page in pages:
        (folder / "docs" / page.file_name).write_text(_page(page, _linker(page, pages)))
    (folder / "README.md").write_text(_readme(pages))


def _declared(file: FileDescriptorProto) -> Iterator[Declared]:
    comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
    groups: list[tuple[int, Sequence[_Proto]]] = [
        (FileDescriptorProto.SERVICE_FIELD_NUMBER, file.service),
        (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, file.message_type),
        (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, file.enum_type),
    ]
    for field, group in groups:
        for index, proto in enumerate(group):
            yield from _with_nested(Declared(proto, file.package, proto.name, (field, index), comments))


def _with_nested(outer: Declared) -> Iterator[Declared]:
    yield outer
    if isinstance(outer.proto, DescriptorProto):
        groups: list[tuple[int, Sequence[DescriptorProto | EnumDescriptorProto]]] = [
            (DescriptorProto.NESTED_TYPE_FIELD_NUMBER, outer.proto.nested_type),
            (DescriptorProto.ENUM_TYPE_FIELD_NUMBER, outer.proto.enum_type),
        ]
        for field, group in groups:
            for index, proto in enumerate(group):
                name, path = f"{outer.name}.{proto.name}", (*outer.path, field, index)
                yield from _with_nested(Declared(proto, outer.package, name, path, outer.comments))


def _pages(declared: Mapping[str, Declared]) -> Iterator[Page]:
    packages = {each.package for each in declared.values() if isinstance(each.proto, ServiceDescriptorProto)}
    of_services = {name: each for name, each in declared.items() if each.package in packages}
    described: set[str] = set()
    for service in declared.values():
        if isinstance(service.proto, ServiceDescriptorProto):
            types: dict[str, Declared] = {}
            for method in service.proto.method:
                _reach(method.input_type, of_services, types)
                _reach(method.output_type, of_services, types)
            described |= types.keys()
            yield Page(service.name, service.package, list(types.values()), service)
    rest: dict[str, list[Declared]] = {}
    for name, each in declared.items():
        if name not in described and not isinstance(each.proto, ServiceDescriptorProto):
            rest.setdefault(each.package, []).append(each)
    for package, found in rest.items():
        yield Page(package, package, found)


def _reach(name: str, declared: Mapping[str, Declared], reached: dict[str, Declared]) -> None:
    """Add a type, and those of its fields."""
    found = declared.get(name.removeprefix("."))
    if found is None or found.full_name in reached:
        return
    reached[found.full_name] = found
    if isinstance(found.proto, DescriptorProto):
        for field in found.proto.field:
            _reach(field.type_name, declared, reached)


def _linker(page: Page, pages: list[Page]) -> _Link:
    links = {
        each.full_name: ("" if other is page else other.file_name) + _anchor(other.heading(each))
        for other in (*reversed(pages), page)
        for each in other.types
    }
    return links.get


def _anchor(heading: str) -> str:
    return "#" + heading.lower().replace(".", "")


def _page(page: Page, link: _Link) -> str:
    parts = [f"# {page.title}"]
    if page.service is not None and isinstance(page.service.proto, ServiceDescriptorProto):
        methods = page.service.proto.method
        comments = [page.service.comment(ServiceDescriptorProto.METHOD_FIELD_NUMBER, i) for i in range(len(methods))]
        index = [
            f"- [{method.name}](#{method.name.lower()}): {_summary(c)}"
            for method, c in zip(methods, comments, strict=True)
        ]
        parts += [f"`{page.service.full_name}`", page.service.comment(), "## Rpcs", "\n".join(index)]
        for method, comment in zip(methods, comments, strict=True):
            parts += [f"### {method.name}", _signature(method, link), comment]
    for title, kind in (("Messages", DescriptorProto), ("Enums", EnumDescriptorProto)):
        found = [each for each in page.types if isinstance(each.proto, kind)]
        parts += [f"## {title}"] if found else []
        for each in found:
            parts += [f"### {page.heading(each)}", each.comment(), "\n".join(_items(each, link))]
    text = "\n\n".join(filter(None, parts)) + "\n"
    return _NAME_IN_TEXT.sub(lambda name: _linked(name[1], link), text)


def _summary(comment: str) -> str:
    sentence = _FIRST_SENTENCE.match(comment)
    return " ".join(sentence[0].split()) if sentence else ""


def _linked(full_name: str, link: _Link, text: str | None = None) -> str:
    target = link(full_name)
    return f"[`{text or full_name}`]({target})" if target else f"`{text or full_name}`"


def _signature(method: MethodDescriptorProto, link: _Link) -> str:
    request, response = (
        ("a stream of " if stream else "") + _type(name, link)
        for stream, name in (
            (method.client_streaming, method.input_type),
            (method.server_streaming, method.output_type),
        )
    )
    return f"Takes {request}, returns {response}."


def _type(name: str, link: _Link) -> str:
    full_name = name.removeprefix(".")
    return _linked(full_name, link, full_name.rpartition(".")[2] if link(full_name) else None)


def _items(each: Declared, link: _Link) -> Iterator[str]:
    """Yield the fields of a message, those of a oneof below it, or the values of an enum."""
    if isinstance(each.proto, EnumDescriptorProto):
        for index, value in enumerate(each.proto.value):
            comment = each.comment(EnumDescriptorProto.VALUE_FIELD_NUMBER, index)
            code = value.options.Extensions[options_pb2.emv_code]
            if code and code != comment.rstrip("."):
                comment += f" EMV code: `{code}`."
            yield _item(f"`{value.name}` = {value.number}", comment)
    if isinstance(each.proto, DescriptorProto):
        begun: set[int] = set()
        for index, field in enumerate(each.proto.field):
            in_oneof = field.HasField("oneof_index") and not field.proto3_optional
            if in_oneof and field.oneof_index not in begun:
                begun.add(field.oneof_index)
                comment = each.comment(DescriptorProto.ONEOF_DECL_FIELD_NUMBER, field.oneof_index)
                yield _item(f"one of `{each.proto.oneof_decl[field.oneof_index].name}`", comment)
            comment = each.comment(DescriptorProto.FIELD_FIELD_NUMBER, index)
            item = _item(f"`{field.name}` = {field.number}, {_field_type(field, link)}", comment)
            yield _indented(item, "  ") if in_oneof else item


def _field_type(field: FieldDescriptorProto, link: _Link) -> str:
    scalar = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    repeated = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    return repeated + (_type(field.type_name, link) if field.type_name else scalar)


def _item(term: str, comment: str) -> str:
    return f"- {term}: " + _indented(comment, "  ").lstrip()


def _indented(text: str, indent: str) -> str:
    return "\n".join(indent + line if line else "" for line in text.splitlines())


def _readme(pages: list[Page]) -> str:
    parts = [_README]
    for title, wanted in (("Services", True), ("Common to all services", False)):
        lines = [f"- [{page.title}](docs/{page.file_name})" for page in pages if (page.service is not None) is wanted]
        parts += [f"## {title}", "\n".join(lines)] if lines else []
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
