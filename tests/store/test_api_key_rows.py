import pytest
from sqlalchemy import create_engine, event, select, update

from portal_gateway.store import api_key_rows
from portal_gateway.store.api_key_rows import (
    API_KEY_CHANGES,
    API_KEY_SECRETS,
    API_KEYS,
    Changes,
    StoredKey,
    UnreadableKey,
    changes_since,
    find_secrets,
    insert_key,
    list_keys,
    note_use,
    read_key,
    revoke_key,
    rotate_key,
)
from portal_gateway.store.quota_rows import METADATA

NOW = 1_795_608_000

KEY = StoredKey(
    "key_a", "a friend", frozenset({"read"}), "gold", ("tool", "too*"), NOW, expires_at=NOW + 100
)


def digest(number):
    return number.to_bytes(32)


@pytest.fixture
def connection():
    engine = create_engine("sqlite://")
    METADATA.create_all(engine)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def with_key(connection):
    insert_key(connection, KEY, digest(1))
    return connection


def found(connection, digest):
    return find_secrets(connection, [digest]).get(digest)


def test_a_key_is_found_by_its_secret_and_by_its_id(with_key):
    assert found(with_key, digest(1)) == (KEY, None)
    assert found(with_key, digest(2)) is None
    assert read_key(with_key, "key_a") == KEY
    assert read_key(with_key, "key_b") is None


def test_many_secrets_are_looked_for_at_once_and_the_unknown_are_left_out(with_key):
    other = KEY._replace(id="key_b")
    insert_key(with_key, other, digest(2))
    every = [digest(number) for number in range(200)]
    assert find_secrets(with_key, every) == {digest(1): (KEY, None), digest(2): (other, None)}
    assert find_secrets(with_key, []) == {}


@pytest.mark.parametrize("leases", ["no JSON", "5"])
def test_a_row_that_cannot_be_read_is_no_fault_of_the_others(with_key, leases):
    insert_key(with_key, KEY._replace(id="key_b"), digest(2))
    with_key.execute(update(API_KEYS).where(API_KEYS.c.id == "key_b").values(leases=leases))
    assert find_secrets(with_key, [digest(1), digest(2)]) == {
        digest(1): (KEY, None),
        digest(2): UnreadableKey("key_b"),
    }


def test_keys_are_listed_from_the_oldest_on(with_key):
    older = KEY._replace(id="key_o", created_at=NOW - 1, leases=None, expires_at=None, plan="")
    insert_key(with_key, older, digest(2))
    assert list_keys(with_key) == [older, KEY]


def test_a_revoked_key_stays_as_it_was_revoked_first(with_key):
    revoked = KEY._replace(revoked_at=NOW + 5)
    assert revoke_key(with_key, "key_a", NOW + 5) == revoked
    number = changes_since(with_key, None).number
    assert revoke_key(with_key, "key_a", NOW + 9) == revoked
    assert changes_since(with_key, None).number == number
    assert found(with_key, digest(1)).key.revoked_at == NOW + 5
    assert revoke_key(with_key, "key_b", NOW) is None


def test_after_a_rotation_both_secrets_are_good_the_old_one_for_the_grace(with_key):
    assert rotate_key(with_key, "key_a", digest(2), NOW, 60) == KEY
    assert found(with_key, digest(1)) == (KEY, NOW + 60)
    assert found(with_key, digest(2)) == (KEY, None)


def test_a_second_rotation_does_not_lengthen_the_grace_of_the_first(with_key):
    rotate_key(with_key, "key_a", digest(2), NOW, 60)
    rotate_key(with_key, "key_a", digest(3), NOW + 10, 3600)
    assert found(with_key, digest(1)).good_until == NOW + 60
    assert found(with_key, digest(2)).good_until == NOW + 3610


def test_secrets_whose_grace_is_over_are_forgotten_with_the_next_rotation(with_key):
    for number in range(2, 50):
        rotate_key(with_key, "key_a", digest(number), NOW + 100 * number, 60)
    assert len(with_key.execute(select(API_KEY_SECRETS)).all()) == 2


