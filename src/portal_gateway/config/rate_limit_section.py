"""The section ``rate_limit``: its keys."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from portal_gateway.config.fields import (
    Section,
    mapping_of,
    number,
    true_or_false,
    whole_number,
)
from portal_gateway.config.key_references import rules_name_keys
from portal_gateway.config.model import Config
from portal_gateway.config.names import key_reference, lease_name, plan_name
from portal_gateway.config.rate_limits import (
    KeyRates,
    RateLimitSection,
    RateSection,
)
from portal_gateway.config.reading import Reader, Value
from portal_gateway.config.storage_section import storage
from portal_gateway.config.worded import reads
from portal_gateway.wire.lease_names import normal_pattern

__all__ = ["RATE_LIMIT", "overrides_name_keys"]

MOST_REQUESTS = 1_000_000
"""Requests in one unit of time: more than one process takes in a second."""

MOST_BURST = 10_000_000
"""Requests at once."""

UNLIMITED = "unlimited"

_UNITS = {"requests_per_second": 1, "requests_per_minute": 60, "requests_per_hour": 3600}

_KEYS_OF_A_RATE: dict[str, Reader[Any]] = {
    "requests_per_second": number(0.001, MOST_REQUESTS),
    "requests_per_minute": number(0.001, MOST_REQUESTS),
    "requests_per_hour": number(0.001, MOST_REQUESTS),
    "burst": whole_number(1, MOST_BURST),
}

_NO_RATE = RateSection(0, 0, 0)


def _rate_of(burst: int | None = None, **units: float) -> RateSection:
    """The rate, or ``_NO_RATE`` where there is not exactly one unit."""
    if len(units) != 1:
        return _NO_RATE
    ((unit, requests),) = units.items()
    return RateSection(requests, _UNITS[unit], burst or max(1, ceil(requests)))


def _one_unit(rate: RateSection, value: Value) -> None:
    if rate is not _NO_RATE:
        return
    written = [unit for unit in _UNITS if value.at(unit) is not value]
    if written:
        first, second, *_ = written
        value.at(second).refuse(
            f"{first} (line {value.at(first).line}) and {second} exclude each other"
        )
    else:
        value.refuse(f"a rate needs one of {', '.join(_UNITS)}")


_RATE = Section(_rate_of, _KEYS_OF_A_RATE, check=_one_unit)
_PER_SECOND = _KEYS_OF_A_RATE["requests_per_second"]


@reads("rate")
def rate(value: Value) -> RateSection:
    """Reads a rate: a mapping, or a number of requests a second."""
    if value.is_single:
        return _rate_of(requests_per_second=_PER_SECOND(value))
    return _RATE(value)


@reads(f"a rate, or ``{UNLIMITED}``")
def rate_or_unlimited(value: Value) -> RateSection | None:
    """Reads a rate, or ``unlimited`` for none."""
    if value.is_single and value.text().text == UNLIMITED:
        return None
    return rate(value)


def _failed_auth(*, enabled: bool = True, **keys: Any) -> RateSection | None:
    default = RateLimitSection().failed_auth
    assert default is not None
    if not any(unit in keys for unit in _UNITS):
        keys = {"requests_per_second": default.requests, "burst": default.burst, **keys}
    rate = _rate_of(**keys)
    # What is switched off is still held to be right.
    return rate if enabled or rate is _NO_RATE else None


def _one_unit_if_any(rate: RateSection | None, value: Value) -> None:
    if rate is not None:
        _one_unit(rate, value)


@reads(f"mapping from a pattern of lease names to a rate, or ``{UNLIMITED}``")
def _per_lease(value: Value) -> Mapping[str, RateSection | None]:
    """Reads rates by patterns of lease names."""
    found = _BY_LEASE(value)
    first: dict[str, Value] = {}
    with value.reading.all_or_refused():
        for entry, pattern in zip(value.entries(), found, strict=True):
            earlier = first.setdefault(normal_pattern(pattern), entry.key)
            if earlier is not entry.key:
                entry.key.refuse(
                    f"the same pattern as on line {earlier.line}: case makes no difference"
                )
    return found


_BY_LEASE = mapping_of(lease_name, rate_or_unlimited)


def overrides_name_keys(config: Config, value: Value) -> None:
    """Refuse two rates for one key, and warn of one for a key that is not in the file."""
    if config.rate_limit.per_key.overrides:
        rules_name_keys(config, value.at("rate_limit").at("per_key").at("overrides"), "rate")


def _section(**keys: Any) -> RateLimitSection:
    if "global" in keys:
        keys["everything"] = keys.pop("global")
    return RateLimitSection(**keys)


RATE_LIMIT: Reader[RateLimitSection] = Section(
    _section,
    {
        "global": rate,
        "per_key": Section(
            KeyRates,
            {
                "default": rate,
                "plans": mapping_of(plan_name, rate_or_unlimited),
                "overrides": mapping_of(key_reference, rate_or_unlimited, secret_names=True),
            },
        ),
        "per_lease": _per_lease,
        "failed_auth": Section(
            _failed_auth, {"enabled": true_or_false, **_KEYS_OF_A_RATE}, check=_one_unit_if_any
        ),
        "storage": storage,
    },
)
"""The whole section."""
