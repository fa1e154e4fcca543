"""Questions between gateways, one thing at a time; ``test_cluster_random.py`` checks it all at once."""

from structlog.testing import capture_logs

from d1gateway.peer.v1 import messages_pb2 as peer
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, INVALID, LATE, UNKNOWN_TOKEN
from tests.unit.callbacks.broker_samples import TOPICS, a_question, a_refusal, a_reply
from tests.unit.callbacks.cluster.cluster_registry import Alliance, Connected


def token_of(connected: Connected, place: int = -1) -> str:
    return connected.handler.questions[place].token


def test_a_handler_of_another_gateway_answers() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0)
    reply = a_reply(token_of(there))

    there.reply(reply)
    assert there.told == []
    alliance.arrive()

    assert alliance.ended == {"q": reply}
    assert there.told == [ACCEPTED]
    alliance.assert_nothing_is_left()


def test_a_handler_sees_a_callback_of_another_gateway_as_it_sees_any_other() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    asker, server = alliance.gateways
    alliance.ask(0, "c-1", 8.0)

    (question,) = there.handler.questions

    assert (question.issuer_id, question.correlation_id, question.attempt) == (TOPICS[0][0], "c-1", 1)
    assert question.deliver_otp == a_question().deliver_otp
    assert question.token.startswith(asker.id)
    assert 7900 < question.time_left.ToMilliseconds() <= 8000
    # By the clock of the gateway that shows it, which is another one than that of the gateway that asks.
    assert abs(question.deadline.ToMilliseconds() / 1000 - (server.time() + 1e9) - 8.0) < 0.2
    assert server.relay.refresh(question)
    alliance.pass_by(3)
    assert server.relay.refresh(question)
    assert 4700 < question.time_left.ToMilliseconds() <= 5000


def test_a_handler_here_goes_first_even_if_it_has_more_to_do() -> None:
    alliance = Alliance()
    there, here = alliance.connect(1), alliance.connect(0)

    for number in range(5):
        alliance.ask(0, str(number))

    assert (len(here.asked), there.asked) == (5, [])


def test_a_handler_elsewhere_is_asked_once_none_here_has_room() -> None:
    alliance = Alliance()
    there, here = alliance.connect(1), alliance.connect(0, max_in_flight=1)

    alliance.ask(0, "1")
    alliance.ask(0, "2")

    assert (here.asked, there.asked) == (["1"], ["2"])


def test_a_handler_elsewhere_goes_before_one_here_that_dawdles() -> None:
    alliance = Alliance()
    there, here = alliance.connect(1), alliance.connect(0)
    alliance.ask(0, "1", 2.0)
    alliance.pass_by(1.0)
    assert there.asked == ["1"]

    alliance.ask(0, "2")

    assert (here.asked, there.asked) == (["1"], ["1", "2"])


def test_a_handler_gets_no_more_than_it_takes_whoever_asks_and_what_waits_is_sent_when_it_has_room() -> None:
    alliance = Alliance(3)
    handler = alliance.connect(2, max_in_flight=2)
    for name, gateway in (("own", 2), ("1", 0), ("2", 1), ("3", 0)):
        alliance.ask(gateway, name)
    assert handler.asked == ["own", "1"]

    handler.reply(a_reply(token_of(handler, 0)))
    alliance.arrive()
    assert len(handler.asked) == 3

    handler.reply(a_reply(token_of(handler, 1)))
    alliance.arrive()
    assert sorted(handler.asked) == ["1", "2", "3", "own"]
    assert {name for name, reply in alliance.ended.items() if reply is not None} == {"own", "1"}


def test_a_callback_that_one_handler_has_no_room_for_goes_to_another() -> None:
    alliance = Alliance(3)
    full, free = alliance.connect(1, max_in_flight=1), alliance.connect(2, max_in_flight=1)
    alliance.ask(1, "own")
    assert full.asked == ["own"]

    alliance.ask(0, "q")

    assert free.asked == ["q"]
    assert free.handler.questions[0].attempt == 1


def test_a_callback_that_was_declined_is_not_sent_again_before_there_is_room() -> None:
    alliance = Alliance()
    sent: list[peer.PeerMessage] = []
    alliance.network.on_request = lambda _, message: sent.append(message)
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own")
    alliance.ask(0, "q")
    alliance.pass_by(3)
    assert len(sent) == 1

    there.reply(a_reply(token_of(there)))
    alliance.arrive()

    assert len(sent) == 2
    assert there.asked == ["own", "q"]


