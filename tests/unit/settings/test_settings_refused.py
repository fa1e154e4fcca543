"""Settings each of which is fine, and which do not go together."""

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load
from tests.unit.settings.settings_files import Files


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files.make(tmp_path)


@pytest.mark.parametrize(
    ("edge", "rest", "ports"),
    [
        ("port = 8443", "", "grpc.port and edge.port are both 8443"),
        ("port = 9464", "", "edge.port and admin.port are both 9464"),
        ("", "[admin]\nport = 8443", "grpc.port and admin.port are both 8443"),
        ('host = "::"\nport = 8443', "", "grpc.port and edge.port are both 8443"),
    ],
)
def test_two_listeners_cannot_have_one_port(files: Files, edge: str, rest: str, ports: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load(files.write(edge=edge, rest=rest))
    assert raised.value.mistakes == [f"settings ({files.toml}): {ports}"]


@pytest.mark.parametrize(
    "edge", ['host = "127.0.0.2"\nport = 8443', 'host = "::1"\nport = 8443', "port = 8444", "port = 0"]
)
def test_two_addresses_or_two_ports_are_two_listeners(files: Files, edge: str) -> None:
    rest = "[admin]\nport = 0" if edge == "port = 0" else ""

    assert load(files.write(edge=edge, rest=rest)).edge.host


def test_to_connect_cannot_take_longer_than_all(files: Files) -> None:
    with pytest.raises(SettingsError) as raised:
        load(files.write(d1="connect_timeout_seconds = 5\ntotal_timeout_seconds = 4"))
    (mistake,) = raised.value.mistakes
    assert mistake.startswith("d1 (")
    assert "connect_timeout_seconds must not exceed" in mistake


@pytest.mark.parametrize("networks", ["[]", '["10.0.0.1/8"]', '["proxy.example"]', '["10.0.0.0/33"]'])
def test_a_proxy_is_where_a_network_is(files: Files, networks: str) -> None:
    with pytest.raises(SettingsError, match=r"edge\.proxy\.networks"):
        load(files.write(rest=f"[edge.proxy]\nnetworks = {networks}"))


def test_a_proxy_is_known_by_addresses_and_networks(files: Files) -> None:
    settings = load(files.write(rest='[edge.proxy]\nnetworks = ["10.1.2.3", "fd00::/8"]'))

    assert settings.edge.proxy is not None
    assert [str(network) for network in settings.edge.proxy.networks] == ["10.1.2.3/32", "fd00::/8"]
