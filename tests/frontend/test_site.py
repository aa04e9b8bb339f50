import json
from ipaddress import IPv4Network

import pytest
from twisted.internet.address import UNIXAddress
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface.verify import verifyObject

from portal_gateway.errors import fault
from portal_gateway.frontend.closing import LINGER_TIME
from portal_gateway.frontend.deadlines import CROSSING_TIME, LAST_HEAD
from portal_gateway.frontend.limits import LIMIT_NAMES, OTHER_LIMIT_NAMES, ChannelLimits
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.site import FAREWELL_TIME
from portal_gateway.policy.client_address import TrustedProxies
from portal_gateway.relay.route import Route
from portal_gateway.testing.transports import connect
from tests.frontend.serving import GET, HOST, Client, Noting, Served, read_responses


class Raising(Resource):
    """Raises, before or after it began to answer."""

    isLeaf = True

    def __init__(self, error: BaseException, *, head: bool = False) -> None:
        super().__init__()
        self.error = error
        self.head = head

    def render(self, request):
        if self.head:
            request.send_head(200, b"OK", [], length=None)
            request.send_data(b"x")
        raise self.error


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def serious(events):
    return [event for event in events if event["log_level"].name in {"error", "critical"}]


def test_tree() -> None:
    class Echo(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b"|".join([*request.prepath, b"", *request.postpath])

    root = Resource()
    root.putChild(b"a", Resource())
    root.children[b"a"].putChild(b"b c", Echo())
    served = Served(root)
    received = served.send(b"GET /a/b%20c/d%2fe/?q HTTP/1.1\r\n" + HOST + b"\r\n")
    assert read_responses(received)[0][2] == b"a|b c||d/e|"
    served.finish()


def test_a_resource_that_raises(logged) -> None:
    served = Served(Raising(ZeroDivisionError("secret")))
    ((status, _, body),) = read_responses(served.send(GET))
    assert status == 500
    assert json.loads(body) == {"error": "internal_error", "id": "made-0"}
    (event,) = serious(logged)
    assert event["request_id"] == "made-0"
    assert event["log_failure"].check(ZeroDivisionError)
    assert served.exchanges[0].error == "internal_error"
    assert served.send(GET).count(b"HTTP/1.1 500") == 2  # the connection is as good as before
    served.finish()


def test_a_resource_that_raises_after_its_head(logged) -> None:
    served = Served(Raising(ZeroDivisionError(), head=True))
    # Its head waits for what the rest of the turn brings.
    ((status, _, _),) = read_responses(served.send(GET))
    assert status == 500
    assert len(serious(logged)) == 1
    assert not served.exchanges[0].aborted
    served.finish()


def test_a_resource_that_raises_a_gateway_error(logged) -> None:
    served = Served(Raising(fault("lease_offline", "away")))
    ((status, _, body),) = read_responses(served.send(GET))
    assert (status, json.loads(body)["error"]) == (503, "lease_offline")
    assert serious(logged) == []
    served.finish()


@pytest.mark.parametrize("result", [None, "text", 7])
def test_a_resource_that_renders_something_else(result, logged) -> None:
    class Odd(Resource):
        isLeaf = True

        def render(self, request):
            return result

    served = Served(Odd())
    assert read_responses(served.send(GET))[0][0] == 500
    assert len(serious(logged)) == 1
    served.finish()


def test_a_method_that_a_resource_does_not_have() -> None:
    class Reading(Resource):
        isLeaf = True

        def render_GET(self, request):
            return b""

    served = Served(Reading())
    ((status, fields, _),) = read_responses(served.send(b"PUT / HTTP/1.1\r\n" + HOST + b"\r\n"))
    assert status == 405
    assert set(fields[b"allow"].split(b", ")) == {b"GET", b"HEAD"}
    served.finish()


def test_options_of_the_server() -> None:
    noting = Noting()
    served = Served(noting)
    received = served.send(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    ((status, fields, _),) = read_responses(received)
    assert (status, fields[b"content-length"]) == (200, b"0")
    assert noting.requests == []
    served.finish()


def test_a_record_that_fails_does_no_harm(logged) -> None:
    served = Served(Noting(lambda request: (request.finish(), None)))

    def fail(exchange):
        raise ValueError

    served.site._on_exchange_end = fail
    assert served.send(GET + GET).count(b"HTTP/1.1 200") == 2
    assert len(serious(logged)) == 2
    served.finish()


# Connections.


def test_connections_in_all() -> None:
    served = Served(Noting(), connections=3)
    for number in range(2):
        served.connect(f"192.0.2.{number}")
    assert served.site.connections == 3
    refused = served.connect("192.0.2.99")
    served.settle()
    assert refused.lost is not None
    assert served.site.connections == 3
    assert served.site.limit_hits["connections"] == 1
    served.links[0].client.abortConnection()
    served.links[0].flush()
    served.connect("192.0.2.99")
    assert served.send(GET) == b""
    assert len(served.site.resource.requests) == 1
    served.finish()


def test_connections_per_address() -> None:
    served = Served(Noting(), connections_per_address=2)
    served.connect()
    refused = served.connect()
    served.settle()
    assert refused.lost is not None
    assert served.site.limit_hits["connections_per_address"] == 1
    other = served.connect("192.0.2.8")
    served.settle()
    assert other.lost is None
    served.links[0].client.abortConnection()
    served.links[0].flush()
    again = served.connect()
    served.settle()
    assert again.lost is None
    served.finish()


def still_open(served):
    served.settle()
    for link in served.links:
        link.flush()
    return [link.client.protocol.lost is None for link in served.links]


def test_idle_connections_of_who_has_most_make_room_for_others() -> None:
    """Who says nothing, or is refused, does not use up what others need."""
    served = Served(Noting(), connections=6)  # One stands, of 192.0.2.7.
    for _ in range(5):
        served.connect("203.0.113.5")
    served.connect("192.0.2.8")
    assert still_open(served) == [True, False, True, True, True, True, True]
    served.send(GET)
    assert len(served.site.resource.requests) == 1
    served.connect("192.0.2.9")
    assert still_open(served) == [True, False, False, True, True, True, True, True]
    assert served.site.connections == 6
    assert served.site.limit_hits["connections"] == 2
    served.connect("203.0.113.5")
    assert still_open(served)[-1] is False, "who has most gets no more"
    served.finish()


def test_connections_with_a_request_are_not_given_up_for_others() -> None:
    served = Served(Noting(), connections=4)
    served.links[0].client.abortConnection()
    served.links[0].flush()
    for _ in range(4):
        served.connect("203.0.113.5")
        served.send(GET)
    served.connect("192.0.2.8")
    assert still_open(served)[1:] == [True] * 4 + [False]
    # One of them is answered.
    served.site.resource.requests[2].answer(b"")
    served.connect("192.0.2.9")
    assert still_open(served)[1:] == [True, True, False, True, False, True]
    served.finish()


@pytest.mark.parametrize("networks", [4, 5])
def test_networks_with_equal_shares_keep_them(networks) -> None:
    served = Served(Noting(), connections=networks)
    served.links[0].client.abortConnection()
    served.links[0].flush()
    for network in range(networks + 2):
        served.connect(f"2001:db8:0:{network:x}::1")
    assert still_open(served)[1:] == [True] * networks + [False] * 2
    served.finish()


def test_a_network_of_ipv6_is_one_when_room_is_made() -> None:
    served = Served(Noting(), connections=5)
    for number in range(4):
        served.connect(f"2001:db8::{number + 1:x}")
    served.connect("192.0.2.8")
    assert still_open(served) == [True, False, True, True, True, True]
    served.finish()


def test_the_connections_of_trusted_proxies_are_not_given_up() -> None:
    served = Served(Noting(), connections=4)
    proxies = TrustedProxies([IPv4Network("203.0.113.0/24")])
    served.site.use(served.site.limits, served.site.streams.rules, proxies, None, "drop")
    for _ in range(3):
        served.connect("203.0.113.5")
    served.connect("192.0.2.8")
    assert still_open(served) == [True] * 4 + [False]
    served.finish()


def test_a_flood_of_connections_of_a_few_networks_leaves_room() -> None:
    served = Served(Noting(), connections=200, connections_per_address=50)
    for number in range(1_000):
        served.connect(f"203.0.113.{number % 7}")
    for number in range(20):
        served.connect(f"198.51.100.{number}")
        served.send(GET)
    assert len(served.site.resource.requests) == 20
    assert sum(still_open(served)) == served.site.connections == 200
    served.finish()


def test_a_unix_socket_has_no_address_to_count_by() -> None:
    served = Served(Noting(), connections_per_address=1)
    links = []
    for _ in range(3):
        client = Client()
        channel = served.site.buildProtocol(UNIXAddress(b""))
        links.append(connect(client, channel, client_address=UNIXAddress(b"")))
        client.transport.write(GET)
        links[-1].flush()
        assert client.lost is None
    requests = served.site.resource.requests
    assert [request.client_address for request in requests] == [""] * 3
    for link in links:
        link.client.abortConnection()
        link.flush()
    served.finish()


@pytest.mark.parametrize(
    ("some", "others"),
    [
        # One network of IPv6, whatever the address; another one.
        ([f"2001:db8::{number:x}" for number in range(1, 41)], ["2001:db8:0:1::1"]),
        (["2001:db8:0:0:ffff:ffff:ffff:fff0", "2001:db8::"], ["2001:db8:1::"]),
        # The same IPv4 client at a socket for both families, by 6to4, and by a translator.
        (["203.0.113.5", "::ffff:203.0.113.5", "2002:cb00:7105:1::1"], ["203.0.113.6"]),
        (["64:ff9b::203.0.113.5", "203.0.113.5"], ["64:ff9b::203.0.113.6"]),
        (["fe80::1%eth0", "fe80::2%eth1"], ["fe81::1%eth0"]),
    ],
)
def test_the_addresses_of_one_network_share_its_connections(some, others) -> None:
    served = Served(Noting(), connections_per_address=1)
    served.connect(some[0])
    for host in some[1:]:
        served.connect(host)
        served.settle()
        assert served.closed, host
    assert served.site.limit_hits["connections_per_address"] == len(some) - 1
    for host in others:
        served.connect(host)
        served.settle()
        assert not served.closed, host
    served.finish()


def test_an_ipv4_client_of_a_socket_for_both_families_has_its_own_address() -> None:
    served = Served(Noting())
    served.connect("::ffff:203.0.113.5")
    served.send(GET)
    (request,) = served.site.resource.requests
    assert request.client_address == "203.0.113.5"
    served.finish()


def test_no_limit_per_address() -> None:
    served = Served(Noting(), connections_per_address=None)
    for _ in range(5):
        assert served.connect().lost is None
    served.finish()


def test_every_limit_is_counted_by_its_name() -> None:
    served = Served(Noting())
    assert set(served.site.limit_hits) == {*LIMIT_NAMES, *OTHER_LIMIT_NAMES}
    for name in LIMIT_NAMES:
        assert hasattr(ChannelLimits(), name)
    served.finish()


def test_alpn() -> None:
    served = Served(Noting())
    assert verifyObject(IProtocolNegotiationFactory, served.site)
    assert served.site.acceptableProtocols() == [b"http/1.1"]
    served.finish()


# What is shared.


def test_date_is_made_once_a_second() -> None:
    served = Served(Noting())
    first = served.site.date()
    assert first == b"Sun, 06 Nov 1994 08:49:37 GMT"
    served.wall += 0.9
    assert served.site.date() is first
    served.wall += 0.1
    assert served.site.date() == b"Sun, 06 Nov 1994 08:49:38 GMT"
    served.finish()


def test_call_soon() -> None:
    served = Served(Noting())
    calls: list[int] = []

    def fail():
        raise ValueError

    before = len(served.clock.getDelayedCalls())
    served.site.call_soon(lambda: calls.append(1))
    served.site.call_soon(fail)
    served.site.call_soon(lambda: served.site.call_soon(lambda: calls.append(3)))
    served.site.call_soon(lambda: calls.append(2))
    assert len(served.clock.getDelayedCalls()) == before + 1
    assert calls == []
    served.clock.advance(0)
    assert calls == [1, 2, 3]
    served.finish()


# Stopping.


def test_stop_with_nothing_open() -> None:
    served = Served(Noting())
    served.links[0].client.abortConnection()
    served.links[0].flush()
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    assert stopped == [None]
    assert served.clock.getDelayedCalls() == []


def test_stop() -> None:
    noting = Noting()
    served = Served(noting)
    idle = served.client
    served.send(GET)
    noting.requests.pop().answer(b"")
    served.settle()
    busy = served.connect()
    served.send(GET + GET)
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    served.site.stop().addCallback(stopped.append)
    for link in served.links:
        link.flush()
    assert idle.lost is None
    served.wait(CROSSING_TIME)
    for link in served.links:
        link.flush()
    assert idle.lost is not None
    assert busy.lost is None
    assert stopped == []
    late = served.connect()
    served.settle()
    assert late.lost is not None
    noting.requests[0].send_head(200, b"OK", [], length=0)
    noting.requests[0].send_end()
    for link in served.links:
        link.flush()
    assert b"Connection: close" in busy.received
    assert busy.received.count(b"HTTP/1.1") == 1
    assert busy.lost is not None
    assert stopped == [None, None]
    served.finish()


@pytest.mark.parametrize("sent", [b"", b"GET / HT"])
def test_stop_waits_shortly_for_a_request_that_is_on_its_way(sent) -> None:
    noting = Noting()
    served = Served(noting)
    served.send(sent)
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    served.wait(LAST_HEAD - 0.1)
    served.send(GET[len(sent) :])
    served.wait(LAST_HEAD + 1)
    noting.requests[0].answer(b"whole")
    served.settle()
    assert b"Connection: close" in served.client.received
    assert b"whole" in served.client.received
    assert served.closed
    assert stopped == [None]
    served.finish()


def test_stop_waits_for_none_that_does_not_come() -> None:
    served = Served(Noting())
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    served.wait(LAST_HEAD - 0.1)
    assert stopped == []
    served.wait(0.2)
    assert served.client.received == b""
    assert served.closed
    assert not any(served.site.limit_hits.values())
    served.finish()


def test_what_crosses_the_stop_is_answered_and_is_the_last() -> None:
    noting = Noting(lambda request: request.answer(b"done"))
    served = Served(noting)
    served.send(GET)
    served.site.stop()
    served.wait(CROSSING_TIME / 2)
    served.send(GET)
    (_, kept, _), (_, last, _) = read_responses(served.client.received, (b"GET", b"GET"))
    assert b"connection" not in kept
    assert last[b"connection"] == b"close"
    assert len(noting.requests) == 2
    assert served.closed
    served.finish()


def test_a_header_that_has_begun_at_the_stop_is_read_to_its_end() -> None:
    noting = Noting(lambda request: request.answer(b"done"))
    served = Served(noting)
    served.send(GET[:20])
    served.site.stop()
    served.wait(CROSSING_TIME * 2)
    assert not served.closed
    served.send(GET[20:])
    ((status, _, body),) = read_responses(served.client.received)
    assert (status, body) == (200, b"done")
    assert served.closed
    served.finish()


def test_a_header_that_stops_in_the_middle_does_not_keep_what_stops() -> None:
    served = Served(Noting())
    served.send(GET[:20])
    stopped: list[None] = []
    served.site.stop().addCallback(stopped.append)
    served.wait(served.site.limits.header_timeout)
    assert b" 408 " in served.client.received
    served.wait(LINGER_TIME)
    assert stopped == [None]
    served.finish()


def routed(request: Request) -> None:
    """As the guards leave a request that they let to a lease."""
    request.route = Route({}.__getitem__, "key", ("tool",))


def test_what_lasts_is_told_before_the_end() -> None:
    noting = Noting(routed)
    served = Served(noting)
    served.send(GET)
    stopped: list[None] = []
    served.site.stop(timeout=30).addCallback(stopped.append)
    served.wait(30 - FAREWELL_TIME - 0.1)
    assert served.client.received == b""
    served.wait(0.1)
    ((status, _, body),) = read_responses(served.client.received)
    assert status == 503
    assert b"gateway_stopping" in body
    assert served.closed
    assert stopped == [None]
    served.finish()


def test_what_can_say_farewell_says_it_itself() -> None:
    told: list[str] = []

    def begin(request: Request) -> None:
        routed(request)
        request.on_withdrawal = lambda error: told.append(error.cause.code)

    served = Served(Noting(begin))
    served.send(GET)
    served.site.stop(timeout=5)
    served.wait(4.4)
    assert told == []
    served.wait(0.1)
    assert told == ["gateway_stopping"]
    served.wait(0.5)
    assert served.closed
    served.finish()


def test_what_the_guards_still_judge_has_no_farewell() -> None:
    served = Served(Noting())
    served.send(GET)
    served.site.stop(timeout=5)
    served.wait(4.9)
    assert served.client.received == b""
    served.wait(0.1)
    assert served.closed
    served.finish()


def test_stop_after_the_head_promised_to_go_on() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    noting.requests[0].send_head(200, b"OK", [], length=None)
    served.settle()
    served.site.stop()
    noting.requests[0].send_end()
    served.settle()
    assert read_responses(served.client.received)
    assert served.closed
    served.finish()


def test_stop_aborts_after_the_grace() -> None:
    noting = Noting()
    served = Served(noting)
    served.send(GET)
    gone: list[int] = []
    noting.requests[0].on_disconnect(lambda: gone.append(1))
    stopped: list[None] = []
    served.site.stop(timeout=3).addCallback(stopped.append)
    served.wait(2)
    assert (gone, stopped) == ([], [])
    served.wait(1)
    assert (gone, stopped) == ([1], [None])
    assert served.closed
    served.finish()


def test_rendering_may_end_later() -> None:
    class Later(Resource):
        isLeaf = True

        def render(self, request):
            request.site.clock.callLater(5, request.finish)
            return NOT_DONE_YET

    served = Served(Later())
    assert served.send(GET) == b""
    served.wait(5)
    assert read_responses(served.client.received)
    served.finish()
