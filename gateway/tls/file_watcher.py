"""Follows files: what was made of them is made again when they change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from gateway.aio.clock import every
from gateway.settings import SettingsError

__all__ = ["LOOK_SECONDS", "FileWatcher"]

LOOK_SECONDS: Final = 2.0
"""How often files are looked at. A change counts once it looks the same twice, so it takes up to twice as long."""

_State: TypeAlias = tuple[tuple[int, int, int] | None, ...]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Followed:
    files: Collection[Path]
    renew: Callable[[], None]
    used: _State
    seen: _State


class FileWatcher:
    """Looks at files again and again. A change that cannot be used is logged, and changes nothing."""

    def __init__(self) -> None:
        self._all: list[_Followed] = []

    def add(self, files: Collection[Path], renew: Callable[[], None]) -> None:
        """Use files, and follow them from now on; blocks for as long as the disk takes.

        Args:
            files: What to look at.
            renew: Makes what is made of them, and puts it in the place of what was there before. Raises SettingsError,
                and leaves everything as it was, where that cannot be done. Called here, and later in another thread.

        Raises:
            SettingsError: They cannot be used.
        """
        state = _state(files)
        renew()
        self._all.append(_Followed(files, renew, state, state))

    @asynccontextmanager
    async def running(self, look_seconds: float = LOOK_SECONDS) -> AsyncIterator[None]:
        """Look for changes for as long as the context lasts.

        Args:
            look_seconds: How often.
        """

        async def look() -> None:
            await asyncio.to_thread(self.look)

        async with every(look_seconds, look):
            yield

    def look(self) -> None:
        """Look once; blocks."""
        for followed in self._all:
            state = _state(followed.files)
            # Certificate and key are written one after the other: wait until nothing moves any more.
            has_settled, followed.seen = state == followed.seen, state
            if has_settled and state != followed.used:
                followed.used = state
                _renew(followed)


def _renew(followed: _Followed) -> None:
    files = [str(file) for file in followed.files]
    try:
        followed.renew()
    except SettingsError as error:
        _log.error("file_reload_failed", files=files, mistakes=error.mistakes)
    except OSError as error:
        _log.error("file_reload_failed", files=files, mistakes=[str(error)])
    else:
        _log.info("files_reloaded", files=files)


def _state(files: Collection[Path]) -> _State:
    return tuple(_state_of(file) for file in files)


def _state_of(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
