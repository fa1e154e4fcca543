"""Private files: keys, passphrases and credentials, and who may reach them besides the gateway.

The rule is PostgreSQL's for `ssl_key_file`: a file of the process's user for that user alone, or a file of root for
root and its group. The second is how a platform hands over a key that the process must not be able to change; a
Kubernetes Secret under `fsGroup` has mode 0440.
"""

import os
import pwd
import stat
from pathlib import Path
from typing import Final

__all__ = ["PrivateFileError", "check", "fault", "read_private"]

_NOT_OF_ROOT: Final = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_NOT_OF_USER: Final = stat.S_IRWXG | stat.S_IRWXO
_ROOT: Final = 0


class PrivateFileError(ValueError):
    """Others can reach a private file. The text names its owner, its mode and the rule."""


def fault(status: os.stat_result, user_id: int) -> str:
    """Return why a file is not private, or an empty string.

    Args:
        status: Owner and mode of the file.
        user_id: User of the process.
    """
    if status.st_uid == _ROOT:
        is_private = not status.st_mode & _NOT_OF_ROOT
    else:
        is_private = status.st_uid == user_id and not status.st_mode & _NOT_OF_USER
    if is_private:
        return ""
    own = "" if user_id == _ROOT else f"{_name(user_id)} with mode 0600 or less (chmod 600), or to "
    return (
        f"owner {_name(status.st_uid)}, mode {stat.S_IMODE(status.st_mode):04o}; "
        f"a private file must belong to {own}root with mode 0640 or less (chmod 640)"
    )


def check(path: Path) -> None:
    """Check that a file is private. Symbolic links are followed: what counts is the file that is read.

    Raises:
        PrivateFileError: It is not.
        OSError: There is no such file.
    """
    _check(path, path.stat())


def read_private(path: Path, max_bytes: int = -1) -> bytes:
    """Read a private file.

    Args:
        path: The file.
        max_bytes: Number of bytes to read at most; -1 for all.

    Raises:
        PrivateFileError: It is not private.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        _check(path, os.fstat(file.fileno()))
        return file.read(max_bytes)


def _check(path: Path, status: os.stat_result) -> None:
    if text := fault(status, os.geteuid()):
        raise PrivateFileError(f"file accessible to others: {path} ({text})")


def _name(user_id: int) -> str:
    try:
        return f"{pwd.getpwuid(user_id).pw_name} ({user_id})"
    except KeyError:
        # Containers often run as a user without an entry.
        return f"user {user_id}"
