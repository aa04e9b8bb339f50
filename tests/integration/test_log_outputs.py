"""Outputs of the log that are stuck, full, renamed and rotated, under a gateway that serves."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import threading
import time
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml

from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.programs import API_KEY, Gateway, wait_until

LONG = "\xff" * 3000
"""A user agent whose line takes 12 KB."""

PIPE = 4096

SLOWEST = 2.0
"""Seconds that one request may take, on a machine that has other things to do."""


class Piped:
    """A gateway whose standard error is ``stderr``; its end is asserted."""

    def __init__(self, tmp_path, stderr, **more):
        configuration = {
            "gateway": {"listen": "127.0.0.1:0"},
            "auth": {"keys": [{"id": "tester", "key": API_KEY, "scopes": ["admin", "read"]}]},
            **more,
        }
        file = tmp_path / "gateway.yaml"
        file.write_text(yaml.safe_dump(configuration), encoding="utf-8")
        self.process = subprocess.Popen(
            programs.python("portal_gateway.cli", "run", "--config", file),
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, **programs.python_path()},
        )

    def __enter__(self):
        line = self.process.stdout.readline().decode()
        assert line.startswith("Portal Gateway listens on http://")
        self.address = line.split("//")[1].strip().strip("/")
        return self

    def end(self):
        """SIGTERM; the seconds that the end took."""
        start = time.monotonic()
        self.process.terminate()
        assert self.process.wait(programs.STOP) == 0
        return time.monotonic() - start

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        if self.process.stderr is not None:
            self.process.stderr.close()


def ask(client, count, **fields):
    """The longest time that one of ``count`` requests took."""
    longest = 0.0
    for _ in range(count):
        start = time.monotonic()
        answer = client.request("GET", "/nothing", fields=fields)
        longest = max(longest, time.monotonic() - start)
        assert answer.status == HTTPStatus.NOT_FOUND
    return longest


def dropped(client):
    (line,) = [
        line
        for line in client.request("GET", "/metrics").body.decode().splitlines()
        if line.startswith("portal_gateway_log_lines_dropped_total ")
    ]
    return float(line.split()[1])


def requests_of(lines):
    """The access lines; every line has to be one whole event."""
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["message"].startswith("request_")]


def test_a_pipe_that_nobody_reads_stops_no_request(tmp_path):
    with Piped(tmp_path, subprocess.PIPE) as gateway:
        pipe = gateway.process.stderr
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE)
        with Client(gateway.address, key=API_KEY) as client:
            # More than may wait.
            sent = 0
            longest = 0.0
            while not dropped(client):
                longest = max(longest, ask(client, 200, **{"User-Agent": LONG}))
                sent += 200
                assert sent < 4000
            longest = max(longest, ask(client, 50))
            sent += 50
            assert longest < SLOWEST
        lines = []
        reader = threading.Thread(target=lambda: lines.extend(pipe))
        reader.start()
        wait_until(lambda: any(b"were lost" in line for line in lines), 20, "what was lost")
        with Client(gateway.address, key=API_KEY) as client:
            ask(client, 10)
            # While nothing moved, the log's thread was still counting.
            lost = dropped(client)
        gateway.end()
        reader.join()
    events = [json.loads(line) for line in lines]
    told = sum(event["lines"] for event in events if "were lost" in event["message"])
    assert told == lost
    nothing = [event for event in requests_of(lines) if event["path"] == "/nothing"]
    # Requests for metrics may be among the lost.
    assert sent + 10 - lost <= len(nothing) < sent + 10
    assert events[-1]["message"] == "Main loop terminated."


def test_a_pipe_that_is_never_read_does_not_keep_the_process_from_ending(tmp_path):
    with Piped(tmp_path, subprocess.PIPE) as gateway:
        fcntl.fcntl(gateway.process.stderr, fcntl.F_SETPIPE_SZ, PIPE)
        with Client(gateway.address) as client:
            assert ask(client, 50, **{"User-Agent": LONG}) < SLOWEST
        assert gateway.end() < SLOWEST + 3


def test_a_reader_that_is_gone_stops_no_request(tmp_path):
    with Piped(tmp_path, subprocess.PIPE) as gateway:
        gateway.process.stderr.close()
        with Client(gateway.address) as client:
            assert ask(client, 50) < SLOWEST
        gateway.end()


def test_a_full_disk_stops_no_request(tmp_path):
    with Path("/dev/full").open("wb") as full, Piped(tmp_path, full) as gateway:
        with Client(gateway.address) as client:
            assert ask(client, 50) < SLOWEST
        gateway.end()


def test_a_file_that_can_grow_no_more_for_a_while_loses_nothing(tmp_path):
    """A limit for the size of files cuts a write where it is, as a disk does that is full."""
    log = tmp_path / "gateway.log"
    logging = {"output": str(log)}
    with Gateway({"logging": logging, "auth": {"keys": []}}, tmp_path) as gateway:
        with Client(gateway.address) as client:
            ask(client, 20)
            limits = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
            full = log.stat().st_size + 5000
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (full, limits[1]))
            assert ask(client, 100) < SLOWEST
            wait_until(lambda: log.stat().st_size == full, 10, "a full file")
            assert not log.read_bytes().endswith(b"\n")
            assert ask(client, 20) < SLOWEST
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, limits)
        assert gateway.stop() == 0
    found = [event["request_id"] for event in requests_of(log.read_text("ascii").splitlines())]
    assert len(found) == len(set(found)) == 140


@pytest.fixture
def asking():
    """Has requests asked for until it is told to stop; gives how many there were."""
    over = threading.Event()
    threads = []
    counts = []

    def ask_on(address):
        count = 0
        while not over.is_set():
            # By a new connection now and then, so that each worker gets some.
            with Client(address) as client:
                ask(client, 20, **{"User-Agent": LONG})
            count += 20
        counts.append(count)

    def start(address):
        threads.extend(threading.Thread(target=ask_on, args=(address,)) for _ in range(3))
        for thread in threads:
            thread.start()

    def stop():
        over.set()
        for thread in threads:
            thread.join()
        return sum(counts)

    yield start, stop
    stop()


def lines_below(directory):
    return [
        line
        for file in sorted(directory.iterdir())
        for line in file.read_bytes().decode("ascii").splitlines()
    ]


def test_no_line_is_lost_when_the_file_is_renamed_or_another_is_named(tmp_path, asking):
    start, stop = asking
    logs = tmp_path / "logs"
    logs.mkdir()
    logging = {"output": str(logs / "gateway.log")}
    with Gateway({"logging": logging, "auth": {"keys": []}}, tmp_path) as gateway:
        start(gateway.address)
        for number in range(10):
            wait_until((logs / "gateway.log").exists, 10, "a new file")
            (logs / "gateway.log").rename(logs / f"old{number}")
        file = tmp_path / "gateway.yaml"
        written = yaml.safe_load(file.read_text(encoding="utf-8"))
        written["logging"]["output"] = str(logs / "another.log")
        file.write_text(yaml.safe_dump(written), encoding="utf-8")
        gateway.signal(signal.SIGHUP)
        wait_until((logs / "another.log").exists, 10, "the other file")
        count = stop()
        assert gateway.stop() == 0
    lines = lines_below(logs)
    found = [event["request_id"] for event in requests_of(lines)]
    assert len(found) == len(set(found)) == count
    assert len(list(logs.iterdir())) >= 11
    last = (logs / "another.log").read_text(encoding="ascii").splitlines()[-1]
    assert json.loads(last)["message"] == "Main loop terminated."


def test_workers_write_one_file_that_rotates_by_its_size(tmp_path, asking):
    start, stop = asking
    logs = tmp_path / "logs"
    logs.mkdir()
    logging = {"output": str(logs / "gateway.log"), "rotate_size": "1MB", "rotate_keep": 1000}
    configuration = {
        "gateway": {"listen": "127.0.0.1:0", "workers": 2},
        "auth": {"keys": []},
        "logging": logging,
        "rate_limit": {"failed_auth": {"requests_per_second": 100_000, "burst": 100_000}},
    }
    with Gateway(configuration, tmp_path) as gateway:
        start(gateway.address)
        wait_until((logs / "gateway.log.5").exists, 30, "five rotations")
        count = stop()
        assert gateway.stop() == 0
    lines = lines_below(logs)
    found = [event["request_id"] for event in requests_of(lines)]
    assert len(found) == len(set(found)) == count
    told = {json.loads(line)["message"].partition(" (")[0] for line in lines}
    assert {"worker 1", "worker 2"} <= told
