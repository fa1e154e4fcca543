"""Under which names the operators' page is served."""

import pytest

from gateway.operators.page import is_expected_host

_NAMES = {"gateway-1.ops.bank.example"}


@pytest.mark.parametrize(
    "host",
    [
        "",
        "127.0.0.1:9464",
        "10.1.2.3",
        "[::1]:9464",
        "[fe80::1]",
        "localhost:9464",
        "gateway-1",
        "Gateway-1.Ops.Bank.Example:9464",
        "gateway-1.ops.bank.example.",
    ],
)
def test_this_machine_may_be_asked_for(host: str) -> None:
    assert is_expected_host(host, _NAMES)


@pytest.mark.parametrize(
    "host",
    [
        "attacker.example",
        "attacker.example:9464",
        "127.0.0.1.attacker.example",
        "localhost.attacker.example",
        "gateway-1.ops.bank.example.attacker.example",
        "localhost@attacker.example",
        "attacker.example.",
        "[::1",
    ],
)
def test_another_name_that_leads_here_may_not(host: str) -> None:
    assert not is_expected_host(host, _NAMES)
