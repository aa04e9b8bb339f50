"""Certificates and the names that they are for."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from portal_gateway.wire.server_identity import certificate_is_for, matches_name


@pytest.mark.parametrize(
    ("patterns", "name", "matches"),
    [
        (["a.example"], "a.example", True),
        (["A.Example."], "a.eXample", True),
        (["b.example", "a.example"], "a.example.", True),
        (["*.portal.example"], "tool.portal.example", True),
        (["*.localhost"], "tool.localhost", True),
        (["*.xn--bcher-kva.example"], "xn--hi5b23ammr76a.xn--bcher-kva.example", True),
        ([], "a.example", False),
        (["a.example"], "b.example", False),
        (["a.example"], "a.example.evil", False),
        (["portal.example"], "tool.portal.example", False),
        (["*.portal.example"], "portal.example", False),
        (["*.portal.example"], "a.b.portal.example", False),
        (["*.portal.example"], "*.portal.example", False),
        (["t*.portal.example"], "tool.portal.example", False),
        (["*l.portal.example"], "tool.portal.example", False),
        (["tool.*.example"], "tool.portal.example", False),
        (["*.*.example"], "tool.portal.example", False),
        (["*.example"], "tool.example", False),
        (["*"], "example", False),
        (["*."], "example", False),
    ],
)
def test_dns_names(patterns, name, matches):
    assert matches_name(patterns, name) == matches


def certificate(*names, common_name="a.example"):
    key = Ed25519PrivateKey.generate()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, None)


def test_the_names_of_a_certificate():
    found = certificate(x509.DNSName("*.localhost"), x509.DNSName("a.example"))
    assert certificate_is_for(found, "a.example")
    assert certificate_is_for(found, "tool.localhost")
    assert not certificate_is_for(found, "b.example")


def test_addresses_are_no_names_and_names_no_addresses():
    found = certificate(x509.IPAddress(ip_address("127.0.0.1")), x509.IPAddress(ip_address("::1")))
    assert certificate_is_for(found, "127.0.0.1")
    assert certificate_is_for(found, "0:0:0:0:0:0:0:1")
    assert not certificate_is_for(found, "127.0.0.2")
    assert not certificate_is_for(certificate(x509.DNSName("127.0.0.1")), "127.0.0.1")


def test_the_common_name_does_not_count():
    assert not certificate_is_for(certificate(), "a.example")
    assert not certificate_is_for(certificate(x509.DNSName("b.example")), "a.example")
