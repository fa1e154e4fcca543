"""Pages of a history that changes between and during their reads."""

import re
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.errors import ErrorOutcome, GatewayError
from gateway.formats.page_tokens import PageTokens
from gateway.history.pagination import MAX_READ_SIZE, MAX_READS, Anchor, decode, encode, read_page
from gateway.ports import Call, HistoryPage
from issuer.common.v1 import error_pb2
from issuer.threeds.v1 import history_pb2, operation_pb2

ISSUER = "ISSUER0001"
CARD = "card-1"
CALL = Call(ISSUER, "correlation-1")


class Change(NamedTuple):
    """What happens to a history in a moment."""

    new: int = 0
    """How many operations arrive."""
    vanishing: int = 0
    """How many of the oldest vanish."""


class FakeOperationHistory:
    """A `gateway.ports.OperationHistory` of one card. Before and after each read, the next of its changes happens."""

    def __init__(self, count: int, changes: Iterable[Change] = ()) -> None:
        self.ids: list[str] = []
        """Newest first."""
        self.first_seen: list[str] | None = None
        """All that there was when it was first read."""
        self.reads: list[tuple[int, int]] = []
        """The offset and the limit of each."""
        self.tells_remaining = True
        """Else a page that is full is followed by one more, as far as it says."""
        self._changes: Iterator[Change] = iter(changes)
        self._made = 0
        self.change(Change(new=count))

    def change(self, change: Change) -> None:
        """Let operations arrive, and old ones vanish."""
        for _ in range(change.new):
            self._made += 1
            self.ids.insert(0, f"op-{self._made}")
        del self.ids[len(self.ids) - min(change.vanishing, len(self.ids)) :]

    def pass_time(self) -> None:
        """Let the next change happen, if there is one left."""
        self.change(next(self._changes, Change()))

    async def list_operations(self, card_id: str, offset: int, limit: int, call: Call) -> HistoryPage:
        assert (card_id, call.issuer_id) == (CARD, ISSUER)
        assert 1 <= limit <= 50
        self.pass_time()
        self.reads.append((offset, limit))
        if self.first_seen is None:
            self.first_seen = list(self.ids)
        listed = [operation_pb2.ThreeDSOperation(operation_id=each) for each in self.ids[offset : offset + limit]]
        remaining = max(0, len(self.ids) - offset - len(listed))
        page = HistoryPage(listed, remaining if self.tells_remaining else int(len(listed) == limit))
        self.pass_time()
        return page

    async def get_operation(self, card_id: str, operation_id: str, call: Call) -> operation_pb2.ThreeDSOperation:
        raise NotImplementedError  # Pages need lists alone.


# So many arrivals at most that the search for an anchor never has to end early.
counts = st.integers(0, 3) | st.integers(0, 40)
changes = st.lists(st.builds(Change, counts, counts), max_size=12)
sizes = st.lists(st.integers(1, 3) | st.integers(1, 50), min_size=1, max_size=5)
tellings = st.sampled_from(["tells", "does not tell"])
"""Whether the history tells how many operations remain."""
ids = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)


def tokens(issuer_id: str = ISSUER, card_id: str = CARD) -> PageTokens:
    return PageTokens("ListThreeDSOperations", ("caller", issuer_id, card_id))


async def page_of(
    history: FakeOperationHistory, size: int, token: str = ""
) -> history_pb2.ListThreeDSOperationsResponse:
    return await read_page(history, CARD, size, token, tokens(), CALL)


def ids_of(page: history_pb2.ListThreeDSOperationsResponse) -> list[str]:
    return [operation.operation_id for operation in page.operations]


def refused(token: str, issuer_id: str = ISSUER, card_id: str = CARD) -> ErrorOutcome:
    """Have a token refused, and return the outcome that is told."""
    with pytest.raises(GatewayError) as caught:
        decode(token, tokens(issuer_id, card_id))
    assert caught.value.reason == error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID
    assert [violation.field for violation in caught.value.violations] == ["page_token"]
    return caught.value.outcome


