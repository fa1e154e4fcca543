"""Settings that are addresses: what is refused when they are read, and that no password in them is shown."""

import pytest

from gateway.settings import load
from gateway.settings.dump import effective
from tests.unit.settings.settings_files import Files, mistakes_of

_SECRET = "s3cret"


@pytest.mark.parametrize(
    "url",
    [
        *("http://identity.bank/jwks", "http://10.0.0.1/jwks", "http://localhost.evil.example/jwks"),
        *("http://127.0.0.1@evil.example/jwks", f"https://{_SECRET}@identity.bank"),
        *("https://identity.bank/jwks#first", "https://identity.bank/jw ks", "https:///jwks"),
        *("https://identity.bank:0/jwks", "https://identity.bank:99999/jwks", "https://[::1/jwks"),
        *("ftp://127.0.0.1/jwks", "file:///etc/jwks", "/jwks", ""),
    ],
)
def test_a_url_of_keys_that_is_unsafe_or_wrong_is_refused_without_being_repeated(files: Files, url: str) -> None:
    (mistake,) = mistakes_of(files.write_tokens(f'issuer = "a", jwks_url = "{url}"'))

    assert mistake.startswith("access.tokens.jwks_url ")
    assert "pattern" not in mistake
    assert _SECRET not in mistake


@pytest.mark.parametrize(
    "url",
    [
        "https://identity.bank",
        "https://identity.bank:8443/jwks?tenant=1",
        "https://identity.bank?tenant=a@b",
        "http://[::1]:8080/jwks",
        "http://127.0.0.1:8080/@/jwks",
        "http://localhost/",
    ],
)
def test_keys_are_fetched_by_https_or_on_loopback(files: Files, url: str) -> None:
    tokens = load(files.write_tokens(f'issuer = "a", jwks_url = "{url}"')).access.tokens

    assert tokens is not None
    assert tokens.jwks_url == url


def test_the_query_to_the_server_of_keys_is_not_printed(files: Files) -> None:
    file = files.write_tokens(f'issuer = "a", jwks_url = "https://identity.bank/jwks?key={_SECRET}"')

    printed = effective(load(file))

    assert 'jwks_url = "https://identity.bank/jwks?***"' in printed
    assert _SECRET not in printed


@pytest.mark.parametrize(
    "variable",
    [
        "ACCESS__TOKENS__ISSUER",
        "ACCESS__TOKENS__AUDIENCE",
        "ACCESS__TOKENS__JWKS_URL",
        "D1__BASE_URL",
        "D1__ASSERTION_AUDIENCE",
        "THREEDS__BASE_URL",
    ],
)
def test_a_user_and_a_password_are_refused_wherever_an_address_may_stand(
    files: Files, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("D1_GATEWAY_THREEDS__API_KEY", "k")
    monkeypatch.setenv("D1_GATEWAY_THREEDS__BASE_URL", "https://threeds.example")

    monkeypatch.setenv(f"D1_GATEWAY_{variable}", f"https://user:{_SECRET}@server.example")

    mistakes = files.mistakes()

    assert mistakes[0].startswith(f"{variable.lower().replace('__', '.')} (environment): must ")
    assert _SECRET not in str(mistakes)


@pytest.mark.parametrize("server", [f"nats://user:{_SECRET}@127.0.0.1:4222", "nats://10.0.0.1:4222", "nats://[::1"])
def test_a_wrong_server_of_nats_is_not_reported_as_missing(files: Files, server: str) -> None:
    (mistake,) = files.mistakes(rest=f'[nats]\nservers = ["{server}"]')

    assert mistake.startswith("nats")
    assert "empty" not in mistake
    assert "pattern" not in mistake
    assert _SECRET not in mistake


@pytest.mark.parametrize(
    ("variable", "setting"),
    [
        ("NATS__SERVERS", "nats.servers"),
        ("EDGE__PROXY__NETWORKS", "edge.proxy.networks"),
        ("ACCESS__TOKENS__ALGORITHMS", "access.tokens.algorithms"),
    ],
)
def test_an_empty_list_is_refused(files: Files, monkeypatch: pytest.MonkeyPatch, variable: str, setting: str) -> None:
    monkeypatch.setenv(f"D1_GATEWAY_{variable}", "[]")

    assert files.mistakes() == [f"{setting} (environment): must not be empty"]
