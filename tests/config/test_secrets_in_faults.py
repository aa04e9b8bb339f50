"""Secrets at every place of a configuration, in wrong forms: no message shows one."""

import re

import pytest
import yaml

from portal_gateway.config.fields import Section
from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.report import describe, describe_faults
from portal_gateway.config.scalars import HIDDEN, quote
from portal_gateway.config.schema import CONFIG
from portal_gateway.config.secret_looks import looks_secret, may_be_secret
from portal_gateway.config.worded import Worded
from portal_gateway.policy.api_key_text import key_text

GENERATED = key_text(bytes(range(32)))

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.Y2FuYXJ5"

SECRETS = {
    "a user in an address": ("u:canary-pw@host:1", "canary-pw"),
    "a password in an address": (":canary-pw@host", "canary-pw"),
    "a user alone": ("canary-pw@redis:6379", "canary-pw"),
    "a user and a password": ("admin:canary-pw", "canary-pw"),
    "redis": ("redis://:canary-pw@host:6379/0", "canary-pw"),
    "postgres": ("postgres://u:canary-pw@host/db", "canary-pw"),
    "a DSN in words": ("host=db password=canary-pw", "canary-pw"),
    "a URL": ("https://canary-pw@host/x", "canary-pw"),
    "a query": ("https://host/x?token=canary-pw", "canary-pw"),
    "a webhook": ("https://hooks.example/T024F9JB2/B0AN4KXQ1/canary-pw", "canary-pw"),
    "a key": ("sk_live_abc1", "sk_live_abc1"),
    "a generated key": (GENERATED, GENERATED[:30]),
    "a token": (TOKEN, TOKEN[:20]),
    "base 16": ("9f86d081884c7d659a2feaa0c55ad015", "9f86d081"),
    "base 64": ("jZae727K08KaOmKSgOaGzww/XVqGr/PKEgIMkjrcbJI=", "jZae727K"),
    "a password": ("hunter2", "hunter2"),
    "another": ("s3cr3t", "s3cr3t"),
    "characters": ("Tr0ub4dor&3", "Tr0ub4dor"),
    "a phrase": ("correct!horse", "correct!horse"),
}

NAMES_TOO = [
    "a user in an address", "a user alone", "redis", "a URL", "a query", "a key",
    "a generated key", "a token", "base 16",
]  # fmt: skip
"""Those that are recognised as a name that somebody chose, too."""

VALID = """
auth: {keys: [{key: "sk_live_abc123...", id: tester}]}
leases: {tool: {url: "http://127.0.0.1:3000"}}
"""


VALID_THERE = {
    (("portal", "relays", "[]", "url"), "a webhook"),
    *(
        (("gateway", "tls", "auto_cert", "domains"), kind)
        for kind in ("base 16", "a password", "another")
    ),
}
"""URLs and host names as good as others, which ``validate`` lists."""


def places(section=CONFIG, path=()):
    """Every section and every key, as the steps that lead there."""
    for key, reader in section.fields.items():
        here = (*path, key)
        yield here
        if isinstance(reader, Section):
            yield from places(reader, here)
        elif isinstance(reader, Worded):
            for more, below in reader.below.items():
                yield from places(below, (*here, *re.findall(r"\[\]|<name>", more)))


PLACES = sorted(set(places()))


def at(place, value):
    for step in reversed(place):
        value = [value] if step == "[]" else {"name" if step == "<name>" else step: value}
    return value


def told(document):
    """All that ``validate`` would say."""
    text = document if isinstance(document, str) else yaml.safe_dump(document, allow_unicode=True)
    try:
        config = load_config_text(text, "test.yaml", {})
    except ConfigInvalid as error:
        return "\n".join([*describe_faults(error.faults), str(error), repr(error.faults)])
    return "\n".join([*describe(config), repr(config.warnings)])


def test_every_place_is_tried():
    assert len(PLACES) > 150
    assert ("rate_limit", "storage", "redis", "addr") in PLACES
    assert ("auth", "keys", "list", "[]", "key") in PLACES or (
        "auth",
        "keys",
        "[]",
        "key",
    ) in PLACES
    assert ("leases", "<name>", "url") in PLACES


@pytest.mark.parametrize("kind", SECRETS)
def test_as_a_value_it_is_not_shown(kind):
    secret, needle = SECRETS[kind]
    shown = [
        (".".join(place), form)
        for place in PLACES
        for form, value in enumerate((secret, [secret], [[secret]], [{"x": secret}]))
        if needle in told(at(place, value)) and (place, kind) not in VALID_THERE
    ]
    assert shown == []


