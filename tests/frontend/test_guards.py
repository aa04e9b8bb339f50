"""Guards over a channel in memory: what rules give, at once or later, and what comes of it."""

import json

import pytest
from gateway_world import World, head_of
from http2_world import HTTP2, POST
from serving import HOST, Collecting, Noting, Served, read_responses
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from websocket_world import Sockets

from portal_gateway.errors import fault
from portal_gateway.frontend import guards
from portal_gateway.frontend.body import UNREAD_BOUND
from portal_gateway.frontend.guards import GuardedResource, Rules, guarded
from portal_gateway.policy.credentials import KeyTable

DENIED = fault("lease_access_denied", "not for you")


class Asked:
    """A rule that gives what it was told to and notes that it was asked."""

    def __init__(self, verdict=None):
        self.verdict = verdict
        self.asked = []

    def __call__(self, request, now):
        self.asked.append((request.exchange.request_id, now))
        return self.verdict() if callable(self.verdict) else self.verdict


class Waiting(Asked):
    """A rule that gives a Deferred each time."""

    def __init__(self):
        super().__init__(self._make)
        self.deferreds = []
        self.cancelled = []

    def _make(self):
        self.deferreds.append(Deferred(self.cancelled.append))
        return self.deferreds[-1]


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def serious(events):
    return [event for event in events if event["log_level"].name in {"error", "critical"}]


def code_of(received):
    (answer,) = read_responses(received)
    return answer[0], json.loads(answer[2])["error"]


def served(*rules, within=None):
    """What is served, and the resource that the rules guard."""
    within = Noting(lambda request: request.answer(b"in")) if within is None else within
    return Served(GuardedResource(rules, within, lambda: 5.0)), within


def get(fields=b""):
    return b"GET /x HTTP/1.1\r\n" + HOST + fields + b"\r\n"


def post(body):
    head = b"POST /x HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(body)
    return head + body


# At once.


def test_a_request_that_every_rule_admits_passes():
    first, second = Asked(), Asked()
    site, within = served(first, second)
    assert read_responses(site.send(get()))[0][2] == b"in"
    assert len(within.requests) == 1
    assert first.asked == second.asked == [("made-0", 5.0)]
    site.finish()


def test_the_first_refusal_answers_and_no_rule_behind_it_is_asked():
    first, second = Asked(DENIED), Asked()
    site, within = served(first, second)
    assert code_of(site.send(get())) == (403, "lease_access_denied")
    assert (within.requests, second.asked) == ([], [])
    site.finish()


def test_what_decides_at_once_makes_no_call_of_the_reactor():
    site, _ = served(Asked(), Asked(DENIED))
    site.send()
    before = len(site.clock.getDelayedCalls())
    called = []
    site.clock.callLater = lambda *call: called.append(call)  # type: ignore[method-assign]
    site.client.transport.write(get())
    site.link.flush()
    assert code_of(site.client.received)[0] == 403
    # The deadline of an idle connection, which every answer sets.
    assert len(called) <= 1
    del site.clock.callLater
    assert len(site.clock.getDelayedCalls()) <= before
    site.finish()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"", False),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", True),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", False),
    ],
)
def test_rules_know_whether_a_websocket_is_asked_for(fields, expected):
    seen = []
    site, _ = served(lambda request, _now: seen.append(request.exchange.is_websocket))
    site.send(get(fields))
    assert seen == [expected]
    assert not site.exchanges[0].is_secure
    site.finish()


def test_a_rule_that_fails_is_a_defect(logged):
    def broken(_request, _now):
        raise ZeroDivisionError

    site, within = served(broken)
    assert code_of(site.send(get())) == (500, "internal_error")
    assert within.requests == []
    assert len(serious(logged)) == 1
    site.finish()


def test_a_guard_with_nothing_to_decide_is_left_out(monkeypatch):
    monkeypatch.setattr(guards, "GUARDS", [lambda _rules: None, lambda _rules: Asked(DENIED)])
    site = Served(guarded(Resource(), Rules(KeyTable(())), lambda: 5.0))
    assert code_of(site.send(get())) == (403, "lease_access_denied")
    site.finish()


# Later.


def test_a_request_waits_for_its_verdict_and_goes_on():
    waiting, last = Waiting(), Asked()
    site, within = served(waiting, last)
    assert site.send(get()) == b""
    assert (within.requests, last.asked) == ([], [])
    waiting.deferreds[0].callback(None)
    assert read_responses(site.send())[0][2] == b"in"
    assert len(last.asked) == 1
    site.finish()


