"""What requests are counted in: labels, folding, and a number of series that nobody can raise."""

import string
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import CAUSES
from portal_gateway.exchange import Caller, Exchange
from portal_gateway.observe.request_counts import RequestCounts
from portal_gateway.observe.tallies import LONGEST_LABEL

BOUNDS = (0.1, 1)


def over(counts, **facts):
    facts = {"method": "GET", "path": "/", "status": 404, "finished": 10.05, **facts}
    counts.exchange_over(Exchange("req_1", "203.0.113.9", **{"started": 10.0, **facts}))


def at_lease(counts, lease="tool", *, known=True, prefix=b"/peer/x", **facts):
    facts = {"status": 200, "path": "/peer/x/y", **facts}
    over(counts, lease=lease, lease_is_known=known, lease_prefix=prefix, **facts)


def series(counts):
    """The most series that the tables can be told in."""
    rows = counts.rows.values()
    return (
        sum(len(row.statuses) + bool(row.others) + len(row.counts) + 2 for row in rows)
        + len(told(counts.errors))
        + len(told(counts.limit_hits))
    )


def statuses(row):
    return {status: tally.count for status, tally in row.statuses.items()}


def told(tallies):
    return {labels: tally.count for labels, tally in tallies.items()}


def used(counts):
    return {labels for labels, row in counts.rows.items() if any(row.counts)}


@pytest.fixture
def counts():
    return RequestCounts(1800, BOUNDS)


@pytest.mark.parametrize(
    ("path", "template", "lease"),
    [
        ("/health", "/health", ""),
        ("/health/", "/health", ""),
        ("/health/ready", "/health/ready", ""),
        ("/metrics", "/metrics", ""),
        ("/whoami", "/whoami", ""),
        ("/.well-known/acme-challenge/abc", "/.well-known/acme-challenge/{token}", ""),
        ("/peer/%00/x", "/peer/{lease}", "_unmatched"),
        ("/ws/", "/ws/{lease}", "_unmatched"),
        ("/peers", "_unmatched", ""),
        ("/health/ready/x", "_unmatched", ""),
        ("*", "_unmatched", ""),
        ("", "_unmatched", ""),
    ],
)
def test_a_path_is_told_by_its_route(counts, path, template, lease):
    over(counts, path=path)
    assert used(counts) == {("GET", template, lease)}


@pytest.mark.parametrize(
    ("prefix", "template"),
    [
        (b"/peer/tool", "/peer/{lease}"),
        (b"/ws/tool", "/ws/{lease}"),
        (b"", "{lease_host}/"),
    ],
)
def test_a_lease_is_told_by_its_name_and_how_it_was_reached(counts, prefix, template):
    at_lease(counts, prefix=prefix, path="/health")
    assert used(counts) == {("GET", template, "tool")}


def test_a_lease_that_was_never_found_has_no_name_and_one_that_was_keeps_it(counts):
    at_lease(counts, known=False, error="lease_not_found", status=404)
    assert used(counts) == {("GET", "/peer/{lease}", "_unmatched")}
    at_lease(counts)
    at_lease(counts, known=False, error="lease_offline", status=503)
    assert statuses(counts.rows["GET", "/peer/{lease}", "tool"]) == {200: 1, 503: 1}
    assert told(counts.errors) == {
        ("lease_not_found", "_unmatched"): 1,
        ("lease_offline", "tool"): 1,
    }


@pytest.mark.parametrize(
    ("method", "lease", "own"),
    [
        ("GET", "GET", "GET"),
        ("POST", "POST", "_OTHER"),
        ("get", "_OTHER", "_OTHER"),
        ("PROPFIND", "_OTHER", "_OTHER"),
        ("", "_OTHER", "_OTHER"),
    ],
)
def test_methods_are_those_of_a_list(counts, method, lease, own):
    at_lease(counts, method=method)
    over(counts, method=method)
    assert used(counts) == {(lease, "/peer/{lease}", "tool"), (own, "_unmatched", "")}


def test_durations_go_into_their_buckets_and_a_websocket_s_ends_with_its_opening(counts):
    for finished in (10.0, 10.1, 10.5, 11.0, 15.0):
        at_lease(counts, finished=finished)
    at_lease(counts, status=101, first_byte=10.25, finished=5000.0)
    at_lease(counts, status=0, finished=None)
    row = counts.rows["GET", "/peer/{lease}", "tool"]
    assert row.counts == [3, 3, 1]
    assert row.seconds == pytest.approx(0.1 + 0.5 + 1 + 5 + 0.25)
    assert statuses(row) == {200: 5, 101: 1, 0: 1}


