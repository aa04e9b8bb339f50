import pytest

from portal_gateway.config.model import key_digest
from portal_gateway.config.quotas import KeyQuotas, QuotaSection, QuotasSection
from portal_gateway.exchange import Caller
from portal_gateway.policy import quotas as quotas_module
from portal_gateway.policy.quotas import Quota, Quotas

A, B, C, D = (QuotaSection(requests=number) for number in (1, 2, 3, 4))


def caller(key_id="key_a", plan="", digest=b"d" * 32):
    return Caller(key_id, plan=plan, digest=digest)


def requests(quotas, who):
    return {quota.period: quota.requests for quota in quotas.of(who)}


def named(**keys):
    return {key_digest(name.encode()): quota for name, quota in keys.items()}


def test_without_quotas_nobody_has_one():
    quotas = Quotas(QuotasSection())
    assert not quotas.any
    assert quotas.of(caller()) == ()


def test_a_key_is_named_by_its_id_or_by_itself():
    section = QuotasSection(
        monthly=KeyQuotas(keys={**named(key_a=A), b"x" * 32: B}),
        daily=KeyQuotas(keys=named(key_b=C)),
    )
    quotas = Quotas(section)
    assert quotas.any
    assert requests(quotas, caller()) == {"monthly": 1}
    assert requests(quotas, caller("key_x", digest=b"x" * 32)) == {"monthly": 2}
    assert requests(quotas, caller("key_b")) == {"daily": 3}
    assert requests(quotas, caller("key_c")) == {}


def test_the_key_comes_before_its_plan_and_the_plan_before_the_default():
    section = QuotasSection(
        daily=KeyQuotas(default=D),
        monthly=KeyQuotas(default=A, keys=named(key_a=B)),
        plans={"gold": {"monthly": C}, "free": {"daily": None}},
    )
    quotas = Quotas(section)
    assert requests(quotas, caller("key_z")) == {"daily": 4, "monthly": 1}
    assert requests(quotas, caller("key_a", "gold")) == {"daily": 4, "monthly": 2}
    assert requests(quotas, caller("key_z", "gold")) == {"daily": 4, "monthly": 3}
    assert requests(quotas, caller("key_z", "free")) == {"monthly": 1}
    assert requests(quotas, caller("key_z", "unknown")) == {"daily": 4, "monthly": 1}


def test_a_key_may_have_none_where_others_have_one():
    quotas = Quotas(QuotasSection(monthly=KeyQuotas(default=A, keys=named(key_a=None))))
    assert requests(quotas, caller("key_a")) == {}
    assert requests(quotas, caller("key_b")) == {"monthly": 1}


def test_holders_of_tokens_have_quotas_too():
    section = QuotasSection(monthly=KeyQuotas(keys={key_digest(b"jwt:alice"): A}))
    assert requests(Quotas(section), caller("jwt:alice", digest=b"")) == {"monthly": 1}


def test_what_is_put_together_is_kept_and_bounded(monkeypatch):
    monkeypatch.setattr(quotas_module, "_MOST_PUT_TOGETHER", 3)
    quotas = Quotas(QuotasSection(monthly=KeyQuotas(default=A)))
    first = quotas.of(caller("key_0"))
    assert quotas.of(caller("key_0")) is first
    for number in range(10):
        quotas.of(caller(f"key_{number}"))
        assert len(quotas._known) <= 3
    assert quotas.of(caller("key_0")) == first


@pytest.mark.parametrize(
    ("requests", "bandwidth", "expected"),
    [(100, None, (80, float("inf"))), (None, 1000, (float("inf"), 800)), (1, 1, (0.8, 0.8))],
)
def test_warnings_begin_at_80_percent(requests, bandwidth, expected):
    quota = Quota("daily", requests, bandwidth)
    assert (quota.warned_requests, quota.warned_bytes) == pytest.approx(expected)
