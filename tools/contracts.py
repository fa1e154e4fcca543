"""Makes and checks what comes from ``proto/``: ``python tools/contracts.py generate | check | release | distribute``.

``generate`` rewrites the stubs and the client's contracts. ``check`` lints the contracts, compares them with the
released ones and fails if ``generate`` would change a byte. ``release`` makes the present contracts the released ones.
``distribute`` writes ``dist/contracts``, which compiles in every language, and an archive of it.

No package ships ``buf/validate/validate.proto`` as a file, so its descriptor comes from the protovalidate wheel and
goes to protoc; buf then works on protoc's image.
"""

import gzip
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from shutil import copy, copytree, rmtree
from tempfile import TemporaryDirectory

from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2
from protovalidate import ViolationPb

from tools.contract_options import violations
from tools.repeat_safety import faults

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
STUBS = ROOT / "gen" / "issuer"
PEER_STUBS = ROOT / "d1gateway"
DIST = ROOT / "dist"
CLIENT = ROOT / "clients" / "python" / "src" / "d1_gateway_client" / "contracts"
RELEASED: Mapping[str, tuple[Path, str]] = {
    "issuer": (PROTO / "released.binpb", "buf.yaml"),
    # Gateways of two releases work together during a rolling upgrade; only gateways read this package.
    "d1gateway": (PROTO / "released_internal.binpb", '{"version": "v2", "breaking": {"use": ["WIRE"]}}'),
}
"""For each package its released contracts, and buf's configuration for comparing with them."""

_RULES = ViolationPb.desc().file.proto
"""The descriptor of ``buf/validate/validate.proto``."""


def _run(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run([str(part) for part in command], check=False, cwd=cwd)
    if done.returncode:
        sys.exit(done.returncode)


def _protoc(*arguments: str | Path) -> None:
    _run(sys.executable, "-m", "grpc_tools.protoc", *arguments, cwd=PROTO)


def _contracts(package: str, pattern: str = "*.proto") -> list[str]:
    return sorted(str(path.relative_to(PROTO)) for path in (PROTO / package).rglob(pattern))


def _imports(scratch: Path) -> Path:
    """Write the descriptors of the files that the contracts import from elsewhere."""
    imports = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2):
        imports.file.add().ParseFromString(module.DESCRIPTOR.serialized_pb)
    imports.file.add().ParseFromString(_RULES.to_binary())
    path = scratch / "imports.binpb"
    path.write_bytes(imports.SerializeToString())
    return path


def _image(scratch: Path, package: str, *options: str) -> Path:
    image = scratch / "image.binpb"
    _protoc(
        *("-I", ".", f"--descriptor_set_in={_imports(scratch)}"),
        *("--include_imports", f"--descriptor_set_out={image}", *options),
        *_contracts(package),
    )
    return image


def _write_stubs(scratch: Path, package: str) -> Path:
    """Generate the stubs of a package, which import nothing of buf (ADR 19)."""
    out = scratch / "stubs"
    out.mkdir(exist_ok=True)
    image = _image(scratch, package, "--include_source_info")
    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    for file in files.file:
        # The annotations stay: here their extensions are unknown, and what is unknown is kept.
        file.dependency[:] = [name for name in file.dependency if name != _RULES.name]
    image.write_bytes(files.SerializeToString())
    source = f"--descriptor_set_in={image}"
    _protoc(source, f"--python_out={out}", f"--mypy_out=quiet:{out}", *_contracts(package))
    services = _contracts(package, "service.proto")
    if services:
        _protoc(source, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services)
    for area in (out / package).iterdir():
        # Each of its own: `issuer` is a namespace, which others may share.
        (area / "py.typed").touch()
    return out / package


def _write_client(scratch: Path) -> Path:
    out = scratch / "client"
    image = _image(scratch, "issuer", "--include_source_info")
    _run(sys.executable, ROOT / "tools" / "client_contracts.py", image, out)
    return out


_WRITTEN: Mapping[Path, Callable[[Path], Path]] = {
    STUBS: partial(_write_stubs, package="issuer"),
    PEER_STUBS: partial(_write_stubs, package="d1gateway"),
    CLIENT: _write_client,
}


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def generate(scratch: Path) -> None:
    """Rewrite everything generated from the contracts."""
    for folder, write in _WRITTEN.items():
        fresh = write(scratch)
        if folder.exists():
            rmtree(folder)
        copytree(fresh, folder)


def check(scratch: Path) -> None:
    """Fail if a contract breaks a rule or a released contract, or if ``generate`` would change a file."""
    _run("buf", "format", "proto", "--diff", "--exit-code")
    for package, (released, rules) in RELEASED.items():
        image = _image(scratch, package, "--include_source_info")
        _run("buf", "lint", image, "--path", package, "--config", "buf.yaml")
        files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
        if found := [*violations(files), *faults(files)]:
            sys.exit("\n".join(found))
        _run("buf", "breaking", image, "--against", released, "--path", package, "--config", rules)
    for folder, write in _WRITTEN.items():
        fresh, committed = _files(write(scratch)), _files(folder)
        drift = sorted(name for name in fresh.keys() | committed.keys() if fresh.get(name) != committed.get(name))
        if drift:
            sys.exit(f"{folder.relative_to(ROOT)}/ is not what `make generate` writes: {', '.join(drift)}")


def release(scratch: Path) -> None:
    """Make the present contracts the reference for later ones."""
    for package, (released, _) in RELEASED.items():
        released.write_bytes(_image(scratch, package).read_bytes())


def distribute(scratch: Path) -> None:
    """Write ``dist/contracts``: the callers' contracts without validation rules, their pages, a descriptor set."""
    image, folder = _image(scratch, "issuer", "--include_source_info"), scratch / "contracts"
    _run(sys.executable, ROOT / "tools" / "contract_set.py", image, folder)
    _run("buf", "format", folder, "--write")
    descriptors = folder / "issuer.binpb"
    options = "--include_imports", "--include_source_info", f"--descriptor_set_out={descriptors}"
    _run(sys.executable, "-m", "grpc_tools.protoc", "-I", folder, *options, *sorted(folder.rglob("*.proto")))
    _run(sys.executable, ROOT / "tools" / "contract_pages.py", descriptors, folder)
    copy(ROOT / "LICENSE", folder)
    rmtree(DIST / "contracts", ignore_errors=True)
    copytree(folder, DIST / "contracts")
    _archive(folder, DIST / f"d1-gateway-protos-{version('d1-gateway-contracts')}.tar.gz")


def _archive(folder: Path, archive: Path) -> None:
    """Write an archive whose bytes follow from the files alone: no times, no owners."""
    name = archive.name.removesuffix(".tar.gz")
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open("", "w", packed) as tar,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                member = tarfile.TarInfo(f"{name}/{path.relative_to(folder).as_posix()}")
                member.size = path.stat().st_size
                with path.open("rb") as content:
                    tar.addfile(member, content)


if __name__ == "__main__":
    commands: dict[str, Callable[[Path], None]] = {
        "generate": generate,
        "check": check,
        "release": release,
        "distribute": distribute,
    }
    command = commands.get(" ".join(sys.argv[1:]))
    if command is None:
        sys.exit(__doc__)
    with TemporaryDirectory() as folder:
        command(Path(folder))
