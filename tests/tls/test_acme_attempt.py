from datetime import UTC, datetime, timedelta
from threading import Event

import pytest
from acme import errors
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from portal_gateway.tls import acme_attempt
from portal_gateway.tls.acme_attempt import Attempt
from portal_gateway.tls.acme_client import NotIssued, Stopped
from portal_gateway.tls.acme_schedule import ASK_AGAIN, History
from portal_gateway.tls.acme_settings import LETS_ENCRYPT, AutoCert, Wanted
from portal_gateway.tls.acme_store import Store
from tests.tls.tls_world import Certified

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
FIRST = timedelta(minutes=5)


class Authority:
    """In the place of the client: gives what it is told to."""

    def __init__(self):
        self.asked = []
        self.closed = 0
        self.retry_after = None
        self.failure = None
        self.renewal_answer = (None, NOW + DAY)
        self.hosts = ("a.example",)
        self.lasts = 90 * DAY

    def client(self, authority, account_key, stopping):
        self.account_key = account_key
        return self

    def issue(self, domains, key_pem, prover, note_terms):
        self.asked.append(domains)
        if self.failure is not None:
            raise self.failure
        self.challenge = prover.challenge
        key = load_pem_private_key(key_pem, None)
        made = Certified(
            hosts=self.hosts, key=key, now=NOW, since=timedelta(seconds=2), lasts=self.lasts
        )
        note_terms("https://ca.example/terms")
        return made.pem

    def renewal(self, leaf_pem):
        self.asked.append(leaf_pem)
        if isinstance(self.renewal_answer, Exception):
            raise self.renewal_answer
        return self.renewal_answer

    def close(self):
        self.closed += 1


@pytest.fixture
def authority(monkeypatch):
    made = Authority()
    monkeypatch.setattr(acme_attempt, "Client", made.client)
    return made


@pytest.fixture
def attempt(tmp_path):
    store = Store(tmp_path / "store")
    settings = AutoCert(store=store.path, domains=("a.example",), challenge="http-01")

    def run(now=NOW):
        wanted = Wanted("a.example", ("a.example",))
        return Attempt(store, settings, wanted, lambda: now, 0.0, Event())()

    run.store = store
    return run


def save(store, *, age=timedelta(), **more):
    made = Certified(hosts=("a.example",), now=NOW, since=age, lasts=90 * DAY - age, **more)
    store.save("a.example", made.key_pem, made.pem)
    return made


def test_issued(authority, attempt):
    outcome = attempt()
    assert outcome.notes == [
        f"a new account at {LETS_ENCRYPT} agrees to 'https://ca.example/terms'",
        "issued: a.example, valid until 2027-02-21T12:00:00Z",
    ]
    assert outcome.warnings == []
    assert outcome.not_before is None
    assert authority.challenge == "http-01"
    assert authority.closed == 1
    assert attempt.store.held("a.example").domains == {"a.example"}
    assert attempt.store.history("a.example") == History(not_before=NOW + FIRST)


def test_nothing_is_asked_when_nothing_is_due(authority, attempt):
    save(attempt.store)
    attempt.store.write_history("a.example", History(ask_at=NOW + DAY))
    attempt()
    assert authority.asked == []


def test_nothing_is_asked_while_another_process_is_at_it(authority, attempt):
    with attempt.store.lock():
        attempt()
    assert authority.asked == []


def test_a_failure_is_told_and_noted(authority, attempt):
    authority.failure = NotIssued("a.example: no\nwell-formed\x1b[31m " + "x" * 600)
    outcome = attempt()
    (warning,) = outcome.warnings
    assert warning.startswith(
        "not issued (1 in a row): a.example: a.example: no well-formed [31m xxx"
    )
    assert len(warning) < 700
    assert "; there is no certificate; tried again after 2026-11-23T12:0" in warning
    history = attempt.store.history("a.example")
    assert history.failures == 1
    assert history.not_before == outcome.not_before >= NOW + FIRST
    assert authority.closed == 1
    # A second process, or a second start, does not ask.
    attempt()
    attempt(NOW + FIRST - timedelta(seconds=1))
    assert len(authority.asked) == 1


def test_what_is_served_stays(authority, attempt):
    made = save(attempt.store, age=70 * DAY)
    authority.failure = ConnectionError("refused")
    (warning,) = attempt().warnings
    assert "; the certificate is served on, until 2026-12-13T12:00:00Z; " in warning
    (warning,) = attempt(NOW + 30 * DAY).warnings
    assert "not issued (2 in a row)" in warning
    assert "; the certificate expired 2026-12-13T12:00:00Z; " in warning
    assert attempt.store.leaf("a.example") == made.certificate


def test_the_authority_says_how_long_to_wait(authority, attempt):
    authority.retry_after = timedelta(hours=3)
    authority.failure = errors.ClientError("rate limited")
    assert attempt().not_before == NOW + timedelta(hours=3)


@pytest.mark.parametrize(
    ("hosts", "lasts", "why"),
    [
        (("b.example",), 90 * DAY, "the authority left out names that it was asked for"),
        (("a.example",), timedelta(seconds=-1), "the certificate has expired"),
    ],
)
def test_what_cannot_be_served_is_not_kept(hosts, lasts, why, authority, attempt):
    made = save(attempt.store, age=70 * DAY)
    authority.hosts, authority.lasts = hosts, lasts
    assert why in attempt().warnings[0]
    assert attempt.store.leaf("a.example") == made.certificate
    assert attempt.store.history("a.example").failures == 1


def test_the_end_of_the_daemon_is_no_failure(authority, attempt):
    authority.failure = Stopped()
    outcome = attempt()
    assert (outcome.warnings, outcome.notes, outcome.not_before) == ([], [], None)
    assert attempt.store.history("a.example") == History()


def test_a_full_store_is_told_and_waited_for_all_the_same(authority, attempt, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "write_history", full)
    monkeypatch.setattr(Store, "save", full)
    outcome = attempt()
    assert "No space left" in outcome.warnings[0]
    assert outcome.warnings[1].endswith("No space left on device")
    assert outcome.not_before >= NOW + FIRST


@pytest.mark.parametrize(
    ("told", "history", "notes"),
    [
        ((NOW + DAY, NOW + DAY / 4), History(renew_at=NOW + DAY, ask_at=NOW + DAY / 4), 0),
        ((None, NOW + DAY / 4), History(ask_at=NOW + DAY / 4), 0),
        (errors.ARIError("down", NOW), History(ask_at=NOW + ASK_AGAIN), 1),
        (ConnectionError("down"), History(ask_at=NOW + ASK_AGAIN), 1),
        (KeyError("suggestedWindow"), History(ask_at=NOW + ASK_AGAIN), 1),
    ],
)
def test_the_authority_s_word_on_renewal(told, history, notes, authority, attempt):
    save(attempt.store)
    authority.renewal_answer = told
    outcome = attempt()
    assert len(authority.asked) == 1
    assert attempt.store.history("a.example") == history
    assert len(outcome.notes) == notes
    assert outcome.warnings == []


def test_it_is_renewed_when_the_authority_says_so(authority, attempt):
    made = save(attempt.store)
    authority.renewal_answer = (NOW - DAY, NOW + DAY)
    attempt()
    attempt()
    assert attempt.store.leaf("a.example") != made.certificate
    assert authority.asked[1:] == [("a.example",)]
