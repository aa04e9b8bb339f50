"""The protocol of ACME (RFC 8555) by certbot's library: an account, an order, a certificate.

All of it waits, and is called off the reactor's thread; `Stopped` ends it soon where it is.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any, Protocol

import requests
from acme import challenges, crypto_util, errors, messages
from acme.client import ClientNetwork, ClientV2
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.jwa import ES256
from josepy.jwk import JWK, JWKEC
from requests.adapters import HTTPAdapter

from portal_gateway.tls.acme_settings import Authority, Challenge

__all__ = ["Client", "NotIssued", "Prover", "Stopped"]

_TIMEOUT = 15
"""Seconds for one answer of the authority."""

_ORDER_TIME = timedelta(seconds=120)
"""How long an authority may take to look at the answers, and again to sign."""

_SECONDS = re.compile("[0-9]{1,9}")

_NONCE_TRIES = 10
"""Times that one message is sent anew with another nonce (RFC 8555 section 6.5)."""


class NotIssued(Exception):
    """The authority did not give what it was asked for."""


class Stopped(Exception):
    """The daemon ends."""


@challenges.ChallengeResponse.register
class TLSALPN01Response(challenges.KeyAuthorizationChallengeResponse):
    """That the authority may come and see."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TLSALPN01(challenges.KeyAuthorizationChallenge):
    """RFC 8737, which the library has no longer."""

    response_cls = TLSALPN01Response
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_: Any) -> str:
        """The key authorization, whose digest goes into the certificate."""
        return self.key_authorization(account_key)


class Prover(Protocol):
    """Puts the answer to a challenge where the authority looks for it."""

    challenge: Challenge

    def put(self, domain: str, token: str, authorization: str, validation: str) -> None:
        """Put it there."""

    def ready(self) -> None:
        """Wait until the authority can see all that was put."""

    def remove(self, domain: str, token: str, validation: str) -> None:
        """Take it away; whatever goes wrong is not worth more than a line in the log."""


class _Transport(HTTPAdapter):
    """HTTP that ends when the daemon does, and remembers how long the authority wants to wait."""

    def __init__(self, stopping: Event) -> None:
        super().__init__()
        self._stopping = stopping
        self.retry_after: timedelta | None = None

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        if self._stopping.is_set():
            raise Stopped
        response = super().send(*args, **kwargs)
        wait = response.headers.get("Retry-After", "")
        self.retry_after = timedelta(seconds=int(wait)) if _SECONDS.fullmatch(wait) else None
        return response


