"""100,000 paths, 50,000 leases that nobody has, 1,000 that are there, and 10,000 keys: what such a
crowd makes of the metrics (M7)."""

from tests.integration import programs
from tests.integration.crowd import Crowd, configuration, send_crowd

CROWD = Crowd(paths=100_000, leases=50_000, keys=10_000, found=1_000)

MOST_SERIES = 2_000
MOST_SECONDS = 0.1
MOST_GROWTH = 10_000_000
"""Bytes of memory, the limits of 10,000 keys included."""


def test_m7_a_crowd_makes_no_more_series_than_there_may_be(tmp_path):
    origin, address = programs.origin()
    with origin, programs.Gateway(configuration(address, CROWD), tmp_path) as gateway:
        statuses, scraped = send_crowd(gateway, CROWD)
    print(
        f"\n{scraped.series:,} series in {scraped.seconds * 1e3:.1f} ms;"
        f" {scraped.grown / 1e6:.1f} MB more memory"
    )
    admitted = CROWD.keys + CROWD.found
    assert statuses == {404: CROWD.paths + CROWD.leases, 200: admitted, 429: CROWD.keys}
    assert 1_200 < scraped.series <= MOST_SERIES
    assert scraped.seconds <= MOST_SECONDS
    assert scraped.grown <= MOST_GROWTH
    assert scraped.folded > CROWD.keys - MOST_SERIES
