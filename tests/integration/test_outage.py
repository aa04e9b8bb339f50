"""A relay that goes away under load and comes back, and one that is stopped without a word."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import pytest

from portal_gateway.relay.session import PING_INTERVAL, PING_TIMEOUT
from tests.integration import programs
from tests.integration.calls import Answer, Client
from tests.integration.stacks import Stack, Way

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("portal")]

RATE = 50.0
"""Requests a second."""

OUTAGE = 8.0
"""Seconds that the relay is away: longer than BACK_WITHIN, so that waiting ever longer shows."""

BACK_WITHIN = 5.0
"""Seconds from the moment that relay and publisher are back to the first success."""

SLACK = 2.0
NOTICED_WITHIN = PING_INTERVAL + PING_TIMEOUT + SLACK

PATIENCE = 30.0
"""Seconds after which a request counts as hanging."""

VERSION = "1.4.14"


class Result(NamedTuple):
    """One request: what was asked, when (monotonic seconds), and what came of it."""

    path: str
    started: float
    ended: float
    answer: Answer


class Load:
    """Requests at a steady rate, each on a connection of its own, until :meth:`end`.

    Nine in ten ask for an echo, some of those by POST; one in ten takes a second, so that there
    always are some on their way when something happens.
    """

    def __init__(self, stack: Stack, rate: float) -> None:
        self._address, self._prefix, self._key, _ = stack.entry()
        self._pause = 1 / rate
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(int(rate * PATIENCE))
        self._futures: list[Future[Result]] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        start = time.monotonic()
        number = 0
        while not self._stop.wait(max(0.0, start + number * self._pause - time.monotonic())):
            self._futures.append(self._executor.submit(self._call, number))
            number += 1

    def _call(self, number: int) -> Result:
        path = "/slow?seconds=1" if number % 10 == 0 else f"/echo/{number}"
        started = time.monotonic()
        with Client(self._address, self._prefix, self._key, PATIENCE) as client:
            if number % 5 == 1:
                answer = client.request("POST", path, b"body")
            else:
                answer = client.request("GET", path)
        return Result(path, started, time.monotonic(), answer)

    def results(self) -> list[Result]:
        """What has ended so far; raises what a request raised."""
        return [future.result() for future in list(self._futures) if future.done()]

    def successes_since(self, moment: float) -> list[Result]:
        return [
            result
            for result in self.results()
            if result.started >= moment and result.answer.status == HTTPStatus.OK
        ]

    def wait_for(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        programs.wait_until(lambda: bool(condition()), seconds, what)

    def end(self) -> list[Result]:
        """Stop asking; every result, once the last request has its answer."""
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        return self.results()


def check(results: list[Result], silence: tuple[str, ...] = ()) -> tuple[int, int]:
    """Every request was served or got a 503 that says when to come again; how many of each.

    ``silence`` are further errors that may answer one that waited for a peer in vain.
    """
    served = refused = 0
    for result in results:
        answer = result.answer
        if answer.status == HTTPStatus.OK:
            served += 1
            if result.path.startswith("/echo"):
                assert answer.json["target"] == result.path
        elif answer.json["error"] in silence:
            assert result.ended - result.started > 1, (result, answer.body)
        else:
            refused += 1
            assert answer.status == HTTPStatus.SERVICE_UNAVAILABLE, (result, answer.body)
            assert int(answer.fields["Retry-After"]) >= 1
            assert answer.fields["Content-Type"] == "application/problem+json"
            assert answer.json["error"] in {"relay_unavailable", "lease_offline"}
    return served, refused


@pytest.fixture(params=[True, False], ids=["sdk-tunnel", "our-expose"])
def stack(
    request: pytest.FixtureRequest, portal: None, origin: str, tmp_path: Path
) -> Iterator[Stack]:
    way = Way(VERSION, genuine_relay=True, sdk_tunnel=request.param)
    # The SDK's own pauses (10 s, 5 s) would only make the outage longer.
    hurry = ("-health", "500ms", "-reconnect", "500ms") if way.sdk_tunnel else ()
    stack = Stack(way, origin, tmp_path, publisher_options=hurry)
    yield stack
    stack.close()


def test_relay_killed_and_restarted_under_load(stack: Stack) -> None:
    load = Load(stack, RATE)
    try:
        load.wait_for(lambda: len(load.results()) > RATE, 10, "a second of load")
        assert all(result.answer.status == HTTPStatus.OK for result in load.results())
        publisher = stack.publishers[0]
        published = publisher.count_lines(stack.published)

        killed = time.monotonic()
        stack.relay.kill()
        load.wait_for(lambda: time.monotonic() - killed > OUTAGE, OUTAGE + 1, "the outage")
        restarted = time.monotonic()
        stack.relay.restart()
        stack.relay.wait_ready()
        publisher.wait_for_line(stack.published, count=published + 1)
        back = time.monotonic()
        load.wait_for(
            lambda: load.successes_since(restarted), BACK_WITHIN + SLACK, "a success afterwards"
        )
        load.wait_for(lambda: len(load.successes_since(back)) > RATE, 20, "a second of successes")
    finally:
        results = load.end()
    first = min(result.ended for result in load.successes_since(restarted))
    assert first - back <= BACK_WITHIN
    served, refused = check(results)
    assert refused >= RATE * OUTAGE / 2
    assert served >= 2 * RATE
    during = [r for r in results if killed + 1 < r.started < restarted]
    assert all(r.answer.status == HTTPStatus.SERVICE_UNAVAILABLE for r in during)
    # Who asks while nobody can answer hears so at once, not after a time-out of anything.
    assert max(r.ended - r.started for r in during) < 1


def is_ready(stack: Stack) -> bool:
    with Client(stack.gateway.address) as client:
        assert client.request("GET", "/health").status == HTTPStatus.OK
        return client.request("GET", "/health/ready").status == HTTPStatus.OK


@pytest.mark.parametrize("stack", [True], indirect=True, ids=["sdk-tunnel"])
def test_relay_stopped_without_a_word(stack: Stack) -> None:
    """The session is given up within ping interval plus timeout, and so is what waits on it."""
    load = Load(stack, 5)
    try:
        load.wait_for(lambda: len(load.results()) > 5, 10, "a second of load")
        stack.relay.signal(signal.SIGSTOP)
        load.wait_for(
            lambda: not is_ready(stack),
            PING_INTERVAL + PING_TIMEOUT + SLACK,
            "the gateway noticing",
        )
        noticed = time.monotonic()
        load.wait_for(lambda: time.monotonic() - noticed > 3, 4, "three seconds more")
        stack.relay.signal(signal.SIGCONT)
        continued = time.monotonic()
        load.wait_for(
            lambda: load.successes_since(continued), 2 * BACK_WITHIN + SLACK, "a success afterwards"
        )
    finally:
        stack.relay.signal(signal.SIGCONT)
        results = load.end()
    # A stream that was being opened has its own limit, shorter than that of the session.
    _, refused = check(results, silence=("upstream_timeout",))
    assert refused > 0
    assert max(r.ended - r.started for r in results) <= NOTICED_WITHIN
    after = [r for r in results if noticed + 0.5 < r.started < noticed + 2.5]
    assert after
    assert max(r.ended - r.started for r in after) < 1
