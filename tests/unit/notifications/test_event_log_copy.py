import pytest

from gateway.errors import GatewayError
from gateway.notifications.copy import Progress
from gateway.ports import StoredSubscription
from tests.fakes import ISSUER
from tests.unit.notifications.event_log_copies import FakeSide, broken_off, card_event, copied


@pytest.fixture
def source() -> FakeSide:
    return FakeSide("aaaaaaaa")


@pytest.fixture
def target() -> FakeSide:
    return FakeSide("bbbbbbbb")


async def test_everything_is_copied_as_it_is_and_in_its_order(source: FakeSide, target: FakeSide) -> None:
    source.put(5, 3, 9, 1, 7, 2, 8)

    result = await copied(source, target)

    assert [stored.event for stored in target.log.held] == [stored.event for stored in source.log.held]
    assert result.progress == Progress(expected=7, copied=7)
    assert (result.subscriptions, result.behind, result.is_exact, result.newer) == (0, [], True, 0)


async def test_a_damaged_notification_is_left_out_and_named_and_the_others_keep_their_places(
    source: FakeSide, target: FakeSide
) -> None:
    source.put(*range(1, 10))
    source.log.damaged |= {1: False, 5: True}
    await source.commit(before=0, at=4, behind=7, end=9)

    result = await copied(source, target)

    assert target.numbers == [2, 3, 4, 6, 7, 8, 9]
    assert (result.damaged, result.is_exact) == ([1, 5], True)
    left = {name: target.left(name) for name in ("before", "at", "behind", "end")}
    assert left == {"before": [2, 3, 4, 6, 7, 8, 9], "at": [6, 7, 8, 9], "behind": [8, 9], "end": []}


async def test_an_empty_log_is_copied_with_its_subscriptions(source: FakeSide, target: FakeSide) -> None:
    await source.commit(fraud=0)

    result = await copied(source, target)

    assert result.progress == Progress(expected=0)
    assert target.log.subscriptions[ISSUER, "fraud"] == StoredSubscription(ISSUER, "fraud", 0, 7_000)


@pytest.mark.parametrize("committed", range(15))
async def test_a_subscription_goes_on_where_it_committed(source: FakeSide, target: FakeSide, committed: int) -> None:
    source.put(1, 2, 3, gap=2)  # At 3, 4, 5.
    source.put(4, 5, 6, 7, gap=5)  # At 11 to 14.
    await source.commit(fraud=committed)

    result = await copied(source, target)

    assert target.left("fraud") == source.left("fraud")
    assert target.log.subscriptions[ISSUER, "fraud"].commit_time_ms == 7_000 + committed
    assert (result.subscriptions, result.is_exact) == (1, True)


async def test_a_cursor_is_that_of_the_last_notification_that_was_committed(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(10, 20), gap=40)
    await source.commit(first=41, middle=45, last=50)

    await copied(source, target)

    committed = {name: each.committed for (_, name), each in target.log.subscriptions.items()}
    assert committed == {"first": 1, "middle": 5, "last": 10}


async def test_the_subscriptions_of_all_issuers_are_copied(source: FakeSide, target: FakeSide) -> None:
    source.put(1, 2)
    for issuer_id in (ISSUER, "ISSUER0002"):
        await source.log.commit(issuer_id, "fraud", 1, 5_000)

    assert (await copied(source, target)).subscriptions == 2

    assert target.log.subscriptions == source.log.subscriptions


@pytest.mark.parametrize(
    ("trimmed", "keep_from_ms", "progress"),
    [
        pytest.param(4, None, Progress(expected=6, copied=6), id="trimmed"),
        # Taken at 1000, 2000 ...
        pytest.param(0, 5_000, Progress(expected=10, copied=6, too_old=4), id="too old for the target"),
    ],
)
async def test_what_is_not_to_be_copied_counts_as_committed_and_is_reported(
    source: FakeSide, target: FakeSide, trimmed: int, keep_from_ms: int | None, progress: Progress
) -> None:
    source.put(*range(1, 11))
    await source.commit(late=2, right=4, early=7)
    source.log.trim(trimmed)

    result = await copied(source, target, keep_from_ms=keep_from_ms)

    assert target.numbers == [5, 6, 7, 8, 9, 10]
    assert (target.left("late"), target.left("right")) == (target.numbers, target.numbers)
    assert target.left("early") == [8, 9, 10]
    assert [each.name for each in result.behind] == ["late"]
    assert (result.progress, result.is_exact) == (progress, True)


