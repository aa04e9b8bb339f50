from datetime import UTC, datetime, timedelta

import pytest

from portal_gateway.config.loading import ConfigInvalid, load_config_text
from portal_gateway.config.report import describe
from tests.tls.tls_world import Certified

NOW = datetime.now(UTC)
ONE = Certified(now=NOW)
EXPIRED = Certified(now=NOW, since=timedelta(days=9), lasts=-timedelta(days=1))

EXPIRED_AT = f"{EXPIRED.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"

FILES = "cert_file: cert.pem, key_file: key.pem"


@pytest.fixture
def load(tmp_path):
    ONE.write(tmp_path)
    (tmp_path / "ca.pem").write_bytes(ONE.pem)
    (tmp_path / "broken.pem").write_bytes(ONE.pem[:99])
    (tmp_path / "expired.pem").write_bytes(EXPIRED.pem)
    (tmp_path / "expired.key").write_bytes(EXPIRED.key_pem)

    def read(tls, listen="127.0.0.1:8443"):
        text = (
            f'gateway:\n  listen: "{listen}"\n  tls: {tls}\nauth:\n  keys: [key: sk_live_abcdef]\n'
        )
        return load_config_text(text, "file.yaml", {}, directory=tmp_path)

    return read


@pytest.mark.parametrize("written", [f"{{{FILES}}}", f"{{enabled: true, {FILES}}}"])
def test_https(load, tmp_path, written):
    tls = load(written).gateway.tls
    assert tls.files.cert_file == tmp_path / "cert.pem"
    assert tls.files.key_file == tmp_path / "key.pem"
    assert tls.redirect_from is None


@pytest.mark.parametrize(
    "written", ["", "{}", "{enabled: false}", "{enabled: false, cert_file: nowhere}"]
)
def test_no_https(load, written):
    assert load(written).gateway.tls is None


def test_everything_else(load, tmp_path):
    tls = load(
        f"{{{FILES}, client_ca_file: ca.pem, client_certificates: optional,"
        ' redirect_from: "127.0.0.1:8080", redirect_port: 443}'
    ).gateway.tls
    assert tls.files.client_ca_file == tmp_path / "ca.pem"
    assert tls.files.client_certificates == "optional"
    assert tls.redirect_from == ("127.0.0.1:8080", "tcp:8080:interface=127.0.0.1:backlog=4096")
    assert tls.redirect_port == 443


@pytest.mark.parametrize(
    ("written", "faults"),
    [
        (
            "{enabled: true}",
            [
                '3: gateway.tls: "cert_file" is missing: TLS needs a certificate and its key',
                '3: gateway.tls: "key_file" is missing: TLS needs a certificate and its key',
            ],
        ),
        (
            "{cert_file: cert.pem}",
            ['3: gateway.tls: "key_file" is missing: TLS needs a certificate and its key'],
        ),
        (
            "{cert_file: none.pem, key_file: key.pem}",
            ["3: gateway.tls.cert_file: the file cannot be read: No such file or directory"],
        ),
        (
            "{cert_file: broken.pem, key_file: key.pem}",
            ["3: gateway.tls.cert_file: the file holds no PEM certificate, or a broken one"],
        ),
        (
            "{cert_file: cert.pem, key_file: expired.key}",
            [
                "3: gateway.tls.key_file: the key is not that of the certificate in cert_file",
            ],
        ),
        (
            "{cert_file: expired.pem, key_file: expired.key}",
            [f"3: gateway.tls.cert_file: the certificate has expired: {EXPIRED_AT}"],
        ),
        (
            f"{{{FILES}, client_certificates: required, redirect_port: 443}}",
            [
                "3: gateway.tls.client_certificates: means nothing without client_ca_file",
                "3: gateway.tls.redirect_port: means nothing without redirect_from",
            ],
        ),
        (
            f"{{{FILES}, client_ca_file: broken.pem}}",
            ["3: gateway.tls.client_ca_file: the file holds no PEM certificate, or a broken one"],
        ),
        (
            f'{{{FILES}, redirect_from: "127.0.0.1:8443"}}',
            ["3: gateway.tls.redirect_from: the same address as gateway.listen"],
        ),
        (
            "{enabled: yes}",
            ["3: gateway.tls.enabled: expected true or false, found yes, which YAML reads as true"],
        ),
    ],
)
def test_what_is_wrong(load, written, faults):
    with pytest.raises(ConfigInvalid) as caught:
        load(written)
    assert [str(fault) for fault in caught.value.faults] == [f"file.yaml:{each}" for each in faults]


def test_the_report_says_so(load):
    lines = describe(load(f'{{{FILES}, redirect_from: "127.0.0.1:8080"}}'))
    assert "  - listens on 127.0.0.1:8443 with TLS" in lines
    assert "  - redirects to HTTPS from 127.0.0.1:8080" in lines


def test_two_listeners_may_let_the_system_choose(load):
    assert load(f'{{{FILES}, redirect_from: "127.0.0.1:0"}}', "127.0.0.1:0").gateway.tls


@pytest.mark.filterwarnings("ignore:Passing pyOpenSSL .* objects:DeprecationWarning")
def test_no_tls_within_tls(load, tmp_path):
    within = f"ssl:8443:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"
    with pytest.raises(ConfigInvalid, match="has a TLS of its own"):
        load(f"{{{FILES}}}", within)


def test_warnings_have_their_place(load, tmp_path):
    soon = Certified(now=NOW, since=timedelta(days=80), lasts=timedelta(days=5))
    soon.write(tmp_path)
    (tmp_path / "key.pem").chmod(0o644)
    warnings = [str(each) for each in load(f"{{{FILES}}}").warnings]
    day = f"{soon.certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}"
    assert f"file.yaml:3: gateway.tls.cert_file: the certificate expires soon: {day}" in warnings
    assert [each for each in warnings if "gateway.tls.key_file: every user can read" in each]
