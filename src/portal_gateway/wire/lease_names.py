"""Names of leases as they are compared: without case, as a directory looks them up."""

from portal_gateway.wire.identity import is_lease_id

__all__ = ["folded"]


def folded(name: str) -> str:
    """The form in which two names are the same. An id is compared with case, and is no name."""
    return name if is_lease_id(name) else name.casefold()
