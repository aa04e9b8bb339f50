"""Pages that some clients see without a key, and all others with one.

Whoever asks from this machine must also name this machine, or a host of the configuration
(`portal_gateway.policy.local_hosts`): a page on the Internet can have a browser ask here, too.
"""

from typing import Any, Final

from twisted.web.resource import IResource, Resource

from portal_gateway.frontend.request import Request
from portal_gateway.policy.local_hosts import LOOPBACK, LocalHosts

__all__ = ["KeylessPage"]

_OF_PROXIES: Final = (b"x-forwarded-for", b"forwarded", b"via", b"x-real-ip")


class KeylessPage(Resource):
    """Shows ``page`` to those who need no key, and to all others what is ``guarded``.

    With ``only_here`` those are the clients on this machine; who comes through a proxy is not among
    them, although the proxy may be. Without it they are all clients, because the configuration says
    so. Either way a client on this machine has to ask by one of ``hosts``.
    """

    isLeaf = True

    def __init__(
        self, page: IResource, guarded: IResource, hosts: LocalHosts, *, only_here: bool
    ) -> None:
        super().__init__()
        self._page = page
        self._guarded = guarded
        self._hosts = hosts
        self._only_here = only_here

    def render(self, request: Request) -> Any:
        """Choose."""
        return (self._page if self._is_open_to(request) else self._guarded).render(request)

    def _is_open_to(self, request: Request) -> bool:
        # The peer of the connection: what it says of others may be a script's word.
        peer_is_here = getattr(request.getClientAddress(), "host", None) in LOOPBACK
        if peer_is_here and not self._hosts.includes(request.head.host):
            return False
        if not self._only_here:
            return True
        exchange = request.exchange
        index = request.head.index
        return (
            exchange.client_address in LOOPBACK
            and exchange.passage is None
            and not any(name in index for name in _OF_PROXIES)
        )
