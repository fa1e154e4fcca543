"""The gateway's certificates, reloaded when their files change, with warnings before they expire."""

import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, cast

import grpc
import structlog
from cryptography import x509

from gateway.aio.clock import every
from gateway.errors import shown
from gateway.settings import D1Settings, IssuerSettings, Settings
from gateway.tls import contexts
from gateway.tls.file_watcher import CHECK_SECONDS, FileWatcher

__all__ = ["Certificates", "ClientCertificate"]

_DAY_SECONDS: Final = 86_400.0
_SOON_SECONDS: Final = 30 * _DAY_SECONDS
_OWN: Final = "tls_certificate_file"
_EXPIRING: Final = (_OWN, "tls_client_ca_file", "tls_ca_file", "jwks_ca_file")
_FILES: Final = (*_EXPIRING, "tls_key_file", "tls_key_passphrase_file")

_ClientFiles: TypeAlias = tuple[Path | None, ...]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """A client certificate for D1."""

    context: ssl.SSLContext
    """For connections that present it."""
    describe: Callable[[], str]
    """Returns its subject and expiry."""
    is_common: bool
    """Whether it is that of all issuers without their own."""


class Certificates:
    """TLS contexts and credentials for all listeners and connections.

    A connection keeps the certificates with which it was made; later ones use those that the files hold by then.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.time) -> None:
        """Load all files; blocks.

        Args:
            settings: Settings that name the files.
            clock: Time in seconds since 1970.

        Raises:
            SettingsError: A file cannot be used.
        """
        self.file_watcher = FileWatcher()
        """Watches the files; others may be added."""
        self._clock = clock
        self._validities: dict[str, _Validity] = {}
        self._presented: dict[str, str] = {}
        self.edge = self._context("edge", settings.edge, lambda: contexts.edge_context(settings.edge))
        """For the edge."""
        by_files = self._client_certificates(settings)
        self.d1_common = by_files.get(_client_files(settings.d1))
        """For connections to D1 of aggregators, and of issuers without their own; None if `[d1]` names none."""
        self.d1 = {
            issuer_id: by_files[_client_files(settings.d1 if issuer.tls_certificate_file is None else issuer)]
            for issuer_id, issuer in settings.issuers.items()
        }
        """For connections to D1, by issuer id. Issuers with the same files have the same one."""
        threeds = settings.threeds
        self.threeds = (
            None if threeds is None else self._context("threeds", threeds, lambda: contexts.threeds_context(threeds))
        )
        """For connections to the 3-D Secure server; None if there is none."""
        nats = settings.nats
        self.nats = None if nats is None else self._context("nats", nats, lambda: contexts.nats_context(nats))
        """For connections to NATS; None if there is none."""
        tokens = settings.access.tokens
        self.tokens = (
            None
            if tokens is None or tokens.jwks_url is None
            else self._context("access.tokens", tokens, lambda: contexts.tokens_context(tokens))
        )
        """For connections to the JWKS server; None if there is none."""
        self.grpc = self._grpc_credentials(settings)
        """For the gRPC listener; None if it is plaintext."""

    @property
    def expiry_times(self) -> Mapping[str, float]:
        """Expiry by setting, in seconds since 1970 (UTC); for a file with several certificates, the earliest."""
        return {setting: validity.end for setting, validity in self._validities.items()}

    @property
    def ending(self) -> Collection[str]:
        """The settings whose certificate expires soon, as `warnings` has it, or has expired."""
        now = self._clock()
        return [setting for setting, validity in self._validities.items() if validity.is_ending(now)]

    def presented(self, table: str) -> str:
        """Describe the certificate that a table of the settings presents, by subject and expiry; empty if none."""
        return self._presented.get(f"{table}.{_OWN}", "")

    def expired(self) -> list[str]:
        """Describe the gateway's own certificates that have expired."""
        now = self._clock()
        return [
            f"{setting}: expired on {validity}"
            for setting, validity in self._validities.items()
            if setting.endswith(_OWN) and validity.end <= now
        ]

    def warnings(self) -> list[str]:
        """Describe the certificates that expire soon, and other parties' that have expired.

        Soon means within 30 days, or in the last third of a certificate's life if that is shorter than 90 days.
        """
        now = self._clock()
        return [
            f"{setting}: {'expired' if validity.end <= now else 'expires'} on {validity}"
            for setting, validity in self._validities.items()
            if validity.is_ending(now) and not (setting.endswith(_OWN) and validity.end <= now)
        ]

    @asynccontextmanager
    async def watched(self, check_seconds: float = CHECK_SECONDS) -> AsyncIterator[None]:
        """Check the files at this interval, and warn now and once a day, for as long as the context lasts."""
        await self._warn()
        async with self.file_watcher.running(check_seconds), every(_DAY_SECONDS, self._warn):
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

        self._watch(_files(table, settings), renew)
        return renewed

    def _client_certificates(self, settings: Settings) -> Mapping[_ClientFiles, ClientCertificate]:
        by_files: dict[_ClientFiles, ClientCertificate] = {}
        owners: dict[str, D1Settings | IssuerSettings] = {"d1": settings.d1}
        owners |= {f"issuers.{issuer_id}": issuer for issuer_id, issuer in settings.issuers.items()}
        for table, owner in owners.items():
            files = _client_files(owner)
            if owner.tls_certificate_file is not None and files not in by_files:
                by_files[files] = self._client_certificate(table, settings.d1, owner)
        return by_files

    def _client_certificate(self, table: str, d1: D1Settings, owner: D1Settings | IssuerSettings) -> ClientCertificate:
        renewed = _RenewedContext()

        def renew() -> None:
            renewed.current = contexts.d1_context(d1, table, owner)

        self._watch(_files("d1", d1, "tls_ca_file") | _files(table, owner), renew)
        return ClientCertificate(renewed, lambda: self.presented(table), is_common=owner is d1)

    def _grpc_credentials(self, settings: Settings) -> grpc.ServerCredentials | None:
        if settings.grpc.tls_certificate_file is None:
            return None
        renewed = _RenewedConfiguration()

        def renew() -> None:
            renewed.current = contexts.grpc_configuration(settings.grpc)

        self._watch(_files("grpc", settings.grpc), renew)
        return grpc.dynamic_ssl_server_credentials(
            renewed.current,
            # grpc's documentation allows None for "no change"; its stubs do not.
            cast("Callable[[], grpc.ServerCertificateConfiguration]", renewed.fetch),
            require_client_authentication=settings.grpc.tls_client_ca_file is not None,
        )

    def _watch(self, files: Mapping[str, Path], renew: Callable[[], None]) -> None:
        def renew_all() -> None:
            renew()
            for setting, file in files.items():
                if setting.endswith(_EXPIRING):
                    certificates = _certificates(file)
                    self._validities[setting] = _earliest(certificates)
                    if setting.endswith(_OWN):
                        self._presented[setting] = _description(certificates)

        self.file_watcher.add(files.values(), renew_all)


