"""Watches files, and reloads what was made from them when they change."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from gateway.aio.clock import every
from gateway.settings import SettingsError

__all__ = ["CHECK_SECONDS", "FileWatcher"]

CHECK_SECONDS: Final = 2.0
"""Interval between checks. A change takes up to twice as long, because two checks have to see the same content."""

_State: TypeAlias = tuple[bytes | None, ...]

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Watched:
    files: Collection[Path]
    renew: Callable[[], None]
    used: _State
    seen: _State


class FileWatcher:
    """Checks files periodically. A change that cannot be loaded is logged and has no effect."""

    def __init__(self) -> None:
        self._watched: list[_Watched] = []

    def add(self, files: Collection[Path], renew: Callable[[], None]) -> None:
        """Load files, and watch them from now on; blocks.

        Args:
            files: Files to watch.
            renew: Loads the files and replaces what was loaded before; if that fails, raises SettingsError and changes
                nothing. Called here, and later in another thread.

        Raises:
            SettingsError: The files cannot be used.
        """
        state = _state(files)
        renew()
        self._watched.append(_Watched(files, renew, state, state))

    @asynccontextmanager
    async def running(self, check_seconds: float = CHECK_SECONDS) -> AsyncIterator[None]:
        """Check for changes at this interval for as long as the context lasts."""

        async def check() -> None:
            await asyncio.to_thread(self.check)

        async with every(check_seconds, check):
            yield

    def check(self) -> None:
        """Check once; blocks."""
        for watched in self._watched:
            state = _state(watched.files)
            # Certificate and key are written one after the other, and neither at once: wait until both are complete.
            has_settled, watched.seen = state == watched.seen, state
            if has_settled and state != watched.used:
                watched.used = state
                _renew(watched)


def _renew(watched: _Watched) -> None:
    files = [str(file) for file in watched.files]
    try:
        watched.renew()
    except SettingsError as error:
        _log.error("file_reload_failed", files=files, mistakes=error.mistakes)
    except OSError as error:
        _log.error("file_reload_failed", files=files, mistakes=[str(error)])
    else:
        _log.info("files_reloaded", files=files)


def _state(files: Collection[Path]) -> _State:
    return tuple(_state_of(file) for file in files)


def _state_of(file: Path) -> bytes | None:
    # Size and times do not tell: tools preserve them, and some file systems count in seconds.
    try:
        return blake2b(file.read_bytes()).digest()
    except OSError:
        return None
