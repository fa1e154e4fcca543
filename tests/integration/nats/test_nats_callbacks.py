"""D1 calls one gateway, a handler at another one replies: real edges, real gRPC streams, a real NATS server."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from adapters.nats.connection.connection import Connection
from adapters.nats.jetstream.jetstream import api_request
from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.settings import NatsSettings
from issuer.callback.v1 import messages_pb2 as callback
from issuer.consumer.v1 import authentication_pb2 as authentication
from issuer.consumer.v1 import messages_pb2 as consumer
from sandbox.handler import Handler
from tests.callback_replies import PHONE, Issuer, tell_person
from tests.integration.edge.edge_caller import edge_log
from tests.integration.nats.nats_gateways import Gateways, sharing_settings
from tests.running import running_gateway

ACCEPTED = callback.REPLY_OUTCOME_ACCEPTED
ALREADY_ANSWERED = callback.REPLY_OUTCOME_ALREADY_ANSWERED
SECONDS = 20.0
CANARY = "C4N4RY0TP7391"
NEWER_KIND = b"\xa2\x06\x02hi"
"""Field 100, which no kind of message has yet."""


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> None:
    """The module's gateways keep tasks for their connections. They are gone in the end."""


async def outcomes(handler: Handler, count: int = 1) -> list[int]:
    async with asyncio.timeout(SECONDS):
        await handler.until(lambda each: len(each.acknowledgements) >= count)
    return [acknowledgement.outcome for acknowledgement in handler.acknowledgements]


async def test_every_kind_of_callback_is_answered_by_a_handler_at_the_other_gateway(gateways: Gateways) -> None:
    issuer = Issuer()
    async with Handler.connect(gateways.there.channel, issuer.responders()) as handler:
        status, person = await gateways.call("?cardId=card-7", headers={"x-correlation-id": "call-1"})
        assert (status, person["firstName"]) == (200, "Zoë")
        assert await gateways.call("/otp", {"otp": {"value": "004211"}}) == (204, None)
        assert await gateways.call("/authentication", {}) == (200, {"authenticationId": "consumer-1-1"})
        pending = {"authenticationId": "consumer-1-1", "status": "PENDING"}
        assert await gateways.call("/authentication/consumer-1-1") == (200, pending)
        issuer.results["consumer-1-1"] = authentication.AUTHENTICATION_STATUS_SUCCESSFUL
        _, result = await gateways.call("/authentication/consumer-1-1")
        assert result["status"] != "PENDING"
        # Final now, and kept where both gateways find it.
        assert await gateways.call("/authentication/consumer-1-1", gateway=gateways.there) == (200, result)
        assert await outcomes(handler, 5) == [ACCEPTED] * 5

    first = handler.requests[0]
    assert (first.issuer_id, first.correlation_id, first.attempt) == ("SANDBOX001", "call-1", 1)
    assert (first.consumer_information.consumer_id, first.consumer_information.card_id) == ("consumer-1", "card-7")
    assert 0 < first.time_left.ToMilliseconds() <= 8000
    assert len(handler.requests) == 5


async def test_a_request_that_is_held_here_ends_with_a_result_that_the_other_gateway_is_told(
    gateways: Gateways,
) -> None:
    held = asyncio.create_task(gateways.call("/authentication/held-1"))
    await asyncio.sleep(0.2)
    assert not held.done()
    result = authentication.AuthenticationResult(
        authentication_id="held-1", status=authentication.AUTHENTICATION_STATUS_SUCCESSFUL
    )
    request = consumer.CompleteAuthenticationRequest(consumer_id="consumer-1", result=result)
    await gateways.there.consumers.CompleteAuthentication(request, timeout=10)
    assert await held == (200, {"authenticationId": "held-1", "status": "SUCCESSFUL"})


