"""Which keys may use which leases."""

import pytest

from portal_gateway.config.model import LeaseRule, key_digest
from portal_gateway.exchange import Caller
from portal_gateway.policy import lease_access
from portal_gateway.policy.lease_access import LeaseAccess, access_refusal, is_held_to_others
from portal_gateway.policy.lease_patterns import PatternIndex

ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
OTHER_ID = "ABCDEFGHIJKLMNOPQRSTUVWXY2"


def rule(pattern, *keys):
    digests = frozenset(key_digest(key.encode()) for key in keys if key != "*")
    return LeaseRule(pattern, digests, everybody="*" in keys)


def caller(key_id, key=None, **options):
    digest = b"" if key is None else key_digest(key.encode())
    return Caller(key_id, digest=digest, **options)


def admitted(rules, key_id, *names, default_allow=False, hides_names=False):
    access = LeaseAccess([rule(p, *keys) for p, keys in rules], default_allow=default_allow)
    return access.admits(caller(key_id), names, hides_names=hides_names)


@pytest.mark.parametrize(
    ("rules", "names", "who"),
    [
        ([("secret", "a")], ["secret"], "a"),
        ([("secret", "a")], ["SECRET"], "a"),
        ([("secret", "ab")], ["secret"], "ab"),
        ([("secret", "a")], ["other"], ""),
        ([("secret", "*")], ["secret"], "abc"),
        ([("secret", "")], ["secret"], ""),
        ([("secret", "")], ["other"], ""),
        # The most specific rule decides, and no other.
        ([("secret", "a"), ("*", "*")], ["secret"], "a"),
        ([("secret", "a"), ("*", "*")], ["other"], "abc"),
        ([("secret", ""), ("*", "*")], ["secret"], ""),
        ([("*", "a"), ("public-*", "*")], ["public-1"], "abc"),
        ([("pub*", "a"), ("public-*", "b")], ["public-1"], "b"),
        ([("*c", "ab"), ("a*", "bc")], ["abc"], "b"),
        # By whichever of its names a lease is asked for.
        ([("secret", "a"), ("*", "*")], ["secret", ID], "a"),
        ([(ID, "a"), ("*", "*")], ["secret", ID], "a"),
        ([("pinned", "a"), ("*", "*")], ["pinned", "secret", ID], "a"),
        ([(ID, "ab"), ("secret", "bc")], ["secret", ID], "b"),
        ([("sec*", "a"), ("*", "*")], ["other", "secret", ID], "a"),
        # A name in the shape of an id but in lower case is no id.
        ([(ID, "a"), ("*", "b")], [ID.lower()], "b"),
    ],
)
def test_who_may_use_a_lease(rules, names, who):
    assert [key for key in "abc" if admitted(rules, key, *names)] == list(who)


@pytest.mark.parametrize(
    ("rules", "names", "who"),
    [
        ([("secret", "a")], ["secret"], "a"),
        ([("secret", "")], ["secret"], ""),
        ([("secret", "a")], ["other"], "abc"),
        ([], ["other"], "abc"),
    ],
)
def test_what_holds_where_there_is_no_rule(rules, names, who):
    assert [key for key in "abc" if admitted(rules, key, *names, default_allow=True)] == list(who)


@pytest.mark.parametrize(
    ("rules", "default_allow", "who"),
    [
        # A rule for the id is one for the lease, whatever it is called.
        ([(ID, "a"), ("secret", "b")], False, "a"),
        ([(ID, "a"), ("*", "")], True, "a"),
        # Without one, each rule may be the one for its name.
        ([("secret", "a"), ("*", "*")], False, "a"),
        ([("secret", "a"), ("*", "ab"), ("x*", "ac")], False, "a"),
        ([("secret", "a")], True, "a"),
        # And its name may be one without a rule.
        ([("secret", "*")], False, ""),
        ([("sec*", "*"), ("public-*", "*")], False, ""),
        ([("*", "ab")], False, "ab"),
        ([("**", "ab")], False, "ab"),
        ([(OTHER_ID, ""), ("*", "*")], False, ""),
        ([], False, ""),
        ([], True, "abc"),
    ],
)
def test_a_lease_whose_names_only_a_relay_knows(rules, default_allow, who):
    found = [
        key
        for key in "abc"
        if admitted(rules, key, ID, default_allow=default_allow, hides_names=True)
    ]
    assert found == list(who)


def test_a_key_is_known_by_its_id_and_by_itself():
    access = LeaseAccess([rule("secret", "n8n", "sk_live_abc123")])
    assert access.admits(caller("n8n", "sk_live_other"), ("secret",))
    assert access.admits(caller("key_1", "sk_live_abc123"), ("secret",))
    assert not access.admits(caller("key_2", "sk_live_xyz789"), ("secret",))
    # A caller without a key of the gateway's, such as a token's.
    assert access.admits(caller("n8n"), ("secret",))
    assert not access.admits(caller(""), ("secret",))
    assert not access.admits(caller("n8\ud800n"), ("secret",))


def test_rules_show_no_key():
    made = rule("secret", "sk_live_abc123")
    assert "sk_live" not in repr(made)
    assert key_digest(b"sk_live_abc123").hex()[:8] not in repr(made)


def test_a_lease_is_matched_once(monkeypatch):
    asked = []

    class Counting(PatternIndex):
        def most_specific(self, names):
            asked.append(names)
            return super().most_specific(names)

    monkeypatch.setattr(lease_access, "PatternIndex", Counting)
    access = LeaseAccess([rule("sec*", "a")])
    for _ in range(3):
        assert access.admits(caller("a"), ("secret", ID))
        assert not access.admits(caller("b"), ("secret", ID))
    assert asked == [("secret", ID)]


def test_no_more_leases_are_remembered_than_are_few():
    access = LeaseAccess([rule("sec*", "a")])
    for number in range(lease_access._MOST_KNOWN + 10):
        assert access.admits(caller("a"), (f"sec{number}",))
    assert access._decide.cache_info().currsize == lease_access._MOST_KNOWN


@pytest.mark.parametrize(
    ("leases", "names", "held"),
    [
        (None, ("secret", ID), False),
        (("secret",), ("secret", ID), False),
        (("SEC*", "x"), ("secret", ID), False),
        ((ID,), ("secret", ID), False),
        (("*",), ("secret", ID), False),
        (("other", "secre"), ("secret", ID), True),
        ((ID.lower(),), ("secret", ID), True),
        ((), ("secret", ID), True),
        (("secret",), (), True),
    ],
)
def test_a_caller_may_be_held_to_leases_of_its_own(leases, names, held):
    assert is_held_to_others(caller("a", leases=leases), names) == held


def test_the_refusal_says_nothing_of_the_lease():
    error = access_refusal()
    assert (error.cause.code, error.cause.status) == ("lease_access_denied", 403)
    assert error.fields == ()
