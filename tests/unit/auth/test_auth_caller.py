import base64
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from gateway.auth.caller import AuthContext, Caller, Callers, Metadata
from gateway.auth.client_certificate import Certificates
from gateway.auth.errors import Unidentified
from gateway.auth.jwks import Jwks
from gateway.auth.jwt import TokenVerifier
from tests.unit.auth.auth_pki import LOOPBACK, SPIFFE, Authority, Pair, dns, uri
from tests.unit.auth.auth_tokens import ALGORITHMS, AUDIENCE, EC, ISSUER, Held, jwk, jwk_set, signed

CA = Authority()
CARD_SERVICE = CA.issue([uri(SPIFFE)])
NOW = int(time.time())


@pytest.fixture(scope="module")
async def tokens() -> AsyncIterator[TokenVerifier]:
    keys = Jwks(Held(jwk_set(jwk(EC))), ALGORITHMS)
    async with keys.kept_fresh(3600):
        yield TokenVerifier(keys, issuer=ISSUER, audience=AUDIENCE, leeway_seconds=30)


def shown(pair: Pair | None) -> dict[str, list[bytes]]:
    """Make grpc's auth context of a connection, whose own lists of names are not to be looked at."""
    if pair is None:
        return {"transport_security_type": [b"ssl"]}
    return {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [b"admin"],
        "x509_subject_alternative_name": [b"spiffe://bank/admin", b"admin.bank"],
        "x509_pem_cert": [pair.certificate],
    }


def bearer(scheme: str = "Bearer", **changes: Any) -> list[tuple[str, str | bytes]]:
    return [("x-correlation-id", "1"), ("authorization", f"{scheme} {signed(exp=NOW + 86_400, iat=NOW, **changes)}")]


def thumbprint(pair: Pair) -> str:
    return base64.urlsafe_b64encode(pair.parsed.fingerprint(hashes.SHA256())).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("names", "identity"),
    [
        ([uri(SPIFFE)], SPIFFE),
        ([uri("spiffe://bank.example/ns/cards/sa/issuing_v1.2")], "spiffe://bank.example/ns/cards/sa/issuing_v1.2"),
        ([dns("other.bank"), uri(SPIFFE), *LOOPBACK], SPIFFE),
        ([uri("https://bank.example/"), uri(SPIFFE)], SPIFFE),
        ([dns("Card-Service.Bank")], "dns:card-service.bank"),
        ([dns("card-service.bank"), dns("CARD-SERVICE.bank")], "dns:card-service.bank"),
        ([uri("https://bank.example/"), dns("card-service.bank")], "dns:card-service.bank"),
        ([*LOOPBACK], "dns:localhost"),
        ([uri(SPIFFE), uri(SPIFFE)], SPIFFE),
        ([uri(SPIFFE), uri("spiffe://bank/admin")], None),
        ([uri(SPIFFE), uri("spiffe://")], None),
        ([uri("SPIFFE://bank/card-service"), dns("admin.bank")], None),
        *(
            ([uri(name)], None)
            for name in (
                *("spiffe://bank", "spiffe://bank/", "spiffe://bank/card-service/", "spiffe://bank/" + "a" * 2048),
                *("spiffe://bank/../admin", "spiffe://bank/a/./b", "spiffe://bank//admin", "spiffe://bank/*"),
                *("spiffe://Bank/card-service", "spiffe://bank/card%2Fservice", "spiffe://bank/card-service?x=1"),
                *("spiffe://bank:443/card-service", "spiffe://user@bank/card-service", "jwt:admin", "dns:admin.bank"),
            )
        ),
        *(
            ([dns(name)], None)
            for name in (
                *("*.bank", ".bank", "a..bank", "bank/admin", "spiffe://bank/admin"),
                *("admin.bank\0.evil.example", "admin.bank ", "admin.bank\n"),
            )
        ),
        ([dns("a.bank"), dns("b.bank")], None),
        ([LOOPBACK[1]], None),
        ([x509.RFC822Name("admin@bank.example")], None),
        ([], None),
    ],
)
def test_a_certificate_names_one_caller_or_none(names: Sequence[x509.GeneralName], identity: str | None) -> None:
    pair = CA.issue(names, common_name=SPIFFE)

    assert Certificates().read(pair.certificate).identity == identity


@pytest.mark.parametrize(
    "pem", [b"", b"not PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", CARD_SERVICE.key]
)
def test_what_is_no_certificate_is_refused(pem: bytes) -> None:
    with pytest.raises(Unidentified, match="malformed"):
        Certificates().read(pem)


def test_certificates_are_read_once_and_the_memory_of_them_is_bounded() -> None:
    certificates = Certificates()
    first = certificates.read(CARD_SERVICE.certificate)
    assert certificates.read(CARD_SERVICE.certificate) is first

    for number in range(1030):
        certificates.read(CARD_SERVICE.certificate + b"\n" * number)

    assert len(certificates._cached) <= 1024


def by_token(subject: str = "card-service") -> Caller:
    return Caller(f"jwt:{subject}", "token")


