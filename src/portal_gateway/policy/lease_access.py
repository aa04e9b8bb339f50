"""Which keys may use which leases.

Of the rules for a lease the one that says most about it decides: the rule for its very name or id
before one with wildcards, a longer pattern before a shorter. Where two say equally much both must
admit the key. All names of the lease count (`portal_gateway.exchange.Exchange.lease_names`).

A lease that was asked for by its id, where only a relay knows its names, is subject to the rule for
that id, or to every rule that there is, since each could be for one of its names.
"""

from collections.abc import Iterable
from functools import lru_cache, partial

from portal_gateway.config.model import LeaseRule, key_digest
from portal_gateway.errors import GatewayError, fault
from portal_gateway.exchange import Caller
from portal_gateway.policy.lease_patterns import PatternIndex, matches
from portal_gateway.wire.lease_names import normal_pattern

__all__ = ["LeaseAccess", "access_refusal", "is_held_to_others"]

_MOST_KNOWN = 4096
"""Leases whose rules are kept once they were found, those used last. A caller can ask for any name
of up to 1 KiB, so that is 4 MB at the most."""

_MOST_IDS = 8192
"""Key ids whose digests are kept, at some 200 bytes each."""

_ANY = "*"


class LeaseAccess:
    """The rules of a configuration. ``default_allow``: what holds for leases without a rule."""

    __slots__ = ("_decide",)

    def __init__(self, rules: Iterable[LeaseRule], *, default_allow: bool = False) -> None:
        rules = tuple(rules)
        index = PatternIndex((rule.pattern, rule) for rule in rules)
        # Not a method: what remembers one of an object is a cycle with it.
        decide = partial(_decide, rules, index, default_allow)
        self._decide = lru_cache(maxsize=_MOST_KNOWN)(decide)

    def admits(self, caller: Caller, names: tuple[str, ...], *, hides_names: bool = False) -> bool:
        """Whether a caller may use the lease that has these names, and perhaps others."""
        decided = self._decide(names, hides_names)
        if isinstance(decided, bool):
            return decided
        return all(_admits(rule, caller) for rule in decided)


def _decide(
    rules: tuple[LeaseRule, ...],
    index: PatternIndex[LeaseRule],
    default_allow: bool,
    names: tuple[str, ...],
    hides_names: bool,
) -> tuple[LeaseRule, ...] | bool:
    """The rules that must admit, or what holds for every key."""
    if not hides_names:
        return tuple(index.most_specific(names)) or default_allow
    exact = tuple(index.exact(names))
    if exact or not rules:
        return exact or default_allow
    patterns = {normal_pattern(rule.pattern) for rule in rules}
    return (_ANY in patterns or default_allow) and rules


def _admits(rule: LeaseRule, caller: Caller) -> bool:
    return rule.everybody or caller.digest in rule.keys or _digest(caller.key_id) in rule.keys


@lru_cache(maxsize=_MOST_IDS)
def _digest(key_id: str) -> bytes:
    # A token's claim can hold what is no Unicode text.
    return key_digest(key_id.encode("utf-8", "surrogatepass"))


def is_held_to_others(caller: Caller, names: tuple[str, ...]) -> bool:
    """Whether a caller has leases of its own, and the one with these names is none of them."""
    return caller.leases is not None and not matches(caller.leases, names)


def access_refusal() -> GatewayError:
    """``lease_access_denied`` (403); it does not say whether the lease is there."""
    return fault("lease_access_denied", "this credential may not use this lease")
