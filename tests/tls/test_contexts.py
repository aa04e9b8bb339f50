"""What is agreed on, between OpenSSL and OpenSSL in memory."""

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from portal_gateway.tls.certificates import BadTLSFile, ServerCertificate
from portal_gateway.tls.contexts import make_context
from portal_gateway.tls.files import TLSMaterial
from tests.tls.test_rotation import shake
from tests.tls.tls_world import Certified, new_key

EC, RSA = Certified(), Certified(key=new_key("2048"))
ROOT = Certified("root", authority=True)
CLIENT = Certified("client", ROOT, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
STRANGER = Certified("stranger", usage=ExtendedKeyUsageOID.CLIENT_AUTH)


def material(one=EC, authorities=(), mode="required"):
    return TLSMaterial(
        ServerCertificate((one.certificate,), one.key),
        tuple(each.certificate for each in authorities),
        mode,
    )


def talk(server_context, client_context, alpn=None):
    """The client's end after a handshake; SSL.Error when there is none."""
    server = SSL.Connection(server_context, None)
    client = SSL.Connection(client_context, None)
    if alpn:
        client.set_alpn_protos(alpn)
    client.set_connect_state()
    server.set_accept_state()
    shake(client, server)
    # TLS 1.3: what the server says about a client's certificate comes after the client's end.
    client.do_handshake()
    server.do_handshake()
    return client


def client_context(minimum=SSL.TLS1_2_VERSION, maximum=SSL.TLS1_3_VERSION, ciphers=None):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(minimum)
    context.set_max_proto_version(maximum)
    if ciphers:
        context.set_cipher_list(ciphers)
    return context


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("one", [EC, RSA])
def test_both_versions_with_both_kinds_of_keys(version, one):
    end = talk(make_context(material(one), [b"http/1.1"]), client_context(version, version))
    assert end.get_cipher_name().startswith(("ECDHE-", "TLS_"))
    assert end.get_cipher_name().endswith(("GCM-SHA384", "GCM-SHA256", "GCM_SHA384", "CHACHA20"))


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_no_older_version(version):
    context = client_context(version, version, b"ALL:@SECLEVEL=0")
    with pytest.raises(SSL.Error):
        talk(make_context(material(RSA), [b"http/1.1"]), context)


@pytest.mark.parametrize(
    ("ciphers", "taken"),
    [
        (b"ECDHE-RSA-AES128-GCM-SHA256", True),
        (b"ECDHE-RSA-CHACHA20-POLY1305", True),
        (b"AES128-GCM-SHA256", False),
        (b"ECDHE-RSA-AES128-SHA256", False),
        (b"ECDHE-RSA-AES256-SHA", False),
        (b"DHE-RSA-AES128-GCM-SHA256", False),
        (b"AES256-SHA:@SECLEVEL=0", False),
        (b"AECDH-AES128-SHA:ADH-AES128-GCM-SHA256:@SECLEVEL=0", False),
    ],
)
def test_ciphers_of_tls_1_2(ciphers, taken):
    context = client_context(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION, ciphers)
    server = make_context(material(RSA), [b"http/1.1"])
    if taken:
        assert talk(server, context).get_cipher_name() == ciphers.decode()
    else:
        with pytest.raises(SSL.Error):
            talk(server, context)


def test_the_server_chooses_the_cipher():
    mine = b"ECDHE-RSA-AES256-GCM-SHA384"
    theirs = b"ECDHE-RSA-AES128-GCM-SHA256:" + mine
    context = client_context(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION, theirs)
    end = talk(make_context(material(RSA), []), context)
    assert end.get_cipher_name().encode() == mine


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [
        (None, b""),
        ([b"http/1.1"], b"http/1.1"),
        ([b"http/1.1", b"h2"], b"h2"),
        ([b"foo", b"http/1.1"], b"http/1.1"),
        ([b"foo"], None),
        ([b"http/1.0"], None),
    ],
)
def test_protocols(offered, agreed):
    server = make_context(material(), [b"h2", b"http/1.1"])
    if agreed is None:
        with pytest.raises(SSL.Error):
            talk(server, client_context(), offered)
    else:
        assert talk(server, client_context(), offered).get_alpn_proto_negotiated() == agreed


@pytest.mark.parametrize(
    ("mode", "own", "taken"),
    [
        ("required", CLIENT, True),
        ("required", None, False),
        ("required", STRANGER, False),
        ("required", EC, False),
        ("optional", CLIENT, True),
        ("optional", None, True),
        ("optional", STRANGER, False),
    ],
)
@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_certificates_of_clients(mode, own, taken, version):
    server = make_context(material(authorities=[ROOT], mode=mode), [b"http/1.1"])
    context = client_context(version, version)
    if own is not None:
        context.use_certificate(own.certificate)
        context.use_privatekey(own.key)
    if taken:
        talk(server, context)
    else:
        with pytest.raises(SSL.Error):
            talk(server, context)


def test_what_openssl_does_not_take():
    weak = Certified(key=new_key("1024"))
    with pytest.raises(BadTLSFile, match="too weak"):
        make_context(material(weak), [])
