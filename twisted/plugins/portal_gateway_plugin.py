"""What twistd finds: the ``portal-gateway`` service."""

from twisted.application.service import ServiceMaker

portal_gateway = ServiceMaker(
    "Portal Gateway",
    "portal_gateway.service",
    "An authenticating, observable gateway in front of the Portal relay network.",
    "portal-gateway",
)
