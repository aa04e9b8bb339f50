"""Which limits hold for a request: the acceptance criteria of features 2.1, 2.2 and 2.3."""

import pytest

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.model import key_digest
from portal_gateway.exchange import Caller
from portal_gateway.policy import rate_limits
from portal_gateway.policy.rate_limits import RateLimits, Tables
from portal_gateway.policy.token_bucket import SECOND, take

START = 9_000 * SECOND
ALICE = Caller("alice")
BOB = Caller("bob")


def limits_of(text, tables=None):
    config = load_config_text(text, "test.yaml", {})
    return RateLimits(config.rate_limit, Tables() if tables is None else tables)


def ask(limits, caller=ALICE, lease="tool", now=START, **options):
    """Whether a request is admitted; ``lease`` is its name, or all of them."""
    names = (lease,) if isinstance(lease, str) else lease
    found = limits.of(caller, names, **options)
    return found is None or take(found.buckets, now)[0]


def admitted(limits, caller=ALICE, lease="tool", now=START, most=10_000, **options):
    """How many requests are admitted in one moment."""
    return next(n for n in range(most) if not ask(limits, caller, lease, now, **options))


GLOBAL = """
rate_limit:
  global:
    requests_per_second: 1000
    burst: 2000
"""

PER_KEY = """
auth:
  keys:
    - {id: premium, key: sk_live_premium}
    - {id: gold, key: sk_live_gold_123}
    - {id: alice, key: sk_live_alice_123}
rate_limit:
  per_key:
    default:
      requests_per_second: 100
      burst: 200
    plans:
      team: {requests_per_second: 300, burst: 300}
      free: {requests_per_minute: 5}
    overrides:
      "sk_live_premium":
        requests_per_second: 1000
        burst: 2000
      gold: unlimited
      from-database: 7
"""

PER_LEASE = """
rate_limit:
  per_lease:
    "mcp-server": 50
    "n8n-webhook": 200
    "openai-function": 100
"""


# 2.1


def test_2_1_burst_traffic_is_handled_and_requests_over_the_limit_are_refused():
    limits = limits_of(GLOBAL)
    assert admitted(limits) == 2000
    assert admitted(limits, now=START + SECOND) == 1000


def test_2_1_the_limit_is_for_all_clients_together():
    limits = limits_of(GLOBAL)
    callers = [Caller(f"key_{n}") for n in range(100)]
    for n in range(2000):
        assert ask(limits, callers[n % 100], f"lease{n % 7}")
    assert not any(ask(limits, caller) for caller in callers)


