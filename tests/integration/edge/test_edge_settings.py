"""Findings of `config check` and of the start beyond the syntax of the settings, and further paths of callbacks."""

import base64
import resource
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from gateway import bootstrap
from gateway.bootstrap import serve
from gateway.settings import AuditSettings, Settings, SettingsError
from sandbox import Sandbox
from sandbox.d1.model import contract
from sandbox.d1.model.contract import BANKING, Callback
from sandbox.handler import Handler
from tests.callback_replies import Issuer
from tests.integration.edge.edge_caller import OAUTH, TOKEN_PATH, EdgeCaller, consumer_event, edge_log
from tests.integration.edge.edge_gateways import edge_with, write_pair
from tests.running import settings_for
from tests.unit.auth.auth_pki import Authority

_DAY = timedelta(days=1)
_FURTHER = "/banking/v1"


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


@pytest.mark.parametrize(
    ("folder", "fault"),
    [("missing/audit", "missing cannot be used: No such"), ("open", "everybody can"), ("open/audit", "everybody can")],
)
def test_a_folder_in_which_no_audit_trail_can_be_is_a_mistake(
    used: Settings, tmp_path: Path, folder: str, fault: str
) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    audit = AuditSettings(folder=tmp_path / folder)
    with pytest.raises(SettingsError, match=rf"^audit\.folder: .*{fault}"):
        bootstrap.check(used.model_copy(update={"audit": audit}))


async def test_a_path_that_is_served_in_any_case_is_a_mistake(used: Settings) -> None:
    edge = used.edge.model_copy(update={"additional_banking_paths": (BANKING,)})
    clashing = used.model_copy(update={"edge": edge})
    with pytest.raises(SettingsError, match=r"^edge\.additional_banking_paths: /banking/d1/v1 is served in any case$"):
        bootstrap.check(clashing)
    with pytest.raises(SettingsError, match=r"^edge\.additional_banking_paths: "):
        async with bootstrap.running(clashing):
            pass


@pytest.fixture
async def further(sandbox: Sandbox, session: aiohttp.ClientSession, tmp_path: Path) -> AsyncIterator[EdgeCaller]:
    """D1's client of a gateway that requires a bearer token and serves a further path, which the simulated D1 calls."""
    async with edge_with(sandbox, tmp_path, oauth=OAUTH, additional_banking_paths=(_FURTHER,)) as running:
        sandbox.edge.banking_path = _FURTHER
        yield await EdgeCaller.of(running, session)
        sandbox.edge.banking_path = BANKING


async def test_all_callbacks_about_consumers_are_served_at_a_further_path_as_at_the_first(further: EdgeCaller) -> None:
    sandbox, of = further.running.sandbox, {"consumerId": further.consumer_id}
    calls: list[tuple[Callback, dict[str, str], Any]] = [
        (contract.GET_CONSUMER_INFORMATION, of, None),
        (contract.DELIVER_OTP, of, {"otp": {"value": "004211"}}),
        (contract.AUTHENTICATE, of, {}),
        (contract.GET_AUTHENTICATION_RESULT, of | {"authenticationId": "auth-1"}, None),
        (contract.NOTIFY_CONSUMER_OPERATION, of, consumer_event()),
    ]
    with edge_log() as logged:
        async with Handler.connect(further.running.channel, Issuer().responders()) as handler:
            for call, ids, body in calls:
                for path in (_FURTHER, BANKING):
                    sandbox.edge.banking_path = path
                    assert (await sandbox.edge.call(call, ids, correlation_id="x", body=body)).status == call.success
        assert len(handler.requests) == 8
        (stored,) = await further.stored()
    assert stored.consumer_id == further.consumer_id
    paths = [call.path.removeprefix(BANKING) for call, *_ in calls]
    completed = [entry for entry in logged if entry["event"] == "callback_completed"]
    assert [entry["callback"] for entry in completed if entry["log_level"] == "info"] == [
        f"{path}{rest}" for rest in paths[:4] for path in (_FURTHER, BANKING)
    ], "notifications are logged at debug level"

    for rest in paths:
        refused = await further.request("POST", _FURTHER + rest.format(issuerId="SANDBOX001", **calls[3][1]))
        assert refused.error(401) == "a valid bearer token is required"
    async with further.session.get(f"http://{further.running.addresses.admin}/metrics") as response:
        measured = await response.text()
    for rest in paths:
        assert f'route="{_FURTHER}{rest}",status="2' in measured


async def test_a_further_path_takes_the_same_methods(further: EdgeCaller) -> None:
    pair = f"{OAUTH.client_id}:{OAUTH.client_secret}".encode()
    basic = {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    given = await further.request("POST", TOKEN_PATH, data={"grant_type": "client_credentials"}, headers=basic)
    bearer = {"Authorization": f"Bearer {given.json['access_token']}"}
    for path in (_FURTHER, BANKING):
        for method, rest, allowed in (("HEAD", "", "GET"), ("PUT", "", "GET"), ("GET", "/otp", "POST")):
            url = f"{path}/issuers/SANDBOX001/consumers/consumer-1{rest}"
            response = await further.request(method, url, headers=bearer)
            assert (response.status, response.headers["allow"]) == (405, allowed)


def test_fewer_file_descriptors_than_connections_are_a_warning(used: Settings) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = used.edge.model_copy(update={"max_handshakes": before[1]})
    try:
        with capture_logs() as logged:
            serve._raise_descriptor_limit(used)
            assert logged == []
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
            serve._raise_descriptor_limit(used.model_copy(update={"edge": many}))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert [(each["event"], each["limit"]) for each in logged] == [("descriptor_limit_found_low", before[1])]
    assert logged[0]["needed"] > 2 * before[1]
