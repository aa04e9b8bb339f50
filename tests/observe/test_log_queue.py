"""A queue that never makes anybody wait, and loses nothing while there is room."""

import os
import threading

import pytest

from portal_gateway.observe.log_queue import LogQueue

PATIENCE = 10.0


class Output:
    """Keeps what is written; writes wait while it is ``stuck``, and fail while it is ``full``."""

    def __init__(self):
        self.written = []
        self.moves = threading.Event()
        self.moves.set()
        self.waits = threading.Event()
        self.full = False
        self.takes = 1_000_000
        self.failed = threading.Event()
        self.closed = threading.Event()

    def write(self, data):
        self.waits.set()
        assert self.moves.wait(PATIENCE)
        if self.full:
            self.failed.set()
            raise OSError(28, "No space left on device")
        self.written.append(data[: self.takes])
        return data[self.takes :]

    def close(self):
        self.closed.set()


def told(count):
    return f"{count} lost\n"


@pytest.fixture
def output():
    return Output()


@pytest.fixture
def make(output):
    made = []

    def queue(**options):
        made.append(LogQueue(output, told, **{"retry_after": 0.01} | options))
        return made[-1]

    yield queue
    output.moves.set()
    for each in made:
        each.close()
    assert output.closed.wait(PATIENCE)


def stuck(queue, output):
    """Have the thread wait in a write."""
    output.moves.clear()
    queue.write("first\n")
    assert output.waits.wait(PATIENCE)


def test_everything_is_written_in_order(make, output):
    queue = make()
    for number in range(1000):
        queue.write(f"{number}\n")
    assert queue.drain(PATIENCE)
    assert b"".join(output.written) == b"".join(b"%d\n" % number for number in range(1000))
    assert queue.dropped == 0


def test_an_output_that_is_stuck_stops_nobody(make, output):
    queue = make(most=106)
    stuck(queue, output)
    for _ in range(1000):
        queue.write("123456789\n")
    assert queue.dropped == 990
    assert not queue.drain(0.01)
    output.moves.set()
    assert queue.drain(PATIENCE)
    assert output.written == [b"first\n", b"123456789\n" * 10 + b"990 lost\n"]
    queue.write("later\n")
    assert queue.drain(PATIENCE)
    assert output.written[-1] == b"later\n"


def test_an_output_that_fails_is_tried_again(make, output):
    queue = make()
    output.full = True
    queue.write("one\ntwo\n")
    assert output.failed.wait(PATIENCE)
    queue.write("three\n")
    output.full = False
    assert queue.drain(PATIENCE)
    assert b"".join(output.written) == b"one\ntwo\nthree\n"
    assert queue.dropped == 0


def test_what_an_output_gives_back_is_written_first(make, output):
    queue = make()
    output.takes = 4
    queue.write("one\ntwo\nsix\n")
    queue.write("ten\n")
    assert queue.drain(PATIENCE)
    assert b"".join(output.written) == b"one\ntwo\nsix\nten\n"


def test_while_an_output_fails_no_more_waits_than_may(make, output):
    queue = make(most=100)
    output.full = True
    for _ in range(1000):
        queue.write("123456789\n")
    assert queue.dropped == 990
    output.full = False
    assert queue.drain(PATIENCE)
    assert b"".join(output.written) == b"123456789\n" * 10 + b"990 lost\n"


def test_at_the_end_nobody_waits_for_an_output_that_fails(make, output):
    queue = make(retry_after=PATIENCE)
    output.full = True
    queue.write("one\ntwo\n")
    assert output.failed.wait(PATIENCE)
    queue.close()
    assert output.closed.wait(PATIENCE)
    assert queue.drain(PATIENCE)
    assert queue.over
    assert queue.dropped == 2


def test_what_was_taken_is_written_before_it_closes(make, output):
    queue = make()
    stuck(queue, output)
    queue.write("second\n")
    queue.close()
    queue.write("too late\n")
    output.moves.set()
    assert output.closed.wait(PATIENCE)
    assert output.written == [b"first\n", b"second\n1 lost\n"]
    assert queue.dropped == 1


def test_a_process_that_was_forked_has_a_thread_of_its_own(tmp_path):
    """As a daemon of twistd, which is made before it forks."""

    class File:
        def write(self, data):
            with (tmp_path / "log").open("ab") as file:
                file.write(data)
            return b""

        def close(self):
            pass

    queue = LogQueue(File())
    queue.write("parent\n")
    assert queue.drain(PATIENCE)
    child = os.fork()
    if not child:
        try:
            queue.write("child\n")
            os._exit(0 if queue.drain(PATIENCE) else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert (tmp_path / "log").read_text() == "parent\nchild\n"
    queue.close()
