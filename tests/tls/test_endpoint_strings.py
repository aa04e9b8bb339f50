import pytest
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.web.resource import Resource
from twisted.web.server import Site

from portal_gateway.testing.memory_reactor import MemoryReactor
from portal_gateway.tls.acme_endpoint import domains_of
from portal_gateway.tls.acme_settings import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    Authority,
    ExternalAccount,
)
from portal_gateway.tls.acme_store import UnusableStore


def parsed(string):
    return serverFromString(MemoryReactor(), string)


@pytest.mark.parametrize(("prefix", "url"), [("le", LETS_ENCRYPT), ("lets", LETS_ENCRYPT_STAGING)])
def test_lets_encrypt(prefix, url, tmp_path):
    endpoint = parsed(f"{prefix}:{tmp_path}/store:tcp:443:interface=127.0.0.1:backlog=7")
    settings = endpoint._settings
    assert settings.store == tmp_path / "store"
    assert settings.domains == ()
    assert settings.challenge == "tls-alpn-01"
    assert settings.authority == Authority(directory_url=url)
    within = endpoint._within
    assert (within._port, within._interface, within._backlog) == (443, "127.0.0.1", 7)
    assert not (tmp_path / "store").exists()


def test_what_is_within_may_have_colons_of_its_own(tmp_path):
    endpoint = parsed(rf"le:{tmp_path}:tcp6:443:interface=\:\:1")
    assert endpoint._within._interface == "::1"


def test_any_authority(tmp_path):
    endpoint = parsed(
        rf"acme:{tmp_path}:directory=https\://ca.example/dir:domains=A.example,b.example"
        r":email=me@example.com:ca_file=/etc/ca.pem:eab_key_id=kid:eab_hmac_key=c2VjcmV0"
        r":retry_after=7:endpoint=tcp\:8443\:interface=127.0.0.1"
    )
    settings = endpoint._settings
    assert settings.domains == ("a.example", "b.example")
    assert settings.retry_after == 7.0
    authority = settings.authority
    assert authority.directory_url == "https://ca.example/dir"
    assert str(authority.ca_file) == "/etc/ca.pem"
    assert authority.email == "me@example.com"
    assert authority.eab == ExternalAccount("kid", "c2VjcmV0")
    assert "c2VjcmV0" not in repr(settings)
    assert endpoint._within._port == 8443


@pytest.mark.parametrize(
    ("string", "why"),
    [
        ("le:store", "ENDPOINT is such as tcp:443"),
        ("le::tcp:443", "the store is a directory"),
        ("le:store:nonsense:443", "nonsense"),
        (r"acme:store:directory=http\://ca.example:endpoint=tcp\:1", "https"),
        (r"acme:store:directory=https\://ca:endpoint=tcp\:1:domains=a_b", "'a_b' is no host name"),
        (r"acme:store:directory=https\://ca:endpoint=tcp\:1:domains=*.a.b", "needs DNS-01"),
        (r"acme:store:directory=https\://ca:endpoint=tcp\:1:eab_key_id=k", "belong together"),
        (r"acme:store:directory=https\://ca:endpoint=tcp\:1:retry_after=0", "1 to 3600"),
    ],
)
def test_what_is_none(string, why):
    with pytest.raises(ValueError, match=why):
        parsed(string)


def test_too_many_names():
    assert len(domains_of(",".join(f"n{n}.example" for n in range(100)))) == 100
    with pytest.raises(ValueError, match="at most 100"):
        domains_of(",".join(f"n{n}.example" for n in range(101)))


class Reactor(MemoryReactor):
    """One whose threads never come to run anything."""

    def callFromThread(self, function, *arguments):
        raise AssertionError("no thread was to end")


def listening(tmp_path, factory):
    reactor = Reactor()
    ports = []
    string = f"le:{tmp_path}/store:tcp:443"
    serverFromString(reactor, string).listen(factory).addBoth(ports.append)
    return reactor, ports[0]


@pytest.mark.parametrize("factory", [Factory(), Site(Resource())])
def test_it_listens_and_leaves_nothing_behind(factory, tmp_path):
    (tmp_path / "store").mkdir(mode=0o700)
    reactor, port = listening(tmp_path, factory)
    assert port.getHost().port == 443
    reactor.advance(1)
    stopped = []
    port.stopListening().addCallback(stopped.append)
    assert len(stopped) == 1
    assert reactor.listeners == {}
    assert reactor.getDelayedCalls() == []


def test_a_store_that_cannot_be_used_is_why_it_does_not_listen(tmp_path):
    (tmp_path / "store").touch()
    reactor, failure = listening(tmp_path, Factory())
    failure.trap(UnusableStore)
    assert reactor.listeners == {}
    assert reactor.getDelayedCalls() == []