NAMED: dict[str, tuple[AuthContext, Metadata, Caller]] = {
    "a certificate": (shown(CARD_SERVICE), [("user-agent", "grpc")], Caller(SPIFFE, "certificate")),
    "a token": (shown(None), bearer(), by_token()),
    **{f"a token after {scheme!r}": ({}, bearer(scheme), by_token()) for scheme in ("bearer", "BEARER", "Bearer ")},
    "a token beside a certificate": (shown(CARD_SERVICE), bearer(sub="batch"), by_token("batch")),
    "a token beside a certificate without a name": (shown(CA.issue()), bearer(), by_token()),
    # A subject cannot pass for the name of a certificate.
    **{
        f"the subject {subject}": ({}, bearer(sub=subject), by_token(subject))
        for subject in ("spiffe://bank/admin", "dns:admin.bank", "auth0|123")
    },
}


@pytest.mark.parametrize(("auth_context", "metadata", "caller"), NAMED.values(), ids=NAMED)
async def test_a_token_or_else_a_certificate_names_the_caller(
    tokens: TokenVerifier, auth_context: AuthContext, metadata: Metadata, caller: Caller
) -> None:
    assert await Callers(tokens).identify(auth_context, metadata) == caller


async def test_a_token_bound_to_a_certificate_is_taken_with_that_certificate_only(tokens: TokenVerifier) -> None:
    callers, bound = Callers(tokens), bearer(cnf={"x5t#S256": thumbprint(CARD_SERVICE)})

    assert (await callers.identify(shown(CARD_SERVICE), bound)).identity == "jwt:card-service"
    for other in (None, CA.issue([uri(SPIFFE)])):
        with pytest.raises(Unidentified, match="another certificate"):
            await callers.identify(shown(other), bound)


EXPIRED = CA.issue([uri(SPIFFE)], begins=timedelta(hours=-2), ends=timedelta(hours=-1))
NOT_YET_VALID = CA.issue([uri(SPIFFE)], begins=timedelta(hours=1))
REFUSED: dict[str, tuple[AuthContext, Metadata, str]] = {
    "no connection": ({}, [], "neither"),
    "a connection without a certificate": (shown(None), [], "neither"),
    "a name without a certificate": ({"x509_subject_alternative_name": [SPIFFE.encode()]}, [], "neither"),
    "a certificate without a name": (shown(CA.issue()), [], "must name exactly one"),
    "several certificates": ({"x509_pem_cert": [CARD_SERVICE.certificate] * 2}, [], "several"),
    "an expired certificate": (shown(EXPIRED), [], "not valid now"),
    "an expired certificate beside a token": (shown(EXPIRED), bearer(), "not valid now"),
    "a certificate of the future": (shown(NOT_YET_VALID), [], "not valid now"),
    "a certificate of the future beside a token": (shown(NOT_YET_VALID), bearer(), "not valid now"),
    "a bad token beside a good certificate": (shown(CARD_SERVICE), bearer(aud="another-service"), "aud"),
    # Such a subject would blur a log or a policy.
    **{
        f"the subject {subject!r}": ({}, bearer(sub=subject), "token: sub")
        for subject in ("a b", "a\nb", "\u00e9", "x" * 256, " ")
    },
    "the same authorization twice": (shown(CARD_SERVICE), [*bearer(), *bearer()], "several"),
    **{
        f"the authorization {value!r} beside a certificate": (shown(CARD_SERVICE), [("authorization", value)], "Bearer")
        for value in (
            *("", "Bearer", "Bearer ", "Basic dXNlcjpzZWNyZXQ=", "Bearer a b", "Bearera.b.c", " Bearer a.b.c"),
            b"Bearer a.b.c",
        )
    },
}


@pytest.mark.parametrize(("auth_context", "metadata", "why"), REFUSED.values(), ids=REFUSED.keys())
async def test_who_does_not_show_one_valid_identity_is_refused(
    tokens: TokenVerifier, auth_context: AuthContext, metadata: Metadata, why: str
) -> None:
    with pytest.raises(Unidentified, match=why):
        await Callers(tokens).identify(auth_context, metadata)


async def test_a_connection_that_outlives_its_certificate_is_no_longer_trusted() -> None:
    now = time.time()
    callers = Callers(None, clock=lambda: now)
    await callers.identify(shown(CARD_SERVICE), [])

    now += 86_400 + 1
    with pytest.raises(Unidentified, match="not valid now") as refused:
        await callers.identify(shown(CARD_SERVICE), [])
    assert refused.value.advice == "The client certificate is not valid now: renew it, and connect again."


async def test_a_token_is_refused_where_none_are_taken() -> None:
    with pytest.raises(Unidentified, match="no tokens") as refused:
        await Callers(None).identify(shown(CARD_SERVICE), bearer())
    assert refused.value.advice.startswith("This gateway accepts no bearer tokens: ")

    with pytest.raises(Unidentified) as refused:
        await Callers(None).identify(shown(None), [])
    assert refused.value.advice == "No credentials: present a client certificate."
