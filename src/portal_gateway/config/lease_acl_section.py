"""The section ``lease_acl``: patterns of lease names, and the keys that may use those leases."""

from portal_gateway.config.fields import list_of, text
from portal_gateway.config.model import Config, LeaseRule, key_digest
from portal_gateway.config.names import key_named, lease_name
from portal_gateway.config.reading import Refused, Value
from portal_gateway.config.worded import reads
from portal_gateway.wire.lease_names import normal_pattern

__all__ = ["lease_acl", "lease_acl_names_keys"]

EVERYBODY = "*"

_EXPECTED = "a list of ids of keys"


def _key(value: Value) -> bytes | None:
    """Reads the id of a key, or a key; ``None`` for everybody. No fault quotes it."""
    found = text(value, secret=True, expected="the id of a key").text
    return None if found == EVERYBODY else key_named(found, value)


_KEYS = list_of(_key, expected=_EXPECTED)


def _entries(value: Value) -> list[tuple[Value, Value]]:
    """Pattern and keys of each rule. Faults count the rules: a pattern may be a key by mistake."""
    return [
        (Value(entry.key.node, item.path, value.reading), item)
        for index, entry in enumerate(value.entries("a mapping", _never))
        for item in (value.below(entry.value.node, index),)
    ]


def _never(_name: str) -> bool:
    return False


@reads("mapping from patterns of lease names to lists of keys")
def lease_acl(value: Value) -> tuple[LeaseRule, ...]:
    """Reads the rules, in their order."""
    rules: list[LeaseRule] = []
    first: dict[str, Value] = {}
    with value.reading.all_or_refused():
        for place, item in _entries(value):
            try:
                pattern = lease_name(place)
                earlier = first.setdefault(normal_pattern(pattern), place)
                if earlier is not place:
                    place.refuse(
                        f"the same pattern as on line {earlier.line}: case makes no difference"
                    )
                keys = _KEYS(item)
            except Refused:
                continue
            known = frozenset(key for key in keys if key is not None)
            rules.append(LeaseRule(pattern, known, everybody=None in keys))
    return tuple(rules)


def lease_acl_names_keys(config: Config, value: Value) -> None:
    """Refuse a key where a lease is meant; warn of keys that nobody can have."""
    if not config.lease_acl:
        return
    known = {key.digest for key in config.auth.keys}
    by_id = {key_digest(key.id.encode("ascii")) for key in config.auth.keys}
    for place, item in _entries(value.at("lease_acl")):
        if key_digest(lease_name(place).encode()) in known:
            place.refuse("an API key stands where the name of a lease is meant")
        for entry in item.items():
            digest = _key(entry)
            if digest is None or digest in known or digest in by_id:
                continue
            if config.auth.knows_all_ids:
                entry.warn("a key that auth.keys has neither by its id nor by itself")
