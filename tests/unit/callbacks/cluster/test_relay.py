"""Callbacks between gateways, one thing at a time; ``test_cluster_random.py`` checks it all at once."""

import pytest

from d1gateway.peer.v1 import messages_pb2 as peer
from gateway.ports import Attempts, CallbackOutcome
from issuer.callback.v1 import messages_pb2 as callback
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, NOT_REGISTERED, UNKNOWN_TOKEN
from tests.unit.callbacks.broker_samples import TOPICS, a_reply, a_request
from tests.unit.callbacks.cluster.cluster_registry import Alliance, Connected

EXHAUSTED, FALLBACK, NO_HANDLER = CallbackOutcome.EXHAUSTED, CallbackOutcome.FALLBACK, CallbackOutcome.NO_HANDLER


def test_a_handler_sees_and_answers_a_callback_of_another_gateway_as_it_does_any_other(
    alliance: Alliance, there: Connected
) -> None:
    deciding, serving = alliance.gateways
    alliance.ask(0, "c-1", 8.0)

    (request,) = there.requests

    assert (request.issuer_id, request.correlation_id, request.attempt) == (TOPICS[0][0], "c-1", 1)
    assert request.deliver_otp == a_request().deliver_otp
    assert request.token.startswith(deciding.id)
    assert 7900 < request.time_left.ToMilliseconds() <= 8000
    # By the clock of the gateway that shows it, which is another one than that of the gateway that decides.
    assert abs(request.deadline.ToMilliseconds() / 1000 - (serving.time() + 1e9) - 8.0) < 0.2
    assert serving.relay.refresh(request)
    alliance.pass_by(3)
    assert serving.relay.refresh(request)
    assert 4700 < request.time_left.ToMilliseconds() <= 5000

    there.reply(a_reply(request.token))
    assert there.outcomes == [], "the gateway that began it decides"
    alliance.arrive()
    assert alliance.ended == {"c-1": a_reply(request.token)}
    assert there.outcomes == [ACCEPTED]
    alliance.assert_nothing_is_left()


def test_a_handler_elsewhere_gets_a_callback_once_none_here_has_room(alliance: Alliance) -> None:
    there, here = alliance.connect(1), alliance.connect(0, max_in_flight=4)

    for name in "12345":
        alliance.ask(0, name)

    assert (here.asked, there.asked) == (["1", "2", "3", "4"], ["5"])


def test_callback_requests_that_pass_between_gateways_are_counted_at_both(alliance: Alliance) -> None:
    deciding, serving = alliance.gateways
    alliance.connect(1)
    alliance.connect(0, max_in_flight=1)
    for name in "12":
        alliance.ask(0, name)

    counts = [(each.relay.relay_counts.sent, each.relay.relay_counts.received) for each in (deciding, serving)]
    assert counts == [(1, 0), (0, 1)]


def test_a_handler_elsewhere_goes_before_one_here_that_is_slow(alliance: Alliance) -> None:
    there, here = alliance.connect(1), alliance.connect(0)
    alliance.ask(0, "1", 2.0)
    alliance.pass_by(1.0)
    assert there.asked == ["1"]

    alliance.ask(0, "2")

    assert (here.asked, there.asked) == (["1"], ["1", "2"])


def test_a_handler_gets_no_more_than_it_takes_from_whichever_gateway_and_what_waits_is_sent_when_it_has_room() -> None:
    alliance = Alliance(3)
    handler = alliance.connect(2, max_in_flight=2)
    for name, gateway in (("own", 2), ("1", 0), ("2", 1), ("3", 0)):
        alliance.ask(gateway, name)
    assert handler.asked == ["own", "1"]

    handler.answer(0)
    assert len(handler.asked) == 3

    handler.answer(1)
    assert sorted(handler.asked) == ["1", "2", "3", "own"]
    assert {name for name, reply in alliance.ended.items() if isinstance(reply, callback.CallbackReply)} == {"own", "1"}


