"""The contracts that ``make contracts`` writes: those of ``proto/issuer``, without the gateway's validation rules."""

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from protovalidate import ViolationPb

from tests.interop.interop_contracts import distribute, run
from tests.unit.docs.test_links import is_broken, links
from tools import contracts as tool

_RULES = ViolationPb.desc().file.proto.name


def _reader() -> Any:
    """Return the class that reads the rules in options; the stubs leave them unknown."""
    pool = descriptor_pool.DescriptorPool()
    for module in (descriptor_pb2, duration_pb2, timestamp_pb2, field_mask_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(ViolationPb.desc().file.proto.to_binary())
    return GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet"))


_FileDescriptorSet = _reader()
_PACKAGES = "issuer/", "google/protobuf/"

Files = Mapping[str, descriptor_pb2.FileDescriptorProto]


def of_issuer(image: Path) -> Files:
    files = _FileDescriptorSet.FromString(image.read_bytes()).file
    return {file.name: file for file in files if file.name.startswith("issuer/")}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The contracts of ``proto/issuer``."""
    return of_issuer(tool._image(tmp_path_factory.mktemp("written"), "issuer", "--include_source_info"))


@pytest.fixture(scope="module")
def distributed(contracts: Path) -> Files:
    return of_issuer(contracts / "issuer.binpb")


def messages(message: Message) -> Iterator[Message]:
    """Yield a message and every message within it, the innermost first."""
    for field, value in message.ListFields():
        if field.message_type is not None and not field.is_extension:
            for each in value if field.is_repeated else [value]:
                yield from messages(each)
    yield message


def without_rules(file: descriptor_pb2.FileDescriptorProto) -> bytes:
    copy = type(file)()
    copy.CopyFrom(file)
    copy.ClearField("source_code_info")
    copy.dependency[:] = [name for name in file.dependency if name != _RULES]
    each: Any
    for each in messages(copy):
        for field, _ in each.ListFields():
            if field.is_extension and field.file.name == _RULES:
                each.ClearExtension(field)
    for each in messages(copy):
        if each.DESCRIPTOR.fields_by_name.get("options") and not each.options.ListFields():
            each.ClearField("options")
    return copy.SerializeToString(deterministic=True)


def comments(file: descriptor_pb2.FileDescriptorProto) -> set[tuple[object, ...]]:
    """Return what is said of each part of a file. Nothing is said of an import, whose path would differ."""
    return {
        (tuple(each.path), each.leading_comments, each.trailing_comments, *each.leading_detached_comments)
        for each in file.source_code_info.location
        if each.leading_comments or each.trailing_comments or each.leading_detached_comments
    }


def test_every_contract_is_there_and_the_same_but_for_the_rules(written: Files, distributed: Files) -> None:
    assert distributed.keys() == written.keys()
    assert any(_RULES in file.dependency for file in written.values())
    for name, file in written.items():
        assert without_rules(distributed[name]) == without_rules(file), name


def test_every_comment_stands_where_it_stood(written: Files, distributed: Files) -> None:
    assert {name: comments(file) for name, file in distributed.items()} == {
        name: comments(file) for name, file in written.items()
    }


def test_nothing_is_left_of_the_rules_and_no_import_is_missing(contracts: Path) -> None:
    image = descriptor_pb2.FileDescriptorSet.FromString((contracts / "issuer.binpb").read_bytes())
    imports = {name for file in image.file for name in file.dependency}
    assert imports <= {file.name for file in image.file}
    assert [file.name for file in image.file if not file.name.startswith(_PACKAGES)] == []
    assert [path for path in contracts.rglob("*") if path.is_file() and b"buf.validate" in path.read_bytes()] == []


def test_the_archive_has_the_same_files_and_depends_on_nothing_else(contracts: Path, tmp_path: Path) -> None:
    (archive,) = contracts.parent.glob("*.tar.gz")
    (again,) = distribute(tmp_path).glob("*.tar.gz")
    assert again.name == archive.name
    assert again.read_bytes() == archive.read_bytes()
    with tarfile.open(archive) as tar:
        tar.extractall(tmp_path / "extracted", filter="data")
    folder = tmp_path / "extracted" / archive.name.removesuffix(".tar.gz")
    assert files(folder) == files(contracts)


def files(folder: Path) -> Mapping[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_service_has_a_page_and_nothing_is_left_out(contracts: Path, distributed: Files) -> None:
    listed = (contracts / "README.md").read_text()
    pages = {page.stem: page.read_text() for page in (contracts / "docs").glob("*.md")}
    for file in distributed.values():
        for service in file.service:
            page = f"{file.package}.{service.name}"
            assert f"(docs/{page}.md)" in listed
            assert [rpc.name for rpc in service.method if f"\n### {rpc.name}\n" not in pages[page]] == []
            elsewhere = r"^ *- .* = [0-9]+, (?:repeated )?\[`[\w.]+`\]\((?!#|issuer\.common\.v1\.md#).*"
            assert re.findall(elsewhere, pages[page], re.MULTILINE) == []
            assert "### issuer.common." not in pages[page]
        for message in file.message_type:
            fields = [f"- `{field.name}` = {field.number}, " for field in message.field]
            assert fields in described(f"{file.package}.{message.name}", pages), message.name
        for enum in file.enum_type:
            values = [f"- `{value.name}` = {value.number}: " for value in enum.value]
            assert values in described(f"{file.package}.{enum.name}", pages), enum.name


def test_a_page_begins_with_its_rpcs_and_names_the_codes_of_emv(contracts: Path) -> None:
    page = (contracts / "docs" / "issuer.threeds.v1.AuthenticationService.md").read_text()
    assert "\n- [Authenticate](#authenticate): Authenticates a cardholder: sends the AReq" in page
    assert "\n**Not idempotent:** once sent, " in page
    assert "\n- `TRANS_STATUS_CHALLENGE` = 5: A challenge follows. EMV code: `C`.\n" in page


def described(full_name: str, pages: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the items of each section about a type. Pages of its own package name it without the package."""
    package, _, name = full_name.rpartition(".")
    for title, page in pages.items():
        heading = name if title.startswith(package) else full_name
        section = re.search(rf"\n### {heading}\n(.*?)(\n##|\Z)", page, re.DOTALL)
        if section:
            yield re.findall("- `.*?` = [0-9]+[,:] ", section[1])


def test_every_link_of_the_pages_leads_somewhere(contracts: Path) -> None:
    found = [(page, link) for page in contracts.rglob("*.md") for link in links(page)]
    assert len(found) > 100
    assert [each for each in found if is_broken(*each)] == []


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone after `make contracts`. Its virtual environment has contracts of others."""
    clone = tmp_path_factory.mktemp("clone")
    distribute(clone)
    alien = clone / ".venv" / "alien.proto"
    alien.parent.mkdir()
    alien.write_text("syntax = 'proto2'; package Alien;")
    return clone


@pytest.mark.parametrize("command", ["buf lint", "buf build", "buf build dist/contracts"])
def test_buf_works_in_a_clone(clone: Path, command: str) -> None:
    run("sh", "-c", command, folder=clone)


def test_buf_in_a_clone_takes_the_contracts_and_no_other_file(clone: Path) -> None:
    found = run("buf", "ls-files", folder=clone).split()
    assert found == sorted(str(path.relative_to(clone)) for path in (clone / "dist" / "contracts").rglob("*.proto"))
