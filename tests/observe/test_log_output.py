"""Files that are renamed, cut, truncated, rotated and full, and streams that do not wait."""

import fcntl
import os
import select
import threading
from multiprocessing import get_context
from pathlib import Path

import pytest
from twisted.logger import globalLogPublisher

from portal_gateway.config.model import LoggingSection
from portal_gateway.observe.log_output import FILE_MODE, AtOnce, LogFile, LogStream, open_output

LINE = b"x" * 99 + b"\n"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "gateway.log"


def test_lines_are_appended_to_what_is_there(path):
    path.write_bytes(b"before\n")
    output = LogFile(path)
    output.write(b"one\n")
    output.write(b"two\n")
    output.close()
    assert path.read_bytes() == b"before\none\ntwo\n"


def test_a_new_file_is_not_for_everybody(path):
    before = os.umask(0)
    try:
        LogFile(path).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == FILE_MODE


def test_no_line_is_lost_when_the_file_is_renamed(path):
    output = LogFile(path)
    for number in range(9):
        output.write(b"%d\n" % number)
        if number % 3 == 2:
            path.rename(path.with_name(f"old{number}"))
    output.close()
    kept = [path.with_name(f"old{number}").read_bytes() for number in (2, 5, 8)]
    assert b"".join(kept) == b"".join(b"%d\n" % number for number in range(9))
    assert not path.exists()


def test_a_file_that_was_truncated_goes_on_at_its_start(path):
    output = LogFile(path)
    output.write(LINE)
    os.truncate(path, 0)
    output.write(b"after\n")
    output.close()
    assert path.read_bytes() == b"after\n"


def test_while_no_file_can_be_made_lines_go_where_the_old_one_is_now(path):
    output = LogFile(path)
    directory = path.parent
    moved = directory.with_name("moved")
    directory.rename(moved)
    assert output.write(b"moved\n") == b""
    assert (moved / path.name).read_bytes() == b"moved\n"
    moved.rename(directory)
    output.write(b"there again\n")
    output.close()
    assert path.read_bytes() == b"moved\nthere again\n"


def test_nothing_is_written_into_a_file_that_nobody_can_read_any_more(path):
    output = LogFile(path)
    path.unlink()
    path.parent.rmdir()
    with pytest.raises(OSError, match="No such file"):
        output.write(b"not lost\n")
    path.parent.mkdir()
    output.write(b"there again\n")
    output.close()
    assert path.read_bytes() == b"there again\n"


def test_rotation_by_size(path):
    output = LogFile(path, rotate_size=250, keep=2)
    for number in range(10):
        output.write(b"%d" % number + LINE[1:])
    output.close()
    files = [path.with_name(path.name + suffix) for suffix in ("", ".1", ".2")]
    assert [file.read_bytes()[::100] for file in files] == [b"9", b"678", b"345"]
    assert len(list(path.parent.iterdir())) == 3


def test_rotation_that_keeps_nothing(path):
    output = LogFile(path, rotate_size=250, keep=0)
    for _ in range(4):
        output.write(LINE)
    output.close()
    assert path.read_bytes() == LINE
    assert len(list(path.parent.iterdir())) == 1


def _write_lines(path, which, count):
    output = LogFile(path, rotate_size=20_000, keep=100)
    for number in range(count):
        output.write(b"%d %d " % (which, number) + LINE)
    output.close()


