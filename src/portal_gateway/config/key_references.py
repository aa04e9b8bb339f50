"""Keys that rules name: whether there are such keys, and no two rules for one of them."""

from collections.abc import Collection

from portal_gateway.config.model import Config, key_digest
from portal_gateway.config.reading import Value

__all__ = ["rules_name_keys"]


def rules_name_keys(
    config: Config, rules: Value, noun: str, others: Collection[str] = frozenset()
) -> None:
    """Refuse two rules for one key in a mapping by key, and warn of keys that nobody can have.

    ``noun`` is what a rule is; ``others`` are names that stand for something else.
    """
    ids = {key.digest: key.id for key in config.auth.keys}
    ids |= {key_digest(key.id.encode("ascii")): key.id for key in config.auth.keys}
    first: dict[str, Value] = {}
    for entry in rules.entries(may_show=bool):
        if entry.name in others:
            continue
        key_id = ids.get(key_digest(entry.name.encode("utf-8")))
        if key_id is None:
            if config.auth.knows_all_ids:
                entry.key.warn(
                    f"a {noun} for a key that auth.keys has neither by its id nor by itself"
                )
            continue
        earlier = first.setdefault(key_id, entry.key)
        if earlier is not entry.key:
            entry.key.refuse(f"the key {key_id} has a {noun} already, on line {earlier.line}")
