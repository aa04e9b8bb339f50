"""The section ``quotas``: its keys."""

from collections.abc import Mapping
from typing import Any, Final, get_args

from portal_gateway.config.fields import Section, choice, mapping_of, whole_number
from portal_gateway.config.key_references import rules_name_keys
from portal_gateway.config.model import Config, key_digest
from portal_gateway.config.names import key_reference, plan_name
from portal_gateway.config.quotas import KeyQuotas, QuotaSection, QuotasSection, QuotaStorage
from portal_gateway.config.reading import Reader, Value
from portal_gateway.config.sizes import size
from portal_gateway.config.worded import reads

__all__ = ["QUOTAS", "check_quotas"]

MOST_REQUESTS: Final = 10**12
"""Requests of one key in a month: hundreds of thousands in every second of it."""

MOST_BANDWIDTH: Final = 2**60
"""Bytes of one key in a month: an exbibyte."""

UNLIMITED: Final = "unlimited"

DEFAULT: Final = "default"
"""What stands for all other keys, in the place of one's name."""

_DEFAULT_DIGEST: Final = key_digest(DEFAULT.encode())


def _has_a_limit(quota: QuotaSection, value: Value) -> None:
    if quota == QuotaSection():
        value.refuse("a quota needs requests or bandwidth, or both")


_QUOTA = Section(
    QuotaSection,
    {"requests": whole_number(1, MOST_REQUESTS), "bandwidth": size(1, MOST_BANDWIDTH)},
    check=_has_a_limit,
)


@reads(f"a quota, or ``{UNLIMITED}``")
def _quota_or_unlimited(value: Value) -> QuotaSection | None:
    """Reads a quota, or ``unlimited`` for none."""
    if value.is_single and value.text().text == UNLIMITED:
        return None
    return _QUOTA(value)


_BY_KEY = mapping_of(key_reference, _quota_or_unlimited, secret_names=True)


@reads(f"mapping from a key to a quota, or ``{UNLIMITED}``")
def _of_keys(value: Value) -> KeyQuotas:
    """Reads the quotas of a period: of keys, and under ``default`` of all others."""
    keys: Mapping[bytes, QuotaSection | None] = _BY_KEY(value)
    return KeyQuotas(
        keys.get(_DEFAULT_DIGEST),
        {digest: quota for digest, quota in keys.items() if digest != _DEFAULT_DIGEST},
    )


def check_quotas(config: Config, value: Value) -> None:
    """Refuse two quotas for one key and a Redis that is not there; warn of keys that nobody has."""
    if config.quotas.storage == "redis" and config.rate_limit.storage.redis is None:
        value.at("quotas").at("storage").refuse(
            "there is no Redis: rate_limit.storage says where one is"
        )
    for period, quotas in (("daily", config.quotas.daily), ("monthly", config.quotas.monthly)):
        if quotas.keys:
            rules_name_keys(config, value.at("quotas").at(period), "quota", [DEFAULT])


def _plan(**quotas: Any) -> Mapping[str, QuotaSection | None]:
    return quotas


QUOTAS: Reader[QuotasSection] = Section(
    QuotasSection,
    {
        "daily": _of_keys,
        "monthly": _of_keys,
        "plans": mapping_of(
            plan_name,
            Section(_plan, {"daily": _quota_or_unlimited, "monthly": _quota_or_unlimited}),
        ),
        "storage": choice("storage", get_args(QuotaStorage)),
    },
)
"""The whole section."""
