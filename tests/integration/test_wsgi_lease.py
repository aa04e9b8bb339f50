"""A real WSGI lease, which knows fields as variables, and acts on what they say."""

import json
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from tests.integration import programs
from tests.integration.calls import Client

READER = "sk_live_readonly"

FORGED = "203.0.113.9"


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log_message(self, *_arguments):
        pass


def application(environ, start_response):
    """Tells what it takes the request for, by fields that frameworks heed."""
    method = environ.get("HTTP_X_HTTP_METHOD_OVERRIDE") or environ["REQUEST_METHOD"]
    forwarded = environ.get("HTTP_X_FORWARDED_FOR", "").split(",")
    told = {
        "method": method,
        "client": environ.get("HTTP_X_REAL_IP") or forwarded[0].strip(),
        "user": environ.get("HTTP_REMOTE_USER", ""),
        "key": environ.get("HTTP_X_API_KEY", ""),
        "proxy": environ.get("HTTP_PROXY", ""),
    }
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(told).encode()]


@pytest.fixture(scope="module")
def lease():
    """The address of the lease."""
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def gateway(lease, tmp_path_factory):
    program = programs.Gateway(
        {
            "auth": {"keys": [{"id": "reader", "key": READER, "scopes": ["read"]}]},
            "leases": {"tool": {"url": f"http://{lease}"}},
        },
        tmp_path_factory.mktemp("wsgi"),
    )
    with program:
        yield program.address


ATTACKS = [
    ("X_HTTP_Method_Override", "DELETE", "method"),
    ("X-HTTP-Method_Override", "DELETE", "method"),
    ("X_HTTP-METHOD_OVERRIDE", "DELETE", "method"),
    ("X_Forwarded_For", FORGED, "client"),
    ("X-Forwarded_For", FORGED, "client"),
    ("X_Real_IP", FORGED, "client"),
    ("X-Real-IP", FORGED, "client"),
    ("Remote_User", "root", "user"),
    ("Remote-User", "root", "user"),
    ("X_API_Key", "sk_live_other", "key"),
    ("Proxy", "http://evil.example", "proxy"),
]


def ask(address, prefix, field, value):
    with Client(address, prefix, READER) as client:
        answer = client.request("GET", "/", fields={field: value})
    assert answer.status == 200
    return answer.json


@pytest.mark.parametrize(("field", "value", "what"), ATTACKS)
def test_the_lease_would_act_on_it_and_never_gets_it(lease, gateway, field, value, what):
    assert value in ask(lease, "", field, value)[what]
    told = ask(gateway, "/peer/tool", field, value)
    assert value not in json.dumps(told)
    assert (told["method"], told["client"]) == ("GET", "127.0.0.1")


def test_the_plain_spelling_needs_write(gateway):
    with Client(gateway, "/peer/tool", READER) as client:
        fields = {"X-HTTP-Method-Override": "DELETE"}
        assert client.request("GET", "/", fields=fields).status == 403
        assert client.request("GET", "/?_method=DELETE").status == 403
