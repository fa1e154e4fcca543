"""The folder of a sandbox: it survives the sandbox, and one sandbox at a time uses it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sandbox.common.state import STATE_FILES
from sandbox.playground.errors import PlaygroundError

__all__ = ["MADE", "use_folder"]

_LOCK: Final = "sandbox.lock"
_MARK: Final = b"d1-gateway sandbox\n"
"""The beginning of the lock: it tells a sandbox's folder from others. The process that uses the folder follows."""
_EVENT_LOG: Final = "d1-gateway.db"
MADE: Final = (
    "keys",
    "keys.new",
    *STATE_FILES,
    *(f"{_EVENT_LOG}{suffix}" for suffix in ("", "-wal", "-shm", ".key", ".lock")),
    "d1-gateway.log",
    "d1-gateway.log.1",
    "d1-gateway.toml",
    "policy.toml",
    "threeds-api-key",
    *(f"{name}{suffix}" for name in ("sandbox.env", "sandbox.json") for suffix in ("", ".new")),
)
"""What a sandbox makes in its folder, but for the lock. Whatever else lies there is somebody's own, and stays."""


@contextmanager
def use_folder(folder: Path, *, fresh: bool) -> Iterator[Path]:
    """Use a folder for the duration of the block, made if missing; return its absolute path.

    Args:
        folder: The folder.
        fresh: Whether to delete what earlier sandboxes made there.

    Raises:
        PlaygroundError: The folder is not a sandbox's, is another user's or not writable, or another sandbox uses it.
    """
    folder = folder.absolute()
    try:
        lock = _open(folder)
    except OSError as error:
        raise PlaygroundError(f"{error.filename}: {error.strerror}; choose another with --folder") from None
    try:
        _acquire(lock, folder)
        if fresh:
            _clear(folder)
        yield folder
    finally:
        os.close(lock)


def _open(folder: Path) -> int:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Its owner could replace the keys, and sandbox.env, which is to be sourced.
    if folder.stat().st_uid != os.geteuid():
        raise PlaygroundError(f"{folder} belongs to another user: choose another with --folder")
    mark = folder / _LOCK
    content = mark.read_bytes() if mark.exists() else b""
    # A sandbox that was killed as it began left an empty lock, and nothing else.
    is_new = not content and all(each == mark for each in folder.iterdir())
    if not (is_new or content.startswith(_MARK)):
        raise PlaygroundError(f"{folder} is not empty and not a sandbox's: choose another with --folder")
    return os.open(mark, os.O_RDWR | os.O_CREAT, 0o600)


def _acquire(lock: int, folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        user = os.pread(lock, 20, len(_MARK)).decode(errors="replace").strip()
        raise PlaygroundError(
            f"{folder} is used by another sandbox, process {user}: end that one, "
            "or choose another folder with --folder and other ports with --port-base"
        ) from None
    os.pwrite(lock, _MARK + f"{os.getpid():<19}\n".encode(), 0)


def _clear(folder: Path) -> None:
    for name in MADE:
        made = folder / name
        if made.is_dir() and not made.is_symlink():
            shutil.rmtree(made)
        else:
            made.unlink(missing_ok=True)
