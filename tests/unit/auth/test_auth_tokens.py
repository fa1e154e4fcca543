import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc.jwk import ECKey, OKPKey, RSAKey
from jwcrypto import jwk as other_jwk  # type: ignore[import-untyped]
from jwcrypto import jwt as other_jwt

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
HEADER = b'{"alg":"ES256","kid":"ec","typ":"JWT"}'
PAYLOAD = json.dumps(claims()).encode()


@pytest.fixture
async def keys() -> AsyncIterator[Jwks]:
    document = jwk_set(
        jwk(EC),
        jwk(RSA),
        jwk(ED),
        jwk(FOR_ENCRYPTION, use="enc"),
        jwk(P384),
        jwk(BOUND_TO_PS256, alg="PS256"),
    )
    keys = Jwks(Held(document), ALGORITHMS, clock=lambda: 0.0)
    async with keys.kept_fresh(3600):
        yield keys


def _unsigned(algorithm: str) -> str:
    header = json.dumps({"alg": algorithm, "kid": "ec"}).encode()
    parts = (base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (header, PAYLOAD))
    return ".".join((*parts, ""))


def _with_junk_for_signature(algorithm: str) -> str:
    return _unsigned(algorithm) + "AAAA"


def _hs256_with(public_key: bytes, kid: str) -> str:
    # By hand: joserfc does not lend itself to the attack.
    header = json.dumps({"alg": "HS256", "kid": kid}).encode()
    signing_input = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, PAYLOAD))
    tag = hmac.digest(public_key, signing_input, "sha256")
    return f"{signing_input.decode()}.{base64.urlsafe_b64encode(tag).rstrip(b'=').decode()}"


def _pem(key: ECKey | RSAKey) -> bytes:
    return key.public_key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _der(key: ECKey | RSAKey) -> bytes:
    return key.public_key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _json(key: ECKey | RSAKey) -> bytes:
    return json.dumps(key.as_dict(private=False)).encode()


def _with_another_payload() -> str:
    header, _, signature = signed().split(".")
    payload = base64.urlsafe_b64encode(json.dumps(claims(sub="admin")).encode()).rstrip(b"=").decode()
    return f"{header}.{payload}.{signature}"


def _with_der_signature() -> str:
    # What other uses of ECDSA sign with; RFC 7518 section 3.4 wants the two numbers side by side.
    signing_input, _, _ = signed().rpartition(".")
    assert EC.private_key is not None
    signature = EC.private_key.sign(signing_input.encode(), ec.ECDSA(hashes.SHA256()))
    return f"{signing_input}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