def test_2_1_no_memory_leaks():
    """Neither keys nor leases that are gone leave anything behind."""
    tables = Tables()
    limits = limits_of(GLOBAL + "  per_key: {default: 10}\n  per_lease: {tool: 10}\n", tables)
    for n in range(30_000):
        limits.of(Caller(f"key_{n}"), (f"no-such-lease-{n}",))
        ask(limits, Caller(f"key_{n}"), now=START + n * SECOND // 1000)
    assert len(limits._known) <= rate_limits._MOST_PUT_TOGETHER
    assert len(tables) <= 30_002
    for _ in range(4):
        tables.sweep(START + 100 * SECOND, 10_000)
    assert len(tables) == 0
    assert tables.forgotten == 0


# 2.2


def test_2_2_each_key_is_tracked_separately():
    limits = limits_of(PER_KEY)
    assert admitted(limits, ALICE) == 200
    assert admitted(limits, BOB) == 200
    assert not ask(limits, ALICE)


def test_2_2_default_limits_are_applied_to_every_lease_together():
    limits = limits_of(PER_KEY)
    assert admitted(limits, ALICE, "one") == 200
    assert not ask(limits, ALICE, "two")


@pytest.mark.parametrize(
    ("caller", "most"),
    [
        (Caller("premium", digest=key_digest(b"sk_live_premium")), 2000),
        (Caller("alice"), 200),
        (Caller("from-database", source="database"), 7),
        (Caller("other", plan="team"), 300),
        (Caller("other", plan="free"), 5),
        (Caller("other", plan="no such plan"), 200),
        (Caller("k_1", plan="free", digest=key_digest(b"sk_live_premium")), 2000),
        (Caller("\ud800", source="jwt"), 200),
    ],
)
def test_2_2_override_limits_work(caller, most):
    assert admitted(limits_of(PER_KEY), caller) == most


def test_2_2_a_key_may_be_unlimited():
    limits = limits_of(PER_KEY)
    assert limits.of(Caller("gold"), ("tool",)) is None


def test_2_2_the_remaining_requests_are_shown():
    limits = limits_of(PER_KEY).of(ALICE, ("tool",))
    shown = [dict(limits.fields(take(limits.buckets, START)[1])) for _ in range(3)]
    assert [fields[b"X-RateLimit-Remaining"] for fields in shown] == [b"199", b"198", b"197"]


def test_a_plan_that_changes_counts_at_once():
    limits = limits_of(PER_KEY)
    assert admitted(limits, Caller("x", plan="free")) == 5
    # The bucket is empty by the new rate too, and fills up by it.
    assert not ask(limits, Caller("x", plan="team"))
    assert admitted(limits, Caller("x", plan="team"), now=START + SECOND // 10) == 30


# 2.3


def test_2_3_each_lease_is_limited_independently():
    limits = limits_of(PER_LEASE)
    assert admitted(limits, lease="mcp-server") == 50
    assert admitted(limits, lease="n8n-webhook") == 200
    assert admitted(limits, lease="openai-function") == 100


def test_2_3_the_limit_is_over_all_keys():
    limits = limits_of(PER_LEASE)
    for n in range(50):
        assert ask(limits, Caller(f"key_{n}"), "mcp-server")
    assert not ask(limits, BOB, "mcp-server")
    assert ask(limits, BOB, "n8n-webhook")


def test_2_3_limits_are_configurable_per_lease():
    limits = limits_of(
        PER_LEASE + "    other: {requests_per_minute: 30, burst: 3}\n    free: unlimited\n"
    )
    assert admitted(limits, lease="other") == 3
    assert ask(limits, lease="other", now=START + 2 * SECOND)
    assert limits.of(ALICE, ("free",)) is None
    assert limits.of(ALICE, ("not there",)) is None


ID = "AAAAAAAAAAAAAAAAAAAAAAAAAA"

PATTERNS = f"""
rate_limit:
  per_lease:
    "mcp-*": 20
    "mcp-files-*": 5
    "mcp-files-big": unlimited
    "mcp-Exact": 7
    "{ID}": 3
"""


@pytest.mark.parametrize(
    ("names", "most"),
    [
        (("mcp-one",), 20),
        (("MCP-One",), 20),
        (("mcp-files-x",), 5),
        (("mcp-exact",), 7),
        (("other", ID), 3),
        # As equally specific rules go, the lowest.
        (("mcp-exact", ID), 3),
        (("mcp-exact", "mcp-files-big"), 7),
    ],
)
def test_2_3_limits_are_configurable_by_patterns(names, most):
    limits = limits_of(PATTERNS)
    assert admitted(limits, lease=names) == most


def test_2_3_each_lease_of_a_pattern_has_a_limit_of_its_own():
    limits = limits_of(PATTERNS)
    assert admitted(limits, lease="mcp-one") == 20
    assert admitted(limits, lease="mcp-two") == 20
    assert limits.of(ALICE, ("mcp-files-big",)) is None
    assert limits.of(ALICE, ("other",)) is None


def test_2_3_a_lease_whose_names_nobody_knows_cannot_step_out_of_its_limit():
    limits = limits_of(PATTERNS)
    other = "B" * 26
    assert admitted(limits, lease=(other,), hides_names=True) == 3
    assert admitted(limits_of(PATTERNS), lease=("pinned", ID), hides_names=True) == 3


def test_2_3_a_lease_has_no_second_limit_by_an_id_whose_names_nobody_knows():
    limits = limits_of("rate_limit: {per_lease: {Open: 3, other: 9}}")
    first, second = "B" * 26, "C" * 26
    assert admitted(limits, lease=("open",)) == 3
    assert admitted(limits, lease=(first,), hides_names=True) == 0
    assert admitted(limits, lease=(second,), hides_names=True) == 0
    assert admitted(limits, lease=("other",)) == 9


def test_2_3_ids_whose_names_nobody_knows_share_the_limit_of_a_pattern():
    limits = limits_of(PATTERNS)
    assert admitted(limits, lease=(ID,), hides_names=True) == 3
    limits = limits_of("rate_limit: {per_lease: {'mcp-*': 4, other: 9}}")
    assert admitted(limits, lease=("B" * 26,), hides_names=True) == 4
    assert admitted(limits, lease=("C" * 26,), hides_names=True) == 0
    assert admitted(limits, lease=("mcp-one",)) == 4


# All of them.

ALL = """
rate_limit:
  global: {requests_per_second: 1, burst: 10}
  per_key: {default: {requests_per_second: 1, burst: 4}}
  per_lease: {tool: {requests_per_second: 1, burst: 6}}
"""


def test_tokens_are_taken_from_all_limits_or_from_none():
    limits = limits_of(ALL)
    assert admitted(limits, ALICE) == 4
    # Alice's further requests cost neither the lease nor the gateway anything.
    for _ in range(100):
        assert not ask(limits, ALICE)
    assert admitted(limits, BOB) == 2
    for _ in range(100):
        assert not ask(limits, BOB)
    assert admitted(limits, BOB, "other") == 2
    assert admitted(limits, Caller("carol"), "other") == 2


def test_a_store_is_prepared_once_for_what_a_key_and_a_lease_have_together():
    prepared = []

    def prepare(names, rates):
        prepared.append((names, rates))
        return len(prepared)

    config = load_config_text(ALL, "test.yaml", {})
    limits = RateLimits(config.rate_limit, Tables(), prepare)
    assert limits.of(ALICE, ("tool",)).prepared == 1
    assert limits.of(ALICE, ("other",)).prepared == 2
    assert limits.of(ALICE, ("tool",)).prepared == 1
    rates = [(SECOND, 10 * SECOND), (SECOND, 4 * SECOND), (SECOND, 6 * SECOND)]
    assert prepared == [
        (["global:", "key:alice", "lease:tool"], rates),
        (["global:", "key:alice"], rates[:2]),
    ]
    assert limits_of(ALL).of(ALICE, ("tool",)).prepared is None


def test_without_limits_nothing_is_told_and_nothing_kept():
    limits = limits_of("rate_limit: {}")
    assert not limits.any
    assert limits.of(ALICE, ("tool",)) is None


@pytest.mark.parametrize("text", [GLOBAL, PER_KEY, PER_LEASE])
def test_it_is_known_whether_there_is_any_limit(text):
    assert limits_of(text).any


def test_buckets_outlive_the_configuration():
    tables = Tables()
    assert admitted(limits_of(GLOBAL, tables)) == 2000
    assert not ask(limits_of(GLOBAL, tables))
    assert not ask(limits_of(GLOBAL.replace("2000", "20"), tables))
