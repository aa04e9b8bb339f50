"""Which calls of the Model Context Protocol only read.

Every call is a POST, so its method says nothing about scopes. What counts is the method of the one
JSON-RPC message in the body. From version 2026-07-28 on it also stands in ``Mcp-Method``, where
intermediaries are to look; who acts on that has to refuse a message that says something else. Older
clients may have anything in the field.

Leases read a body by parsers of their own. A message that two of them could read differently (a
member twice, or ``Method`` beside ``method``; another encoding; several messages) reads for none.
Nor does one with a member that JSON-RPC does not have, or a request that tells a lease by a field
or a parameter to take it for something else: behind the same path may be more than one service.

Replies to what the lease asks (a ping, its roots) read, too: a client must give them.
"""

import json
import re
from typing import Any, Final, NoReturn

from portal_gateway.errors import GatewayError, fault
from portal_gateway.wire.field_names import folded_name
from portal_gateway.wire.http1_request import RequestHead
from portal_gateway.wire.http_fields import list_members
from portal_gateway.wire.method_overrides import fields_name_a_method, query_has_a_method

__all__ = [
    "HEADER_MISMATCH",
    "READING_METHODS",
    "REFUSED",
    "may_be_call",
    "only_reads",
    "told_as_rpc",
]

HEADER_MISMATCH: Final = -32020
"""MCP's error code for header fields that are not those of the message."""

REFUSED: Final = -32000
"""What a call is refused with that would have been right at another time: the first of the codes
that JSON-RPC 2.0 leaves to servers. MCP has none for this."""

READING_METHODS: Final = frozenset(
    {
        # What a client says to begin with, and about requests of its own.
        "initialize",
        "ping",
        "server/discover",
        "notifications/cancelled",
        "notifications/initialized",
        "notifications/progress",
        "notifications/roots/list_changed",
        "notifications/tasks/status",
        # Listing and reading.
        "completion/complete",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "resources/templates/list",
        "resources/unsubscribe",
        "subscriptions/listen",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tools/list",
    }
)
"""The methods that only read. What the protocol does not have, or has to change something, such as
``tools/call``, ``tasks/cancel`` and ``logging/setLevel``, is not among them."""

_MIRRORED_FROM = b"2026-07-28"
_VERSION = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}")

_JSON = re.compile(rb"application/json(?:[ \t]*;[ \t]*charset=\"?utf-8\"?)?", re.IGNORECASE)

_MEMBERS: Final = frozenset({"id", "jsonrpc", "method", "params"})
"""The members of a request or a notification (JSON-RPC 2.0 section 4)."""

_RESULT: Final = frozenset({"id", "jsonrpc", "result"})
_ERROR: Final = frozenset({"id", "jsonrpc", "error"})
"""The members of a reply (section 5), which are all required."""

_READ_HERE: Final = frozenset({b"content-type", b"content-encoding", b"mcp-method"})
"""Fields that say how a body is to be read: a lease has to get them as they were read here."""

_MAX_ID = 256
"""Characters of an id that is sent back: clients number their requests, or take a UUID."""

_MAX_ID_NUMBER = 2**63


class _Ambiguous(ValueError):
    """A text that is JSON for some readers only."""


class _Members(list[tuple[str, Any]]):
    """The members of an object, in their order and as often as they came."""


def may_be_call(head: RequestHead) -> bool:
    """Whether a request is such that its body can say that it only reads.

    Neither a field nor the query asks for another method, and those fields that say what the body
    is reach the lease, under no other name.
    """
    if head.method != b"POST" or fields_name_a_method(head.index):
        return False
    if query_has_a_method(head.target.partition(b"?")[2]):
        return False
    named = list_members(head.values(b"connection"))
    others = [name for name in head.index if name not in _READ_HERE]
    return _READ_HERE.isdisjoint(named) and _READ_HERE.isdisjoint(map(folded_name, others))


