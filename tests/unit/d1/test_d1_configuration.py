import pytest

from adapters.d1.api.errors import D1
from adapters.http.client import HttpExchange
from gateway.settings import UpstreamSettings


@pytest.mark.parametrize(
    "base_url",
    [
        "http://api.d1.example",
        "ftp://127.0.0.1",
        "https://",
        "https://user@api.d1.example",
        "https://api.d1.example?a=b",
        "https://api.d1.example/path",
        "api.d1.example",
    ],
)
def test_a_base_url_that_is_no_safe_host_is_refused(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        UpstreamSettings(base_url=base_url)


@pytest.mark.parametrize("base_url", ["https://api.d1.example", "http://127.0.0.1:8080", "http://[::1]:1"])
def test_https_anywhere_and_http_on_loopback_are_taken(base_url: str) -> None:
    assert UpstreamSettings(base_url=base_url).base_url == base_url


@pytest.mark.parametrize("limit", ["max_connections", "max_attempts", "total_timeout_seconds"])
def test_a_limit_of_nothing_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        UpstreamSettings.model_validate({"base_url": "https://api.d1.example", limit: 0})


def test_https_without_a_tls_context_is_refused() -> None:
    with pytest.raises(ValueError, match="TLS context"):
        HttpExchange(D1, UpstreamSettings(base_url="https://api.d1.example"), None)
