"""The policy in force: read at the start, and again when its file changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from gateway.aio.clock import every
from gateway.auth.caller import Caller
from gateway.auth.grant import Grant
from gateway.auth.jwks_sources import FileSource, SourceError
from gateway.auth.policy import Policy, Vocabulary
from gateway.settings import SettingsError

__all__ = ["PolicyFile"]

_LOOK_SECONDS = 3.0
_MOST_GRANTS: Final = 10_000

_log = structlog.get_logger(__name__)


class PolicyFile:
    """A policy that follows its file. A change that has mistakes is logged and changes nothing.

    A change reaches the next call of an rpc. It does not reach into streams that run.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        """Read the file; blocks for as long as the disk takes.

        Args:
            path: The file.
            vocabulary: What it can speak of.

        Raises:
            SettingsError: It cannot be read, or has mistakes.
        """
        self._path = path
        self._vocabulary = vocabulary
        self._source = FileSource(path)
        self._grants: dict[tuple[str, str, str], Grant | None] = {}
        """What was found out already: callers call again and again."""
        try:
            self._policy = Policy.parse(self._source.read_now() or b"", path, vocabulary)
        except SourceError as error:
            raise SettingsError([f"{path}: {error}"]) from error

    def grant(self, caller: Caller, rpc: str) -> Grant | None:
        """Return what a caller may do in an rpc now; None if it may not call it at all."""
        key = caller.identity, caller.shown_by, rpc
        if key not in self._grants:
            if len(self._grants) >= _MOST_GRANTS:
                self._grants.clear()
            self._grants[key] = self._policy.grant(caller, rpc)
        return self._grants[key]

    @asynccontextmanager
    async def followed(self, look_seconds: float = _LOOK_SECONDS) -> AsyncIterator[None]:
        """Look for changes for as long as the context lasts.

        Args:
            look_seconds: How often.
        """
        async with every(look_seconds, self._look):
            yield

    async def _look(self) -> None:
        try:
            document = await self._source.read()
            if document is None:
                return
            self._policy = await asyncio.to_thread(Policy.parse, document, self._path, self._vocabulary)
            self._grants.clear()
        except (SourceError, SettingsError) as error:
            mistakes = error.mistakes if isinstance(error, SettingsError) else [str(error)]
            _log.error("policy_reload_failed", file=str(self._path), mistakes=mistakes)
        else:
            _log.info("policy_reloaded", file=str(self._path))
