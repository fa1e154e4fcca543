from collections.abc import AsyncIterator

import pytest

from gateway.idempotency.replies import IdempotencyStore
from tests.unit.idempotency.doubtful_store import DoubtfulStore
from tests.unit.idempotency.idempotency_calls import Upstream, instance


@pytest.fixture
def store() -> DoubtfulStore:
    return DoubtfulStore()


@pytest.fixture
async def replies(store: DoubtfulStore) -> AsyncIterator[IdempotencyStore]:
    replies = instance(store)
    yield replies
    await replies.aclose()


@pytest.fixture
async def other(store: DoubtfulStore) -> AsyncIterator[IdempotencyStore]:
    """Another gateway."""
    other = instance(store)
    yield other
    await other.aclose()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()
