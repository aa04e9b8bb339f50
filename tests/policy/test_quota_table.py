"""Counting and admitting, by example and against a slow reference under clocks that jump."""

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.exchange import Exchange
from portal_gateway.policy.quota_spans import span_at
from portal_gateway.policy.quota_table import QuotaTable
from portal_gateway.policy.quotas import Quota

DAY = 86_400.0
NOW = 1_795_608_000.0  # 2026-11-25T12:00:00Z
MONTH_END = 1_796_083_200.0  # 2026-12-01T00:00:00Z

TEN_A_MONTH = (Quota("monthly", 10, None),)
BOTH = (Quota("daily", 5, 1000), Quota("monthly", 8, 2000))


class Store:
    """What a store does: it adds, and gives back what it has."""

    def __init__(self):
        self.totals = defaultdict(lambda: (0, 0))
        self.last = defaultdict(int)

    def sync(self, batch, wanted=(), writer=None):
        counts = list(wanted)
        if batch is not None:
            counts = [delta.count for delta in batch.deltas] + counts
            if batch.number > self.last[writer]:
                self.last[writer] = batch.number
                for delta in batch.deltas:
                    which = (delta.count.key_id, delta.count.span.label)
                    requests, size = self.totals[which]
                    self.totals[which] = (requests + delta.requests, size + delta.bytes)
        return [self.totals[(count.key_id, count.span.label)] for count in counts]


class Counting:
    """A table and a store, as a keeper brings them together."""

    def __init__(self, capacity=100, store=None):
        self.table = QuotaTable(capacity)
        self.store = store or Store()

    def account(self, key="a", quotas=TEN_A_MONTH, now=NOW):
        account = self.table.account(key, quotas, now)
        if account is not None and not account.is_known:
            wanted = [count for _, count in account.current if not count.known]
            for count, totals in zip(wanted, self.store.sync(None, wanted), strict=True):
                count.learn(totals)
        return account

    def request(self, key="a", quotas=TEN_A_MONTH, now=NOW):
        return self.table.admit(self.account(key, quotas, now))

    def flush(self):
        batch = self.table.batch()
        if batch is not None:
            self.table.written(self.store.sync(batch, writer=self))


def exchange(bytes_in=0, bytes_out=0):
    return Exchange("r", "127.0.0.1", 0.0, bytes_in=bytes_in, bytes_out=bytes_out)


def test_exactly_as_many_requests_are_admitted_as_the_quota_has():
    counting = Counting()
    assert [counting.request() for _ in range(12)] == [True] * 10 + [False] * 2


def test_keys_are_counted_each_for_itself():
    counting = Counting()
    for _ in range(10):
        assert counting.request("a")
    assert not counting.request("a")
    assert counting.request("b")


def test_a_request_counts_in_every_quota_or_in_none():
    counting = Counting()
    for _ in range(5):
        assert counting.request(quotas=BOTH)
    assert not counting.request(quotas=BOTH)
    (_, day), (_, month) = counting.account(quotas=BOTH).current
    assert (day.requests, month.requests) == (5, 5)
    later = NOW + DAY
    for _ in range(3):
        assert counting.request(quotas=BOTH, now=later)
    assert not counting.request(quotas=BOTH, now=later)
    (_, day), (_, month) = counting.account(quotas=BOTH, now=later).current
    assert (day.requests, month.requests) == (3, 8)


def test_the_quota_begins_anew_with_the_month_and_once():
    counting = Counting()
    for _ in range(10):
        counting.request(now=MONTH_END - 0.001)
    assert not counting.request(now=MONTH_END - 0.001)
    for _ in range(10):
        assert counting.request(now=MONTH_END)
    assert not counting.request(now=MONTH_END)
    # The clock is set back over the end of the month, and comes again.
    assert not counting.request(now=MONTH_END - 5)
    assert not counting.request(now=MONTH_END + 5)
    assert not counting.request(now=MONTH_END - 5)


def test_a_clock_that_is_far_off_does_no_lasting_harm():
    counting = Counting()
    for _ in range(6):
        counting.request()
    for _ in range(10):
        assert counting.request(now=NOW + 3650 * DAY)
    assert not counting.request(now=NOW + 3650 * DAY)
    counting.flush()
    assert [counting.request() for _ in range(5)] == [True] * 4 + [False]


def test_bandwidth_refuses_when_it_is_used_up():
    counting = Counting()
    quotas = (Quota("daily", None, 1000),)
    assert counting.request(quotas=quotas)
    flow = counting.table.begin(exchange(400, 500), counting.account(quotas=quotas))
    assert counting.table.flows == 1
    counting.table.end(flow, NOW)
    assert counting.table.flows == 0
    assert counting.request(quotas=quotas)
    flow = counting.table.begin(exchange(0, 200), counting.account(quotas=quotas))
    counting.table.end(flow, NOW)
    assert not counting.request(quotas=quotas)
    ((_, count),) = counting.account(quotas=quotas).current
    assert (count.requests, count.bytes) == (2, 1100)


def test_bytes_are_counted_as_they_flow_in_the_span_in_which_they_do():
    counting = Counting()
    quotas = (Quota("daily", None, 1000),)
    long = exchange(10, 20)
    flow = counting.table.begin(long, counting.account(quotas=quotas))
    counting.table.count_flows(NOW)
    counting.table.count_flows(NOW + 1)
    ((_, first),) = counting.account(quotas=quotas).current
    assert first.bytes == 30
    long.bytes_out += 970
    counting.table.count_flows(NOW + 2)
    assert not counting.request(quotas=quotas)
    long.bytes_out += 5
    counting.table.end(flow, NOW + DAY)
    counting.flush()
    assert counting.store.totals["a", "2026-11-25"] == (0, 1000)
    assert counting.store.totals["a", "2026-11-26"] == (0, 5)


