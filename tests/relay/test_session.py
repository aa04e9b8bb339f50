from itertools import pairwise
from random import Random

import pytest
from joined import Recorder
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel

from portal_gateway.config.model import UpstreamTLS
from portal_gateway.errors import GatewayError
from portal_gateway.relay.backoff import MAX_WAIT, MIN_WAIT, STEADY
from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.lost import Loss
from portal_gateway.relay.session import (
    PING_INTERVAL,
    PING_TIMEOUT,
    WAKE_INTERVAL,
    RelaySession,
    State,
)
from portal_gateway.relay.websocket import CLOSE_TIMEOUT, ServerCarrierFactory
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.wire.yamux import Role
from portal_gateway.wire.yamux_frames import GO_AWAY, encode


class Highest(Random):
    """Draws the highest value every time."""

    def uniform(self, a, b):
        return b


class World:
    """A session, and the relay that it looks for on port 4017."""

    def __init__(self, url="ws://127.0.0.1:4017/relay?token=secret"):
        self.reactor = MemoryReactor(now=1000.0)
        self.served = []
        self.port = None
        self.connected = []
        self.lost = []
        self.session = RelaySession(self.reactor, url, rng=Highest())
        self.session.on_connected.append(self.connected.append)
        self.session.on_lost.append(lambda reason: self.lost.append(reason.value.loss))

    def listen(self, factory=None):
        self.port = self.reactor.listenTCP(
            4017, factory or ServerCarrierFactory(self.reactor, self._opened)
        )

    def _opened(self, carrier):
        self.served.append(RelayConnection(carrier, Role.SERVER, self.reactor, name="client"))
        return self.served[-1]

    def go_down(self):
        """The relay's process ends."""
        self.port.stopListening()
        for served in self.served:
            served.abort()
        self.reactor.advance(0)

    def start(self):
        self.session.start()
        self.reactor.advance(0)
        return self

    def up(self):
        self.listen()
        return self.start()

    def attempts_at(self, seconds, step=0.125):
        """When, from now, attempts begin within ``seconds``."""
        times = []
        started = self.reactor.seconds()
        attempts = self.session.attempts
        while self.reactor.seconds() - started < seconds:
            self.reactor.advance(step)
            if self.session.attempts != attempts:
                attempts = self.session.attempts
                times.append(self.reactor.seconds() - started)
        return times


def test_it_connects_and_says_so(logged):
    world = World()
    waiting = []
    world.session.when_connected().addCallback(waiting.append)
    assert world.session.state is State.IDLE
    assert not world.session.connected
    world.up()
    session = world.session
    assert session.state is State.UP
    assert session.connected
    assert world.connected == waiting == [session.connection]
    assert session.require() is session.connection
    again = []
    session.when_connected().addCallback(again.append)
    assert again == waiting
    assert (session.attempts, session.connects) == (1, 1)
    assert session.round_trip is not None
    (event,) = logged
    assert event["log_namespace"] == "portal_gateway.relay"
    assert event["log_level"] is LogLevel.info
    assert event["relay"] == "127.0.0.1:4017"
    assert "secret" not in str(event)
    session.start()
    assert session.attempts == 1


def test_after_a_loss_it_tries_at_once_then_with_growing_waits(logged):
    world = World().up()
    world.reactor.advance(STEADY)
    world.go_down()
    assert world.lost == [Loss.DROPPED]
    # At once, which is refused; then 0.5 s doubled each time, the highest that may be drawn.
    assert world.session.attempts == 2
    assert world.attempts_at(130) == [1.0, 3.0, 7.0, 15.0, 31.0, 61.0, 91.0, 121.0]
    assert world.session.last_loss is Loss.REFUSED
    assert not world.session.connected
    world.listen()
    world.reactor.advance(MAX_WAIT)
    assert world.session.connected
    assert len(world.connected) == 2
    told = [(event["log_level"], event.get("reason")) for event in logged]
    assert told[:3] == [
        (LogLevel.info, None),
        (LogLevel.warn, "dropped"),
        (LogLevel.warn, "refused"),
    ]
    # The same news again is for those who debug.
    assert {level for level, _ in told[3:-1]} == {LogLevel.debug}
    assert told[-1] == (LogLevel.info, None)
    assert all("log_failure" not in event for event in logged)


