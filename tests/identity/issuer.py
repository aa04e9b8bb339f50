"""An issuer in memory: what it publishes, and how it answers who asks."""

from twisted.internet.protocol import Factory, Protocol

from tests.wire.jwt_world import jwk, key_set

PORT = 9000


def answer(body, status="200 OK", fields=()):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", ""]
    return "\r\n".join(lines).encode() + body


class _Asked(Protocol):
    def __init__(self, issuer):
        self.issuer = issuer
        self.received = b""
        self.lost = None

    def dataReceived(self, data):
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.issuer.requests.append(self.received)
            if self.issuer.answer is not None:
                self.transport.write(self.issuer.answer)

    def connectionLost(self, reason):
        self.lost = reason


class Issuer(Factory):
    """Publishes a set of keys; ``answer`` is what whoever asks gets, ``None`` for silence."""

    noisy = False

    def __init__(self, *keys):
        self.requests = []
        self.connections = []
        self.answer = None
        self.publish(*(keys or (jwk("ES256", "a"),)))

    def publish(self, *keys):
        self.answer = answer(key_set(*keys))

    def buildProtocol(self, addr):
        asked = _Asked(self)
        self.connections.append(asked)
        return asked
