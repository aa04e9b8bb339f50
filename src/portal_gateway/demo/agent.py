"""A small AI agent to put behind a lease, as an ordinary twisted.web application.

``/`` says what there is; ``/echo`` answers with the request as JSON; ``/tokens`` streams tokens as
server-sent events; ``/ws`` echoes WebSocket messages; ``/mcp`` is a Model Context Protocol server
with one tool.
"""

import json
from collections.abc import Callable
from typing import Any

from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

__all__ = ["agent_site"]

TOKENS = ("Hello", ",", " this", " came", " through", " a", " Portal", " relay", ".")
"""What the agent has to say."""

TOKEN_INTERVAL = 0.2
"""Seconds between two tokens: slow enough to watch them arrive one by one."""

MAX_MESSAGE = 1_048_576
"""Bytes of one WebSocket message."""

MAX_TOLD = 64
"""Request header fields that the echo tells, at most."""

_MCP_VERSION = "2025-06-18"

_ECHO_TOOL = {
    "name": "echo",
    "description": "Says what it is told.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
    },
}


def agent_site(clock: IReactorTime) -> Site:
    """The agent, to be listened with."""
    root = _Overview()
    root.putChild(b"", root)
    root.putChild(b"echo", _Echo())
    root.putChild(b"tokens", _Tokens(clock))
    root.putChild(b"mcp", _Mcp())
    factory = WebSocketServerFactory()
    factory.noisy = False
    factory.protocol = _EchoSocket
    factory.setProtocolOptions(maxMessagePayloadSize=MAX_MESSAGE)
    root.putChild(b"ws", WebSocketResource(factory))
    site = Site(root)
    site.noisy = False
    return site


def _as_json(request: Request, value: object, status: int = 200) -> bytes:
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"application/json")
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


def _body(request: Request) -> bytes:
    content: bytes = b"" if request.content is None else request.content.read()
    return content


class _Overview(Resource):
    def render_GET(self, request: Request) -> bytes:
        paths = {
            "/echo": "your request as JSON",
            "/tokens": "a stream of tokens (server-sent events)",
            "/ws": "a WebSocket that echoes",
            "/mcp": "an MCP server with one tool (POST)",
        }
        return _as_json(request, {"agent": "sample", "paths": paths})


class _Echo(Resource):
    isLeaf = True

    def render(self, request: Request) -> bytes:
        fields = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ]
        told = {
            "method": request.method.decode("latin-1"),
            "target": request.uri.decode("latin-1"),
            "headers": fields[:MAX_TOLD],
            "body": _body(request).decode("utf-8", "replace"),
        }
        return _as_json(request, told)


class _Tokens(Resource):
    isLeaf = True

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock

    def render_GET(self, request: Request) -> int:
        request.setHeader(b"Content-Type", b"text/event-stream")
        request.setHeader(b"Cache-Control", b"no-cache")
        tokens = iter(TOKENS)

        def send_one() -> None:
            token = next(tokens, None)
            if token is None:
                saying.stop()
                request.write(b"data: [DONE]\n\n")
                request.finish()
            else:
                request.write(b"data: %b\n\n" % json.dumps({"token": token}).encode())

        def hung_up(failure: Failure) -> None:
            failure.trap(ConnectionClosed)
            if saying.running:
                saying.stop()

        saying = LoopingCall(send_one)
        saying.clock = self._clock
        request.notifyFinish().addErrback(hung_up)
        saying.start(TOKEN_INTERVAL)
        return NOT_DONE_YET


class _EchoSocket(WebSocketServerProtocol):
    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


class _Mcp(Resource):
    """Streamable HTTP, each answer a single JSON document; a notification gets 202."""

    isLeaf = True

    def render_POST(self, request: Request) -> bytes:
        try:
            call = json.loads(_body(request))
            method, call_id = call["method"], call.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _as_json(request, _rpc_error(None, -32700, "not a JSON-RPC request"), 400)
        if call_id is None:
            request.setResponseCode(202)
            return b""
        answer = _MCP_METHODS.get(method)
        if answer is None:
            return _as_json(request, _rpc_error(call_id, -32601, "no such method"))
        try:
            result = answer(call.get("params") or {})
        except (KeyError, TypeError, AttributeError):
            return _as_json(request, _rpc_error(call_id, -32602, "the parameters do not fit"))
        return _as_json(request, {"jsonrpc": "2.0", "id": call_id, "result": result})


def _rpc_error(call_id: object, code: int, message: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def _initialize(_params: dict[str, Any]) -> object:
    return {
        "protocolVersion": _MCP_VERSION,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "sample-agent", "version": "1"},
    }


def _list_tools(_params: dict[str, Any]) -> object:
    return {"tools": [_ECHO_TOOL]}


def _call_tool(params: dict[str, Any]) -> object:
    if params["name"] != _ECHO_TOOL["name"]:
        raise KeyError("there is one tool only")
    text = str(params["arguments"]["text"])
    return {"content": [{"type": "text", "text": text}], "isError": False}


_MCP_METHODS: dict[object, Callable[[dict[str, Any]], object]] = {
    "initialize": _initialize,
    "ping": lambda _params: {},
    "tools/list": _list_tools,
    "tools/call": _call_tool,
}
