"""The third place for a key: among the subprotocols of a WebSocket."""

import pytest

from portal_gateway.config.model import ApiKey
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.policy.credentials import KeyTable, strip_credentials

TABLE = KeyTable([ApiKey.of("sk_one", id="one"), ApiKey.of("sk_two", id="two")])
FIELD = b"Sec-WebSocket-Protocol"


@pytest.mark.parametrize(
    "headers",
    [
        [(FIELD, b"portal-key.sk_one")],
        [(FIELD.lower(), b"chat , portal-key.sk_one")],
        [(FIELD, b"chat"), (FIELD, b"portal-key.sk_one,b")],
        [(FIELD, b"portal-key.sk_one"), (FIELD, b"portal-key.sk_one")],
        [(FIELD, b"portal-key.sk_one"), (b"X-API-Key", b"sk_one")],
        [(FIELD, b"portal-key.sk_one"), (b"Authorization", b"Bearer sk_one")],
        [(FIELD, b"portal-key.sk_one"), (b"Authorization", b"Basic eA==")],
    ],
)
def test_a_key_is_found_there(headers):
    caller = TABLE.authenticate(headers, 0.0)
    assert isinstance(caller, Caller)
    assert caller.key_id == "one"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([(FIELD, b"portal-key.sk_three")], "invalid_api_key"),
        ([(FIELD, b"portal-key.")], "invalid_api_key"),
        ([(FIELD, b"Portal-Key.sk_one")], "missing_api_key"),
        ([(FIELD, b"xportal-key.sk_one")], "missing_api_key"),
        ([(b"Sec-WebSocket-Protocol2", b"portal-key.sk_one")], "missing_api_key"),
        ([(FIELD, b"portal-key.sk_one, portal-key.sk_two")], "ambiguous_credentials"),
        (
            [(FIELD, b"portal-key.sk_one"), (FIELD, b"portal-key.sk_two")],
            "ambiguous_credentials",
        ),
        ([(FIELD, b"portal-key.sk_one"), (b"X-API-Key", b"sk_two")], "ambiguous_credentials"),
        (
            [(b"Authorization", b"Bearer sk_two"), (FIELD, b"portal-key.sk_one")],
            "ambiguous_credentials",
        ),
    ],
)
def test_what_is_no_key_or_another_one_is_refused(headers, code):
    refusal = TABLE.authenticate(headers, 0.0)
    assert isinstance(refusal, GatewayError)
    assert refusal.cause.code == code
    assert "sk_" not in refusal.detail


def test_it_does_not_go_to_the_lease():
    headers = [
        (b"Host", b"h"),
        (FIELD, b"a, portal-key.sk_one,b"),
        (b"X-API-Key", b"sk_one"),
        (b"sec-websocket-protocol", b"portal-key.sk_one"),
        (b"X-Note", b"portal-key.sk_one"),
        (FIELD, b"c"),
    ]
    assert strip_credentials(headers) == [
        (b"Host", b"h"),
        (FIELD, b"a, b"),
        (b"X-Note", b"portal-key.sk_one"),
        (FIELD, b"c"),
    ]
