"""Findings of `config check` beyond the syntax of the settings."""

from datetime import timedelta
from pathlib import Path

import pytest

from gateway import bootstrap
from gateway.settings import Settings, SettingsError
from sandbox import Sandbox
from tests.integration.edge.edge_gateways import write_pair
from tests.running import settings_for
from tests.unit.auth.auth_pki import Authority

_DAY = timedelta(days=1)


@pytest.fixture
def used(sandbox: Sandbox, tmp_path: Path) -> Settings:
    return settings_for(sandbox, tmp_path)


def _presenting(used: Settings, folder: Path, ends: timedelta) -> Settings:
    """Return the settings with a certificate of the edge that ends then."""
    shown = write_pair(folder, "edge-server", Authority().issue(begins=-300 * _DAY, ends=ends))
    edge = used.edge.model_copy(update={"tls_certificate_file": shown.certificate, "tls_key_file": shown.key})
    return used.model_copy(update={"edge": edge})


def test_a_certificate_of_ours_that_ends_soon_is_a_warning_and_one_that_has_expired_a_mistake(
    used: Settings, tmp_path: Path
) -> None:
    assert bootstrap.check(used) == []

    (warning,) = bootstrap.check(_presenting(used, tmp_path, 10 * _DAY))
    assert warning.startswith("edge.tls_certificate_file: expires on ")

    with pytest.raises(SettingsError, match=r"^edge\.tls_certificate_file: expired on "):
        bootstrap.check(_presenting(used, tmp_path, -_DAY))


@pytest.mark.parametrize("place", ["missing/d1-gateway.db", "d1-gateway.toml/d1-gateway.db"])
def test_a_folder_in_which_no_event_log_can_be_is_a_mistake(used: Settings, tmp_path: Path, place: str) -> None:
    event_log = used.event_log.model_copy(update={"path": tmp_path / place})
    with pytest.raises(SettingsError, match=r"^event_log\.path: the folder .* is not writable: "):
        bootstrap.check(used.model_copy(update={"event_log": event_log}))
