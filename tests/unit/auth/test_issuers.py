from contextvars import copy_context

import pytest

from gateway.auth import grant
from gateway.auth.caller import Caller
from gateway.auth.issuers import Issuers, authorized_issuer
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2


@pytest.mark.parametrize(
    ("unknown", "named"),
    [
        ("ISSUER0009", "ISSUER0009"),
        ("issuer0001", "issuer0001"),
        ("4111111111", "****"),
        ("ISSUER\n009", "ISSUER?009"),
    ],
)
def test_an_issuer_that_is_not_configured_is_named_if_it_can_be_shown(unknown: str, named: str) -> None:
    issuers = Issuers(["ISSUER0001"])

    with pytest.raises(GatewayError) as caught:
        authorized_issuer(issuers, unknown)

    assert unknown not in issuers
    assert caught.value.reason == error_pb2.ERROR_REASON_ISSUER_UNKNOWN
    assert caught.value.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT
    assert caught.value.message == f"This gateway is not configured for issuer {named}: correct issuer_id."


@pytest.mark.parametrize(
    ("configured", "issuer_id"),
    [(["ISSUER0001", "ISSUER0002"], "ISSUER0001"), (["ISSUER0001", "ISSUER0002"], "ISSUER0009"), (["ISSUER0001"], "")],
    ids=["configured", "not configured", "not named"],
)
def test_who_may_not_act_for_an_issuer_never_learns_if_it_is_configured(configured: list[str], issuer_id: str) -> None:
    def ask() -> GatewayError:
        caller = Caller("spiffe://bank/cards", "certificate")
        grant.use(grant.Grant(caller, "/issuer.card.v1.CardService/CreateCard", frozenset({"ISSUER0002"})))
        with pytest.raises(GatewayError) as caught:
            authorized_issuer(Issuers(configured), issuer_id)
        return caught.value

    denied = copy_context().run(ask)
    assert denied.reason == error_pb2.ERROR_REASON_PERMISSION_DENIED
    assert denied.message == (
        "The policy does not grant issuer.card.v1.CardService/CreateCard to spiffe://bank/cards for issuer "
        f"{issuer_id or configured[0]}; ask the gateway's operators for a grant."
    )


def test_resolving_a_name_has_no_side_effect() -> None:
    several = Issuers(["ISSUER0001", "ISSUER0002"])

    assert (several.resolve("ISSUER0009"), several.resolve(""), Issuers(["ISSUER0001"]).resolve("")) == (
        "ISSUER0009",
        "",
        "ISSUER0001",
    )
