"""Loads the keys of issuers and aggregators for the card platform's adapter."""

from collections.abc import Sequence

from joserfc.jwk import ECKey

from adapters.d1 import api
from gateway.settings import AssertionKeySettings, D1EncryptionKeySettings, Settings, SettingsError
from gateway.tls import keys

__all__ = ["issuer_keys"]


def issuer_keys(settings: Settings) -> dict[str, api.IssuerKeys]:
    """Load the keys of all issuers, by issuer id.

    Raises:
        SettingsError: A key cannot be used.
    """
    loaded = {}
    of_aggregators = {
        aggregator_id: _assertion_keys(f"aggregators.{aggregator_id}", aggregator.assertion_keys)
        for aggregator_id, aggregator in settings.aggregators.items()
    }
    for issuer_id, issuer in settings.issuers.items():
        place = f"issuers.{issuer_id}"
        if issuer.aggregator is None:
            assertion_keys = _assertion_keys(place, issuer.assertion_keys)
        else:
            assertion_keys = of_aggregators[issuer.aggregator]
        encryption_keys = [
            _encryption_key(f"{place}.d1_encryption_keys.{number}", key)
            for number, key in enumerate(issuer.d1_encryption_keys)
        ]
        try:
            loaded[issuer_id] = api.IssuerKeys(assertion_keys, encryption_keys, aggregator_id=issuer.aggregator or "")
        except ValueError as error:
            raise SettingsError([f"{place}: {error}"]) from error
    return loaded


def _assertion_keys(place: str, settings: Sequence[AssertionKeySettings]) -> list[ECKey]:
    loaded = [_assertion_key(f"{place}.assertion_keys.{number}", key) for number, key in enumerate(settings)]
    try:
        api.check_assertion_keys(loaded)
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
