"""The section ``tls`` of what the gateway connects to: its keys."""

from typing import Any

from portal_gateway.config.addresses import server_name
from portal_gateway.config.fields import Section, true_or_false
from portal_gateway.config.files import certificate_file
from portal_gateway.config.model import UpstreamTLS
from portal_gateway.config.reading import Reader, Value

__all__ = ["UPSTREAM_TLS", "UPSTREAM_TLS_KEYS", "authorities_are_asked"]


def authorities_are_asked(tls: UpstreamTLS, value: Value) -> None:
    """Refuse authorities that nobody asks, and warn where nobody is asked at all."""
    if not tls.insecure:
        return
    insecure = value.at("insecure")
    if tls.ca_file is not None:
        insecure.refuse(
            f"ca_file (line {value.at('ca_file').line}) and insecure exclude each other:"
            " no authority is asked when any certificate is good"
        )
        return
    insecure.warn(
        "certificates are not verified: whoever is on the way can read and change everything"
    )


UPSTREAM_TLS_KEYS: dict[str, Reader[Any]] = {
    "ca_file": certificate_file,
    "insecure": true_or_false,
    "server_name": server_name,
}

UPSTREAM_TLS = Section(UpstreamTLS, UPSTREAM_TLS_KEYS, check=authorities_are_asked)
