import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from d1_gateway_client.testing import SandboxGateway, d1_gateway
from tests.interop.interop_contracts import distribute

__all__ = ["contracts", "d1_gateway", "new_card", "protoc"]

_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def contracts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the contracts that callers get. Tests only read it."""
    return distribute(tmp_path_factory.mktemp("tree")) / "contracts"


@pytest.fixture(scope="session")
def protoc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with `protoc`: the one of grpcio-tools, which has every plugin's interface, but only Python."""
    folder = tmp_path_factory.mktemp("protoc")
    command = folder / "protoc"
    command.write_text('#!/bin/sh\nexec python -m grpc_tools.protoc "$@"\n')
    command.chmod(0o755)
    return folder


@pytest.fixture
def new_card(d1_gateway: SandboxGateway) -> Callable[[], str]:
    """Adds an active card to D1 and returns its id. Its consumer's has the same number."""

    def add() -> str:
        number = next(_NUMBERS)
        d1_gateway.add_card(f"card-{number}", f"consumer-{number}", f"497010123456{number:04}")
        return f"card-{number}"

    return add
