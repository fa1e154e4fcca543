import pytest

from tests.unit.callbacks.cluster.cluster_registry import Alliance, Connected


@pytest.fixture
def alliance() -> Alliance:
    return Alliance()


@pytest.fixture
def there(alliance: Alliance) -> Connected:
    """A handler at the gateway where no callback request begins."""
    return alliance.connect(1)
