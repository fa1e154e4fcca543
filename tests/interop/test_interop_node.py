"""grpc-js on Node, which takes the contracts from a descriptor set."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from d1_gateway_client.testing import Flow, SandboxGateway, Status
from tests.interop.interop_docs import DOCUMENT, blocks
from tests.interop.interop_processes import Program, environment, running

NODE = Path(__file__).parent / "node"
_MISSING = "there is no Node on this machine: node and npm have to be on PATH"
_CONTRACTS = DOCUMENT.parents[1] / "proto" / "released.binpb"


@pytest.fixture(scope="session")
def node_client() -> Path:
    """The client's file. Without Node the test is skipped; in CI (environment variable ``CI``) it fails."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    _install()
    return NODE / "client.mjs"


def _install() -> None:
    wanted, installed = NODE / "package-lock.json", NODE / "node_modules" / ".installed"
    # Other pytest workers use the same folder.
    with (NODE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if installed.exists() and installed.read_bytes() == wanted.read_bytes():
            return
        done = subprocess.run(
            ["npm", "ci", "--prefer-offline"],  # noqa: S607 (wherever it is)
            cwd=NODE,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=50,
        )
        assert done.returncode == 0, done.stderr
        installed.write_bytes(wanted.read_bytes())


@contextmanager
def node(client: Path, gateway: SandboxGateway, *arguments: str) -> Iterator[Program]:
    variables = {**gateway.environment, "D1_GATEWAY_CONTRACTS": str(_CONTRACTS)}
    with running(["node", client, *arguments], client.parent, **variables) as program:
        yield program


def test_a_call_succeeds_and_a_refused_one_says_why(
    node_client: Path, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    with node(node_client, d1_gateway, "suspend", card) as program:
        assert program.hear() == {"suspended": card}
        assert program.ended() == 0
    with node(node_client, d1_gateway, "suspend", card) as program:
        assert program.hear() == {"reason": "UPSTREAM_FORBIDDEN", "outcome": "REJECTED"}


def test_a_watch_brings_earlier_and_new_notifications(
    node_client: Path, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    seen: list[dict[str, str]] = []
    with node(node_client, d1_gateway, "watch") as program:
        while len(seen) < 2:
            if (notification := program.hear())["card"] == card:
                seen.append(notification)
                assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    assert seen == [{"card": card, "operation": "3DS_FRICTIONLESS", "status": "SUCCESSFUL"}] * 2


def test_a_purchase_is_paid_with_the_password_that_a_handler_sends(
    node_client: Path, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    with node(node_client, d1_gateway, "answer") as program:
        assert program.hear() == {"registered": True}
        purchase = d1_gateway.buy(card, Flow.SMS_OTP_ISSUER)
        asked = program.hear()
        assert asked["consumer"] == card.replace("card", "consumer")
        assert program.hear() == {"acknowledgement": "REPLY_OUTCOME_ACCEPTED"}
        assert purchase.wait_rests() is Status.AWAITS_OTP, purchase.error
        assert purchase.type_otp(asked["otp"])
        assert purchase.wait_ends() is Status.SUCCESSFUL
        assert purchase.answers == [204]


def test_the_document_quotes_the_client() -> None:
    quoted, client = blocks("Node, grpc-js", "js"), (NODE / "client.mjs").read_text()
    assert len(quoted) == 2
    assert [block for block in quoted if block not in client] == []


def test_the_lock_file_has_a_hash_for_every_package_and_names_no_registry() -> None:
    packages = json.loads((NODE / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert len(packages) > 3
    assert [name for name, package in packages.items() if "integrity" not in package or "resolved" in package] == []
