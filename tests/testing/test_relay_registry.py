import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.testing.relay_registry import LeaseRegistry
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.messages import LeaseRecord, ResponseCode

ACCEPTED, REJECTED = ResponseCode.ACCEPTED, ResponseCode.REJECTED
IDENTITIES = [Credential.from_private_bytes(bytes([n]) * 32).identity for n in range(1, 6)]
A, B, C = IDENTITIES[:3]


def record(identity=A, name="agent", expires=130, alpn=("http/1.1",), metadata=""):
    return LeaseRecord(identity, expires, name, alpn, metadata)


def names(registry, now):
    return [lease.name for lease in registry.living(now)]


def test_a_lease_lives_until_it_expires():
    registry = LeaseRegistry()
    assert registry.update(record(expires=130), "one", 100) is ACCEPTED
    assert registry.find(A.id, 130).record == record()
    assert registry.find(A.id, 130.1) is None
    assert registry.living(130.1) == []
    assert registry.expire(130.1) == [A.id]
    assert len(registry) == 0


def test_a_renewal_makes_it_live_on():
    registry = LeaseRegistry()
    registry.update(record(expires=130), "one", 100)
    assert registry.update(record(expires=150, metadata="{}"), "one", 120) is ACCEPTED
    assert registry.find(A.id, 149).record.metadata == "{}"
    assert len(registry) == 1


@pytest.mark.parametrize(
    ("update", "now", "code"),
    [
        (record(B, "agent"), 100, REJECTED),
        (record(B, "Agent"), 100, ACCEPTED),
        (record(B, ""), 100, ACCEPTED),
        (record(B, "(unnamed)"), 100, ACCEPTED),
        (record(B, A.id), 100, ACCEPTED),
        (record(B, "a b/c.d"), 100, ACCEPTED),
        (record(B, "x" * 300), 100, ACCEPTED),
        (record(B, "other", alpn=()), 100, ACCEPTED),
        (record(B, "other", expires=100), 100, ACCEPTED),
        (record(B, "other", expires=99), 100, REJECTED),
        (record(B, "other", expires=-(2**63)), 100, REJECTED),
        (record(B, "other", expires=2**63 - 1), 100, ACCEPTED),
        (record(A, "renamed"), 100, ACCEPTED),
        (record(B, "agent"), 131, REJECTED),  # because its own expiry has passed as well
        (record(B, "agent", expires=160), 131, ACCEPTED),
    ],
)
def test_what_the_relay_accepts_beside_a_lease_called_agent(update, now, code):
    registry = LeaseRegistry()
    registry.update(record(A, "agent", expires=130), "one", 100)
    assert registry.update(update, "two", now) is code


@pytest.mark.parametrize("name", ["", "(unnamed)"])
def test_names_that_belong_to_everybody(name):
    registry = LeaseRegistry()
    assert registry.update(record(A, name), "one", 100) is ACCEPTED
    assert registry.update(record(B, name), "one", 100) is ACCEPTED
    assert names(registry, 100) == [name, name]


def test_a_refused_update_leaves_the_lease_as_it_was():
    registry = LeaseRegistry()
    registry.update(record(A, "mine"), "one", 100)
    registry.update(record(B, "theirs"), "one", 100)
    assert registry.update(record(A, "theirs"), "one", 100) is REJECTED
    assert registry.update(record(A, "mine", expires=99), "one", 100) is REJECTED
    assert registry.find(A.id, 100).record == record(A, "mine")
    assert registry.update(record(C, "mine"), "one", 100) is REJECTED


def test_a_name_is_free_once_its_lease_is_renamed_deleted_or_dropped():
    registry = LeaseRegistry()
    registry.update(record(A, "one"), "s", 100)
    registry.update(record(A, "two"), "s", 100)
    assert registry.update(record(B, "one"), "t", 100) is ACCEPTED
    assert registry.delete(B.id) is ACCEPTED
    assert registry.delete(B.id) is ResponseCode.INVALID_IDENTITY
    assert registry.update(record(C, "one"), "t", 100) is ACCEPTED
    assert registry.drop_session("t") == [C.id]
    assert registry.update(record(B, "one"), "t", 100) is ACCEPTED


def test_a_session_takes_its_leases_with_it_and_no_others():
    registry = LeaseRegistry()
    registry.update(record(A, "a"), "one", 100)
    registry.update(record(B, "b"), "one", 100)
    registry.update(record(C, "c"), "two", 100)
    registry.update(record(B, "b"), "two", 100)  # its holder has moved
    assert registry.drop_session("one") == [A.id]
    assert sorted(names(registry, 100)) == ["b", "c"]
    assert registry.drop_session("one") == []


def test_what_does_not_fit_into_the_list_is_refused():
    registry = LeaseRegistry(max_listed_bytes=2000)
    assert registry.update(record(A, "a", metadata="x" * 900), "s", 100) is ACCEPTED
    assert registry.update(record(B, "b", metadata="x" * 900), "s", 100) is REJECTED
    assert registry.update(record(A, "a", metadata="x" * 1500), "s", 100) is ACCEPTED
    assert registry.update(record(A, "a", metadata="x" * 2500), "s", 100) is REJECTED
    assert registry.update(record(A, "a"), "s", 100) is ACCEPTED
    assert registry.update(record(B, "b", metadata="x" * 900), "s", 100) is ACCEPTED
    registry.drop_session("s")
    assert registry.update(record(C, "c", metadata="x" * 1800), "s", 100) is ACCEPTED


steps = st.lists(
    st.tuples(
        st.sampled_from(["update", "delete", "drop", "expire"]),
        st.sampled_from(IDENTITIES),
        st.sampled_from(["", "a", "A", "b"]),
        st.sampled_from(["s", "t"]),
        st.integers(0, 40),
    ),
    max_size=30,
)


@settings(max_examples=150)
@given(steps)
def test_no_history_gives_two_identities_one_name_or_leaves_anything_behind(history):
    registry = LeaseRegistry(max_listed_bytes=10_000)
    now = 100
    for action, identity, name, session, step in history:
        now += step // 10
        if action == "update":
            registry.update(record(identity, name, expires=now + step), session, now)
        elif action == "delete":
            registry.delete(identity.id)
        elif action == "drop":
            registry.drop_session(session)
            assert all(
                registry.find(lease.identity.id, now).session != session
                for lease in registry.living(now)
            )
        else:
            registry.expire(now)
        taken = [name for name in names(registry, now) if name in string.ascii_letters and name]
        assert len(taken) == len(set(taken))
    registry.drop_session("s")
    registry.drop_session("t")
    assert len(registry) == 0
    # Every byte of room is back.
    full = record(A, "", alpn=(), metadata="x" * (10_000 - 128 - 8))
    assert registry.update(full, "s", 0) is ACCEPTED