def test_what_is_taken_back_makes_room() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    asker, server = alliance.gateways
    asked: list[peer.PeerMessage] = []
    alliance.network.on_request = lambda _, message: asked.append(message)
    alliance.ask(0, "1")
    alliance.ask(1, "own")

    forwarded = asked[0].request
    withdrawn = peer.WithdrawnRequest(
        handler_session_id=forwarded.handler_session_id, token=forwarded.callback_request.token
    )
    server.relay.receive(peer.PeerMessage(sender=asker.id, withdrawn=withdrawn))

    assert there.handler.withdrawn == [withdrawn.token]
    assert there.asked == ["1", "own"]


def test_what_is_out_of_time_is_taken_back_and_makes_room() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(0, "1", 2.0)
    alliance.ask(0, "2", 8.0)

    alliance.pass_by(2.0)

    assert there.handler.withdrawn == [token_of(there, 0)]
    assert there.asked == ["1", "2"]
    assert alliance.ended == {"1": None}


def test_what_is_out_of_time_is_taken_back_though_its_gateway_has_died() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, seconds=2.0)
    alliance.gateways[0].die()

    alliance.pass_by(2.0)

    assert there.handler.withdrawn == [token_of(there)]
    alliance.assert_nothing_is_left()


def test_a_callback_that_does_not_wait_ends_at_once_only_if_there_is_no_handler_anywhere() -> None:
    alliance = Alliance()
    alliance.ask(0, "1", wait_for_handler=False)
    assert alliance.ended == {"1": None}

    there = alliance.connect(1)
    alliance.ask(0, "2", wait_for_handler=False)
    assert there.asked == ["2"]

    there.leave()
    alliance.arrive()
    assert alliance.ended == {"1": None, "2": None}


def test_a_callback_that_does_not_wait_ends_when_it_is_declined_and_nobody_is_left_who_could_take_it() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    asker, server = alliance.gateways
    alliance.ask(1, "own")
    asker.broker.begin(
        a_question(TOPICS[0], "q"), 8.0, lambda reply: alliance.ended.update(q=reply), wait_for_handler=False
    )
    # Both are on their way at once: that it drains, and what it is asked.
    server.relay.drain(there.session)

    alliance.arrive()

    assert alliance.ended == {"q": None}


def test_a_handler_that_drains_is_asked_nothing_more_and_what_it_has_counts() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, "1")
    there.gateway.relay.drain(there.session)
    alliance.arrive()
    alliance.ask(0, "2")

    there.reply(a_reply(token_of(there)))
    alliance.arrive()

    assert (there.asked, there.told) == (["1"], [ACCEPTED])


def test_what_a_handler_leaves_goes_to_another_gateway_without_delay() -> None:
    alliance = Alliance(3)
    first, second = alliance.connect(1), alliance.connect(2)
    alliance.ask(0)
    (left, other) = (first, second) if first.asked else (second, first)

    left.leave()
    alliance.arrive()

    assert other.asked == ["q"]
    assert other.handler.questions[0].attempt == 2


def test_a_gateway_that_shuts_down_is_asked_nothing_more_and_is_idle_when_its_handlers_have_replied() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, "1")
    there.gateway.relay.begin_drain()
    alliance.arrive()
    alliance.ask(0, "2")
    assert not there.gateway.relay.is_idle

    there.reply(a_reply(token_of(there)))
    assert not there.gateway.relay.is_idle
    alliance.arrive()

    assert there.asked == ["1"]
    assert there.told == [ACCEPTED]
    assert there.gateway.relay.is_idle


def test_a_gateway_that_has_stopped_has_no_handlers_for_the_others() -> None:
    alliance = Alliance()
    alliance.connect(1)
    alliance.ask(0, "1", wait_for_handler=False)

    alliance.gateways[1].relay.stop()
    alliance.arrive()

    assert alliance.ended == {"1": None}


def test_a_gateway_that_is_not_heard_for_three_seconds_is_gone_and_not_before() -> None:
    alliance = Alliance(3)
    first, second = alliance.connect(1), alliance.connect(2)
    alliance.ask(0, seconds=64.0)
    (dead, other) = (first, second) if first.asked else (second, first)
    dead.gateway.die()

    with capture_logs() as logged:
        alliance.pass_by(1.75)
        assert other.asked == []
        alliance.pass_by(1.5)

    assert other.asked == ["q"]
    lost = {"event": "peer_left", "log_level": "info", "gateway": dead.gateway.id, "handlers": 1}
    assert lost in logged


