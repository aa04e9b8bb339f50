"""Certificates by ACME for a listener: what is served, what answers, and what renews them."""

from typing import Any

from portal_gateway.tls.acme_alpn import answer_by_alpn
from portal_gateway.tls.acme_answers import Answers
from portal_gateway.tls.acme_renewal import Renewal
from portal_gateway.tls.acme_settings import AutoCert, Wanted
from portal_gateway.tls.acme_store import Store
from portal_gateway.tls.acme_threads import Threads
from portal_gateway.tls.rotation import Rotation

__all__ = ["AutoCertificate"]


class AutoCertificate:
    """The one certificate that ``settings`` want.

    ``renewal`` is the service that has it issued, to be started after the listeners; ``tokens``
    are to be answered on a plain one, if they are what proves the names. Raises `UnusableStore`.
    """

    def __init__(self, reactor: Any, settings: AutoCert, stem: str) -> None:
        store = Store(settings.store)
        self.settings = settings
        self._answers = Answers(store.challenges)
        wanted = (Wanted(stem, settings.domains),)
        self.renewal = Renewal(reactor, Threads(reactor), store, settings, lambda: wanted)

    @property
    def tokens(self) -> Answers | None:
        """The answers of HTTP-01; ``None`` with another challenge."""
        return self._answers if self.settings.challenge == "http-01" else None

    def prove_on(self, rotation: Rotation) -> None:
        """Answer TLS-ALPN-01 on the listener of ``rotation``, if that is what proves the names."""
        if self.settings.challenge == "tls-alpn-01":
            answer_by_alpn(rotation.contexts, self._answers)
