"""The page of the documentation names every key, and only keys that there are."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from tests.tls.tls_world import Certified

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.rst").read_text(encoding="utf-8")

KEYS = set(re.findall(r"^``([^`]+)``\n~+$", PAGE, re.MULTILINE))

EXAMPLES = [
    "\n".join(line[4:] for line in block.splitlines())
    for block in re.findall(r"\.\. code-block:: yaml\n\n((?:(?:    .*)?\n)+)", PAGE)
]

SECTIONS = {
    "gateway": "gateway: {%s: x}",
    "gateway.drain": "gateway: {drain: {%s: x}}",
    "gateway.limits": "gateway: {limits: {%s: x}}",
    "gateway.tls": "gateway: {tls: {%s: x}}",
    "gateway.tls.auto_cert": "gateway: {tls: {auto_cert: {%s: x}}}",
    "gateway.tls.auto_cert.dns": "gateway: {tls: {auto_cert: {dns: {%s: x}}}}",
    "gateway.tls.auto_cert.eab": "gateway: {tls: {auto_cert: {eab: {%s: x}}}}",
    "portal": "portal: {%s: x}",
    "portal.relays[]": "portal: {relays: [{%s: x}]}",
    "portal.relays[].tls": "portal: {relays: [{url: wss://a/, tls: {%s: x}}]}",
    "portal.pool": "portal: {pool: {%s: x}}",
    "auth": "auth: {keys: [], %s: x}",
    "auth.keys[]": "auth: {keys: [{%s: x}]}",
    "auth.keys": "auth: {keys: {%s: x}}",
    "auth.keys.database": "auth: {keys: {database: {%s: x}}}",
    "auth.jwt": "auth: {jwt: {%s: x}}",
    "auth.jwt.tls": "auth: {jwt: {tls: {%s: x}}}",
    "auth.jwt.claims": "auth: {jwt: {claims: {%s: x}}}",
    "ip_whitelist": "ip_whitelist: {%s: x}",
    "leases.<name>": "leases: {a: {%s: x}}",
    "leases.<name>.mcp": "leases: {a: {mcp: {%s: x}}}",
    "leases.<name>.tls": "leases: {a: {url: https://a, tls: {%s: x}}}",
    "sse": "sse: {%s: x}",
    "security_headers": "security_headers: {%s: x}",
    "security_headers.paths[]": "security_headers: {paths: [{%s: x}]}",
    "health": "health: {%s: x}",
    "websocket": "websocket: {%s: x}",
    "rate_limit": "rate_limit: {%s: x}",
    "rate_limit.per_key": "rate_limit: {per_key: {%s: x}}",
    "rate_limit.failed_auth": "rate_limit: {failed_auth: {%s: x}}",
    "rate_limit.storage": "rate_limit: {storage: {%s: x}}",
    "rate_limit.storage.redis": "rate_limit: {storage: {redis: {%s: x}}}",
    "rate_limit.storage.redis.tls": "rate_limit: {storage: {redis: {tls: {%s: x}}}}",
    "quotas": "quotas: {%s: x}",
    "quotas.plans.<name>": "quotas: {plans: {a: {%s: x}}}",
    "database": "database: {%s: x}",
    "logging": "logging: {%s: x}",
    "metrics": "metrics: {%s: x}",
}


def known(text: str) -> set[str]:
    """The keys that a section says it knows."""
    with pytest.raises(ConfigInvalid) as caught:
        load_config_text(text % "zzzzzzzz", "", {})
    reasons = [fault.reason for fault in caught.value.faults]
    (reason,) = [reason for reason in reasons if "known here" in reason]
    return set(reason.partition("known here: ")[2].split(", "))


def test_every_key_is_described_and_no_other():
    keys = {f"{section}.{key}" for section, text in SECTIONS.items() for key in known(text)}
    # A section is not described itself, but by its keys.
    keys -= {
        "gateway.tls",
        "gateway.drain",
        "gateway.tls.auto_cert",
        "gateway.tls.auto_cert.dns",
        "gateway.tls.auto_cert.eab",
        "gateway.limits",
        "portal.pool",
        "portal.relays[].tls",
        "leases.<name>.tls",
        "auth.keys.database",
        "auth.jwt",
        "auth.jwt.tls",
        "auth.jwt.claims",
        "rate_limit.per_key",
        "rate_limit.failed_auth",
        "rate_limit.storage",
        "rate_limit.storage.redis",
        "rate_limit.storage.redis.tls",
    }
    assert keys == KEYS


def test_every_section_is_described():
    titles = set(re.findall(r"^([a-z_]+)\n-+$", PAGE, re.MULTILINE))
    assert known("%s: x") == titles


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_valid(example, tmp_path, certificate):
    (tmp_path / "relay-ca.pem").write_bytes(certificate)
    Certified(now=datetime.now(UTC)).write(tmp_path)
    environ = {f"API_KEY_{n}": f"sk_live_from_environment_{n}" for n in (1, 2)}
    environ["REDIS_PASSWORD"] = "a password"
    environ["DB_PASSWORD"] = "another%20password"
    environ["DNS_KEY"] = "YSBrZXkgb2YgMzIgYnl0ZXMgYW5kIHNvbWUgbW9yZQ=="
    environ["JWT_SECRET"] = "a secret of 32 bytes and some more"
    environ["METRICS_KEY"] = "sk_live_of_prometheus_01"
    load_config_text(example, "example", environ, directory=tmp_path)


def test_there_are_examples():
    assert len(EXAMPLES) >= 8
