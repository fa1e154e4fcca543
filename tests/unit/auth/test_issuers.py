import pytest

from gateway.auth.issuers import Issuers
from gateway.errors import GatewayError
from issuer.common.v1 import error_pb2


def test_a_configured_issuer_is_found() -> None:
    issuers = Issuers(["ISSUER0001", "ISSUER0002"])

    assert issuers.resolve("ISSUER0002") == "ISSUER0002"
    assert "ISSUER0001" in issuers


def test_no_issuer_means_the_only_one() -> None:
    assert Issuers(["ISSUER0001"]).resolve("") == "ISSUER0001"


def test_no_issuer_is_refused_where_there_are_several() -> None:
    with pytest.raises(GatewayError) as caught:
        Issuers(["ISSUER0001", "ISSUER0002"]).resolve("")

    assert caught.value.reason == error_pb2.ERROR_REASON_ISSUER_REQUIRED
    assert [violation.field for violation in caught.value.violations] == ["issuer_id"]


@pytest.mark.parametrize("unknown", ["ISSUER0009", "issuer0001", "ISSUER0001 "])
def test_an_issuer_that_is_not_configured_is_refused_without_being_repeated(unknown: str) -> None:
    issuers = Issuers(["ISSUER0001"])

    with pytest.raises(GatewayError) as caught:
        issuers.resolve(unknown)

    assert unknown not in issuers
    assert caught.value.reason == error_pb2.ERROR_REASON_ISSUER_UNKNOWN
    assert caught.value.outcome == error_pb2.OUTCOME_NOT_SENT
    assert unknown not in str(caught.value)
