"""Gateways that are told to end while they have much to do, and a ledger of what became of it.

The short forms are in ``test_drain_ledger.py``, the full ones in ``tests/soak/soak_drain.py``.
"""

import asyncio
import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from tests.integration.calls import Client
from tests.integration.ledger import Balance, Entry
from tests.integration.ledger_client import FaultyUpstream, Load, Socket, Stream
from tests.integration.ledger_http2 import ANY_STREAM, Http2, client_context
from tests.integration.programs import API_KEY, Gateway, wait_until
from tests.tls.tls_world import Certified

__all__ = [
    "Busy",
    "Ended",
    "Race",
    "busy_drain",
    "check_busy",
    "check_race",
    "gateway_for",
    "race",
    "race_http2",
    "used_after",
]

DELAYS = (0, 0, 0.002, 0.02, 0.1)
"""Seconds that the upstream takes in a race, each as likely as the others."""

BODY = b"a body that is longer than its half " * 100


class Busy(NamedTuple):
    """What is under way at the signal; the longest request takes ``longest`` seconds."""

    requests: int
    halves: int
    streams: int
    sockets: int
    idle: int
    longest: float
    timeout: float


class Ended(NamedTuple):
    """What a drain was; ``seconds`` from the signal to the end of the process.

    ``last_answer`` is that of the requests, seconds after the signal, ``logged`` the lines of the
    access log.
    """

    balance: Balance
    status: int
    seconds: float
    streams: list[Stream]
    sockets: list[Socket]
    signalled: float
    last_answer: float
    logged: int


def gateway_for(
    upstream: FaultyUpstream,
    directory: Path,
    *,
    grace: str = "0s",
    timeout: str = "30s",
    secure: bool = False,
) -> Gateway:
    section: dict[str, object] = {
        "listen": "127.0.0.1:0",
        "drain": {"grace": grace, "timeout": timeout},
    }
    if secure:
        now = datetime.now(UTC)
        root = Certified("the root", authority=True, now=now)
        Certified("first", root, now=now).write(directory)
        section["tls"] = {"cert_file": "cert.pem", "key_file": "key.pem"}
    leases = {"tool": {"url": f"http://{upstream.address}"}}
    quotas = {"monthly": {"default": {"requests": 1_000_000}}}
    return Gateway({"gateway": section, "leases": leases, "quotas": quotas}, directory)


def used_after(directory: Path) -> int:
    """The requests that a gateway which has ended there had counted, as the next one knows."""
    with FaultyUpstream() as upstream, gateway_for(upstream, directory) as gateway:
        with Client(gateway.address, key=API_KEY) as client:
            used: int = client.request("GET", "/whoami").json["quotas"][0]["requests"]["used"]
        return used


def busy_drain(directory: Path, busy: Busy, *, seed: int = 1) -> Ended:
    """SIGTERM to a gateway that carries all that ``busy`` says."""
    choose = random.Random(seed)
    with (
        FaultyUpstream() as upstream,
        gateway_for(upstream, directory, timeout=f"{busy.timeout:g}s") as gateway,
        Load() as load,
    ):
        address = gateway.address
        streams = load.streams(address, "/peer/tool/events", busy.streams)
        sockets = load.sockets(address, "/ws/tool/ws", busy.sockets)
        load.wait(_leave_idle(load, address, busy.idle))
        delays = [0.2 + (busy.longest - 0.2) * n / busy.requests for n in range(busy.requests)]
        choose.shuffle(delays)
        # They begin together: the shortest may be over before the signal, which is theirs to be.
        under_way = [
            load.start(load.ask(address, f"/peer/tool/echo?delay={delay:.3f}", BODY, kept=False))
            for delay in delays
        ]
        under_way += [
            load.start(
                load.ask(
                    address,
                    "/peer/tool/echo",
                    BODY,
                    kept=False,
                    half_after=choose.uniform(0.5, busy.longest),
                )
            )
            for _ in range(busy.halves)
        ]
        count = busy.requests + busy.halves + busy.idle
        wait_until(lambda: _requests(upstream) >= count, 10, "every request at the upstream")
        signalled = time.monotonic()
        gateway.signal(signal.SIGTERM)
        status = gateway.process.wait(busy.timeout + 15)
        seconds = time.monotonic() - signalled
        ends = [each.result(5).ended for each in under_way]
        wait_until(lambda: all(each.ended for each in (*streams, *sockets)), 5, "the streams' ends")
        # The upstream's next event tells it.
        wait_until(lambda: upstream.record()["open"] == 0, 5, "nothing open at the upstream")
        return Ended(
            load.ledger.balance(upstream.seen()),
            status,
            seconds,
            streams,
            sockets,
            signalled,
            max(ends) - signalled,
            gateway.count_lines('"message": "request_completed"'),
        )


def check_busy(busy: Busy, ended: Ended) -> None:
    """Everything was answered, streams and sockets ended in order, and so did the process."""
    assert ended.balance.even, ended.balance
    assert ended.balance.answered == busy.requests + busy.halves + busy.idle
    assert ended.status == 0
    # To the deadline, since the streams would go on for ever, and not beyond it.
    assert ended.seconds < busy.timeout + 1
    for stream in ended.streams:
        assert (stream.end, stream.gaps) == ("complete", 0), stream
        assert stream.text == b": the gateway is stopping"
        assert stream.ended - ended.signalled > busy.longest
    for socket in ended.sockets:
        assert (socket.end, socket.code, socket.wrong) == ("complete", 1001, 0), socket
        assert socket.ended - ended.signalled < 3
    # The log was written to its end.
    assert ended.logged == ended.balance.answered + busy.streams + busy.sockets


