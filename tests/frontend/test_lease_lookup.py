"""What a request's lease is, found before anything is decided about it."""

import json

from serving import HOST, Noting, Served, read_responses
from twisted.internet.defer import Deferred

from portal_gateway.errors import fault
from portal_gateway.frontend.guards import GuardedResource
from portal_gateway.frontend.lease_lookup import look_up, route_of
from portal_gateway.frontend.proxy import ReverseProxy
from portal_gateway.relay.route import Route

ID = "A" * 26
ROUTE = Route({"key": "the pool"}.__getitem__, "key", ("agent", ID))

GET = b"GET /x HTTP/1.1\r\n" + HOST + b"\r\n"


class Found:
    """Where leases are; notes what was asked for."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def __call__(self, name):
        self.asked.append(name)
        return self.answer


def served(found, then=lambda request: request.answer(b"in")):
    within = Noting(then)

    def lease(request, _now):
        request.exchange.lease = "Agent"

    rules = [lease, lambda request, _now: look_up(found, request)]
    return Served(GuardedResource(rules, within, lambda: 0.0)), within


def code_of(received):
    ((status, _, body),) = read_responses(received)
    return status, json.loads(body)["error"]


def test_one_form_of_the_lease_is_noted_and_the_way_to_it():
    found = Found(ROUTE)
    site, within = served(found)
    site.send(GET)
    (request,) = within.requests
    assert found.asked == ["Agent"]
    assert route_of(request) is ROUTE
    assert route_of(request).pool == "the pool"
    exchange = request.exchange
    assert (exchange.lease, exchange.lease_names) == ("agent", ("agent", ID))
    assert not exchange.hides_names
    site.finish()


def test_a_lease_that_has_to_be_looked_for_is_waited_for():
    waiting = Deferred()
    site, within = served(Found(waiting))
    assert site.send(GET) == b""
    waiting.callback(ROUTE._replace(hides_names=True))
    assert read_responses(site.send())[0][2] == b"in"
    exchange = within.requests[0].exchange
    assert (exchange.lease, exchange.hides_names) == ("agent", True)
    site.finish()


def test_a_lease_that_is_not_there_is_known_by_what_was_asked_for():
    waiting = Deferred()
    site, within = served(Found(waiting), route_of)
    site.send(GET)
    waiting.errback(fault("lease_offline", "away"))
    assert code_of(site.send()) == (503, "lease_offline")
    exchange = within.requests[0].exchange
    assert (exchange.lease, exchange.lease_names) == ("Agent", ("Agent",))
    site.finish()


def test_a_client_that_goes_away_ends_the_search():
    cancelled = []
    site, within = served(Found(Deferred(cancelled.append)))
    site.send(GET)
    site.client.transport.abortConnection()
    site.settle()
    assert len(cancelled) == 1
    assert within.requests == []
    site.finish()


def test_nothing_is_carried_that_was_not_looked_up():
    def target(request, _now):
        request.exchange.upstream_target = b"/x"

    site = Served(GuardedResource([target], ReverseProxy(), lambda: 0.0))
    assert code_of(site.send(GET)) == (500, "internal_error")
    site.finish()
