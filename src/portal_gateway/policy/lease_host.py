"""Which lease a host names, where leases have hosts of their own.

With ``{lease}.gw.example.com`` the label before ``.gw.example.com`` names the lease, by the rule of
`portal_gateway.wire.dns_label`. As elsewhere, case and a dot at the end make no other host
(RFC 4343, RFC 1034 section 3.1), and the port is none of a name.
"""

from portal_gateway.config.model import LEASE_LABEL
from portal_gateway.errors import GatewayError, fault
from portal_gateway.wire.dns_label import name_of

__all__ = ["LeaseHosts"]


class LeaseHosts:
    """Tells the hosts of leases from the gateway's own; ``pattern`` is ``gateway.lease_host``."""

    __slots__ = ("_suffix",)

    def __init__(self, pattern: str) -> None:
        self._suffix = pattern.removeprefix(LEASE_LABEL[:-1]).encode("ascii")

    def lease(self, authority: bytes) -> str | GatewayError | None:
        """The lease that a request's authority names, ``None`` for a host of the gateway's own.

        A host among those of leases that names none of them is ``lease_not_found``: were it the
        gateway's own, its paths could name another lease than its host seems to.
        """
        host = authority.lower()
        if not host.endswith(self._suffix):
            # A bracket ends an IPv6 address, which holds colons of its own and is no name.
            if host.endswith(b"]"):
                return None
            host = host.partition(b":")[0].removesuffix(b".")
            if not host.endswith(self._suffix):
                return None
        name = name_of(host[: -len(self._suffix)].decode("latin-1"))
        if name is None:
            return fault("lease_not_found", "the host names no lease: its label is no lease name")
        return name
