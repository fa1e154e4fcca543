from dataclasses import replace
from typing import Literal

import pytest
from joserfc.jwk import ECKey, KeyParameters

from adapters.d1.http import D1Http
from adapters.d1.keys import IssuerKeys
from adapters.d1.settings import D1Settings


def key(curve: str = "P-256", *, private: bool = True, use: Literal["sig", "enc"] | None = None) -> ECKey:
    parameters: KeyParameters = {"kid": "a-kid", "use": use} if use else {"kid": "a-kid"}
    generated = ECKey.generate_key(curve, parameters)
    return generated if private else ECKey.import_key(generated.as_dict(private=False))


def test_an_encryption_key_on_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256, not P-384"):
        IssuerKeys(assertion_key=key(), d1_encryption_key=key("P-384", private=False))


def test_an_assertion_key_on_another_curve_is_refused() -> None:
    with pytest.raises(ValueError, match="P-256, not P-521"):
        IssuerKeys(assertion_key=key("P-521"), d1_encryption_key=key(private=False))


def test_keys_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(ValueError, match="assertion_key has to be the private key"):
        IssuerKeys(assertion_key=key(private=False), d1_encryption_key=key())


def test_a_private_key_of_d1_is_refused() -> None:
    with pytest.raises(ValueError, match="D1's public key"):
        IssuerKeys(assertion_key=key(), d1_encryption_key=key())


def test_a_key_without_a_kid_is_refused() -> None:
    with pytest.raises(ValueError, match="assertion_key has no kid"):
        IssuerKeys(assertion_key=ECKey.generate_key("P-256"), d1_encryption_key=key(private=False))


def test_a_key_for_another_use_is_refused() -> None:
    with pytest.raises(ValueError, match="not meant for the use 'enc'"):
        IssuerKeys(assertion_key=key(), d1_encryption_key=key(private=False, use="sig"))


def test_keys_show_nothing_but_their_ids() -> None:
    keys = IssuerKeys(assertion_key=key(), d1_encryption_key=key(private=False))

    assert repr(keys) == "IssuerKeys(assertion_key=<kid 'a-kid'>, d1_encryption_key=<kid 'a-kid'>)"


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.d1.example",
        "ftp://127.0.0.1",
        "https://",
        "https://user@api.d1.example",
        "https://api.d1.example?a=b",
        "api.d1.example",
    ],
)
def test_a_base_url_that_is_no_safe_host_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        D1Settings(base_url)


@pytest.mark.parametrize("base_url", ["https://api.d1.example", "http://127.0.0.1:8080", "http://[::1]:1/d1"])
def test_https_anywhere_and_http_on_loopback_are_taken(base_url: str) -> None:
    assert D1Settings(base_url).base_url == base_url


@pytest.mark.parametrize("seconds", [0, 901])
def test_an_assertion_that_d1_would_refuse_for_its_life_is_refused_here(seconds: int) -> None:
    with pytest.raises(ValueError, match="assertion_life_seconds"):
        D1Settings("https://api.d1.example", assertion_life_seconds=seconds)


def test_a_limit_of_nothing_is_refused() -> None:
    settings = D1Settings("https://api.d1.example")

    with pytest.raises(ValueError, match="more than 0"):
        replace(settings, connection_limit=0)
    with pytest.raises(ValueError, match="more than 0"):
        replace(settings, total_timeout_seconds=-1.0)


def test_https_without_a_tls_context_is_refused() -> None:
    with pytest.raises(ValueError, match="TLS context"):
        D1Http(D1Settings("https://api.d1.example"), None)
