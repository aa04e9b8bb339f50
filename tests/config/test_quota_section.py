"""The sections ``quotas`` and ``database``: every way to write them, and what is wrong."""

import pytest

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.model import Config, key_digest
from portal_gateway.config.quotas import KeyQuotas, QuotaSection, QuotasSection
from portal_gateway.config.report import describe

CANARY = "sk_live_canary_0123456789"

HEAD = """
portal: {relays: [{url: "ws://relay/"}]}
auth: {keys: [{key: sk_live_freemium, id: free}, {key: sk_live_premium}]}
"""


def load(text, directory=None, environ=None):
    return load_config_text(HEAD + text, "file.yaml", environ or {}, directory=directory)


def faults(text):
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    return [f"{fault.path}: {fault.reason}" for fault in caught.value.faults]


def fault(text):
    (only,) = faults(text)
    assert CANARY not in only
    return only


def warnings(text):
    return [f"{warning.path}: {warning.reason}" for warning in load(text).warnings]


def named(**keys):
    return {key_digest(name.encode()): quota for name, quota in keys.items()}


def test_2_4_as_the_feature_list_has_it():
    config = load(
        """
quotas:
  monthly:
    "sk_live_freemium":
      requests: 10000
      bandwidth: "10GB"

    "sk_live_premium":
      requests: 1000000
      bandwidth: "1TB"
"""
    )
    assert config.quotas == QuotasSection(
        monthly=KeyQuotas(
            keys=named(
                sk_live_freemium=QuotaSection(10_000, 10 * 10**9),
                sk_live_premium=QuotaSection(1_000_000, 10**12),
            )
        )
    )
    assert config.warnings == ()
    assert "sk_live" not in repr(config.quotas)


def test_there_are_no_quotas_unless_they_are_written():
    assert Config().quotas == load("quotas: {}").quotas == QuotasSection()
    assert not QuotasSection().any


def test_everything_else():
    found = load(
        "quotas: {daily: {default: {requests: 1}, free: unlimited}, storage: database,"
        " plans: {gold: {monthly: {bandwidth: 1KB}, daily: unlimited}, none: {}}}"
    ).quotas
    assert found.daily == KeyQuotas(QuotaSection(1), named(free=None))
    assert found.plans == {
        "gold": {"monthly": QuotaSection(bandwidth=1000), "daily": None},
        "none": {},
    }
    assert found.storage == "database"
    assert found.any


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{monthly: {free: {}}}",
            "quotas.monthly[0]: a quota needs requests or bandwidth",
        ),
        ("{monthly: {free: 5}}", "quotas.monthly[0]: expected a mapping with bandwidth, requests"),
        ("{monthly: {free: lots}}", "quotas.monthly[0]: expected a mapping with bandwidth"),
        (
            "{daily: {free: {requests: 0}}}",
            "quotas.daily[0].requests: expected a whole number",
        ),
        (
            "{daily: {free: {bandwidth: 10}, x: {bandwidth: lots}}}",
            "quotas.daily[1].bandwidth: bad",
        ),
        ("{weekly: {free: {requests: 5}}}", 'quotas: unknown key "weekly"'),
        ("{plans: {gold: {weekly: {requests: 5}}}}", 'quotas.plans.gold: unknown key "weekly"'),
        ("{storage: disk}", 'quotas.storage: unknown storage "disk"'),
        (
            "{storage: redis, monthly: {free: {requests: 1}}}",
            "quotas.storage: there is no Redis: rate_limit.storage says where one is",
        ),
        (
            "{monthly: {free: {requests: 1}, sk_live_freemium: {requests: 2}}}",
            "quotas.monthly: the key free has a quota already, on line 4",
        ),
    ],
)
def test_what_is_wrong(text, expected):
    assert fault(f"quotas: {text}").startswith(expected)


def test_a_quota_for_a_key_that_nobody_has_is_a_warning():
    (warning,) = warnings(f"quotas: {{monthly: {{{CANARY}: {{requests: 1}}}}}}")
    assert warning == (
        "quotas.monthly: a quota for a key that auth.keys has neither by its id nor by itself"
    )
    assert warnings("quotas: {monthly: {default: {requests: 1}}}") == []


