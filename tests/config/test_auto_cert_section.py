import base64
from datetime import UTC, datetime

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.report import describe
from portal_gateway.tls.acme_settings import LETS_ENCRYPT, Authority, DNSUpdate, ExternalAccount
from tests.tls.tls_world import Certified

SECRET = base64.b64encode(b"a key of 32 bytes, and some more!").decode()
DNS = f"dns: {{server: '127.0.0.1:53', key_name: acme.example.com, key_secret: '{SECRET}'}}"
PLAIN = 'redirect_from: "127.0.0.1:8080"'
NAMES = "domains: [a.example.com]"
WILDCARD = "domains: ['a.example.com', '*.a.example.com']"
AUTO = "4: gateway.tls.auto_cert"
NEEDS_PLAIN = "http-01 is answered on the plain listener: write gateway.tls.redirect_from"
LOOK_IN = "others can look into it (mode 0755), and it holds keys; chmod 700 it"
NOT_USED = "not used: cert_file and key_file are given; remove them for it"
NEEDS_DNS = "a wildcard needs the challenge dns-01: write dns, or dns_hook"


@pytest.fixture
def load(tmp_path):
    Certified(now=datetime.now(UTC)).write(tmp_path)
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    (tmp_path / "hook").chmod(0o755)

    def read(auto_cert, more=PLAIN):
        text = (
            'gateway:\n  listen: "127.0.0.1:8443"\n  tls:\n'
            f"    auto_cert: {{{auto_cert}}}\n    {more}\n"
            "auth:\n  keys: [key: sk_live_abcdef]\n"
        )
        return load_config_text(text, "file.yaml", {}, directory=tmp_path)

    return read


def faults_of(load, *written):
    with pytest.raises(ConfigInvalid) as caught:
        load(*written)
    return [str(fault).removeprefix("file.yaml:") for fault in caught.value.faults]


def test_the_least_that_can_be_written(load, tmp_path):
    tls = load(NAMES).gateway.tls
    auto = tls.auto_cert
    assert auto.store == tmp_path / "acme"
    assert auto.domains == ("a.example.com",)
    assert auto.authority == Authority(directory_url=LETS_ENCRYPT)
    assert tls.files.cert_file == tls.files.key_file == tmp_path / "acme" / "a.example.com.pem"
    assert not (tmp_path / "acme").exists()


def test_everything(load, tmp_path):
    auto = load(
        f"enabled: true, {WILDCARD}, email: me@example.com, directory_url: 'https://ca.example/dir',"
        f" store: x, propagation: 1s, retry_after: 10m, {DNS},"
        " eab: {key_id: kid-1, hmac_key: zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUA}"
    ).gateway.tls.auto_cert
    assert auto.challenge == "dns-01"
    assert auto.dns == DNSUpdate(
        server=("127.0.0.1", 53), key_name="acme.example.com", key_secret=SECRET
    )
    assert auto.authority.eab == ExternalAccount(
        "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUA"
    )
    assert (auto.store, auto.propagation, auto.retry_after) == (tmp_path / "x", 1.0, 600.0)
    assert SECRET not in repr(auto)
    assert "zWND" not in repr(auto)


@pytest.mark.parametrize(
    ("written", "more", "challenge"),
    [
        (NAMES, PLAIN, "http-01"),
        (NAMES, "", "tls-alpn-01"),
        (f"{NAMES}, challenge: tls-alpn-01", PLAIN, "tls-alpn-01"),
        (f"{NAMES}, {DNS}", PLAIN, "dns-01"),
        (f"{NAMES}, dns_hook: hook", "", "dns-01"),
    ],
)
def test_the_challenge_is_what_can_be_answered(load, written, more, challenge):
    config = load(written, more)
    assert config.gateway.tls.auto_cert.challenge == challenge
    line = f"  - certificate for a.example.com by {challenge} from {LETS_ENCRYPT}"
    assert line in describe(config)


@pytest.mark.parametrize("written", ["", "enabled: false", f"enabled: false, {NAMES}"])
def test_switched_off(load, written):
    assert load(written, "").gateway.tls is None


@pytest.mark.parametrize(
    ("written", "more", "faults"),
    [
        (WILDCARD, PLAIN, [f"4: gateway.tls.auto_cert.domains[1]: {NEEDS_DNS}"]),
        (WILDCARD, "", [f"4: gateway.tls.auto_cert.domains[1]: {NEEDS_DNS}"]),
        (
            "enabled: true",
            "",
            [f'{AUTO}: "domains" is missing: the names that the certificate is for'],
        ),
        (
            f"{NAMES}, challenge: http-01",
            "",
            [f"{AUTO}.challenge: {NEEDS_PLAIN}"],
        ),
        (
            f"{NAMES}, challenge: dns-01",
            "",
            [f"{AUTO}.challenge: dns-01 needs one of dns and dns_hook, to write records with"],
        ),
        (
            f"{NAMES}, challenge: http-01, {DNS}",
            PLAIN,
            ["4: gateway.tls.auto_cert.dns: means nothing with another challenge than dns-01"],
        ),
        (
            f"{NAMES}, store: open",
            PLAIN,
            [f"{AUTO}.store: {LOOK_IN}"],
        ),
        (
            f"{NAMES}, store: cert.pem",
            PLAIN,
            ["4: gateway.tls.auto_cert.store: this is not a directory"],
        ),
        (
            f"{NAMES}, dns_hook: cert.pem",
            PLAIN,
            ["4: gateway.tls.auto_cert.dns_hook: this is no program that can be run"],
        ),
        (
            "domains: [" + ", ".join(f"n{n}.example.com" for n in range(101)) + "]",
            PLAIN,
            ["4: gateway.tls.auto_cert.domains: a certificate has at most 100 names"],
        ),
    ],
)
def test_what_is_wrong(load, written, more, faults):
    assert faults_of(load, written, more) == faults


@pytest.mark.parametrize(
    "secret", ["dns: {key_secret: %s}", "eab: {hmac_key: %s}"], ids=["dns", "eab"]
)
def test_no_fault_shows_a_key(load, secret):
    shown = "".join(faults_of(load, f"{NAMES}, {secret % 'c2VjcmV0!!!'}"))
    assert "it is not base64" in shown
    assert "c2Vj" not in shown


def test_files_win_and_a_warning_says_so(load):
    """As the feature list has it: both, with a wildcard that could not be had."""
    config = load(
        "enabled: true, domains: ['*.portal.example.com'], email: admin@example.com",
        "cert_file: cert.pem\n    key_file: key.pem",
    )
    assert config.gateway.tls.auto_cert is None
    assert config.gateway.tls.files.cert_file.name == "cert.pem"
    assert [str(each) for each in config.warnings if "auto_cert" in str(each)] == [
        f"file.yaml:{AUTO}: {NOT_USED}",
        f"file.yaml:{AUTO}.domains[0]: {NEEDS_DNS}",
    ]
