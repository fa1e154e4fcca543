import pytest

from tests.unit.nats.fake_bucket import FakeBucket


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()
