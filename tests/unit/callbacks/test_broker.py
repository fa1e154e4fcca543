"""Which handler gets a callback request, and how it ends: the rules one at a time, as a reader looks for them.

``test_broker_random.py`` checks that they hold in every mixture, to the last tie and rounding; what handlers and those
who ask see of them, over any bus, is in ``tests/conformance/test_callback_bus.py``.
"""

import pytest

from gateway.callbacks.broker import Topic, kind_of
from gateway.ports import Attempts, CallbackOutcome
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import (
    ACCEPTED,
    ALREADY_ANSWERED,
    INVALID,
    LATE,
    NOT_REGISTERED,
    UNKNOWN_TOKEN,
    CallbackRegistry,
)
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_refusal, a_reply

NO_HANDLER = CallbackOutcome.NO_HANDLER


@pytest.fixture
def registry() -> CallbackRegistry:
    return CallbackRegistry()


def test_a_callback_goes_to_the_handler_with_the_fewest_unanswered_ones_and_equals_take_turns(
    registry: CallbackRegistry,
) -> None:
    handler, other = registry.connect(), registry.connect()
    for name in "1234":
        registry.ask(name)
    for place in (0, 1):
        handler.reply(place)

    registry.ask("5")
    registry.ask("6")

    assert (handler.asked, other.asked) == (["1", "3", "5", "6"], ["2", "4"])


def test_a_free_place_goes_to_the_most_urgent_callback_of_all_kinds(registry: CallbackRegistry) -> None:
    registry.ask("unhurried", 8.0)
    registry.ask("urgent", 2.0, topic=TOPICS[1])
    registry.ask("most urgent", 1.0)

    handler = registry.connect(max_in_flight=2)
    assert handler.asked == ["most urgent", "urgent"]
    handler.reply()

    assert handler.asked == ["most urgent", "urgent", "unhurried"]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_at_half_of_the_time_that_is_left_another_handler_gets_it_if_it_may_and_any_of_them_may_reply(
    registry: CallbackRegistry, most: int
) -> None:
    handlers = [registry.connect() for _ in range(4)]
    registry.ask(seconds=8.0, attempts=Attempts(if_slow=most))

    for when, count in ((1003.999, 1), (1004.0, 2), (1006.0, 3), (1007.5, 3)):
        registry.clock.run_until(when)
        had_it = min(count, most)
        assert [handler.asked for handler in handlers] == [["q"]] * had_it + [[]] * (4 - had_it)

    outcomes = [handler.reply() for handler in handlers[:most]]
    assert outcomes == [ACCEPTED, *[ALREADY_ANSWERED] * (most - 1)]
    registry.assert_nothing_is_left()


@pytest.mark.parametrize(("seconds", "asked"), [(0.5, ["q"]), (0.375, [])])
def test_nobody_else_gets_it_because_a_handler_takes_too_long_if_there_is_next_to_no_time(
    registry: CallbackRegistry, seconds: float, asked: list[str]
) -> None:
    registry.connect()
    other = registry.connect()
    registry.ask(seconds=seconds)

    registry.clock.run_for(seconds)

    assert other.asked == asked


def test_a_handler_that_disconnects_is_replaced_however_little_time_there_is(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0, attempts=Attempts())
    registry.clock.run_until(1007.875)
    handler.leave()
    registry.clock.run_until(1007.9375)

    assert registry.connect().asked == ["q"]


def test_no_more_handlers_get_a_callback_at_which_they_die_than_may(registry: CallbackRegistry) -> None:
    registry.ask(seconds=8.0, attempts=Attempts(most=3))
    handlers = [registry.connect() for _ in range(30)]

    for handler in handlers:
        if handler.asked:
            handler.leave()

    assert [handler.requests[0].attempt for handler in handlers if handler.asked] == [1, 2, 3]
    assert registry.ended == {}, "one of them may have reconnected, and still reply"
    registry.clock.run_for(8)
    assert registry.ended == {"q": CallbackOutcome.EXHAUSTED}
    registry.assert_nothing_is_left()


