"""Writes the client's contracts: ``python tools/client_contracts.py IMAGE FOLDER``, as `contracts.py` calls it.

betterproto2's compiler writes every file of its image, so the image has no validation rules, which the gateway checks,
and none of their dependencies; it adds the messages of google.rpc, which carry the gateway's errors. Fields marked
``debug_redact`` are hidden from the client's ``repr`` as well. The output includes the contracts' descriptors without
options and comments, from which the command line reads JSON, and the table of idempotent rpcs, which the client may
retry: a plain set, because the client does not depend on google.protobuf.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from betterproto2_compiler.compile.naming import pythonize_class_name, pythonize_field_name
from google.protobuf import any_pb2, descriptor_pb2
from google.protobuf.compiler import plugin_pb2
from google.rpc import error_details_pb2, status_pb2

from tools.repeat_safety import is_idempotent

_LEFT_OUT = frozenset(
    {
        "buf/validate/validate.proto",
        "google/protobuf/descriptor.proto",
        "google/protobuf/field_mask.proto",
        "issuer/common/v1/options.proto",
    }
)
_DESCRIPTORS = "descriptors.binpb"
_TABLE = "idempotency.py"
_RUFF = 'target-version = "py311"\nline-length = 120\n'
_REDACTION = "\nfrom d1_gateway_client._redaction import redact  # noqa: E402\n\n"


def main(image: Path, folder: Path) -> None:
    """Write the contracts of an image, and google.rpc, as Python packages into a folder."""
    written = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file
    files = [file for file in written if file.name not in _LEFT_OUT]
    redacted: dict[str, list[str]] = {}
    for file in files:
        redacted.setdefault(file.package, []).extend(_redacted(file))
    for name, content in _compiled([*map(_stripped, files), *_google_rpc()]).items():
        lines = redacted.get(".".join(Path(name).parent.parts), [])
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + (_REDACTION + "".join(lines) if lines else ""))
    (folder / _DESCRIPTORS).write_bytes(_descriptors(files))
    (folder / _TABLE).write_text(_table(files))


def _compiled(files: list[descriptor_pb2.FileDescriptorProto]) -> dict[str, str]:
    request = plugin_pb2.CodeGeneratorRequest(
        parameter="client_generation=sync_async_no_default",
        proto_file=files,
        file_to_generate=[file.name for file in files],
    )
    with TemporaryDirectory() as folder:
        # The compiler formats with ruff, which uses the configuration of its working directory.
        (Path(folder) / "ruff.toml").write_text(_RUFF)
        done = subprocess.run(
            [Path(sys.executable).with_name("protoc-gen-python_betterproto2")],
            input=request.SerializeToString(),
            capture_output=True,
            cwd=folder,
            check=False,
        )
    if done.returncode:
        sys.exit(done.stderr.decode())
    response = plugin_pb2.CodeGeneratorResponse.FromString(done.stdout)
    return {file.name: file.content for file in response.file}


def _descriptors(files: list[descriptor_pb2.FileDescriptorProto]) -> bytes:
    """Serialise the names and types of the contracts."""
    bare = descriptor_pb2.FileDescriptorSet(file=map(_stripped, files))
    for file in bare.file:
        file.ClearField("source_code_info")
    return bare.SerializeToString(deterministic=True)


def _table(files: list[descriptor_pb2.FileDescriptorProto]) -> str:
    """Write a module that names the idempotent rpcs."""
    routes = sorted(
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
        if is_idempotent(method)
    )
    lines = "".join(f'        "{route}",\n' for route in routes)
    return (
        '"""The idempotent rpcs, from the contracts\' ``idempotency_level``."""\n\n'
        '__all__ = ["IDEMPOTENT"]\n\n'
        f"IDEMPOTENT = frozenset(\n    {{\n{lines}    }}\n)\n"
        '"""Their names on the wire. Repeating one of them does no harm, whatever became of the call before."""\n'
    )


def _google_rpc() -> Iterator[descriptor_pb2.FileDescriptorProto]:
    for module in (any_pb2, error_details_pb2, status_pb2):
        file = descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
        # The compiler fails on files without source information.
        file.source_code_info.SetInParent()
        yield file


def _stripped(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pb2.FileDescriptorProto:
    """Copy a file without options, except those that the compiler knows."""
    copy = descriptor_pb2.FileDescriptorProto()
    copy.CopyFrom(file)
    copy.source_code_info.SetInParent()
    copy.ClearField("options")
    copy.dependency[:] = [name for name in file.dependency if name not in _LEFT_OUT]
    for service in copy.service:
        service.ClearField("options")
        for method in service.method:
            method.ClearField("options")
    for enum in copy.enum_type:
        _strip_enum(enum)
    for message in copy.message_type:
        _strip_message(message)
    return copy


def _strip_enum(enum: descriptor_pb2.EnumDescriptorProto) -> None:
    enum.ClearField("options")
    for value in enum.value:
        value.ClearField("options")


def _strip_message(message: descriptor_pb2.DescriptorProto) -> None:
    is_map_entry = message.options.map_entry
    message.ClearField("options")
    if is_map_entry:
        message.options.map_entry = True
    for field in message.field:
        field.ClearField("options")
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for enum in message.enum_type:
        _strip_enum(enum)
    for nested in message.nested_type:
        _strip_message(nested)


def _redacted(file: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    for message in file.message_type:
        if any(field.options.debug_redact for nested in message.nested_type for field in nested.field):
            sys.exit(f"{file.name}: the client would show redacted fields of messages nested in {message.name}")
        fields = [pythonize_field_name(field.name) for field in message.field if field.options.debug_redact]
        if fields:
            yield f"redact({pythonize_class_name(message.name)}, {', '.join(map(repr, fields))})\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
