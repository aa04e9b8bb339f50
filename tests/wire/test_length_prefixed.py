"""Messages behind their length, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.wire.errors import PacketTooLarge
from portal_gateway.wire.length_prefixed import LengthPrefixedReader, length_prefixed

LIMIT = 64


def feed(reader, stream, size):
    found = []
    for start in range(0, len(stream), size):
        found += reader.receive_data(stream[start : start + size])
    return found


@given(
    st.lists(st.binary(max_size=LIMIT), max_size=8),
    st.integers(min_value=1, max_value=200),
    st.binary(max_size=3),
)
def test_messages_come_out_as_they_went_in_and_a_rest_stays(bodies, size, rest):
    reader = LengthPrefixedReader(LIMIT, PacketTooLarge)
    stream = b"".join(length_prefixed(body) for body in bodies)
    assert feed(reader, stream + rest, size) == bodies
    assert reader.trailing_data == rest
    assert reader.empty == (not rest)


@given(st.binary(max_size=LIMIT), st.binary(max_size=200))
def test_after_its_one_message_the_rest_is_not_read(body, rest):
    reader = LengthPrefixedReader(LIMIT, PacketTooLarge, once=True)
    assert reader.receive_data(length_prefixed(body) + rest) == [body]
    assert reader.complete
    assert reader.trailing_data == rest
    with pytest.raises(RuntimeError):
        reader.receive_data(b"x")


@pytest.mark.parametrize("length", [LIMIT + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_a_length_above_the_limit_is_refused_and_nothing_is_kept(length, size):
    reader = LengthPrefixedReader(LIMIT, PacketTooLarge)
    with pytest.raises(PacketTooLarge, match=f"{length} bytes announced, {LIMIT} allowed"):
        feed(reader, length.to_bytes(4, "big") + b"x" * 50, size)
    assert reader.empty
