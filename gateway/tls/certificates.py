"""The certificates that the gateway uses: followed while it runs, and watched for their end."""

import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, cast

import grpc
import structlog
from cryptography import x509

from gateway.aio.clock import every
from gateway.settings import Settings
from gateway.tls import contexts
from gateway.tls.file_watcher import LOOK_SECONDS, FileWatcher

__all__ = ["Certificates"]

_DAY_SECONDS: Final = 86_400.0
_SOON_SECONDS: Final = 30 * _DAY_SECONDS
_OWN: Final = "tls_certificate_file"
_WITH_LIVES: Final = (_OWN, "tls_client_ca_file", "tls_ca_file")
_FILES: Final = (*_WITH_LIVES, "tls_key_file", "tls_key_passphrase_file")

_log = structlog.get_logger(__name__)


class Certificates:
    """All TLS of the gateway, as its settings name it.

    A connection keeps the certificates with which it was made; each later one gets those that the files hold by then.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        """Read the files; blocks for as long as the disk takes.

        Args:
            settings: Name the files.
            clock: Returns the time in seconds since 1970.

        Raises:
            SettingsError: A file is not what it should be.
        """
        self.following = FileWatcher()
        """Follows the files; others may be added."""
        self._clock = clock
        self._lives: dict[str, _Life] = {}
        self.edge = self._context("edge", settings.edge, lambda: contexts.edge_context(settings.edge))
        """For the listener for D1."""
        self.d1 = self._context("d1", settings.d1, lambda: contexts.d1_context(settings.d1))
        """For connections to D1."""
        threeds = settings.threeds
        self.threeds = (
            None if threeds is None else self._context("threeds", threeds, lambda: contexts.threeds_context(threeds))
        )
        """For connections to the 3-D Secure server; None if there is none."""
        nats = settings.nats
        self.nats = None if nats is None else self._context("nats", nats, lambda: contexts.nats_context(nats))
        """For connections to NATS; None if there is none."""
        self.grpc = self._grpc_credentials(settings)
        """For the listener for internal callers; None if it is plaintext."""

    @property
    def expiry_times(self) -> Mapping[str, float]:
        """When what is in use expires, in seconds since 1970 (UTC), by setting; of several in a file, the first."""
        return {setting: life.end for setting, life in self._lives.items()}

    def expired(self) -> list[str]:
        """Tell, a line each, which of our own certificates have expired."""
        now = self._clock()
        return [
            f"{setting}: it has expired on {life}"
            for setting, life in self._lives.items()
            if setting.endswith(_OWN) and life.end <= now
        ]

    def warnings(self) -> list[str]:
        """Tell, a line each, what expires soon or, being another's, has expired.

        Soon is in 30 days; within the last third of its life for what lives shorter than 90 days.
        """
        now = self._clock()
        return [
            f"{setting}: it {'has expired' if life.end <= now else 'expires'} on {life}"
            for setting, life in self._lives.items()
            if life.is_ending(now) and not (setting.endswith(_OWN) and life.end <= now)
        ]

    @asynccontextmanager
    async def followed(self, look_seconds: float = LOOK_SECONDS) -> AsyncIterator[None]:
        """Look for changed files, and warn at once and once a day, for as long as the context lasts.

        Args:
            look_seconds: How often to look.
        """
        await self._warn()
        async with self.following.running(look_seconds), every(_DAY_SECONDS, self._warn):
            yield

    async def _warn(self) -> None:
        for text in self.expired():
            _log.error("certificate_expired", certificate=text)
        for text in self.warnings():
            _log.warning("certificate_expiry_approached", certificate=text)

    def _context(self, table: str, settings: object, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        renewed = _RenewedContext()

        def renew() -> None:
            renewed.current = make()

        self._follow(table, settings, renew)
        return renewed

    def _grpc_credentials(self, settings: Settings) -> grpc.ServerCredentials | None:
        if settings.grpc.tls_certificate_file is None:
            return None
        renewed = _RenewedConfiguration()

        def renew() -> None:
            renewed.current = contexts.grpc_configuration(settings.grpc)

        self._follow("grpc", settings.grpc, renew)
        return grpc.dynamic_ssl_server_credentials(
            renewed.current,
            # That it may say "no change" is in grpc's text, and not in its stubs.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed.fetch),
            require_client_authentication=settings.grpc.tls_client_ca_file is not None,
        )

    def _follow(self, table: str, settings: object, renew: Callable[[], None]) -> None:
        named = {name: getattr(settings, name, None) for name in _FILES}
        files: dict[str, Path] = {f"{table}.{name}": file for name, file in named.items() if file is not None}

        def renew_and_note() -> None:
            renew()
            for setting, file in files.items():
                if setting.endswith(_WITH_LIVES):
                    self._lives[setting] = _life(file)

        self.following.add(files.values(), renew_and_note)


@dataclass(frozen=True, slots=True, order=True)
class _Life:
    """From when to when a certificate is valid, in seconds since 1970 (UTC)."""

    end: float
    begin: float

    def is_ending(self, now: float) -> bool:
        return now >= self.end - min(_SOON_SECONDS, (self.end - self.begin) / 3)

    def __str__(self) -> str:
        return datetime.fromtimestamp(self.end, UTC).strftime("%Y-%m-%d %H:%M UTC")


class _RenewedContext(ssl.SSLContext):
    """A context that hands each new connection to the one that was made last.

    Loading into a context in use would leave it the old authorities, an old key of another kind, and the sessions that
    were begun with them.
    """

    current: ssl.SSLContext

    def __new__(cls) -> Self:
        # Never used itself; by itself it could do nothing, as it has neither a certificate nor anybody to trust.
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext`; asyncio and uvloop make their connections with it."""
        return self.current.wrap_bio(*arguments, **keywords)

    def wrap_socket(self, *arguments: Any, **keywords: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext`."""
        return self.current.wrap_socket(*arguments, **keywords)


class _RenewedConfiguration:
    """What grpc asks for a certificate before each handshake, in a thread of its own."""

    current: grpc.ServerCertificateConfiguration

    def __init__(self) -> None:
        self._given: grpc.ServerCertificateConfiguration | None = None

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what was made last; None if grpc has it already."""
        current = self.current
        if current is self._given:
            return None
        self._given = current
        return current


def _life(file: Path) -> _Life:
    try:
        certificates = x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError:
        # OpenSSL has read it, so it will do; only its end cannot be told.
        return _Life(math.inf, 0.0)
    return min(
        _Life(certificate.not_valid_after_utc.timestamp(), certificate.not_valid_before_utc.timestamp())
        for certificate in certificates
    )