def test_slowness_and_death_make_no_more_attempts_together_than_may_be(registry: CallbackRegistry) -> None:
    slow, dies, last, other = (registry.connect() for _ in range(4))
    registry.ask(seconds=8.0, attempts=Attempts(most=3, if_slow=2))
    registry.clock.run_for(4)
    dies.leave()
    last.leave()

    assert [len(handler.asked) for handler in (slow, dies, last, other)] == [1, 1, 1, 0]
    assert slow.reply() == ACCEPTED


def test_who_had_a_callback_may_reply_over_a_new_stream_though_no_further_handler_gets_it(
    registry: CallbackRegistry,
) -> None:
    handler = registry.connect()
    registry.ask(attempts=Attempts(most=1))
    handler.leave()
    again = registry.connect()

    assert again.asked == []
    assert again.say(a_reply(handler.token())) == ACCEPTED


def test_what_does_not_wait_for_a_handler_ends_when_no_further_one_may_get_it(registry: CallbackRegistry) -> None:
    slow, other, _ = (registry.connect() for _ in range(3))
    registry.ask(seconds=8.0, attempts=Attempts(most=2, if_slow=2), wait_for_handler=False)
    registry.clock.run_for(4)
    other.leave()
    assert registry.ended == {}, "one still has it"

    slow.leave()

    assert registry.ended == {"q": CallbackOutcome.EXHAUSTED}
    registry.assert_nothing_is_left()


def test_who_leaves_before_reading_a_callback_is_not_one_of_its_attempts(registry: CallbackRegistry) -> None:
    registry.ask(seconds=8.0, attempts=Attempts(most=1))
    for _ in range(5):
        handler = registry.connect()
        handler.is_reading = False
        assert [request.attempt for request in handler.requests] == [1]
        handler.drain()
        handler.leave()
    registry.clock.run_for(7)

    assert registry.connect().reply() == ACCEPTED