def test_several_rules_may_wait_one_after_the_other():
    first, second = Waiting(), Waiting()
    site, within = served(first, second)
    site.send(get())
    assert second.deferreds == []
    first.deferreds[0].callback(None)
    assert within.requests == []
    second.deferreds[0].callback(None)
    assert read_responses(site.send())[0][2] == b"in"
    site.finish()


@pytest.mark.parametrize("make", [lambda: succeed(None), lambda: succeed(DENIED)])
def test_a_deferred_that_has_fired_is_no_different(make):
    site, within = served(make_rule := Asked(make))
    received = site.send(get())
    assert len(make_rule.asked) == 1
    if within.requests:
        assert read_responses(received)[0][2] == b"in"
    else:
        assert code_of(received) == (403, "lease_access_denied")
    site.finish()


@pytest.mark.parametrize("fire", ["callback", "errback"])
def test_a_refusal_that_comes_later_answers(fire, logged):
    waiting, last = Waiting(), Asked()
    site, within = served(waiting, last)
    site.send(get())
    getattr(waiting.deferreds[0], fire)(DENIED)
    assert code_of(site.send()) == (403, "lease_access_denied")
    assert site.exchanges[0].error == "lease_access_denied"
    assert (within.requests, last.asked) == ([], [])
    assert serious(logged) == []
    site.finish()


def test_a_rule_that_fails_later_is_a_defect_too(logged):
    site, within = served(Asked(lambda: fail(ZeroDivisionError("division"))))
    assert code_of(site.send(get())) == (500, "internal_error")
    assert within.requests == []
    (event,) = serious(logged)
    assert event["request_id"] == "made-0"
    assert event["log_failure"].type is ZeroDivisionError
    site.finish()


def test_what_is_guarded_may_raise_after_a_wait_as_before_it():
    class Refusing(Resource):
        isLeaf = True

        def render(self, request):
            raise fault("not_found", "nothing")

    waiting = Waiting()
    site, _ = served(waiting, within=Refusing())
    site.send(get())
    waiting.deferreds[0].callback(None)
    assert code_of(site.send()) == (404, "not_found")
    site.finish()


def test_a_client_that_goes_away_cancels_the_question(logged):
    waiting, last = Waiting(), Asked()
    site, within = served(waiting, last)
    site.send(get())
    site.client.transport.abortConnection()
    site.settle()
    assert waiting.cancelled == waiting.deferreds
    assert (within.requests, last.asked) == ([], [])
    assert site.exchanges[0].aborted
    assert serious(logged) == []
    site.finish()


def test_a_defect_is_logged_even_when_the_client_has_gone(logged):
    site, _ = served(Asked(lambda: Deferred(lambda deferred: deferred.errback(KeyError("x")))))
    site.send(get())
    site.client.transport.abortConnection()
    site.settle()
    (event,) = serious(logged)
    assert event["log_failure"].type is KeyError
    site.finish()


def test_a_body_is_kept_while_a_rule_waits_and_comes_whole():
    waiting = Waiting()
    collecting = Collecting()
    site, _ = served(waiting, within=collecting)
    body = bytes(range(256)) * 10
    site.send(post(body)[:-1000], post(body)[-1000:])
    assert collecting.readers == []
    waiting.deferreds[0].callback(None)
    assert read_responses(site.send(), [b"POST"])[0][2] == b"ok"
    assert collecting.readers[0].body == body
    site.finish()


def test_a_large_body_stays_with_its_client_while_a_rule_waits():
    waiting = Waiting()
    collecting = Collecting()
    site, _ = served(waiting, within=collecting)
    body = b"x" * (4 * UNREAD_BOUND)
    site.send(post(body))
    assert site.paused
    assert site.channel._request.bytes_in <= 2 * UNREAD_BOUND
    # It is the gateway that is slow: no client is cut off for it.
    site.wait(3600)
    assert not site.closed
    waiting.deferreds[0].callback(None)
    site.send()
    assert collecting.readers[0].body == body
    site.finish()


def test_a_body_that_breaks_its_framing_ends_the_wait():
    waiting = Waiting()
    site, within = served(waiting)
    head = b"POST /x HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    received = site.send(head + b"5\r\nhello\r\n", b"nonsense\r\n")
    assert code_of(received) == (400, "bad_request")
    assert waiting.cancelled == waiting.deferreds
    assert within.requests == []
    site.finish()


def test_the_next_request_is_not_read_while_one_waits():
    waiting = Waiting()
    site, within = served(waiting)
    site.send(get() + get())
    assert len(waiting.deferreds) == 1
    waiting.deferreds[0].callback(None)
    site.send()
    waiting.deferreds[1].callback(DENIED)
    answers = read_responses(site.send(), [b"GET", b"GET"])
    assert [answer[0] for answer in answers] == [200, 403]
    assert len(within.requests) == 1
    site.finish()


