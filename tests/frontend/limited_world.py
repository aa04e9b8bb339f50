"""A whole gateway in memory with rate limits, and a lease that answers everything at once."""

from tests.frontend.gateway_world import KEY, World, head_of

CONFIG = f"""
gateway:
  listen: "127.0.0.1:8080"
auth:
  keys:
    - {{id: tester, key: "{KEY}"}}
    - {{id: other, key: sk_live_other_0123}}
    - {{id: premium, key: sk_live_premium}}
    - {{id: reader, key: sk_live_reader_0123, scopes: [read]}}
leases:
  tool:
    url: "http://127.0.0.1:3000"
  second:
    url: "http://127.0.0.1:3000"
"""

FIELDS = {
    b"ratelimit-policy",
    b"ratelimit",
    b"x-ratelimit-limit",
    b"x-ratelimit-remaining",
    b"x-ratelimit-reset",
}


class Answer:
    """What a client got: the gateway's refusal, or the lease's answer."""

    def __init__(self, received):
        first, fields, self.body = head_of(received)
        self.status = int(first.split()[1])
        self.fields = {name.lower(): value for name, value in fields}
        told = [name for name, _ in fields if name.lower() in FIELDS]
        assert len(set(told)) == len(told)

    @property
    def limits(self):
        return {name for name in self.fields if name in FIELDS}


class Limited(World):
    """A gateway with limits, and a lease that answers everything at once."""

    def __init__(self, limits, config=CONFIG):
        super().__init__(config + limits)
        self.reached = 0

    def ask(self, target="/peer/tool/", **options):
        wire = super().ask(target, fields=["Connection: close"], **options)
        for origin in self.origin.wires:
            if origin.received:
                origin.received = b""
                self.reached += 1
                origin.send(b"HTTP/1.1 204 No Content\r\nX-Of: lease\r\n\r\n")
        self.reactor.settle()
        return Answer(wire.received)

    def admitted(self, most=100, status=204, **options):
        """How many requests are answered with ``status`` before one is refused."""
        for n in range(most):
            answer = self.ask(**options)
            if answer.status != status:
                assert answer.status == 429
                return n
        return most
