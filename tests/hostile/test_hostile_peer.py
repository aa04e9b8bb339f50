"""The hostile peer itself: honest as long as it has no faults, and else as its script says."""

import time

import pytest
from hostile_world import LEASE, STRANGER, Answer, HostileWorld, answer, listed

from portal_gateway.testing.hostile import RESPONSE, Script
from portal_gateway.testing.hostile_faults import (
    Message,
    Turn,
    doubled,
    ended,
    forged,
    in_frames,
    in_pieces,
    instead,
    oversized,
    replayed,
    reset,
    silent,
    truncated,
)
from portal_gateway.wire.errors import StaleTimestamp
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.secure_channel import SecureChannel


class Stream:
    """Takes what a fault does."""

    stream_id = 7

    def __init__(self):
        self.did = []

    def write(self, data):
        self.did.append(data)

    def loseConnection(self):
        self.did.append("end")

    def abortConnection(self):
        self.did.append("reset")


@pytest.mark.parametrize(
    ("fault", "did"),
    [
        (silent, []),
        (ended, ["end"]),
        (reset, ["reset"]),
        (truncated, [b"ho", "end"]),
        (oversized, [b"\xff\xff\xff\xffhones"]),
        (replayed, [b"before"]),
        (doubled, [b"honeshones"]),
        (in_pieces, [b"h", b"o", b"n", b"e", b"s"]),
        (instead(b"x"), [b"x"]),
        (in_frames(lambda stream_id: bytes([stream_id])), [("frames", b"\x07")]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_a_fault_does(fault, did):
    stream = Stream()
    frames = lambda data: stream.did.append(("frames", data))  # noqa: E731
    fault(Turn(Message.CONNECTION, b"hones", b"before", stream, frames))
    assert stream.did == did


def handshake():
    """A client, and an honest server's message for it."""
    gateway = Credential.generate()
    client = SecureChannel.client(gateway, LEASE.identity.id, now=time.time())
    server = SecureChannel.server(LEASE, alpns=("http/1.1",), clock=time.time)
    server.receive_data(client.data_to_send())
    return client, server.data_to_send()


def forge(message, fault):
    stream = Stream()
    fault(Turn(Message.HANDSHAKE, message, b"", stream, stream.write))
    return b"".join(stream.did)


def test_a_forgery_is_wrong_in_nothing_but_its_fields():
    client, message = handshake()
    assert forge(message, forged(LEASE)) == message
    client.receive_data(forge(message, forged(LEASE, alpn="http/1.1")))
    assert client.peer == LEASE.identity
    client, message = handshake()
    with pytest.raises(StaleTimestamp):
        client.receive_data(forge(message, forged(LEASE, timestamp=1)))


@pytest.mark.parametrize("through_honest_relay", [False, True])
def test_without_faults_it_is_honest(through_honest_relay):
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script, through_honest_relay=through_honest_relay)
    for count in (1, 2):
        assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
        assert script.requests == count
    # One conversation for each, and one with a relay about its list.
    assert script.conversations == (2 if through_honest_relay else 3)
    world.stop()


def test_a_stream_carries_one_request_after_the_other():
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    script.response = (RESPONSE[0].replace(b"Connection: close\r\n", b""), *RESPONSE[1:])
    world = HostileWorld(script)
    for _ in range(3):
        assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    assert (script.requests, script.conversations) == (3, 2)
    assert world.held["idle"] == 1
    world.upstream.route(listed(LEASE, "newcomer")).pool.close()
    world.stop()


def test_each_message_meets_its_fault_with_what_came_before_it():
    turns = []

    def note(turn):
        turns.append(turn)
        turn.stream.write(turn.honest)

    script = Script(LEASE, (listed(LEASE, "newcomer"),), faults=dict.fromkeys(Message, note))
    world = HostileWorld(script)
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    first = list(turns)
    assert [turn.message for turn in first] == [*Message, Message.LATER_RECORD]
    assert {turn.earlier for turn in first} == {b""}
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(200)
    second = turns[len(first) :]
    assert [turn.message for turn in second] == [turn.message for turn in first[1:]]
    assert [turn.earlier for turn in second] == [turn.honest for turn in first[1:]]
    world.stop()


def test_an_app_has_no_frames_to_send():
    script = Script(STRANGER)
    world = HostileWorld(script, through_honest_relay=True)
    refused = []

    def fault(turn):
        with pytest.raises(NotImplementedError):
            turn.send_frames(b"")
        refused.append(turn)
        turn.stream.loseConnection()

    script.faults[Message.CONNECTION] = fault
    assert answer(world, world.ask("/peer/newcomer/")) == Answer(503, "lease_busy")
    assert len(refused) == 1
    world.stop()