def test_a_gateway_that_was_held_up_itself_does_not_take_the_others_for_gone() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, seconds=64.0, wait_for_handler=False)
    asker = alliance.gateways[0]
    asker.pause()
    alliance.pass_by(20)

    asker.resume()
    alliance.arrive()

    assert alliance.ended == {}
    there.reply(a_reply(token_of(there)))
    alliance.arrive()
    assert there.told == [ACCEPTED]


def test_a_reply_of_a_gateway_that_was_held_up_counts_as_long_as_the_callback_is_open() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, seconds=16.0)
    there.gateway.pause()
    alliance.pass_by(8)
    reply = a_reply(token_of(there))
    there.reply(reply)

    there.gateway.resume()
    alliance.arrive()

    assert alliance.ended == {"q": reply}
    assert there.told == [ACCEPTED]
    alliance.assert_nothing_is_left()


def test_a_reply_of_a_gateway_that_was_held_up_is_told_that_there_is_another_or_that_it_is_late() -> None:
    alliance = Alliance(3)
    first, second = alliance.connect(1), alliance.connect(2)
    alliance.ask(0, seconds=64.0)
    (paused, other) = (first, second) if first.asked else (second, first)
    paused.gateway.pause()
    alliance.pass_by(8)
    other.reply(a_reply(token_of(other)))
    alliance.arrive()
    paused.reply(a_reply(token_of(paused)))
    paused.gateway.resume()
    alliance.arrive()
    assert (other.told, paused.told) == ([ACCEPTED], [ALREADY_ANSWERED])

    alliance.pass_by(64)
    paused.reply(a_reply(token_of(paused)))
    alliance.arrive()

    assert paused.told == [ALREADY_ANSWERED, LATE]


def test_a_handler_that_had_a_callback_does_not_get_it_again_when_its_gateway_is_heard_again() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0, seconds=64.0)
    there.gateway.pause()
    alliance.pass_by(8)
    there.gateway.resume()

    alliance.pass_by(8)
    alliance.ask(0, "2")

    assert there.asked == ["q", "2"]


def test_a_callback_that_was_under_way_for_too_long_is_not_sent() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.pass_by(5)
    there.gateway.pause()
    alliance.ask(0, "1", 2.0)
    alliance.ask(0, "2", 16.0)
    alliance.pass_by(4)

    there.gateway.resume()
    alliance.arrive()

    assert there.asked == ["2"]
    assert 11_000 < there.handler.questions[0].time_left.ToMilliseconds() < 16_001
    assert there.gateway.relay.refresh(there.handler.questions[0])
    assert 11_000 < there.handler.questions[0].time_left.ToMilliseconds() < 12_000


def test_however_much_was_under_way_for_too_long_nothing_of_it_is_sent() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1000)
    there.gateway.pause()
    for number in range(500):
        alliance.gateways[0].broker.begin(a_question(correlation_id=str(number)), 1.0, lambda _: None)
    alliance.pass_by(1.1)

    there.gateway.resume()
    alliance.arrive()

    assert there.asked == []


def test_no_answer_of_the_gateway_that_asks_is_late() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0)
    alliance.gateways[0].die()
    there.reply(a_reply(token_of(there)))

    alliance.pass_by(1.9)
    assert there.told == []
    alliance.pass_by(0.2)

    assert there.told == [LATE]
    alliance.assert_nothing_is_left()


def test_a_place_is_free_as_soon_as_there_is_a_reply_whatever_the_gateway_that_asked_does() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(0, "1")
    alliance.ask(1, "own")
    alliance.gateways[0].die()

    there.reply(a_reply(token_of(there)))

    assert there.asked == ["1", "own"]


def test_a_reply_of_another_kind_is_invalid_and_a_right_one_is_taken() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(0, "1")
    alliance.ask(1, "2")

    there.reply(a_reply(token_of(there), "authenticate"))
    alliance.arrive()
    assert there.asked == ["1"]
    there.reply(a_refusal(token_of(there)))
    alliance.arrive()

    assert there.told == [INVALID, ACCEPTED]
    assert there.asked == ["1", "2"]


def test_a_reply_counts_over_whichever_gateway_it_comes() -> None:
    alliance = Alliance(3)
    there = alliance.connect(1)
    alliance.ask(0)
    token = token_of(there)
    there.leave()
    elsewhere = alliance.connect(2, topics=TOPICS[1:])

    elsewhere.reply(a_reply(token))
    alliance.arrive()

    assert elsewhere.told == [ACCEPTED]
    assert alliance.ended["q"] is not None


