import pytest

from gateway.errors import GatewayError
from gateway.formats.page_tokens import PageTokens
from issuer.common.v1 import error_pb2

TOKENS = PageTokens("ListSubscriptions", ("ISSUER0001",))


@pytest.mark.parametrize("place", [b"", b"billing", bytes(range(256))])
def test_a_token_gives_its_place_back(place: bytes) -> None:
    assert TOKENS.decode(TOKENS.encode(place)) == place


@pytest.mark.parametrize(
    "other",
    [
        PageTokens("ListThreeDSOperations", ("ISSUER0001",)),
        PageTokens("ListSubscriptions", ("ISSUER0002",)),
        PageTokens("ListSubscriptions", ("ISSUER0001", "")),
        PageTokens("ListSubscriptions", ("ISSUER00", "01")),
    ],
)
def test_a_token_of_another_list_is_refused(other: PageTokens) -> None:
    with pytest.raises(GatewayError) as caught:
        TOKENS.decode(other.encode(b"billing"))

    assert caught.value.reason == error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID
    assert caught.value.outcome == error_pb2.ERROR_OUTCOME_NOT_SENT
    assert [violation.field for violation in caught.value.violations] == ["page_token"]
