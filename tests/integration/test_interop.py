"""Interoperation with Portal's own relay, tunnel and client: the ways of ``stacks.py``."""

import hashlib
import http.client
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.integration import programs
from tests.integration.calls import Answer, Client, new_call
from tests.integration.origin import pattern, pattern_digest
from tests.integration.stacks import PLAIN_NAME, UNICODE_NAME, WAYS, Stack, Way

pytestmark = [pytest.mark.go, pytest.mark.usefixtures("portal")]

LARGE = 100_000_000
SMALL = 3_000_000

RSS_GROWTH = 64 * 1024 * 1024
"""What a transfer may add to the memory of a process of ours: a window or two, never the body."""

PAUSE = 1.0
"""Seconds without reading: in less time than that everything would have arrived."""

CALLERS = 200


@pytest.fixture(scope="module")
def stacks() -> Iterator[dict[Way, Stack]]:
    """The stack in use: one at a time, kept for the tests of the same way that follow."""
    kept: dict[Way, Stack] = {}
    yield kept
    for stack in kept.values():
        stack.close()


@pytest.fixture(params=WAYS, ids=str, scope="module")
def way(request: pytest.FixtureRequest) -> Way:
    chosen: Way = request.param
    return chosen


@pytest.fixture
def stack(
    way: Way,
    stacks: dict[Way, Stack],
    portal: None,
    origin: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Stack:
    """The processes of this way. Portal 1.2.0's relay may crash under load: then they are new."""
    if way not in stacks or not stacks[way].alive:
        for other in list(stacks):
            stacks.pop(other).close()
        stacks[way] = Stack(way, origin, tmp_path_factory.mktemp("stack"))
    return stacks[way]


def count_of(origin: str, call: str) -> int:
    with Client(origin) as client:
        calls: dict[str, int] = client.request("GET", "/seen").json["calls"]
    return calls.get(call, 0)


def test_get(stack: Stack, origin: str) -> None:
    """The target after the lease arrives byte for byte, once; the next request follows it."""
    with stack.client() as client:
        for target in ("/echo", "/echo/a%2Cb//c/%ED%95%9C?q=1&q=%2F+;x", "/echo?"):
            answer = client.request("GET", target)
            assert answer.status == HTTPStatus.OK
            assert answer.json["method"] == "GET"
            assert answer.json["target"] == target
            assert answer.json["length"] == 0
            assert count_of(origin, answer.call) == 1


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PATCH", "PROPFIND"])
def test_other_methods(stack: Stack, method: str) -> None:
    """Other methods pass, and the connection is good for the next request after each."""
    with stack.client() as client:
        answer = client.request(method, "/echo")
        assert answer.status == HTTPStatus.OK
        if method == "HEAD":
            assert answer.length == 0
        else:
            assert answer.json["method"] == method
        assert client.request("GET", "/status/204").status == HTTPStatus.NO_CONTENT
        assert client.request("GET", "/status/304").status == HTTPStatus.NOT_MODIFIED
        assert client.request("GET", "/status/418").body == b"as asked\n"


def test_post_with_body(stack: Stack, origin: str) -> None:
    with stack.client() as client:
        answer = client.request("POST", "/echo", b"what it is\n")
        assert answer.json["length"] == 11
        assert answer.json["sha256"] == hashlib.sha256(b"what it is\n").hexdigest()
        assert not answer.json["chunked"]
        assert count_of(origin, answer.call) == 1


def test_chunked_both_ways(stack: Stack) -> None:
    with stack.client() as client:
        up = client.request("POST", "/echo", pattern(SMALL, 7001))
        assert up.json["chunked"]
        assert up.json["sha256"] == pattern_digest(SMALL)
        down = client.request("GET", f"/bytes?n={SMALL}&chunked=1")
        assert down.fields["Transfer-Encoding"] == "chunked"
        assert (down.length, down.sha256) == (SMALL, pattern_digest(SMALL))
        closed = client.request("GET", f"/bytes?n={SMALL}&close=1")
        assert (closed.length, closed.sha256) == (SMALL, pattern_digest(SMALL))


def test_both_ways_at_once(stack: Stack) -> None:
    """Each chunk comes back before the next one is sent: neither direction waits for its end."""
    address, prefix, key, end = stack.entry()
    host, port = address.split(":")
    with (
        end,
        socket.create_connection((host, int(port)), 30) as sock,
        sock.makefile("rb") as answers,
    ):
        head = [f"POST {prefix}/mirror HTTP/1.1", f"Host: {address}", "Transfer-Encoding: chunked"]
        if key:
            head.append(f"X-API-Key: {key}")
        sock.sendall(("\r\n".join(head) + "\r\n\r\n").encode("ascii"))
        for number in range(5):
            message = b"ping %d" % number
            sock.sendall(b"%x\r\n%b\r\n" % (len(message), message))
            if number == 0:
                assert answers.readline().split()[1] == b"200"
                assert b"transfer-encoding: chunked" in [
                    line.lower().strip() for line in iter(answers.readline, b"\r\n")
                ]
            size = int(answers.readline(), 16)
            assert answers.read(size + 2) == message + b"\r\n"
        sock.sendall(b"0\r\n\r\n")
        assert answers.readline() == b"0\r\n"


def test_100_mb_down(stack: Stack) -> None:
    """To a client that stops reading for a while: the service stops too, nobody stores the rest."""
    looks = itertools.count()

    def look() -> None:
        rss.look()
        if next(looks) == 1:
            threading.Event().wait(PAUSE)
            rss.look()

    with stack.client() as client:
        rss = programs.Rss(stack.ours)
        answer = client.request("GET", f"/bytes?n={LARGE}", watch=look)
    assert answer.status == HTTPStatus.OK
    assert (answer.length, answer.sha256) == (LARGE, pattern_digest(LARGE))
    assert rss.grown < RSS_GROWTH


def test_100_mb_up(stack: Stack) -> None:
    """To a service that stops reading for a while."""
    body = pattern(LARGE)
    with stack.client() as client:
        rss = programs.Rss(stack.ours)
        answer = client.request("POST", f"/echo?pause={PAUSE}", body, length=LARGE, watch=rss.look)
    assert answer.status == HTTPStatus.OK
    assert (answer.json["length"], answer.json["sha256"]) == (LARGE, pattern_digest(LARGE))
    assert rss.grown < RSS_GROWTH


def test_200_concurrent_requests(stack: Stack, origin: str) -> None:
    """Each has its own body, gets its own answer, and arrives once."""
    address, prefix, key, end = stack.entry()

    def call(number: int) -> tuple[int, Answer]:
        with Client(address, prefix, key, 60) as client:
            return number, client.request("POST", f"/echo/{number}", b"body of %d" % number)

    with end, ThreadPoolExecutor(CALLERS) as executor:
        answers = list(executor.map(call, range(CALLERS)))
    for number, answer in answers:
        assert answer.status == HTTPStatus.OK, answer
        assert answer.json["target"] == f"/echo/{number}"
        assert answer.json["sha256"] == hashlib.sha256(b"body of %d" % number).hexdigest()
    with Client(origin) as client:
        seen = client.request("GET", "/seen").json["calls"]
    assert {seen[answer.call] for _, answer in answers} == {1}


@pytest.mark.parametrize("by_id", [False, True], ids=["by-name", "by-id"])
@pytest.mark.parametrize("name", [PLAIN_NAME, UNICODE_NAME], ids=["plain", "unicode"])
def test_lease_by_name_and_id(stack: Stack, name: str, by_id: bool) -> None:
    with stack.client(name, by_id=by_id) as client:
        answer = client.request("PUT", "/echo/x", b"1")
        assert answer.status == HTTPStatus.OK
        assert answer.json["method"] == "PUT"


def test_events_arrive_as_they_are_sent(stack: Stack) -> None:
    """An event is not kept until the next one: the first is here long before the last is made."""
    address, prefix, key, end = stack.entry()
    fields = {"X-Call": new_call(), **({"X-API-Key": key} if key else {})}
    with end:
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request("GET", f"{prefix}/sse?n=3&pause=0.3", headers=fields)
        with connection.getresponse() as response:
            times = []
            while line := response.readline():
                if line.startswith(b"data:"):
                    times.append(time.monotonic())
        connection.close()
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(times) == 3
    assert min(gaps) > 0.1


def test_upstream_cut_is_not_a_clean_end(stack: Stack) -> None:
    """A body that the service cuts short is short for the client too, and never looks whole."""
    with stack.client() as client, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        client.request("GET", f"/cut?n={SMALL}")


@pytest.mark.parametrize(
    ("genuine", "option"),
    [(True, "-max-lease"), (False, "--max-lease")],
    ids=["relay", "our-relay"],
)
def test_relay_with_connection_limit(
    genuine: bool, option: str, portal: None, origin: str, tmp_path: Path
) -> None:
    """``-max-lease`` of 1.4.14 (1.2.0 has none): refusals are said, and pass with their cause."""
    way = Way("1.4.14", genuine_relay=genuine, sdk_tunnel=True)
    stack = Stack(way, origin, tmp_path, option, "2")
    try:
        address, prefix, key, _ = stack.entry()

        def call(number: int) -> Answer:
            with Client(address, prefix, key, 60) as client:
                return client.request("GET", f"/slow?seconds=0.2&call={number}")

        with ThreadPoolExecutor(20) as executor:
            answers = list(executor.map(call, range(20)))
        served = [answer for answer in answers if answer.status == HTTPStatus.OK]
        refused = [answer for answer in answers if answer.status != HTTPStatus.OK]
        assert len(served) >= 2
        for answer in refused:
            assert (answer.status, answer.json["error"]) == (503, "lease_busy"), answer
            assert int(answer.fields["Retry-After"]) >= 1
        with stack.client() as client:
            for _ in range(20):
                assert client.request("GET", "/echo").status == HTTPStatus.OK
    finally:
        stack.close()
