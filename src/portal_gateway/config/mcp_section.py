"""The key ``leases.<name>.mcp``: where a lease speaks the Model Context Protocol."""

import re
from typing import Final

from portal_gateway.config.fields import Section, list_of, text, true_or_false
from portal_gateway.config.reading import Value
from portal_gateway.config.worded import reads

__all__ = ["MOST_PATHS", "USUAL_PATHS", "mcp_paths"]

USUAL_PATHS: Final = ("/", "/mcp", "/mcp/", "/sse", "/message", "/messages", "/messages/")
"""The usual endpoints of servers: at the root or ``/mcp``, and with the older transport, by
``/sse`` and a path for messages, as the SDKs of the protocol set it up."""

MOST_PATHS: Final = 32
"""Endpoints of one lease: more than any server has."""

_LONGEST: Final = 512

_PATH: Final = re.compile(r"/(?:[A-Za-z0-9._~-]+/)*(?:[A-Za-z0-9._~-]+)?")
"""A path that every reader takes for the same: no escapes, no empty segments, no parameters."""

_DOTS: Final = re.compile(r"/\.{1,2}(?:/|$)")


@reads("path, of letters, digits and ``-._~/``")
def _path(value: Value) -> str:
    found = text(value, expected="a path")
    if len(found.text) > _LONGEST or not _PATH.fullmatch(found.text) or _DOTS.search(found.text):
        raise value.refuse(
            f"expected a path such as /mcp, of letters, digits and -._~/, found {found.shown}"
        )
    return found.text


_list = list_of(_path, expected="a path or a list of paths")


@reads(f"path, of letters, digits and ``-._~/``, or list of 1 to {MOST_PATHS} of them")
def _paths(value: Value) -> tuple[str, ...]:
    if value.is_single:
        return (_path(value),)
    found = _list(value)
    if not 1 <= len(found) <= MOST_PATHS:
        raise value.refuse(f"expected 1 to {MOST_PATHS} paths, found {len(found)}")
    return found


def _build(path: tuple[str, ...]) -> tuple[str, ...]:
    return path


_MCP: Final = Section(_build, {"path": _paths}, required=["path"])


@reads("``true`` or ``false``, or a mapping with the key below", below={"": _MCP})
def mcp_paths(value: Value) -> tuple[str, ...]:
    """Reads the paths of the endpoints: those that are usual for ``true``, none for ``false``."""
    if value.is_mapping:
        return _MCP(value)
    return USUAL_PATHS if true_or_false(value) else ()
