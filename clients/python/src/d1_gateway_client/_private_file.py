"""Reads private keys, which others must not reach: the rule of the gateway, which is PostgreSQL's."""

import errno
import os
import stat
from pathlib import Path

__all__ = ["fault", "read"]

_NOT_OF_ROOT = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO
_NOT_OF_USER = stat.S_IRWXG | stat.S_IRWXO


def fault(status: os.stat_result, user_id: int) -> str:
    """Return why a file with this owner and mode is not private for a user's process; empty if it is."""
    if status.st_uid == 0:
        is_private = not status.st_mode & _NOT_OF_ROOT
    else:
        is_private = status.st_uid == user_id and not status.st_mode & _NOT_OF_USER
    if is_private:
        return ""
    own = "" if user_id == 0 else f"user {user_id} with mode 0600 or less (chmod 600), or to "
    return (
        f"owner user {status.st_uid}, mode {stat.S_IMODE(status.st_mode):04o}; "
        f"a private file must belong to {own}root with mode 0640 or less (chmod 640)"
    )


def read(path: Path) -> bytes:
    """Read a private file; symbolic links are followed.

    Raises:
        PermissionError: Others can reach it.
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        # Elsewhere a file has no such owner and mode.
        if os.name == "posix" and (text := fault(os.fstat(file.fileno()), os.geteuid())):
            raise PermissionError(errno.EACCES, f"accessible to others ({text})", str(path))
        return file.read()
