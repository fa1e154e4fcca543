"""Checks the options that give contracts a home in each language.

All of them follow from the package and the file's name. A file that strays breaks its callers late, when they compile:
Go refuses to import it, and Java finds two classes of one name.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_ROOTS = ("issuer/", "d1gateway/")
_GO_MODULE = "d1gateway.internal/contracts"
_PASCAL_CASE = {"threeds": "ThreeDS"}
"""Words that are not written with one capital."""


def expected(file: FileDescriptorProto) -> Mapping[str, str | bool]:
    """Return the options that a file must have, as they are named in it."""
    *_, area, version = file.package.split(".")
    return {
        "csharp_namespace": f"D1Gateway.{_pascal_case(area)}.{version.upper()}",
        "go_package": f"{_GO_MODULE}/{file.package.replace('.', '/')};{area}{version}",
        "java_multiple_files": True,
        "java_outer_classname": f"{_pascal_case(area)}{_pascal_case(PurePosixPath(file.name).stem)}Proto",
        "java_package": f"d1gateway.{file.package.removeprefix('d1gateway.')}",
    }


def _pascal_case(name: str) -> str:
    return "".join(_PASCAL_CASE.get(word, word.capitalize()) for word in name.split("_"))


def violations(files: FileDescriptorSet) -> list[str]:
    """Return what is wrong with the contracts among these files, one sentence each, which names the file."""
    contracts = [file for file in files.file if file.name.startswith(_ROOTS)]
    return [*_strays(contracts), *_clashes(contracts)]


def _strays(contracts: list[FileDescriptorProto]) -> Iterator[str]:
    for file in contracts:
        for name, value in expected(file).items():
            if getattr(file.options, name) != value:
                written = "true" if value is True else f'"{value}"'
                yield f"{file.name}: needs `option {name} = {written};`"


def _clashes(contracts: list[FileDescriptorProto]) -> Iterator[str]:
    """Java puts the outer classes of a package's files beside its messages, enums and services."""
    names = Counter(
        (file.options.java_package, name)
        for file in contracts
        for name in (
            file.options.java_outer_classname,
            *(each.name for group in (file.message_type, file.enum_type, file.service) for each in group),
        )
    )
    for file in contracts:
        outer = file.options.java_outer_classname
        if names[file.options.java_package, outer] > 1:
            yield f"{file.name}: {file.options.java_package} has another class {outer}"
