import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.errors import fault
from portal_gateway.frontend.body import UNREAD_BOUND, BodyInlet
from tests.frontend.serving import Reader


class Source:
    """Notes whether it is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


def test_what_comes_before_a_reader_is_kept_in_order() -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    inlet.receive_data(b"a")
    inlet.receive_data(b"b")
    inlet.read(reader)
    inlet.receive_data(b"c")
    inlet.receive_end([(b"A", b"b")])
    assert reader.pieces == [b"a", b"b", b"c"]
    assert reader.trailers == [(b"A", b"b")]


def test_the_bound() -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    inlet.receive_data(b"x" * UNREAD_BOUND)
    assert not source.paused
    inlet.receive_data(b"y")
    assert source.paused
    inlet.read(reader)
    assert not source.paused
    assert len(reader.body) == UNREAD_BOUND + 1


def test_a_body_is_read_once() -> None:
    inlet = BodyInlet(Source())
    inlet.read(Reader())
    with pytest.raises(RuntimeError):
        inlet.read(Reader())


def test_pausing_from_inside_of_the_reader() -> None:
    source = Source()
    inlet = BodyInlet(source)

    class Careful(Reader):
        def request_data(self, data: bytes) -> None:
            super().request_data(data)
            inlet.pause()

    reader = Careful()
    for piece in (b"a", b"b", b"c"):
        inlet.receive_data(piece)
    inlet.receive_end([])
    inlet.read(reader)
    for count in (1, 2, 3):
        assert len(reader.pieces) == count
        assert source.paused
        assert not reader.over
        inlet.resume()
    assert reader.trailers == []


def test_resuming_from_inside_of_the_reader_goes_no_deeper() -> None:
    inlet = BodyInlet(Source())
    depth: list[int] = []

    class Hasty(Reader):
        def request_data(self, data: bytes) -> None:
            super().request_data(data)
            depth.append(len(depth))
            inlet.pause()
            inlet.resume()

    for _ in range(5000):
        inlet.receive_data(b"x")
    reader = Hasty()
    inlet.read(reader)  # RecursionError if it did
    assert len(reader.pieces) == 5000


def test_an_abort_drops_what_is_kept() -> None:
    error = fault("bad_request", "gone")
    inlet, reader = BodyInlet(Source()), Reader()
    inlet.receive_data(b"a")
    inlet.abort(error)
    inlet.read(reader)
    assert (reader.pieces, reader.error) == ([], error)


def test_an_abort_reaches_a_reader_that_paused() -> None:
    error = fault("bad_request", "gone")
    inlet, reader = BodyInlet(Source()), Reader()
    inlet.read(reader)
    inlet.pause()
    inlet.receive_data(b"a")
    inlet.abort(error)
    assert reader.error is error
    inlet.abort(error)
    inlet.receive_data(b"b")
    inlet.resume()
    assert reader.pieces == []


def test_a_complete_body_is_not_aborted() -> None:
    inlet, reader = BodyInlet(Source()), Reader()
    inlet.receive_data(b"a")
    inlet.receive_end([])
    inlet.abort(fault("bad_request", "gone"))
    inlet.read(reader)
    assert (reader.body, reader.trailers) == (b"a", [])


def test_a_body_that_ends_while_its_reader_pauses_lets_the_connection_go_on() -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    inlet.read(reader)
    inlet.pause()
    inlet.receive_data(b"x")
    inlet.receive_end([])
    inlet.resume()
    assert reader.over
    assert not source.paused


@pytest.mark.parametrize("paused_by", ["reader", "bound"])
def test_a_body_that_is_dropped_while_it_is_held_back_lets_the_connection_go_on(
    paused_by: str,
) -> None:
    source = Source()
    inlet = BodyInlet(source)
    if paused_by == "reader":
        inlet.read(Reader())
        inlet.pause()
    else:
        inlet.receive_data(b"x" * (UNREAD_BOUND + 1))
    assert source.paused
    inlet.drop()
    assert not source.paused


def test_dropping() -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    inlet.read(reader)
    inlet.drop()
    inlet.receive_data(b"x" * UNREAD_BOUND * 2)
    inlet.receive_end([])
    inlet.pause()
    assert not source.paused
    assert not reader.over
    assert reader.pieces == []


@settings(deadline=None)
@given(st.lists(st.one_of(st.binary(min_size=1, max_size=9), st.sampled_from(["pause", "resume"]))))
def test_nothing_is_lost_or_reordered(steps: list[bytes | str]) -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    inlet.read(reader)
    sent = b""
    paused = False
    for step in steps:
        if isinstance(step, bytes):
            sent += step
            inlet.receive_data(step)
        else:
            paused = step == "pause"
            (inlet.pause if paused else inlet.resume)()
        assert source.paused is paused
        assert sent.startswith(reader.body)
        assert paused or reader.body == sent
    inlet.receive_end([])
    inlet.resume()
    assert reader.body == sent
    assert reader.trailers == []


def test_a_body_is_told_when_it_is_all_there_and_read_whole_afterwards() -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    told: list[bytes | None] = []
    inlet.receive_data(b"a")
    inlet.peek(told.append)
    inlet.receive_data(b"b")
    assert told == []
    inlet.receive_end([(b"A", b"b")])
    assert told == [b"ab"]
    inlet.read(reader)
    assert reader.body == b"ab"
    assert reader.trailers == [(b"A", b"b")]


def test_a_body_that_is_there_is_told_at_once() -> None:
    inlet = BodyInlet(Source())
    told: list[bytes | None] = []
    inlet.receive_data(b"x" * UNREAD_BOUND)
    inlet.receive_end([])
    inlet.peek(told.append)
    inlet.peek(told.append)
    assert told == [b"x" * UNREAD_BOUND] * 2


@pytest.mark.parametrize("before", [0, 1, UNREAD_BOUND + 1])
def test_a_long_body_is_not_told_and_kept_to_the_bound(before: int) -> None:
    source, reader = Source(), Reader()
    inlet = BodyInlet(source)
    told: list[bytes | None] = []
    if before:
        inlet.receive_data(b"x" * before)
    inlet.peek(told.append)
    if before <= UNREAD_BOUND:
        assert told == []
        inlet.receive_data(b"x" * (UNREAD_BOUND + 1 - before))
    assert told == [None]
    assert source.paused
    inlet.read(reader)
    assert not source.paused
    inlet.receive_data(b"y")
    inlet.receive_end([])
    assert reader.body == b"x" * (UNREAD_BOUND + 1) + b"y"
    assert told == [None]


def test_a_body_that_breaks_off_is_told_as_none() -> None:
    inlet = BodyInlet(Source())
    told: list[bytes | None] = []
    inlet.receive_data(b"a")
    inlet.peek(told.append)
    inlet.abort(fault("bad_request", "gone"))
    inlet.peek(told.append)
    assert told == [None, None]


def test_a_body_that_nobody_wants_is_not_told() -> None:
    inlet = BodyInlet(Source())
    told: list[bytes | None] = []
    inlet.peek(told.append)
    inlet.drop()
    inlet.receive_end([])
    assert told == []


def test_a_body_can_be_read_from_inside_of_being_told() -> None:
    reader = Reader()
    inlet = BodyInlet(Source())
    inlet.peek(lambda body: inlet.read(reader))
    inlet.receive_data(b"ab")
    inlet.receive_end([])
    assert reader.body == b"ab"
    assert reader.trailers == []


def test_a_body_that_is_being_read_cannot_be_looked_at() -> None:
    inlet = BodyInlet(Source())
    inlet.read(Reader())
    with pytest.raises(RuntimeError):
        inlet.peek(lambda body: None)
