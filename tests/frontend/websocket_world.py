"""A gateway in memory with a WebSocket through it, spoken by hand at both ends (RFC 6455)."""

import re

from tests.frontend.gateway_world import CONFIG, KEY, World, head_of
from tests.frontend.raw_frames import (
    BINARY,
    CLIENT_KEY,
    CLOSE,
    NO_TAKEOVER,
    PING,
    PONG,
    TEXT,
    Frame,
    accept_of,
    close,
    deflated,
    frame,
    inflated,
    read_frames,
)


class Side:
    """One peer of an open WebSocket."""

    def __init__(self, world, wire, *, is_client):
        self._world = world
        self.wire = wire
        self._masks = is_client
        self._read = len(wire.received)

    def send(self, *frames, raw=b""):
        """Send frames, each an argument tuple of `frame`, or raw bytes."""
        made = b"".join(
            frame(item[0], *item[1:2], mask=self._masks)
            if isinstance(item, tuple) and not isinstance(item, Frame)
            else frame(*item[:2], fin=item.fin, rsv=item.rsv, mask=self._masks)
            for item in frames
        )
        self.wire.send(made + raw)
        self._world.reactor.settle()

    @property
    def frames(self):
        """What came since the last look."""
        data = self.wire.received[self._read :]
        found, rest = read_frames(data, expect_mask=not self._masks)
        self._read += len(data) - len(rest)
        return found

    @property
    def ended(self):
        return self.wire.lost is not None


class Sockets(World):
    """A `World` that opens WebSockets."""

    def ask_upgrade(self, target="/peer/tool/chat", *, key=KEY, fields=(), replaced=None, rest=b""):
        """Send an opening handshake; returns the client's wire."""
        opening = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": CLIENT_KEY,
            **(replaced or {}),
        }
        lines = [f"{name}: {value}" for name, value in opening.items() if value is not None]
        wire = self.connect()
        head = [f"GET {target} HTTP/1.1", "Host: gw.example:8080", *lines, *fields]
        if key:
            head.append(f"X-API-Key: {key}")
        wire.send("\r\n".join([*head, "", ""]).encode() + rest)
        self.reactor.settle()
        return wire

    def accept(self, *, fields=(), rest=b""):
        """The lease answers 101; returns its wire."""
        origin = self.origin.wires[-1]
        key = re.search(rb"Sec-WebSocket-Key: (\S+)\r\n", origin.received)[1]
        lines = [
            b"HTTP/1.1 101 Switching Protocols",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Accept: " + accept_of(key),
            *fields,
        ]
        origin.send(b"\r\n".join([*lines, b"", b""]) + rest)
        self.reactor.settle()
        return origin

    def open(self, *, client_fields=(), lease_fields=(), **options):
        """A WebSocket that is open at both ends."""
        wire = self.ask_upgrade(fields=client_fields, **options)
        origin = self.accept(fields=lease_fields)
        assert wire.received.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        client = Side(self, wire, is_client=True)
        client._read = wire.received.index(b"\r\n\r\n") + 4
        lease = Side(self, origin, is_client=False)
        return client, lease

    def open_deflated(self, **options):
        """One with permessage-deflate at both ends."""
        return self.open(
            client_fields=["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"],
            lease_fields=[
                b"Sec-WebSocket-Extensions: permessage-deflate;" + NO_TAKEOVER,
            ],
            **options,
        )

    def access_lines(self):
        """Stop; the lines of the access log."""
        return [line for line in self.stop() if line["message"].startswith("request_")]


__all__ = [
    "BINARY",
    "CLIENT_KEY",
    "CLOSE",
    "CONFIG",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "Side",
    "Sockets",
    "accept_of",
    "close",
    "deflated",
    "frame",
    "head_of",
    "inflated",
    "read_frames",
]
