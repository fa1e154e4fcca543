import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey

from gateway.edge.auth_tokens import Client, OAuthClients, Tokens

KEY = ECKey.generate_key("P-256")
OTHER_KEY = ECKey.generate_key("P-256")
CLIENT = Client("d1-client", hashlib.sha256(b"a secret").hexdigest(), "notify status")
ISSUERS_CLIENT = Client("issuers-client", CLIENT.secret_sha256, "notify", "ISSUER0002")
CLIENTS = OAuthClients(CLIENT, ISSUERS_CLIENT)


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    now: float = 1_700_000_000.5

    def __call__(self) -> float:
        return self.now


def tokens(clock: Clock | None = None, key: ECKey = KEY) -> Tokens:
    return Tokens(key, clients=CLIENTS, lifetime_seconds=900, clock=Clock() if clock is None else clock)


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def segment(value: object) -> str:
    return base64url(json.dumps(value).encode())


def claims(**changes: Any) -> dict[str, Any]:
    """Return good claims, with changes; a claim set to None is omitted."""
    now = int(Clock().now)
    usual = {
        "iss": "d1-gateway",
        "aud": "d1-gateway-edge",
        "sub": "d1-client",
        "scope": "notify status",
        "iat": now,
        "exp": now + 900,
    }
    return {name: value for name, value in {**usual, **changes}.items() if value is not None}


def signed(made: Mapping[str, Any] | None = None, key: ECKey = KEY, **header: Any) -> str:
    """Sign claims under a changed header; a parameter set to None is omitted."""
    parameters = {"alg": "ES256", "typ": "at+jwt", "kid": KEY.thumbprint(), **header}
    kept = {name: value for name, value in parameters.items() if value is not None}
    return jwt.encode(kept, claims() if made is None else dict(made), key, algorithms=["ES256"])


def with_shared_secret(secret: bytes) -> str:
    """Sign with HMAC, as if the verifier's key were a shared secret."""
    text = f"{segment({'alg': 'HS256', 'kid': KEY.thumbprint()})}.{segment(claims())}"
    return f"{text}.{base64url(hmac.digest(secret, text.encode(), 'sha256'))}"


def unsigned(algorithm: str) -> str:
    return f"{segment({'alg': algorithm, 'kid': KEY.thumbprint()})}.{segment(claims())}."


def test_every_token_is_another_one_and_does_not_show_itself() -> None:
    token, other = tokens().issue(CLIENT), tokens().issue(CLIENT)

    assert token.value != other.value
    assert token.value not in f"{token!r} {token}"


def test_a_token_is_valid_in_every_process_with_the_same_key_and_tells_when_it_expires() -> None:
    clock = Clock()
    ours = tokens(clock)
    token = ours.issue(CLIENT)

    assert (token.lifetime_seconds, token.expires_at) == (900, 1_700_000_900)
    assert jwt.decode(token.value, KEY, algorithms=["ES256"]).claims["exp"] == token.expires_at
    assert [each.client_of(token.value) for each in (ours, ours, tokens())] == [CLIENT] * 3
    clock.now = token.expires_at - 0.001
    assert ours.client_of(token.value)
    for clock.now in (token.expires_at, token.expires_at + 1):
        assert not ours.client_of(token.value)
        assert not tokens(clock).client_of(token.value), "nor where it was never verified before"


def test_while_the_key_is_changed_every_instance_takes_what_any_other_one_signs() -> None:
    old, new = KEY, OTHER_KEY
    old_public, new_public = (ECKey.import_key(key.as_dict(private=False)) for key in (old, new))
    # The steps of docs/exposure.md; between two of them instances of both kinds run.
    steps = [(old, ()), (old, (new_public,)), (new, (old_public,)), (new, ())]
    instances = [
        Tokens(signs, other_keys=others, clients=CLIENTS, lifetime_seconds=900, clock=Clock())
        for signs, others in steps
    ]

    for one, other in pairwise(instances):
        assert one.client_of(other.issue(CLIENT).value)
        assert other.client_of(one.issue(CLIENT).value)
    assert not instances[0].client_of(instances[-1].issue(CLIENT).value)
    assert not instances[-1].client_of(instances[0].issue(CLIENT).value)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "someone-else"},
        {"iss": None},
        {"aud": "d1-gateway"},
        {"aud": None},
        {"sub": "another-client"},
        {"sub": None},
        {"sub": ["d1-client"]},
        {"exp": None},
        {"exp": 1_699_999_999},
        {"exp": "tomorrow"},
        {"nbf": 1_700_000_060},
        {"iat": 1_700_000_060},
        {"scope": None},
        {"scope": "history"},
        {"scope": "notify"},
        {"scope": "notify status-all"},
        {"scope": ["notify", "status"]},
    ],
    ids=str,
)
def test_a_token_with_other_claims_is_refused(changes: dict[str, Any]) -> None:
    ours = tokens()
    assert ours.client_of(signed())

    assert not ours.client_of(signed(claims(**changes)))