# Over HTTP/2.


def over_http2(*rules, within=None):
    within = Noting(lambda request: request.answer(b"in")) if within is None else within
    return HTTP2(GuardedResource(rules, within, lambda: 5.0)), within


def test_streams_wait_each_for_itself():
    waiting = Waiting()
    site, within = over_http2(waiting)
    first, second = site.ask(), site.ask()
    waiting.deferreds[1].callback(None)
    site.turn()
    assert site.answers[second].body == b"in"
    assert first not in site.answers
    waiting.deferreds[0].callback(DENIED)
    site.turn()
    assert site.answers[first].status == 403
    assert len(within.requests) == 1
    site.finish()


def test_a_stream_that_is_reset_cancels_the_question():
    waiting = Waiting()
    site, within = over_http2(waiting)
    stream = site.ask()
    site.h2.reset_stream(stream)
    site.turn()
    assert waiting.cancelled == waiting.deferreds
    assert within.requests == []
    site.finish()


def test_the_body_of_a_stream_is_kept_too():
    waiting = Waiting()
    collecting = Collecting()
    site, _ = over_http2(waiting, within=collecting)
    body = bytes(range(256)) * 200
    stream = site.ask(POST, body)
    assert collecting.readers == []
    waiting.deferreds[0].callback(None)
    site.turn()
    assert collecting.readers[0].body == body
    assert site.answers[stream].body == b"ok"
    site.finish()


@pytest.mark.parametrize("length", [0, 1, UNREAD_BOUND, UNREAD_BOUND + 1])
@pytest.mark.parametrize("over", [over_http2, served])
def test_a_rule_may_look_at_a_body_that_goes_on_whole(over, length):
    seen = []

    def look(request, _now):
        return request.peek_body().addCallback(seen.append)

    collecting = Collecting()
    site, _ = over(look, within=collecting)
    body = b"x" * length
    if over is served:
        site.send(post(body))
    else:
        stream = site.h2.get_next_available_stream_id()
        site.h2.send_headers(stream, POST)
        rest = body
        while rest:
            room = min(site.h2.local_flow_control_window(stream), 16384)
            assert room
            site.h2.send_data(stream, rest[:room])
            rest = rest[room:]
            site.turn()
        site.h2.end_stream(stream)
        site.turn()
    assert seen == [body if length <= UNREAD_BOUND else None]
    assert collecting.readers[0].body == body
    site.finish()


# Fields that guards add.


def adding(*fields):
    def rule(request, _now):
        request.exchange.response_fields += fields

    return lambda _rules: rule


LIMIT = (b"RateLimit", b'"key";r=5;t=1')


@pytest.fixture
def added(monkeypatch):
    monkeypatch.setattr(guards, "GUARDS", [adding(LIMIT), *guards.GUARDS])


def test_added_fields_are_on_a_proxied_answer_in_the_place_of_the_lease_s(added):
    world = World()
    wire = world.ask("/peer/tool/x")
    (origin,) = world.origin.wires
    origin.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nratelimit: other\r\nA: b\r\n\r\n")
    world.reactor.settle()
    _, fields, _ = head_of(wire.received)
    assert [field for field in fields if field[0].lower() == b"ratelimit"] == [LIMIT]
    assert (b"A", b"b") in fields
    world.stop()


@pytest.mark.parametrize(
    ("target", "options", "status"),
    [
        ("/peer/tool/x", {"key": None}, b"401"),
        ("/peer/nobody/x", {}, b"404"),
        ("/peer/tool", {}, b"308"),
        ("/ws/tool/", {}, b"426"),
    ],
)
def test_added_fields_are_on_the_gateway_s_own_answers(added, target, options, status):
    world = World()
    first, fields, _ = head_of(world.ask(target, **options).received)
    assert first.split()[1] == status
    assert LIMIT in fields
    world.stop()


def test_added_fields_are_on_a_101(added):
    world = Sockets()
    client, _lease = world.open(lease_fields=[b"RateLimit: other"])
    _, fields, _ = head_of(client.wire.received)
    assert [field for field in fields if field[0].lower() == b"ratelimit"] == [LIMIT]
    client.wire.transport.abortConnection()
    world.reactor.settle()
    world.stop()


def test_without_added_fields_the_lease_s_pass():
    world = World()
    wire = world.ask("/peer/tool/x")
    world.origin.wires[0].send(b"HTTP/1.1 204 No Content\r\nRateLimit: other\r\n\r\n")
    world.reactor.settle()
    assert (b"RateLimit", b"other") in head_of(wire.received)[1]
    world.stop()
