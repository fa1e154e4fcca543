"""D1's callbacks at the edge, handled over gRPC: both sides' view."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from google.protobuf import json_format

from issuer.callback.v1 import messages_pb2 as callback
from issuer.callback.v1 import replies_pb2 as replies
from issuer.callback.v1 import requests_pb2 as requests
from issuer.consumer.v1 import personal_information_pb2 as personal
from sandbox import Sandbox
from sandbox.handler import Handler, Responder
from tests.callback_replies import PERSON, Issuer, reject, tell_person
from tests.contract.calling_back import D1, connect, registration, stream, until_measured
from tests.running import SECOND_ISSUER, Running, edge_session

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
INVALID = callback.REPLY_OUTCOME_INVALID
LATE = callback.REPLY_OUTCOME_LATE
NOT_REGISTERED = callback.REPLY_OUTCOME_NOT_REGISTERED
UNKNOWN_TOKEN = callback.REPLY_OUTCOME_UNKNOWN_TOKEN


@pytest.fixture(scope="module")
async def session(shared_sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with edge_session(shared_sandbox) as opened:
        yield opened


@pytest.fixture
async def d1(running: Running, session: aiohttp.ClientSession) -> D1:
    """D1, once the handlers of the test before have gone."""
    await until_measured(running, "handlers_connected{", 0)
    return D1(running, session)


async def test_a_handlers_reply_about_a_person_reaches_d1_in_its_own_terms(running: Running, d1: D1) -> None:
    async with connect(running, {"consumer_information": tell_person}) as handler:
        status, body = await d1.call("?cardId=card-7", **{"x-correlation-id": "call-1"})
    assert status == 200
    assert body == {
        "language": "en-GB",
        "firstName": "Zoë",
        "mobilePhoneNumber": {"countryCode": "+44", "phoneNumber": "7700900123"},
        "residencyAddress": {"line1": "1 High Street", "zipCode": "AB1 2CD", "countryCode": "GB"},
    }
    (request,) = handler.requests
    sent = request.consumer_information
    assert (request.issuer_id, request.correlation_id, request.attempt) == ("SANDBOX001", "call-1", 1)
    assert (sent.consumer_id, sent.card_id) == ("consumer-1", "card-7")
    assert 0 < request.time_left.ToMilliseconds() <= 2000


async def test_what_a_handler_leaves_empty_is_not_sent_to_d1(running: Running, d1: D1) -> None:
    async def tell_little(_: callback.CallbackRequest) -> callback.CallbackReply:
        person = personal.PersonalInformation(language="en-GB", residency_address=personal.PostalAddress())
        information = replies.ConsumerInformationResponse(personal_information=person)
        return callback.CallbackReply(consumer_information=information)

    async with connect(running, {"consumer_information": tell_little}):
        assert await d1.call() == (200, {"language": "en-GB"})


async def test_an_otp_reaches_the_handler_with_everything_that_d1_sent_beside_it(running: Running, d1: D1) -> None:
    issuer = Issuer()
    body = {
        "otp": {"value": "004211", "expirationDate": "13/10/2022 14:00:00", "reason": "NEW-REASON", "digits": 6},
        "deliveryChannel": {"preferred": "EMAIL"},
        "panSuffix": "1234",
        "threeDSDetails": {"merchantName": "Books", "purchaseAmount": 19.99, "mcc": "5942"},
        "digitalCardRequestor": {"id": "wallet"},
    }
    async with connect(running, dict(issuer.responders())) as handler:
        assert await d1.call("/otp?cardId=card-7", body) == (204, None)
    sent = handler.requests[0].deliver_otp
    assert (sent.otp, sent.reason, sent.pan_suffix, sent.card_id) == ("004211", "NEW-REASON", "1234", "card-7")
    assert sent.expiration_date_text == "13/10/2022 14:00:00"
    assert sent.transaction.merchant_name == "Books"
    # Fields of an unexpected shape are passed on unchanged.
    assert sent.delivery_channel == ""
    assert sent.unrecognized["deliveryChannel"] == {"preferred": "EMAIL"}
    assert sent.unrecognized["otp"] == {"digits": 6}
    assert sent.unrecognized["digitalCardRequestor"] == {"id": "wallet"}
    assert dict(sent.transaction.unrecognized) == {"purchaseAmount": 19.99, "mcc": "5942"}


_PURCHASE = requests.ThreeDSTransaction(
    acs_trans_id="acs-1",
    merchant_name="Books",
    purchase_amount="1999",
    purchase_currency="978",
    purchase_exponent="2",
    purchase_date="20261130120000",
    three_ds_requestor_app_url="merchant-app://purchases/1",
)


@pytest.mark.parametrize(
    ("names", "kind", "unrecognized"),
    [
        ({"acsTransactionId": "acs-1"}, str, {}),
        ({"acsTransId": "acs-1"}, int, {}),
        ({"acsTransactionId": "", "acsTransID": "acs-1"}, int, {}),
        ({"acsTransID": "acs-2", "acsTransId": "acs-1"}, str, {"acsTransID": "acs-2"}),
    ],
)
async def test_a_purchase_reaches_the_handler_whichever_way_d1_writes_it(
    running: Running, d1: D1, names: dict[str, str], kind: type[int | str], unrecognized: dict[str, str]
) -> None:
    digits = {"purchaseAmount": "1999", "purchaseCurrency": "978", "purchaseExponent": "2"}
    written = {
        **names,
        "merchantName": "Books",
        "purchaseDate": "20261130120000",
        "threeDSRequestorAppURL": "merchant-app://purchases/1",
        **{name: kind(value) for name, value in digits.items()},
    }
    async with connect(running, dict(Issuer().responders())) as handler:
        otp = {"value": "004211"}
        assert (await d1.call("/otp", {"otp": otp, "threeDSDetails": written}))[0] == 204
        assert (await d1.call("/authentication", {"threeDSDetails": written}))[0] == 200
    delivered, authenticated = handler.requests
    for sent in (delivered.deliver_otp.transaction, authenticated.authenticate.transaction):
        assert json_format.MessageToDict(sent.unrecognized) == unrecognized
        sent.ClearField("unrecognized")
        assert sent == _PURCHASE


@pytest.mark.parametrize("body", [{}, {"otp": "004211"}, {"otp": {}}, {"otp": {"value": ""}}, {"otp": {"value": 4211}}])
async def test_an_otp_without_a_password_is_refused_and_reaches_no_handler(
    running: Running, d1: D1, body: dict[str, Any]
) -> None:
    async with connect(running, dict(Issuer().responders())) as handler:
        status, error = await d1.call("/otp", body)
        assert status == 400
        assert "otp" in error["error"]
        assert handler.requests == []


async def test_an_authentication_is_begun_with_whatever_body_d1_sends(running: Running, d1: D1) -> None:
    issuer = Issuer()
    async with connect(running, dict(issuer.responders())) as handler:
        assert await d1.call("/authentication", {}) == (200, {"authenticationId": "consumer-1-1"})
        assert await d1.call("/authentication", {"cardId": "not a card id", "threeDSDetails": [1]}) == (
            200,
            {"authenticationId": "consumer-1-2"},
        )
    unrecognized = json_format.MessageToDict(handler.requests[1].authenticate.unrecognized)
    assert unrecognized == {"threeDSDetails": [1.0]}
    assert handler.requests[1].authenticate.card_id == "not a card id"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        (replies.CALLBACK_REFUSAL_REASON_INVALID, 400),
        (replies.CALLBACK_REFUSAL_REASON_NOT_ALLOWED, 403),
        (replies.CALLBACK_REFUSAL_REASON_NOT_FOUND, 404),
        (replies.CALLBACK_REFUSAL_REASON_FAILED, 500),
    ],
)
@pytest.mark.parametrize("message", ["", "no such person"])
async def test_each_error_reply_has_its_status(
    running: Running, d1: D1, reason: "replies.CallbackRefusalReason.ValueType", status: int, message: str
) -> None:
    async def reply_with_error(_: callback.CallbackRequest) -> callback.CallbackReply:
        return callback.CallbackReply(refusal=replies.CallbackRefusal(reason=reason, message=message))

    kinds: dict[str, Responder] = dict.fromkeys(Issuer().responders(), reply_with_error)
    async with connect(running, kinds):
        answers = await asyncio.gather(
            d1.call(),
            d1.call("/otp", {"otp": {"value": "004211"}}),
            d1.call("/authentication", {}),
            d1.call("/authentication/auth-1"),
            d1.get("/cms/api/v1/issuers/SANDBOX001/cards/card-1/credentials"),
        )
    assert [returned for returned, _ in answers] == [status] * len(kinds)
    for _, body in answers:
        if reason == replies.CALLBACK_REFUSAL_REASON_NOT_ALLOWED:
            assert body is None
        else:
            assert list(body) == ["error"]
            assert body["error"] == message or not message


async def test_no_handler_is_asked_for_a_head(running: Running, d1: D1) -> None:
    async with connect(running, dict(Issuer().responders())) as handler:
        for path in (
            "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1",
            "/banking/d1/v1/issuers/SANDBOX001/consumers/consumer-1/authentication/auth-1",
            "/cms/api/v1/issuers/SANDBOX001/cards/card-1/credentials",
        ):
            assert await d1.head(path) == (405, "GET")
    assert handler.requests == []


@pytest.mark.parametrize("correlation_id", ["a.b c/d", "x" * 300, "\u00e4\u20ac"])
async def test_a_handler_gets_the_correlation_id_as_d1_sent_it(running: Running, d1: D1, correlation_id: str) -> None:
    async with connect(running, {"consumer_information": tell_person}) as handler:
        status, _ = await d1.call(**{"x-correlation-id": correlation_id})
    assert (status, [each.correlation_id for each in handler.requests]) == (200, [correlation_id])


async def test_a_poll_without_a_handler_is_pending_at_once(d1: D1) -> None:
    clock, seconds = asyncio.get_running_loop().time, list[float]()
    # Repeated, as a busy machine may delay some.
    while not seconds or min(seconds) > 1.5:
        assert len(seconds) < 10
        began = clock()
        assert await d1.call("/authentication/auth-1") == (200, {"authenticationId": "auth-1", "status": "PENDING"})
        seconds.append(clock() - began)


async def test_credentials_encrypted_by_the_handler_are_passed_on_as_they_are(running: Running, d1: D1) -> None:
    async def tell(_: callback.CallbackRequest) -> callback.CallbackReply:
        return callback.CallbackReply(card_credentials=replies.CardCredentialsResponse(encrypted_data="aa..bb.cc.dd"))

    async with connect(running, {"card_credentials": tell}):
        answer = await d1.get("/cms/api/v1/issuers/SANDBOX001/cards/card-1/credentials")
    assert answer == (200, {"encryptedData": "aa..bb.cc.dd"})


_CONSUMER = "/banking/d1/v1/issuers/{issuer}/consumers"


@pytest.mark.parametrize(
    ("path", "id_"),
    [
        (f"{_CONSUMER}/{{id}}", "consumer-1"),
        (f"{_CONSUMER}/consumer-1?cardId={{id}}", "card-1"),
        (f"{_CONSUMER}/consumer-1/authentication/{{id}}", "auth-1"),
        ("/cms/api/v1/issuers/{issuer}/cards/{id}/credentials", "card-1"),
    ],
)
async def test_a_path_names_a_known_issuer_and_an_id(d1: D1, path: str, id_: str) -> None:
    assert await d1.get(path.format(issuer="UNKNOWN001", id=id_)) == (404, {"error": "unknown issuerId"})
    status, body = await d1.get(path.format(issuer="SANDBOX001", id="not%20an%20id"))
    assert status == 400
    assert "must match" in body["error"]


async def outcomes(handler: Handler, count: int) -> "list[callback.ReplyOutcome.ValueType]":
    """Wait for a number of acknowledgements; return their outcomes."""
    await handler.until(lambda handler: len(handler.acknowledgements) >= count)
    return [acknowledgement.outcome for acknowledgement in handler.acknowledgements]


async def test_each_reply_is_acknowledged_with_its_outcome(running: Running, d1: D1) -> None:
    async def twice(request: callback.CallbackRequest) -> callback.CallbackReply:
        reply = await tell_person(request)
        reply.token = request.token
        await handler.reply(reply)
        return reply

    async with connect(running, {"consumer_information": twice}) as handler:
        assert (await d1.call())[0] == 200
        token = handler.requests[0].token
        # The handler's second reply may still be on its way.
        await outcomes(handler, 2)
        stranger = callback.CallbackReply(
            token="x" * 48, refusal=replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_FAILED)
        )
        await handler.reply(stranger)
        assert await outcomes(handler, 3) == [ACCEPTED, ALREADY_ANSWERED, UNKNOWN_TOKEN]
    assert [acknowledgement.token for acknowledgement in handler.acknowledgements] == [token, token, "x" * 48]


async def test_a_handler_can_choose_acknowledgements_of_rejected_replies_only(running: Running, d1: D1) -> None:
    only_others = callback.ACKNOWLEDGEMENT_MODE_NOT_ACCEPTED
    async with connect(running, {"consumer_information": tell_person}, acknowledgements=only_others) as handler:
        assert (await d1.call())[0] == 200
        error = replies.CallbackRefusal(reason=replies.CALLBACK_REFUSAL_REASON_FAILED)
        await handler.reply(callback.CallbackReply(token=handler.requests[0].token, refusal=error))
        assert await outcomes(handler, 1) == [ALREADY_ANSWERED]
        assert (await d1.call())[0] == 200
    assert len(handler.acknowledgements) == 1


async def test_a_reply_after_the_deadline_is_late_and_d1_had_the_fallback(running: Running, d1: D1) -> None:
    async def too_late(request: callback.CallbackRequest) -> callback.CallbackReply:
        await asyncio.sleep(request.time_left.ToMilliseconds() / 1000 + 0.2)
        return await tell_person(request)

    async with connect(running, {"consumer_information": too_late}) as handler:
        assert await d1.call() == (500, {"error": "no answer in time"})
        assert await outcomes(handler, 1) == [LATE]


async def test_because_of_slowness_a_second_handler_gets_only_what_changes_nothing(running: Running, d1: D1) -> None:
    async def never(_: callback.CallbackRequest) -> None:
        pass

    responders: dict[str, Responder] = dict.fromkeys(Issuer().responders(), never)
    async with connect(running, responders) as one, connect(running, responders) as other:
        await asyncio.gather(
            d1.call(),
            d1.call("/otp", {"otp": {"value": "004211"}}),
            d1.call("/authentication", {}),
            d1.call("/authentication/auth-1"),
            d1.get("/cms/api/v1/issuers/SANDBOX001/cards/card-1/credentials"),
        )
    had = Counter(request.WhichOneof("request") for request in (*one.requests, *other.requests))
    assert had == {
        "consumer_information": 2,
        "deliver_otp": 1,
        "authenticate": 1,
        "authentication_result": 2,
        "card_credentials": 2,
    }


async def test_a_reply_that_breaks_its_contract_is_named_and_a_right_one_still_counts(running: Running, d1: D1) -> None:
    async def first_wrong(request: callback.CallbackRequest) -> callback.CallbackReply:
        wrong = callback.CallbackReply(token=request.token)
        wrong.consumer_information.personal_information.CopyFrom(PERSON)
        wrong.consumer_information.personal_information.language = "English, please"
        await handler.reply(wrong)
        other_kind = callback.CallbackReply(token=request.token, deliver_otp=replies.DeliverOtpResponse())
        await handler.reply(other_kind)
        return await tell_person(request)

    async with connect(running, {"consumer_information": first_wrong}) as handler:
        assert (await d1.call())[0] == 200
        assert await outcomes(handler, 3) == [INVALID, INVALID, ACCEPTED]
    (language,) = handler.acknowledgements[0].violations
    assert language.field == "consumer_information.personal_information.language"
    assert "English" not in language.description
    assert [violation.rule for violation in handler.acknowledgements[1].violations] == ["reply.kind"]


async def test_a_handler_never_has_more_callbacks_than_it_accepts(running: Running, d1: D1) -> None:
    at_once, most = 0, 0

    async def count(request: callback.CallbackRequest) -> callback.CallbackReply:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0.02)
        at_once -= 1
        return await tell_person(request)

    async with connect(running, {"consumer_information": count}, max_in_flight=3):
        answers = await asyncio.gather(*(d1.call() for _ in range(20)))
    assert [status for status, _ in answers] == [200] * 20
    assert most == 3


async def test_a_draining_handler_gets_no_more_callbacks_and_finishes_its_own(running: Running, d1: D1) -> None:
    may_answer = asyncio.Event()

    async def wait(request: callback.CallbackRequest) -> callback.CallbackReply:
        await may_answer.wait()
        return await tell_person(request)

    async with connect(running, {"consumer_information": wait}, name="old") as old:
        first = asyncio.create_task(d1.call())
        await old.until(lambda handler: bool(handler.requests))
        await old.drain()
        async with connect(running, {"consumer_information": reject}, name="new") as new:
            assert (await d1.call())[0] == 404
            may_answer.set()
            assert (await first)[0] == 200
            assert (len(old.requests), len(new.requests)) == (1, 1)


async def test_callbacks_are_distributed_among_handlers(running: Running, d1: D1) -> None:
    async def slowly(request: callback.CallbackRequest) -> callback.CallbackReply:
        await asyncio.sleep(0.05)
        return await tell_person(request)

    responders: dict[str, Responder] = {"consumer_information": slowly}
    async with connect(running, responders) as one, connect(running, responders) as other:
        await asyncio.gather(*(d1.call() for _ in range(10)))
    assert (len(one.requests), len(other.requests)) == (5, 5)


async def test_a_handler_of_another_issuer_gets_no_callback(running_two: Running) -> None:
    async with edge_session(running_two.sandbox) as session, stream(running_two) as call:
        d1 = D1(running_two, session)
        await call.write(registration(issuer_ids=[SECOND_ISSUER]))
        assert (await call.read()).registered.max_in_flight == 16
        pending = asyncio.create_task(d1.call())
        result = await d1.call("/authentication/auth-1", issuer=SECOND_ISSUER)
        request = (await call.read()).callback_request
        assert request.issuer_id == SECOND_ISSUER
        assert request.WhichOneof("request") == "authentication_result"
        assert result == (200, {"authenticationId": "auth-1", "status": "PENDING"})
        assert (await pending)[0] == 500


@pytest.mark.parametrize(
    "fields",
    [{"issuer_ids": [SECOND_ISSUER]}, {"issuer_ids": ["SANDBOX001"], "callback_kinds": ["CALLBACK_KIND_DELIVER_OTP"]}],
    ids=["another issuer", "another kind"],
)
async def test_a_handler_that_is_not_registered_for_a_callback_cannot_answer_it_with_its_token(
    running_two: Running, fields: dict[str, Any]
) -> None:
    async with edge_session(running_two.sandbox) as session, stream(running_two) as own, stream(running_two) as other:
        for call, registered in ((own, {"issuer_ids": ["SANDBOX001"]}), (other, fields)):
            await call.write(registration(**registered))
            await call.read()
        pending = asyncio.create_task(D1(running_two, session).call())
        request = (await own.read()).callback_request
        reply = await tell_person(request)
        reply.token = request.token
        acknowledgements = []
        for call in (other, own):
            await call.write(callback.HandleCallbacksRequest(callback_reply=reply))
            acknowledgements.append((await call.read()).acknowledgement.outcome)
        assert acknowledgements == [NOT_REGISTERED, ACCEPTED]
        assert (await pending)[0] == 200
