from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.notifications import cursor
from gateway.ports import LogBounds
from issuer.common.v1 import error_pb2

LOG_ID = "0a1b2c3d"
log_ids = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)
sequences = st.integers(0, 2**63 - 1)


@given(log_id=log_ids, sequence=sequences)
@example(log_id=LOG_ID, sequence=0)
def test_a_cursor_is_read_as_the_sequence_that_it_was_made_of(log_id: str, sequence: int) -> None:
    given = cursor.encode(log_id, sequence)

    assert cursor.parse(given, log_id, LogBounds(trimmed_through=0, last=sequence)) == sequence
    assert len(given) <= 64


@given(given=st.from_regex(r"[0-9a-fA-F]{7,9}.[-+0-9 \n]{0,20}") | st.text(max_size=40))
def test_a_text_is_a_cursor_only_if_it_is_the_very_one_that_the_log_gives_out(given: str) -> None:
    bounds = LogBounds(trimmed_through=0, last=2**63 - 1)
    with suppress(GatewayError):
        assert cursor.encode(LOG_ID, cursor.parse(given, LOG_ID, bounds)) == given


@pytest.mark.parametrize(
    "given",
    [
        *("", "7", "0a1b2c3d", "0a1b2c3d-", "0a1b2c3d--7", "0a1b2c3d-+7", "0a1b2c3d-07", "0a1b2c3d-7\n"),
        *(" 0a1b2c3d-7", "0a1b2c3d-\u0667", "0A1B2C3D-7"),
        *("ffffffff-7", "0a1b2c3d-11", "0a1b2c3d-99999999999999999999"),
    ],
)
def test_what_the_log_has_not_given_out_is_refused_and_named_only_if_it_is_a_cursor(given: str) -> None:
    with pytest.raises(GatewayError) as caught:
        cursor.parse(given, LOG_ID, LogBounds(trimmed_through=0, last=10))

    assert caught.value.reason == error_pb2.ERROR_REASON_CURSOR_UNKNOWN
    is_cursor = given in {"ffffffff-7", "0a1b2c3d-11"}
    begin = f"The cursor {given} is not from this event log, " if is_cursor else "This is not a cursor: "
    assert caught.value.message.startswith(begin)
