"""The time of day is set while the gateway runs: limits and deadlines do not notice."""

import json
from http import HTTPStatus
from pathlib import Path

import pytest

from tests.integration import programs
from tests.integration.calls import Client
from tests.integration.conftest import missing

RATE = 5
HOUR = 3600


@pytest.fixture
def clock(tmp_path):
    """A file that holds the seconds by which the time of day is ahead."""
    file = tmp_path / "ahead"
    file.write_text("+0\n")
    return file


@pytest.fixture
def gateway(clock, origin, tmp_path):
    libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    if not libraries:
        missing("there is no libfaketime")
    limits = {"global": {"requests_per_second": RATE, "burst": RATE}}
    with programs.Gateway(
        {"leases": {"plain": {"url": f"http://{origin}"}}, "rate_limit": limits},
        tmp_path,
        {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(clock),
            "FAKETIME_NO_CACHE": "1",
            # Setting the time of day leaves the monotonic clock alone.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    ) as program:
        yield program


def hour_of(gateway, client, number):
    """The hour that the gateway writes into its log now."""
    client.request("GET", f"/echo/hour-{number}")
    line = gateway.wait_for_line(f".*/echo/hour-{number}.*")[0]
    return json.loads(line)["timestamp"][:13]


def test_r23_no_lockout_and_no_gift_when_the_clock_jumps(clock, gateway):
    """R23: an hour back and forth. Idle connections live through it as well."""
    with Client(gateway.address, "/peer/plain", programs.API_KEY) as client:

        def admitted():
            statuses = [client.request("GET", "/echo/x").status for _ in range(2 * RATE)]
            assert set(statuses) <= {HTTPStatus.OK, HTTPStatus.TOO_MANY_REQUESTS}
            return statuses.count(HTTPStatus.OK)

        assert RATE <= admitted() <= RATE + 1
        hours = {hour_of(gateway, client, 0)}
        for number, ahead in enumerate((-HOUR, HOUR, -2 * HOUR, 0), 1):
            clock.write_text(f"{ahead:+}\n")
            # No bucket is full by it: but for what came in meanwhile all are as empty.
            assert admitted() <= RATE - 3
            hours.add(hour_of(gateway, client, number))
            programs.wait_until(
                lambda: client.request("GET", "/echo/x").status == HTTPStatus.OK, 1, "a token"
            )
        # The gateway did see the time change.
        assert len(hours) >= 4
