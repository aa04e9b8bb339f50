"""Endpoint strings with certificates by ACME, as txacme had them, for any Twisted service.

``le:STORE:ENDPOINT`` and ``lets:STORE:ENDPOINT`` ask Let's Encrypt and its staging; ENDPOINT is the
rest, as in ``le:/srv/certificates:tcp:443``. ``acme:STORE:directory=URL:domains=a,b:endpoint=…``
asks any authority; colons within values are written ``\\:``.
"""

from pathlib import Path
from typing import Any

from twisted.internet.endpoints import quoteStringArgument
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer

__all__ = ["ACME", "LetsEncrypt"]


def _endpoint(reactor: Any, within: str, store: str, **keys: Any) -> Any:
    # Every parser of endpoint strings is loaded with any of them, so this one brings nothing along.
    from portal_gateway.tls.acme_endpoint import ACMEEndpoint, domains_of  # noqa: PLC0415
    from portal_gateway.tls.acme_settings import Authority, AutoCert  # noqa: PLC0415

    domains = keys.pop("domains", None)
    retry_after = float(keys.pop("retry_after", 300.0))
    if not 1 <= retry_after <= 3600:
        raise ValueError("retry_after is from 1 to 3600 seconds")
    if not store or "\0" in store:
        raise ValueError("the store is a directory")
    settings = AutoCert(
        store=Path(store).absolute(),
        domains=() if domains is None else domains_of(domains),
        challenge="tls-alpn-01",
        authority=Authority(**keys),
        retry_after=retry_after,
    )
    return ACMEEndpoint(reactor, settings, within)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class LetsEncrypt:
    """``prefix:STORE:ENDPOINT``, for the authority at ``directory_url``."""

    def __init__(self, prefix: str, directory_url: str) -> None:
        self.prefix = prefix
        self._directory_url = directory_url

    def parseStreamServer(  # type: ignore[override] # the arguments are those of the string
        self, reactor: Any, store: str, *rest: str, **named: str
    ) -> Any:
        """The endpoint. Raises ``ValueError`` for arguments that are none."""
        if not rest:
            raise ValueError(f"{self.prefix}:STORE:ENDPOINT, where ENDPOINT is such as tcp:443")
        words = [quoteStringArgument(word) for word in rest]
        words += [f"{key}={quoteStringArgument(value)}" for key, value in named.items()]
        return _endpoint(reactor, ":".join(words), store, directory_url=self._directory_url)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class ACME:
    """``acme:STORE:directory=URL:endpoint=…``, with ``domains``, ``email`` and more."""

    prefix = "acme"

    def parseStreamServer(  # type: ignore[override] # the arguments are those of the string
        self,
        reactor: Any,
        store: str,
        *,
        directory: str,
        endpoint: str,
        domains: str | None = None,
        email: str | None = None,
        ca_file: str | None = None,
        eab_key_id: str | None = None,
        eab_hmac_key: str | None = None,
        retry_after: str = "300",
    ) -> Any:
        """The endpoint. Raises ``ValueError`` for arguments that are none."""
        from portal_gateway.tls.acme_settings import ExternalAccount  # noqa: PLC0415

        if not directory.startswith("https://"):
            raise ValueError(r"directory is a URL with https\://")
        if (eab_key_id is None) != (eab_hmac_key is None):
            raise ValueError("eab_key_id and eab_hmac_key belong together")
        eab = None
        if eab_key_id is not None and eab_hmac_key is not None:
            eab = ExternalAccount(eab_key_id, eab_hmac_key)
        return _endpoint(
            reactor,
            endpoint,
            store,
            domains=domains,
            directory_url=directory,
            email=email,
            ca_file=None if ca_file is None else Path(ca_file).absolute(),
            eab=eab,
            retry_after=retry_after,
        )