def test_waits_are_never_shorter_or_longer_than_their_bounds():
    world = World()
    world.session._backoff._rng = Random(7)
    world.start()
    times = [0.0, *world.attempts_at(300, step=0.01)]
    waits = [after - before for before, after in pairwise(times)]
    assert len(waits) > 10
    assert all(MIN_WAIT - 0.02 <= wait <= MAX_WAIT + 0.02 for wait in waits)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_a_relay_that_ends_the_connection_is_called_again_at_once(end):
    world = World().up()
    world.reactor.advance(STEADY)
    getattr(world.served[0], end)()
    world.reactor.advance(0)
    world.reactor.advance(CLOSE_TIMEOUT)
    assert world.session.connected
    assert world.session.connects == 2
    assert world.lost == [Loss.CLOSED if end == "close" else Loss.DROPPED]


def test_a_relay_that_accepts_and_closes_is_not_called_in_a_loop():
    world = World()

    def opened(carrier):
        connection = world._opened(carrier)
        world.reactor.callLater(0, connection.abort)
        return connection

    world.listen(ServerCarrierFactory(world.reactor, opened))
    world.start()
    world.reactor.advance(0)
    times = world.attempts_at(60)
    assert len(times) < 10
    assert world.session.state is State.WAITING


class Closes(Recorder):
    def connectionMade(self):
        self.transport.loseConnection()


class Refuses(Recorder):
    def connectionMade(self):
        self.transport.write(b"HTTP/1.1 403 Forbidden \xc2\x9b31m\r\n\r\n")


class Garbage(Recorder):
    def connectionMade(self):
        self.transport.write(bytes(range(256)) * 100)


@pytest.mark.parametrize(
    ("protocol", "loss"),
    [
        (Recorder, Loss.NO_ANSWER),
        (Closes, Loss.CLOSED),
        (Refuses, Loss.NOT_WEBSOCKET),
        (Garbage, Loss.NOT_WEBSOCKET),
    ],
)
def test_a_relay_that_is_none_is_a_named_failure_and_tried_again(protocol, loss, logged):
    world = World()
    world.listen(Factory.forProtocol(protocol))
    world.start()
    world.reactor.advance(10)
    assert world.session.last_loss is loss
    assert world.session.state is State.WAITING
    assert world.lost == []
    assert logged[0]["reason"] == str(loss)
    assert "31m" not in str(logged)
    world.port.stopListening()
    world.listen()
    world.reactor.advance(MAX_WAIT)
    assert world.session.connected


def test_a_relay_that_answers_no_ping_is_cut_off():
    world = World().up()
    world.reactor.advance(PING_INTERVAL + 1)
    pinged = world.session.connection.bytes_out
    world.reactor.advance(PING_INTERVAL)
    assert world.session.connection.bytes_out == pinged + 12
    world.reactor.links[-1].frozen = True
    connection = world.session.connection
    lost = []
    protocol = Recorder()
    connection.open_stream(protocol)
    connection.closed.addCallback(lost.append)
    before = world.reactor.seconds()
    while not lost:
        world.reactor.advance(0.25)
    assert world.reactor.seconds() - before <= PING_INTERVAL + PING_TIMEOUT
    assert world.lost == [Loss.PING_TIMEOUT]
    assert protocol.lost.loss is Loss.PING_TIMEOUT
    world.reactor.advance(0)
    assert world.session.connected
    assert world.session.connection is not connection


def test_an_answer_to_an_older_ping_does_not_keep_a_dead_connection():
    world = World().up()
    for _ in range(20):
        world.reactor.advance(PING_INTERVAL / 2)
    assert world.session.connects == 1
    assert world.lost == []


def test_a_relay_that_goes_away_is_left_while_its_streams_go_on():
    world = World().up()
    world.served[0].on_stream = lambda stream: Recorder()
    old = world.session.connection
    protocol = Recorder()
    old.open_stream(protocol)
    world.reactor.advance(STEADY)
    world.served[0]._carrier.send_message(encode(GO_AWAY, 0, 0))
    world.reactor.advance(0)
    world.reactor.advance(0)
    assert world.session.connected
    assert world.session.connection is not old
    assert world.lost == [Loss.CLOSED]
    assert protocol.lost is None
    protocol.transport.loseConnection()
    world.reactor.advance(0)
    assert protocol.lost is not None
    assert not world.reactor.links[0].connected
    assert world.lost == [Loss.CLOSED]
    assert world.session.connected


