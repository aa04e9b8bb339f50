"""Drains by a ledger, in short; the full forms are in ``tests/soak/soak_drain.py``."""

import pytest

from tests.integration.drains import Busy, busy_drain, check_busy, check_race, race, race_http2
from tests.integration.ledger_client import FaultyUpstream

BUSY = Busy(requests=30, halves=10, streams=10, sockets=10, idle=20, longest=1.0, timeout=2)


def test_4_3_all_that_is_under_way_ends_well(tmp_path):
    check_busy(BUSY, busy_drain(tmp_path, BUSY))


@pytest.mark.parametrize("grace", ["0s", "300ms"])
def test_4_3_what_the_upstream_saw_is_what_was_answered(tmp_path, grace):
    with FaultyUpstream() as upstream:
        check_race(race(upstream, tmp_path, kept=60, new=40, grace=grace), in_grace=grace != "0s")


def test_4_3_the_last_stream_that_http_2_names_is_the_last_that_was_begun(tmp_path):
    with FaultyUpstream() as upstream:
        raced = race_http2(upstream, tmp_path, connections=5, streams=10)
    check_race(raced, in_grace=False)
