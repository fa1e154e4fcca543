"""Python with threads: the official stubs on grpcio."""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import SimpleNamespace

import grpc
import pytest

from d1_gateway_client.testing import Flow, SandboxGateway, Status
from tests.interop.interop_docs import program


@pytest.fixture(scope="module")
def client() -> SimpleNamespace:
    return program("grpcio with threads")


@pytest.fixture
def channel(client: SimpleNamespace, d1_gateway: SandboxGateway) -> Iterator[grpc.Channel]:
    options = d1_gateway.options
    with client.connect(options.address, options.ca_file, options.certificate_file, options.key_file) as opened:
        yield opened


def test_a_call_succeeds_and_a_refused_one_says_why(
    client: SimpleNamespace, channel: grpc.Channel, new_card: Callable[[], str]
) -> None:
    card = new_card()
    assert client.suspend(channel, card) is None
    assert client.suspend(channel, card) == ("UPSTREAM_FORBIDDEN", "REJECTED")


def test_a_watch_brings_earlier_and_new_notifications(
    client: SimpleNamespace, channel: grpc.Channel, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    card = new_card()
    assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    seen = []
    with closing(client.watch(channel)) as notifications:
        for each in notifications:
            if each.card_id != card:
                continue
            seen.append((each.three_ds_operation.operation_text, each.three_ds_operation.status_text))
            if len(seen) == 2:
                break
            assert d1_gateway.buy(card).wait_ends() is Status.SUCCESSFUL
    assert seen == [("3DS_FRICTIONLESS", "SUCCESSFUL")] * 2


def test_a_purchase_is_paid_with_the_password_that_a_handler_sends(
    client: SimpleNamespace, channel: grpc.Channel, d1_gateway: SandboxGateway, new_card: Callable[[], str]
) -> None:
    sent: dict[str, str] = {}
    card, ready = new_card(), threading.Event()

    def answer() -> None:
        with suppress(grpc.RpcError):  # Its channel is closed in the end.
            client.answer(channel, sent.__setitem__, ready)

    answering = threading.Thread(target=answer)
    answering.start()
    try:
        assert ready.wait(30)
        purchase = d1_gateway.buy(card, Flow.SMS_OTP_ISSUER)
        assert purchase.wait_rests() is Status.AWAITS_OTP, purchase.error
        assert purchase.type_otp(sent[card.replace("card", "consumer")])
        assert purchase.wait_ends() is Status.SUCCESSFUL
        assert purchase.answers == [204]
    finally:
        channel.close()
        answering.join()
