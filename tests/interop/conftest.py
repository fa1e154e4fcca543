import itertools
from collections.abc import Callable

import pytest

from d1_gateway_client.testing import SandboxGateway, d1_gateway

__all__ = ["d1_gateway", "new_card"]

_NUMBERS = itertools.count(1)


@pytest.fixture
def new_card(d1_gateway: SandboxGateway) -> Callable[[], str]:
    """Adds an active card to D1 and returns its id. Its consumer's has the same number."""

    def add() -> str:
        number = next(_NUMBERS)
        d1_gateway.add_card(f"card-{number}", f"consumer-{number}", f"497010123456{number:04}")
        return f"card-{number}"

    return add
