"""Progress of a client that reads is measured in bytes over time."""

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import example, given, settings
from hypothesis import strategies as st

from portal_gateway.frontend.http2_stream import LEAST_TAKEN
from portal_gateway.frontend.http2_waits import MOST_STALLS
from tests.frontend.http2_world import HTTP2
from tests.frontend.serving import Noting

STALL = 30.0


class Endless:
    """Sends as much as it may, as a large download does."""

    def __init__(self, request, piece=32 * 1024):
        self.request = request
        self.piece = piece
        self.paused = False
        request.register_response_producer(self)
        request.send_head(200, b"", [], length=None)

    def pauseProducing(self):
        self.paused = True

    def resumeProducing(self):
        self.paused = False

    def stopProducing(self):
        self.paused = True

    def produce(self):
        while not self.paused and not self.request.over:
            self.request.send_data(b"x" * self.piece)


class World(HTTP2):
    """A client that gives credit by hand, and downloads that never end."""

    def __init__(self, *, window=0, count=10, piece=32 * 1024, **limits):
        self.noting = Noting()
        super().__init__(self.noting, write_stall=STALL, **limits)
        self.credit = False
        self.turn()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.h2.increment_flow_control_window(2**30)
        self.turn()
        self.ids = [self.ask() for _ in range(count)]
        self.downloads = [Endless(request, piece) for request in self.noting.requests]
        self.turn()

    def turn(self):
        super().turn()
        for download in getattr(self, "downloads", ()):
            download.produce()
        super().turn()

    def grants(self, size, *streams):
        for stream in streams or self.ids:
            if stream in self.h2.streams and self.h2.streams[stream].open:
                self.h2.increment_flow_control_window(size, stream)
        self.turn()

    @property
    def cut(self):
        return [s for s in self.ids if self.answers[s].reset == ErrorCodes.CANCEL]


@pytest.mark.parametrize("grant", [1, 100, LEAST_TAKEN // 2 - 1])
@pytest.mark.parametrize("every", [STALL / 2, STALL / 3, 1.0])
def test_windows_that_open_a_little_at_a_time(grant, every):
    world = World()
    grant = max(1, int(grant * every / (STALL / 2)))
    passed = 0.0
    while passed < STALL:
        assert world.cut == []
        world.grants(grant)
        world.lets_pass(every)
        passed += every
    world.lets_pass(2)
    assert world.cut == world.ids
    assert world.site.limit_hits["write_stall"] == 10
    assert world.goaway is None
    assert world.channel.requests() == []
    world.finish()


@pytest.mark.parametrize("how", ["the connection's window", "settings"])
def test_windows_that_open_a_little_by_other_means(how):
    world = World(window=65_535 if how != "settings" else 0)
    # Use up what the connection's window has.
    if how != "settings":
        world.channel._h2.outbound_flow_control_window = 0
    for step in range(3):
        if how == "settings":
            world.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: step + 1})
        else:
            world.h2.increment_flow_control_window(10)
        world.turn()
        world.lets_pass(STALL / 2)
    assert world.cut == world.ids
    world.finish()


def test_a_client_that_takes_enough_is_never_cut():
    world = World(count=3)
    for _ in range(40):
        world.grants(LEAST_TAKEN)
        world.lets_pass(STALL * 0.8)
    assert world.cut == []
    world.finish()


def test_a_client_that_takes_all_there_is_is_never_slow():
    """As of a stream of events: what does not wait is not owed."""
    noting = Noting()
    served = HTTP2(noting, write_stall=STALL)
    stream = served.ask()
    noting.requests[0].send_head(200, b"", [], length=None)
    for _ in range(100):
        noting.requests[0].send_data(b"data: 1\n\n")
        served.lets_pass(STALL * 0.9)
    assert served.answers[stream].reset is None
    assert len(served.answers[stream].body) == 900
    served.finish()


def test_those_that_are_read_go_on_beside_those_that_are_not():
    world = World()
    read, held = world.ids[:3], world.ids[3:]
    for _ in range(8):
        world.grants(LEAST_TAKEN, *read)
        world.grants(1, *held)
        world.lets_pass(STALL / 2)
    assert world.cut == held
    world.finish()


def test_a_narrow_window_of_the_connection_is_shared():
    """Nobody starves while the client takes enough for all."""
    world = World(window=2**30)
    world.channel._h2.outbound_flow_control_window = 0
    for _ in range(120):
        world.h2.increment_flow_control_window(LEAST_TAKEN)
        world.turn()
        world.lets_pass(2)
    assert world.cut == []
    sizes = [len(world.answers[stream].body) for stream in world.ids]
    assert max(sizes) < 2 * min(sizes)
    world.finish()


def test_a_connection_that_is_slow_is_not_the_streams():
    """Time in which the transport takes nothing is for the connection's own stall."""
    world = World(window=2**30, count=20)
    for _ in range(3):
        # Blocked for most of the time, and drained in time.
        world.channel._outlet.pauseProducing()
        world.lets_pass(STALL - 1)
        world.channel._outlet.resumeProducing()
        world.turn()
    assert world.cut == []
    assert not world.closed
    world.finish()


@pytest.mark.parametrize("grant", [0, 1])
def test_a_connection_that_is_blocked_again_and_again_excuses_no_stream_for_ever(grant):
    world = World(count=3)
    passed = 0.0
    while not world.cut and passed < 3 * MOST_STALLS * STALL:
        world.channel._outlet.pauseProducing()
        world.lets_pass(STALL - 1)
        passed += STALL - 1
        world.channel._outlet.resumeProducing()
        if grant:
            world.grants(grant)
        world.turn()
    assert world.cut == world.ids
    assert passed <= (MOST_STALLS + 1) * STALL
    world.finish()


@settings(max_examples=40, deadline=None)
@example([(1, 1), (32769, 1), (1, 1), (16382, 28)])
@given(st.lists(st.tuples(st.integers(1, 40_000), st.integers(1, 29)), max_size=12))
def test_a_stream_is_cut_exactly_when_it_took_too_little(steps):
    """As a model: a new measure begins with each `LEAST_TAKEN` bytes."""
    # One piece: a frame never ends because a piece does.
    world = World(count=1, piece=12 * 40_000)
    (stream,) = world.ids
    since, taken, now = 0.0, 0, 0.0
    for size, seconds in steps:
        world.grants(size, stream)
        left = size
        while left:
            # The gateway writes at most one frame at a time.
            part = min(left, 16_384)
            left -= part
            taken += part
            if taken >= LEAST_TAKEN:
                since, taken = now, 0
        before = now
        now += seconds
        world.lets_pass(seconds)
        due = since + STALL
        if now >= due + 2:
            assert world.cut == [stream]
            break
        if before < due and now < due:
            assert world.cut == []
        elif world.cut:
            break
    world.finish()
