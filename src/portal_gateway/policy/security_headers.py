"""Header fields that tell browsers to be careful, on every answer.

What a lease says itself stands, unless ``override`` is set. ``Strict-Transport-Security`` is told
over TLS only (RFC 6797 section 7.2). ``Content-Security-Policy`` is for the gateway's own pages:
on those of a lease it would stop what they are made of, so they get it only where a path asks for
it.

Patterns are for what a path means, not for how it is spelled: who makes a link could spell it past
them. Percent-encoding and case make no difference, and all that is a lease's is below
``/peer/<lease>/``, by each of its names, however it was addressed. A lease id is random: only a
pattern that has the whole of it, or a ``*`` that stands for the whole of it, is for that lease.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from portal_gateway.config.security_headers import SecurityHeadersSection
from portal_gateway.exchange import Exchange
from portal_gateway.wire.http_fields import FieldNames, Headers, with_replaced
from portal_gateway.wire.identity import LEASE_ID_CHARACTERS, is_lease_id
from portal_gateway.wire.lease_names import caseless

__all__ = ["DEFAULTS", "SecurityHeaders"]

_HSTS: Final = "strict-transport-security"
_CSP: Final = "content-security-policy"

_NAMES_AN_ID: Final = re.compile(
    rf"/peer/[a-z2-7]{{{LEASE_ID_CHARACTERS}}}(?![^/*])", re.IGNORECASE
)

_SOME_ID: Final = "\0"
"""An id in a path: no pattern has this character, and no ``*`` can stand for a part of it."""

_NEVER: Final = "(?!)"
"""An expression that matches nothing."""

DEFAULTS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Content-Security-Policy": "default-src 'self'",
}


class SecurityHeaders:
    """The fields of a configuration, prebuilt for each kind of answer."""

    def __init__(self, section: SecurityHeadersSection) -> None:
        everywhere = _changed(DEFAULTS, section.headers)
        self._everywhere = _Kinds(everywhere, override=section.override, with_policy=False)
        self._paths: list[_Kinds] = []
        for path in section.paths:
            override = section.override if path.override is None else path.override
            with_policy = any(name.lower() == _CSP for name in path.headers)
            fields = _changed(everywhere, path.headers)
            kinds = _Kinds(fields, override=override, with_policy=with_policy)
            self._paths.append(kinds)
        # One for all: a loop over a hundred of them would take 40 µs for each answer.
        patterns = [path.path for path in section.paths]
        self._expression = _one_expression(map(_expression, patterns))
        # For ids only the patterns that have one: the parts of an id mean nothing to the others.
        self._of_ids = _one_expression(
            _expression(pattern) if _NAMES_AN_ID.match(pattern) else _NEVER for pattern in patterns
        )

    def added(
        self, headers: Headers, exchange: Exchange, *, secure: bool, of_lease: bool
    ) -> Headers:
        """``headers`` of an answer, with the fields that it is to have.

        ``secure``: the connection that it leaves by has TLS; what a trusted proxy says of the
        client's own counts instead. ``of_lease``: a lease gave it.
        """
        kinds = self._at(exchange) if self._paths else self._everywhere
        passage = exchange.passage
        if passage is not None and passage.scheme:
            secure = passage.scheme == b"https"
        fields = kinds.fields[2 * secure + of_lease]
        names = kinds.names
        present = [name.lower() for name, _ in headers if name in names]
        if not present:
            return headers + fields
        if kinds.override:
            return with_replaced(headers, fields)
        return headers + [field for field in fields if field[0].lower() not in present]

    def _at(self, exchange: Exchange) -> "_Kinds":
        first = len(self._paths)
        for path, is_by_id in _paths_of(exchange):
            match = (self._of_ids if is_by_id else self._expression).fullmatch(path)
            if match is not None and match.lastindex is not None:
                first = min(first, match.lastindex - 1)
        return self._paths[first] if first < len(self._paths) else self._everywhere


class _Kinds:
    """Some fields, for each kind of answer: plain or over TLS, the gateway's own or a lease's."""

    def __init__(self, fields: Mapping[str, str], *, override: bool, with_policy: bool) -> None:
        self.override = override
        self.fields: list[Headers] = []
        for secure in (False, True):
            for of_lease in (False, True):
                left_out = set() if secure else {_HSTS}
                if of_lease and not with_policy:
                    left_out.add(_CSP)
                self.fields.append(
                    [
                        (name.encode("ascii"), value.encode("ascii"))
                        for name, value in fields.items()
                        if name.lower() not in left_out
                    ]
                )
        self.names = FieldNames(name.lower().encode("ascii") for name in fields)


def _changed(fields: Mapping[str, str], changes: Mapping[str, str | None]) -> dict[str, str]:
    by_name = {name.lower(): (name, value) for name, value in fields.items()}
    for name, value in changes.items():
        if value is None:
            by_name.pop(name.lower(), None)
        else:
            by_name[name.lower()] = (name, value)
    return dict(by_name.values())


def _paths_of(exchange: Exchange) -> list[tuple[str, bool]]:
    """The path that was asked for as `_expression` has it, by each name of the lease it is at, and
    whether it has the id of the lease in it. That of an id comes a second time, without the id."""
    lease = exchange.lease
    if lease is None:
        return [(caseless(unquote(exchange.path)), False)]
    target = exchange.upstream_target or b"/"
    rest = caseless(unquote_to_bytes(target.partition(b"?")[0]).decode("utf-8", "replace"))
    paths = []
    for name in exchange.lease_names or (lease,):
        is_id = is_lease_id(name)
        paths.append((f"/peer/{caseless(name)}{rest}", is_id))
        if is_id:
            paths.append((f"/peer/{_SOME_ID}{rest}", False))
    return paths


def _one_expression(expressions: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join(f"({expression})" for expression in expressions), re.DOTALL)


def _expression(pattern: str) -> str:
    """``*`` stands for anything, slashes too. No part is tried twice, however long the path."""
    first, *rest = [re.escape(part) for part in caseless(pattern).split("*")]
    if not rest:
        return first
    *between, last = rest
    found = "".join(f"(?>.*?{part})" for part in between)
    return f"{first}{found}.*{last}"
