"""Whether a server's certificate is for the name that it was asked for (RFC 9525).

`service_identity`, which Twisted uses, refuses a certificate for one wildcard that it finds too
wide, whatever its other names are; the one that a Portal 2 relay makes for development has
``*.localhost`` beside its host.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography.x509 import (
    Certificate,
    DNSName,
    ExtensionNotFound,
    IPAddress,
    SubjectAlternativeName,
)

__all__ = ["certificate_is_for", "matches_name"]


def certificate_is_for(certificate: Certificate, name: str) -> bool:
    """Whether ``certificate`` was issued for ``name``, a host name in ASCII or an IP address.

    Only its alternative names count; the common name does not (RFC 9525 section 2).
    """
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except (ExtensionNotFound, ValueError):
        return False
    try:
        address: IPv4Address | IPv6Address = ip_address(name)
    except ValueError:
        return matches_name(names.get_values_for_type(DNSName), name)
    return address in names.get_values_for_type(IPAddress)


def matches_name(patterns: Iterable[str], name: str) -> bool:
    """Whether one of a certificate's DNS names is ``name``, or a wildcard for it.

    A wildcard is a whole first label and stands for one label (RFC 9525 section 6.3). It needs two
    labels behind it: nobody owns what is directly below a top-level name, except below
    ``localhost``, which everybody does.
    """
    name = name.lower().removesuffix(".")
    _, _, parent = name.partition(".")
    wide = "." in parent or parent == "localhost"
    for pattern in patterns:
        pattern = pattern.lower().removesuffix(".")  # noqa: PLW2901 - the same in one form
        if name == pattern or (wide and pattern == f"*.{parent}"):
            return "*" not in name
    return False
