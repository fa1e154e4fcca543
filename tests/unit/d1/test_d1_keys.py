"""The keys of an issuer: what is refused, and which of two is used when."""

import json
from collections.abc import Callable, Iterable
from typing import Literal

import pytest
from joserfc.jwk import ECKey, KeyParameters
from joserfc.util import urlsafe_b64decode

from adapters.d1.api import D1CardDataEncryption, EncryptionKey, IssuerKeys
from issuer.callback.v1 import replies_pb2
from issuer.common.v1 import card_data_pb2

_SWITCH = 1_800_000_000.0
_DETAILS = replies_pb2.CardDetails(
    credentials=card_data_pb2.CardCredentials(
        pan="4111111111111111", expiry=card_data_pb2.CardExpiry(month=3, year=2029)
    )
)


def key(
    kid: str = "a-kid", *, curve: str = "P-256", private: bool = True, use: Literal["sig", "enc"] | None = None
) -> ECKey:
    parameters: KeyParameters = {"kid": kid, "use": use} if use else {"kid": kid}
    generated = ECKey.generate_key(curve, parameters)
    return generated if private else ECKey.import_key(generated.as_dict(private=False))


def keys(
    assertion: Iterable[ECKey], encryption: Iterable[ECKey | EncryptionKey], clock: Callable[[], float] = lambda: 0.0
) -> IssuerKeys:
    recipients = [each if isinstance(each, EncryptionKey) else EncryptionKey(each) for each in encryption]
    return IssuerKeys(list(assertion), recipients, clock)


PRIVATE, PUBLIC = key(), key(private=False)
ON_P384 = key(curve="P-384", private=False)
ON_P521 = key(curve="P-521")


@pytest.mark.parametrize(
    ("assertion", "encryption", "mistake"),
    [
        ([], [PUBLIC], "needs at least one key"),
        ([PRIVATE], [], "needs at least one key"),
        ([ON_P521, PRIVATE], [PUBLIC], "assertion_keys: .* P-256, not on P-521"),
        ([PRIVATE, ON_P521], [PUBLIC], "assertion_keys: .* P-256, not on P-521"),
        ([PRIVATE], [ON_P384, PUBLIC], "d1_encryption_keys: .* not on P-384"),
        ([PRIVATE], [PUBLIC, ON_P384], "d1_encryption_keys: .* not on P-384"),
        # The wrong way round.
        ([PUBLIC], [PRIVATE], "assertion_keys: expected private keys"),
        ([PRIVATE], [PUBLIC, key("another")], "D1's public key"),
        ([ECKey.generate_key("P-256")], [PUBLIC], "assertion_keys: a key has no kid"),
        ([PRIVATE], [key(private=False, use="sig")], "not for the use 'enc'"),
        ([key(use="enc")], [PUBLIC], "not for the use 'sig'"),
        ([PRIVATE], [EncryptionKey(PUBLIC, _SWITCH)], r"no key is active before 2027-01-15T08:00:00\+00:00"),
    ],
)
def test_keys_that_could_not_be_used_are_refused(
    assertion: list[ECKey], encryption: list[ECKey | EncryptionKey], mistake: str
) -> None:
    with pytest.raises(ValueError, match=mistake):
        keys(assertion, encryption, lambda: _SWITCH - 1)


def test_keys_show_nothing_but_their_ids() -> None:
    shown = keys([key("one"), key("two")], [key("three", private=False)])

    assert repr(shown) == ("IssuerKeys(assertion_keys=[<kid 'one'>, <kid 'two'>], d1_encryption_keys=[<kid 'three'>])")


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_next_encryption_key_is_used_from_its_moment_on_and_not_before(*, newest_first: bool) -> None:
    encryption = [EncryptionKey(key("old", private=False)), EncryptionKey(key("new", private=False), _SWITCH)]
    if newest_first:
        encryption.reverse()
    times = [_SWITCH - 1, _SWITCH - 0.001, _SWITCH, _SWITCH + 1e6]
    # Read once when the keys are made, then once each time.
    clock = iter([0.0, *times])
    port = D1CardDataEncryption({"ISSUER0001": keys([key()], encryption, lambda: next(clock))})

    headers = [port.encrypt("ISSUER0001", _DETAILS).partition(".")[0] for _ in times]

    assert [json.loads(urlsafe_b64decode(header.encode()))["kid"] for header in headers] == ["old", "old", "new", "new"]


def test_of_two_keys_whose_times_have_come_the_later_is_used() -> None:
    encryption = [EncryptionKey(key("old", private=False), 5.0), EncryptionKey(key("new", private=False), 10.0)]

    assert keys([key()], encryption, lambda: 20.0).d1_encryption_key.kid == "new"


def test_a_clock_that_is_put_back_leaves_the_oldest_key_in_use() -> None:
    now = _SWITCH
    used = keys([key()], [EncryptionKey(key("only", private=False), _SWITCH)], lambda: now)
    now = 0.0

    assert used.d1_encryption_key.kid == "only"
