"""Starts the images that ``tools/image.sh`` built: ``python tools/image_trial.py``. Needs root, buildah and runc.

As a cluster would: the root is read-only, nothing but the volume can be written, the user is the image's own, and there
are no capabilities. The only network is the loopback that sandbox and gateway share.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

USER: Final = 10_001
STATE: Final = "/var/lib/d1-gateway"
_SECONDS: Final = 60.0
_BUY: Final = """
import json, sys, urllib.request
body = {"cardId": "card_1", "flow": "sms-otp-issuer", "approves": True, "wait_ms": 20000}
request = urllib.request.Request("http://127.0.0.1:7440/sandbox/purchases", json.dumps(body).encode())
print(json.load(urllib.request.urlopen(request))["status"])
"""


def run(*command: str | Path, status: int = 0) -> str:
    """Run a command that ends with a status; return what it printed, with errors."""
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=_SECONDS
    )
    if done.returncode != status:
        sys.exit(f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}")
    return done.stdout.strip()


@dataclass(frozen=True, slots=True)
class Image:
    """An image, mounted."""

    name: str
    root: Path
    config: Mapping[str, Any]

    @classmethod
    @contextmanager
    def mounted(cls, name: str) -> Iterator["Image"]:
        """Mount an image for the duration of the block."""
        container = run("buildah", "from", "--pull-never", name)
        try:
            config = json.loads(run("buildah", "inspect", "--type", "image", name))["Docker"]["config"]
            yield cls(name, Path(run("buildah", "mount", container)), config)
        finally:
            run("buildah", "rm", container)


@dataclass(frozen=True, slots=True)
class Container:
    """A container in progress."""

    name: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def execute(self, *command: str, status: int = 0) -> str:
        """Run a command in the container, as the image's user; return what it printed."""
        return run("runc", "exec", "--cwd", STATE, self.name, *command, status=status)

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds of the container."""
        end = time.monotonic() + _SECONDS
        while not holds():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"{self.name}: {self.process.poll()}\n{self.log.read_text()}")
            time.sleep(0.1)

    def stop(self) -> str:
        """Send SIGTERM, as platforms do; return what it printed."""
        run("runc", "kill", self.name, "TERM")
        if self.process.wait(_SECONDS) != 0:
            sys.exit(f"{self.name}: {self.process.returncode}\n{self.log.read_text()}")
        return self.log.read_text()


def _bundle(
    folder: Path,
    image: Image,
    arguments: Sequence[str],
    mounts: Mapping[str, Path],
    network: str,
    environment: list[str],
) -> None:
    run("runc", "spec", "--bundle", folder)
    spec = json.loads((folder / "config.json").read_text())
    spec["root"] = {"path": str(image.root), "readonly": True}
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": USER, "gid": USER},
        "args": [*image.config["Entrypoint"], *arguments],
        "env": [*image.config["Env"], *environment],
        "cwd": image.config["WorkingDir"],
        "capabilities": {},
        "noNewPrivileges": True,
    }
    spec["mounts"] = [each for each in spec["mounts"] if each["type"] != "cgroup"]
    spec["mounts"] += [
        {"destination": place, "source": str(source), "type": "bind", "options": ["rbind", "rw"]}
        for place, source in mounts.items()
    ]
    namespaces = [each for each in spec["linux"]["namespaces"] if each["type"] not in {"network", "cgroup"}]
    spec["linux"]["namespaces"] = [*namespaces, {"type": "network", **({"path": network} if network else {})}]
    (folder / "config.json").write_text(json.dumps(spec))


class Trial:
    """A folder for volumes and logs, and the containers that run until the end."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack

    def volume(self, name: str) -> Path:
        """Make a volume that belongs to the image's user."""
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        os.chown(folder, USER, USER)
        return folder

    def start(
        self, name: str, image: Image, *arguments: str, mounts: Mapping[str, Path], network: str = "", **variables: str
    ) -> Container:
        """Start a container; without a network it has one of its own, with nothing but loopback."""
        bundle, log = self._folder / f"{name}.bundle", self._folder / f"{name}.log"
        bundle.mkdir()
        _bundle(bundle, image, arguments, mounts, network, [f"{key}={value}" for key, value in variables.items()])
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["runc", "run", "--bundle", bundle, name],  # noqa: S607
                stdout=output,
                stderr=output,
            )
        self._stack.callback(subprocess.run, ("runc", "delete", "--force", name), check=False, capture_output=True)
        return Container(name, process, log)


def play(trying: Trial, image: Image, state: Path) -> Container:
    """Run a sandbox, and buy in it."""
    playing = trying.start("d1-trial-sandbox", image, *image.config["Cmd"], mounts={STATE: state})
    playing.until(lambda: "Stop with Ctrl-C" in playing.log.read_text())
    say("sandbox", f"runs as {playing.execute('id', '--user')}")
    say("sandbox", playing.execute("touch", "/tmp/x", status=1))  # noqa: S108 (to see that it cannot be written)
    say("sandbox", f"a purchase: {playing.execute('python3', '-c', _BUY)}")
    watch = f". {STATE}/d1-sandbox/sandbox.env; d1-gateway-client watch --from-start --no-follow"
    say("sandbox", f"the client saw {len(playing.execute('sh', '-c', watch).splitlines())} lines of notifications")
    return playing


def serve(trying: Trial, image: Image, sandbox: Container, state: Path) -> None:
    """Run a second gateway, with the sandbox's settings and network but its own ports and event log."""
    process = json.loads(run("runc", "state", sandbox.name))["pid"]
    served = trying.start(
        "d1-trial-gateway",
        image,
        *image.config["Cmd"],
        mounts={STATE: trying.volume("gateway"), f"{STATE}/d1-sandbox": state / "d1-sandbox"},
        network=f"/proc/{process}/ns/net",
        D1_GATEWAY_CONFIG_FILE=f"{STATE}/d1-sandbox/d1-gateway.toml",
        D1_GATEWAY_EVENT_LOG__PATH="d1-gateway.db",
        D1_GATEWAY_GRPC__PORT="8443",
        D1_GATEWAY_EDGE__PORT="9443",
        D1_GATEWAY_ADMIN__PORT="9464",
    )
    served.until(lambda: '"event":"gateway_started"' in served.log.read_text())
    say("gateway", served.execute("d1-gateway", "--version"))
    say("gateway", f"config check: {len(served.execute('d1-gateway', 'config', 'check').splitlines())} lines")
    say("gateway", f"healthcheck: {served.execute(*image.config['Healthcheck']['Test'][1:]) or 'passes'}")
    say("gateway", served.execute("python3", "-m", "pip", status=1))
    imported = served.execute("python3", "-v", "-c", "import gateway.bootstrap").splitlines()
    compiled = [each for each in imported if "code object from" in each and ".pyc" not in each]
    say("gateway", f"modules that each start compiles: {len(compiled)}")
    events = [json.loads(line)["event"] for line in served.stop().splitlines()]
    say("gateway", f"SIGTERM: {', '.join(events)}")


def say(who: str, what: str) -> None:
    """Print a line."""
    print(f"{who:8} {what}", flush=True)  # noqa: T201 (the command's output)


if __name__ == "__main__":
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        gateway, sandbox = (
            stack.enter_context(Image.mounted(f"localhost/d1-gateway{part}")) for part in ("", "-sandbox")
        )
        trying = Trial(Path(scratch), stack)
        state = trying.volume("sandbox")
        playing = play(trying, sandbox, state)
        serve(trying, gateway, playing, state)
        playing.stop()
