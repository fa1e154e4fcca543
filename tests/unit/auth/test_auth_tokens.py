import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc.jwk import ECKey, OKPKey, RSAKey
from jwcrypto import jwk as other_jwk  # type: ignore[import-untyped]
from jwcrypto import jwt as other_jwt

from gateway.auth import jwt as gateway_jwt
from gateway.auth.errors import Unidentified
from gateway.auth.jwks import Jwks
from gateway.auth.jwt import TokenVerifier
from tests.unit.auth.auth_tokens import (
    ALGORITHMS,
    AUDIENCE,
    EC,
    ED,
    ISSUER,
    NOW,
    RSA,
    Held,
    claims,
    jwk,
    jwk_set,
    sign,
    signed,
    verifier,
)

OTHER_EC = ECKey.generate_key("P-256", {"kid": "ec"})
OTHER_RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
OTHER_ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
FOR_ENCRYPTION = ECKey.generate_key("P-256", {"kid": "enc"})
P384 = ECKey.generate_key("P-384", {"kid": "p384"})
BOUND_TO_PS256 = RSAKey.import_key(RSA.raw_value, {"kid": "only-ps256"})
RSA_JWK = json.dumps(RSA.as_dict(private=False)).encode()
HEADER = b'{"alg":"ES256","kid":"ec","typ":"JWT"}'
PAYLOAD = json.dumps(claims()).encode()


@pytest.fixture
async def keys() -> AsyncIterator[Jwks]:
    document = jwk_set(
        jwk(EC), jwk(RSA), jwk(ED), jwk(FOR_ENCRYPTION, use="enc"), jwk(P384), jwk(BOUND_TO_PS256, alg="PS256")
    )
    keys = Jwks(Held(document), ALGORITHMS, clock=lambda: 0.0)
    async with keys.kept_fresh(3600):
        yield keys


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unsigned(algorithm: str, kid: str = "ec") -> str:
    header = json.dumps({"alg": algorithm, "kid": kid}).encode()
    return f"{_base64url(header)}.{_base64url(PAYLOAD)}."


def _hs256_with(public_key: bytes, kid: str) -> str:
    # By hand: joserfc does not lend itself to the attack.
    signing_input = _unsigned("HS256", kid).removesuffix(".")
    return f"{signing_input}.{_base64url(hmac.digest(public_key, signing_input.encode(), 'sha256'))}"


def _public(key: ECKey | RSAKey, encoding: Encoding = Encoding.PEM) -> bytes:
    return key.public_key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


def _with_another_payload() -> str:
    header, _, signature = signed().split(".")
    return f"{header}.{_base64url(json.dumps(claims(sub='admin')).encode())}.{signature}"


def _with_der_signature() -> str:
    # What other uses of ECDSA sign with; RFC 7518 section 3.4 wants the two numbers side by side.
    signing_input, _, _ = signed().rpartition(".")
    assert EC.private_key is not None
    signature = EC.private_key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    return f"{signing_input}.{_base64url(signature)}"