def test_a_callback_that_nobody_read_ends_as_one_that_no_handler_had(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    handler.is_reading = False
    registry.ask(seconds=8.0)
    handler.leave()

    registry.clock.run_for(8)

    assert registry.ended == {"q": NO_HANDLER}


def test_a_handler_that_took_too_long_comes_after_the_others_until_it_replies(registry: CallbackRegistry) -> None:
    slow = registry.connect()
    registry.ask("slow", 8.0)
    prompt = registry.connect()
    registry.clock.run_for(4)
    assert (slow.asked, prompt.asked) == (["slow"], ["slow"])

    registry.ask("1")
    assert prompt.asked == ["slow", "1"]
    slow.reply()
    registry.ask("2")
    assert slow.asked == ["slow", "2"]


def test_the_time_left_for_a_callback_is_updated_until_it_is_over(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    (request,) = handler.requests

    registry.clock.run_for(3)
    assert registry.broker.refresh(request)
    assert request.time_left.ToMilliseconds() == 5000
    for pass_until in (registry.clock.stall_until, registry.clock.run_until):
        pass_until(1008.0)
        assert not registry.broker.refresh(request)


def test_who_replies_learns_whether_the_reply_counts(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("first")
    registry.ask("second")
    reply = a_reply(handler.token())

    assert handler.say(a_reply(reply.token, "authenticate")) == INVALID
    assert handler.asked == ["first"], "it stays open, and takes its place"
    assert handler.say(reply) == ACCEPTED
    assert registry.ended["first"] is reply
    assert handler.say(a_reply(reply.token)) == ALREADY_ANSWERED
    assert handler.asked == ["first", "second"]


@pytest.mark.parametrize("topics", [TOPICS[1:2], TOPICS[2:3]], ids=["another kind", "another issuer"])
def test_a_reply_counts_over_any_stream_that_is_registered_for_it_and_over_no_other(
    registry: CallbackRegistry, topics: tuple[Topic, ...]
) -> None:
    handler, stranger = registry.connect(max_in_flight=1), registry.connect(topics=topics)
    registry.ask("q")
    registry.ask("waits")

    assert stranger.say(a_reply(handler.token())) == NOT_REGISTERED
    assert stranger.say(a_refusal(handler.token())) == NOT_REGISTERED
    assert (registry.ended, handler.asked) == ({}, ["q"]), "it stays open, and with its handler"
    assert registry.connect(topics=TOPICS[:1]).say(a_reply(handler.token())) == ACCEPTED
    assert stranger.say(a_reply(handler.token())) == ALREADY_ANSWERED


def test_a_reply_to_what_this_gateway_never_sent_is_unknown(registry: CallbackRegistry) -> None:
    handler, elsewhere = registry.connect(), CallbackRegistry()
    stranger = elsewhere.connect()
    registry.ask()
    elsewhere.ask()

    for token in ("never", stranger.token(), f"{handler.token()}="):
        assert handler.say(a_reply(token)) == UNKNOWN_TOKEN
    assert registry.ended == {}


@pytest.mark.parametrize("has_expired", [True, False])
def test_a_callback_ends_at_its_deadline_from_which_on_replies_are_late(
    registry: CallbackRegistry, *, has_expired: bool
) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1007.999)
    assert registry.ended == {}
    # An event loop that is busy learns of the reply before it ends what is due.
    (registry.clock.run_until if has_expired else registry.clock.stall_until)(1008.0)

    assert handler.reply() == LATE
    registry.clock.run_until(1008.0)
    assert registry.ended == {"q": CallbackOutcome.FALLBACK}
    registry.assert_nothing_is_left()


@pytest.mark.parametrize("is_reading", [True, False])
def test_what_nobody_waits_for_is_taken_back_from_handlers_that_do_not_work_on_it(
    registry: CallbackRegistry, *, is_reading: bool
) -> None:
    handler = registry.connect(max_in_flight=1)
    handler.is_reading = is_reading
    withdraw = registry.ask("1")
    registry.ask("2")

    withdraw()

    assert handler.asked == (["1"] if is_reading else ["1", "2"])
    assert handler.reply() == ALREADY_ANSWERED
    assert handler.asked == ["1", "2"]
    assert registry.ended == {}


def test_a_handler_that_has_not_read_what_another_one_answered_does_not_get_it(registry: CallbackRegistry) -> None:
    slow = registry.connect(max_in_flight=1)
    slow.is_reading = False
    registry.ask("1")
    prompt = registry.connect()
    registry.clock.run_for(4)

    assert prompt.reply() == ACCEPTED

    assert slow.withdrawn == [slow.token()]
    registry.assert_nothing_is_left()


def test_a_callback_that_does_not_wait_for_a_handler_ends_when_nobody_is_left_who_could_answer_it(
    registry: CallbackRegistry,
) -> None:
    registry.ask("0", wait_for_handler=False)
    assert registry.ended == {"0": NO_HANDLER}

    handler = registry.connect(max_in_flight=1)
    registry.ask("1", wait_for_handler=False)
    registry.ask("2", wait_for_handler=False)
    registry.ask("3", wait_for_handler=True)
    assert registry.ended == {"0": NO_HANDLER}, "it does wait for its room"

    handler.drain()
    assert registry.ended == {"0": NO_HANDLER, "2": NO_HANDLER}
    assert handler.reply() == ACCEPTED


def test_beyond_ten_thousand_open_callbacks_none_is_sent(registry: CallbackRegistry) -> None:
    for number in range(10_000):
        registry.ask(str(number))

    registry.ask("one too many")

    assert registry.ended == {"one too many": CallbackOutcome.FALLBACK}
    registry.clock.run_for(8)
    assert len(registry.ended) == 10_001
    registry.assert_nothing_is_left()


def test_a_callback_request_without_content_is_rejected() -> None:
    with pytest.raises(ValueError, match="without content"):
        kind_of(callback.CallbackRequest(issuer_id=ISSUER))
