"""Which relays answer, as `validate` finds out."""

from twisted.internet.protocol import Factory, Protocol

from portal_gateway.config.model import RelaySection
from portal_gateway.relay.reachability import PATIENCE, unreachable_relays
from portal_gateway.testing.memory_reactor import MemoryReactor


def reasons(reactor, *urls):
    found = []
    unreachable_relays(reactor, [RelaySection(url) for url in urls]).addCallback(found.append)
    reactor.advance(PATIENCE + 20)
    (answer,) = found
    assert reactor.getDelayedCalls() == []
    return answer


def test_a_relay_with_a_host_for_each_lease_is_not_tried():
    reactor = MemoryReactor()
    assert reasons(reactor, "https://{lease}.portal.example.com") == {}
    assert reactor.links == []


def test_a_relay_by_path_is_connected_to():
    reactor = MemoryReactor()
    listening = Factory.forProtocol(Protocol)
    listening.noisy = False
    reactor.listenTCP(4017, listening)
    found = reasons(reactor, "http://127.0.0.1:4017/base", "http://127.0.0.1:4018")
    assert found == {"http://127.0.0.1:4018": "the connection cannot be made"}
    reactor.settle()
    assert len(reactor.links) == 1


def test_a_relay_that_is_silent_is_given_up():
    reactor = MemoryReactor()
    reactor.silent_ports.add(4017)
    silent = Factory.forProtocol(Protocol)
    silent.noisy = False
    reactor.listenTCP(443, silent)
    urls = ("http://127.0.0.1:4017", "https://127.0.0.1", "ws://127.0.0.1:4017/relay")
    found = reasons(reactor, *urls)
    assert set(found) == set(urls)
    assert found["https://127.0.0.1"] == f"no answer within {PATIENCE:g} s"