def test_a_callback_that_was_declined_is_not_sent_again_before_there_is_room(alliance: Alliance) -> None:
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own")
    alliance.ask(0, "q")
    alliance.pass_by(3)
    assert len(alliance.requests) == 1

    there.answer()

    assert len(alliance.requests) == 2
    assert there.asked == ["own", "q"]
    assert there.requests[-1].attempt == 1


@pytest.mark.parametrize("is_reading", [True, False])
def test_what_nobody_waits_for_is_taken_back_from_a_handler_elsewhere_unless_it_works_on_it(
    alliance: Alliance, *, is_reading: bool
) -> None:
    there = alliance.connect(1, max_in_flight=1)
    there.is_reading = is_reading
    withdraw = alliance.ask(0, "1")
    alliance.ask(1, "own")

    withdraw()
    alliance.arrive()

    assert there.withdrawn == [there.token(0)]
    assert there.asked == (["1"] if is_reading else ["1", "own"])
    there.answer(0)
    assert there.outcomes == [ALREADY_ANSWERED]
    assert there.asked == ["1", "own"]


def test_what_waits_for_a_handler_is_not_sent_to_one_elsewhere_once_nobody_waits_for_it(alliance: Alliance) -> None:
    withdraw = alliance.ask(0)
    withdraw()

    assert alliance.connect(1).asked == []
    alliance.assert_nothing_is_left()


def test_what_is_out_of_time_is_withdrawn_and_makes_room(alliance: Alliance) -> None:
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(0, "1", 2.0)
    alliance.ask(0, "2", 8.0)

    alliance.pass_by(2.0)

    assert set(there.withdrawn) == {there.token(0)}
    assert there.asked == ["1", "2"]
    assert alliance.ended == {"1": FALLBACK}


def test_a_callback_that_does_not_wait_ends_at_once_only_if_there_is_no_handler_anywhere(alliance: Alliance) -> None:
    alliance.ask(0, "1", wait_for_handler=False)
    assert alliance.ended == {"1": NO_HANDLER}

    there = alliance.connect(1)
    alliance.ask(0, "2", wait_for_handler=False)
    assert there.asked == ["2"]

    there.leave()
    alliance.arrive()
    assert alliance.ended == {"1": NO_HANDLER, "2": FALLBACK}


def test_a_callback_that_does_not_wait_ends_when_it_is_declined_and_nobody_is_left_who_could_take_it(
    alliance: Alliance,
) -> None:
    there = alliance.connect(1, max_in_flight=1)
    deciding, serving = alliance.gateways
    alliance.ask(1, "own")
    deciding.broker.begin(
        a_request(TOPICS[0], "q"), 8.0, lambda reply: alliance.ended.update(q=reply), wait_for_handler=False
    )
    # Both are on their way at once: that it drains, and the callback request.
    serving.relay.drain(there.session)

    alliance.arrive()

    assert alliance.ended == {"q": NO_HANDLER}


def test_a_handler_that_drains_gets_nothing_more_and_what_it_has_counts(alliance: Alliance, there: Connected) -> None:
    alliance.ask(0, "1")
    there.gateway.relay.drain(there.session)
    alliance.arrive()
    alliance.ask(0, "2")

    there.answer()

    assert (there.asked, there.outcomes) == (["1"], [ACCEPTED])


def test_what_a_handler_leaves_goes_to_another_gateway_at_once_and_its_reply_counts_over_any_stream_for_it() -> None:
    alliance = Alliance(3)
    first, second = alliance.connect(1), alliance.connect(2)
    alliance.ask(0)
    (left, other) = (first, second) if first.asked else (second, first)

    left.leave()
    alliance.arrive()

    assert other.asked == ["q"]
    assert other.requests[0].attempt == 2

    # Its gateway has said of neither that they are there.
    narrower, elsewhere = Connected(other.gateway, 16, TOPICS[1:]), Connected(other.gateway, 16, TOPICS[:1])
    narrower.reply(a_reply(left.token()))
    elsewhere.reply(a_reply(left.token()))
    alliance.arrive()
    assert (narrower.outcomes, elsewhere.outcomes) == ([NOT_REGISTERED], [ACCEPTED])
    assert alliance.ended == {"q": a_reply(left.token())}


