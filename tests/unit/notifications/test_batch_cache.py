from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.notifications import batch_encoding
from gateway.notifications.batch_cache import BatchCache, Selection
from gateway.notifications.filter import Predicate, predicate
from gateway.ports import StoredEvent
from issuer.notification.v1 import messages_pb2 as notification
from tests.fakes import ISSUER, an_event
from tests.unit.notifications.watches import only

LOG_ID = "0a1b2c3d"
ACTIVE = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE)


def everything() -> Predicate:
    return predicate(ISSUER, notification.NotificationFilter())


def stored(first: int, last: int, card: str = "card-a") -> list[StoredEvent]:
    return [StoredEvent(number, an_event(number, card_id=card)) for number in range(first, last + 1)]


def test_watchers_share_batches_if_they_want_the_same_position_filter_size_and_token() -> None:
    cache = BatchCache(LOG_ID)
    made = cache.make(0, Selection(everything(), 100, ACTIVE), stored(1, 3), 3)
    fenced = batch_encoding.watcher_fields(notification.WATCHER_ROLE_ACTIVE, 7)

    assert cache.find(0, Selection(everything(), 100, ACTIVE)) is made
    assert cache.find(1, Selection(everything(), 100, ACTIVE)) is None
    assert cache.find(0, Selection(only("card-a"), 100, ACTIVE)) is None
    assert cache.find(0, Selection(everything(), 99, ACTIVE)) is None
    assert cache.find(0, Selection(everything(), 100, fenced)) is None


def test_an_empty_read_is_not_cached_as_more_may_follow() -> None:
    cache = BatchCache(LOG_ID)

    cache.make(3, Selection(everything(), 100, ACTIVE), [], 3)

    assert cache.find(3, Selection(everything(), 100, ACTIVE)) is None


def test_old_batches_are_evicted_for_new_ones() -> None:
    cache = BatchCache(LOG_ID)
    wanted = Selection(everything(), 100, ACTIVE)

    for number in range(1, 101):
        cache.make(number - 1, wanted, stored(number, number), number)

    kept = [place for place in range(100) if cache.find(place, wanted)]
    assert kept == list(range(92, 100))


@given(cards=st.lists(st.sampled_from(["card-a", "card-b"]), max_size=40), most=st.integers(1, 7))
def test_batches_hold_in_order_what_is_wanted_and_their_cursors_join(cards: list[str], most: int) -> None:
    events = [StoredEvent(number, an_event(number, card_id=card)) for number, card in enumerate(cards, start=1)]
    through = len(events) + 2

    batches = BatchCache(LOG_ID).make(0, Selection(only("card-a"), most, ACTIVE), events, through)
    messages = [notification.WatchNotificationsResponse.FromString(each.content) for each in batches.batches]

    expected = [f"op-{number}" for number, card in enumerate(cards, start=1) if card == "card-a"]
    received = [[each.three_ds_operation.operation_id for each in message.notifications] for message in messages]
    places = [int(message.cursor.removeprefix(f"{LOG_ID}-")) for message in messages]
    assert [operation for batch in received for operation in batch] == expected
    assert [len(batch) for batch in received] == [message.size for message in batches.batches]
    assert all(1 <= len(batch) <= most for batch in received)
    assert all(before < after for before, after in pairwise(places))
    assert places[-1:] in ([], [through])
    assert batches.through == through
