import pytest

from portal_gateway.exchange import Caller
from portal_gateway.policy.scopes import required_scope, scope_refusal, scopes_of


@pytest.mark.parametrize(
    ("method", "scope"),
    [
        ("GET", "read"),
        ("HEAD", "read"),
        ("OPTIONS", "read"),
        ("POST", "write"),
        ("PUT", "write"),
        ("PATCH", "write"),
        ("DELETE", "write"),
        ("PROPFIND", "write"),
        ("REPORT", "write"),
        # Methods are compared with case, so these are others.
        ("get", "write"),
        ("Options", "write"),
    ],
)
def test_the_method_says_which_scope_is_needed(method, scope):
    assert required_scope(method, {}, is_websocket=False) == scope


def test_a_websocket_writes():
    assert required_scope("GET", {b"upgrade": b"websocket"}, is_websocket=True) == "write"


@pytest.mark.parametrize(
    "name", [b"x-http-method-override", b"x-http-method", b"x-method-override"]
)
@pytest.mark.parametrize("value", [b"DELETE", b"GET", b""])
def test_a_request_for_another_method_in_a_field_writes(name, value):
    assert required_scope("GET", {name: value}, is_websocket=False) == "write"


@pytest.mark.parametrize("scope", ["read", "write", "admin"])
def test_a_refusal_names_the_scope(scope):
    error = scope_refusal(scope)
    assert (error.cause.code, error.cause.status) == ("insufficient_scope", 403)
    assert f"scope {scope}" in error.detail
    assert error.fields == (
        (
            b"WWW-Authenticate",
            b'Bearer realm="portal-gateway", error="insufficient_scope",'
            b' error_description="The scope %b is needed", scope="%b"'
            % (scope.encode(), scope.encode()),
        ),
    )


def test_nobody_has_no_scopes():
    assert scopes_of(None) == frozenset()
    assert scopes_of(Caller("a", frozenset({"read"}))) == {"read"}