class _Network(ClientNetwork):
    """The library sends a message twice at most when its nonce is refused; some need more."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(_NONCE_TRIES):
            try:
                return super().post(*args, **kwargs)
            except messages.Error as error:
                if error.code != "badNonce":
                    raise
        raise NotIssued(f"the authority refused {2 * _NONCE_TRIES} nonces in a row")


class Client:
    """Talks to ``authority`` with the account of ``account_key`` (PEM)."""

    def __init__(self, authority: Authority, account_key: bytes, stopping: Event) -> None:
        self._authority = authority
        self._key = JWKEC(key=load_pem_private_key(account_key, None))
        self._transport = _Transport(stopping)
        self._network = _Network(
            self._key,
            alg=ES256,
            # What requests calls verify: true, or a file of authorities.
            verify_ssl=True if authority.ca_file is None else str(authority.ca_file),  # type: ignore[arg-type]
            user_agent="portal-gateway",
            timeout=_TIMEOUT,
        )
        for scheme in ("https://", "http://"):
            self._network.session.mount(scheme, self._transport)
        self._client: ClientV2 | None = None

    @property
    def retry_after(self) -> timedelta | None:
        """How long the authority's last answer said to wait."""
        return self._transport.retry_after

    def close(self) -> None:
        """Close the connections."""
        self._network.session.close()

    def _directory(self) -> ClientV2:
        if self._client is None:
            directory = ClientV2.get_directory(self._authority.directory_url, self._network)
            self._client = ClientV2(directory, self._network)
        return self._client

    def issue(
        self,
        domains: Sequence[str],
        key_pem: bytes,
        prover: Prover,
        note_terms: Callable[[str], object],
    ) -> bytes:
        """A chain for ``domains`` and the key, in PEM.

        ``note_terms`` is told the terms that a new account agrees to. Raises whatever the library
        does, `NotIssued`, and what ``prover`` raises.
        """
        client = self._directory()
        self._log_in(client, note_terms)
        order = client.new_order(crypto_util.make_csr(key_pem, list(domains)))
        with self._proofs(order, prover) as answers:
            if answers:
                prover.ready()
            for body, response in answers:
                client.answer_challenge(body, response)
            try:
                order = client.poll_authorizations(order, _deadline())
            except errors.ValidationError as failed:
                raise NotIssued(_why_invalid(failed)) from None
            except errors.TimeoutError:
                raise NotIssued("the authority did not look at the answers in time") from None
        try:
            order = client.finalize_order(order, _deadline())
        except errors.TimeoutError:
            raise NotIssued("the authority did not sign in time") from None
        chain: str = order.fullchain_pem
        return chain.encode("ascii")

    def _log_in(self, client: ClientV2, note_terms: Callable[[str], object]) -> None:
        """Use the account, or make one; a key whose account the authority forgot gets a new one."""
        binding = None
        eab = self._authority.eab
        if eab is not None:
            binding = messages.ExternalAccountBinding.from_data(
                self._key.public_key(), eab.key_id, eab.hmac_key, client.directory
            )
        elif client.external_account_required():
            raise NotIssued("the authority wants an external account: write eab")
        try:
            client.new_account(
                messages.NewRegistration.from_data(
                    email=self._authority.email,
                    terms_of_service_agreed=True,
                    external_account_binding=binding,
                )
            )
        except errors.ConflictError as known:
            self._network.account = messages.RegistrationResource(
                body=messages.Registration(), uri=known.location
            )
        else:
            # Both are optional, and absent attributes where they are absent.
            meta = getattr(client.directory, "meta", None)
            note_terms(str(getattr(meta, "terms_of_service", None)))

    @contextmanager
    def _proofs(self, order: messages.OrderResource, prover: Prover) -> Any:
        answers = []
        put: list[tuple[str, str, str]] = []
        try:
            for authorization in order.authorizations:
                if authorization.body.status == messages.STATUS_VALID:
                    continue
                body = _offered(authorization, prover.challenge)
                domain = authorization.body.identifier.value
                token = body.chall.encode("token")
                validation = body.chall.validation(self._key)
                # What was put in part is to be removed too.
                put.append((domain, token, validation))
                prover.put(domain, token, body.chall.key_authorization(self._key), validation)
                answers.append((body, body.chall.response(self._key)))
            yield answers
        finally:
            for each in put:
                prover.remove(*each)

    def renewal(self, leaf_pem: bytes) -> tuple[datetime | None, datetime]:
        """When the authority wants a certificate renewed (ARI), if it says, and when to ask again.

        Raises ``errors.ARIError`` and what the library raises.
        """
        renew_at, again = self._directory().renewal_time(leaf_pem)
        # The library gives local time without a zone.
        return renew_at, again.astimezone(UTC)


def _deadline() -> datetime:
    # The library compares with local time without a zone.
    return datetime.now() + _ORDER_TIME  # noqa: DTZ005


def _offered(
    authorization: messages.AuthorizationResource, challenge: Challenge
) -> messages.ChallengeBody:
    for body in authorization.body.challenges:
        if body.chall.typ == challenge:
            return body
    domain = authorization.body.identifier.value
    raise NotIssued(f"the authority offers no {challenge} for {domain}")


def _why_invalid(failed: errors.ValidationError) -> str:
    reasons = [
        f"{authorization.body.identifier.value}: {body.error.detail}"
        for authorization in failed.failed_authzrs
        for body in authorization.body.challenges
        if body.error is not None
    ]
    return "; ".join(reasons) or "the authority did not accept the answers"