@dataclass(frozen=True, slots=True, order=True)
class _Validity:
    """Validity period of a certificate, in seconds since 1970 (UTC)."""

    end: float
    begin: float

    def is_ending(self, now: float) -> bool:
        return now >= self.end - min(_SOON_SECONDS, (self.end - self.begin) / 3)

    def __str__(self) -> str:
        return datetime.fromtimestamp(self.end, UTC).strftime("%Y-%m-%d %H:%M UTC")


class _RenewedContext(ssl.SSLContext):
    """A context that delegates each new connection to the latest context.

    Loading files into a context in use would leave it the old CAs, an old key of another type, and sessions that
    started with them.
    """

    current: ssl.SSLContext

    def __new__(cls) -> Self:
        # Never used by itself, and powerless if it were: it has no certificate and trusts no CA.
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def wrap_bio(self, *arguments: Any, **keywords: Any) -> ssl.SSLObject:
        """See `ssl.SSLContext`; asyncio and uvloop create connections with it."""
        return self.current.wrap_bio(*arguments, **keywords)

    def wrap_socket(self, *arguments: Any, **keywords: Any) -> ssl.SSLSocket:
        """See `ssl.SSLContext`."""
        return self.current.wrap_socket(*arguments, **keywords)


class _RenewedConfiguration:
    """Provides certificates to grpc, which asks before each handshake, in its own thread."""

    current: grpc.ServerCertificateConfiguration

    def __init__(self) -> None:
        self._fetched: grpc.ServerCertificateConfiguration | None = None

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the latest configuration; None if grpc has it already."""
        current = self.current
        if current is self._fetched:
            return None
        self._fetched = current
        return current


def _files(table: str, settings: object, *names: str) -> dict[str, Path]:
    """Return the files that a table names, by setting; all that are for TLS, or those named."""
    files = {name: getattr(settings, name, None) for name in names or _FILES}
    return {f"{table}.{name}": file for name, file in files.items() if file is not None}


def _client_files(owner: D1Settings | IssuerSettings) -> _ClientFiles:
    return owner.tls_certificate_file, owner.tls_key_file, owner.tls_key_passphrase_file


def _certificates(file: Path) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except ValueError:
        # OpenSSL has accepted the file, so it is usable; only what is in it is unknown.
        return ()


def _earliest(certificates: Sequence[x509.Certificate]) -> _Validity:
    return min(map(_validity, certificates), default=_Validity(math.inf, 0.0))


def _validity(certificate: x509.Certificate) -> _Validity:
    return _Validity(certificate.not_valid_after_utc.timestamp(), certificate.not_valid_before_utc.timestamp())


def _description(certificates: Sequence[x509.Certificate]) -> str:
    if not certificates:
        return "one that cannot be described"
    # Those of its issuers follow.
    own = certificates[0]
    return f"{shown(own.subject.rfc4514_string())}, expires on {_validity(own)}"
