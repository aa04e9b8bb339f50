import re
from datetime import UTC, datetime
from pathlib import Path

from portal_gateway.config.faults import ConfigInvalid, Fault
from portal_gateway.config.loading import load_config, load_config_text
from portal_gateway.config.report import describe, describe_faults
from tests.tls.tls_world import Certified

NOW = datetime(2026, 1, 1, tzinfo=UTC)

EXAMPLE = Path(__file__).parents[2] / "etc" / "gateway.yaml"


def described(text):
    return describe(load_config_text(text, "gateway.yaml", {}), NOW)


def test_a_configuration_is_described():
    assert described("""
gateway: {listen: "[::1]:8080"}
portal: {relays: [{url: "ws://127.0.0.1:4017/relay"}, {url: "wss://portal.example.com/relay"}]}
auth:
  keys:
    - {key: sk_live_secret_1, expires_at: 2025-12-31T23:59:59Z}
    - {key: sk_live_secret_2, expires_at: 2026-01-01T00:00:00Z}
    - {key: sk_live_secret_3, expires_at: 2026-01-01T00:00:01Z}
leases:
  a: {url: "http://127.0.0.1:3000"}
  b: {identity: ABCDEFGHIJKLMNOPQRSTUVWXYZ}
  c: {}
""") == [
        "Configuration valid",
        "  - 3 API keys loaded (2 expired)",
        "  - listens on [::1]:8080",
        "  - 2 relays configured",
        "    ws://127.0.0.1:4017/relay",
        "    wss://portal.example.com/relay",
        "  - 3 leases configured (1 plain origin, 1 pinned to an identity)",
        "  - every key may use every lease (there is no lease_acl)",
    ]


def test_warnings_come_last():
    assert described("auth: {keys: [{key: sk_live_secret}]}") == [
        "Configuration valid",
        "  - 1 API key loaded",
        "  - listens on 127.0.0.1:8080",
        "  - 0 relays configured",
        "  - every key may use every lease (there is no lease_acl)",
        (
            "  - Warning: gateway.yaml: portal.relays: neither a relay nor a lease with a url is"
            " configured: no lease can be reached"
        ),
    ]


def test_who_may_come_in_is_described():
    lines = described("""
gateway: {trusted_proxies: [10.0.0.0/8, unix]}
ip_whitelist: {cidrs: [203.0.113.0/24, "::1", 10.0.0.1, 10.0.0.3, 10.0.0.5, 10.0.0.7]}
""")
    assert lines[3:5] == [
        "  - proxies trusted: 10.0.0.0/8, UNIX sockets",
        ("  - clients allowed: 203.0.113.0/24, ::1/128, 10.0.0.1/32, 10.0.0.3/32 and 2 more"),
    ]
    off = described("ip_whitelist: {enabled: false, cidrs: [10.0.0.0/8]}")
    assert not any("clients allowed" in line for line in off)


def test_the_clock_says_which_keys_have_expired():
    config = load_config_text(
        "auth: {keys: [{key: sk_live_secret, expires_at: 2000-01-01T00:00:00Z}]}", "", {}
    )
    assert describe(config)[1] == "  - 1 API key loaded (1 expired)"


def test_faults_are_described():
    fault = Fault("etc/gateway.yaml", 10, 3, "auth.keys[0].scopes[1]", 'unknown scope "wirte"')
    whole = Fault("etc/gateway.yaml", 0, 0, "", "cannot be read: Permission denied")
    syntax = Fault("etc/gateway.yaml", 4, 1, "", "not valid YAML: …")
    assert describe_faults(ConfigInvalid([fault, whole, syntax]).faults) == [
        "Configuration invalid:",
        '  - etc/gateway.yaml:10: auth.keys[0].scopes[1]: unknown scope "wirte"',
        "  - etc/gateway.yaml: cannot be read: Permission denied",
        "  - etc/gateway.yaml:4: not valid YAML: …",
    ]


def test_the_example_is_valid_as_it_stands():
    config = load_config(EXAMPLE, {})
    assert [relay.url for relay in config.portal.relays] == ["ws://127.0.0.1:4017/relay"]
    # It ships no key that everybody would know.
    assert config.auth.keys == ()


def test_what_the_example_shows_as_comments_is_valid_too(tmp_path, certificate):
    text = EXAMPLE.read_text(encoding="utf-8")
    # What is commented out is YAML: after the mark stands a key or an entry of a list.
    shown = re.sub(r"^( *)# ( *(?:- )?[a-z_-]+:)", r"\1\2", text, flags=re.MULTILINE)
    shown = shown.replace("/var/lib/portal-gateway", str(tmp_path))
    shown = shown.replace("/etc/portal-gateway/relay-ca.pem", str(tmp_path / "ca.pem"))
    shown = shown.replace("/etc/portal-gateway/tls", str(tmp_path))
    (tmp_path / "ca.pem").write_bytes(certificate)
    Certified(now=datetime.now(UTC)).write(tmp_path)
    config = load_config_text(shown, "example", {"API_KEY_1": "sk_live_from_environment"})
    (key,) = config.auth.keys
    assert key.id == "n8n"
    assert set(config.leases) == {"tool", "my-agent"}
    assert config.portal.credential_file == tmp_path / "credential"
    assert config.portal.relays[1].tls.ca_file == tmp_path / "ca.pem"
    assert config.warnings == ()


def test_certificates_that_are_not_verified_are_warned_of():
    config = load_config_text(
        "portal: {relays: [{url: 'https://{lease}.a.example', tls: {insecure: true}}]}\n"
        f"auth: {{keys: [{{key: '{'k' * 20}'}}]}}\n"
        "leases: {tool: {url: 'https://tool', tls: {insecure: true}}}\n",
        "gateway.yaml",
        {},
    )
    what = "certificates are not verified: whoever is on the way can read and change everything"
    assert [line for line in describe(config) if "Warning" in line] == [
        f"  - Warning: gateway.yaml:1: portal.relays[0].tls.insecure: {what}",
        f"  - Warning: gateway.yaml:3: leases.tool.tls.insecure: {what}",
    ]