def test_no_more_handlers_get_a_callback_than_may_at_all_gateways_together() -> None:
    alliance = Alliance(3)
    handlers = [alliance.connect(number % 3) for number in range(12)]
    alliance.ask(0, attempts=Attempts(most=4), wait_for_handler=False)

    dead: list[Connected] = []
    while dying := [handler for handler in handlers if handler.asked and handler not in dead]:
        for handler in dying:
            handler.leave()
        dead += dying
        alliance.arrive()

    assert sorted(handler.requests[0].attempt for handler in handlers if handler.asked) == [1, 2, 3, 4]
    assert alliance.ended == {"q": EXHAUSTED}
    alliance.assert_nothing_is_left()


def test_who_leaves_another_gateway_before_reading_a_callback_is_not_one_of_its_attempts(alliance: Alliance) -> None:
    for number in range(3):
        there = alliance.connect(1)
        there.is_reading = False
        if number == 0:
            alliance.ask(0, attempts=Attempts(most=1))
        assert [request.attempt for request in there.requests] == [1]
        there.leave()
        alliance.arrive()

    there = alliance.connect(1)
    there.answer()
    assert there.outcomes == [ACCEPTED]


def test_who_is_gone_when_a_callback_arrives_is_not_one_of_its_attempts_even_if_that_is_known_before_it_declines(
    alliance: Alliance, there: Connected
) -> None:
    deciding, serving = alliance.gateways
    there.leave()
    deciding.broker.begin(
        a_request(TOPICS[0], "q"), 8.0, lambda reply: alliance.ended.update(q=reply), attempts=Attempts(most=1)
    )
    gone = peer.Presence(number=2**32, sent_at_seconds=serving.time())
    deciding.relay.receive(peer.PeerMessage(sender=serving.id, presence=gone))
    assert len(alliance.requests) == 1
    alliance.arrive()

    assert alliance.connect(0).asked == ["q"]


def test_a_gateway_that_shuts_down_gets_nothing_more_and_is_idle_when_its_handlers_have_replied(
    alliance: Alliance, there: Connected
) -> None:
    alliance.ask(0, "1")
    there.gateway.relay.begin_drain()
    alliance.arrive()
    alliance.ask(0, "2")
    assert not there.gateway.relay.is_idle

    there.reply(a_reply(there.token()))
    assert not there.gateway.relay.is_idle
    alliance.arrive()

    assert there.asked == ["1"]
    assert there.outcomes == [ACCEPTED]
    assert there.gateway.relay.is_idle


def test_a_gateway_that_has_stopped_has_no_handlers_for_the_others(alliance: Alliance) -> None:
    alliance.connect(1)
    alliance.ask(0, "1", wait_for_handler=False)

    alliance.gateways[1].relay.stop()
    alliance.arrive()

    assert alliance.ended == {"1": FALLBACK}


def test_a_place_is_free_as_soon_as_there_is_a_reply_whatever_the_deciding_gateway_does(alliance: Alliance) -> None:
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(0, "1")
    alliance.ask(1, "own")
    alliance.gateways[0].die()

    there.reply(a_reply(there.token()))

    assert there.asked == ["1", "own"]


def test_a_token_of_nobody_is_unknown_at_once(alliance: Alliance, there: Connected) -> None:
    deciding = alliance.gateways[0]

    there.reply(a_reply("never"))
    there.reply(a_reply("f" * 16 + "A" * 48))
    assert there.outcomes == [UNKNOWN_TOKEN] * 2
    there.reply(a_reply(deciding.id + "A" * 48))
    alliance.arrive()

    assert there.outcomes == [UNKNOWN_TOKEN] * 3


def test_who_declines_what_was_passed_on_because_others_are_slow_does_not_lift_the_bounds_of_that(
    alliance: Alliance,
) -> None:
    here, there = alliance.connect(0), alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own", 16.0)
    alliance.ask(0, "q", 1.0)
    alliance.pass_by(0.75)
    # Declined; by now there is too little time for anybody else.
    alliance.pass_by(0.1)
    late = alliance.connect(0)

    alliance.pass_by(2)

    assert (here.asked, there.asked, late.asked) == (["q"], ["own"], [])
