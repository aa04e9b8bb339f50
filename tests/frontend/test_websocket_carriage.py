"""Whatever is sent over a WebSocket arrives, however it is cut, compressed, paused and flooded."""

import zlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websocket_world import BINARY, CLOSE, CONFIG, PING, Frame, Sockets, close, deflated, frame

CONT = 0
PACED = CONFIG + "websocket: {messages_per_second: 50, message_burst: 10}\n"

BODIES = st.one_of(
    st.binary(max_size=200),
    st.integers(0, 100_000).map(bytes),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(1, 9000)).map(lambda p: p[0] * p[1]),
)


@st.composite
def sendings(draw):
    """A message in fragments, with pings in between: its body, and frames."""
    body = draw(BODIES)
    compressed = draw(st.booleans())
    payload = deflated(body) if compressed else body
    cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=5)))
    frames = []
    for start, end in zip([0, *cuts], [*cuts, len(payload)], strict=True):
        first, last = not frames, end == len(payload) and len(frames) >= len(cuts)
        opcode = BINARY if first else CONT
        rsv = 4 if first and compressed else 0
        frames.append(Frame(opcode, payload[start:end], last, rsv))
    pinged = draw(st.integers(0, 40))
    place = draw(st.integers(0, len(frames)))
    data = [*frames[:place], *[Frame(PING, b"p")] * pinged, *frames[place:]]
    return body, pinged, data


def messages_of(frames):
    """The bodies of the messages that came, and how many pings."""
    bodies, pings, parts, inflater = [], 0, [], None
    for item in frames:
        if item.opcode == PING:
            pings += 1
        elif item.opcode < CLOSE:
            if item.opcode != CONT:
                inflater = zlib.decompressobj(wbits=-15) if item.rsv else None
            parts.append(inflater.decompress(item.payload) if inflater else item.payload)
            if item.fin:
                bodies.append(b"".join(parts))
                parts = []
    return bodies, pings


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    from_client=st.booleans(),
    paced=st.booleans(),
    sent=st.lists(sendings(), min_size=1, max_size=4),
    chunk=st.sampled_from([None, 1000, 5000]),
    pauses=st.lists(st.booleans(), max_size=6),
)
def test_everything_arrives(from_client, paced, sent, chunk, pauses):
    world = Sockets(PACED if paced else CONFIG)
    client, lease = world.open_deflated()
    sender, other = (client, lease) if from_client else (lease, client)
    for link in world.reactor.links:
        link.chunk = chunk
    data = b"".join(
        frame(item.opcode, item.payload, fin=item.fin, rsv=item.rsv, mask=from_client)
        for _, _, frames in sent
        for item in frames
    )
    sender.wire.send(data + frame(CLOSE, close(1000), mask=from_client))
    for paused in pauses:
        transport = other.wire.transport
        (transport.pauseProducing if paused else transport.resumeProducing)()
        world.reactor.advance(0.05)
    other.wire.transport.resumeProducing()
    world.reactor.advance(15)
    frames = other.frames
    assert frames[-1].opcode == CLOSE
    bodies, pings = messages_of(frames)
    assert bodies == [body for body, _, _ in sent]
    assert pings == sum(pinged for _, pinged, _ in sent)
    world.stop()
