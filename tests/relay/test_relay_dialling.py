import pytest
from joined import Recorder
from twisted.internet import error
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.protocol import Factory

from portal_gateway.relay.connection import RelayConnection
from portal_gateway.relay.lost import Loss, lost_by
from portal_gateway.relay.relay_dialling import (
    DIAL_TIMEOUT,
    RelayURL,
    dial_relay,
    relay_endpoint,
    verified_tls,
)
from portal_gateway.relay.websocket import ServerCarrierFactory
from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.wire.yamux import Role


@pytest.mark.parametrize(
    ("text", "secure", "host", "port", "name"),
    [
        ("ws://relay.test:4017/relay", False, "relay.test", 4017, "relay.test:4017"),
        ("ws://relay.test/relay", False, "relay.test", 80, "relay.test:80"),
        ("wss://relay.test/relay?token=secret", True, "relay.test", 443, "relay.test:443"),
        ("wss://[2001:db8::1]:8443/", True, "2001:db8::1", 8443, "[2001:db8::1]:8443"),
        ("ws://127.0.0.1:1", False, "127.0.0.1", 1, "127.0.0.1:1"),
    ],
)
def test_a_relays_url_is_taken_apart(text, secure, host, port, name):
    url = RelayURL.parse(text)
    assert (url.secure, url.host, url.port, url.name) == (secure, host, port, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "relay.test:4017",
        "http://relay.test/",
        "ws:///relay",
        "ws://user:password@relay.test/",
        "ws://relay.test/#here",
        "ws://relay.test:port/",
        "ws://relay.test:70000/",
        "ws://relay.test/a b",
        "ws://relay.test/\r\nX-Injected: 1",
        "ws://\u00fcber.test/",
        "ws://[::1/",
    ],
)
def test_any_other_url_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011  # urllib's own words stand for some of them
        RelayURL.parse(text)


def test_an_address_needs_no_resolver():
    reactor = MemoryReactor()
    for text, kind in (
        ("ws://relay.test/", HostnameEndpoint),
        ("ws://127.0.0.1/", TCP4ClientEndpoint),
        ("ws://[::1]/", TCP6ClientEndpoint),
    ):
        assert type(relay_endpoint(reactor, RelayURL.parse(text), None)) is kind


def test_a_file_of_authorities_must_hold_one(tmp_path):
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing here")
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        verified_tls("relay.test", empty)
    with pytest.raises(FileNotFoundError):
        verified_tls("relay.test", tmp_path / "absent.pem")


class Network:
    """A reactor with a relay on port 4017."""

    def __init__(self):
        self.reactor = MemoryReactor(now=100.0)
        self.connected = []
        self.lost = []

    def listen(self, factory=None):
        factory = factory or ServerCarrierFactory(self.reactor, self._opened)
        return self.reactor.listenTCP(4017, factory)

    def _opened(self, carrier):
        return RelayConnection(carrier, Role.SERVER, self.reactor, name="client")

    def dial(self, text="ws://127.0.0.1:4017/relay"):
        attempt = dial_relay(self.reactor, RelayURL.parse(text))
        attempt.addCallbacks(self.connected.append, lambda reason: self.lost.append(reason.value))
        self.reactor.advance(0)
        return attempt

    @property
    def losses(self):
        return [lost.loss for lost in self.lost]

    @property
    def quiet(self):
        return self.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_dialling_gives_a_connection_that_works(host):
    network = Network()
    network.listen()
    network.dial(f"ws://{host}:4017/relay")
    network.reactor.advance(1)
    (connection,) = network.connected
    assert connection.usable
    answers = []
    connection.ping().addCallback(answers.append)
    network.reactor.advance(0)
    assert len(answers) == 1
    connection.close()
    network.reactor.advance(0)
    assert network.quiet


def test_nothing_that_listens():
    network = Network()
    network.dial()
    assert network.losses == [Loss.REFUSED]
    assert network.lost[0].cause.code == "relay_unavailable"
    assert network.quiet


def test_a_name_that_does_not_resolve():
    network = Network()
    network.dial("ws://absent.test:4017/relay")
    assert network.losses == [Loss.UNREACHABLE]
    assert network.quiet


def test_packets_that_vanish():
    network = Network()
    network.reactor.silent_ports.add(4017)
    network.dial()
    network.reactor.advance(DIAL_TIMEOUT - 0.5)
    assert network.losses == []
    network.reactor.advance(1)
    assert network.losses == [Loss.NO_ANSWER]
    assert network.quiet


def test_a_relay_that_takes_the_connection_and_says_nothing():
    network = Network()
    network.listen(Factory.forProtocol(Recorder))
    network.dial()
    network.reactor.advance(DIAL_TIMEOUT)
    assert network.losses == [Loss.NO_ANSWER]
    network.reactor.advance(0)
    assert network.quiet
    assert not network.reactor.links[-1].connected


class Says(Recorder):
    answer = b""

    def connectionMade(self):
        self.transport.write(self.answer)
        self.transport.loseConnection()


@pytest.mark.parametrize(
    ("answer", "loss"),
    [
        (b"", Loss.CLOSED),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Loss.NOT_WEBSOCKET),
        (b"\xff" * 100_000, Loss.NOT_WEBSOCKET),
    ],
)
def test_relays_that_are_none(answer, loss):
    network = Network()
    network.listen(Factory.forProtocol(type("Answers", (Says,), {"answer": answer})))
    network.dial()
    network.reactor.advance(0)
    assert network.losses == [loss]
    assert network.quiet


def test_another_path_than_the_relays():
    network = Network()
    network.listen()
    network.dial("ws://127.0.0.1:4017/other")
    assert network.losses == [Loss.NOT_WEBSOCKET]
    assert "404" in network.lost[0].detail


@pytest.mark.parametrize("moment", ["name", "tcp", "websocket"])
def test_an_attempt_may_be_cancelled_at_any_moment(moment):
    network = Network()
    if moment == "websocket":
        network.listen(Factory.forProtocol(Recorder))
    else:
        network.reactor.silent_ports.add(4017)
    attempt = network.dial("ws://localhost:4017/" if moment == "name" else "ws://127.0.0.1:4017/")
    attempt.cancel()
    network.reactor.advance(0)
    assert [type(reason) for reason in network.lost] == [CancelledError]
    network.reactor.advance(DIAL_TIMEOUT + 1)
    assert network.quiet
    assert all(not link.connected for link in network.reactor.links)


def test_twisteds_reasons_have_ours():
    table = [
        (error.ConnectionDone(), Loss.CLOSED),
        (error.ConnectionLost(), Loss.DROPPED),
        (error.ConnectionAborted(), Loss.DROPPED),
        (error.ConnectionRefusedError(), Loss.REFUSED),
        (error.TimeoutError(), Loss.NO_ANSWER),
        (error.TCPTimedOutError(), Loss.NO_ANSWER),
        (error.DNSLookupError(), Loss.UNREACHABLE),
        (error.NoRouteError(), Loss.UNREACHABLE),
        (error.ConnectError(), Loss.UNREACHABLE),
        (OSError(101, "Network is unreachable"), Loss.UNREACHABLE),
    ]
    for reason, loss in table:
        assert lost_by(reason).loss is loss
