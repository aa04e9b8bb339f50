"""What each abuse costs the gateway, beside what it costs the abuser.

For each of the table: the bytes held, and the CPU spent in units of what as many bytes of ordinary
requests cost in the same run, are at most a hundred times what was sent, and a limit with a counter
ended it. ``make soak`` shows the whole table, with what others noticed (tests/soak/soak_abuse.py).
"""

import pytest

from tests.abuse.abuses import ABUSES, UNLIMITED, Abuse
from tests.abuse.bed import Bed

BOUND = 100

PART = {
    "pipelined requests without a key": 0.15,
    "made-up keys with a right checksum": 0.3,
    "tokens with made-up key ids": 0.3,
    "pipelined requests of one key": 0.3,
    "made-up leases": 0.3,
    "redirects that echo a long query": 0.3,
    "many cookies, each a field": 0.3,
    "WebSocket: pings": 0.3,
    "WebSocket: empty messages": 0.3,
    "WebSocket: a message of a hundred thousand fragments": 0.3,
}
"""How much of what an abuse sends is sent here, where that is not all of it."""

LONGEST = 30.0
"""Seconds of one abuse."""


@pytest.fixture(scope="module")
def bed(tmp_path_factory):
    with Bed(tmp_path_factory.mktemp("abuse")) as bed:
        yield bed


def test_there_are_enough():
    assert len({abuse.name + (abuse.alpn or "") for abuse in ABUSES}) == len(ABUSES) >= 25


@pytest.mark.parametrize("abuse", ABUSES, ids=lambda abuse: f"{abuse.name}-{abuse.alpn or 'h1'}")
def test_an_abuse(bed: Bed, abuse: Abuse):
    row = bed.suffer(abuse, part=PART.get(abuse.name, 1.0), longest=LONGEST)
    assert row.memory_factor <= BOUND, row
    if abuse.ended_by == UNLIMITED:
        assert row.cpu_factor <= 1, row
    else:
        assert row.cpu_factor <= BOUND, row
        assert row.hits, row.risen
