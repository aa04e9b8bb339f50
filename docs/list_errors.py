"""Fills in what ``portal_gateway.errors`` says of each cause, in docs/errors.rst.

The table at the top, and the fields below a code's title, are made from the table of causes. When
an error comes, and what to do about it, is written by hand below them and kept. ``make modules``
writes the page; a test compares it with the table.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from portal_gateway.errors import CAUSES, Cause

PAGE = Path(__file__).parent / "errors.rst"

_TABLE = re.compile(r"(?<=\n\.\. list-table::\n)(?: .*\n|\n)*(?=\n)")
_ENTRY = re.compile(r"^``([a-z_]+)``\n~+\n\n(?::.*\n)*", re.MULTILINE)


def _table() -> Iterator[str]:
    yield "    :header-rows: 1"
    yield "    :widths: 40 10 50"
    yield ""
    yield from ("    * - ``error``", "      - Status", "      - Title")
    for cause in CAUSES.values():
        section = cause.code.replace("_", "-")
        yield f"    * - `{cause.code} <errors.rst#{section}>`_"
        yield f"      - {cause.status}"
        yield f"      - {cause.title}"


def _facts(cause: Cause) -> Iterator[str]:
    name = f"``{cause.code}``"
    yield from (name, "~" * len(name), "")
    yield f":Status: {cause.status}"
    yield f":Title: {cause.title}"
    if cause.retry_after is not None:
        yield f":Retry-After: {cause.retry_after}"
    if cause.proxy_error is not None:
        yield f":Proxy-Status: ``error={cause.proxy_error}``"
    if cause.closes:
        yield ":Connection: is closed after the answer"


def with_facts(page: str) -> str:
    """The page with what the table of causes says.

    Raises ``LookupError`` for a code that one of both does not have.
    """
    found = _ENTRY.findall(page)
    if sorted(found) != sorted(CAUSES):
        differ = ", ".join(sorted(set(found) ^ set(CAUSES)) or found)
        raise LookupError(f"{PAGE.name} and the table of causes differ in {differ}")
    page = _TABLE.sub(lambda _: "\n".join(_table()) + "\n", page, count=1)
    return _ENTRY.sub(lambda match: "\n".join(_facts(CAUSES[match[1]])) + "\n", page)


if __name__ == "__main__":
    PAGE.write_text(with_facts(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