def test_bytes_and_timeouts_of_leases_are_summed(counts):
    at_lease(counts, bytes_in=3, bytes_out=5)
    at_lease(counts, bytes_in=30, bytes_out=50, status=504, error="upstream_timeout")
    assert (counts.bytes_in, counts.bytes_out, counts.upstream_timeouts) == (33, 55, 1)


def test_a_limit_is_told_by_the_key_s_id_and_a_lease_s_own_429_is_not(counts):
    at_lease(counts, status=429, caller=Caller("key_1"))
    at_lease(counts, status=429, error="rate_limit_exceeded", caller=Caller("key_1"))
    at_lease(counts, known=False, status=429, error="rate_limit_exceeded", lease="nobody")
    assert told(counts.limit_hits) == {("key_1", "tool"): 1, ("", "_unmatched"): 1}


@pytest.mark.parametrize("bad", ["x" * (LONGEST_LABEL + 1), "\ud800"])
def test_what_cannot_be_a_label_is_folded(counts, bad):
    at_lease(counts, bad, error="rate_limit_exceeded", caller=Caller(bad))
    assert used(counts) == {("GET", "/peer/{lease}", "_other")}
    assert told(counts.errors) == {("rate_limit_exceeded", "_other"): 1}
    assert told(counts.limit_hits) == {("_other", "_other"): 1}
    assert (counts.folded_rows, counts.errors.folded, counts.limit_hits.folded) == (1, 1, 1)


def test_a_status_that_http_does_not_have_is_folded(counts):
    for status in range(200, 600):
        at_lease(counts, status=status)
    row = counts.rows["GET", "/peer/{lease}", "tool"]
    assert row.statuses[503].count == 1
    assert 299 not in row.statuses
    assert row.others == 400 - len(row.statuses)
    assert counts.folded_rows == row.others


def test_paths_methods_and_leases_of_strangers_make_no_series(counts):
    chance = Random(1)
    for _ in range(100_000):
        path = "/x" + "".join(chance.choices(string.ascii_letters + "/%.", k=12))
        over(counts, path=path, method=chance.choice(["GET", "FOO" + path[1:4], "POST"]))
    before = series(counts)
    for number in range(50_000):
        at_lease(counts, f"lease-{number}", known=False, status=404, error="lease_not_found")
    assert used(counts) == {
        ("GET", "_unmatched", ""),
        ("_OTHER", "_unmatched", ""),
        ("GET", "/peer/{lease}", "_unmatched"),
    }
    assert series(counts) <= before + 20
    assert counts.folded_rows == 0


def test_everything_that_strangers_can_choose_leaves_room_for_leases():
    counts = RequestCounts(1800, range(14))
    methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"]
    for method in methods:
        for path in ("/health", "/health/ready", "/metrics", "/whoami", "/x", "/peer/", "/ws/"):
            for status in (400, 401, 404, 405):
                over(counts, method=method, path=path, status=status)
        for prefix in (b"/peer/a", b"/ws/a", b""):
            at_lease(counts, "a", known=False, prefix=prefix, method=method, status=401)
    assert counts.folded_rows == 0
    for number in range(10):
        at_lease(counts, f"lease-{number}")
    assert ("GET", "/peer/{lease}", "lease-9") in counts.rows


def test_10_000_keys_and_leases_that_are_found_are_folded_and_nobody_is_lost(counts):
    for number in range(10_000):
        at_lease(counts, f"lease-{number}")
        at_lease(
            counts,
            f"lease-{number}",
            status=429,
            error="rate_limit_exceeded",
            caller=Caller(f"key-{number}"),
        )
    assert series(counts) <= 1800
    assert ("GET", "/peer/{lease}", "lease-0") in counts.rows
    assert sum(sum(row.counts) for row in counts.rows.values()) == 20_000
    errors, hits = told(counts.errors), told(counts.limit_hits)
    assert sum(errors.values()) == sum(hits.values()) == 10_000
    named = {lease for _, _, lease in counts.rows} - {"_other"}
    assert counts.folded_rows == 2 * (10_000 - len(named))
    assert hits["_other", "_other"] == counts.limit_hits.folded > 9_000
    assert errors["rate_limit_exceeded", "_other"] == counts.errors.folded > 9_000