async def test_a_second_copy_does_nothing_and_looks_at_nothing_again(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await source.commit(fraud=4)
    await copied(source, target)
    held, subscriptions = list(target.log.held), dict(target.log.subscriptions)
    source.log.reads_from.clear()

    result = await copied(source, target)

    assert result.progress == Progress(expected=0, earlier=10)
    assert (target.log.held, target.log.subscriptions) == (held, subscriptions)
    assert source.log.reads_from == [4], "the place of the cursor alone"


async def test_a_later_copy_brings_what_is_new_and_moves_cursors_on(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await source.commit(fraud=4, risk=10)
    await copied(source, target)
    source.put(11, 12)
    await source.commit(fraud=9, risk=11)

    result = await copied(source, target)

    assert result.progress == Progress(expected=2, copied=2, earlier=10)
    assert target.numbers == source.numbers
    assert (target.left("fraud"), target.left("risk")) == ([10, 11, 12], [12])


@pytest.mark.parametrize(("after", "committed"), [(10, 8), (7, 6)])
async def test_a_cursor_that_has_moved_on_in_the_target_is_not_moved_back(
    source: FakeSide, target: FakeSide, after: int, committed: int
) -> None:
    source.put(*range(1, 11))
    await source.commit(fraud=4)
    await broken_off(source, target, after)
    await target.commit(fraud=committed)

    await copied(source, target)

    assert target.left("fraud") == list(range(committed + 1, 11))


@pytest.mark.parametrize("after", range(10))
async def test_a_copy_broken_off_goes_on_and_ends_like_any_other(
    source: FakeSide, target: FakeSide, after: int
) -> None:
    source.put(*range(1, 11))
    await source.commit(fraud=4, risk=10, new=0)
    await broken_off(source, target, after)
    source.log.reads_from.clear()

    result = await copied(source, target)

    # In batches of three: what was stored of the last one is looked at again.
    assert source.log.reads_from[0] == after - after % 3
    undisturbed = FakeSide("cccccccc")
    await copied(source, undisturbed)
    assert target.log.held == undisturbed.log.held
    assert target.log.subscriptions == undisturbed.log.subscriptions
    assert result.is_exact
    assert result.progress.copied == 10 - after


async def test_a_failure_of_the_source_is_raised_and_what_was_copied_stays(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    target.log.on_append = lambda: source.log.fail() if len(target.log.held) == 6 else None

    with pytest.raises(GatewayError):
        await copied(source, target)

    assert target.numbers == [1, 2, 3, 4, 5, 6]


async def test_what_the_target_has_already_is_not_stored_again(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    target.put(*range(1, 8))
    await source.commit(fraud=4, risk=9)

    result = await copied(source, target)

    assert target.numbers == list(range(1, 11))
    assert result.progress == Progress(expected=10, copied=3, present=7)
    assert result.is_exact
    assert (target.left("fraud"), target.left("risk")) == ([5, 6, 7, 8, 9, 10], [10])


@pytest.mark.parametrize(
    ("held", "last", "committed", "numbers"),
    [
        pytest.param(100, 5, 4, [100, 1, 2, 3, 4, 5], id="something else"),
        pytest.param(5, 7, 3, [5, 1, 2, 3, 4, 6, 7], id="something out of its order"),
    ],
)
async def test_no_cursor_passes_over_what_the_target_had_taken_before(
    source: FakeSide, target: FakeSide, held: int, last: int, committed: int, numbers: list[int]
) -> None:
    target.put(held)
    source.put(*range(1, last + 1))
    await source.commit(fraud=committed)

    result = await copied(source, target)

    assert target.numbers == numbers
    assert not result.is_exact
    assert target.left("fraud") == numbers


async def test_no_cursor_passes_over_what_the_target_takes_meanwhile(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await source.commit(early=2, fraud=8)
    target.log.on_append = lambda: target.put(100) if target.numbers[-1] == 4 else None

    result = await copied(source, target)

    assert target.numbers == [1, 2, 3, 4, 100, 5, 6, 7, 8, 9, 10]
    assert not result.is_exact
    assert target.left("early") == target.numbers[2:]
    assert target.left("fraud") == target.numbers[4:]


async def test_what_the_target_takes_afterwards_is_behind_every_cursor(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await copied(source, target)
    target.put(100, 101)
    await source.commit(fraud=8, risk=10)

    result = await copied(source, target)

    assert result.is_exact
    assert (target.left("fraud"), target.left("risk")) == ([9, 10, 100, 101], [100, 101])


@pytest.mark.parametrize(("committed", "left"), [(3, [4, 5, 9, 10]), (5, [9, 10]), (6, [9, 10]), (9, [10])])
async def test_what_has_become_too_old_since_is_left_out_of_a_later_copy(
    source: FakeSide, target: FakeSide, committed: int, left: list[int]
) -> None:
    source.put(*range(1, 6))
    await copied(source, target)
    source.put(*range(6, 11))
    await source.commit(fraud=committed)

    result = await copied(source, target, keep_from_ms=9_000)

    assert result.progress == Progress(expected=5, copied=2, too_old=3, earlier=5)
    assert target.left("fraud") == left


async def test_what_the_source_got_again_and_the_target_has_is_not_copied(source: FakeSide, target: FakeSide) -> None:
    source.put(1, 2, 3)
    await copied(source, target)
    source.log.trim(1)
    source.put(1)
    await source.commit(fraud=2, risk=3, all=4)

    await copied(source, target)

    assert target.numbers == [1, 2, 3]
    assert (target.left("fraud"), target.left("risk"), target.left("all")) == ([3], [], [])


async def test_copies_to_and_fro_stay_exact(source: FakeSide, target: FakeSide) -> None:
    sides = [source, target]
    for turn in range(6):
        here, there = sides[turn % 2], sides[(turn + 1) % 2]
        here.put(*range(turn * 20, turn * 20 + 20))
        await here.commit(fraud=turn * 20 + 13)

        result = await copied(here, there)

        assert (result.is_exact, result.progress) == (True, Progress(expected=20, copied=20, earlier=turn * 20))
        assert there.numbers == list(range(turn * 20 + 20))
        assert there.left("fraud") == here.left("fraud") == list(range(turn * 20 + 13, turn * 20 + 20))


async def test_what_the_old_log_took_after_it_was_left_is_not_passed_over(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 6))
    await copied(source, target)
    source.put(100)
    target.put(6, 7)
    await target.commit(fraud=7)

    result = await copied(target, source)

    assert source.numbers == [1, 2, 3, 4, 5, 100, 6, 7]
    assert not result.is_exact
    assert source.left("fraud") == [100, 6, 7]


async def test_what_the_source_takes_meanwhile_waits_for_the_next_copy(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 8))
    target.log.on_append = lambda: source.put(100 + len(target.log.held)) if len(target.log.held) < 8 else None
    await source.commit(fraud=7)

    result = await copied(source, target)

    assert target.numbers == list(range(1, 8))
    assert result.newer == 7
    assert target.left("fraud") == []

    result = await copied(source, target)
    assert (target.numbers, result.newer) == (source.numbers, 0)
    assert target.left("fraud") == source.left("fraud")


async def test_what_the_target_has_trimmed_since_is_not_brought_again(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await source.commit(fraud=2)
    await copied(source, target)
    target.log.trim(5)
    await source.commit(new=3)

    await copied(source, target)

    assert target.numbers == [6, 7, 8, 9, 10]
    assert target.log.subscriptions[ISSUER, "fraud"].committed == 2, "its watcher is to be told that it missed some"
    assert target.log.subscriptions[ISSUER, "new"].committed == 5, "it is nobody who missed some"


async def test_what_came_again_after_a_trim_is_not_taken_for_its_old_place(source: FakeSide, target: FakeSide) -> None:
    source.put(1, 2)
    await source.commit(fraud=0)
    await copied(source, target)
    source.log.trim(1)
    source.put(3, 1)

    await copied(target, source)

    assert source.left("fraud") == [2, 3, 1]


async def test_a_copy_back_goes_on_only_where_both_logs_were_the_same(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 8))
    target.log.on_append = lambda: target.put(100) if target.numbers[-1] == 2 else None
    await copied(source, target)
    assert target.numbers == [1, 2, 100, 3, 4, 5, 6, 7]
    await target.commit(fraud=3, risk=4)

    result = await copied(target, source)

    assert source.numbers == [1, 2, 3, 4, 5, 6, 7, 100]
    assert not result.is_exact
    assert (source.left("fraud"), source.left("risk")) == ([3, 4, 5, 6, 7, 100], [3, 4, 5, 6, 7, 100])


async def test_a_log_that_was_put_back_from_a_backup_is_looked_at_again(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    await copied(source, target)
    restored = FakeSide(source.log.log_id)
    restored.put(*range(1, 7), 50)

    result = await copied(restored, target)

    assert result.progress == Progress(expected=7, copied=1, present=6)
    assert target.numbers == [*range(1, 11), 50]


async def test_a_log_made_anew_beside_the_same_store_gets_everything(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 6))
    await copied(source, target)
    anew = FakeSide("cccccccc")
    anew.key_value_store = target.key_value_store

    assert (await copied(source, anew)).progress.copied == 5


async def test_progress_is_reported_from_the_beginning_to_the_end(source: FakeSide, target: FakeSide) -> None:
    source.put(*range(1, 11))
    target.put(1, 2)
    reported: list[Progress] = []

    await copied(source, target, reported=reported)

    assert [each.seen for each in reported] == [0, 3, 6, 9, 10]
    assert {each.expected for each in reported} == {10}
    assert reported[-1] == Progress(expected=10, copied=8, present=2)


async def test_events_of_every_kind_and_issuer_are_found_again(source: FakeSide, target: FakeSide) -> None:
    # The same operation of the same card, at another issuer and as another kind.
    for event in (
        card_event(1),
        card_event(1)._replace(issuer_id="ISSUER0002"),
        card_event(1)._replace(kind=2),
        card_event(1)._replace(subject_id="card-x"),
    ):
        source.log.put(event)
    await source.commit(a=0, b=1, c=2, d=3, e=4)

    await copied(source, target)

    committed = {name: each.committed for (_, name), each in target.log.subscriptions.items()}
    assert committed == {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