BAD: dict[str, tuple[Callable[[], str], str]] = {
    "nothing": (lambda: "", "not a signed JWT"),
    "garbage": (lambda: "not-a-token", "not a signed JWT"),
    "garbage in three parts": (lambda: "a.b.c", "malformed header"),
    "text beyond ASCII": (lambda: signed() + "\u00e9", "not a signed JWT"),
    "a lone surrogate": (lambda: signed() + "\ud800", "not a signed JWT"),
    "a line break": (lambda: signed() + "\n", "not a signed JWT"),
    "padding": (lambda: signed() + "=", "not a signed JWT"),
    "five parts, as of a JWE": (lambda: signed() + ".a.b", "not a signed JWT"),
    "oversized": (lambda: signed(sub="x" * 8192), "too long"),
    "a header nested too deeply": (lambda: sign(b'{"alg":' + b"[" * 3000, b"{}", EC, "ES256"), "malformed header"),
    "a payload nested too deeply": (lambda: sign(HEADER, b'{"a":' + b"[" * 3000, EC, "ES256"), "malformed payload"),
    "a header that is a list": (lambda: sign(b"[]", PAYLOAD, EC, "ES256"), "malformed header"),
    "a payload that is a list": (lambda: sign(HEADER, b"[]", EC, "ES256"), "malformed payload"),
    "a payload that is no JSON": (lambda: sign(HEADER, b"\xff", EC, "ES256"), "malformed payload"),
    "a parameter twice in the header": (
        lambda: sign(b'{"alg":"none","alg":"ES256","kid":"ec"}', PAYLOAD, EC, "ES256"),
        "malformed header",
    ),
    "a claim twice": (
        lambda: sign(HEADER, PAYLOAD[:-1] + b',"sub":"admin"}', EC, "ES256"),
        "malformed payload",
    ),
    "alg none": (lambda: _unsigned("none"), "not a signed JWT"),
    "alg none with a signature": (lambda: _with_junk_for_signature("none"), "alg not accepted"),
    "alg None": (lambda: _with_junk_for_signature("None"), "alg not accepted"),
    "alg HS256 with the public EC key in PEM": (lambda: _hs256_with(_pem(EC), "ec"), "alg not accepted"),
    "alg HS256 with the public RSA key in PEM": (lambda: _hs256_with(_pem(RSA), "rsa"), "alg not accepted"),
    "alg HS256 with the public RSA key in DER": (lambda: _hs256_with(_der(RSA), "rsa"), "alg not accepted"),
    "alg HS256 with the public RSA key as JWK": (lambda: _hs256_with(_json(RSA), "rsa"), "alg not accepted"),
    "an alg that is not configured": (lambda: signed(RSA, "RS512"), "alg not accepted"),
    "no alg": (lambda: signed(header={"alg": None}), "alg not accepted"),
    "an alg that is no text": (lambda: signed(header={"alg": ["ES256"]}), "alg not accepted"),
    "an alg of another kind of key": (lambda: signed(header={"alg": "RS256"}), "no key"),
    "an alg of another curve": (lambda: signed(P384, "ES384", header={"alg": "ES256"}), "no key"),
    "an alg that the key is not meant for": (lambda: signed(BOUND_TO_PS256, "RS256"), "no key"),
    "an RSA signature of another padding": (lambda: signed(RSA, "PS256", header={"alg": "RS256"}), "BadSignature"),
    "no kid": (lambda: signed(header={"kid": None}), "no kid"),
    "an empty kid": (lambda: signed(header={"kid": ""}), "no kid"),
    "a kid that is a number": (lambda: signed(header={"kid": 1}), "no kid"),
    "an unknown kid": (lambda: signed(header={"kid": "elsewhere"}), "no key"),
    "a kid that is a path": (lambda: signed(header={"kid": "../../dev/null"}), "no key"),
    "the kid of another key": (lambda: signed(header={"kid": "only-ps256"}), "no key"),
    "a key for encryption": (lambda: signed(FOR_ENCRYPTION), "no key"),
    "another EC key of the same kid": (lambda: signed(OTHER_EC), "BadSignature"),
    "another RSA key of the same kid": (lambda: signed(OTHER_RSA, "RS256"), "BadSignature"),
    "another Ed25519 key of the same kid": (lambda: signed(OTHER_ED, "EdDSA"), "BadSignature"),
    "its own key in jwk": (lambda: signed(OTHER_EC, header={"jwk": jwk(OTHER_EC)}), "BadSignature"),
    "its own key in jwk under its own kid": (
        lambda: signed(OTHER_EC, header={"kid": "mine", "jwk": jwk(OTHER_EC, kid="mine")}),
        "no key",
    ),
    "its own key behind jku": (lambda: signed(OTHER_EC, header={"jku": "https://evil.example/jwks"}), "BadSignature"),
    "its own key behind x5u": (lambda: signed(OTHER_EC, header={"x5u": "https://evil.example/x5u"}), "BadSignature"),
    "its own certificate in x5c": (lambda: signed(OTHER_EC, header={"x5c": ["MIIB"]}), "BadSignature"),
    "another payload": (_with_another_payload, "BadSignature"),
    "a signature in DER": (_with_der_signature, "BadSignature"),
    "no signature": (lambda: signed().rpartition(".")[0] + ".", "not a signed JWT"),
    "half a signature": (lambda: signed()[:-43], "BadSignature"),
    "crit": (lambda: signed(header={"crit": ["exp"], "exp": NOW}), "crit"),
    "an empty crit": (lambda: signed(header={"crit": []}), "crit"),
    "b64 false": (lambda: signed(header={"b64": False, "crit": ["b64"]}), "b64"),
    "b64 false without crit": (lambda: signed(header={"b64": False}), "b64"),
    "the typ of a logout token": (lambda: signed(header={"typ": "logout+jwt"}), "typ"),
    "a typ that is no text": (lambda: signed(header={"typ": 1}), "typ"),
    "another issuer": (lambda: signed(iss="https://identity.bank.evil.example"), "InvalidClaimError iss"),
    "an issuer with a slash more": (lambda: signed(iss=f"{ISSUER}/"), "InvalidClaimError iss"),
    "no issuer": (lambda: signed(iss=None), "MissingClaimError iss"),
    "several issuers": (lambda: signed(iss=[ISSUER, "x"]), "InvalidClaimError iss"),
    "another audience": (lambda: signed(aud="another-service"), "InvalidClaimError aud"),
    "other audiences": (lambda: signed(aud=["a", "b"]), "InvalidClaimError aud"),
    "no audience": (lambda: signed(aud=None), "MissingClaimError aud"),
    "an audience that is an object": (lambda: signed(aud={AUDIENCE: True}), "InvalidClaimError aud"),
    "expired": (lambda: signed(exp=NOW - 31), "expired"),
    "no exp": (lambda: signed(exp=None), "MissingClaimError exp"),
    "an exp that is text": (lambda: signed(exp="2100-01-01"), "InvalidClaimError exp"),
    "an exp that is true": (lambda: signed(exp=True), "InvalidClaimError exp"),
    "an exp that is NaN": (lambda: signed(exp=float("nan")), "InvalidClaimError exp"),
    "nbf in the future": (lambda: signed(nbf=NOW + 60), "InvalidClaimError nbf"),
    "iat in the future": (lambda: signed(iat=NOW + 60), "InvalidClaimError iat"),
    "no subject": (lambda: signed(sub=None), "MissingClaimError sub"),
    "an empty subject": (lambda: signed(sub=""), "InvalidClaimError sub"),
    "a subject that is a number": (lambda: signed(sub=7), "InvalidClaimError sub"),
    "a binding that cannot be checked": (lambda: signed(cnf={"jkt": "x"}), "cnf"),
    "a binding that says nothing": (lambda: signed(cnf={}), "cnf"),
    "a binding that is text": (lambda: signed(cnf="x5t#S256"), "cnf"),
}


