"""A sandbox cannot be reached from another machine."""

from collections import Counter
from pathlib import Path

from sandbox import Sandbox

_LISTENS = "0A"
_LOOPBACK = "0100007F"


def _listening_addresses() -> Counter[str]:
    """Return the addresses that this process listens on, in the kernel's notation."""
    own = {link.readlink().name for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
    lines = [*Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    lines += Path("/proc/self/net/tcp6").read_text().splitlines()[1:]
    sockets = [line.split() for line in lines]
    listening = [each for each in sockets if each[3] == _LISTENS and f"socket:[{each[9]}]" in own]
    return Counter(each[1].partition(":")[0] for each in listening)


async def test_a_sandbox_listens_on_loopback_alone(tmp_path: Path) -> None:
    # The process may still listen for another test: earlier listeners are not the sandbox's.
    before = _listening_addresses()
    async with Sandbox.start(tmp_path):
        opened = _listening_addresses() - before
    assert opened.total() >= 3, "D1, the 3-D Secure server, the control API"
    assert set(opened) == {_LOOPBACK}
