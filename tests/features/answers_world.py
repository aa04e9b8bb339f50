"""A gateway behind TLS whose one lease is scripted, an origin's or one behind a relay.

Clients speak HTTP/1.1 or HTTP/2 to it.
"""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import InformationalResponseReceived, ResponseReceived
from twisted.internet.endpoints import TCP4ServerEndpoint

from portal_gateway.relay.serving import PublishedLease
from portal_gateway.relay.session import RelaySession
from portal_gateway.testing.relay import EmbeddedRelay
from tests.frontend.gateway_world import KEY
from tests.frontend.test_negotiation import SecureWorld
from tests.frontend.websocket_world import Sockets
from tests.relay.relayed import credential

__all__ = ["CLIENTS", "OK", "WAYS", "AnswersWorld", "heads_of"]

WAYS = ("origin", "relay")
CLIENTS = ("HTTP/1.1", "HTTP/2")

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
  lease_host: "{{lease}}.gw.example"
  tls: {{cert_file: "%s", key_file: "%s"}}
portal:
  relays: [{{url: "ws://127.0.0.1:4017/relay"}}]
auth:
  keys: [{{key: "{KEY}", id: tester}}]
leases:
  origin: {{url: "http://127.0.0.1:3000"}}
  plain: {{url: "http://127.0.0.1:3000", rewrite: false}}
"""


def heads_of(received):
    """The heads of HTTP/1.1, status and fields with names in lower case, of which no body came."""
    heads = []
    for head in received.split(b"\r\n\r\n")[:-1]:
        first, *lines = head.split(b"\r\n")
        fields = [line.split(b": ", 1) for line in lines]
        heads.append((int(first.split()[1]), [(name.lower(), value) for name, value in fields]))
    return heads


class AnswersWorld(SecureWorld, Sockets):
    """The lease is called ``origin`` or ``relay``, and is ``self.origin`` either way."""

    def __init__(self, certified, directory, config=CONFIG):
        self.relay = None
        super().__init__(config % certified.write(directory))
        self.reactor.advance(1)
        self.relay = EmbeddedRelay(self.reactor)
        self.relay.listen(TCP4ServerEndpoint(self.reactor, 4017))
        self.session = RelaySession(self.reactor, self.relay.url)
        self.session.start()
        self.reactor.settle()
        self.lease = PublishedLease(
            self.session, credential(1), "relay", ("http/1.1",), self.origin, self.reactor
        )
        self.lease.start()
        self.reactor.settle()
        # The gateway did not find its relay at once.
        self.reactor.advance(60)
        self.settle()

    def settle(self):
        for _ in range(4):
            self.reactor.settle()
            self.reactor.advance(0)

    def heads(self, client, target, answer, host="gw.example:8080", *, key=KEY, more=()):
        """All heads that a client of this version gets for what the lease says."""
        fields = [("x-api-key", key), *more]
        if client == "HTTP/2":
            return self._heads_2(target, answer, host, fields)
        wire = self.connect_tls(b"http/1.1")
        lines = [f"GET {target} {client}", f"Host: {host}", *map(": ".join, fields), "", ""]
        wire.send("\r\n".join(lines).encode("latin-1"))
        self.settle()
        self.say(answer)
        return heads_of(wire.received)

    def say(self, answer):
        """Have the lease say something."""
        self.origin.wires[-1].send(answer)
        self.settle()

    def _heads_2(self, target, answer, host, more):
        wire = self.connect_tls(b"h2")
        h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
        h2.initiate_connection()
        fields = [(":method", "GET"), (":scheme", "https"), (":authority", host), (":path", target)]
        h2.send_headers(1, [*fields, *more], end_stream=True)
        wire.send(h2.data_to_send())
        self.settle()
        self.say(answer)
        return [
            (int(dict(event.headers)[b":status"]), list(event.headers)[1:])
            for event in h2.receive_data(wire.received)
            if isinstance(event, ResponseReceived | InformationalResponseReceived)
        ]

    def stop(self):
        self.lease.stop()
        self.session.stop()
        self.relay.stop()
        self.reactor.settle()
        return super().stop()
