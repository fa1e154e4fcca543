"""The policy in force, reloaded when its file changes."""

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
from gateway.tls.file_watcher import CHECK_SECONDS

__all__ = ["PolicyFile"]

_MAX_CACHED_GRANTS: Final = 10_000

_log = structlog.get_logger(__name__)


class PolicyFile:
    """A policy that follows its file. A change with mistakes is logged and ignored.

    A change applies to the next call of an rpc, but not to running streams.
    """

    def __init__(self, path: Path, vocabulary: Vocabulary) -> None:
        """Read the file; blocks on the disk.

        Args:
            path: The file.
            vocabulary: The names that the policy may use.

        Raises:
            SettingsError: The file cannot be read, or has mistakes.
        """
        self._path = path
        self._vocabulary = vocabulary
        self._source = FileSource(path)
        self._grants: dict[tuple[str, str, str], Grant | None] = {}
        """A cache, because callers send many calls."""
        try:
            self._policy = Policy.parse(self._source.read_now() or b"", path, vocabulary)
        except SourceError as error:
            raise SettingsError([f"{path}: {error}"]) from error

    def grant(self, caller: Caller, rpc: str) -> Grant | None:
        """Return a caller's present grant for an rpc; None if it may not call it."""
        key = caller.identity, caller.shown_by, rpc
        if key not in self._grants:
            if len(self._grants) >= _MAX_CACHED_GRANTS:
                self._grants.clear()
            self._grants[key] = self._policy.grant(caller, rpc)
        return self._grants[key]

    def names(self, caller: Caller) -> bool:
        """Return whether a caller has any grant at present."""
        return self._policy.names(caller)

    @asynccontextmanager
    async def followed(self, poll_seconds: float = CHECK_SECONDS) -> AsyncIterator[None]:
        """Watch the file while the context lasts, polling every `poll_seconds`."""
        async with every(poll_seconds, self._poll):
            yield

    async def _poll(self) -> None:
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