def test_somebody_who_needs_the_relay_brings_the_next_attempt_forward():
    world = World().start()
    world.attempts_at(20)
    assert world.session.state is State.WAITING
    for _ in range(40):
        with pytest.raises(GatewayError) as caught:
            world.session.require()
        assert caught.value.cause.code == "relay_unavailable"
        assert caught.value.cause.retry_after
        world.reactor.advance(0.05)
    attempts = world.session.attempts
    times = []
    started = world.reactor.seconds()
    while world.reactor.seconds() - started < 20:
        world.session.wake()
        world.reactor.advance(0.125)
        if world.session.attempts != attempts:
            attempts = world.session.attempts
            times.append(world.reactor.seconds())
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps == [WAKE_INTERVAL] * len(gaps)
    assert len(gaps) >= 8


def test_waking_never_puts_an_attempt_off():
    world = World().start()
    world.session.wake()
    assert world.attempts_at(1.0) == [1.0]


def test_stopping_closes_and_tells_when_all_is_gone():
    world = World().up()
    stopped = []
    world.session.stop().addCallback(stopped.append)
    assert world.session.state is State.STOPPED
    assert not world.session.connected
    assert stopped == []
    world.reactor.advance(0)
    assert stopped == [None]
    assert world.lost == [Loss.STOPPED]
    again = []
    world.session.stop().addCallback(again.append)
    assert again == [None]
    world.session.start()
    world.reactor.advance(60)
    assert world.session.attempts == 1
    # What is left of time is the relay's.
    world.served[0].abort()
    world.reactor.advance(CLOSE_TIMEOUT)
    assert world.reactor.getDelayedCalls() == []


def test_stopping_does_not_wait_for_a_relay_that_does_not_answer():
    world = World().up()
    world.reactor.links[-1].frozen = True
    stopped = []
    world.session.stop().addCallback(stopped.append)
    world.reactor.advance(CLOSE_TIMEOUT)
    world.reactor.links[-1].frozen = False
    world.reactor.advance(0)
    assert stopped == [None]


@pytest.mark.parametrize("moment", ["idle", "dialling", "waiting"])
def test_stopping_before_it_is_up(moment):
    world = World()
    waiting = []
    world.session.when_connected().addErrback(lambda reason: waiting.append(reason.value))
    if moment == "dialling":
        world.reactor.silent_ports.add(4017)
    if moment != "idle":
        world.start()
    stopped = []
    world.session.stop().addCallback(stopped.append)
    assert stopped == [None]
    assert waiting[0].cause.code == "relay_unavailable"
    world.session.when_connected().addErrback(lambda reason: waiting.append(reason.value))
    assert waiting[1].cause.code == "relay_unavailable"
    world.reactor.advance(60)
    assert world.reactor.getDelayedCalls() == []
    assert world.session.attempts == (0 if moment == "idle" else 1)


def test_waiting_for_a_connection_may_be_cancelled():
    world = World()
    errors = []
    first = world.session.when_connected()
    first.addErrback(lambda reason: errors.append(reason.type))
    second = []
    world.session.when_connected().addCallback(second.append)
    first.cancel()
    assert errors == [CancelledError]
    world.up()
    assert second == [world.session.connection]


def test_a_connection_that_comes_too_late_is_cut():
    reactor = MemoryReactor()
    attempt = Deferred(lambda _: attempt.callback(connection))

    class Connection:
        aborted = False

        def abort(self):
            self.aborted = True

    connection = Connection()
    session = RelaySession(reactor, "ws://relay.test/", dial=lambda: attempt)
    session.start()
    session.stop()
    assert connection.aborted


def test_a_defect_in_dialling_is_logged_and_does_not_end_the_session(tracebacks):
    reactor = MemoryReactor()
    attempts = []

    def dial():
        attempts.append(1)
        raise RuntimeError("a defect")

    session = RelaySession(reactor, "ws://relay.test/", dial=dial, rng=Highest())
    session.start()
    assert session.state is State.WAITING
    reactor.advance(1.0)
    assert len(attempts) == 2
    assert len(tracebacks) == 2
    tracebacks.clear()


def test_a_url_that_cannot_be_used_is_refused_at_once(tmp_path):
    for url, file in (("http://relay.test/", None), ("wss://relay.test/", tmp_path / "none.pem")):
        with pytest.raises((ValueError, OSError)):
            RelaySession(MemoryReactor(), url, tls=UpstreamTLS(file))
    assert repr(RelaySession(MemoryReactor(), "wss://relay.test/?secret")) == (
        "<RelaySession relay.test:443 idle>"
    )


def test_an_attempt_may_be_given_from_outside():
    world = World().up()
    other = RelaySession(
        world.reactor, "ws://relay.test/", dial=lambda: succeed(world.session.connection)
    )
    other.start()
    assert other.require() is world.session.connection
