"""Callbacks between gateways that die, are held up or cannot be reached, and messages that come late or twice."""

from structlog.testing import capture_logs

from d1gateway.peer.v1 import messages_pb2 as peer
from tests.unit.callbacks.broker_registry import ACCEPTED, ALREADY_ANSWERED, LATE
from tests.unit.callbacks.broker_samples import a_reply, a_request
from tests.unit.callbacks.cluster.cluster_registry import Alliance, Connected


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


def test_a_gateway_that_was_held_up_itself_does_not_take_the_others_for_gone(
    alliance: Alliance, there: Connected
) -> None:
    alliance.ask(0, seconds=64.0, wait_for_handler=False)
    deciding = alliance.gateways[0]
    deciding.pause()
    alliance.pass_by(20)

    deciding.resume()
    alliance.arrive()

    assert alliance.ended == {}
    there.answer()
    assert there.outcomes == [ACCEPTED]


def test_a_gateway_that_was_held_up_gets_no_callback_again_and_its_reply_counts_while_the_callback_is_open(
    alliance: Alliance, there: Connected
) -> None:
    alliance.ask(0, seconds=64.0)
    there.gateway.pause()
    alliance.pass_by(8)
    reply = a_reply(there.token())
    there.gateway.resume()
    alliance.pass_by(8)
    alliance.ask(0, "2")
    assert there.asked == ["q", "2"]
    there.answer()

    there.gateway.pause()
    alliance.pass_by(8)
    there.reply(reply)
    there.gateway.resume()
    alliance.arrive()

    assert alliance.ended["q"] == reply
    assert there.outcomes == [ACCEPTED] * 2
    alliance.assert_nothing_is_left()


def test_a_reply_of_a_gateway_that_was_held_up_is_late_or_not_the_first() -> None:
    alliance = Alliance(3)
    first, second = alliance.connect(1), alliance.connect(2)
    alliance.ask(0, seconds=64.0)
    (paused, other) = (first, second) if first.asked else (second, first)
    paused.gateway.pause()
    alliance.pass_by(8)
    other.answer()
    paused.reply(a_reply(paused.token()))
    paused.gateway.resume()
    alliance.arrive()
    assert (other.outcomes, paused.outcomes) == ([ACCEPTED], [ALREADY_ANSWERED])

    alliance.pass_by(64)
    paused.answer()

    assert paused.outcomes == [ALREADY_ANSWERED, LATE]


def test_a_callback_that_was_under_way_for_too_long_is_not_sent(alliance: Alliance, there: Connected) -> None:
    alliance.pass_by(5)
    there.gateway.pause()
    alliance.ask(0, "1", 2.0)
    alliance.ask(0, "2", 16.0)
    alliance.pass_by(4)

    there.gateway.resume()
    alliance.arrive()

    assert there.asked == ["2"]
    assert 11_000 < there.requests[0].time_left.ToMilliseconds() < 16_001
    assert there.gateway.relay.refresh(there.requests[0])
    assert 11_000 < there.requests[0].time_left.ToMilliseconds() < 12_000


def test_however_much_was_under_way_for_too_long_nothing_of_it_is_sent(alliance: Alliance) -> None:
    there = alliance.connect(1, max_in_flight=1000)
    there.gateway.pause()
    for number in range(500):
        alliance.gateways[0].broker.begin(a_request(correlation_id=str(number)), 1.0, lambda _: None)
    alliance.pass_by(1.1)

    there.gateway.resume()
    alliance.arrive()

    assert there.asked == []


def test_a_reply_to_which_the_deciding_gateway_does_not_respond_is_late(alliance: Alliance, there: Connected) -> None:
    alliance.ask(0)
    alliance.gateways[0].die()
    there.reply(a_reply(there.token()))

    alliance.pass_by(1.9)
    assert there.outcomes == []
    alliance.pass_by(0.2)

    assert there.outcomes == [LATE]
    alliance.assert_nothing_is_left()


def test_while_the_others_cannot_be_reached_handlers_here_answer_and_the_rest_waits(alliance: Alliance) -> None:
    there, here = alliance.connect(1), alliance.connect(0, max_in_flight=1)
    alliance.gateways[0].unplug()
    alliance.pass_by(0.5)

    alliance.ask(0, "1")
    alliance.ask(0, "2")
    assert (here.asked, there.asked) == (["1"], [])
    alliance.gateways[0].plug_in()
    alliance.pass_by(0.5)

    assert there.asked == ["2"]
    assert there.requests[0].attempt == 1


def test_a_callback_that_is_sent_again_since_it_could_not_be_sent_reaches_its_handler_once(
    alliance: Alliance, there: Connected
) -> None:
    deciding = alliance.gateways[0]
    deciding.unplug()
    alliance.pass_by(0.5)
    deciding.plug_in()
    # Messages reach it again, but it cannot send yet.
    alliance.ask(0)
    assert there.asked == []

    while not there.asked:
        alliance.pass_by(0.001)
    there.answer()
    alliance.pass_by(2)

    assert there.asked == ["q"]
    assert there.outcomes == [ACCEPTED]
    assert len(alliance.requests) == 1
    alliance.assert_nothing_is_left()


def test_a_reply_that_could_not_be_passed_on_is_passed_on_as_soon_as_it_can(
    alliance: Alliance, there: Connected
) -> None:
    alliance.ask(0)
    there.gateway.unplug()
    alliance.pass_by(0.5)
    there.reply(a_reply(there.token()))
    alliance.pass_by(0.5)
    assert there.outcomes == []

    there.gateway.plug_in()
    alliance.pass_by(0.5)

    assert there.outcomes == [ACCEPTED]
    assert alliance.ended["q"] is not None


def test_what_waits_for_room_is_sent_though_the_message_that_there_is_some_was_lost(alliance: Alliance) -> None:
    there = alliance.connect(1, max_in_flight=1)
    alliance.ask(1, "own")
    alliance.ask(0, "q")
    # That there is room again is said while the one that waits is deaf.
    alliance.gateways[0].is_wired = False
    there.answer()
    alliance.gateways[0].is_wired = True

    alliance.pass_by(1.25)

    assert there.asked == ["own", "q"]


def test_of_what_a_gateway_announces_the_latest_holds(alliance: Alliance) -> None:
    deciding, serving = alliance.gateways
    old = peer.PeerMessage(sender=serving.id, presence=peer.Presence(number=1, sent_at_seconds=serving.time()))
    there = alliance.connect(1)

    deciding.relay.receive(old)
    alliance.ask(0, wait_for_handler=False)

    assert there.asked == ["q"]


def test_a_callback_of_an_unknown_gateway_is_declined(there: Connected) -> None:
    request = a_request()
    request.token = "f" * 16 + "A" * 48
    request.time_left.FromMilliseconds(8000)

    forwarded = peer.ForwardedRequest(handler_session_id=1, callback_request=request)
    there.gateway.relay.receive(peer.PeerMessage(sender="f" * 16, request=forwarded))

    assert there.asked == []


def test_a_callback_is_sent_once_though_its_message_comes_twice(alliance: Alliance, there: Connected) -> None:
    alliance.ask(0)

    there.gateway.relay.receive(alliance.requests[0])
    alliance.arrive()

    assert there.asked == ["q"]


def test_a_message_of_a_kind_that_only_newer_gateways_know_changes_nothing(
    alliance: Alliance, there: Connected
) -> None:
    deciding, serving = alliance.gateways

    serving.relay.receive(peer.PeerMessage(sender=deciding.id))
    alliance.ask(0)

    assert there.asked == ["q"]
