"""portal.proto and the code made from it say the same, with the protocol's numbers."""

import re
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor

from portal_gateway.wire import portal_pb2

PROTO = Path(portal_pb2.__file__).with_name("portal.proto").read_text()

TYPE_NAMES = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_INT64: "int64",
}

# What the relay protocol fixes: the type of each field by its number.
CONTRACT = {
    "Identity": {1: "string", 2: "bytes"},
    "SignedPayload": {1: "bytes", 2: "bytes"},
    "InitPayload": {
        1: "ProtocolVersion",
        2: "bytes",
        3: "int64",
        4: "Identity",
        5: "string",
        6: "bytes",
    },
    "Packet": {1: "PacketType", 2: "bytes"},
    "RelayInfo": {1: "Identity", 2: "string", 3: "bytes"},
    "RelayInfoResponse": {1: "RelayInfo"},
    "Lease": {1: "Identity", 2: "int64", 3: "string", 4: "string", 5: "string"},
    "LeaseUpdateRequest": {1: "Lease", 2: "bytes", 3: "int64"},
    "LeaseDeleteRequest": {1: "Identity", 2: "bytes", 3: "int64"},
    "ConnectionRequest": {1: "string", 2: "Identity"},
    "CodeResponse": {1: "ResponseCode"},
}


def _blocks(kind: str) -> dict[str, str]:
    return dict(re.findall(rf"^{kind} (\w+) {{\n(.*?)^}}", PROTO, re.DOTALL | re.MULTILINE))


def _type_name(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return field.message_type.name
    if field.enum_type is not None:
        return field.enum_type.name
    return TYPE_NAMES[field.type]


def test_generated_messages_are_those_of_the_file() -> None:
    written = {
        name: {
            (field, int(number), type_, bool(repeated))
            for repeated, type_, field, number in re.findall(
                r"^  (repeated )?(\w+) (\w+) = (\d+);", body, re.MULTILINE
            )
        }
        for name, body in _blocks("message").items()
    }
    generated = {
        name: {
            (field.name, field.number, _type_name(field), field.is_repeated)
            for field in message.fields
        }
        for name, message in portal_pb2.DESCRIPTOR.message_types_by_name.items()
    }
    assert generated == written


def test_generated_enumerations_are_those_of_the_file() -> None:
    written = {
        name: dict(re.findall(r"^  (\w+) = (\d+);", body, re.MULTILINE))
        for name, body in _blocks("enum").items()
    }
    generated = {
        name: {value.name: str(value.number) for value in enum.values}
        for name, enum in portal_pb2.DESCRIPTOR.enum_types_by_name.items()
    }
    assert generated == written


def test_numbers_and_types_are_those_of_the_protocol() -> None:
    generated = {
        name: {field.number: _type_name(field) for field in message.fields}
        for name, message in portal_pb2.DESCRIPTOR.message_types_by_name.items()
    }
    assert generated == CONTRACT
