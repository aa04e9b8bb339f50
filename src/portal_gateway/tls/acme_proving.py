"""What meets each kind of challenge: a token at a path, a certificate by ALPN, a record in the DNS.

All of it waits, and is called off the reactor's thread.
"""

from collections.abc import Callable
from threading import Event

from portal_gateway.tls.acme_answers import Answers
from portal_gateway.tls.acme_client import Prover, Stopped
from portal_gateway.tls.acme_dns import DNSRecords, RecordNotWritten, dns_records
from portal_gateway.tls.acme_settings import AutoCert, Challenge

__all__ = ["prover_for"]


def prover_for(
    settings: AutoCert, answers: Answers, stopping: Event, warn: Callable[[str], object]
) -> Prover:
    """What meets the challenges of the kind that ``settings`` say.

    ``warn`` is told what goes wrong without ending the order.
    """
    match settings.challenge:
        case "http-01":
            return _Tokens(answers)
        case "tls-alpn-01":
            return _Certificates(answers)
        case "dns-01":
            return _Records(dns_records(settings), settings.propagation, stopping, warn)


class _Tokens:
    challenge: Challenge = "http-01"

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def put(self, domain: str, token: str, authorization: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        self._answers.put_token(token, authorization)

    def ready(self) -> None:
        """It is there at once."""

    def remove(self, domain: str, token: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        self._answers.remove_token(token)


class _Certificates:
    challenge: Challenge = "tls-alpn-01"

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    def put(self, domain: str, token: str, authorization: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        self._answers.put_certificate(domain, authorization)

    def ready(self) -> None:
        """It is there at once."""

    def remove(self, domain: str, token: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        self._answers.remove_certificate(domain)


class _Records:
    challenge: Challenge = "dns-01"

    def __init__(
        self,
        records: DNSRecords,
        propagation: float,
        stopping: Event,
        warn: Callable[[str], object],
    ) -> None:
        self._records = records
        self._propagation = propagation
        self._stopping = stopping
        self._warn = warn

    def put(self, domain: str, token: str, authorization: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        self._records.add(_record_of(domain), validation)

    def ready(self) -> None:
        if self._stopping.wait(self._propagation):
            raise Stopped

    def remove(self, domain: str, token: str, validation: str) -> None:  # noqa: ARG002 - Prover's
        try:
            self._records.remove(_record_of(domain), validation)
        except RecordNotWritten as error:
            self._warn(f"a DNS record of an order stays: {error}")


def _record_of(domain: str) -> str:
    """Where the authority looks (RFC 8555 section 8.4); a wildcard's place is its parent's."""
    return f"_acme-challenge.{domain.removeprefix('*.')}."
