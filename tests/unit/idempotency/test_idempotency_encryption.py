from hashlib import blake2b, sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.idempotency.encryption import FINGERPRINT_BYTES, RecordCipher, UnreadableError
from gateway.idempotency.records import InFlight, Record, Replied, State, Undecided, decode, encode
from issuer.common.v1 import error_pb2
from issuer.common.v1.error_pb2 import ErrorDetail

KEY, OTHER_KEY = b"\x01" * 32, b"\x02" * 32
CIPHER = RecordCipher(KEY)

states = st.one_of(
    st.builds(InFlight, st.binary(min_size=16, max_size=16), st.floats(0, 1e11)),
    st.builds(Replied, st.binary()),
    st.builds(
        Undecided,
        st.text(),
        st.builds(
            ErrorDetail,
            reason=st.sampled_from(error_pb2.ErrorReason.values()[1:]),
            upstream=st.text(),
            upstream_status=st.integers(0, 999),
        ),
    ),
)
fingerprints = st.binary(min_size=FINGERPRINT_BYTES, max_size=FINGERPRINT_BYTES)


@given(fingerprints, states)
def test_what_is_sealed_is_read_as_it_was(fingerprint: bytes, state: State) -> None:
    record = Record(fingerprint, state)
    assert decode(CIPHER.decrypt("a", CIPHER.encrypt("a", encode(record)))) == record


@given(st.binary(max_size=100), st.integers(min_value=0), st.integers(1, 255))
def test_a_changed_byte_makes_it_unreadable(content: bytes, place: int, change: int) -> None:
    encrypted = bytearray(CIPHER.encrypt("a", content))
    encrypted[place % len(encrypted)] ^= change
    with pytest.raises(UnreadableError):
        CIPHER.decrypt("a", bytes(encrypted))


@pytest.mark.parametrize("length", range(30))
def test_what_breaks_off_is_unreadable(length: int) -> None:
    with pytest.raises(UnreadableError):
        CIPHER.decrypt("a", CIPHER.encrypt("a", b"content")[:length])


def test_what_was_sealed_for_an_entry_is_read_in_no_other_and_under_no_other_key() -> None:
    encrypted = CIPHER.encrypt("a", b"content")
    with pytest.raises(UnreadableError):
        CIPHER.decrypt("b", encrypted)
    with pytest.raises(UnreadableError):
        RecordCipher(OTHER_KEY).decrypt("a", encrypted)


def test_the_same_content_is_never_sealed_into_the_same_bytes() -> None:
    assert len({CIPHER.encrypt("a", b"content") for _ in range(100)}) == 100


def test_a_name_stands_for_its_words_in_their_order_and_says_nothing_of_them() -> None:
    words = [("a", "bc"), ("ab", "c"), ("abc",), ("abc", ""), ("", "abc"), ("c", "ab"), ('a","bc',)]
    names = {CIPHER.name(each) for each in words}
    assert len(names) == len(words)
    assert names == {CIPHER.name(each) for each in words}
    assert names.isdisjoint({RecordCipher(OTHER_KEY).name(each) for each in words})
    assert all(name.startswith("idempotency/") and len(name) == len("idempotency/") + 64 for name in names)


def test_a_fingerprint_cannot_be_made_without_the_key() -> None:
    content = b"4970101234567890"
    fingerprint = CIPHER.fingerprint(content)
    assert fingerprint == CIPHER.fingerprint(content)
    without_key = {sha256(content).digest(), blake2b(content, digest_size=32).digest()}
    other_keys = {RecordCipher(OTHER_KEY).fingerprint(content), blake2b(content, digest_size=32, key=KEY).digest()}
    assert fingerprint not in without_key | other_keys
    assert CIPHER.name([content.decode()]).removeprefix("idempotency/") != fingerprint.hex()


def undecided(reason: int) -> bytes:
    return encode(Record(bytes(32), Undecided("", ErrorDetail(reason=reason))))  # type: ignore[arg-type] # maybe unknown


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"r", b"x" + bytes(32), b"f" + bytes(32), b"f" + bytes(32 + 25)),
        *(b"u" + bytes(32), b"u" + bytes(32) + b"\xff", undecided(9_999)),
    ],
)
def test_a_record_that_this_version_does_not_know_is_unreadable(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        decode(content)
