"""The connection to an upstream: which addresses and limits are taken."""

import pytest
from pydantic import SecretStr

from adapters.d1.api.errors import D1
from adapters.http.client import HttpExchange
from gateway.settings import ThreeDSSettings, UpstreamSettings

KINDS: dict[type[UpstreamSettings], dict[str, object]] = {
    UpstreamSettings: {},
    ThreeDSSettings: {"api_key": SecretStr("a-key")},
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def settings(kind: type[UpstreamSettings], **values: object) -> UpstreamSettings:
    return kind.model_validate({"base_url": "https://upstream.example", **KINDS[kind], **values})


@each_kind
@pytest.mark.parametrize(
    "base_url",
    [
        "http://upstream.example",
        "ftp://127.0.0.1",
        "https://",
        "https://user@upstream.example",
        "https://upstream.example?a=b",
        "https://upstream.example/",
        "https://upstream.example/path",
        "upstream.example",
        "http://127.0.0.1.example.org",
        "http://localhost@example.org",
    ],
)
def test_a_base_url_that_is_no_safe_host_is_refused(kind: type[UpstreamSettings], base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        settings(kind, base_url=base_url)


@each_kind
@pytest.mark.parametrize(
    "base_url", ["https://a.example:8443", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"]
)
def test_https_anywhere_and_http_on_loopback_are_taken(kind: type[UpstreamSettings], base_url: str) -> None:
    assert settings(kind, base_url=base_url).base_url == base_url


@pytest.mark.parametrize("limit", ["max_connections", "max_attempts", "total_timeout_seconds"])
def test_a_limit_of_nothing_is_refused(limit: str) -> None:
    with pytest.raises(ValueError, match=limit):
        settings(UpstreamSettings, **{limit: 0})


def test_https_without_a_tls_context_is_refused() -> None:
    with pytest.raises(ValueError, match="TLS context"):
        HttpExchange(D1, settings(UpstreamSettings), None)
