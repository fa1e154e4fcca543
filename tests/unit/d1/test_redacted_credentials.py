"""What must not be repeated: credentials by the upstream that was sent them, card numbers in place of names."""

import pytest

from adapters.http.client import _without_credentials
from gateway.edge.telemetry import _ID

TOKEN = "kV8-opaque_token-of-D1"
KEY = "1f0f6a3e-7b0c-4f0e-9d0a-3c7b1de2a9b4"


@pytest.mark.parametrize(
    ("headers", "said", "told"),
    [
        ({"Authorization": f"Bearer {TOKEN}"}, f'{{"error":"not {TOKEN}"}}', '{"error":"not ****"}'),
        ({"APIKey": KEY, "Accept": "a"}, f'{{"acsTransID":"{KEY}","b":"{KEY}"}}', '{"acsTransID":"****","b":"****"}'),
        ({"Accept": "application/json"}, '{"error":"application/json"}', '{"error":"application/json"}'),
        ({"Authorization": "Bearer "}, '{"error":"none"}', '{"error":"none"}'),
        # So short that it would be found in what it has nothing to do with.
        ({"APIKey": "error"}, '{"error":"none"}', '{"error":"none"}'),
    ],
)
def test_what_a_request_was_authorised_with_is_masked_in_its_answer(
    headers: dict[str, str], said: str, told: str
) -> None:
    assert _without_credentials(said.encode(), headers) == told.encode()


@pytest.mark.parametrize(
    "number", ["4716920538164073", "4716-9205-3816-4073", "4716_9205_3816_4073", "0538164073", "1-" * 9 + "1"]
)
def test_a_card_number_in_the_place_of_an_id_is_not_logged(number: str) -> None:
    assert _ID.fullmatch(number) is None


@pytest.mark.parametrize(
    "name", ["card_1", "d461f105-1792-407f-95ff-9a496fd918a9", "2026-01-31", "123456789", "1" * 9 + "-a1"]
)
def test_an_id_is_logged(name: str) -> None:
    assert _ID.fullmatch(name) is not None
