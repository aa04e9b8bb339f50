"""Drains by a ledger, in full: R4, R5 and H8 of the test plan."""

from collections import Counter

import pytest

from tests.integration.drains import (
    Busy,
    busy_drain,
    check_busy,
    check_race,
    race,
    race_http2,
    used_after,
)
from tests.integration.ledger_client import FaultyUpstream

BUSY = Busy(requests=100, halves=20, streams=20, sockets=20, idle=40, longest=10, timeout=29)

DRAINS = 100
"""Over HTTP/1.1, a quarter of them with a grace, and a fifth as many over HTTP/2."""


def test_all_that_is_under_way_ends_well(tmp_path):
    ended = busy_drain(tmp_path, BUSY)
    print(
        f"drain: {ended.balance}; the last answer after {ended.last_answer:.1f} s, exit"
        f" {ended.status} after {ended.seconds:.1f} s; WebSockets closed after"
        f" {max(each.ended for each in ended.sockets) - ended.signalled:.2f} s, streams ended after"
        f" {max(each.ended for each in ended.streams) - ended.signalled:.1f} s"
    )
    check_busy(BUSY, ended)
    assert ended.seconds <= 30
    # The use that quotas count was written down.
    assert used_after(tmp_path) == ended.logged


@pytest.mark.parametrize(
    ("kind", "grace", "times"),
    [
        ("HTTP/1.1", "0s", DRAINS * 3 // 4),
        ("HTTP/1.1", "300ms", DRAINS // 4),
        ("HTTP/2", "0s", DRAINS // 5),
        ("HTTP/2", "300ms", DRAINS // 10),
    ],
)
def test_what_the_upstream_saw_is_what_was_answered(tmp_path, kind, grace, times):
    before, after = Counter[str](), Counter[str]()
    answered = 0
    with FaultyUpstream() as upstream:
        for seed in range(times):
            if kind == "HTTP/2":
                raced = race_http2(
                    upstream, tmp_path, connections=10, streams=20, grace=grace, seed=seed
                )
            else:
                raced = race(upstream, tmp_path, kept=100, new=100, grace=grace, seed=seed)
            check_race(raced, in_grace=grace != "0s")
            before += raced.before
            after += raced.after
            answered += raced.balance.answered
    print(
        f"{times} drains, {kind}, grace {grace}: {answered} answered and as many seen; of POSTs due"
        f" before the signal {dict(before)}, after it {dict(after)}"
    )
