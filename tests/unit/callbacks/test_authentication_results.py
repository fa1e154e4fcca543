"""How step-up authentications ended: the first result stands."""

import asyncio

import pytest

from gateway.callbacks.results import AuthenticationResults
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2
from issuer.consumer.v1.authentication_pb2 import (
    AUTHENTICATION_STATUS_FAILED,
    AUTHENTICATION_STATUS_SUCCESSFUL,
    AuthenticationResult,
)
from tests.fakes import FakeKeyValueStore

ISSUER, CONSUMER = "ISSUER0001", "consumer-1"
APPROVED = AuthenticationResult(authentication_id="authn-1", status=AUTHENTICATION_STATUS_SUCCESSFUL)
DENIED = AuthenticationResult(authentication_id="authn-1", status=AUTHENTICATION_STATUS_FAILED, error="denied")


@pytest.fixture
def store() -> FakeKeyValueStore:
    return FakeKeyValueStore()


@pytest.fixture
def results(store: FakeKeyValueStore) -> AuthenticationResults:
    return AuthenticationResults(store, ttl_seconds=900)


async def test_the_first_result_stands_whatever_is_told_later_and_is_found_whole(
    results: AuthenticationResults,
) -> None:
    assert await results.find(ISSUER, CONSUMER, "authn-1") is None

    assert await results.settle(ISSUER, CONSUMER, DENIED) == DENIED
    assert await results.settle(ISSUER, CONSUMER, APPROVED) == DENIED
    assert await results.find(ISSUER, CONSUMER, "authn-1") == DENIED


@pytest.mark.parametrize("place", range(20))
async def test_a_stored_result_that_was_changed_is_neither_used_nor_replaced(
    store: FakeKeyValueStore, results: AuthenticationResults, place: int
) -> None:
    await results.settle(ISSUER, CONSUMER, DENIED)
    key = f"authentication-result/{ISSUER}/{CONSUMER}/authn-1"
    changed = bytearray(await store.get(key) or b"")
    changed[place] ^= 1
    await store.put(key, bytes(changed), 900)

    calls = (results.find(ISSUER, CONSUMER, "authn-1"), results.settle(ISSUER, CONSUMER, APPROVED))
    for call in (*calls, results.find(ISSUER, CONSUMER, "authn-1", wait_seconds=0.01)):
        with pytest.raises(GatewayError, match="damaged") as caught:
            await call
        assert caught.value.reason == error_pb2.ERROR_REASON_STORE_UNAVAILABLE


async def test_of_two_that_are_told_at_once_both_learn_of_the_one_that_stands(results: AuthenticationResults) -> None:
    first, second = await asyncio.gather(
        results.settle(ISSUER, CONSUMER, DENIED), results.settle(ISSUER, CONSUMER, APPROVED)
    )

    assert first == second == await results.find(ISSUER, CONSUMER, "authn-1")


async def test_the_same_id_of_another_issuer_or_consumer_or_another_id_is_another_authentication(
    results: AuthenticationResults,
) -> None:
    await results.settle(ISSUER, CONSUMER, APPROVED)

    assert await results.find("ISSUER0002", CONSUMER, "authn-1") is None
    assert await results.find(ISSUER, "consumer-2", "authn-1") is None
    assert await results.find(ISSUER, CONSUMER, "authn-2") is None


async def test_a_result_is_forgotten_when_its_time_is_over_counted_from_the_first_telling(
    store: FakeKeyValueStore, results: AuthenticationResults
) -> None:
    await results.settle(ISSUER, CONSUMER, APPROVED)
    store.now = 899
    assert await results.settle(ISSUER, CONSUMER, APPROVED) == APPROVED
    store.now = 900

    assert await results.find(ISSUER, CONSUMER, "authn-1") is None


async def test_a_store_that_cannot_be_used_is_told(store: FakeKeyValueStore, results: AuthenticationResults) -> None:
    store.fail()

    with pytest.raises(GatewayError) as caught:
        await results.settle(ISSUER, CONSUMER, APPROVED)

    assert caught.value.reason == error_pb2.ERROR_REASON_STORE_UNAVAILABLE
