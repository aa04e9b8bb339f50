"""A gateway in memory with leases of every kind behind it, each of which answers with its name."""

import json
from urllib.parse import unquote

import h11
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from portal_gateway.relay.serving import PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.testing.relay import EmbeddedRelay
from tests.frontend.gateway_world import World, head_of
from tests.relay.relayed import credential

__all__ = ["AccessWorld", "id_of", "outcome"]

RELAY_PORT, HTTP_RELAY_PORT, FIRST_ORIGIN_PORT = 4017, 4080, 3001


def id_of(number):
    """The lease id of the lease that is published with this number."""
    return credential(number).identity.id


class Service(Protocol):
    """Answers each request with the name of what it reached, and notes that it did."""

    def connectionMade(self):
        self.connection = h11.Connection(h11.SERVER)

    def dataReceived(self, data):
        self.connection.receive_data(data)
        while True:
            event = self.connection.next_event()
            if isinstance(event, h11.Request):
                self.request = event
                self.body = b""
            elif isinstance(event, h11.Data):
                self.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                self.answer()
            else:
                break

    def answer(self):
        request, name = self.request, self.factory.name_for(self.request.target)
        self.factory.reached.append((name, request.method.decode()))
        self.factory.bodies.append(self.body)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(name.encode())
        self.transport.write(head + (b"" if request.method == b"HEAD" else name.encode()))
        self.connection = h11.Connection(h11.SERVER)


class Services(Factory):
    """Makes the services that have one name. ``reached`` and ``bodies`` are a world's."""

    noisy = False
    protocol = Service

    def __init__(self, name, reached, bodies):
        self.name = name
        self.reached = reached
        self.bodies = bodies

    def name_for(self, _target):
        return self.name


class HTTPRelayServices(Services):
    """A relay with the route ``/peer/<name or id>/``: reaches its leases by either."""

    def __init__(self, names, reached, bodies):
        super().__init__("", reached, bodies)
        self.names = names

    def name_for(self, target):
        segment = unquote(target.split(b"/")[2].decode())
        return self.names.get(segment, "nobody")


class AccessWorld(World):
    """``published`` are the names of leases at a relay that lists them, numbered from 1.

    ``origins`` are the names of leases with a ``url``; those of the relay that is reached by HTTP
    are ``by_http``, numbered from 101. The configuration of all of that is added to ``config``.
    """

    def __init__(self, config, *, published=(), origins=(), by_http=(), leases=""):
        self.published = published
        self.origins = origins
        self.by_http = by_http
        self.reached = []
        self.bodies = []
        relays = ([f'"ws://127.0.0.1:{RELAY_PORT}/relay"'] if published else []) + (
            [f'"http://127.0.0.1:{HTTP_RELAY_PORT}"'] if by_http else []
        )
        listed = "".join(f"    - url: {url}\n" for url in relays)
        urls = "".join(
            f'  "{name}": {{url: "http://127.0.0.1:{FIRST_ORIGIN_PORT + number}"}}\n'
            for number, name in enumerate(origins)
        )
        self.ways = f"\nportal:\n  relays:\n{listed}leases:\n{urls}{leases}"
        super().__init__(config + self.ways, origin=False)
        self.reactor.advance(1)

    def reconfigure(self, config):
        """Other rules over the same leases."""
        return super().reconfigure(config + self.ways)

    def open_upstreams(self):
        self.relay = self.session = None
        self.leases = []
        if self.published:
            self.relay = EmbeddedRelay(self.reactor)
            self.relay.listen(TCP4ServerEndpoint(self.reactor, RELAY_PORT))
            self.session = RelaySession(self.reactor, self.relay.url)
            self.session.start()
            self.reactor.settle()
            for number, name in enumerate(self.published, 1):
                self.publish(number, name)
        for number, name in enumerate(self.origins):
            port = FIRST_ORIGIN_PORT + number
            self.reactor.listenTCP(port, Services(name, self.reached, self.bodies))
        names = {id_of(number): name for number, name in enumerate(self.by_http, 101)}
        names |= {name: name for name in self.by_http}
        self.reactor.listenTCP(HTTP_RELAY_PORT, HTTPRelayServices(names, self.reached, self.bodies))

    def publish(self, number, name):
        lease = PublishedLease(
            self.session,
            credential(number),
            name,
            ("http/1.1",),
            Services(name, self.reached, self.bodies),
            self.reactor,
        )
        lease.start()
        self.leases.append(lease)
        self.reactor.settle()

    def outcome(self, target, **options):
        """The name of the lease that a request reached, or the code of its refusal."""
        before = len(self.reached)
        wire = self.ask(target, **options)
        found = outcome(wire)
        names = [name for name, _ in self.reached[before:]]
        # What the client is told is what happened.
        assert names == ([found] if names else [])
        wire.transport.loseConnection()
        self.reactor.settle()
        self.reactor.links[:] = [link for link in self.reactor.links if link.connected]
        return found

    def stop(self):
        for lease in self.leases:
            lease.stop()
        if self.session is not None:
            self.session.stop()
            self.relay.stop()
        self.reactor.settle()
        return super().stop()


def outcome(wire):
    """What a whole answer says: the lease's own words, the code of a problem, or the status."""
    if not wire.received:
        return "nothing"
    first, fields, body = head_of(wire.received)
    status = int(first.split()[1])
    if status == 200:
        return body.decode()
    if (b"Content-Type", b"application/problem+json") in fields and body:
        return json.loads(body)["error"]
    return str(status)
