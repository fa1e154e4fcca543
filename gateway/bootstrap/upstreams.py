"""What the adapters of the upstreams are given of the settings."""

from joserfc.jwk import ECKey

from adapters import threeds
from adapters.d1 import api
from gateway.settings import AssertionKeySettings, D1EncryptionKeySettings, Settings, SettingsError, ThreeDSSettings
from gateway.tls import keys

__all__ = ["d1_settings", "issuer_keys", "threeds_settings"]


def d1_settings(settings: Settings) -> api.D1Settings:
    """Tell the adapter of D1 what the settings say."""
    return api.D1Settings(
        base_url=settings.d1.base_url,
        connection_limit=settings.d1.max_connections,
        waiting_limit=settings.d1.max_waiting_requests,
        connect_timeout_seconds=settings.d1.connect_timeout_seconds,
        total_timeout_seconds=settings.d1.total_timeout_seconds,
        attempt_limit=settings.d1.max_attempts,
        circuit_failures=settings.d1.circuit_failures,
        circuit_pause_limit_seconds=settings.d1.circuit_max_pause_seconds,
        assertion_audience=settings.d1.assertion_audience,
    )


def threeds_settings(settings: ThreeDSSettings) -> threeds.ThreeDSSettings:
    """Tell the adapter of the 3-D Secure server what the settings say; reads the API key.

    Raises:
        SettingsError: They make no sense, or the key cannot be read.
    """
    try:
        return threeds.ThreeDSSettings(
            base_url=settings.base_url,
            api_key=threeds.Secret(_api_key(settings)),
            connection_limit=settings.max_connections,
            waiting_limit=settings.max_waiting_requests,
            connect_timeout_seconds=settings.connect_timeout_seconds,
            total_timeout_seconds=settings.total_timeout_seconds,
            attempt_limit=settings.max_attempts,
            circuit_failures=settings.circuit_failures,
            circuit_pause_limit_seconds=settings.circuit_max_pause_seconds,
        )
    except (OSError, ValueError) as error:
        raise SettingsError([f"threeds: {error}"]) from error


def _api_key(settings: ThreeDSSettings) -> str:
    if settings.api_key_file is not None:
        return settings.api_key_file.read_text(encoding="utf-8").strip()
    return settings.api_key.get_secret_value() if settings.api_key is not None else ""


def issuer_keys(settings: Settings) -> dict[str, api.IssuerKeys]:
    """Read the keys of all issuers, by issuer id.

    Raises:
        SettingsError: One cannot be used.
    """
    loaded = {}
    for issuer_id, issuer in settings.issuers.items():
        place = f"issuers.{issuer_id}"
        assertion_keys = [
            _assertion_key(f"{place}.assertion_keys.{number}", key) for number, key in enumerate(issuer.assertion_keys)
        ]
        encryption_keys = [
            _encryption_key(f"{place}.d1_encryption_keys.{number}", key)
            for number, key in enumerate(issuer.d1_encryption_keys)
        ]
        try:
            loaded[issuer_id] = api.IssuerKeys(assertion_keys, encryption_keys)
        except ValueError as error:
            raise SettingsError([f"{place}: {error}"]) from error
    return loaded


def _assertion_key(place: str, settings: AssertionKeySettings) -> ECKey:
    passphrase = keys.read_passphrase(f"{place}.passphrase_file", settings.passphrase_file)
    return keys.load(f"{place}.file", settings.file, kid=settings.kid, private=True, passphrase=passphrase)


def _encryption_key(place: str, settings: D1EncryptionKeySettings) -> api.EncryptionKey:
    key = keys.load(f"{place}.file", settings.file, kid=settings.kid, private=False)
    if settings.active_from is None:
        return api.EncryptionKey(key)
    return api.EncryptionKey(key, settings.active_from.timestamp())