def test_what_validate_says(tmp_path):
    text = (
        "quotas: {daily: {default: {requests: 1}}, monthly: {free: {requests: 9}}, plans: {a: {}}}"
    )
    config = load(text, tmp_path)
    assert (
        f"  - quotas: daily default, monthly of 1 key, 1 plan, counted in"
        f" {tmp_path / 'portal-gateway.sqlite'}"
    ) in describe(config)
    redis = '\nrate_limit: {storage: {type: redis, redis: {addr: "redis:6379"}}}\n'
    assert any(
        line.endswith("counted in Redis at redis:6379") for line in describe(load(text + redis))
    )


# The database.


def test_the_database_is_a_file_beside_the_configuration(tmp_path):
    assert load("", tmp_path).database == DatabaseSection(file=tmp_path / "portal-gateway.sqlite")
    assert load("database: {file: x.db}", tmp_path).database.file == tmp_path / "x.db"
    absolute = tmp_path / "y.db"
    assert load(f"database: {{file: {absolute}}}").database.file == absolute


def test_postgres():
    text = 'database: {driver: postgres, dsn: "postgresql://u:${PW}@db/gw?sslmode=require",'
    config = load(f"{text} pool_size: 9, timeout: 2s}}\n", environ={"PW": CANARY})
    assert config.database.dsn == f"postgresql://u:{CANARY}@db/gw?sslmode=require"
    assert (config.database.pool_size, config.database.timeout) == (9, 2.0)
    assert CANARY not in repr(config)
    assert CANARY not in "\n".join(describe(config))


def test_everything_is_in_the_database_of_the_keys_unless_another_is_written(tmp_path):
    keys = """
auth: {keys: {database: {driver: postgres, dsn: "postgresql://h/keys"}}}
leases: {tool: {url: "http://127.0.0.1:3000"}}
"""
    config = load_config_text(keys, "", {}, directory=tmp_path)
    assert config.database.dsn == "postgresql://h/keys"
    assert config.database == config.auth.database.own
    config = load_config_text(f"{keys}database: {{file: x.db}}", "", {}, directory=tmp_path)
    assert config.database == DatabaseSection(file=tmp_path / "x.db")
    keys = keys.replace('driver: postgres, dsn: "postgresql://h/keys"', "timeout: 2s")
    config = load_config_text(keys, "", {}, directory=tmp_path)
    assert config.auth.database.own.file == tmp_path / "portal-gateway.sqlite"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{driver: mysql}", 'database.driver: unknown driver "mysql"; known are postgres, sqlite'),
        ("{driver: postgres}", 'database: "dsn" is missing: it says where PostgreSQL is'),
        (
            "{driver: postgres, dsn: 'postgresql://h/d', file: x}",
            "database.file: this is for SQLite",
        ),
        (
            "{dsn: 'postgresql://h/d'}",
            'database.dsn: this is for PostgreSQL; write driver: "postgres"',
        ),
        (
            f"{{driver: postgres, dsn: {CANARY}}}",
            "database.dsn: not a DSN; write postgresql://user:",
        ),
        (f"{{driver: postgres, dsn: 'mysql://{CANARY}/d'}}", "database.dsn: not a DSN; write"),
        ("{driver: postgres, dsn: 'postgresql://h'}", "database.dsn: not a DSN that names a"),
        (
            f"{{driver: postgres, dsn: 'postgresql://u:{CANARY}%@h/d'}}",
            "database.dsn: not a DSN that libpq can read: an option is none",
        ),
        ("{file: absent/x.db}", "database.file: the directory of this file does not exist"),
        ("{file: /}", "database.file: this is not a file"),
        ("{pool_size: 0}", "database.pool_size: expected a whole number from 1 to 50"),
        ("{timeout: 2m}", "database.timeout: expected a duration from 100ms to 1m"),
    ],
)
def test_what_is_wrong_with_a_database(text, expected, tmp_path):
    with pytest.raises(ConfigInvalid) as caught:
        load(f"database: {text}", tmp_path)
    (only,) = caught.value.faults
    assert f"{only.path}: {only.reason}".startswith(expected)
    assert CANARY not in str(only)
