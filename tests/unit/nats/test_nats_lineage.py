"""Sequences of a log that has had several identities."""

from adapters.nats.jetstream.lineage import Lineage


def test_a_place_of_a_former_log_counts_as_far_as_all_logs_since_are_the_same() -> None:
    first = Lineage.new()
    second = first.renewed(20)
    third = second.renewed(11)

    assert second.translate(first.log_id, 25) == 20
    assert [third.translate(first.log_id, place) for place in (5, 11, 15, 25)] == [5, 11, 11, 11]
    assert third.translate(second.log_id, 30) == 11
    assert third.translate(third.log_id, 30) == 30
    assert third.translate("00000000", 30) == 0


def test_a_lineage_is_read_as_it_was_written() -> None:
    first = Lineage.new()
    third = first.renewed(20).renewed(30)

    assert Lineage.of({"metadata": third.metadata() | {"other": "x"}}) == third
    assert third.former[first.log_id] == 20
    assert third.succeeds(first)
    assert not first.succeeds(third)
    assert Lineage.of({}).log_id == ""
