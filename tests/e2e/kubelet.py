"""Pods as Kustomize renders them, and their volumes as kubelet lays them out, for a process that is not root."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import yaml

__all__ = ["KUBERNETES", "Manifests", "Mount", "Pod", "rendered"]

KUBERNETES: Final = Path(__file__).parents[2] / "deploy" / "kubernetes"

_OLDEST_KUBECTL: Final = (1, 30)
"""Debian's package is of 2021, and knows no components."""
_DEFAULT_MODE: Final = 0o644
_READABLE_FOR_GROUP: Final = 0o440
"""What kubelet adds to the mode of each file that it mounts read-only under ``fsGroup`` (`SetVolumeOwnership`)."""
_STAMP: Final = "..2026_11_30_10_00_00.123456789"

_Object: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a container sees a volume."""

    path: Path
    sub_path: str
    source: tuple[str, str]
    """Kind and name of the object that has the files; kind ``data`` for a claim."""
    mode: int

    def key_of(self, file: Path) -> str | None:
        """Return the key of the object that a file of the container comes from; None if another mount has it."""
        if self.sub_path:
            return self.sub_path if file == self.path else None
        return file.name if file.parent == self.path else None


@dataclass(frozen=True, slots=True)
class Pod:
    """The pods of a Deployment or a StatefulSet, which have one container each."""

    spec: _Object
    claims: Sequence[str]

    @property
    def container(self) -> _Object:
        """The container."""
        (container,) = self.spec["containers"]
        return dict(container)

    @property
    def mounts(self) -> Sequence[Mount]:
        """What is mounted."""
        volumes = {volume["name"]: volume for volume in self.spec["volumes"]}
        return [
            Mount(Path(mount["mountPath"]), mount.get("subPath", ""), *self._source(volumes.get(mount["name"])))
            for mount in self.container["volumeMounts"]
        ]

    @property
    def as_user(self) -> Sequence[str]:
        """The command that runs another one as the pod's user, with its groups and without privileges."""
        context = self.spec["securityContext"]
        user, group, more = context["runAsUser"], context["runAsGroup"], context["fsGroup"]
        return ("setpriv", f"--reuid={user}", f"--regid={group}", f"--groups={more}", "--no-new-privs")

    def mount(self, root: Path, objects: Mapping[tuple[str, str], Mapping[str, bytes]]) -> None:
        """Lay out all volumes below a folder that takes the place of the container's root folder."""
        group = self.spec["securityContext"]["fsGroup"]
        for mount in self.mounts:
            place = root / mount.path.relative_to("/")
            if mount.source[0] == "data":
                place.mkdir(parents=True)
                os.chown(place, 0, group)
                place.chmod(0o2775)
                continue
            files = objects[mount.source]
            if mount.sub_path:
                # The file itself is bound there, without the links.
                place.parent.mkdir(parents=True, exist_ok=True)
                _write(place, files[mount.sub_path], group, mount.mode)
                continue
            (stamped := place / _STAMP).mkdir(parents=True)
            for key, content in files.items():
                _write(stamped / key, content, group, mount.mode)
                (place / key).symlink_to(f"..data/{key}")
            (place / "..data").symlink_to(_STAMP)

    def _source(self, volume: _Object | None) -> tuple[tuple[str, str], int]:
        if volume is None:
            (claim,) = self.claims
            return ("data", claim), 0
        if "secret" in volume:
            kind, name = "Secret", volume["secret"]["secretName"]
        else:
            kind, name = "ConfigMap", volume["configMap"]["name"]
        return (kind, name), volume[kind[0].lower() + kind[1:]].get("defaultMode", _DEFAULT_MODE)


@dataclass(frozen=True, slots=True)
class Manifests:
    """Rendered manifests."""

    objects: Sequence[_Object]

    def all(self, kind: str) -> Iterator[_Object]:
        """Return the objects of a kind."""
        return (each for each in self.objects if each["kind"] == kind)

    def one(self, kind: str, name: str = "d1-gateway") -> _Object:
        """Return an object; one with a hash in its name too."""
        (found,) = (each for each in self.all(kind) if each["metadata"]["name"].startswith(name))
        return found

    @property
    def workload(self) -> _Object:
        """The Deployment or StatefulSet."""
        (found,) = (*self.all("Deployment"), *self.all("StatefulSet"))
        return found

    @property
    def pod(self) -> Pod:
        """Its pods."""
        spec = self.workload["spec"]
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", ())]
        return Pod(spec["template"]["spec"], claims)

    @property
    def config_maps(self) -> dict[tuple[str, str], dict[str, bytes]]:
        """The files of each ConfigMap."""
        return {
            ("ConfigMap", each["metadata"]["name"]): {key: text.encode() for key, text in each["data"].items()}
            for each in self.all("ConfigMap")
        }


@cache
def rendered(folder: Path) -> Manifests:
    """Render a Kustomize folder; skip the test where that cannot be done."""
    if shutil.which("kubectl") is None or _kubectl_version() < _OLDEST_KUBECTL:
        pytest.skip("this machine lacks kubectl 1.30 or newer, which renders the manifests")
    return Manifests([each for each in yaml.safe_load_all(_kubectl("kustomize", str(folder))) if each])


@cache
def _kubectl_version() -> tuple[int, int]:
    found = json.loads(_kubectl("version", "--client", "--output=json"))["clientVersion"]
    return int(found["major"]), int(found["minor"].rstrip("+"))


def _kubectl(*arguments: str) -> str:
    done = subprocess.run(("kubectl", *arguments), capture_output=True, text=True, check=False)  # noqa: S603, S607 (our own manifests)
    assert not done.returncode, done.stderr
    return done.stdout


def _write(file: Path, content: bytes, group: int, mode: int) -> None:
    file.write_bytes(content)
    os.chown(file, 0, group)
    file.chmod(mode | _READABLE_FOR_GROUP)
