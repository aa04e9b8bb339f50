"""Which calls only read, told so that no parser behind can be told otherwise."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portal_gateway.errors import GatewayError
from portal_gateway.policy.mcp_calls import (
    HEADER_MISMATCH,
    READING_METHODS,
    may_be_call,
    only_reads,
)
from portal_gateway.wire.http1_request import RequestHead

JSON = (b"Content-Type", b"application/json")
NEW = (b"MCP-Protocol-Version", b"2026-07-28")
OLD = (b"MCP-Protocol-Version", b"2025-11-25")


def head(*fields):
    return RequestHead(
        method=b"POST",
        target=b"/",
        version=b"1.1",
        headers=list(fields),
        keep_alive=True,
        content_length=None,
        chunked=True,
        expects_continue=False,
        host=b"gw.example",
        index={name.lower(): value for name, value in fields},
    )


def call(method, **more):
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, **more}).encode()


LIST = call("tools/list")


def reads(body, *fields):
    found = only_reads(head(JSON, *fields), body)
    return found.cause.code if isinstance(found, GatewayError) else found


@pytest.mark.parametrize("method", sorted(READING_METHODS))
def test_calls_that_read(method):
    assert reads(call(method))
    assert reads(call(method), (b"Mcp-Method", method.encode()), NEW)


@pytest.mark.parametrize(
    "method",
    [
        "tools/call",
        "tasks/cancel",
        "logging/setLevel",
        "sampling/createMessage",
        "elicitation/create",
        "notifications/message",
        "company/list",
        "secrets/read",
        "Tools/List",
        "tools/list ",
        "tools//list",
        "",
    ],
)
def test_calls_that_do_more_or_are_unknown(method):
    assert not reads(call(method))
    assert not reads(call(method), (b"Mcp-Method", method.encode()), NEW)


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"tools/list"',
        # Neither a request, a notification nor a reply.
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","method":["tools/list"]}',
        b'{"jsonrpc":"2.0","method":null}',
        # Not JSON-RPC 2.0, or twice so.
        b'{"method":"tools/list"}',
        b'{"jsonrpc":"1.0","method":"tools/list"}',
        b'{"jsonrpc":2.0,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","jsonrpc":"2.0","method":"tools/list"}',
        # Several messages.
        b"[" + LIST + b"]",
        LIST + LIST,
        LIST + b"\n" + call("tools/call"),
        LIST + b"\x00" + call("tools/call"),
        # A member that some parser takes for the method.
        b'{"jsonrpc":"2.0","method":"tools/list","method":"tools/call"}',
        b'{"jsonrpc":"2.0","method":"tools/call","method":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"tools/list","method":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"tools/list","Method":"tools/call"}',
        b'{"jsonrpc":"2.0","METHOD":"tools/call","method":"tools/list"}',
        b'{"jsonrpc":"2.0","Method":"tools/list"}',
        b'{"jsonrpc":"2.0","method":"tools/list","\\u006dethod":"tools/call"}',
        b'{"jsonrpc":"2.0","method":"tools/list","\\u004dETHOD":"tools/call"}',
        # JSON for some readers only.
        b"\xef\xbb\xbf" + LIST,
        LIST.decode().encode("utf-16"),
        LIST.decode().encode("utf-16-le"),
        LIST.decode().encode("utf-32"),
        b'{"jsonrpc":"2.0","method":"tools/list","x":NaN}',
        b'{"jsonrpc":"2.0","method":"tools/list","x":-Infinity}',
        b'{"jsonrpc":"2.0","method":"tools/list",}',
        b'{"jsonrpc":"2.0","method":"tools/list"}}',
        b'{"jsonrpc":"2.0","method":"tools/list"/*,"method":"tools/call"*/}',
        b"{'jsonrpc':'2.0','method':'tools/list'}",
        b'{"jsonrpc":"2.0","method":"tools/list","x":"\xff"}',
        b'{"jsonrpc":"2.0","method":"tools/list","x":"\n"}',
        # Members that JSON-RPC does not have there, or not so.
        call("tools/list", methods="tools/call"),
        call("ping", role="admin"),
        call("ping", result={}),
        call("ping", error={"code": 1, "message": ""}),
        call("ping", Params={}),
        call("ping", **{"method\x00": "tools/call"}),
        call("ping", **{"": 1}),
        call("ping", params=[]),
        call("ping", params="a"),
        b'{"jsonrpc":"2.0","id":null,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":true,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","method":"ping","params":{},"params":{}}',
        b'{"jsonrpc":"2.0","method":"ping","params":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","method":"ping","params":{"a":[[{"b":1,"b":1}]]}}',
        b'{"jsonrpc":"2.0","method":"tools/list","x":' + b"9" * 5000 + b"}",
        b'{"jsonrpc":"2.0","method":"tools/list","x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        LIST[:-1],
        b"method=tools/list",
    ],
)
def test_what_cannot_be_told_for_every_parser_reads_for_none(body):
    assert reads(body) is False


@pytest.mark.parametrize(
    "body",
    [
        LIST,
        b" \r\n\t" + LIST + b"\n",
        b'{"method":"tools\\/list","jsonrpc":"2.0"}',
        b'{"m\\u0065thod":"tools/list","jsonrpc":"2.0"}',
        # What is deeper down is the call's own business.
        call("tools/list", params={"method": "tools/call", "Method": 1}),
        call("resources/read", params={"uri": "\u65e5\u672c"}),
        call("tools/list", params={"a": [{"b": 1}, {"b": 2}]}),
        b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}',
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}',
        # Some clients write what is absent.
        call("ping", params=None),
        b'{"jsonrpc":"2.0","method":"notifications/initialized","params":null}',
        # Replies to what the server asks.
        b'{"jsonrpc":"2.0","id":5,"result":{}}',
        b'{"id":"a","result":{"roots":[{"uri":"file:///a"}]},"jsonrpc":"2.0"}',
        b'{"jsonrpc":"2.0","id":5,"result":{"action":"accept","content":{"method":"a"}}}',
        b'{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"no such method"}}',
        b'{"jsonrpc":"2.0","id":5,"error":{"code":1,"message":"a","data":[1]}}',
    ],
)
def test_what_every_parser_reads_alike(body):
    assert reads(body) is True


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":null,"result":{}}',
        b'{"jsonrpc":"2.0","id":1.5,"result":{}}',
        b'{"jsonrpc":"2.0","id":true,"error":{"code":1,"message":"a"}}',
        b'{"id":5,"result":{}}',
        b'{"jsonrpc":"1.0","id":5,"result":{}}',
        b'{"jsonrpc":"2.0","jsonrpc":"2.0","id":5,"result":{}}',
        b'{"jsonrpc":"2.0","id":5,"result":null}',
        b'{"jsonrpc":"2.0","id":5,"result":[]}',
        b'{"jsonrpc":"2.0","id":5,"error":"a"}',
        b'{"jsonrpc":"2.0","id":5,"error":{},"result":{}}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"result":{}}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"Result":{}}',
        b'{"jsonrpc":"2.0","id":5,"result":{"a":1,"a":2}}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"method":null}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"Method":"tools/call"}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"params":{}}',
        b'{"jsonrpc":"2.0","id":5,"result":{},"x":1}',
        b'{"jsonrpc":"2.0","id":5,"Result":{}}',
        b'[{"jsonrpc":"2.0","id":5,"result":{}}]',
    ],
)
def test_a_reply_has_the_members_of_a_reply_alone(body):
    assert reads(body) is False


def test_a_reply_has_no_method_for_a_field_to_name():
    reply = b'{"jsonrpc":"2.0","id":5,"result":{}}'
    assert reads(reply, NEW) is True
    assert reads(reply, (b"Mcp-Method", b"tools/call"), NEW) == MISMATCH
    assert reads(reply, (b"Mcp-Method", b"ping"), OLD) is False


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([JSON], True),
        ([(b"content-type", b"APPLICATION/JSON; charset=UTF-8")], True),
        ([(b"Content-Type", b'application/json;charset="utf-8"')], True),
        ([], False),
        ([JSON, JSON], False),
        ([(b"Content-Type", b"text/plain")], False),
        ([(b"Content-Type", b"application/json; charset=utf-7")], False),
        ([(b"Content-Type", b"application/json; charset=utf-16")], False),
        ([(b"Content-Type", b"application/json-seq")], False),
        ([JSON, (b"Content-Encoding", b"gzip")], False),
        ([JSON, (b"Content-Encoding", b"identity")], False),
    ],
)
def test_the_body_has_to_be_plain_json(fields, expected):
    assert only_reads(head(*fields), LIST) is expected


MISMATCH = "mcp_header_mismatch"


@pytest.mark.parametrize(
    ("told", "version", "body", "expected"),
    [
        ([b"tools/list"], [b"2026-07-28"], LIST, True),
        ([b"tools/call"], [b"2026-07-28"], LIST, MISMATCH),
        ([b"tools/list"], [b"2026-07-28"], call("tools/call"), MISMATCH),
        ([b"tools/list"], [b"2027-01-01"], call("tools/call"), MISMATCH),
        ([b"Tools/List"], [b"2026-07-28"], LIST, MISMATCH),
        ([b""], [b"2026-07-28"], LIST, MISMATCH),
        ([b"tools/list", b"tools/list"], [b"2026-07-28"], LIST, MISMATCH),
        ([b"tools/list"], [b"2026-07-28"], b'{"jsonrpc":"2.0","id":1}', MISMATCH),
        ([b"tools/call"], [b"2026-07-28"], call("tools/call"), False),
        # Without the field the message alone counts.
        ([], [b"2026-07-28"], LIST, True),
        # An older client may have anything there; nobody relies on it, in neither direction.
        ([b"tools/list"], [b"2025-11-25"], LIST, True),
        ([b"tools/call"], [b"2025-11-25"], LIST, False),
        ([b"tools/list"], [], call("tools/call"), False),
        ([b"tools/call"], [], LIST, False),
        ([b"tools/call"], [b"latest"], LIST, False),
        ([b"tools/call"], [b"2026-07-28", b"2025-11-25"], LIST, False),
        # What is no message cannot be compared.
        ([b"tools/list"], [b"2026-07-28"], b"nonsense", False),
        ([b"tools/list"], [b"2026-07-28"], None, False),
        ([b"tools/list"], [b"2026-07-28"], b"[" + LIST + b"]", False),
    ],
)
def test_the_field_has_to_agree_with_the_message(told, version, body, expected):
    fields = [(b"Mcp-Method", value) for value in told]
    fields += [(b"MCP-Protocol-Version", value) for value in version]
    assert reads(body, *fields) == expected


@pytest.mark.parametrize(
    ("written", "sent_back"),
    [
        ("7", 7),
        ('"a-1"', "a-1"),
        ("null", None),
        ("-1", -1),
        ("1.5", None),
        ("true", None),
        ("[1]", None),
        ('"' + "x" * 257 + '"', None),
        (str(2**63), None),
        ('7,"id":8', None),
    ],
)
def test_a_mismatch_is_told_with_the_id_of_the_message(written, sent_back):
    body = b'{"jsonrpc":"2.0","id":%s,"method":"tools/call"}' % written.encode()
    error = only_reads(head(JSON, NEW, (b"Mcp-Method", b"tools/list")), body)
    assert error.cause.status == 400
    assert error.rpc == (HEADER_MISMATCH, sent_back)
    assert HEADER_MISMATCH == -32020


def test_no_body_takes_long():
    deep = b'{"jsonrpc":"2.0","method":"tools/list","x":' + b'{"a":' * 10_000
    wide = b'{"jsonrpc":"2.0","method":"tools/list"' + b',"a":1' * 10_000 + b"}"
    numbers = b'{"jsonrpc":"2.0","method":"tools/list","x":[' + b"1" * 4000 + b",1" * 100 + b"]}"
    for body in (deep, wide, numbers, b"[" * 65_536, b'"' + b"\\u0041" * 10_000 + b'"'):
        began = time.thread_time()
        reads(body)
        assert time.thread_time() - began < 0.25


@given(st.binary(max_size=200), st.binary(max_size=20), st.binary(max_size=20))
def test_anything_is_judged(body, told, version):
    fields = [(b"Mcp-Method", told), (b"MCP-Protocol-Version", version)]
    assert reads(body, *fields) is False


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(
    st.dictionaries(
        st.sampled_from(["jsonrpc", "method", "Method", "METHOD", "id", "params", "x"]),
        st.sampled_from(["2.0", "tools/list", "tools/call"]) | JSON_VALUES,
    )
)
def test_what_reads_is_one_message_with_one_method(message):
    body = json.dumps(message).encode()
    names = [name for name in message if name.lower() == "method"]
    expected = (
        names == ["method"]
        and message["method"] == "tools/list"
        and message.get("jsonrpc") == "2.0"
        and "x" not in message
        and type(message.get("id", 0)) in (int, str)
        and type(message.get("params")) in (dict, type(None))
    )
    assert reads(body) == expected


def asked(target, *fields, method=b"POST"):
    made = head(JSON, *fields)
    made.target, made.method = target, method
    return may_be_call(made)


@pytest.mark.parametrize(
    ("target", "fields", "expected"),
    [
        (b"/mcp", [], True),
        (b"/messages/?session_id=1", [], True),
        (b"/mcp?methodology=1", [], True),
        (b"/mcp", [(b"Connection", b"keep-alive")], True),
        (b"/mcp?_method=DELETE", [], False),
        (b"/mcp?_method=POST", [], False),
        (b"/mcp?a=1&%5FMethod=PUT", [], False),
        (b"/mcp?a=1;_method=PUT", [], False),
        (b"/mcp?.method=PUT", [], False),
        (b"/mcp?_method%00x=DELETE", [], False),
        (b"/mcp?%u005fmethod=DELETE", [], False),
        (b"/mcp?method=tools/call", [], False),
        (b"/mcp?X-HTTP-Method-Override=PUT", [], False),
        (b"/mcp", [(b"X-HTTP-Method-Override", b"DELETE")], False),
        (b"/mcp", [(b"X-HTTP-Method", b"POST")], False),
        # Fields that the lease would not get as they were judged.
        (b"/mcp", [(b"Connection", b"close, Content-Type")], False),
        (b"/mcp", [(b"Connection", b"mcp-method")], False),
        (b"/mcp", [(b"Content_Type", b"application/x-www-form-urlencoded")], False),
        (b"/mcp", [(b"Content.Encoding", b"gzip")], False),
    ],
)
def test_what_else_a_request_may_say(target, fields, expected):
    assert asked(target, *fields) is expected
    assert not asked(target, *fields, method=b"PUT")