BAD: dict[str, tuple[str, str]] = {
    "nothing": ("", "not a signed JWT"),
    "garbage": ("not-a-token", "not a signed JWT"),
    "garbage in three parts": ("a.b.c", "malformed header"),
    "text beyond ASCII": (signed() + "\u00e9", "not a signed JWT"),
    "a lone surrogate": (signed() + "\ud800", "not a signed JWT"),
    "a line break": (signed() + "\n", "not a signed JWT"),
    "padding": (signed() + "=", "not a signed JWT"),
    "five parts, as of a JWE": (signed() + ".a.b", "not a signed JWT"),
    "oversized": (signed(sub="x" * 8192), "too long"),
    "a header nested too deeply": (sign(b'{"alg":' + b"[" * 3000, b"{}", EC, "ES256"), "malformed header"),
    "a payload nested too deeply": (sign(HEADER, b'{"a":' + b"[" * 3000, EC, "ES256"), "malformed payload"),
    "a header that is a list": (sign(b"[]", PAYLOAD, EC, "ES256"), "malformed header"),
    "a payload that is a list": (sign(HEADER, b"[]", EC, "ES256"), "malformed payload"),
    "a payload that is no JSON": (sign(HEADER, b"\xff", EC, "ES256"), "malformed payload"),
    "a parameter twice in the header": (
        sign(b'{"alg":"none","alg":"ES256","kid":"ec"}', PAYLOAD, EC, "ES256"),
        "malformed header",
    ),
    "a claim twice": (sign(HEADER, PAYLOAD[:-1] + b',"sub":"admin"}', EC, "ES256"), "malformed payload"),
    "alg none": (_unsigned("none"), "not a signed JWT"),
    "alg none with a signature": (_unsigned("none") + "AAAA", "alg not accepted"),
    "alg None": (_unsigned("None") + "AAAA", "alg not accepted"),
    "alg HS256 with the public EC key in PEM": (_hs256_with(_public(EC), "ec"), "alg not accepted"),
    "alg HS256 with the public RSA key in PEM": (_hs256_with(_public(RSA), "rsa"), "alg not accepted"),
    "alg HS256 with the public RSA key in DER": (_hs256_with(_public(RSA, Encoding.DER), "rsa"), "alg not accepted"),
    "alg HS256 with the public RSA key as JWK": (_hs256_with(RSA_JWK, "rsa"), "alg not accepted"),
    "an alg that is not configured": (signed(RSA, "RS512"), "alg not accepted"),
    "no alg": (signed(header={"alg": None}), "alg not accepted"),
    "an alg that is no text": (signed(header={"alg": ["ES256"]}), "alg not accepted"),
    "an alg of another kind of key": (signed(header={"alg": "RS256"}), "no key"),
    "an alg of another curve": (signed(P384, "ES384", header={"alg": "ES256"}), "no key"),
    "an alg that the key is not meant for": (signed(BOUND_TO_PS256, "RS256"), "no key"),
    "an RSA signature of another padding": (signed(RSA, "PS256", header={"alg": "RS256"}), "BadSignature"),
    "no kid": (signed(header={"kid": None}), "no kid"),
    "an empty kid": (signed(header={"kid": ""}), "no kid"),
    "a kid that is a number": (signed(header={"kid": 1}), "no kid"),
    "an unknown kid": (signed(header={"kid": "elsewhere"}), "no key"),
    "a kid that is a path": (signed(header={"kid": "../../dev/null"}), "no key"),
    "the kid of another key": (signed(header={"kid": "only-ps256"}), "no key"),
    "a key for encryption": (signed(FOR_ENCRYPTION), "no key"),
    "another EC key of the same kid": (signed(OTHER_EC), "BadSignature"),
    "another RSA key of the same kid": (signed(OTHER_RSA, "RS256"), "BadSignature"),
    "another Ed25519 key of the same kid": (signed(OTHER_ED, "EdDSA"), "BadSignature"),
    "its own key in jwk": (signed(OTHER_EC, header={"jwk": jwk(OTHER_EC)}), "BadSignature"),
    "its own key in jwk under its own kid": (
        signed(OTHER_EC, header={"kid": "mine", "jwk": jwk(OTHER_EC, kid="mine")}),
        "no key",
    ),
    "its own key behind jku": (signed(OTHER_EC, header={"jku": "https://evil.example/jwks"}), "BadSignature"),
    "its own key behind x5u": (signed(OTHER_EC, header={"x5u": "https://evil.example/x5u"}), "BadSignature"),
    "its own certificate in x5c": (signed(OTHER_EC, header={"x5c": ["MIIB"]}), "BadSignature"),
    "another payload": (_with_another_payload(), "BadSignature"),
    "a signature in DER": (_with_der_signature(), "BadSignature"),
    "no signature": (signed().rpartition(".")[0] + ".", "not a signed JWT"),
    "half a signature": (signed()[:-43], "BadSignature"),
    "crit": (signed(header={"crit": ["exp"], "exp": NOW}), "crit"),
    "an empty crit": (signed(header={"crit": []}), "crit"),
    "b64 false": (signed(header={"b64": False, "crit": ["b64"]}), "b64"),
    "b64 false without crit": (signed(header={"b64": False}), "b64"),
    "the typ of a logout token": (signed(header={"typ": "logout+jwt"}), "typ"),
    "a typ that is no text": (signed(header={"typ": 1}), "typ"),
    "another issuer": (signed(iss="https://identity.bank.evil.example"), "InvalidClaimError iss"),
    "an issuer with a slash more": (signed(iss=f"{ISSUER}/"), "InvalidClaimError iss"),
    "no issuer": (signed(iss=None), "MissingClaimError iss"),
    "several issuers": (signed(iss=[ISSUER, "x"]), "InvalidClaimError iss"),
    "another audience": (signed(aud="another-service"), "InvalidClaimError aud"),
    "other audiences": (signed(aud=["a", "b"]), "InvalidClaimError aud"),
    "no audience": (signed(aud=None), "MissingClaimError aud"),
    "an audience that is an object": (signed(aud={AUDIENCE: True}), "InvalidClaimError aud"),
    "expired": (signed(exp=NOW - 31), "expired"),
    "no exp": (signed(exp=None), "MissingClaimError exp"),
    "an exp that is text": (signed(exp="2100-01-01"), "InvalidClaimError exp"),
    "an exp that is true": (signed(exp=True), "InvalidClaimError exp"),
    "an exp that is NaN": (signed(exp=float("nan")), "InvalidClaimError exp"),
    "nbf in the future": (signed(nbf=NOW + 60), "InvalidClaimError nbf"),
    "iat in the future": (signed(iat=NOW + 60), "InvalidClaimError iat"),
    "no subject": (signed(sub=None), "MissingClaimError sub"),
    "an empty subject": (signed(sub=""), "InvalidClaimError sub"),
    "a subject that is a number": (signed(sub=7), "InvalidClaimError sub"),
    "a binding that cannot be checked": (signed(cnf={"jkt": "x"}), "cnf"),
    "a binding that says nothing": (signed(cnf={}), "cnf"),
    "a binding that is text": (signed(cnf="x5t#S256"), "cnf"),
}