async def test_a_request_is_held_no_longer_than_d1_waits_and_the_gateway_serves(
    gateways: Gateways, tmp_path: Path
) -> None:
    sandbox = gateways.here.sandbox
    settings = sharing_settings(sandbox, gateways.nats, tmp_path)
    results = settings.callbacks.authentication_result.model_copy(update={"wait_seconds": 30.0})
    callbacks = settings.callbacks.model_copy(update={"authentication_result": results})
    used = settings.model_copy(update={"callbacks": callbacks, "drain_grace_seconds": 30.0})
    with edge_log() as logged:
        async with asyncio.timeout(SECONDS), running_gateway(sandbox, used) as third:
            polls = [
                asyncio.create_task(gateways.call(f"/authentication/held-{number}", gateway=third))
                for number in range(2)
            ]
            await asyncio.sleep(0.3)
            polls[0].cancel()
            while not [line for line in logged if line["event"] == "callback_abandoned"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not polls[1].done()
        assert await polls[1] == (200, {"authenticationId": "held-1", "status": "PENDING"})
    sandbox.set_edge(gateways.there.edge)


async def test_a_handler_here_gets_callbacks_before_one_at_the_other_gateway(gateways: Gateways) -> None:
    there, here = gateways.there.channel, gateways.here.channel
    async with (
        Handler.connect(there, {"consumer_information": tell_person}) as other,
        Handler.connect(here, {"consumer_information": tell_person}) as own,
    ):
        for _ in range(3):
            assert (await gateways.call())[0] == 200

    assert (len(own.requests), len(other.requests)) == (3, 0)


async def test_a_handler_has_no_more_callbacks_than_it_takes_from_both_gateways(gateways: Gateways) -> None:
    busy, most = 0, 0

    async def slowly(request: callback.CallbackRequest) -> callback.CallbackReply:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.02)
        busy -= 1
        return await tell_person(request)

    answers = {"consumer_information": slowly}
    async with Handler.connect(gateways.there.channel, answers, max_in_flight=3) as handler:
        answered = await asyncio.gather(
            *(gateways.call(gateway=gateways.there if number % 2 else gateways.here) for number in range(40))
        )

    assert {status for status, _ in answered} == {200}
    assert len(handler.requests) == 40
    assert most == 3


async def test_a_receipt_that_is_still_to_come_holds_up_no_reply_and_comes_before_the_stream_ends(
    gateways: Gateways,
) -> None:
    async with Handler.connect(gateways.there.channel, {"consumer_information": tell_person}) as handler:
        answered = await asyncio.gather(*(gateways.call() for _ in range(30)))
        assert {status for status, _ in answered} == {200}
        assert await outcomes(handler, 30) == [ACCEPTED] * 30

    assert {acknowledgement.token for acknowledgement in handler.acknowledgements} == {
        request.token for request in handler.requests
    }


async def test_what_others_or_newer_peers_say_is_ignored_and_logged_once(gateways: Gateways) -> None:
    stranger = await Connection.open(NatsSettings(servers=(gateways.nats.url,)))
    try:
        with capture_logs() as logged:
            newer = peer.PeerMessage(sender="f" * 16).SerializeToString() + NEWER_KIND
            for said in (newer, newer, b"", b"hello", bytes(40)):
                await stranger.publish(f"{gateways.prefix}.gateway.all", said)
            async with asyncio.timeout(SECONDS):
                while str(logged).count("peer_messages_ignored") < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            async with Handler.connect(gateways.there.channel, {"consumer_information": tell_person}):
                assert (await gateways.call())[0] == 200
    finally:
        await stranger.close()

    ignored = [each for each in logged if each["event"] == "peer_messages_ignored"]
    assert [(each["suppressed"], each["cause"]) for each in ignored] == [(0, "unknown kind")] * 2
    assert "hello" not in repr(ignored)


async def test_nothing_of_a_callback_or_a_reply_is_stored_or_logged(gateways: Gateways) -> None:
    with capture_logs() as logged:
        async with Handler.connect(gateways.there.channel, Issuer().responders()) as handler:
            otp = {"otp": {"value": CANARY}, "panSuffix": CANARY, "unknown": CANARY}
            assert (await gateways.call("/otp", otp))[0] == 204
            assert (await gateways.call())[0] == 200
        # What is stored is found, so what is not found is not stored.
        assert await gateways.notify("op_control") == 204
    sent = handler.requests[0]
    assert sent.deliver_otp.otp == CANARY

    connection = await Connection.open(NatsSettings(servers=(gateways.nats.url,)))
    try:
        for subject in ("all", sent.token[:16]):
            takers = await api_request(connection, "STREAM.NAMES", {"subject": f"{gateways.prefix}.gateway.{subject}"})
            assert not takers.get("streams")
        assert len((await api_request(connection, "STREAM.NAMES"))["streams"]) > 1
    finally:
        await connection.close()
    await gateways.nats.stop()
    stored = b"".join(file.read_bytes() for file in gateways.nats.folder.rglob("*") if file.is_file())
    await gateways.restart_nats()
    assert b"op_control" in stored
    for secret in (CANARY, PHONE[3:], sent.token):
        assert secret.encode() not in stored
        assert secret not in repr(logged)
