"""The section ``rate_limit``: every way to write it, and what is wrong with others."""

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.model import Config, key_digest
from portal_gateway.config.rate_limits import KeyRates, RateLimitSection, RateSection
from portal_gateway.config.report import describe

CANARY = "sk_live_canary_0123456789"


def load(text, environ=None):
    text = 'portal: {relays: [{url: "ws://relay/"}]}\n' + text
    return load_config_text(text, "file.yaml", environ or {})


def section(text, environ=None):
    indented = "\n".join(f"  {line}" for line in text.splitlines())
    return load(f"rate_limit:\n{indented}\n", environ).rate_limit


def faults(text):
    with pytest.raises(ConfigInvalid) as caught:
        section(text)
    return [f"{fault.path}: {fault.reason}" for fault in caught.value.faults]


def fault(text):
    (only,) = faults(text)
    return only


# As the feature list has it.


def test_2_1_global():
    found = section("global:\n  requests_per_second: 1000\n  burst: 2000")
    assert found.everything == RateSection(1000, 1, 2000)


def test_2_2_per_key():
    found = section(
        """
per_key:
  default:
    requests_per_second: 100
    burst: 200

  overrides:
    "sk_live_premium":
      requests_per_second: 1000
      burst: 2000
"""
    )
    assert found.per_key == KeyRates(
        RateSection(100, 1, 200),
        overrides={key_digest(b"sk_live_premium"): RateSection(1000, 1, 2000)},
    )


def test_2_3_per_lease():
    found = section(
        'per_lease:\n  "mcp-server": 50\n  "n8n-webhook": 200\n  "openai-function": 100'
    )
    assert found.per_lease == {
        "mcp-server": RateSection(50, 1, 50),
        "n8n-webhook": RateSection(200, 1, 200),
        "openai-function": RateSection(100, 1, 100),
    }


# And in other ways.


def test_nothing_is_limited_unless_it_is_written_but_failed_attempts():
    assert Config().rate_limit == section("") == RateLimitSection()
    assert RateLimitSection().failed_auth == RateSection(10, 1, 100)
    assert RateLimitSection().everything is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50", RateSection(50, 1, 50)),
        ("0.5", RateSection(0.5, 1, 1)),
        ("2.5", RateSection(2.5, 1, 3)),
        ("{requests_per_second: 0.1}", RateSection(0.1, 1, 1)),
        ("{requests_per_minute: 30}", RateSection(30, 60, 30)),
        ("{requests_per_minute: 30, burst: 3}", RateSection(30, 60, 3)),
        ("{requests_per_hour: 1000, burst: 100}", RateSection(1000, 3600, 100)),
    ],
)
def test_a_rate(text, expected):
    assert section(f"global: {text}").everything == expected
    assert section(f"per_key: {{default: {text}}}").per_key.default == expected
    assert section(f"per_lease: {{tool: {text}}}").per_lease == {"tool": expected}


def test_keys_and_leases_may_be_unlimited():
    found = section(
        "per_key: {plans: {free: 1, team: unlimited}, overrides: {vip: unlimited}}\n"
        "per_lease: {tool: unlimited}"
    )
    assert found.per_key.plans == {"free": RateSection(1, 1, 1), "team": None}
    assert found.per_key.overrides == {key_digest(b"vip"): None}
    assert found.per_lease == {"tool": None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", RateSection(10, 1, 100)),
        ("{enabled: true}", RateSection(10, 1, 100)),
        ("{burst: 20}", RateSection(10, 1, 20)),
        ("{requests_per_minute: 60}", RateSection(60, 60, 60)),
        ("{enabled: false}", None),
        ("{enabled: false, requests_per_second: 5}", None),
    ],
)
def test_failed_auth(text, expected):
    assert section(f"failed_auth: {text}").failed_auth == expected


# What is wrong.