@pytest.mark.parametrize(("token", "why"), BAD.values(), ids=BAD.keys())
async def test_a_bad_token_is_refused_without_being_quoted(keys: Jwks, token: str, why: str) -> None:
    with pytest.raises(Unidentified) as refused:
        await verifier(keys).verify(token)

    assert why in str(refused.value)
    assert str(refused.value).startswith("token: ")
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    "token",
    [
        signed(),
        signed(RSA, "RS256"),
        signed(RSA, "PS256"),
        signed(BOUND_TO_PS256, "PS256"),
        signed(ED, "EdDSA"),
        signed(ED, "Ed25519"),
        signed(header={"typ": None}),
        signed(header={"typ": "at+jwt"}),
        signed(header={"typ": "application/AT+JWT"}),
        signed(header={"nonce": "unknown parameters are passed over"}),
        signed(aud=["another-service", AUDIENCE]),
        signed(exp=NOW - 29),
        signed(exp=NOW + 0.5),
        signed(nbf=NOW + 29, iat=NOW + 29),
        signed(iat=None),
        signed(cnf=None, scope="anything"),
    ],
    ids=range(16),
)
async def test_a_good_token_names_its_subject(keys: Jwks, token: str) -> None:
    verified = await verifier(keys).verify(token)

    assert verified.subject == "card-service"
    assert verified.certificate_thumbprint is None


async def test_a_token_made_by_another_library_is_good() -> None:
    key = other_jwk.JWK.generate(kty="EC", crv="P-256", kid="other", use="sig", alg="ES256")
    token = other_jwt.JWT(header={"alg": "ES256", "kid": "other"}, claims=claims())
    token.make_signed_token(key)
    keys = Jwks(Held(b'{"keys":[' + key.export_public().encode() + b"]}"), ["ES256"])

    async with keys.kept_fresh(3600):
        verified = await verifier(keys).verify(token.serialize())

    assert verified.subject == "card-service"


async def test_an_algorithm_that_is_not_configured_is_refused_though_the_key_would_fit() -> None:
    keys = Jwks(Held(jwk_set(jwk(RSA))), ["PS256"])

    async with keys.kept_fresh(3600):
        assert (await verifier(keys).verify(signed(RSA, "PS256"))).subject == "card-service"
        with pytest.raises(Unidentified, match="alg not accepted"):
            await verifier(keys).verify(signed(RSA, "RS256"))


async def test_a_token_that_was_good_is_refused_once_it_expires(keys: Jwks) -> None:
    now = float(NOW)
    tokens = TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, leeway_seconds=10, clock=lambda: now)
    token = signed(exp=NOW + 5)
    await tokens.verify(token)

    now = NOW + 14.9
    await tokens.verify(token)
    now = NOW + 15.0
    with pytest.raises(Unidentified, match="expired"):
        await tokens.verify(token)


@pytest.mark.parametrize(
    ("next_key", "good", "why"),
    [(RSA, signed(RSA, "RS256"), "no key"), (OTHER_EC, signed(OTHER_EC), "BadSignature")],
    ids=["withdrawn", "replaced by another of the same kid"],
)
async def test_a_token_that_was_verified_is_refused_once_its_key_was_withdrawn_or_replaced(
    next_key: ECKey | RSAKey, good: str, why: str
) -> None:
    source = Held(jwk_set(jwk(EC), jwk(RSA)))
    now = 0.0
    keys = Jwks(source, ALGORITHMS, clock=lambda: now)
    async with keys.kept_fresh(3600):
        tokens, token = verifier(keys), signed()
        await tokens.verify(token)

        source.document, now = jwk_set(jwk(next_key)), 60.0
        with pytest.raises(Unidentified, match="no key"):
            await tokens.verify(signed(header={"kid": "unknown"}))

        with pytest.raises(Unidentified, match=why):
            await tokens.verify(token)
        assert (await tokens.verify(good)).subject == "card-service"


async def test_tokens_are_remembered_by_digest_within_bounds(keys: Jwks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_jwt, "_MAX_VERIFIED", 4)
    tokens = verifier(keys)
    first = signed()
    assert await tokens.verify(first) is await tokens.verify(first)
    assert [*tokens._verified] == [hashlib.sha256(first.encode()).digest()]

    for number in range(10):
        await tokens.verify(signed(jti=str(number)))
        assert 1 <= len(tokens._verified) <= 4

    assert (await tokens.verify(first)).subject == "card-service"


async def test_the_thumbprint_to_which_a_token_is_bound_is_returned(keys: Jwks) -> None:
    verified = await verifier(keys).verify(signed(cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}))

    assert verified.certificate_thumbprint == "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