def test_a_token_of_nobody_is_unknown_at_once() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    asker = alliance.gateways[0]

    there.reply(a_reply("never"))
    there.reply(a_reply("f" * 16 + "A" * 48))
    assert there.told == [UNKNOWN_TOKEN] * 2
    there.reply(a_reply(asker.id + "A" * 48))
    alliance.arrive()

    assert there.told == [UNKNOWN_TOKEN] * 3


def test_while_the_others_cannot_be_reached_handlers_here_answer_and_the_rest_waits() -> None:
    alliance = Alliance()
    there, here = alliance.connect(1), alliance.connect(0, max_in_flight=1)
    alliance.gateways[0].unplug()
    alliance.pass_by(0.5)

    alliance.ask(0, "1")
    alliance.ask(0, "2")
    assert (here.asked, there.asked) == (["1"], [])
    alliance.gateways[0].plug_in()
    alliance.pass_by(0.5)

    assert there.asked == ["2"]
    assert there.handler.questions[0].attempt == 1


def test_a_reply_that_could_not_be_passed_on_is_passed_on_as_soon_as_it_can() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    alliance.ask(0)
    there.gateway.unplug()
    alliance.pass_by(0.5)
    there.reply(a_reply(token_of(there)))
    alliance.pass_by(0.5)
    assert there.told == []

    there.gateway.plug_in()
    alliance.pass_by(0.5)

    assert there.told == [ACCEPTED]
    assert alliance.ended["q"] is not None


def test_what_waits_for_room_is_sent_though_nobody_was_told_that_there_is_some() -> None:
    alliance = Alliance()
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own")
    alliance.ask(0, "q")
    # That there is room again is said while the one that waits is deaf.
    alliance.gateways[0].is_wired = False
    there.reply(a_reply(token_of(there)))
    alliance.arrive()
    alliance.gateways[0].is_wired = True

    alliance.pass_by(1.25)

    assert there.asked == ["own", "q"]


def test_a_handler_that_answers_nobody_does_not_make_a_fourth_be_asked() -> None:
    alliance = Alliance(3)
    handlers = [alliance.connect(number % 3) for number in range(5)]

    alliance.ask(0, seconds=16.0)
    alliance.pass_by(16)

    assert sum(len(handler.asked) for handler in handlers) == 3
    assert sorted(handler.handler.questions[0].attempt for handler in handlers if handler.asked) == [1, 2, 3]


def test_who_declines_what_was_passed_on_because_others_dawdle_does_not_lift_the_bounds_of_that() -> None:
    alliance = Alliance()
    here, there = alliance.connect(0), alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own", 16.0)
    alliance.ask(0, "q", 1.0)
    alliance.pass_by(0.75)
    # Declined; by now there is too little time for anybody else.
    alliance.pass_by(0.1)
    late = alliance.connect(0)

    alliance.pass_by(2)

    assert (here.asked, there.asked, late.asked) == (["q"], ["own"], [])


def test_of_what_a_gateway_says_of_its_handlers_the_latest_holds() -> None:
    alliance = Alliance()
    asker, server = alliance.gateways
    old = peer.PeerMessage(sender=server.id, presence=peer.Presence(number=1, sent_at_seconds=server.time()))
    there = alliance.connect(1)

    asker.relay.receive(old)
    alliance.ask(0, wait_for_handler=False)

    assert there.asked == ["q"]


def test_what_a_gateway_that_nobody_has_heard_of_asks_is_declined() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    question = a_question()
    question.token = "f" * 16 + "A" * 48
    question.time_left.FromMilliseconds(8000)

    forwarded = peer.ForwardedRequest(handler_session_id=1, callback_request=question)
    there.gateway.relay.receive(peer.PeerMessage(sender="f" * 16, request=forwarded))

    assert there.asked == []


def test_a_callback_is_sent_once_though_its_message_comes_twice() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    asked: list[peer.PeerMessage] = []
    alliance.network.on_request = lambda _, message: asked.append(message)
    alliance.ask(0)

    there.gateway.relay.receive(asked[0])
    alliance.arrive()

    assert there.asked == ["q"]


def test_a_message_of_a_kind_that_only_newer_gateways_know_changes_nothing() -> None:
    alliance = Alliance()
    there = alliance.connect(1)
    asker, server = alliance.gateways

    server.relay.receive(peer.PeerMessage(sender=asker.id))
    alliance.ask(0)

    assert there.asked == ["q"]