@settings(max_examples=300)
@given(st.integers(0, 130), sizes, changes, tellings)
@example(60, [50], [], "tells")
@example(4, [1], [Change(), Change(new=1)], "tells")
@example(4, [1], [Change(), Change(new=2)], "tells")
@example(4, [1], [Change(), Change(new=1), Change(), Change(), Change(new=1)], "tells")
@example(4, [2], [Change(), Change(vanishing=3)], "tells")
async def test_pages_leave_nothing_out_and_repeat_nothing_while_operations_come_and_go(
    count: int, sizes: list[int], changes: list[Change], telling: str
) -> None:
    history = FakeOperationHistory(count, changes)
    history.tells_remaining = telling == "tells"
    listed: list[str] = []
    token = ""
    for size in cycle(sizes):
        page = await page_of(history, size, token)
        token = page.next_page_token
        assert len(page.operations) <= size
        assert page.operations or not token
        assert bool(token) == (page.remaining_operation_count > 0)
        listed += ids_of(page)
        if not token:
            break
        history.pass_time()

    assert history.first_seen is not None
    assert listed == history.first_seen[: len(listed)]
    assert set(history.ids) & set(history.first_seen) <= set(listed)


async def test_a_history_that_stands_still_is_read_once_a_page() -> None:
    history = FakeOperationHistory(25)

    first = await page_of(history, 10)
    second = await page_of(history, 10, first.next_page_token)
    third = await page_of(history, 10, second.next_page_token)

    assert [ids_of(page)[0] for page in (first, second, third)] == ["op-25", "op-15", "op-5"]
    assert [len(page.operations) for page in (first, second, third)] == [10, 10, 5]
    assert [page.remaining_operation_count for page in (first, second, third)] == [15, 5, 0]
    assert third.next_page_token == ""
    assert history.reads == [(0, 10), (9, 11), (19, 11)]


async def test_a_page_of_the_largest_size_goes_on_with_one_less() -> None:
    history = FakeOperationHistory(100)

    first = await page_of(history, 50)
    second = await page_of(history, 50, first.next_page_token)

    assert (len(first.operations), len(second.operations)) == (50, 49)
    assert (second.operations[0].operation_id, second.remaining_operation_count) == ("op-50", 1)


async def test_the_same_token_gives_the_same_page_again() -> None:
    history = FakeOperationHistory(20)
    token = (await page_of(history, 5)).next_page_token

    before = ids_of(await page_of(history, 5, token))
    history.change(Change(new=120))

    assert ids_of(await page_of(history, 5, token)) == before


async def test_the_list_ends_where_its_last_operation_has_vanished() -> None:
    history = FakeOperationHistory(20)
    token = (await page_of(history, 5)).next_page_token
    history.change(Change(new=3, vanishing=16))

    assert await page_of(history, 5, token) == history_pb2.ListThreeDSOperationsResponse()


async def test_a_search_past_too_many_new_operations_ends_and_says_so() -> None:
    history = FakeOperationHistory(3)
    token = (await page_of(history, 1)).next_page_token
    history.change(Change(new=MAX_READS * MAX_READ_SIZE))

    with pytest.raises(GatewayError) as caught:
        await page_of(history, 1, token)

    assert caught.value.reason == error_pb2.ERROR_REASON_PAGE_TOKEN_INVALID
    assert caught.value.outcome == error_pb2.ERROR_OUTCOME_REJECTED
    assert len(history.reads) == 1 + MAX_READS


@given(ids, st.integers(0, 2**63), ids)
def test_a_token_is_read_back_as_it_was_written_and_keeps_its_contract(
    operation_id: str, offset: int, card_id: str
) -> None:
    anchor = Anchor(operation_id, offset)
    token = encode(anchor, tokens(card_id=card_id))

    assert decode(token, tokens(card_id=card_id)) == anchor
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,512}", token)


@given(st.data())
def test_a_token_with_one_character_changed_is_refused(data: st.DataObject) -> None:
    token = encode(Anchor("op-1", 9), tokens())
    place = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.characters(codec="utf-8").filter(lambda other: other != token[place]))

    refused(token[:place] + character + token[place + 1 :])


@given(st.data())
def test_a_token_with_a_piece_missing_or_added_is_refused(data: st.DataObject) -> None:
    token = encode(Anchor("op-1", 9), tokens())
    cut = data.draw(st.integers(0, len(token) - 1))

    refused(token[:cut])
    refused(token + data.draw(st.text("=A \n", min_size=1, max_size=4)))


@given(st.text(max_size=512))
@example("=")
@example("A")
@example("\xe9")
def test_a_text_that_is_no_token_is_refused(text: str) -> None:
    refused(text)
