"""What twistd finds: the ``portal-gateway`` service, and endpoint strings with ACME."""

from twisted.application.service import ServiceMaker

from portal_gateway.tls.acme_settings import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from portal_gateway.tls.endpoint_strings import ACME, LetsEncrypt

portal_gateway = ServiceMaker(
    "Portal Gateway",
    "portal_gateway.service",
    "An authenticating, observable gateway in front of the Portal relay network.",
    "portal-gateway",
)

lets_encrypt = LetsEncrypt("le", LETS_ENCRYPT)
lets_encrypt_staging = LetsEncrypt("lets", LETS_ENCRYPT_STAGING)
acme = ACME()
