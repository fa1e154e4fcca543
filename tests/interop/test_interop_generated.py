"""Code that other languages' plugins make from the contracts, as the document says, and whether it compiles."""

import json
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree

import pytest

from tests.interop.interop_contracts import ROOT, run
from tests.interop.interop_docs import blocks
from tests.interop.interop_languages import node_modules, require

JARS = [
    Path("/usr/share/java", f"{name}.jar")
    for name in ("geronimo-annotation-1.3-spec", "grpc-api", "grpc-protobuf", "grpc-stub", "guava", "protobuf")
]
"""What code from protoc and grpc-java's plugin needs, where Debian has it."""


@pytest.fixture
def folder(tmp_path: Path, contracts: Path) -> Path:
    """A folder of a project that uses the contracts."""
    (tmp_path / "contracts").symlink_to(contracts)
    return tmp_path


def generated(folder: Path, suffix: str) -> list[str]:
    return sorted(str(path.relative_to(folder / "generated")) for path in folder.glob(f"generated/**/*{suffix}"))


def names(contracts: Path, made: Callable[[str], str]) -> list[str]:
    """Return what is made of each contract's name, such as ``issuer/card/v1/messages``."""
    paths = (path.relative_to(contracts).with_suffix("").as_posix() for path in contracts.rglob("*.proto"))
    return sorted(map(made, paths))


def test_python_imports_each_stub_without_a_package_of_the_gateway(folder: Path, contracts: Path) -> None:
    (script,) = blocks("Python stubs", "sh")
    run("sh", "-ec", script, folder=folder)
    assert generated(folder, "_pb2.py") == names(contracts, "{}_pb2.py".format)
    modules = [name.removesuffix(".py").replace("/", ".") for name in generated(folder, ".py")]
    code = f"""
import importlib, json, sys
found = [importlib.import_module(name).__file__ for name in {modules!r}]
print(json.dumps([found, [name for name in sys.modules if name.startswith(("buf.", "gateway"))]]))
"""
    # The environment's packages, without the gateway itself, which is installed by a .pth file.
    path = f"{folder / 'generated'}{os.pathsep}{sysconfig.get_path('purelib')}"
    found, foreign = json.loads(run("python", "-S", "-c", code, folder=folder, variables={"PYTHONPATH": path}))
    assert [file for file in found if not file.startswith(str(folder))] == []
    assert foreign == []


def test_typescript_checks_what_is_made_for_it(folder: Path, contracts: Path, protoc: Path) -> None:
    (folder / "node_modules").symlink_to(node_modules())
    (script,), (program,) = blocks("TypeScript", "sh"), blocks("TypeScript", "ts")
    imports = names(contracts, 'import "./generated/{}_pb.js";\n'.format)
    (folder / "client.ts").write_text("".join(imports) + program)
    run("sh", "-ec", script, folder=folder, tools=protoc)


# javac works for six seconds, and half a minute where other tests have the cores.
@pytest.mark.timeout(180)
def test_java_compiles_each_contract(folder: Path) -> None:
    require("protoc", "grpc_java_plugin", "javac", *JARS)
    # Debian gives the plugin another name than protoc asks for.
    plugins = folder / "plugins"
    plugins.mkdir()
    (plugins / "protoc-gen-grpc-java").symlink_to("/usr/bin/grpc_java_plugin")
    (script,) = blocks("Java", "sh")
    # javac ends before Java's better compiler would pay.
    quick = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    variables = {**quick, "CLASSPATH": os.pathsep.join(map(str, JARS))}
    run("sh", "-ec", script, folder=folder, tools=plugins, variables=variables, seconds=150)
    assert (folder / "classes" / "d1gateway/issuer/card/v1/CardServiceGrpc.class").exists()


def test_csharp_has_a_file_for_each_contract_in_the_folder_of_its_namespace(folder: Path, contracts: Path) -> None:
    require("protoc")
    (script,) = blocks("C#", "sh")
    run("sh", "-ec", script, folder=folder)
    assert len(generated(folder, ".cs")) == len(names(contracts, str))
    assert "namespace D1Gateway.Card.V1 {" in (folder / "generated" / "Card" / "V1" / "Messages.cs").read_text()


@pytest.mark.parametrize("command", ["buf generate", "buf generate contracts"], ids=["a clone", "an unpacked archive"])
def test_buf_generates_what_its_example_names(tmp_path: Path, contracts: Path, command: str) -> None:
    require("protoc-gen-go", "protoc-gen-go-grpc")
    copy(ROOT / "buf.gen.yaml", tmp_path)
    if command == "buf generate":
        copy(ROOT / "buf.yaml", tmp_path)
        copytree(contracts, tmp_path / "dist" / "contracts")
    else:
        copytree(contracts, tmp_path / "contracts")
    run("sh", "-ec", command, folder=tmp_path, tools=node_modules() / ".bin")
    made = tmp_path / "dist" / "generated"
    assert len(list(made.rglob("*.pb.go"))) == len(names(contracts, str)) + len(list(contracts.rglob("service.proto")))
    assert len(list(made.rglob("*_pb.ts"))) == len(names(contracts, str))
