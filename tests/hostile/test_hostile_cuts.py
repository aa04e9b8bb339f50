"""A conversation that ends after any of its bytes: the relay's connection, or the lease's stream.

What the client gets may change only where one message ends and the next begins.
"""

from itertools import groupby

import pytest
from hostile_world import LEASE, RELAY_PORT, Answer, HostileWorld, answer, listed
from twisted.internet.protocol import Factory

from portal_gateway.relay.backoff import MIN_WAIT
from portal_gateway.testing.hostile import Script
from portal_gateway.testing.hostile_faults import (
    Message,
    ended,
    reset,
)
from portal_gateway.wire.messages import ResponseCode, connection_response

CONNECTED = len(connection_response(ResponseCode.ACCEPTED)) + 1
"""Bytes up to the handshake: where a single one makes a difference to a reset."""


class Cut:
    """A transport that ends after ``left`` bytes were written to it."""

    def __init__(self, transport, left):
        self._transport = transport
        self._left = left

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, data):
        data = data[: self._left]
        self._left -= len(data)
        self._transport.write(data)
        if not self._left:
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def writeSequence(self, pieces):
        self.write(b"".join(pieces))


class Soonest:
    """Draws the shortest wait, so that hundreds of attempts take no more time than needed."""

    def uniform(self, low, high):
        return low


class CuttingFactory(Factory):
    """Ends each connection of ``factory`` after ``limit`` bytes."""

    noisy = False

    def __init__(self, factory):
        self.factory = factory
        self.limit = 1 << 30

    def buildProtocol(self, addr):
        protocol = self.factory.buildProtocol(addr)
        connect, limit = protocol.makeConnection, self.limit
        protocol.makeConnection = lambda transport: connect(Cut(transport, limit))
        return protocol


OFFLINE = Answer(503, "lease_offline")
UNAVAILABLE = Answer(503, "relay_unavailable")
RELAY_FAULT = Answer(502, "relay_protocol_error")
FAULT = Answer(502, "upstream_protocol_error")
CLOSED = Answer(502, "upstream_closed")
CUT = Answer(200, "upstream_protocol_error", cut=True)
HALF = Answer(200, "upstream_closed", cut=True)
WHOLE = Answer(200)

ENDED = [
    OFFLINE,  # before the answer to the connection request
    RELAY_FAULT,  # inside it
    OFFLINE,  # before the handshake
    FAULT,  # inside it
    CLOSED,  # before the first record
    FAULT,  # inside it
    HALF,  # before the body
    CUT,
    HALF,
    CUT,
    WHOLE,
]
"""What clients get, in this order, when the lease's stream ends a byte later each time."""

RESET = [UNAVAILABLE, OFFLINE, FAULT, CLOSED, HALF, WHOLE]
"""The same for a reset, which does not tell what it broke off."""


def test_a_relay_that_closes_anywhere():
    """After every third byte; the lease's stream, below, ends after each."""
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script)
    listener = world.reactor.listeners[RELAY_PORT]
    listener.factory = cutting = CuttingFactory(listener.factory)
    world.session._backoff._rng = Soonest()
    answers = []
    while WHOLE not in answers:
        cutting.limit = 1 + 3 * len(answers)
        world.relay.connections[-1].abort()
        attempts = world.session.attempts
        while world.session.attempts == attempts:
            world.reactor.advance(MIN_WAIT)
        answers.append(answer(world, world.ask("/peer/newcomer/")))
        world.forget_links()
    gone = "relay_unavailable"
    assert [got for got, _ in groupby(answers)] == [
        Answer(503, gone),  # up to the last byte of the record with the head
        Answer(200, gone, cut=True),
        WHOLE,
    ]
    assert cutting.limit > 700
    world.stop()


def test_a_relay_that_closes_along_with_a_head():
    """The head has not left yet then, so that the client can be told what happened."""
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script)
    script.put_off = lambda call: call()
    script.response = script.response[:2]
    script.ends = True
    assert answer(world, world.ask("/peer/newcomer/")) == CLOSED
    world.stop()


@pytest.mark.parametrize(("end", "step", "right"), [(ended, 1, ENDED), (reset, 4, RESET)])
def test_a_lease_whose_stream_is_over_after_each_byte(end, step, right):
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script)
    answers = []
    left = limit = 0

    def fault(turn):
        nonlocal left
        turn.stream.write(turn.honest[:left])
        if left < len(turn.honest):
            end(turn)
        left -= min(left, len(turn.honest))

    script.faults = dict.fromkeys(list(Message)[1:], fault)
    while WHOLE not in answers:
        left = limit
        answers.append(answer(world, world.ask("/peer/newcomer/")))
        world.forget_links()
        limit += 1 if limit < CONNECTED else step
    assert [got for got, _ in groupby(answers)] == right
    world.stop()
