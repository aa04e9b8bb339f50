"""The section ``rate_limit.storage``: every way to write it, and what is wrong with others."""

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.rate_limits import RedisSection, StorageSection
from portal_gateway.config.report import describe
from portal_gateway.config.upstream_tls import UpstreamTLS

CANARY = "hunter2hunter2"


def load(text, environ=None, directory=None):
    whole = (
        'portal: {relays: [{url: "ws://relay/"}]}\n'
        "auth: {keys: [{key: sk_live_some_key}]}\n"
        f"rate_limit:\n  global: 10\n  storage: {text}"
    )
    return load_config_text(whole, "file.yaml", environ or {}, directory=directory)


def storage(text, environ=None):
    return load(text, environ).rate_limit.storage


def test_2_5_redis_as_in_the_feature_list():
    found = storage(
        """
    type: "redis"
    redis:
      addr: "redis:6379"
      db: 0
      pool_size: 10
"""
    )
    assert found == StorageSection(
        RedisSection(host="redis", port=6379, db=0, pool_size=10), "local"
    )


def test_redis_with_all_it_has():
    found = storage(
        """
    type: redis
    on_failure: closed
    redis:
      addr: "[2001:db8::1]:6380"
      username: gateway
      password: "${REDIS_PASSWORD}"
      prefix: "gw:eu"
      timeout: 20ms
      tls: {server_name: redis.internal}
""",
        {"REDIS_PASSWORD": CANARY},
    )
    assert found == StorageSection(
        RedisSection(
            host="2001:db8::1",
            port=6380,
            username="gateway",
            password=CANARY,
            tls=UpstreamTLS(server_name="redis.internal"),
            prefix="gw:eu",
            timeout=0.02,
        ),
        "closed",
    )
    assert CANARY not in repr(found)


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ("{}", None),
        ("{enabled: true}", UpstreamTLS()),
        ("{enabled: false, server_name: a}", None),
        ("{insecure: true}", UpstreamTLS(insecure=True)),
    ],
)
def test_redis_is_reached_by_tls_where_that_is_said(tls, expected):
    assert storage(f"{{type: redis, redis: {{addr: 'r:1', tls: {tls}}}}}").redis.tls == expected


def test_what_memory_does_not_use_is_warned_of():
    config = load("{type: memory, on_failure: open, redis: {addr: 'redis:6379'}}")
    assert config.rate_limit.storage == StorageSection()
    assert [str(warning) for warning in config.warnings] == [
        "file.yaml:5: rate_limit.storage.redis: not used: type is memory",
        "file.yaml:5: rate_limit.storage.on_failure: not used: type is memory",
    ]


BAD = {
    "{type: redis}": ("", "type: redis needs the section redis, with its addr"),
    "{type: redis, redis: {db: 1}}": (".redis", '"addr" is missing'),
    "{type: radis}": (".type", 'unknown type "radis"; did you mean "redis"?'),
    "{type: redis, on_failure: opened, redis: {addr: 'r:1'}}": (
        ".on_failure",
        'unknown way "opened"; did you mean "open"?',
    ),
    "{type: redis, redis: {addr: redis}}": (
        ".redis.addr",
        'bad address "redis"; write host:port, the host a name or an IP address (IPv6 in brackets)',
    ),
    "{type: redis, redis: {addr: 'r:0'}}": (".redis.addr", 'bad address "r:0"'),
    "{type: redis, redis: {addr: '::1:6379'}}": (".redis.addr", 'bad address "::1:6379"'),
    "{type: redis, redis: {addr: 'r:1', username: a}}": (
        ".redis.username",
        "a user of Redis needs its password",
    ),
    "{type: redis, redis: {addr: 'r:1', password: ''}}": (
        ".redis.password",
        "the password is empty",
    ),
    f"{{type: redis, redis: {{addr: 'r:1', password: [{CANARY}]}}}}": (
        ".redis.password",
        "expected a password, found a list",
    ),
    "{type: redis, redis: {addr: 'r:1', password: 12345678}}": (
        ".redis.password",
        "expected a password, found what YAML reads as a number; put it in quotes",
    ),
    "{type: redis, redis: {addr: 'r:1', prefix: 'a{b}'}}": (
        ".redis.prefix",
        'bad prefix "a{b}": it has 1 to 64 letters, digits and . _ : -',
    ),
    "{type: redis, redis: {addr: 'r:1', timeout: 1m}}": (
        ".redis.timeout",
        'expected a duration from 1ms to 10s, found "1m"',
    ),
    "{type: redis, redis: {addr: 'r:1', pool_size: 0}}": (
        ".redis.pool_size",
        "expected a whole number from 1 to 100, found 0",
    ),
}


@pytest.mark.parametrize("text", BAD)
def test_a_fault_says_what_and_where(text):
    path, reason = BAD[text]
    with pytest.raises(ConfigInvalid) as caught:
        load(text)
    (fault,) = caught.value.faults
    assert f"{fault.path}: {fault.reason}".startswith(f"rate_limit.storage{path}: {reason}")
    assert CANARY not in str(fault)


def test_a_ca_file_that_nobody_asks_is_a_fault(tmp_path, certificate):
    (tmp_path / "ca.pem").write_bytes(certificate)
    text = "{type: redis, redis: {addr: 'r:1', tls: {ca_file: ca.pem, insecure: true}}}"
    with pytest.raises(ConfigInvalid, match="exclude each other"):
        load(text, directory=tmp_path)


def test_a_certificate_that_nobody_checks_is_warned_of():
    (warning,) = load("{type: redis, redis: {addr: 'r:1', tls: {insecure: true}}}").warnings
    assert warning.path == "rate_limit.storage.redis.tls.insecure"


def test_the_report_says_where_requests_are_counted_and_no_password():
    text = f"{{type: redis, redis: {{addr: 'redis:6379', password: {CANARY}}}}}"
    lines = describe(load(text))
    assert "  - rate limits: global, counted in Redis at redis:6379" in lines
    assert CANARY not in "\n".join(lines)
