"""A relay that floods: ``python -m tests.abuse.hostile_relay LEASES``.

It prints ``ready HOST:PORT``. It lists ``agent``, whose every answer comes in records of one byte,
and so many other leases. A line on its standard input names a flood that the gateway's session then
gets; ``sent N`` is printed when it has been written.
"""

import os
import signal
import sys

from twisted.internet import reactor, stdio
from twisted.protocols.basic import LineOnlyReceiver

from portal_gateway.testing.hostile import HostileRelay, Script
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import ListedLease
from portal_gateway.wire.yamux_frames import ACK, DATA, PING, SYN, WINDOW_UPDATE, encode

FLOODS = {
    "pings": encode(PING | SYN, 0, 7),
    "windows": encode(WINDOW_UPDATE, 1, 1),
    "empty": encode(DATA, 1, 0),
    "acknowledgements": encode(PING | ACK, 0, 7),
}

MOST = 600_000
MESSAGE = 16_384


class Orders(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, relay: HostileRelay) -> None:
        self._relay = relay

    def lineReceived(self, line: bytes) -> None:
        name = line.decode()
        if name == "streams":
            made = b"".join(encode(DATA | SYN, 2 * n, 0) for n in range(1, MOST // 12))
        else:
            made = FLOODS[name] * (MOST // 12)
        for start in range(0, len(made), MESSAGE):
            self._relay.send_frames(made[start : start + MESSAGE])
        print(f"sent {len(made)}", flush=True)


def main() -> None:
    agent = Credential.generate()
    leases = [agent, *(Credential.generate() for _ in range(8))]
    number = int(sys.argv[1])
    listed = [
        ListedLease(
            owner.identity.id if n < len(leases) else f"{n:026d}".translate(LETTERS),
            "agent" if not n else f"lease-{n}",
            alpn=("http/1.1",),
            metadata='{"description": "' + "d" * 200 + '"}',
            public_key=owner.identity.public_key,
        )
        for n in range(number)
        for owner in [leases[n % len(leases)]]
    ]
    body = b"x" * 5000
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    script = Script(agent, tuple(listed), relay=agent.identity)
    script.response = (head, *(b"x" for _ in body))
    relay = HostileRelay(reactor, script, 0)
    stdio.StandardIO(Orders(relay))
    address = relay._port.getHost()
    print(f"ready {address.host}:{address.port}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    reactor.run()


LETTERS = str.maketrans("0123456789", "ABCDEFGHIJ")

if __name__ == "__main__":
    main()
