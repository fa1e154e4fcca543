"""Who gets a place among the edge's connections, and who loses one."""

import pytest

from gateway.edge.connection_places import ConnectionPlaces, FairPlaces, FairTurns, address_block
from gateway.edge.connection_refusals import Refusal

_FAMILIAR = {"F"}.__contains__


def test_a_newcomer_displaces_the_oldest_of_the_address_that_has_most() -> None:
    places: FairPlaces[str] = FairPlaces(6, _FAMILIAR)
    for holder, block in (("d1", "D"), ("b1", "B"), ("a1", "A"), ("a2", "A"), ("b2", "B"), ("a3", "A")):
        assert places.add(holder, block) is None
    assert places.add("a4", "A") == "a1"
    assert places.add("d2", "D") == "a2"


def test_where_all_addresses_have_as_many_the_oldest_of_all_is_displaced() -> None:
    places: FairPlaces[int] = FairPlaces(3, _FAMILIAR)
    displaced = [places.add(number, str(number)) for number in range(6)]
    assert displaced == [None, None, None, 0, 1, 2]


def test_however_often_others_come_back_an_address_keeps_its_share() -> None:
    places: FairPlaces[str] = FairPlaces(10, _FAMILIAR)
    for number in range(2):
        places.add(f"d{number}", "D")
    displaced = {places.add(f"{block} {number}", block) for number in range(100) for block in "ABC"}
    assert not {"d0", "d1"} & displaced


def test_a_place_that_is_free_again_is_taken_without_displacing_anybody() -> None:
    places: FairPlaces[str] = FairPlaces(2, _FAMILIAR)
    places.add("a", "A")
    places.add("b", "B")
    places.remove("a")
    places.remove("a")
    places.remove("unknown")
    assert places.add("c", "A") is None
    assert places.add("d", "A") == "c"


def test_next_is_the_oldest_of_an_address_that_has_fewest_places() -> None:
    turns: FairTurns[str] = FairTurns(10, _FAMILIAR)
    for holder, block in (("a1", "A"), ("a2", "A"), ("a3", "A"), ("b1", "B"), ("b2", "B"), ("d1", "D")):
        turns.add(holder, block)
    turns.remove("b1")
    assert [turns.next() for _ in range(3)] == ["b2", "d1", "a1"]
    # It has its turn, but still its place.
    turns.add("d2", "D")
    turns.remove("a2")
    turns.remove("a3")
    turns.add("a4", "A")
    turns.add("a5", "A")
    assert [turns.next() for _ in range(4)] == ["d2", "a4", "a5", None]


def test_who_is_displaced_has_no_turn() -> None:
    turns: FairTurns[str] = FairTurns(2, _FAMILIAR)
    for holder in ("a1", "a2", "a3"):
        displaced = turns.add(holder, "A")
    assert displaced == "a1"
    assert [turns.next() for _ in range(3)] == ["a2", "a3", None]


def test_a_familiar_address_may_have_a_quarter_of_all_places_more_than_others() -> None:
    places: FairPlaces[str] = FairPlaces(8, _FAMILIAR)
    for number in range(3):
        places.add(f"f{number}", "F")
    displaced = {places.add(f"{block} {number}", block) for number in range(100) for block in "ABCDE"}
    assert not {"f0", "f1", "f2"} & displaced
    # Each of the others has one, so the share is used up.
    assert places.add("f3", "F") == "f0"


def test_a_familiar_address_has_its_turn_before_strangers_until_it_has_a_quarter_more() -> None:
    turns: FairTurns[str] = FairTurns(8, _FAMILIAR)
    for holder, block in (("a1", "A"), ("f1", "F"), ("f2", "F"), ("f3", "F"), ("f4", "F")):
        turns.add(holder, block)
    assert [turns.next() for _ in range(2)] == ["a1", "f1"]
    turns.add("b1", "B")
    turns.remove("f1")
    turns.remove("f2")
    assert [turns.next() for _ in range(3)] == ["f3", "f4", "b1"]


def test_familiar_are_the_addresses_that_have_a_place_or_got_one_last() -> None:
    places = ConnectionPlaces(1000, 2)
    places.take(None)
    for number in range(256):
        places.take(str(number))
        places.free(str(number))
    assert all(places.is_familiar(str(number)) for number in range(256))
    assert not places.is_familiar("A")
    places.take("0")
    places.take("A")
    assert [places.is_familiar(block) for block in ("0", "1", "A")] == [True, False, True]


def test_a_connection_gets_no_place_beyond_the_number_of_all_or_the_share_of_its_address() -> None:
    places = ConnectionPlaces(4, 2)
    for block in ("A", "A", "B"):
        assert places.refusal(block) is None
        places.take(block)
    assert (places.refusal("A"), places.refusal("B"), places.refusal(None)) == (Refusal.SHARE, None, None)
    places.take(None)
    assert (places.refusal("A"), places.refusal("B"), places.refusal(None)) == (Refusal.FULL,) * 3
    places.free("A")
    assert places.refusal("A") is None
    assert places.taken_count == 3


def test_the_proxy_may_have_all_places() -> None:
    places = ConnectionPlaces(3, 1)
    for _ in range(3):
        assert places.refusal(None) is None
        places.take(None)


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%lo", "fe80::/64"),
        ("::1", "::/64"),
    ],
)
def test_an_ipv6_network_of_64_bits_counts_as_one_address(address: str, block: str) -> None:
    assert address_block(address) == block
