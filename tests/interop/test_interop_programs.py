"""Programs that call the gateway: grpc-js on Node, and grpc-go."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import copy

import pytest

from d1_gateway_client.testing import Flow, SandboxGateway, Status
from tests.interop.interop_contracts import run
from tests.interop.interop_docs import blocks
from tests.interop.interop_languages import GO_CLIENT, GO_LIBRARIES, NODE, locked, node_modules, require
from tests.interop.interop_processes import Program, running

Client = Callable[..., AbstractContextManager[Program]]


@pytest.fixture(scope="session")
def node_client() -> Sequence[str | Path]:
    """The command of the client on Node."""
    node_modules()
    return "node", NODE / "client.mjs"


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory, contracts: Path, protoc: Path) -> Sequence[str | Path]:
    """The command of the client in Go, built as the document says, but with the libraries of this machine."""
    require("go", "protoc-gen-go", "protoc-gen-go-grpc", GO_LIBRARIES / "src" / "google.golang.org" / "grpc")
    workspace = tmp_path_factory.mktemp("go")
    folder = workspace / "src"
    folder.mkdir()
    (folder / "contracts").symlink_to(contracts)
    copy(GO_CLIENT, folder)
    generate, add_module, build = blocks("Go, grpc-go", "sh")
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GO111MODULE": "on"}
    run("sh", "-ec", generate, folder=folder, tools=protoc)
    run("go", "mod", "init", "example.com/sms-service", folder=folder, variables=offline)
    run("sh", "-ec", add_module, folder=folder, variables=offline)
    found = run("go", "list", "-m", "-f", "{{.Dir}}", "d1gateway.internal/contracts", folder=folder, variables=offline)
    assert found.strip() == str(folder / "d1gateway.internal" / "contracts")
    # Workers of pytest share Go's cache: what one has compiled, the others have not to compile.
    with locked(GO_CLIENT):
        without_modules = {"GO111MODULE": "off", "GOPATH": f"{workspace}{os.pathsep}{GO_LIBRARIES}"}
        run("sh", "-ec", build, folder=folder, variables=without_modules, seconds=150)
    return (folder / "client",)


# Go compiles grpc-go for half a minute where its cache is empty.
@pytest.fixture(params=["node", pytest.param("go", marks=pytest.mark.timeout(180))])
def command(request: pytest.FixtureRequest) -> Sequence[str | Path]:
    """The command of a client."""
    found: Sequence[str | Path] = request.getfixturevalue(f"{request.param}_client")
    return found


@pytest.fixture
def client(command: Sequence[str | Path], d1_gateway: SandboxGateway, contracts: Path) -> Client:
    @contextmanager
    def client(*arguments: str) -> Iterator[Program]:
        variables = {**d1_gateway.environment, "D1_GATEWAY_CONTRACTS": str(contracts / "issuer.binpb")}
        with running([*command, *arguments], NODE, **variables) as program:
            yield program

    return client


def test_a_call_succeeds_and_a_refused_one_says_why(client: Client, new_card: Callable[[], str]) -> None:
    card = new_card()
    with client("suspend", card) as program:
        assert program.hear() == {"suspended": card}
        assert program.ended() == 0
    with client("suspend", card) as program:
        assert program.hear() == {
            "reason": "ERROR_REASON_UPSTREAM_FORBIDDEN",
            "outcome": "ERROR_OUTCOME_REJECTED",
        }


def test_a_watch_brings_earlier_and_new_notifications(
    client: Client, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    seen: list[dict[str, str]] = []
    with client("watch") as program:
        while len(seen) < 2:
            if (notification := program.hear())["card"] == card:
                seen.append(notification)
                assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    assert seen == [{"card": card, "operation": "3DS_FRICTIONLESS", "status": "SUCCESSFUL"}] * 2


def test_a_purchase_is_paid_with_the_password_that_a_handler_sends(
    client: Client, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    with client("answer") as program:
        assert program.hear() == {"registered": True}
        purchase = d1_gateway.buy(card, Flow.SMS_OTP_ISSUER)
        asked = program.hear()
        assert asked["consumer"] == card.replace("card", "consumer")
        assert program.hear() == {"acknowledgement": "REPLY_OUTCOME_ACCEPTED"}
        assert purchase.wait_rests() is Status.AWAITS_OTP, purchase.error
        assert purchase.type_otp(asked["otp"])
        assert purchase.wait_ends() is Status.SUCCESSFUL
        assert purchase.answers == [204]


@pytest.mark.parametrize(
    ("title", "language", "client"),
    [("Node, grpc-js", "js", NODE / "client.mjs"), ("Go, grpc-go", "go", GO_CLIENT)],
    ids=["node", "go"],
)
def test_the_document_quotes_the_client(title: str, language: str, client: Path) -> None:
    quoted, code = blocks(title, language), client.read_text()
    assert quoted
    assert [block for block in quoted if block not in code] == []


def test_the_lock_file_has_a_hash_for_every_package_and_names_no_registry() -> None:
    packages = json.loads((NODE / "package-lock.json").read_text())["packages"]
    del packages[""]
    assert len(packages) > 3
    assert [name for name, package in packages.items() if "integrity" not in package or "resolved" in package] == []