@pytest.mark.parametrize(("make", "why"), BAD.values(), ids=BAD.keys())
async def test_a_bad_token_is_refused_without_being_quoted(keys: Jwks, make: Callable[[], str], why: str) -> None:
    token = make()

    with pytest.raises(Unidentified) as refused:
        await verifier(keys).verify(token)

    assert why in str(refused.value)
    assert str(refused.value).startswith("token: ")
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    "make",
    [
        signed,
        lambda: signed(RSA, "RS256"),
        lambda: signed(RSA, "PS256"),
        lambda: signed(BOUND_TO_PS256, "PS256"),
        lambda: signed(ED, "EdDSA"),
        lambda: signed(ED, "Ed25519"),
        lambda: signed(header={"typ": None}),
        lambda: signed(header={"typ": "at+jwt"}),
        lambda: signed(header={"typ": "application/AT+JWT"}),
        lambda: signed(header={"nonce": "unknown parameters are passed over"}),
        lambda: signed(aud=["another-service", AUDIENCE]),
        lambda: signed(exp=NOW - 29),
        lambda: signed(exp=NOW + 0.5),
        lambda: signed(nbf=NOW + 29, iat=NOW + 29),
        lambda: signed(iat=None),
        lambda: signed(cnf=None, scope="anything"),
    ],
)
async def test_a_good_token_names_its_subject(keys: Jwks, make: Callable[[], str]) -> None:
    verified = await verifier(keys).verify(make())

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


async def test_a_token_of_a_key_that_was_withdrawn_is_refused_though_it_was_verified_before() -> None:
    source = Held(jwk_set(jwk(EC), jwk(RSA)))
    now = 0.0
    keys = Jwks(source, ALGORITHMS, clock=lambda: now)
    async with keys.kept_fresh(3600):
        tokens, token = verifier(keys), signed()
        await tokens.verify(token)

        source.document, now = jwk_set(jwk(RSA)), 60.0
        with pytest.raises(Unidentified, match="no key"):
            await tokens.verify(signed(header={"kid": "unknown"}))

        with pytest.raises(Unidentified, match="no key"):
            await tokens.verify(token)
        assert (await tokens.verify(signed(RSA, "RS256"))).subject == "card-service"


async def test_a_token_signed_with_another_key_of_the_same_kid_is_refused_once_the_key_was_replaced() -> None:
    source = Held(jwk_set(jwk(EC)))
    now = 0.0
    keys = Jwks(source, ALGORITHMS, clock=lambda: now)
    async with keys.kept_fresh(3600):
        tokens = verifier(keys)
        await tokens.verify(signed())

        source.document, now = jwk_set(jwk(OTHER_EC)), 60.0
        await keys.find("unknown", "ES256")

        assert (await tokens.verify(signed(OTHER_EC))).subject == "card-service"
        with pytest.raises(Unidentified, match="BadSignature"):
            await tokens.verify(signed())


async def test_a_token_is_remembered_by_its_digest_and_the_memory_is_bounded(keys: Jwks) -> None:
    tokens = verifier(keys)
    first = signed()
    assert await tokens.verify(first) is await tokens.verify(first)
    assert [*tokens._verified] == [hashlib.sha256(first.encode()).digest()]

    for number in range(1030):
        await tokens.verify(signed(jti=str(number)))

    assert len(tokens._verified) <= 1024
    assert (await tokens.verify(first)).subject == "card-service"


async def test_the_thumbprint_to_which_a_token_is_bound_is_told(keys: Jwks) -> None:
    verified = await verifier(keys).verify(signed(cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}))

    assert verified.certificate_thumbprint == "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"
