"""CardService: the effect of each successful rpc at D1."""

import json
import uuid

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from jwcrypto import jwe, jwk  # type: ignore[import-untyped] # ships no types

from issuer.card.v1 import messages_pb2 as card
from sandbox import Sandbox
from sandbox.common.faults import Fault
from sandbox.d1.model.contract import CardState, SuspendReason
from sandbox.d1.model.store import Credentials
from tests.contract.card_rpcs import ACTIVE_PAN, RPCS, Rpc, changed, credentials
from tests.running import Running


def _encrypted(sandbox: Sandbox, pan: str, exp: str) -> str:
    """Encrypt card data as a caller that keeps them from the gateway, with another JOSE library."""
    key = jwk.JWK.from_json(sandbox.pki.encryption_public_key.read_text())
    header = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": key["kid"]}
    sealed = jwe.JWE(json.dumps({"pan": pan, "exp": exp}), protected=json.dumps(header))
    sealed.add_recipient(key)
    return str(sealed.serialize(compact=True))


async def test_create_has_d1_make_a_card_and_returns_its_id(running: Running) -> None:
    response = await RPCS["CreateCard"].call(running)
    made = running.sandbox.store.card(response.card_id)
    assert (made.state, made.created_by_d1) == (CardState.ACTIVE, True)
    assert (made.details.consumer_id, made.details.product_id) == ("consumer-1", "full")
    assert not response.HasField("unrecognized")


async def test_create_hands_on_the_state_and_the_names(running: Running) -> None:
    request = changed(
        RPCS["CreateCard"].request,
        state=card.INITIAL_CARD_STATE_INACTIVE,
        name_on_card="A. Holder-Name",
        second_name_on_card="Second",
    )
    made = running.sandbox.store.card((await RPCS["CreateCard"].call(running, request)).card_id)
    assert made.state is CardState.INACTIVE
    assert (made.details.name_on_card, made.details.second_name_on_card) == ("A. Holder-Name", "Second")


async def test_create_keeps_fields_of_d1_beyond_the_contract(running: Running) -> None:
    body = '{"cardId":"crd_1","later":{"list":[1,null,"x"],"flag":true}}'
    running.sandbox.faults.add(Fault(RPCS["CreateCard"].operation, status=201, body=body))
    response = await RPCS["CreateCard"].call(running)
    assert response.card_id == "crd_1"
    assert json_format.MessageToDict(response.unrecognized) == {"later": {"list": [1, None, "x"], "flag": True}}


async def test_register_takes_the_card_with_state_pan_and_expiry_as_month_then_year(running: Running) -> None:
    data = {
        "credentials": credentials("4970101234567890", month=3, year=2041),
        "state": card.INITIAL_CARD_STATE_INACTIVE,
    }
    request = changed(RPCS["RegisterCard"].request, **data)
    assert await RPCS["RegisterCard"].call(running, request) == card.RegisterCardResponse()
    registered = running.sandbox.store.card("card-new")
    assert (registered.state, registered.created_by_d1) == (CardState.INACTIVE, False)
    assert registered.details.consumer_id == "consumer-2"
    assert registered.details.credentials == Credentials("4970101234567890", "0341")


async def test_register_again_leaves_the_card_as_it_is(running: Running) -> None:
    await RPCS["RegisterCard"].call(running)
    before = running.sandbox.store.cards()
    assert running.sandbox.store.card("card-new").state is CardState.ACTIVE
    await RPCS["RegisterCard"].call(running)
    assert running.sandbox.store.cards() == before


@pytest.mark.parametrize(
    ("name", "card_id", "pan"),
    [
        ("RegisterCard", "card-new", "4970101111111111"),
        ("RenewCard", "card-active", ACTIVE_PAN),
        ("ReplaceCard", "card-next", "4970102222222222"),
    ],
)
async def test_card_data_that_the_caller_encrypted_is_readable_for_d1(
    running: Running, name: str, card_id: str, pan: str
) -> None:
    sealed = _encrypted(running.sandbox, pan, "0131")
    await RPCS[name].call(running, changed(RPCS[name].request, credentials=None, encrypted_data=sealed))
    assert running.sandbox.store.card(card_id).details.credentials == Credentials(pan, "0131")