requests = st.builds(
    dict,
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "X"]),
    prefix=st.sampled_from([b"/peer/x", b"/ws/x", b""]),
    lease=st.text(max_size=3),
    known=st.booleans(),
    status=st.integers(0, 600),
    error=st.sampled_from([None, *CAUSES]),
    caller=st.none() | st.text(max_size=3).map(Caller),
    finished=st.none() | st.floats(10, 10_000),
)


@given(st.lists(requests, max_size=60), st.integers(300, 400))
def test_whatever_comes_the_series_are_bounded_and_every_request_is_counted(sent, budget):
    counts = RequestCounts(budget, BOUNDS)
    for facts in sent:
        at_lease(counts, facts.pop("lease"), **facts)
    assert series(counts) <= budget
    rows = counts.rows.values()
    assert sum(sum(row.counts) for row in rows) == len(sent)
    assert sum(sum(statuses(row).values()) + row.others for row in rows) == len(sent)


def figures(counts):
    """Everything that is told, by what it is told as."""
    found = {}
    for labels, row in counts.rows.items():
        found.update({(*labels, status): count for status, count in statuses(row).items()})
        found.update({(*labels, "bucket", index): n for index, n in enumerate(row.counts)})
        found[*labels, "others"] = row.others
    found.update(told(counts.errors))
    found.update({("limit", *labels): count for labels, count in told(counts.limit_hits).items()})
    found["folded",] = counts.folded_rows
    return found


def sum_of(parts, budget):
    counts = RequestCounts(budget, BOUNDS)
    counts.add(parts)
    return counts


def test_counts_are_added_up():
    first, second = RequestCounts(1800, BOUNDS), RequestCounts(1800, BOUNDS)
    at_lease(first, "both", bytes_in=1, bytes_out=2)
    at_lease(second, "both", bytes_in=10, bytes_out=20, finished=10.5)
    at_lease(second, "both", status=504, error="upstream_timeout")
    at_lease(second, "one", status=429, error="rate_limit_exceeded", caller=Caller("key_1"))
    counts = sum_of([first, second], 1800)
    row = counts.rows["GET", "/peer/{lease}", "both"]
    assert (statuses(row), row.counts) == ({200: 2, 504: 1}, [2, 1, 0])
    assert row.seconds == pytest.approx(0.6)
    assert (counts.bytes_in, counts.bytes_out, counts.upstream_timeouts) == (11, 22, 1)
    assert told(counts.limit_hits) == {("key_1", "one"): 1}
    # A lease that was found is known by the sum as well.
    at_lease(counts, "one", known=False, status=503)
    assert statuses(counts.rows["GET", "/peer/{lease}", "one"]) == {429: 1, 503: 1}


def test_a_smaller_budget_keeps_the_oldest_leases_and_counts_the_rest():
    counts = RequestCounts(1800, BOUNDS)
    for number in range(100):
        at_lease(counts, f"lease-{number}", started=10.0 + number, finished=10.05 + number)
    smaller = sum_of([counts], 300)
    assert series(smaller) <= 300
    named = [lease for _, _, lease in smaller.rows if lease.startswith("lease-")]
    assert 5 < len(named) < 50
    assert named == [f"lease-{number}" for number in range(len(named))]
    assert sum(sum(row.counts) for row in smaller.rows.values()) == 100
    assert smaller.folded_rows >= 100 - len(named)


@pytest.mark.parametrize("seed", range(6))
def test_however_processes_count_their_sum_is_bounded_and_never_falls(seed):
    chance = Random(seed)
    budget = 420
    parts = [RequestCounts(budget, BOUNDS) for _ in range(3)]
    before = {}
    for number in range(600):
        finished = 100.0 + number
        at_lease(
            chance.choice(parts),
            f"lease-{int(chance.expovariate(0.1))}",
            known=chance.random() < 0.8,
            prefix=chance.choice([b"/peer/x", b"/peer/x", b"/ws/x"]),
            method=chance.choice(["GET", "GET", "GET", "POST"]),
            status=chance.choice([200, 200, 429, 499, 503, 504]),
            error=chance.choice([None, None, "lease_offline", "rate_limit_exceeded"]),
            caller=Caller(f"key-{chance.randrange(20)}"),
            started=finished - chance.choice([0.05, 0.5, 5.0]),
            finished=finished,
        )
        counts = sum_of(parts, budget)
        assert series(counts) <= budget
        assert sum(sum(row.counts) for row in counts.rows.values()) == number + 1
        now = figures(counts)
        assert not [what for what, was in before.items() if now.get(what, was) < was]
        before = now
    assert counts.folded_rows > 0