BAD = {
    "global: {burst: 5}": (
        "global",
        "a rate needs one of requests_per_second, requests_per_minute, requests_per_hour",
    ),
    "global: {requests_per_second: 1, requests_per_hour: 5}": (
        "global.requests_per_hour",
        "requests_per_second (line 3) and requests_per_hour exclude each other",
    ),
    "failed_auth: {requests_per_second: 1, requests_per_hour: 5, enabled: false}": (
        "failed_auth.requests_per_hour",
        "requests_per_second (line 3) and requests_per_hour exclude each other",
    ),
    "global: 0": ("global", "expected a number from 0.001 to 1000000, found 0"),
    "global: -5": ("global", "expected a number from 0.001 to 1000000, found the number -5"),
    "global: 1e3": ("global", 'expected a number from 0.001 to 1000000, found "1e3"'),
    'global: "5"': (
        "global",
        'expected a number from 0.001 to 1000000, found the text "5"; take away the quotes',
    ),
    "global: unlimited": (
        "global",
        'expected a number from 0.001 to 1000000, found "unlimited"',
    ),
    "global: {requests_per_second: 1, burst: 0}": (
        "global.burst",
        "expected a whole number from 1 to 10000000, found 0",
    ),
    "global: {request_per_second: 1}": (
        "global",
        'unknown key "request_per_second"; did you mean "requests_per_second"?',
    ),
    "per_lease: {Tool: 5, tool: 6}": (
        "per_lease",
        "the same pattern as on line 3: case makes no difference",
    ),
    "per_lease: {a/b: 5}": ('per_lease["a/b"]', 'bad lease name "a/b"'),
}


@pytest.mark.parametrize("text", BAD)
def test_a_fault_says_what_and_where(text):
    path, reason = BAD[text]
    assert fault(text).startswith(f"rate_limit.{path}: {reason}")


# Keys, which may be secrets.

KEYS = f"auth: {{keys: [{{id: ci, key: {CANARY}}}, {{id: web, key: sk_live_other_123}}]}}\n"


def overrides(text):
    return KEYS + f"rate_limit: {{per_key: {{overrides: {{{text}}}}}}}"


def test_an_override_names_a_key_by_its_id_or_by_itself():
    config = load(overrides(f"{CANARY}: 5, web: 6"))
    assert config.warnings == ()
    assert list(config.rate_limit.per_key.overrides) == [
        key_digest(CANARY.encode()),
        key_digest(b"web"),
    ]


def test_an_override_for_nobody_is_warned_of():
    (warning,) = load(overrides("sk_live_canary_typo: 5")).warnings
    assert str(warning) == (
        "file.yaml:3: rate_limit.per_key.overrides: a rate for a key that auth.keys has neither by"
        " its id nor by itself"
    )


def test_two_rates_for_one_key_are_a_fault():
    with pytest.raises(ConfigInvalid) as caught:
        load(overrides(f"ci: 5, {CANARY}: 6"))
    (only,) = caught.value.faults
    assert only.reason == "the key ci has a rate already, on line 3"


@pytest.mark.parametrize(
    "text",
    [
        f"{CANARY}: nonsense",
        f"{CANARY}: {{burst: 1}}",
        f"{CANARY}: {{requests_per_second: 1, burts: 2}}",
        f"{CANARY}: 1, {CANARY}: 2",
        f"? '{CANARY} with a space'\n: 1",
        f"'{CANARY}{'x' * 600}': 1",
        f"{CANARY}: !secret 5",
        f"{CANARY}: [1]",
        f"'${{{CANARY}': 5",
    ],
)
def test_no_fault_shows_a_key(text):
    with pytest.raises(ConfigInvalid) as caught:
        load(f"rate_limit:\n  per_key:\n    overrides: {{{text}}}")
    for found in caught.value.faults:
        assert CANARY not in str(found)
        assert "rate_limit.per_key.overrides" in found.path


def test_neither_repr_nor_report_shows_a_key():
    config = load(overrides(f"{CANARY}: 5, unknown: 6") + "\n" + "# and")
    assert CANARY not in repr(config)
    assert key_digest(CANARY.encode()).hex() not in repr(config)
    assert CANARY not in "\n".join(describe(config))


def test_the_report_says_what_is_limited():
    config = load(
        KEYS
        + """
rate_limit:
  global: 1000
  per_key: {default: 10, plans: {a: 1, b: 2}, overrides: {ci: 5}}
  per_lease: {tool: 5, other: unlimited}
"""
    )
    (line,) = [line for line in describe(config) if "rate limits" in line]
    assert line == "  - rate limits: global, per key, 2 plans, 1 override, 2 leases"
    assert not any("rate limits" in line for line in describe(load(KEYS)))
