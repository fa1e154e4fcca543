import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey
from jwcrypto import jwe as oracle_jwe  # type: ignore[import-untyped]
from jwcrypto import jwk as oracle_jwk

from adapters.d1.api import D1CardDataEncryption, EncryptionKey, IssuerKeys
from adapters.d1.api.jwe import encrypt_credentials, mmyy
from issuer.callback.v1 import replies_pb2
from issuer.common.v1 import card_data_pb2

PAN = "4111111111111111"
D1_KEY = ECKey.generate_key("P-256", {"kid": "d1-2025"})
D1_PUBLIC_KEY = ECKey.import_key(D1_KEY.as_dict(private=False))


def credentials(month: int, year: int) -> card_data_pb2.CardCredentials:
    return card_data_pb2.CardCredentials(pan=PAN, expiry=card_data_pb2.CardExpiry(month=month, year=year))


def decrypt(token: str) -> oracle_jwe.JWE:
    opened = oracle_jwe.JWE(algs=["ECDH-ES", "A256GCM"])
    opened.deserialize(token, oracle_jwk.JWK(**D1_KEY.as_dict(private=True)))
    return opened


def test_another_library_opens_what_was_encrypted_and_finds_nothing_but_pan_and_expiry() -> None:
    token = encrypt_credentials(credentials(3, 2029), D1_PUBLIC_KEY)

    opened = decrypt(token)

    assert opened.payload == b'{"pan":"4111111111111111","exp":"0329"}'
    header = json.loads(opened.objects["protected"])
    epk = header.pop("epk")
    assert header == {"alg": "ECDH-ES", "enc": "A256GCM", "kid": "d1-2025"}
    assert (epk["kty"], epk["crv"]) == ("EC", "P-256")
    assert "d" not in epk
    # The agreed key is used directly, so none is sent.
    assert [bool(part) for part in token.split(".")] == [True, False, True, True, True]


def test_the_same_card_never_encrypts_to_the_same_text() -> None:
    first, second = (encrypt_credentials(credentials(3, 2029), D1_PUBLIC_KEY) for _ in range(2))

    assert first != second


@given(st.integers(1, 12), st.integers(2000, 2099))
def test_an_expiry_is_written_month_first(month: int, year: int) -> None:
    assert mmyy(card_data_pb2.CardExpiry(month=month, year=year)) == f"{month:02}{year - 2000:02}"


@pytest.mark.parametrize("more", [{}, {"name": "Zoë Ng"}, {"cvv": "012"}, {"name": "Zoë Ng", "cvv": "9999"}])
def test_another_library_opens_a_cards_details_and_finds_what_was_said_of_it(more: dict[str, str]) -> None:
    details = replies_pb2.CardDetails(
        credentials=credentials(3, 2029), name=more.get("name", ""), cvv=more.get("cvv", "")
    )
    keys = IssuerKeys([ECKey.generate_key("P-256", {"kid": "issuer-2025"})], [EncryptionKey(D1_PUBLIC_KEY)])

    opened = decrypt(D1CardDataEncryption({"ISSUER0001": keys}).encrypt("ISSUER0001", details))

    assert json.loads(opened.payload) == {"pan": PAN, "exp": "0329"} | more
    assert json.loads(opened.objects["protected"])["kid"] == "d1-2025"
