"""The requests that one connection of HTTP/1.1 may have answered in one turn of the reactor."""

import pytest

from portal_gateway.frontend.channel import PIPELINED
from tests.frontend.http2_world import next_turn
from tests.frontend.serving import GET, Noting, Served, read_responses

MANY = 5 * PIPELINED


def answer(request):
    request.send_head(200, b"OK", [], length=0)
    request.send_end()


@pytest.fixture
def noting():
    return Noting(answer)


@pytest.fixture
def served(noting):
    served = Served(noting)
    yield served
    served.finish()


def hits(served):
    return served.site.limit_hits["http1_turn"]


def test_pipelined_requests_are_answered_in_several_turns(served, noting):
    served.channel.dataReceived(GET * MANY)
    answered = [len(noting.requests)]
    while answered[-1] < MANY:
        next_turn(served.clock)
        answered.append(len(noting.requests))
    steps = [after - before for before, after in zip([0, *answered], answered, strict=False)]
    assert max(steps) == PIPELINED
    served.settle()
    assert hits(served) == len(steps) - 1
    assert [each[0] for each in read_responses(served.client.received, [b"GET"] * MANY)] == (
        [200] * MANY
    )


def test_nothing_is_read_meanwhile(served, noting):
    served.channel.dataReceived(GET * MANY)
    assert served.paused
    served.channel.dataReceived(GET)
    served.settle()
    assert not served.paused
    assert len(noting.requests) == MANY + 1


def test_one_request_after_the_other_needs_no_turn(served, noting):
    for _ in range(MANY):
        served.send(GET)
    assert len(noting.requests) == MANY
    assert hits(served) == 0


def test_who_goes_meanwhile_leaves_nothing(served, noting):
    served.channel.dataReceived(GET * MANY)
    served.client.transport.abortConnection()
    served.settle()
    assert len(noting.requests) == PIPELINED


def test_a_connection_that_is_to_end_ends_with_its_next_answer(served, noting):
    served.channel.dataReceived(GET * MANY)
    served.channel.close_when_idle()
    served.settle()
    assert len(noting.requests) == PIPELINED + 1
    assert served.closed


def test_of_many_connections_one_has_a_turn(served, noting):
    first = served.channel
    served.connect()
    for channel in (first, served.channel):
        channel.dataReceived(GET * MANY)
    before = len(noting.requests)
    for _ in range(6):
        next_turn(served.clock)
        answered = len(noting.requests)
        assert answered - before <= PIPELINED
        before = answered
