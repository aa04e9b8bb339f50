"""The work that one connection of HTTP/2 may have done in one turn of the reactor."""

import pytest

from portal_gateway.frontend.http2_turns import REQUEST, WORK, FrameTurns
from portal_gateway.wire.http2_frames import MAX_FRAME_SIZE, PREFACE, FrameTooLong
from tests.frontend.http2_world import GET, HTTP2, frame, next_turn
from tests.frontend.serving import Noting

SHARE = WORK // (1 + REQUEST)
"""Requests of one turn, one more being begun with what is left."""

PING = frame(6, b"12345678")


@pytest.fixture
def noting():
    return Noting()


@pytest.fixture
def world(noting):
    world = HTTP2(noting)
    world.turn()
    yield world
    world.finish()


def begin(world, count):
    """The bytes that a client writes for so many requests."""
    for _ in range(count):
        stream = world.h2.get_next_available_stream_id()
        world.h2.send_headers(stream, GET, end_stream=True)
    return world.h2.data_to_send()


def hits(world):
    return world.site.limit_hits["http2_turn"]


def test_a_hundred_requests_of_one_read_are_begun_in_several_turns(world, noting):
    data = begin(world, 100)
    world.channel.dataReceived(data)
    begun = [len(noting.requests)]
    while begun[-1] < 100:
        next_turn(world.clock)
        begun.append(len(noting.requests))
    steps = [after - before for before, after in zip([0, *begun], begun, strict=False)]
    assert max(steps) <= SHARE + 1
    assert hits(world) == len(begun) - 1 == 100 // (SHARE + 1)


def test_another_client_is_served_between(world, noting):
    crowd, data = world.channel, begin(world, 100)
    world.connect(host="192.0.2.8")
    world.turn()
    other, asked = world.channel, begin(world, 1)
    crowd.dataReceived(data)
    other.dataReceived(asked)
    assert len(noting.requests) <= SHARE + 2
    assert noting.requests[-1].exchange.client_address == "192.0.2.8"


def test_nothing_is_read_meanwhile_and_what_comes_all_the_same_is_handled_in_order(world, noting):
    data = begin(world, 100)
    world.channel.dataReceived(data[:900])
    assert world.paused
    # TLS delivers what it has decrypted already.
    world.channel.dataReceived(data[900:])
    assert len(noting.requests) <= SHARE + 1
    world.clock.advance(0)
    assert not world.paused
    assert len(noting.requests) == 100


def test_frames_that_begin_nothing_have_turns_too(world, noting):
    world.channel.dataReceived(PING * (3 * WORK))
    assert hits(world) == 1
    world.clock.advance(0)
    assert hits(world) == 3


def test_who_goes_meanwhile_leaves_nothing(world, noting):
    world.channel.dataReceived(begin(world, 100))
    begun = len(noting.requests)
    world.client.transport.abortConnection()
    world.settle()
    assert len(noting.requests) == begun


def test_a_connection_that_fails_meanwhile_handles_nothing_more(world, noting):
    world.channel.dataReceived(PING * WORK + begin(world, 20))
    world.channel.abort()
    world.clock.advance(0)
    assert noting.requests == []


def test_a_frame_too_long_behind_a_whole_turn_is_found_in_the_next():
    turns = FrameTurns(MAX_FRAME_SIZE)
    turns.add(PREFACE + PING * WORK + frame(0, b"x" * (MAX_FRAME_SIZE + 1))[:20])
    turns.begin()
    taken = 0
    while turns.take() is not None:
        taken += 1
    assert taken == WORK
    assert turns.is_over
    turns.begin()
    with pytest.raises(FrameTooLong):
        turns.take()
