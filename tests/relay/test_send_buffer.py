from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.relay.send_buffer import SendBuffer


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=20),
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 50)), max_size=60),
)
def test_everything_leaves_once_and_in_order_however_it_is_taken(writes, turns):
    buffer = SendBuffer()
    for data in writes:
        buffer.append(data)
    whole = b"".join(writes)
    taken = bytearray()
    for limit, room in turns:
        before = len(taken)
        left = room

        def send(data):
            nonlocal left
            size = min(left, len(data))
            left -= size
            taken.extend(data[:size])
            return size

        waiting = buffer.size
        given_bytes = buffer.give(send, limit)
        assert given_bytes == len(taken) - before == min(limit, room, waiting)
        assert buffer.size == len(whole) - len(taken)
        assert bool(buffer) == (buffer.size > 0)
    assert whole.startswith(taken)


def test_clearing_drops_what_waits():
    buffer = SendBuffer()
    buffer.append(b"abc")
    buffer.clear()
    assert not buffer
    assert buffer.size == 0
    assert buffer.give(len, 10) == 0
