"""The README's snippets, verbatim, against the sandbox that the client provides for tests."""

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from d1_gateway_client import GatewayClient
from d1_gateway_client.contracts.issuer.notification.v1 import Notification
from d1_gateway_client.testing import Flow, SandboxGateway, Status, sandbox_gateway
from tests.clients.client_readme import README, snippets


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxGateway]:
    with sandbox_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(autouse=True)
def _environment(gateway: SandboxGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in gateway.environment.items():
        monkeypatch.setenv(name, value)


def run(title: str, **known: Any) -> None:
    exec(compile(snippets()[title], f"{README.name}: {title}", "exec"), {"__name__": "snippet", **known})  # noqa: S102


def test_quickstart_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    run("Quickstart")
    run("Errors")
    assert re.fullmatch(r"already suspended: UPSTREAM_FORBIDDEN \w{32}\n", capsys.readouterr().out)


def test_what_the_browser_brings_back() -> None:
    known: dict[str, Any] = {"__name__": "snippet"}
    exec(snippets()["Form fields from the browser"], known)  # noqa: S102
    transaction = "d461f105-1792-407f-95ff-9a496fd918a9"
    message = {"messageType": "CRes", "threeDSServerTransID": transaction}
    field = base64.urlsafe_b64encode(json.dumps(message).encode()).decode()
    assert known["challenge_done"]({"cres": field}) == transaction
    assert known["method_done"]({"threeDSMethodData": field}) == transaction


def test_watching_notifications(gateway: SandboxGateway) -> None:
    class SeenError(Exception):
        pass

    def handle(notification: Notification) -> None:
        raise SeenError(notification.card_id)

    gateway.add_card("card-2", pan="4970101234560002")
    buyer = threading.Timer(1.0, lambda: gateway.buy("card-2").wait_ends())
    buyer.start()
    with pytest.raises(SeenError, match="card-2"):
        run("Watching notifications", handle=handle)
    buyer.join()


def test_backfills(gateway: SandboxGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.add_card("card_1", "consumer-1", pan="4970101234560011")
    run("Backfills")
    unknown, known = capsys.readouterr().out.splitlines()[::-1]
    assert known == "card_1 recovered: 0"
    assert unknown.startswith("card_2 failed: D1 does not know")


def test_handling_callbacks(gateway: SandboxGateway) -> None:
    sent: list[tuple[str, str]] = []

    async def send_sms(number: str, otp: str) -> None:
        sent.append((number, otp))

    def consumer() -> None:
        try:
            while (bought := gateway.buy("card-3", Flow.SMS_OTP_ISSUER)).wait_rests() is not Status.AWAITS_OTP:
                time.sleep(0.1)
            assert bought.type_otp(sent[-1][1])
            ended.append(bought.wait_ends())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    ended: list[Status] = []
    gateway.add_card("card-3", "consumer-3", pan="4970101234560003")
    playing = threading.Thread(target=consumer)
    playing.start()
    run("Handling callbacks", phone_numbers={"consumer-3": "+447700900123"}, send_sms=send_sms)
    playing.join()
    assert ended == [Status.SUCCESSFUL]
    assert sent[-1][0] == "+447700900123"


@pytest.mark.timeout(180)
def test_testing_your_service(tmp_path: Path) -> None:
    (tmp_path / "test_service.py").write_text(snippets()["Testing your service"])
    plugin = 'pytest_plugins = ["d1_gateway_client.testing"]'
    assert plugin in README.read_text()
    (tmp_path / "conftest.py").write_text(plugin)
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(  # noqa: S603 (our own snippet)
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_every_snippet_is_run() -> None:
    assert set(snippets()) == {
        "Quickstart",
        "Errors",
        "Form fields from the browser",
        "Watching notifications",
        "Backfills",
        "Handling callbacks",
        "Testing your service",
    }


def test_a_killed_gateway_comes_back_and_async_tests_can_wait(gateway: SandboxGateway) -> None:
    gateway.add_card("card-4", "consumer-4", pan="4970101234560004")
    gateway.restart()

    async def bought() -> Status:
        return await gateway.buy("card-4").ends()

    assert asyncio.run(bought()) is Status.SUCCESSFUL
    failing = gateway.buy("card-4", Flow.SMS_OTP_ISSUER)
    assert (failing.wait_ends(), failing.answers) == (Status.FAILED, [500])
    assert failing.error
    with GatewayClient(gateway.options) as client, client.notifications.watch() as watch:
        assert watch.cursor == ""