def test_several_processes_write_one_file_that_is_rotated(path):
    spawn = get_context("fork")
    writers = [spawn.Process(target=_write_lines, args=(path, n, 1000)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = b"".join(file.read_bytes() for file in path.parent.iterdir())
    lines = found.splitlines()
    assert len(lines) == 3000
    assert {tuple(map(int, line.split()[:2])) for line in lines} == {
        (which, number) for which in range(3) for number in range(1000)
    }


@pytest.fixture
def pipe():
    made = Full()
    yield made
    made.close()


class Full:
    """A descriptor of a pipe that takes only so much."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)

    def close(self):
        os.close(self.reader)
        os.close(self.writer)


def test_a_stream_that_does_not_wait_is_waited_for(pipe):
    os.set_blocking(pipe.writer, False)
    got = []

    def read():
        while sum(map(len, got)) < 50 * len(LINE) * 10:
            got.append(os.read(pipe.reader, 1000))

    reader = threading.Thread(target=read)
    output = LogStream(pipe.writer)
    reader.start()
    for _ in range(50):
        output.write(LINE * 10)
    reader.join()
    assert b"".join(got) == LINE * 500
    output.close()


class Disk:
    """What `os.write` writes to, as long as there is room."""

    def __init__(self, monkeypatch):
        self.room = 0
        self._write = os.write
        monkeypatch.setattr(os, "write", self.write)

    def write(self, descriptor, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        done = self._write(descriptor, data[: self.room])
        self.room -= done
        return done


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


@pytest.fixture(params=["file", "stream"])
def output(request, path):
    if request.param == "file":
        output = LogFile(path)
        yield output
        output.close()
    else:
        with path.open("ab") as file:
            yield LogStream(file.fileno())


def test_a_full_disk_gives_back_what_it_did_not_take(output, path, disk):
    with pytest.raises(OSError, match="No space"):
        output.write(LINE)
    disk.room = 250
    assert output.write(b"first\n" + LINE * 3 + b"last\n") == b"last\n"
    # The end of the line that was cut is not given back: it is kept for its place.
    assert path.read_bytes() == (b"first\n" + LINE * 3)[:250]
    with pytest.raises(OSError, match="No space"):
        output.write(b"last\n")
    disk.room = 10
    with pytest.raises(OSError, match="No space"):
        output.write(b"last\n")
    disk.room = 1000
    assert output.write(b"last\n") == b""
    assert path.read_bytes() == b"first\n" + LINE * 3 + b"last\n"


def test_a_disk_that_is_full_between_two_lines_gives_the_second_back(output, path, disk):
    disk.room = 100
    assert output.write(LINE * 2) == LINE
    disk.room = 1000
    assert output.write(LINE) == b""
    assert path.read_bytes() == LINE * 2


def test_a_cut_line_that_another_wrote_behind_is_only_ended(output, path, disk):
    disk.room = 5
    assert output.write(LINE + b"next\n") == b"next\n"
    disk.room = 1000
    with path.open("ab", 0) as other:
        other.write(b"\nanother\n")
    output.write(b"next\n")
    assert path.read_bytes() == b"xxxxx\nanother\n\nnext\n"


def test_a_cut_line_is_ended_in_the_file_that_was_renamed(path, disk):
    output = LogFile(path)
    disk.room = 5
    output.write(LINE)
    path.rename(path.with_name("old"))
    disk.room = 1000
    output.write(b"next\n")
    output.close()
    assert path.with_name("old").read_bytes() == LINE
    assert path.read_bytes() == b"next\n"


def test_a_line_that_was_cut_on_a_disk_that_stays_full_is_written_again_elsewhere(path, disk):
    output = LogFile(path)
    disk.room = 5
    output.write(LINE)
    path.unlink()
    disk.room = 0
    with pytest.raises(OSError, match="No space"):
        output.write(b"next\n")
    disk.room = 1000
    output.write(b"next\n")
    output.close()
    assert path.read_bytes() == LINE + b"next\n"


@pytest.fixture
def pieces(monkeypatch):
    """What is handed to the system, call by call."""
    handed = []
    monkeypatch.setattr(os, "write", lambda _descriptor, data: handed.append(data) or len(data))
    return handed


LONG = b"y" * 2 * select.PIPE_BUF + b"\n"


def test_lines_for_a_pipe_go_in_pieces_that_nobody_can_write_into(pipe, pieces):
    assert LogStream(pipe.writer).write(LINE * 100 + LONG + LINE * 100) == b""
    assert b"".join(pieces) == LINE * 100 + LONG + LINE * 100
    assert all(piece.endswith(b"\n") for piece in pieces)
    assert [piece for piece in pieces if len(piece) > select.PIPE_BUF] == [LONG]


def test_lines_for_a_stream_that_is_a_file_go_in_one_piece(path, pieces):
    with path.open("ab") as file:
        assert LogStream(file.fileno()).write(LINE * 100 + LONG) == b""
    assert pieces == [LINE * 100 + LONG]


def test_a_directory_in_which_nothing_may_be_renamed_ends_the_rotation_not_the_log(
    path, monkeypatch
):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refuse)
    output = LogFile(path, rotate_size=150)
    heard = []
    globalLogPublisher.addObserver(heard.append)
    try:
        for _ in range(5):
            assert output.write(LINE) == b""
    finally:
        globalLogPublisher.removeObserver(heard.append)
    output.close()
    assert path.read_bytes() == LINE * 5
    assert [event["why"] for event in heard] == ["Operation not permitted"]


def test_who_has_no_thread_writes_at_once_or_not_at_all(path, pipe):
    file = AtOnce(LogFile(path))
    file.write("one\n")
    file.flush()
    file.close()
    assert path.read_bytes() == b"one\n"
    stream = AtOnce(LogStream(pipe.writer))
    stream.write("x" * 4095 + "\n")
    with pytest.raises(BlockingIOError):
        stream.write("nobody reads\n")
    os.read(pipe.reader, 4096)
    stream.write("again\n")
    stream.close()


def test_a_stream_that_was_closed_before_the_process_began_takes_no_lines(pipe):
    descriptor = os.dup(pipe.writer)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        LogStream(descriptor).write(LINE)


def test_where_a_configuration_sends_it(path):
    assert isinstance(open_output(LoggingSection(output=path), list), LogFile)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = open_output(LoggingSection(output=name), list)
        assert stream._descriptor == number
    assert open_output(LoggingSection(), list) == []
    with pytest.raises(IsADirectoryError):
        open_output(LoggingSection(output=Path(path.parent)), list)