def test_what_other_processes_count_is_seen_after_writing():
    store = Store()
    one, two = Counting(store=store), Counting(store=store)
    for _ in range(4):
        assert one.request()
    one.flush()
    assert [two.request() for _ in range(7)] == [True] * 6 + [False]
    two.flush()
    assert one.request(), "what it does not know yet"
    one.flush()
    assert not one.request()
    assert store.totals["a", "2026-11"] == (11, 0)


def test_a_batch_is_the_same_until_it_is_written():
    counting = Counting()
    counting.request()
    batch = counting.table.batch()
    counting.request()
    assert counting.table.batch() is batch
    # It was written, but nobody heard of it.
    counting.store.sync(batch, writer=counting)
    counting.flush()
    counting.flush()
    assert counting.store.totals["a", "2026-11"] == (2, 0)
    assert counting.table.batch() is None


def test_nothing_new_is_no_batch():
    counting = Counting()
    counting.account()
    assert counting.table.batch() is None


# Room.


def test_accounts_that_were_not_used_lately_are_dropped_and_read_again():
    counting = Counting(capacity=10)
    for number in range(30):
        for _ in range(3):
            assert counting.request(f"key-{number}")
        counting.flush()
        assert len(counting.table) <= 10
    assert [counting.request("key-0") for _ in range(8)] == [True] * 7 + [False]


def test_accounts_in_use_are_not_dropped():
    counting = Counting(capacity=10)
    long = exchange()
    flow = counting.table.begin(long, counting.account("long"))
    for number in range(30):
        counting.request(f"key-{number}")
        counting.flush()
    long.bytes_out = 7
    counting.table.end(flow, NOW)
    ((_, count),) = counting.account("long").current
    assert count.bytes == 7
    assert flow.account is counting.account("long")


def test_where_everything_has_to_stay_there_is_no_room_for_another():
    counting = Counting(capacity=10)
    accounts = [counting.account(f"key-{number}") for number in range(5)]
    for account in accounts:
        counting.table.admit(account)
    assert counting.account("another") is None
    assert counting.account("key-0") is accounts[0]
    counting.flush()
    assert counting.account("another") is not None


def test_the_old_are_found_where_there_is_no_room_for_another():
    counting = Counting(capacity=4)
    old = counting.account("old")
    counting.account("old-2")
    for key in ("new", "new-2"):
        counting.request(key)
    assert counting.account("another") is None
    assert counting.account("old") is old


# A reference.


def use_and_compare(table, account, limits, now, size):
    """A request, or a flow of twice ``size``, here and in the reference."""
    if size is not None:
        table.end(table.begin(exchange(size, size), account), now)
        for _, use in limits:
            use[1] += 2 * size
        return
    may = all(use[0] < quota.requests and use[1] < quota.bandwidth for quota, use in limits)
    assert table.admit(account) == may
    for _, use in limits:
        use[0] += may


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["request", "request", "request", "flow", "flush", "jump", "far"]),
            st.sampled_from(["a", "b", "c", "d"]),
            st.integers(0, 500),
        ),
        max_size=80,
    ),
    st.integers(4, 8),
)
def test_against_a_slow_reference(steps, capacity):
    """Whatever the clock does, a span has what was admitted in it, and no more than its quota."""
    counting = Counting(capacity=capacity)
    quotas = (Quota("daily", 4, 900), Quota("monthly", 7, 1500))
    used = defaultdict(lambda: [0, 0])
    now = MONTH_END - 1000

    def expected(key):
        return [(quota, used[key, span_at(quota.period, now).label]) for quota in quotas]

    for kind, key, number in steps:
        if kind == "jump":
            now += number - 250
        elif kind == "far":
            now += (number - 250) * DAY / 10
        elif kind == "flush":
            counting.flush()
        else:
            account = counting.account(key, quotas, now)
            if account is None:
                counting.flush()
                account = counting.account(key, quotas, now)
            uses = [used[key, span_at(quota.period, now).label] for quota in quotas]
            size = number if kind == "flow" else None
            use_and_compare(
                counting.table, account, list(zip(quotas, uses, strict=True)), now, size
            )
    counting.flush()
    stored = {which: total for which, total in counting.store.totals.items() if any(total)}
    assert stored == {which: tuple(use) for which, use in used.items() if any(use)}


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tiny_tables_work(size):
    counting = Counting(capacity=size)
    for number in range(5):
        account = counting.account(f"key-{number}")
        assert account is not None
        counting.table.admit(account)
        counting.flush()


def test_with_little_room_the_halves_do_not_change_places_for_each_key():
    table = QuotaTable(160)
    flows = []
    for number in range(70):
        account = table.account(f"k{number}", (), NOW)
        flows.append(table.begin(Exchange("r", "192.0.2.1", NOW), account))
    made = [table.account(f"other{number}", (), NOW) for number in range(11)]
    assert [account is None for account in made] == [False] * 10 + [True]
    table.end(flows[0], NOW)
    table.end(flows[0], NOW)
    assert table.account("another", (), NOW) is not None
    assert table.account("k5", (), NOW) is flows[5].account
