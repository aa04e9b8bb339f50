"""What each guard decides: of a request, at a unix time, by what comes first.

Functions rather than closures: of compiled ones each would be a cycle with what it closes over, and
the keys of a configuration that is no more would stay until the garbage collector comes by.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.lease_lookup import look_up
from portal_gateway.frontend.mcp_scope import is_at_endpoint, judge_call, may_be_call
from portal_gateway.frontend.request import Request
from portal_gateway.policy.address_sets import AddressSet, address_refusal
from portal_gateway.policy.credentials import KeyTable
from portal_gateway.policy.lease_access import LeaseAccess, access_refusal, is_held_to_others
from portal_gateway.policy.lease_settings import LeaseAddresses, LeasePaths
from portal_gateway.policy.scopes import (
    ADMIN,
    EVERYTHING_AT_LEASES,
    READ,
    required_scope,
    scope_refusal,
    scopes_of,
)
from portal_gateway.relay.route import Route

__all__ = [
    "by_access",
    "by_address",
    "by_admin_scope",
    "by_callers_addresses",
    "by_known_key",
    "by_leases_addresses",
    "by_scope",
    "by_scope_again",
    "find_lease",
]

Verdict = GatewayError | None


def by_address(allowed: AddressSet, request: Request, _now: float) -> Verdict:
    """Whether clients may come from there."""
    if request.exchange.client_address in allowed:
        return None
    return address_refusal("the gateway")


def by_callers_addresses(request: Request, _now: float) -> Verdict:
    """Whether the caller may come from there."""
    exchange = request.exchange
    caller = exchange.caller
    if caller is None or caller.addresses is None:
        return None
    return None if exchange.client_address in caller.addresses else address_refusal("this key")


def find_lease(
    find: Callable[[str], Route | Deferred[Route]], request: Request, _now: float
) -> Verdict | Deferred[Verdict]:
    """Note which lease is meant; that it is not there is no refusal yet."""
    return look_up(find, request)


def by_scope(mcp: LeasePaths | None, request: Request, _now: float) -> Verdict | Deferred[Verdict]:
    """Whether the caller's scopes allow the request; of a call of MCP, what it calls decides."""
    scopes = scopes_of(request.exchange.caller)
    if scopes >= EVERYTHING_AT_LEASES:
        return None
    needed = _needed(request)
    if needed in scopes:
        return None
    if READ in scopes and is_at_endpoint(mcp, request) and may_be_call(request.head):
        return judge_call(request)
    return scope_refusal(needed)


def _needed(request: Request) -> str:
    head = request.head
    exchange = request.exchange
    query = head.target.partition(b"?")[2]
    return required_scope(
        exchange.method, head.index, is_websocket=exchange.is_websocket, query=query
    )


def by_leases_addresses(lists: LeaseAddresses, request: Request, _now: float) -> Verdict:
    """Whether the lease may be reached from there."""
    exchange = request.exchange
    if lists.admits(
        exchange.client_address, exchange.lease_names, hides_names=exchange.hides_names
    ):
        return None
    return address_refusal("this lease")


def by_access(access: LeaseAccess | None, request: Request, _now: float) -> Verdict:
    """Whether the caller may use the lease."""
    exchange = request.exchange
    caller = exchange.caller
    names = exchange.lease_names
    if caller is None or is_held_to_others(caller, names):
        return access_refusal()
    if access is None or access.admits(caller, names, hides_names=exchange.hides_names):
        return None
    return access_refusal()


def by_admin_scope(request: Request, _now: float) -> Verdict:
    """Whether the caller administers."""
    return None if ADMIN in scopes_of(request.exchange.caller) else scope_refusal(ADMIN)


# Again, of a request that was admitted by other rules.


def by_known_key(keys: KeyTable, request: Request, now: float) -> Verdict:
    """Whether the caller's key, if it was one of the configuration's, is there and good."""
    exchange = request.exchange
    caller = exchange.caller
    if caller is None or caller.source != "file":
        return None
    found = keys.of_digest(caller.digest).verdict(now)
    if isinstance(found, GatewayError):
        return found
    exchange.caller = found
    return None


def by_scope_again(mcp: LeasePaths | None, request: Request, _now: float) -> Verdict:
    """Whether the caller's scopes allow the request; a call of MCP was judged when it came."""
    scopes = scopes_of(request.exchange.caller)
    needed = _needed(request)
    if needed in scopes:
        return None
    if READ in scopes and request.exchange.only_reads and is_at_endpoint(mcp, request):
        return None
    return scope_refusal(needed)