def only_reads(head: RequestHead, body: bytes | None) -> bool | GatewayError:
    """Whether a POST is a call that only reads; ``body`` is all of it, ``None`` if it is too long.

    Returns ``mcp_header_mismatch`` where ``Mcp-Method`` has to be heeded and does not agree.
    """
    message = _read_message(head, body)
    method = None if message is None else _method(message)
    told = head.values(b"mcp-method")
    if told and told != [None if method is None else method.encode("utf-8", "replace")]:
        if message is not None and _mirrors(head):
            return fault(
                "mcp_header_mismatch",
                "Mcp-Method is not the method of the message",
                rpc=(HEADER_MISMATCH, _id(message)),
            )
        return False
    if message is None:
        return False
    reads = (
        _is_reply(message) if method is None else method in READING_METHODS and _is_call(message)
    )
    return reads and _is_read_alike(message)


def told_as_rpc(error: GatewayError, head: RequestHead, body: bytes | None) -> GatewayError:
    """The error in the form of JSON-RPC, if ``body`` is a call that wants an answer.

    Else as it is: a notification has no answer, and what cannot be read is no call.
    """
    message = _read_message(head, body)
    message_id = None if message is None or _method(message) is None else _id(message)
    if message_id is None:
        return error
    return fault(error.cause.code, error.detail, error.fields, rpc=(REFUSED, message_id))


def _mirrors(head: RequestHead) -> bool:
    versions = head.values(b"mcp-protocol-version")
    return (
        len(versions) == 1
        and _VERSION.fullmatch(versions[0]) is not None
        and versions[0] >= _MIRRORED_FROM
    )


def _read_message(head: RequestHead, body: bytes | None) -> _Members | None:
    """The one JSON object that every reader sees, if there is one."""
    types = head.values(b"content-type")
    if not body or b"content-encoding" in head.index or len(types) != 1:
        return None
    if _JSON.fullmatch(types[0]) is None:
        return None
    try:
        message = json.loads(
            body.decode("utf-8"), object_pairs_hook=_Members, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, _Members) else None


def _no_constant(name: str) -> NoReturn:
    raise _Ambiguous(f"{name} is not JSON")


def _method(message: _Members) -> str | None:
    """The method of a message that has exactly one, and is JSON-RPC 2.0."""
    methods = [value for name, value in message if name == "method"]
    if len(methods) != 1 or not _is_version_2(message):
        return None
    return methods[0] if isinstance(methods[0], str) else None


def _is_version_2(message: _Members) -> bool:
    return [value for name, value in message if name == "jsonrpc"] == ["2.0"]


def _is_call(message: _Members) -> bool:
    """Whether a message with a method has the members of a request or notification."""
    members = dict(message)
    # Some parsers take a member by its name without case, or may know more of them.
    if not _MEMBERS.issuperset(members):
        return False
    params = members.get("params")
    return (params is None or isinstance(params, _Members)) and _is_id(members.get("id", 0))


def _is_reply(message: _Members) -> bool:
    """Whether a message is a result or an error, as MCP has them, and nothing else."""
    members = dict(message)
    if not _is_version_2(message) or not _is_id(members.get("id")):
        return False
    if members.keys() == _RESULT:
        return isinstance(members["result"], _Members)
    return members.keys() == _ERROR and isinstance(members["error"], _Members)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _is_read_alike(message: _Members) -> bool:
    """Whether no object within a message has a member twice."""
    left: list[Any] = [message]
    while left:
        value = left.pop()
        if isinstance(value, _Members):
            if len(dict(value)) != len(value):
                return False
            left += [member for _, member in value]
        elif isinstance(value, list):
            left += value
    return True


def _id(message: _Members) -> str | int | None:
    """The id by which the client knows its message, if it is one that can be sent back."""
    ids = [value for name, value in message if name == "id"]
    if len(ids) != 1 or isinstance(ids[0], bool):
        return None
    found = ids[0]
    if isinstance(found, str):
        return found if len(found) <= _MAX_ID else None
    return found if isinstance(found, int) and abs(found) < _MAX_ID_NUMBER else None
