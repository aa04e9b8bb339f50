from datetime import timedelta

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID

from portal_gateway.tls.certificates import (
    BadTLSFile,
    read_authorities,
    read_server_certificate,
)
from tests.tls.tls_world import NOW, Certified, new_key

DAY = timedelta(days=1)

ROOT = Certified("root", authority=True, lasts=3650 * DAY)
MIDDLE = Certified("middle", ROOT, authority=True, lasts=900 * DAY)
OTHER = Certified("other", ROOT, authority=True)
LEAF = Certified("leaf", MIDDLE)
SMALL = Certified(key=new_key("1024"))


def read(chain, key, now=NOW):
    return read_server_certificate(chain, key, now)


@pytest.mark.parametrize("kind", ["ec", "ed25519", "2048"])
def test_keys_of_each_kind(kind):
    one = Certified(key=new_key(kind))
    found = read(one.pem, one.key_pem)
    assert found.chain == (one.certificate,)
    assert found.concerns(NOW) == []
    assert "PRIVATE" not in repr(found)


def test_a_chain():
    found = read(LEAF.pem + MIDDLE.pem + ROOT.pem, LEAF.key_pem)
    assert len(found.chain) == 3
    assert found.expires == found.chain[0].not_valid_after_utc


@pytest.mark.parametrize(
    ("chain", "key", "file", "reason"),
    [
        (b"", LEAF.key_pem, "cert_file", "the file holds no PEM certificate, or a broken one"),
        (LEAF.key_pem, LEAF.key_pem, "cert_file", "no PEM certificate"),
        (LEAF.pem[:300], LEAF.key_pem, "cert_file", "no PEM certificate, or a broken one"),
        (LEAF.pem, b"", "key_file", "the file holds no PEM private key, or a broken one"),
        (LEAF.pem, LEAF.pem, "key_file", "no PEM private key"),
        (LEAF.pem, LEAF.key_pem[:100], "key_file", "no PEM private key"),
        (LEAF.pem, LEAF.locked_key_pem, "key_file", "the key is encrypted"),
        (SMALL.pem, SMALL.key_pem, "key_file", "must have 2048 bits, this one has 1024"),
        (LEAF.pem, ROOT.key_pem, "key_file", "not that of the certificate in cert_file"),
        (MIDDLE.pem + LEAF.pem, LEAF.key_pem, "key_file", "the key is that of certificate 2"),
        (
            LEAF.pem + ROOT.pem + MIDDLE.pem,
            LEAF.key_pem,
            "cert_file",
            "certificate 2 did not issue certificate 1",
        ),
        (LEAF.pem + OTHER.pem, LEAF.key_pem, "cert_file", "did not issue"),
        (LEAF.pem + MIDDLE.pem + OTHER.pem, LEAF.key_pem, "cert_file", "certificate 3 did not"),
        (LEAF.pem * 11, LEAF.key_pem, "cert_file", "more than 10 certificates"),
    ],
    # Keys are made anew each time, and are no names.
    ids=lambda value: value if isinstance(value, str) else "pem",
)
def test_pairs_that_cannot_serve(chain, key, file, reason):
    with pytest.raises(BadTLSFile, match=reason) as caught:
        read(chain, key)
    assert caught.value.file == file
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("since", "lasts", "reason"),
    [
        (30 * DAY, -DAY, r"has expired: 2026-11-22T12:00:00Z"),
        (-DAY, 30 * DAY, r"is not valid before 2026-11-24T12:00:00Z"),
    ],
)
def test_certificates_at_another_time(since, lasts, reason):
    one = Certified(since=since, lasts=lasts)
    with pytest.raises(BadTLSFile, match=reason):
        read(one.pem, one.key_pem)


def test_an_expired_issuer_is_named():
    issuer = Certified("old", authority=True, since=30 * DAY, lasts=-DAY)
    one = Certified("leaf", issuer)
    with pytest.raises(BadTLSFile, match="certificate 2 of the chain has expired"):
        read(one.pem + issuer.pem, one.key_pem)


def test_a_clients_certificate_is_none_for_servers():
    one = Certified(usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    with pytest.raises(BadTLSFile, match="not one for servers"):
        read(one.pem, one.key_pem)
    assert read(*pair(Certified(usage=None)))
    assert read(*pair(Certified(usage=ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)))


def pair(one):
    return one.pem, one.key_pem


@pytest.mark.parametrize(
    ("since", "lasts", "soon"),
    [
        (76 * DAY, 14 * DAY + DAY / 24, False),
        (76 * DAY, 14 * DAY - DAY / 24, True),
        (3 * DAY, 3 * DAY, False),
        (4 * DAY, 1.9 * DAY, True),
    ],
)
def test_what_expires_soon_is_a_concern(since, lasts, soon):
    concerns = read(*pair(Certified(since=since, lasts=lasts))).concerns(NOW)
    assert [concern.text[:28] for concern in concerns] == ["the certificate expires soon"] * soon


def test_a_certificate_without_hosts_is_a_concern():
    (concern,) = read(*pair(Certified(hosts=()))).concerns(NOW)
    assert concern.file == "cert_file"
    assert "SAN" in concern.text


def test_authorities():
    assert len(read_authorities(ROOT.pem + OTHER.pem)) == 2
    with pytest.raises(BadTLSFile, match="no PEM certificate") as caught:
        read_authorities(b"nothing")
    assert caught.value.file == "client_ca_file"
