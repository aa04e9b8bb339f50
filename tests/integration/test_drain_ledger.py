"""Drains by a ledger, in short; the full forms are in ``tests/soak/soak_drain.py``."""

from tests.integration.drains import Busy, busy_drain, check_busy, check_race, race, race_http2
from tests.integration.ledger_client import FaultyUpstream

BUSY = Busy(requests=30, halves=10, streams=10, sockets=10, idle=20, longest=1.0, timeout=2)


def test_4_3_all_that_is_under_way_ends_well(tmp_path):
    check_busy(BUSY, busy_drain(tmp_path, BUSY))


def test_4_3_what_the_upstream_saw_is_what_was_answered(tmp_path):
    with FaultyUpstream() as upstream:
        check_race(race(upstream, tmp_path, kept=60, new=40), in_grace=False)


def test_4_3_in_the_grace_everything_is_answered_over_http_2_too(tmp_path):
    with FaultyUpstream() as upstream:
        raced = race_http2(upstream, tmp_path, connections=5, streams=10, grace="300ms")
    check_race(raced, in_grace=True)