def test_a_revoked_or_unknown_key_is_not_rotated(with_key):
    revoke_key(with_key, "key_a", NOW)
    assert rotate_key(with_key, "key_a", digest(2), NOW, 60) is None
    assert rotate_key(with_key, "key_b", digest(3), NOW, 60) is None
    assert found(with_key, digest(2)) is None


def test_use_is_the_latest(with_key):
    insert_key(with_key, KEY._replace(id="key_b"), digest(2))
    note_use(with_key, [("key_a", NOW + 5), ("key_b", NOW + 6), ("key_c", NOW)])
    note_use(with_key, [("key_a", NOW + 4)])
    assert read_key(with_key, "key_a").last_used_at == NOW + 5
    assert read_key(with_key, "key_b").last_used_at == NOW + 6


def test_changes_are_told_once_each(connection):
    assert changes_since(connection, None) == Changes((), 0)
    insert_key(connection, KEY, digest(1))
    insert_key(connection, KEY._replace(id="key_b"), digest(2))
    rotate_key(connection, "key_a", digest(3), NOW, 60)
    assert changes_since(connection, 0) == Changes(("key_a", "key_b"), 3)
    assert changes_since(connection, 2) == Changes(("key_a",), 3)
    assert changes_since(connection, 3) == Changes((), 3)
    assert changes_since(connection, None) == Changes((), 3)


def test_what_cannot_be_told_is_said_so(with_key, monkeypatch):
    assert changes_since(with_key, 7) == Changes(None, 1), "another database than before"
    monkeypatch.setattr(api_key_rows, "_MOST_CHANGES", 3)
    for number in range(2, 7):
        insert_key(with_key, KEY._replace(id=f"key_{number}"), digest(number))
    assert changes_since(with_key, 1) == Changes(None, 6)
    assert changes_since(with_key, 3).key_ids == ("key_4", "key_5", "key_6")


def test_many_changes_of_one_key_hide_no_other_key(with_key, monkeypatch):
    monkeypatch.setattr(api_key_rows, "_MOST_CHANGES", 3)
    for number in range(2, 12):
        rotate_key(with_key, "key_a", digest(number), NOW, 60)
    insert_key(with_key, KEY._replace(id="key_b"), digest(20))
    insert_key(with_key, KEY._replace(id="key_c"), digest(21))
    assert changes_since(with_key, 1) == Changes(("key_a", "key_b", "key_c"), 13)


@pytest.mark.parametrize("statement", [1, 2, 3])
def test_changes_that_are_forgotten_while_they_are_read_are_not_lost(with_key, statement):
    number = changes_since(with_key, None).number
    with_key.execute(update(API_KEY_CHANGES).values(changed_at=NOW - 90_000))
    revoke_key(with_key, "key_a", NOW - 90_000)
    executed = []

    def between(*_):
        executed.append(1)
        if len(executed) == statement:
            # As another process would, which PostgreSQL lets us see from statement to statement.
            insert_key(with_key, KEY._replace(id="key_b", created_at=NOW), digest(2))
            insert_key(with_key, KEY._replace(id="key_c", created_at=NOW), digest(3))

    event.listen(with_key, "after_cursor_execute", between)
    told = changes_since(with_key, number)
    event.remove(with_key, "after_cursor_execute", between)
    assert len(executed) > 3, "the others were made"
    assert told.key_ids is None or "key_a" in told.key_ids
    later = changes_since(with_key, told.number)
    assert {"key_b", "key_c"} <= {*(told.key_ids or ()), *(later.key_ids or ())}


def test_old_changes_are_forgotten_and_numbers_go_on(with_key):
    with_key.execute(update(API_KEY_CHANGES).values(changed_at=NOW - 90_000))
    revoke_key(with_key, "key_a", NOW)
    insert_key(with_key, KEY._replace(id="key_b"), digest(2))
    assert changes_since(with_key, 0) == Changes(None, 3), "the first was forgotten"
    assert changes_since(with_key, 1) == Changes(("key_a", "key_b"), 3)
