"""Frames written by hand, and two yamux sessions joined by two wires that can be cut anywhere."""

from struct import pack, unpack_from

from portal_gateway.wire.yamux import DataReceived, Role, YamuxSession

__all__ = ["DATA", "GO_AWAY", "PING", "UPDATE", "Pair", "frame", "frames", "joined_data", "merged"]

DATA, UPDATE, PING, GO_AWAY = range(4)
NAMES = {DATA: "data", UPDATE: "update", PING: "ping", GO_AWAY: "go away"}
FLAGS = {1: "SYN", 2: "ACK", 4: "FIN", 8: "RST"}


def frame(kind, flags, stream_id, length=0, payload=b"", version=0):
    """One frame; ``flags`` like ``"SYN FIN"``; the length is the payload's where there is one."""
    bits = (
        flags
        if isinstance(flags, int)
        else sum(bit for bit, name in FLAGS.items() if name in flags.split())
    )
    return pack(">BBHII", version, kind, bits, stream_id, len(payload) or length) + payload


def frames(data):
    """Read frames back: a list of (kind, flags, stream id, length or payload)."""
    result = []
    pos = 0
    while pos < len(data):
        version, kind, bits, stream_id, length = unpack_from(">BBHII", data, pos)
        assert version == 0
        pos += 12
        flags = " ".join(name for bit, name in FLAGS.items() if bits & bit)
        if kind == DATA:
            assert pos + length <= len(data)
            result.append((NAMES[kind], flags, stream_id, bytes(data[pos : pos + length])))
            pos += length
        else:
            result.append((NAMES[kind], flags, stream_id, length))
    return result


def merged(events):
    """The events with neighbouring data of one stream joined: what no cut of the bytes changes."""
    result = []
    for event in events:
        last = result[-1] if result else None
        if type(event) is type(last) is DataReceived and last.stream_id == event.stream_id:
            result[-1] = DataReceived(event.stream_id, last.data + event.data)
        else:
            result.append(event)
    return result


def joined_data(events, stream_id):
    """All data of one stream."""
    return b"".join(
        event.data
        for event in events
        if isinstance(event, DataReceived) and event.stream_id == stream_id
    )


class Pair:
    """A client and a server session; ``pump`` carries what they say until both are silent."""

    def __init__(self, **options):
        self.client = YamuxSession(Role.CLIENT, **options)
        self.server = YamuxSession(Role.SERVER, **options)

    def to_server(self):
        """Everything the client has to say; the server's events."""
        events = self.server.receive_data(self.client.data_to_send())
        assert self.server.failure is None
        return events

    def to_client(self):
        """Everything the server has to say; the client's events."""
        events = self.client.receive_data(self.server.data_to_send())
        assert self.client.failure is None
        return events

    def pump(self):
        """The events of (client, server)."""
        at_client, at_server = [], []
        while self.client.has_data_to_send or self.server.has_data_to_send:
            at_server += self.to_server()
            at_client += self.to_client()
        return at_client, at_server

    def open(self):
        """A stream of the client that the server accepted."""
        stream_id = self.client.open_stream()
        self.to_server()
        self.server.accept_stream(stream_id)
        self.pump()
        return stream_id
