import pytest
from google.protobuf import descriptor_pool
from hypothesis import given
from hypothesis import strategies as st

from gateway.grpc_api.server import SERVICES
from gateway.idempotency.requests import content, mutating_rpc
from issuer.card.v1 import messages_pb2 as card
from issuer.common.v1 import card_data_pb2
from tests.fakes import ISSUER

ID, OTHER_ID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "3f2504e0-4f89-41d3-9a0c-0305e82c3302"


def _methods() -> list[str]:
    pool = descriptor_pool.Default()
    return [f"/{name}/{method.name}" for name in SERVICES for method in pool.FindServiceByName(name).methods]


def test_the_mutating_rpcs_are_all_of_cards_and_consumers_and_no_others() -> None:
    found = {method for method in _methods() if mutating_rpc(method) is not None}
    assert found == {
        method
        for method in _methods()
        if method.startswith(("/issuer.card.v1.CardService/", "/issuer.consumer.v1.ConsumerService/"))
    }


@pytest.mark.parametrize(("name", "repeatable"), [("RegisterCard", True), ("RenewCard", False), ("CreateCard", False)])
def test_those_that_may_be_repeated_are_the_ones_whose_contract_says_so(name: str, *, repeatable: bool) -> None:
    rpc = mutating_rpc(f"/issuer.card.v1.CardService/{name}")
    assert rpc is not None
    assert rpc.repeatable is repeatable


@pytest.mark.parametrize("method", ["/grpc.health.v1.Health/Check", "/issuer.card.v1.CardService/Nothing", "", "/"])
def test_what_is_no_rpc_of_ours_is_not_mutating(method: str) -> None:
    assert mutating_rpc(method) is None


def _register(**fields: str) -> card.RegisterCardRequest:
    expiry = card_data_pb2.CardExpiry(month=1, year=2031)
    credentials = card_data_pb2.CardCredentials(pan="4970101234567890", expiry=expiry)
    return card.RegisterCardRequest(**{"card_id": "card-1", "credentials": credentials} | fields)  # type: ignore[arg-type]


def test_the_id_makes_no_different_request_and_the_issuer_does() -> None:
    named = content(_register(request_id=ID, issuer_id=ISSUER))
    assert content(_register(request_id=OTHER_ID, issuer_id=ISSUER)) == named
    assert content(_register(request_id=ID, issuer_id="ISSUER0002")) != named


def test_every_other_field_makes_a_different_request() -> None:
    requests = [_register(), _register(card_id="card-2"), _register(user_id="clerk"), _register(encrypted_data="jwe")]
    requests += [_register(), _register()]
    requests[-1].credentials.pan = "4970101234567891"
    requests[-2].credentials.expiry.month = 2
    assert len({content(request) for request in requests}) == len(requests)


def test_the_request_stays_as_it_is() -> None:
    request = _register(request_id=ID)
    before = request.SerializeToString()
    content(request)
    assert request.SerializeToString() == before


@given(st.permutations([b"\xa2\x06\x01a", b"\xaa\x06\x01b", b"\xb0\x06\x01"]))
def test_what_this_version_does_not_know_makes_no_different_request(unknown: list[bytes]) -> None:
    request = card.RegisterCardRequest.FromString(_register().SerializeToString() + b"".join(unknown))
    assert content(request) == content(_register())
