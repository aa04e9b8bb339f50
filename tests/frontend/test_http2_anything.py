"""Whatever a client sends, nothing raises, nothing is left, and every request is recorded."""

from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.frontend.http2_protocol import MAX_STREAMS
from portal_gateway.wire.http2_frames import PREFACE
from tests.frontend.http2_world import GET, HTTP2, POST, frame
from tests.frontend.serving import Noting, Reader

streams = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 0x7FFFFFFF])

blocks = st.sampled_from([GET, POST, [*POST, (b"content-length", b"5")], [(b"x", b"y")], []]).map(
    lambda fields: Encoder().encode(fields, huffman=False)
)

frames = (
    st.builds(frame, st.just(1), blocks, st.sampled_from([4, 5, 5, 1, 0]), streams)
    | st.builds(frame, st.just(0), st.binary(max_size=9), st.sampled_from([0, 1, 8]), streams)
    | st.builds(frame, st.just(3), st.just(b"\0\0\0\x08"), st.just(0), streams)
    | st.builds(
        frame,
        st.just(8),
        st.sampled_from([b"\0\0\0\1", b"\x7f\xff\xff\xff", b"\0\0\0\0"]),
        st.just(0),
        streams,
    )
    | st.builds(
        frame,
        st.just(4),
        st.sampled_from([b"", b"\0\4\0\0\0\0", b"\0\4\x7f\xff\xff\xff", b"\0\1\xff\xff\xff\xff"]),
        st.sampled_from([0, 0, 1]),
        st.just(0),
    )
    | st.builds(frame, st.integers(0, 12), st.binary(max_size=20), st.integers(0, 255), streams)
)


def respond(request):
    """Each kind of resource, chosen by how many there were."""
    kind = len(request.exchange.request_id) % 3
    if kind == 0:
        request.read_body(Reader())
    elif kind == 1:
        request.answer(b"x" * 100)
    else:
        request.send_head(200, b"", [], length=None)
        request.send_data(b"x" * 70_000)


@settings(max_examples=150, deadline=None)
@given(st.lists(frames, max_size=25), st.integers(1, 200), st.booleans())
def test_frames_in_any_order(sent, cut, closes):
    noting = Noting(respond)
    served = HTTP2(noting)
    data = PREFACE + frame(4) + b"".join(sent)
    for start in range(0, len(data), cut):
        served.client.transport.write(data[start : start + cut])
        served.settle()
        assert len(served.channel._streams) <= MAX_STREAMS
    if closes:
        served.site.stop()
        served.settle()
    served.wait(12)
    for request in noting.requests:
        if not request.over and request.head_sent and len(request.exchange.request_id) % 3 == 2:
            request.send_end()
    served.settle()
    served.finish()
    recorded = {id(exchange) for exchange in served.exchanges}
    assert {id(request.exchange) for request in noting.requests} <= recorded
    assert len(recorded) == len(served.exchanges)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes(data):
    served = HTTP2(Noting())
    served.client.transport.write(PREFACE + frame(4) + data)
    served.settle()
    served.wait(12)
    served.finish()
