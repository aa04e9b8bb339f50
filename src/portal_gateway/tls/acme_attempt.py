"""One attempt: what is due for a certificate is done, by one process, and what came of it noted.

All of it waits, and is called off the reactor's thread.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Event

from cryptography.hazmat.primitives.serialization import Encoding

from portal_gateway.tls.acme_answers import Answers
from portal_gateway.tls.acme_client import Client, NotIssued, Stopped
from portal_gateway.tls.acme_proving import prover_for
from portal_gateway.tls.acme_schedule import (
    Due,
    History,
    after_failure,
    after_success,
    after_word,
    due,
)
from portal_gateway.tls.acme_settings import AutoCert, Wanted
from portal_gateway.tls.acme_store import Store, held_of, new_key_pem
from portal_gateway.tls.certificates import read_server_certificate

__all__ = ["Attempt", "Outcome"]

_MAX_REASON = 500
"""Characters of an authority's own words that are logged."""


@dataclass(slots=True)
class Outcome:
    """What came of an attempt, to be logged where logging is allowed: not in a thread.

    ``not_before`` is the time before which there is to be no other, after a failure.
    """

    not_before: datetime | None = None
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Attempt:
    """Does what is due for one certificate of ``store``."""

    store: Store
    settings: AutoCert
    wanted: Wanted
    now: Callable[[], datetime]
    chance: float
    stopping: Event
    outcome: Outcome = field(default_factory=Outcome)

    def __call__(self) -> Outcome:
        """Do it, once; nothing, where another process is at it or has done it."""
        with self.store.lock() as mine:
            if mine:
                stem, domains = self.wanted.stem, self.wanted.domains
                history = self.store.history(stem)
                next_ = due(self.store.held(stem), domains, history, self.now(), self.chance)
                if next_.at <= self.now():
                    self._do(next_, history)
        return self.outcome

    def _do(self, next_: Due, history: History) -> None:
        settings = self.settings
        client = None
        try:
            key = self.store.account_key(settings.authority.directory_url)
            client = Client(settings.authority, key, self.stopping)
            if next_.what == "ask":
                self._ask(client, history)
            else:
                self._issue(client)
        except Stopped:
            return
        except Exception as error:  # noqa: BLE001 - whatever an authority sends, it is tried later
            first = timedelta(seconds=settings.retry_after)
            asked = None if client is None else client.retry_after
            chance = random.random()  # noqa: S311 - no secret
            failed = after_failure(history, self.now(), first, chance, asked)
            self.outcome.not_before = failed.not_before
            self._complain(error, failed)
            self._note(failed)
        finally:
            if client is not None:
                client.close()

    def _issue(self, client: Client) -> None:
        domains = self.wanted.domains
        key_pem = new_key_pem()
        answers = Answers(self.store.challenges)
        prover = prover_for(self.settings, answers, self.stopping, self.outcome.warnings.append)
        chain_pem = client.issue(domains, key_pem, prover, self._note_terms)
        # What cannot be served does not take the place of what is.
        issued = read_server_certificate(chain_pem, key_pem, self.now())
        if not held_of(issued.chain[0]).domains.issuperset(domains):
            raise NotIssued("the authority left out names that it was asked for")
        self.store.save(self.wanted.stem, key_pem, chain_pem)
        self._note(after_success(self.now(), timedelta(seconds=self.settings.retry_after)))
        self.outcome.notes.append(
            f"issued: {', '.join(domains)}, valid until {_at(issued.expires)}"
        )

    def _ask(self, client: Client, history: History) -> None:
        leaf = self.store.leaf(self.wanted.stem)
        if leaf is None:
            return
        renew_at = again = None
        try:
            renew_at, again = client.renewal(leaf.public_bytes(Encoding.PEM))
        except Stopped:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, two thirds of the life count then
            self.outcome.notes.append(f"not told by the authority when to renew: {_words(error)}")
        self._note(after_word(history, self.now(), renew_at, again))

    def _note(self, history: History) -> None:
        try:
            self.store.write_history(self.wanted.stem, history)
        except OSError as error:
            self.outcome.warnings.append(f"{self.store.path}: {error.strerror}")

    def _note_terms(self, terms: str) -> None:
        authority = self.settings.authority.directory_url
        self.outcome.notes.append(f"a new account at {authority} agrees to {terms!r}")

    def _complain(self, error: Exception, failed: History) -> None:
        held = self.store.held(self.wanted.stem)
        if held is None:
            state = "there is no certificate"
        elif held.until <= self.now():
            state = f"the certificate expired {_at(held.until)}"
        else:
            state = f"the certificate is served on, until {_at(held.until)}"
        assert failed.not_before is not None
        self.outcome.warnings.append(
            f"not issued ({failed.failures} in a row): {', '.join(self.wanted.domains)}:"
            f" {_words(error)}; {state}; tried again after {_at(failed.not_before)}"
        )


def _at(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def _words(error: Exception) -> str:
    """What an error says, on one line; an authority's own words may be anything."""
    told = str(error) or type(error).__name__
    told = "".join(each if each.isprintable() else " " for each in told)
    return told[:_MAX_REASON]