async def test_renew_changes_the_expiry_and_keeps_the_id(running: Running) -> None:
    await RPCS["RenewCard"].call(running)
    renewed = running.sandbox.store.card("card-active")
    assert renewed.details.credentials == Credentials(ACTIVE_PAN, "1235")
    assert (renewed.state, renewed.awaits_credentials) == (CardState.ACTIVE, False)


async def test_renew_moves_the_card_to_a_new_id(running: Running) -> None:
    await RPCS["RenewCard"].call(running, changed(RPCS["RenewCard"].request, new_card_id="card-moved"))
    assert [each.card_id for each in running.sandbox.store.cards()] == ["card-suspended", "card-moved"]


@pytest.mark.parametrize("name", ["RenewCard", "ReplaceCard"])
async def test_without_card_data_d1_waits_for_it(running: Running, name: str) -> None:
    request = changed(RPCS[name].request, credentials=None, new_card_id=None)
    await RPCS[name].call(running, request)
    assert running.sandbox.store.card("card-active").awaits_credentials


async def test_replace_retires_the_old_card_for_one_with_a_new_pan(running: Running) -> None:
    await RPCS["ReplaceCard"].call(running)
    store = running.sandbox.store
    assert store.card("card-active").state is CardState.REPLACED
    assert store.card("card-next").state is CardState.ACTIVE
    assert store.card("card-next").details.credentials == Credentials("4970109876543210", "1235")


@pytest.mark.parametrize("name", ["RenewCard", "ReplaceCard"])
async def test_the_card_that_follows_one_that_d1_created_is_named_again_to_a_caller_that_repeats(
    running: Running, name: str
) -> None:
    created = (await RPCS["CreateCard"].call(running)).card_id
    request = changed(
        RPCS[name].request, card_id=created, credentials=None, new_card_id=None, request_id=str(uuid.uuid4())
    )

    response = await RPCS[name].call(running, request)

    following = running.sandbox.store.card(response.card_id)
    assert (following.state, following.awaits_credentials) == (CardState.ACTIVE, False)
    assert (following.card_id == created) == (name == "RenewCard")
    assert await RPCS[name].call(running, request) == response


async def test_delete_ends_the_card(running: Running) -> None:
    await RPCS["DeleteCard"].call(running)
    assert running.sandbox.store.card("card-active").state is CardState.DELETED


@pytest.mark.parametrize("reason", list(SuspendReason))
async def test_suspend_takes_every_reason(running: Running, reason: SuspendReason) -> None:
    await RPCS["SuspendCard"].call(running, changed(RPCS["SuspendCard"].request, reason_code=reason))
    suspended = running.sandbox.store.card("card-active")
    assert suspended.state is CardState.SUSPENDED
    assert suspended.suspended_for is reason


@pytest.mark.parametrize(
    ("suspension", "resumption"),
    [
        ("CARD_LOST", "CARD_FOUND"),
        ("USER_DECISION", "USER_DECISION"),
        ("USER_DECISION", "ISSUER_DECISION"),
        ("ISSUER_DECISION", "ISSUER_DECISION"),
    ],
)
async def test_resume_lifts_the_suspension_that_its_reason_is_for(
    running: Running, suspension: str, resumption: str
) -> None:
    await RPCS["SuspendCard"].call(running, changed(RPCS["SuspendCard"].request, reason_code=suspension))
    await RPCS["ResumeCard"].call(running, card.ResumeCardRequest(card_id="card-active", reason_code=resumption))
    assert running.sandbox.store.card("card-active").state is CardState.ACTIVE


@pytest.mark.parametrize("rpc", RPCS.values(), ids=RPCS.keys())
async def test_each_rpc_takes_all_that_goes_with_every_request(running: Running, rpc: Rpc) -> None:
    before = running.sandbox.store.cards()
    fields = {"request_id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301", "user_id": "clerk-7", "issuer_id": "SANDBOX001"}
    if "reason" in rpc.request.DESCRIPTOR.fields_by_name:
        fields["reason"] = "Told by phone 42"
    call: grpc.aio.UnaryUnaryCall[Message, Message] = getattr(running.cards, rpc.name)(
        changed(rpc.request, **fields), metadata=(("x-correlation-id", "trace_42-a"),)
    )
    await call
    assert ("x-correlation-id", "trace_42-a") in tuple(await call.trailing_metadata())
    assert running.sandbox.store.cards() != before
