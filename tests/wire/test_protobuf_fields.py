"""The walk over a message's fields sees what the library sees, and stops at what it refuses."""

from itertools import islice

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire import portal_pb2
from portal_gateway.wire.protobuf_fields import length_delimited_fields


@given(st.lists(st.text(max_size=200)), st.lists(st.binary(max_size=200)), st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_fields_are_those_that_the_library_wrote(
    addresses: list[str], leases: list[bytes], key: bytes
) -> None:
    identity = portal_pb2.Identity(id="id", public_key=key)
    message = portal_pb2.RelayInfo(identity=identity, address=addresses, leases=leases)
    assert [
        (number, bytes(value))
        for number, value in length_delimited_fields(message.SerializeToString())
        if value is not None
    ] == [
        (1, identity.SerializeToString()),
        *((2, address.encode()) for address in addresses),
        *((3, lease) for lease in leases),
    ]


def test_other_wire_types_are_passed_over() -> None:
    message = (
        b"\x20\x96\x01"  # field 4, a number of two bytes
        b"\x29" + bytes(8) + b"\x35" + bytes(4) + b"\x1a\x01x"  # 5: 8 bytes, 6: 4 bytes, 3: "x"
    )
    fields = list(length_delimited_fields(message))
    assert [number for number, _ in fields] == [4, 5, 6, 3]
    assert [value if value is None else bytes(value) for _, value in fields] == [None] * 3 + [b"x"]


@pytest.mark.parametrize(
    "rest",
    [
        b"\x80",  # a tag without an end
        b"\xff" * 11,  # … and one that never ends
        b"\x98" + b"\x80" * 9 + b"\x00\x01",  # … and one of eleven bytes
        b"\x1a",  # no length
        b"\x1a\x80",  # a length without an end
        b"\x1a\x02x",  # a value that goes on behind the message
        b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # … by far
        b"\x20",  # a number that is not there
        b"\x29" + bytes(7),
        b"\x35" + bytes(3),
        b"\x1b",  # a group
        b"\x1f",  # a wire type that there is not
    ],
)
def test_a_broken_field_comes_after_the_good_ones(rest: bytes) -> None:
    walk = length_delimited_fields(b"\x1a\x01x" + rest)
    assert next(walk) == (3, b"x")
    with pytest.raises(ValueError, match=r"end$|wire type"):
        next(walk)
    with pytest.raises(DecodeError):
        portal_pb2.RelayInfo.FromString(b"\x1a\x01x" + rest)


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_fields_or_value_error(data: bytes) -> None:
    try:
        fields = list(length_delimited_fields(data))
    except ValueError:
        return
    assert sum(len(value) for _, value in fields if value is not None) <= len(data)


def test_what_is_not_asked_for_is_not_walked() -> None:
    assert list(islice(length_delimited_fields(b"\x1a\x00\x1f"), 1)) == [(3, b"")]
