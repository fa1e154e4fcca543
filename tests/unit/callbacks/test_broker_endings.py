"""How a callback ends, and the outcomes of replies; ``test_broker_random.py`` checks it all at once."""

from collections.abc import Callable

import pytest

from gateway.callbacks.broker import Topic, kind_of
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import (
    ACCEPTED,
    ALREADY_ANSWERED,
    INVALID,
    LATE,
    UNKNOWN_TOKEN,
    CallbackRegistry,
    Connected,
)
from tests.unit.callbacks.broker_samples import ISSUER, TOPICS, a_refusal, a_reply


@pytest.fixture
def registry() -> CallbackRegistry:
    return CallbackRegistry()


def test_the_first_reply_counts_and_a_second_one_does_not(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask()
    reply, other = a_reply(handler.token()), a_reply(handler.token())

    assert handler.say(reply) == ACCEPTED
    assert handler.say(other) == ALREADY_ANSWERED
    assert registry.ended["q"] is reply
    registry.assert_nothing_is_left()


def test_a_reply_just_before_the_deadline_counts(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    registry.clock.run_until(1007.999)

    assert handler.reply() == ACCEPTED


@pytest.mark.parametrize("has_expired", [True, False])
def test_a_reply_at_the_deadline_is_late_whether_or_not_the_callback_has_ended(
    registry: CallbackRegistry, *, has_expired: bool
) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0)
    (registry.clock.run_until if has_expired else registry.clock.stall_until)(1008.0)

    assert handler.reply() == LATE
    assert handler.say(a_reply(handler.token(), "authenticate")) == LATE
    registry.clock.run_until(1008.0)
    assert registry.ended == {"q": None}
    registry.assert_nothing_is_left()


def test_a_reply_to_what_this_gateway_never_sent_is_unknown(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    elsewhere = CallbackRegistry()
    stranger = elsewhere.connect()
    registry.ask()
    elsewhere.ask()

    assert handler.say(a_reply("never")) == UNKNOWN_TOKEN
    assert handler.say(a_reply(stranger.token())) == UNKNOWN_TOKEN
    assert handler.say(a_reply(f"{handler.token()}=")) == UNKNOWN_TOKEN
    assert registry.ended == {}


def test_a_reply_of_another_kind_is_invalid_and_the_callback_stays_open_and_in_its_place(
    registry: CallbackRegistry,
) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("first")
    registry.ask("second")
    token = handler.token()

    assert handler.say(a_reply(token, "authenticate")) == INVALID
    assert handler.asked == ["first"]
    assert handler.say(a_reply(token)) == ACCEPTED
    assert handler.asked == ["first", "second"]


@pytest.mark.parametrize("topic", TOPICS)
def test_a_refusal_counts_for_every_kind_and_nobody_else_gets_it(registry: CallbackRegistry, topic: Topic) -> None:
    handler = registry.connect()
    other = registry.connect()
    registry.ask(topic=topic)
    refusal = a_refusal(handler.token())

    assert handler.say(refusal) == ACCEPTED
    registry.clock.run_for(10)
    assert registry.ended["q"] is refusal
    assert other.questions == []


def test_a_reply_counts_over_whichever_stream_it_comes(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask()
    handler.leave()
    again = registry.connect()

    assert again.say(a_reply(handler.token())) == ACCEPTED
    assert again.asked == ["q"]
    registry.assert_nothing_is_left()


@pytest.mark.parametrize("is_connected", [True, False])
def test_without_a_reply_a_callback_ends_with_none_at_its_deadline(
    registry: CallbackRegistry, *, is_connected: bool
) -> None:
    if is_connected:
        registry.connect()
    registry.ask(seconds=8.0)

    registry.clock.run_until(1007.999)
    assert registry.ended == {}
    registry.clock.run_until(1008.0)
    assert registry.ended == {"q": None}
    registry.assert_nothing_is_left()


def test_a_handler_need_not_answer_what_is_out_of_time_and_has_room_for_something_else(
    registry: CallbackRegistry,
) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("1", 2.0)
    registry.ask("2", 8.0)

    registry.clock.run_for(2)

    assert handler.withdrawn == [handler.token()]
    assert handler.asked == ["1", "2"]


def test_after_a_stall_nothing_is_sent_that_is_out_of_time(registry: CallbackRegistry) -> None:
    registry.connect(max_in_flight=1)
    registry.ask("1", 2.0)
    registry.ask("2", 2.0)
    registry.clock.stall_until(1003.0)

    handler = registry.connect()
    registry.clock.run_until(1003.0)

    assert handler.questions == []
    assert registry.ended == {"1": None, "2": None}


def test_a_callback_that_does_not_wait_ends_at_once_if_nobody_serves_it(registry: CallbackRegistry) -> None:
    registry.connect(topics=TOPICS[1:])
    handler = registry.connect()
    handler.drain()

    registry.ask(wait_for_handler=False)

    assert registry.ended == {"q": None}
    registry.assert_nothing_is_left()


def test_a_callback_that_does_not_wait_for_a_handler_waits_for_its_room(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("1")
    registry.ask("2", wait_for_handler=False)

    handler.reply()

    assert handler.asked == ["1", "2"]


@pytest.mark.parametrize("leave", [Connected.drain, Connected.leave])
def test_a_callback_that_does_not_wait_ends_when_the_last_handler_leaves(
    registry: CallbackRegistry, leave: Callable[[Connected], None]
) -> None:
    handler = registry.connect(max_in_flight=1)
    registry.ask("1")
    registry.ask("2", wait_for_handler=False)
    registry.ask("3", wait_for_handler=True)

    leave(handler)

    assert registry.ended == {"2": None}


def test_a_draining_handler_may_still_answer_what_does_not_wait_for_another(registry: CallbackRegistry) -> None:
    handler = registry.connect()
    registry.ask(seconds=8.0, wait_for_handler=False)
    registry.clock.run_for(5)

    handler.drain()

    assert registry.ended == {}
    assert handler.reply() == ACCEPTED


def test_what_nobody_waits_for_any_more_is_forgotten_as_soon_as_no_handler_has_it(registry: CallbackRegistry) -> None:
    handler = registry.connect(max_in_flight=1)
    abandon_sent, abandon_waiting = registry.ask("1"), registry.ask("2")

    abandon_waiting()
    abandon_sent()
    assert registry.broker.size[0] == 1
    assert handler.reply() == ALREADY_ANSWERED

    assert handler.asked == ["1"]
    assert registry.ended == {}
    registry.assert_nothing_is_left()


def test_beyond_ten_thousand_open_callbacks_none_is_sent(registry: CallbackRegistry) -> None:
    for number in range(10_000):
        registry.ask(str(number))

    registry.ask("one too many")

    assert registry.ended == {"one too many": None}
    registry.clock.run_for(8)
    assert len(registry.ended) == 10_001
    registry.assert_nothing_is_left()


def test_a_callback_request_without_content_is_rejected() -> None:
    with pytest.raises(ValueError, match="without content"):
        kind_of(callback.Question(issuer_id=ISSUER))