HEAD, PAYLOAD, SIGNATURE = signed().split(".")
FORGED: dict[str, str] = {
    "of another key": tokens(key=OTHER_KEY).issue(CLIENT).value,
    "of another key under our kid": signed(key=OTHER_KEY),
    "under another kid": signed(kid=OTHER_KEY.thumbprint()),
    "without a kid": signed(kid=None),
    "of another type": signed(typ="JWT"),
    "without a type": signed(typ=None),
    "that brings its own key": signed(key=OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False)),
    "that brings its own key without a kid": signed(key=OTHER_KEY, jwk=OTHER_KEY.as_dict(private=False), kid=None),
    "whose claims were changed": f"{HEAD}.{segment(claims(exp=1_800_000_000))}.{SIGNATURE}",
    "with another signature": f"{HEAD}.{PAYLOAD}.{'A' * len(SIGNATURE)}",
    "cut short": signed()[:-1],
    "twice": f"{signed()} {signed()}",
    "whose parameters have wrong types": f"{segment({'alg': 'ES256', 'crit': 5})}.{PAYLOAD}.{SIGNATURE}",
    "with the public key in PEM as a shared secret": with_shared_secret(KEY.as_pem(private=False)),
    "with the public key in DER as a shared secret": with_shared_secret(KEY.as_der(private=False)),
    "with the public JWK as a shared secret": with_shared_secret(json.dumps(KEY.as_dict(private=False)).encode()),
    **{f"{text[:6]!a}": text for text in ("", ".", "..", "...", "a.b.c", "a" * 100_000, "\udcff", "é.é.é", "\x00")},
    **{f"unsigned, alg {algorithm}": unsigned(algorithm) for algorithm in ("none", "None", "NONE", "ES256")},
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_refused(token: str) -> None:
    assert not tokens().client_of(token)


@given(st.text(max_size=60) | st.text(alphabet="eyJhbGciOi.=_-{}", max_size=60))
def test_garbage_is_refused(garbage: str) -> None:
    assert not tokens().client_of(garbage)


@given(
    header=st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["ES256", "HS256", "none", "DEF", "b64"]),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(st.sampled_from(["alg", "b64", "crit", "enc", "jku", "kid", "typ", "zip"]), inner)
        ),
        max_leaves=5,
    )
)
def test_a_header_that_is_not_ours_is_refused(header: Any) -> None:
    assert not tokens().client_of(f"{segment(header)}.{PAYLOAD}.{SIGNATURE}")


def test_the_memory_of_verified_tokens_is_bounded() -> None:
    ours = tokens()

    for _ in range(300):
        assert ours.client_of(ours.issue(CLIENT).value)
        assert 1 <= len(ours._verified) <= 256


def test_a_client_is_known_by_its_id_and_its_secret() -> None:
    assert CLIENTS.named("d1-client") is CLIENT
    assert CLIENTS.named("issuers-client") is ISSUERS_CLIENT
    assert [CLIENTS.named(client_id) for client_id in ("another", "", "d\u00fc-client")] == [None] * 3
    assert CLIENT.has_secret("a secret")
    assert not any(map(CLIENT.has_secret, ("another secret", CLIENT.secret_sha256, "", "\u00e4 secret")))


def test_an_issuer_has_its_own_client_or_the_common_one() -> None:
    assert [CLIENTS.of_issuer(issuer_id) for issuer_id in ("ISSUER0001", "ISSUER0002", "")] == [
        CLIENT,
        ISSUERS_CLIENT,
        CLIENT,
    ]
    assert OAuthClients(ISSUERS_CLIENT).of_issuer("ISSUER0001") is None


def test_a_token_tells_which_client_it_was_issued_to_and_has_that_ones_scope() -> None:
    ours = tokens()
    for client in (CLIENT, ISSUERS_CLIENT):
        assert ours.client_of(ours.issue(client).value) is client
    assert ours.client_of(signed(claims(sub="issuers-client", scope="notify"))) is ISSUERS_CLIENT
    assert ours.client_of(signed(claims(scope="notify"))) is None
