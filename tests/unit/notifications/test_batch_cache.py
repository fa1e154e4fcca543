from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.notifications import batch_encoding
from gateway.notifications.batch_cache import BatchCache, Wanted
from gateway.notifications.filter import Predicate, predicate
from gateway.ports import StoredEvent
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, an_event

LOG_ID = "0a1b2c3d"
ACTIVE = batch_encoding.standing(notification.WATCHER_ROLE_ACTIVE)


def everything() -> Predicate:
    return predicate(ISSUER, notification.NotificationFilter())


def only(card: str) -> Predicate:
    return predicate(ISSUER, notification.NotificationFilter(card_ids=[card]))


def stored(first: int, last: int, card: str = "card-a") -> list[StoredEvent]:
    return [StoredEvent(number, an_event(number, card_id=card)) for number in range(first, last + 1)]


def parsed(content: bytes) -> notification.WatchNotificationsResponse:
    return notification.WatchNotificationsResponse.FromString(content)


def test_who_wants_the_same_from_the_same_place_finds_the_very_bytes_that_were_made_for_another() -> None:
    pages = BatchCache(LOG_ID)

    made = pages.make(0, Wanted(everything(), 100, ACTIVE), stored(1, 3), 3)
    found = pages.find(0, Wanted(everything(), 100, ACTIVE))

    assert found is made


def test_a_page_is_not_found_by_who_stands_elsewhere_or_wants_something_else() -> None:
    pages = BatchCache(LOG_ID)
    pages.make(0, Wanted(everything(), 100, ACTIVE), stored(1, 3), 3)
    fenced = batch_encoding.standing(notification.WATCHER_ROLE_ACTIVE, 7)

    assert pages.find(1, Wanted(everything(), 100, ACTIVE)) is None
    assert pages.find(0, Wanted(only("card-a"), 100, ACTIVE)) is None
    assert pages.find(0, Wanted(everything(), 99, ACTIVE)) is None
    assert pages.find(0, Wanted(everything(), 100, fenced)) is None


def test_a_page_of_nothing_is_not_kept_as_more_may_follow_its_place() -> None:
    pages = BatchCache(LOG_ID)

    pages.make(3, Wanted(everything(), 100, ACTIVE), [], 3)

    assert pages.find(3, Wanted(everything(), 100, ACTIVE)) is None


def test_a_page_tells_where_to_go_on_even_where_nothing_of_it_is_wanted() -> None:
    pages = BatchCache(LOG_ID)

    page = pages.make(0, Wanted(only("card-b"), 100, ACTIVE), stored(1, 3), 3)

    assert page.messages == []
    assert page.through == 3


def test_old_pages_are_given_up_for_new_ones() -> None:
    pages = BatchCache(LOG_ID)
    wanted = Wanted(everything(), 100, ACTIVE)

    for number in range(1, 101):
        pages.make(number - 1, wanted, stored(number, number), number)

    kept = [place for place in range(100) if pages.find(place, wanted)]
    assert kept == list(range(92, 100))


@given(cards=st.lists(st.sampled_from(["card-a", "card-b"]), max_size=40), most=st.integers(1, 7))
def test_the_messages_of_a_page_hold_in_order_what_is_wanted_and_their_cursors_join(
    cards: list[str], most: int
) -> None:
    events = [StoredEvent(number, an_event(number, card_id=card)) for number, card in enumerate(cards, start=1)]
    through = len(events) + 2

    page = BatchCache(LOG_ID).make(0, Wanted(only("card-a"), most, ACTIVE), events, through)
    messages = [parsed(message.content) for message in page.messages]

    expected = [f"op-{number}" for number, card in enumerate(cards, start=1) if card == "card-a"]
    received = [[each.three_ds_operation.operation_id for each in message.notifications] for message in messages]
    places = [int(message.cursor.removeprefix(f"{LOG_ID}-")) for message in messages]
    assert [operation for batch in received for operation in batch] == expected
    assert [len(batch) for batch in received] == [message.size for message in page.messages]
    assert all(1 <= len(batch) <= most for batch in received)
    assert all(before < after for before, after in pairwise(places))
    assert places[-1:] in ([], [through])
