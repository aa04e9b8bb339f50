import sys

from portal_gateway.frontend.outlet import PIECE, STEP, Outlet
from tests.frontend.serving import Producer


class Sink:
    """A transport that keeps what it is given, and the watcher of the outlet."""

    def __init__(self, bound: int = PIECE) -> None:
        self.writes: list[bytes] = []
        self.told: list[str] = []
        self.bound = bound
        self.outlet = Outlet(self, self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        assert type(data) is bytes
        self.writes.append(data)
        if self.size > self.bound:
            self.outlet.pauseProducing()

    @property
    def size(self) -> int:
        return sum(map(len, self.writes))

    def drain(self) -> bytes:
        data = b"".join(self.writes)
        self.writes.clear()
        self.outlet.resumeProducing()
        return data

    def output_blocked(self) -> None:
        self.told.append("blocked")

    def output_drained(self) -> None:
        self.told.append("drained")


def test_what_is_held_is_one_write() -> None:
    sink = Sink()
    sink.outlet.hold(b"a")
    sink.outlet.hold(b"b")
    assert sink.writes == []
    assert sink.outlet.holds
    sink.outlet.flush()
    sink.outlet.flush()
    assert sink.writes == [b"ab"]
    assert not sink.outlet.holds


def test_holding_is_bounded() -> None:
    sink = Sink()
    sink.outlet.hold(b"a")
    sink.outlet.hold(b"x" * PIECE)
    assert sink.size == PIECE + 1
    assert not sink.outlet.holds


def test_large_data_is_not_copied_for_each_client() -> None:
    sink = Sink()
    data = b"x" * 50 * PIECE
    before = sys.getrefcount(data)
    sink.outlet.hold(b"head")
    sink.outlet.hold(data)
    assert sink.size < 2 * PIECE
    assert sys.getrefcount(data) > before
    while sink.writes:
        sink.drain()
    assert sys.getrefcount(data) == before


def test_large_data_goes_in_pieces_as_the_client_takes_them() -> None:
    sink = Sink()
    data = bytes(range(256)) * 4096
    sink.outlet.write(data)
    sink.outlet.write(b"end")
    taken = b""
    while sink.writes:
        assert sink.size <= PIECE + STEP
        assert max(map(len, sink.writes)) <= STEP
        taken += sink.drain()
    assert taken == data + b"end"
    assert sink.told == ["blocked", "drained"]
    assert not sink.outlet.blocked


def test_the_producer_hears_only_when_everything_is_gone() -> None:
    sink, producer = Sink(), Producer()
    sink.outlet.register(producer)
    sink.outlet.write(b"x" * 5 * PIECE)
    assert producer.told == ["pause"]
    sink.drain()
    assert producer.told == ["pause"]
    while sink.writes:
        sink.drain()
    assert producer.told == ["pause", "resume"]


def test_a_producer_that_blocks_again_when_told_to_resume() -> None:
    sink = Sink()

    class Eager(Producer):
        def resumeProducing(self) -> None:
            super().resumeProducing()
            sink.outlet.write(b"x" * (PIECE + 1))

    producer = Eager()
    sink.outlet.register(producer)
    producer.resumeProducing()
    for _ in range(3):
        assert sink.outlet.blocked
        sink.drain()
    assert producer.told == ["resume", "pause"] * 4
    assert sink.told == ["blocked", "drained"] * 3 + ["blocked"]


def test_nothing_is_told_twice() -> None:
    sink = Sink()
    sink.outlet.resumeProducing()
    assert sink.told == []
    sink.outlet.pauseProducing()
    sink.outlet.pauseProducing()
    assert sink.told == ["blocked"]
    sink.outlet.resumeProducing()
    sink.outlet.resumeProducing()
    assert sink.told == ["blocked", "drained"]
    sink.outlet.stopProducing()


def test_discarding() -> None:
    sink = Sink()
    sink.outlet.write(b"x" * 5 * PIECE)
    sink.outlet.hold(b"y")
    sink.outlet.discard()
    sink.drain()
    sink.outlet.flush()
    assert sink.writes == []


def test_a_watcher_that_writes_more_when_everything_is_gone() -> None:
    sink, producer = Sink(), Producer()
    written = [b"x" * (PIECE + 1)]
    sink.output_drained = lambda: sink.outlet.write(written.pop()) if written else None
    sink.outlet.register(producer)
    sink.outlet.write(b"x" * (PIECE + 1))
    sink.drain()
    assert sink.outlet.blocked
    assert producer.told == ["pause", "pause"]
    while sink.writes:
        sink.drain()
    assert producer.told == ["pause", "pause", "resume"]