@pytest.mark.parametrize("kind", NAMES_TOO)
def test_as_a_name_it_is_not_shown(kind):
    secret, needle = SECRETS[kind]
    shown = [
        (".".join(place), form)
        for place in [(), *PLACES]
        for form, value in enumerate(
            (
                {secret: 1},
                {secret: {secret: secret}},
                {secret: [secret]},
                [{secret: secret}],
                {secret: {"url": secret, "identity": "x"}},
                {secret: None},
            )
        )
        if needle in told(at(place, value))
    ]
    assert shown == []


@pytest.mark.parametrize("kind", SECRETS)
@pytest.mark.parametrize(
    "broken",
    [
        "{}: {}: {}\n",
        "a: [{}\n",
        "a: {{{}\n",
        "a: '{}\n",
        'a: "{}\n',
        "{}\n",
        "*{}\n",
        "!{} x\n",
        "a: !{} x\n",
        "&{} a: *{}x\n",
        "%{}\n---\n",
        "a: |{}\n",
        "\t{}\n",
        "- {}\nb: c\n",
        "@{}\n",
        "`{}\n",
        "a: b\n {}: d\n",
        "? [{}]\n: x\n",
        "a: {}\na: {}\n",
        "<<: {}\n",
        "auth: {}\nauth: {}\n",
    ],
)
def test_what_is_no_yaml_does_not_show_it(broken, kind):
    secret, needle = SECRETS[kind]
    assert needle not in told(broken.replace("{}", secret).replace("{{", "{"))


@pytest.mark.parametrize("kind", ["a key", "a generated key", "a token"])
def test_the_name_of_a_variable_may_be_one_too(kind):
    secret = SECRETS[kind][0].replace(".", "_")
    for written in (f"${{{secret}}}", f"${{X}}{secret}", f"${secret}"):
        assert secret not in told(f'portal: {{pool: {{max_idle: "{written}"}}}}\n')


@pytest.mark.parametrize("command", ["u:canary-pw@host:1", "redis://:canary-pw@host:1"])
def test_the_address_of_redis(command):
    written = f'rate_limit: {{storage: {{type: redis, redis: {{addr: "{command}"}}}}}}\n'
    found = told(VALID + written)
    assert f'rate_limit.storage.redis.addr: bad address "{HIDDEN}"; write host:port' in found
    assert "canary-pw" not in found


def test_what_a_valid_configuration_may_hold_is_not_described():
    config = load_config_text(
        VALID.replace(
            "{keys: [",
            "{jwt: {enabled: true, algorithm: RS256, claims: {issuer: 'https://a.example/x',"
            " audience: a}, jwks_url: 'https://a.example/keys?token=canary-pw'}, keys: [",
        ),
        "test.yaml",
        {},
    )
    assert "canary-pw" not in repr(config)
    described = "\n".join(describe(config))
    assert "canary-pw" not in described
    assert 'issuer "https://a.example/x"' in described


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30x",
        "30 seconds",
        "1h30m",
        "1e3",
        "-5",
        "1.5",
        "100%",
        "999999999999999999GiB",
        "0x1F",
        "192.0.2.1",
        "10.0.0.1/8",
        "127.0.0.1:80800",
        "2001:db8::/129",
        "[::1]:99999",
        "localhost:0",
        "2030-12-31",
        "2030-12-31T24:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "many",
        "maybe",
        "verbose",
        "tls-sni-01",
        "x-real-ip",
        "lb.internal",
        "a_b.example.com",
        "*.example.com",
        "*.",
        "web-01",
        "node12.example.com:0",
        "${SCOPE}",
        "redis",
        "a/b",
        "..",
        "base32",
        "a" * 26,
        "한글",
        "tab\there",
        "tools-*",
        "{lease}.gw.example.com",
        "tcp:8080",
    ],
)
def test_what_is_harmless_is_shown(text):
    assert not may_be_secret(text)
    assert HIDDEN not in quote(text)


@pytest.mark.parametrize(
    "name", ["agent-7f3a91", "tool", "my_agent_2", "에이전트", "a b", "web-01.example"]
)
def test_names_are_shown(name):
    assert not looks_secret(name)
    assert HIDDEN not in quote(name)
