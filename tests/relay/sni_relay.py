"""A relay with the manners of Portal 2: TLS passes through it, by the name in the ClientHello."""

from twisted.internet.protocol import Factory, Protocol


def server_name(hello):
    """The host name in a ClientHello; b"" where there is none, None while it is incomplete.

    RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3.
    """
    if len(hello) < 5 or len(hello) < 5 + int.from_bytes(hello[3:5], "big"):
        return None
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 2
    while at < end:
        kind, size = (int.from_bytes(hello[at + k : at + k + 2], "big") for k in (0, 2))
        if kind == 0:
            return hello[at + 9 : at + 4 + size]
        at += 4 + size
    return b""


class _Peeking(Protocol):
    def __init__(self, relay):
        self.relay = relay
        self.hello = b""
        self.lease = None

    def dataReceived(self, data):
        if self.lease is not None:
            self.lease.dataReceived(data)
            return
        self.hello += data
        name = server_name(self.hello)
        if name is None:
            return
        self.relay.names.append(name)
        lease = self.relay.leases.get(name)
        if lease is None:
            # Before any TLS byte.
            self.relay.turn_away(self.transport)
            return
        # What the publisher at the other side of the relay would see.
        self.lease = lease.buildProtocol(self.transport.getPeer())
        self.lease.makeConnection(self.transport)
        self.lease.dataReceived(self.hello)

    def connectionLost(self, reason):
        if self.lease is not None:
            self.lease.connectionLost(reason)


class SNIRelay(Factory):
    """``leases`` maps host names to factories that speak TLS; ``names`` are those asked for."""

    noisy = False

    def __init__(self, leases, *, reset=True):
        self.leases = dict(leases)
        self.names = []
        self.reset = reset

    def turn_away(self, transport):
        if self.reset:
            transport.abortConnection()
        else:
            transport.loseConnection()

    def buildProtocol(self, addr):
        return _Peeking(self)
