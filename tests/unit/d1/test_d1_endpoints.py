from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.d1.api import endpoints
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2


def test_colons_stay_colons_in_a_path() -> None:
    path = endpoints.SUSPEND_CARD.path(issuer_id="ISSUER0001", card_id="card_1")

    assert path == "/banking/v2/issuers/ISSUER0001/cards/card_1/operations:suspend"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(lambda text: text not in {".", ".."}))
def test_no_id_changes_the_path_around_it(card_id: str) -> None:
    segments = endpoints.DELETE_CARD.path(issuer_id="ISSUER0001", card_id=card_id).split("/")

    assert segments[:-2] == ["", "banking", "v2", "issuers", "ISSUER0001", "cards"]
    assert unquote(segments[-2]) == card_id
    assert set(segments[-2]).isdisjoint("?#/:;&= \r\n")
    assert segments[-1] == "operations:delete"


@pytest.mark.parametrize("card_id", ["", ".", ".."])
def test_an_id_that_no_escape_keeps_in_its_place_is_refused(card_id: str) -> None:
    with pytest.raises(GatewayError) as caught:
        endpoints.REGISTER_CARD.path(issuer_id="ISSUER0001", card_id=card_id)

    assert caught.value.reason == error_pb2.ERROR_REASON_INVALID_REQUEST
    assert caught.value.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT


def test_assumptions_are_made_of_fields_that_exist() -> None:
    assert endpoints.FIELDS.keys() > endpoints.ASSUMED_FIELDS.keys()
