"""The protocol of sd_notify(3), over real datagram sockets."""

import os
import re
import socket
import time
from contextlib import closing

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.sd_notify import MAX_STATUS, Notifier, Watchdog, notifier_of, watchdog_interval


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """A socket as a service manager has one, and its name as the environment says it."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as listening:
        name = str(tmp_path / "notify")
        if request.param == "abstract":
            name = f"@portal-gateway-test-{os.getpid()}-{time.monotonic_ns()}"
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(5)
        yield listening, name


@pytest.fixture
def warnings():
    seen = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


def test_what_is_told_is_what_systemd_reads(manager):
    listening, name = manager
    notifier = notifier_of({"NOTIFY_SOCKET": name})
    notifier.ready("all well")
    notifier.ready()
    notifier.status("one\nREADY=1\x00")
    notifier.stopping("bye")
    notifier.alive()
    assert [listening.recv(1000) for _ in range(5)] == [
        b"READY=1\nSTATUS=all well",
        b"READY=1",
        b"STATUS=one READY=1 ",
        b"STOPPING=1\nSTATUS=bye",
        b"WATCHDOG=1",
    ]
    notifier.status("x" * 1000)
    assert listening.recv(2000) == b"STATUS=" + b"x" * MAX_STATUS


def test_a_reload_says_when_it_began_by_the_monotonic_clock(manager):
    listening, name = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    notifier_of({"NOTIFY_SOCKET": name}).reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    told = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=([0-9]+)", listening.recv(1000))
    assert before <= int(told[1]) <= after


def test_programs_that_are_started_do_not_get_the_variables():
    environ = {"NOTIFY_SOCKET": "/run/it", "WATCHDOG_USEC": "5", "WATCHDOG_PID": "1", "HOME": "/"}
    notifier_of(environ)
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "٣"}, None),
        ({"WATCHDOG_USEC": "9" * 30}, None),
        ({"WATCHDOG_PID": "77"}, None),
    ],
)
def test_the_watchdog_is_for_the_process_that_it_names(environ, interval):
    assert watchdog_interval(environ, 77) == interval


def test_without_a_service_manager_nobody_is_told_and_nobody_waits():
    notifier = notifier_of({"WATCHDOG_USEC": "1000000"})
    assert notifier.watchdog is None
    notifier.ready("x")
    clock = Clock()
    watchdog = Watchdog(clock, notifier)
    watchdog.startService()
    assert not clock.getDelayedCalls()
    watchdog.stopService()


@pytest.mark.parametrize("name", ["vsock:1:2", "relative", "@", "/"])
def test_a_name_that_is_none_is_said_once_and_nobody_is_told(name, warnings):
    notifier = notifier_of({"NOTIFY_SOCKET": name})
    notifier.ready()
    assert [event["log_format"].split(":")[0] for event in warnings] == [
        "NOTIFY_SOCKET is neither a path nor an abstract name"
    ]


def test_a_service_manager_that_is_gone_ends_nothing_and_is_said_once(tmp_path, warnings):
    notifier = notifier_of({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    notifier.ready()
    notifier.alive()
    assert len(warnings) == 1
    assert warnings[0]["why"] == "No such file or directory"


def test_one_that_does_not_read_is_waited_for_shortly(manager, warnings):
    _listening, name = manager
    notifier = notifier_of({"NOTIFY_SOCKET": name})
    start = time.monotonic()
    count = 0
    while not warnings:
        notifier.alive()
        count += 1
        assert count < 10_000
    assert time.monotonic() - start < 5


def test_the_watchdog_hears_twice_in_its_time_while_the_reactor_runs():
    told = []
    clock = Clock()
    watchdog = Watchdog(clock, Notifier(told.append, watchdog=10.0))
    watchdog.startService()
    assert told == [b"WATCHDOG=1"]
    clock.pump([1.0] * 20)
    assert len(told) == 5
    watchdog.stopService()
    assert not clock.getDelayedCalls()