def check_race(raced: "Race", *, in_grace: bool) -> None:
    """Each request was answered, or its client found the door closed before it had sent it."""
    told = f"{raced.balance}; due before: {raced.before}, after: {raced.after}"
    assert raced.balance.even, told
    assert raced.status == 0
    # None was closed or reset without an answer: what was sent was answered.
    assert set(raced.before + raced.after) <= {"200", "200 kept", "no connection"}, told
    if in_grace:
        assert raced.balance.refused == 0, told


def _requests(upstream: FaultyUpstream) -> int:
    return sum("streamed" not in name for name in upstream.seen())


async def _leave_idle(load: Load, address: str, count: int) -> None:
    await asyncio.gather(*(load.ask(address, "/peer/tool/echo", kept=True) for _ in range(count)))


class Race(NamedTuple):
    """What became of POSTs around a signal: the balance, and how each ended, by when it was due."""

    balance: Balance
    status: int
    before: Counter[str]
    after: Counter[str]


def race(
    upstream: FaultyUpstream,
    directory: Path,
    *,
    kept: int,
    new: int,
    grace: str = "0s",
    spread: float = 0.05,
    seed: int = 1,
) -> Race:
    """POSTs over kept connections and new ones, each ± ``spread`` seconds around SIGTERM."""
    choose = random.Random(seed)
    upstream.seen(forget=True)
    with gateway_for(upstream, directory, grace=grace) as gateway, Load() as load:
        address = gateway.address
        load.wait(_leave_idle(load, address, kept))
        signalled = time.monotonic() + spread + 0.1
        fired = [
            load.start(
                _fire(
                    load,
                    address,
                    signalled + choose.uniform(-spread, spread),
                    kept=number < kept,
                    delay=choose.choice(DELAYS),
                )
            )
            for number in range(kept + new)
        ]
        asyncio.run(_until(signalled))
        gateway.signal(signal.SIGTERM)
        entries = [each.result(40) for each in fired]
        status = gateway.process.wait(40)
        return _raced(load.ledger.balance(upstream.seen()), status, entries, signalled)


def _raced(balance: Balance, status: int, entries: list[Entry], signalled: float) -> Race:
    lost = {entry.id for entry in balance.lost}
    before, after = Counter[str](), Counter[str]()
    for entry in entries:
        told = f"{entry.why}{' kept' if entry.kept else ''}{' LOST' * (entry.id in lost)}"
        (before if entry.begun < signalled else after)[told] += 1
    return Race(balance, status, before, after)


def race_http2(
    upstream: FaultyUpstream,
    directory: Path,
    *,
    connections: int,
    streams: int,
    grace: str = "0s",
    spread: float = 0.05,
    seed: int = 1,
) -> Race:
    """The same over HTTP/2: so many POSTs on each connection, after one that was answered.

    That the last stream which a GOAWAY names is the last that was begun, is asserted here.
    """
    choose = random.Random(seed)
    upstream.seen(forget=True)
    gateway = gateway_for(upstream, directory, grace=grace, secure=True)
    with gateway, Load() as load:
        them = load.wait(_open_http2(load, gateway.address, connections))
        signalled = time.monotonic() + spread + 0.1
        fired = [
            load.start(
                _fire_http2(
                    them[number % connections],
                    signalled + choose.uniform(-spread, spread),
                    delay=choose.choice(DELAYS),
                )
            )
            for number in range(connections * streams)
        ]
        asyncio.run(_until(signalled))
        gateway.signal(signal.SIGTERM)
        entries = [each.result(40) for each in fired]
        status = gateway.process.wait(40)
        load.wait(_close_http2(them))
        for connection in them:
            # At first no last stream is named, then the last one that was begun.
            *first, last = connection.last_streams
            assert set(first) <= {ANY_STREAM}, connection.last_streams
            assert last <= connection.highest, (last, connection.highest)
        return _raced(load.ledger.balance(upstream.seen()), status, entries, signalled)


async def _until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - time.monotonic()))


async def _fire(load: Load, address: str, due: float, *, kept: bool, delay: float) -> Entry:
    await _until(due)
    return await load.ask(address, f"/peer/tool/echo?delay={delay}", BODY, kept=kept, due=due)


async def _open_http2(load: Load, address: str, count: int) -> list[Http2]:
    """So many connections, each of which has had an answer."""
    context = client_context()
    them = [await Http2.open(address, context, load.ledger) for _ in range(count)]
    await asyncio.gather(*(each.ask("/peer/tool/echo", BODY) for each in them))
    return them


async def _fire_http2(connection: Http2, due: float, *, delay: float) -> Entry:
    await _until(due)
    return await connection.ask(f"/peer/tool/echo?delay={delay}", BODY, due)


async def _close_http2(them: list[Http2]) -> None:
    for each in them:
        await each.close()
