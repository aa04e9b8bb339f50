import hashlib

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from portal_gateway.tls.acme_alpn import answer_by_alpn
from portal_gateway.tls.acme_answers import ACME_TLS, Answers
from portal_gateway.tls.certificates import read_server_certificate
from portal_gateway.tls.contexts import Contexts, bare_context, make_context
from portal_gateway.tls.files import TLSMaterial
from tests.tls.handshakes import Client, shake_hands
from tests.tls.tls_world import NOW, Certified

ONE = Certified(hosts=("a.example",))
MATERIAL = TLSMaterial(read_server_certificate(ONE.pem, ONE.key_pem, NOW), (), "required")
ROOT = Certified("root", authority=True)
MUTUAL = TLSMaterial(MATERIAL.certificate, (ROOT.certificate,), "required")

TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
AUTHORIZATION = f"{TOKEN}.thumbprint"

BOTH = pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])


@pytest.fixture
def answers(tmp_path):
    return Answers(tmp_path)


def test_a_token_is_answered_while_its_order_runs(answers, tmp_path):
    assert answers.authorization(TOKEN.encode()) is None
    answers.put_token(TOKEN, AUTHORIZATION)
    assert answers.authorization(TOKEN.encode()) == AUTHORIZATION.encode()
    assert Answers(tmp_path).authorization(TOKEN.encode()) == AUTHORIZATION.encode()
    answers.remove_token(TOKEN)
    assert answers.authorization(TOKEN.encode()) is None
    answers.remove_token(TOKEN)
    assert list(tmp_path.iterdir()) == []


@given(asked=st.binary(max_size=300))
def test_nobody_else_gets_an_answer(asked, tmp_path_factory):
    answers = Answers(tmp_path_factory.getbasetemp())
    answers.put_token(TOKEN, AUTHORIZATION)
    found = answers.authorization(asked)
    assert found is None or asked == TOKEN.encode()


@pytest.mark.parametrize(
    "asked", [b"", b"..", b"../lock", TOKEN.encode() + b"\n", b"a" * 257, b"a/b", b"a;b", b"\xff"]
)
def test_what_is_no_token_is_not_even_looked_for(asked, answers):
    answers._read = None
    assert answers.authorization(asked) is None


def contexts_that_prove(answers, material=MATERIAL):
    contexts = Contexts(bare_context())
    if material is not None:
        contexts.current = make_context(material, (b"http/1.1",))
    answer_by_alpn(contexts, answers)
    return contexts


@BOTH
@pytest.mark.parametrize("material", [MATERIAL, MUTUAL, None], ids=["served", "mutual", "none yet"])
@pytest.mark.parametrize("piece", [1 << 20, 7])
def test_the_proof_is_given_to_who_offers_the_protocol(version, material, piece, answers):
    answers.put_certificate("a.example", AUTHORIZATION)
    client = Client(b"a.example", [ACME_TLS], version)
    shake_hands(client, contexts_that_prove(answers, material).serverConnectionForTLS(None), piece)
    assert client.protocol == ACME_TLS
    extensions = client.certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example"]
    proof = extensions.get_extension_for_oid(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31"))
    assert proof.critical
    digest = hashlib.sha256(AUTHORIZATION.encode()).digest()
    assert proof.value.value == b"\x04\x20" + digest


@BOTH
@pytest.mark.parametrize("protocols", [[], [b"http/1.1"], [b"h2", b"http/1.1"]])
def test_everybody_else_gets_the_certificate_also_while_an_order_runs(version, protocols, answers):
    answers.put_certificate("a.example", AUTHORIZATION)
    contexts = contexts_that_prove(answers)
    client = Client(b"a.example", protocols, version)
    server = contexts.serverConnectionForTLS(None)
    shake_hands(client, server)
    assert client.certificate == ONE.certificate
    assert client.protocol == (b"http/1.1" if protocols else b"")
    assert server._hello == b""


@BOTH
@pytest.mark.parametrize("name", [b"b.example", None])
def test_no_order_no_proof(version, name, answers):
    answers.put_certificate("a.example", AUTHORIZATION)
    client = Client(name, [ACME_TLS], version)
    with pytest.raises(SSL.Error):
        shake_hands(client, contexts_that_prove(answers).serverConnectionForTLS(None))


@BOTH
def test_the_protocol_s_name_in_another_place_opens_nothing(version, answers):
    answers.put_certificate("a.example", AUTHORIZATION)
    client = Client(b"a.example", [b"x\x0aacme-tls/1", b"http/1.1"], version)
    with pytest.raises(SSL.Error):
        shake_hands(client, contexts_that_prove(answers).serverConnectionForTLS(None))


@BOTH
def test_without_a_certificate_there_is_an_alert(version, answers):
    client = Client(b"a.example", [b"http/1.1"], version)
    with pytest.raises(SSL.Error):
        shake_hands(client, contexts_that_prove(answers, None).serverConnectionForTLS(None))
    assert client.certificate is None


def test_an_endless_hello_is_not_kept(answers):
    server = contexts_that_prove(answers).serverConnectionForTLS(None)
    server.set_accept_state()
    for _ in range(5):
        server.bio_write(b"\x16" * 5000)
    assert server._hello == b""
