"""`d1-gateway sandbox`: what it prints works as pasted, every purchase can succeed, and a restart forgets nothing."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sandbox.common.ports import free_ports
from sandbox.d1.acs.purchase import Flow
from sandbox.playground.folder import MADE
from tests.e2e.command import Ended, d1_gateway, ended, running, started
from tests.e2e.playing import SECONDS, Playing, playing

_KINDS = ["consumer_information", "deliver_otp", "authenticate", "authentication_result", "card_credentials"]


@pytest.fixture(scope="module")
async def sandbox_of_all(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Playing]:
    async with playing(tmp_path_factory.mktemp("sandbox")) as started_once:
        yield started_once
        started_once.process.send_signal(signal.SIGINT)
        assert await ended(started_once.process) == Ended(0, "", "")


def commands_in(printed: str) -> list[str]:
    """Return what is to be pasted: indented lines, joined where one continues."""
    blocks = re.findall(r"(?:^  .*\n)+", printed, re.MULTILINE)
    found: list[str] = []
    for line in "".join(blocks).splitlines():
        if line.startswith("    "):
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


async def test_what_is_printed_fits_80_columns_and_each_command_works_as_pasted(sandbox_of_all: Playing) -> None:
    assert max(map(len, sandbox_of_all.printed.splitlines())) <= 80
    source, watch, frictionless, otp, suspend, resume, answer = commands_in(sandbox_of_all.printed)
    assert source.strip() == "source d1-sandbox/sandbox.env"

    async with sandbox_of_all.shell(watch) as watching:
        assert watching.stdout is not None
        assert "OPERATION" in (await watching.stdout.readline()).decode()
        for command in (frictionless, otp):
            async with sandbox_of_all.shell(command) as buying:
                bought = await ended(buying)
            assert (bought.status, json.loads(bought.stdout)["status"]) == (0, "SUCCESSFUL")
        seen = ""
        while "OTP_SMS" not in seen:
            seen += (await watching.stdout.readline()).decode()
        os.killpg(watching.pid, signal.SIGINT)
        await watching.wait()
    assert re.search("consumer_[12] +ENROLL_AUTHN +SUCCESSFUL", seen)
    assert re.search("card_1 +3DS_FRICTIONLESS +SUCCESSFUL", seen)

    for command, state in ((suspend, "SUSPENDED"), (resume, "ACTIVE")):
        async with sandbox_of_all.shell(command) as calling:
            called = await ended(calling)
        assert (called.status, called.stdout) == (0, "{}\n"), called
        cards = (await sandbox_of_all.control("GET", "cards"))["cards"]
        assert {card["cardId"]: card["state"] for card in cards}["card_1"] == state

    async with sandbox_of_all.shell(answer) as answering:
        assert answering.stderr is not None
        assert b"answers deliver_otp" in await answering.stderr.readline()
        assert (await sandbox_of_all.control("GET", "handler"))["registered"] == [
            kind for kind in _KINDS if kind != "deliver_otp"
        ]
        os.killpg(answering.pid, signal.SIGINT)
        await answering.wait()
    assert (await sandbox_of_all.control("POST", "handler"))["registered"] == _KINDS


@pytest.mark.parametrize("flow", Flow)
async def test_a_purchase_succeeds_whatever_its_flow_by_itself_or_with_what_the_consumer_does(
    flow: Flow, sandbox_of_all: Playing
) -> None:
    order = {"cardId": "card_1", "flow": flow.value, "poll_interval_ms": 50, "wait_ms": 20_000}
    approved = await sandbox_of_all.control("POST", "purchases", approves=True, **order)
    bought = await sandbox_of_all.control("POST", "purchases", **order)
    purchase = f"purchases/{bought['purchaseId']}"
    if bought["status"] == "AWAITS_OTP":
        [message] = (await sandbox_of_all.control("GET", f"sms?purchaseId={bought['purchaseId']}"))["messages"]
        await sandbox_of_all.control("POST", f"{purchase}/otp", otp=message["otp"])
    elif bought["status"] == "AWAITS_DECISION":
        await sandbox_of_all.control("POST", f"{purchase}/approve")
    ends = await sandbox_of_all.control("GET", f"{purchase}?wait_ms=20000")

    assert (flow is Flow.FRICTIONLESS) == (bought["status"] == "SUCCESSFUL")
    for each in (approved, ends):
        assert (each["status"], each["failedChecks"], each["error"]) == ("SUCCESSFUL", [], None)
        assert each["notification"] == {"status": 204, "error": None}


async def test_a_push_that_the_consumer_denies_fails_and_so_does_one_that_nobody_decides(
    sandbox_of_all: Playing,
) -> None:
    order = {"cardId": "card_2", "flow": "oob-issuer", "poll_interval_ms": 50, "wait_ms": 20_000}
    denied = await sandbox_of_all.control("POST", "purchases", **order)
    await sandbox_of_all.control("POST", f"purchases/{denied['purchaseId']}/deny")
    denied = await sandbox_of_all.control("GET", f"purchases/{denied['purchaseId']}?wait_ms=20000")
    late = await sandbox_of_all.control("POST", "purchases", poll_limit_ms=100, **order)
    late = await sandbox_of_all.control("GET", f"purchases/{late['purchaseId']}?wait_ms=20000")
    while late["status"] != "FAILED":
        late = await sandbox_of_all.control("GET", f"purchases/{late['purchaseId']}?wait_ms=20000")

    assert (denied["status"], denied["error"]) == ("FAILED", "The issuer did not authenticate the consumer")
    assert late["error"] == "The issuer had no result in time"


@pytest.mark.parametrize("rpc", ["RenewCard", "ReplaceCard"])
async def test_d1_gets_the_data_of_a_card_that_follows_another(rpc: str, sandbox_of_all: Playing) -> None:
    reason = {"reason_code": "CARD_BROKEN"} if rpc == "ReplaceCard" else {}
    assert (await sandbox_of_all.call(f"CardService/{rpc}", card_id="card_2", **reason)).status == 0

    async with asyncio.timeout(10):
        while (await sandbox_of_all.control("GET", "cards"))["cards"][1]["awaitsCredentials"]:  # noqa: ASYNC110 (over HTTP)
            await asyncio.sleep(0.05)
    assert (await sandbox_of_all.control("GET", "errors")) == {"errors": []}


async def test_for_a_container_it_listens_on_every_address_and_shows_those_of_loopback(tmp_path: Path) -> None:
    async with playing(tmp_path, "--listen", "0.0.0.0") as sandbox:  # noqa: S104 (what is tested)
        addresses = [each.rpartition("/")[2].split(":") for each in sandbox.facts["addresses"].values()]
        assert {host for host, _ in addresses} == {"127.0.0.1"}
        for _, port in addresses:
            _, writer = await asyncio.open_connection("127.0.0.2", int(port))
            writer.close()
        bought = await sandbox.control("POST", "purchases", cardId="card_1", flow="frictionless", wait_ms=20_000)
        assert bought["status"] == "SUCCESSFUL"


@pytest.mark.timeout(150)
async def test_a_restart_at_any_moment_forgets_nothing_and_is_at_the_same_addresses(tmp_path: Path) -> None:
    base = free_ports(6)[0]
    kept = {}
    async with playing(tmp_path, "--no-handler", port_base=base) as first:
        facts = first.facts
        # Without a handler, D1 gets the fallback in the end.
        assert await first.control("GET", "handler") == {"kinds": [], "registered": []}
        failed = await first.control("POST", "purchases", cardId="card_1", flow="sms-otp")
        new = {"card_id": "card_3", "consumer_id": "consumer_1", "card_product_id": "light"}
        credentials = {"pan": "4970101234567916", "expiry": {"month": 12, "year": 2031}}
        assert (await first.call("CardService/RegisterCard", credentials=credentials, **new)).status == 0
        suspended = await first.call("CardService/SuspendCard", card_id="card_1", reason_code="USER_DECISION")
        assert suspended.status == 0
        await first.control("DELETE", "authenticators/app_1")
        kept = {what: await first.control("GET", what) for what in ("cards", "authenticators")}
        failed = await first.control("GET", f"purchases/{failed['purchaseId']}?wait_ms=20000")
        assert (failed["status"], failed["calls"][0]["status"]) == ("FAILED", 500)
        notifications = await first.notifications()
        assert len(notifications) == 4, "two authenticators enrolled, one removed, a purchase that failed"
        first.process.kill()
        await first.process.wait()

    # Its ports are free at once: the gateway ends with it.
    async with playing(tmp_path, port_base=base) as second:
        assert second.facts["addresses"] == facts["addresses"]
        assert facts["addresses"]["control"] == f"http://127.0.0.1:{base}"
        assert {what: await second.control("GET", what) for what in kept} == kept
        assert await second.notifications() == notifications
        resumed = await second.call("CardService/ResumeCard", card_id="card_1", reason_code="ISSUER_DECISION")
        assert resumed.status == 0, resumed
        history = await second.call("ThreeDSOperationService/ListThreeDSOperations", card_id="card_1")
        assert failed["operationId"] in history.stdout
        log = (second.folder / "d1-gateway.log").read_text()
        assert log.count('"event":"gateway_started"') == 2
        for file in (each for each in second.folder.rglob("*") if each.is_file()):
            assert not re.search(rb"49701012345679\d\d|49701012345678\d\d", file.read_bytes()), file
        assert {each.name for each in second.folder.iterdir()} <= {"sandbox.lock", *MADE}, "or --fresh leaves it"
        refused = await d1_gateway("sandbox", "--folder", second.folder, "--port-base", "0")
        assert f"used by another sandbox, process {second.process.pid}" in refused.only_line(2)

    async with playing(tmp_path, "--fresh", port_base=base) as third:
        cards = (await third.control("GET", "cards"))["cards"]
        assert {card["cardId"]: card["state"] for card in cards} == {"card_1": "ACTIVE", "card_2": "ACTIVE"}
        assert len(await third.notifications()) <= 2, "those of the new authenticators"


async def test_a_gateway_that_ends_starts_again_where_it_was_and_callbacks_are_answered(tmp_path: Path) -> None:
    async with playing(tmp_path) as sandbox:
        [gateway] = _children(sandbox.process.pid)
        os.kill(gateway, signal.SIGKILL)
        assert sandbox.process.stdout is not None
        assert b"The gateway ended with -9; it starts again." in await sandbox.process.stdout.readline()
        order = {"cardId": "card_1", "flow": "sms-otp-issuer", "approves": True, "wait_ms": 20_000}
        while (await sandbox.control("POST", "purchases", **order))["status"] != "SUCCESSFUL":  # noqa: ASYNC110 (over HTTP)
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(("processes", "number"), [(0, signal.SIGINT), (1, signal.SIGTERM)])
async def test_a_signal_while_it_starts_ends_it_and_the_folder_can_be_used_again(
    processes: int, number: signal.Signals, tmp_path: Path
) -> None:
    async with asyncio.timeout(SECONDS), running("sandbox", "--port-base", "0", folder=tmp_path) as process:
        lock = tmp_path / "d1-sandbox" / "sandbox.lock"
        while not lock.exists() or len(_children(process.pid)) < processes:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(0.005)
        process.send_signal(number)
        assert await ended(process) == Ended(0, "", "")

    async with playing(tmp_path) as again:
        assert again.facts["cards"] == ["card_1", "card_2"]
        assert again.facts["authenticators"] == ["app_1", "app_2"]


async def test_an_output_that_cannot_be_written_ends_it_with_the_reason(tmp_path: Path) -> None:
    command = f"exec '{Path(sys.executable).with_name('d1-gateway')}' sandbox --port-base 0 > /dev/full"
    async with asyncio.timeout(SECONDS), started("bash", "-c", command, folder=tmp_path) as process:
        assert (await ended(process)).only_line(2) == "standard output: No space left on device"


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
