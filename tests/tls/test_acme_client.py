"""The client over HTTP that is made up: nonces, waits, the end of the daemon."""

import json
from datetime import timedelta
from threading import Event

import pytest
import requests
from acme import messages
from requests.adapters import HTTPAdapter

from portal_gateway.tls import acme_client
from portal_gateway.tls.acme_client import Client, NotIssued, Stopped
from portal_gateway.tls.acme_settings import Authority, ExternalAccount
from portal_gateway.tls.acme_store import new_key_pem

URL = "https://ca.example/"
DIRECTORY = {
    "newNonce": f"{URL}nonce",
    "newAccount": f"{URL}account",
    "newOrder": f"{URL}order",
    "meta": {"termsOfService": f"{URL}terms"},
}


class Wire:
    """What is at the other end: refuses the first ``bad`` nonces, then the order."""

    def __init__(self, bad=0, meta=None):
        self.bad = bad
        self.directory = DIRECTORY if meta is None else {**DIRECTORY, "meta": meta}
        self.requests = []
        self.retry_after = None

    def send(self, request):
        path = request.url.removeprefix(URL)
        self.requests.append((request.method, path))
        if path == "directory":
            return self.answer(200, self.directory)
        if path == "nonce":
            return self.answer(200, None)
        if self.bad:
            self.bad -= 1
            return self.problem("badNonce")
        if path == "account":
            self.account = json.loads(request.body)
            return self.answer(201, {"status": "valid"}, Location=f"{URL}account/1")
        return self.problem("rateLimited", 429)

    def problem(self, code, status=400):
        told = {"type": f"urn:ietf:params:acme:error:{code}", "detail": "no"}
        return self.answer(status, told)

    def answer(self, status, body, **fields):
        response = requests.Response()
        response.status_code = status
        response._content = b"" if body is None else json.dumps(body).encode()
        response.headers.update(fields)
        response.headers["Replay-Nonce"] = "bm9uY2U" + "A" * 8
        if self.retry_after is not None:
            response.headers["Retry-After"] = self.retry_after
        return response


@pytest.fixture
def client(monkeypatch):
    made = []

    def make(wire, stopping=None, **authority):
        monkeypatch.setattr(HTTPAdapter, "send", lambda _self, request, **_: wire.send(request))
        settings = Authority(directory_url=f"{URL}directory", **authority)
        made.append(Client(settings, new_key_pem(), stopping or Event()))
        return made[-1]

    yield make
    for each in made:
        each.close()


def issue(client, terms=None):
    client.issue(("a.example",), new_key_pem(), None, [].append if terms is None else terms.append)


def test_nonces_are_refused_and_it_goes_on(client):
    wire, terms = Wire(bad=9), []
    with pytest.raises(messages.Error, match="rateLimited"):
        issue(client(wire), terms)
    assert terms == [f"{URL}terms"]
    assert [path for _, path in wire.requests].count("account") == 10
    assert wire.requests[-1] == ("POST", "order")


def test_not_for_ever(client):
    wire = Wire(bad=1000)
    with pytest.raises(NotIssued, match="refused 20 nonces in a row"):
        issue(client(wire))
    posts = [path for method, path in wire.requests if method == "POST"]
    assert len(posts) == 2 * acme_client._NONCE_TRIES


@pytest.mark.parametrize(
    ("written", "wait"),
    [
        ("7200", timedelta(hours=2)),
        ("0", timedelta()),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("9" * 30, None),
    ],
)
def test_how_long_the_authority_wants_to_wait(written, wait, client):
    wire = Wire()
    wire.retry_after = written
    made = client(wire)
    with pytest.raises(messages.Error):
        issue(made)
    assert made.retry_after == wait


def test_when_the_daemon_ends_nothing_more_is_sent(client):
    wire, stopping = Wire(), Event()
    stopping.set()
    with pytest.raises(Stopped):
        issue(client(wire, stopping))
    assert wire.requests == []


def test_an_external_account_is_told_where_there_is_one(client):
    wire = Wire(meta={"externalAccountRequired": True})
    with pytest.raises(NotIssued, match="wants an external account: write eab"):
        issue(client(wire))
    with pytest.raises(messages.Error, match="rateLimited"):
        issue(client(wire, eab=ExternalAccount("kid-1", "c2VjcmV0IG9mIHNvbWUgbGVuZ3Ro")))


def test_an_authority_without_terms(client):
    terms = []
    with pytest.raises(messages.Error, match="rateLimited"):
        issue(client(Wire(meta={})), terms)
    assert terms == ["None"]
