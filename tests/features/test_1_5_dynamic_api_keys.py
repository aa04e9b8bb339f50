"""Feature 1.5: what needs no server. The rest is in ``tests/integration/test_key_database.py``.

Keys are created and revoked by the command line; the administration by HTTP is another feature.
"""

from portal_gateway.config.loading import load_config_text
from portal_gateway.config.report import describe

SNIPPET = """
auth:
  keys:
    database:
      enabled: true
      driver: "postgres"
      dsn: "postgresql://user:pass@localhost/gateway"
      cache_ttl: 5m
"""


def test_1_5_the_snippet_is_valid_as_it_stands():
    config = load_config_text(SNIPPET, "gateway.yaml", {})
    database = config.auth.database
    assert database.cache_ttl == 300
    assert database.own.driver == "postgres"
    assert database.database(config.database) is database.own
    assert not any("no API keys" in str(warning) for warning in config.warnings)


def test_1_5_no_secret_of_it_is_shown():
    config = load_config_text(SNIPPET, "gateway.yaml", {})
    assert "user:pass" not in repr(config) + "\n".join(describe(config))
    assert "others in postgres" in "\n".join(describe(config))


def test_1_5_a_list_and_a_database_together():
    config = load_config_text(
        "auth: {keys: {list: [{key: sk_live_abc123...}], database: {enabled: true}}}", "a", {}
    )
    assert len(config.auth.keys) == 1
    assert config.auth.database.database(config.database) is config.database


def test_1_5_a_database_that_is_switched_off_is_none():
    config = load_config_text("auth: {keys: {database: {enabled: false}}}", "a", {})
    assert config.auth.database is None
