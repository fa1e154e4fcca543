from dataclasses import replace

import pytest

from adapters.d1.api.http import D1Http
from adapters.d1.api.settings import D1Settings


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
