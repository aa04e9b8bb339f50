import json
import os
from datetime import UTC, datetime, timedelta

import pytest

from portal_gateway.tls import acme_store
from portal_gateway.tls.acme_schedule import History
from portal_gateway.tls.acme_store import Store, UnusableStore, held_of, new_key_pem, write_whole
from portal_gateway.tls.files import TLSFiles
from tests.tls.tls_world import NOW, Certified

ONE = Certified(hosts=("a.example", "B.example"))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_it_is_made_for_its_owner_only(store):
    for directory in (store.path, store.challenges, store.path / "accounts"):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert Store(store.path).path == store.path


def test_it_is_refused_while_others_can_look_into_it(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    with pytest.raises(UnusableStore, match=r"mode is 0755, and it holds keys: chmod 700 "):
        Store(tmp_path / "open")


@pytest.mark.parametrize("where", ["none/store", "file", "file/store"])
def test_it_cannot_be_made(where, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UnusableStore, match="cannot be used as a store"):
        Store(tmp_path / where)


def test_what_is_saved_can_be_served(store):
    store.save("a.example", ONE.key_pem, ONE.pem)
    file = store.file("a.example")
    assert file.stat().st_mode & 0o777 == 0o600
    material = TLSFiles(file, file).read(NOW)
    assert material.certificate.chain == (ONE.certificate,)
    held = store.held("a.example")
    assert held == held_of(ONE.certificate)
    assert held.domains == {"a.example", "b.example"}
    assert held.until == ONE.certificate.not_valid_after_utc


@pytest.mark.parametrize("content", [b"", b"nonsense", ONE.key_pem, ONE.pem[:200]])
def test_what_is_no_certificate_is_none(content, store):
    store.file("a.example").write_bytes(content)
    assert store.held("a.example") is None
    assert store.held("b.example") is None


def test_a_certificate_that_names_no_host_is_for_none(store):
    store.save("a.example", ONE.key_pem, Certified(hosts=()).pem)
    assert store.held("a.example").domains == frozenset()


def test_files_ask_by_their_names(store, monkeypatch):
    for name in ("b.example.pem", "a.example.pem", "_.a.example.pem", "A.pem", "c.txt", ".pem"):
        (store.path / name).touch()
    (store.path / "..pem").touch()
    assert store.asked_for() == ["a.example", "b.example"]
    monkeypatch.setattr(acme_store, "MAX_NAMES", 1)
    assert store.asked_for() == ["a.example"]


def test_the_history_is_kept(store):
    history = History(3, NOW, NOW + timedelta(days=1), None)
    store.write_history("a.example", history)
    assert store.history("a.example") == history
    assert store.history("b.example") == History()


@pytest.mark.parametrize(
    "content",
    [
        *("", "nonsense", "[]", "{}", "\udcff", '{"failures": 1}'),
        '{"failures": "x", "not_before": null, "renew_at": null, "ask_at": null}',
        '{"failures": 1, "not_before": "2026-01-01T00:00:00", "renew_at": null, "ask_at": null}',
        '{"failures": 1, "not_before": 5, "renew_at": null, "ask_at": null}',
    ],
)
def test_a_history_that_cannot_be_read_is_none(content, store):
    (store.path / "a.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert store.history("a") == History()


def test_the_key_of_an_account_stays_and_is_another_at_another_authority(store):
    key = store.account_key("https://one.example/dir")
    assert store.account_key("https://one.example/dir") == key
    assert store.account_key("https://two.example/dir") != key
    assert {each.stat().st_mode & 0o777 for each in (store.path / "accounts").iterdir()} == {0o600}


def test_one_at_a_time_holds_the_lock(store):
    with store.lock() as first, Store(store.path).lock() as second:
        assert (first, second) == (True, False)
    with store.lock() as again:
        assert again


def test_the_lock_is_let_go_with_an_error(store):
    with pytest.raises(KeyError), store.lock():
        raise KeyError
    with store.lock() as mine:
        assert mine


def test_what_a_dead_process_left_is_removed(store):
    left = [
        store.path / ".new-half",
        store.path / "accounts" / ".new-half",
        store.challenges / "answer",
    ]
    for path in left:
        path.touch()
    store.save("a.example", ONE.key_pem, ONE.pem)
    with store.lock():
        assert not any(path.exists() for path in left)
    assert store.held("a.example") is not None


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    file = tmp_path / "file"
    write_whole(file, b"before")

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_whole(file, b"after")
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_keys_differ():
    assert new_key_pem() != new_key_pem()


def test_the_history_is_for_people_too(store):
    store.write_history("a", History(1, datetime(2026, 1, 2, tzinfo=UTC)))
    told = json.loads((store.path / "a.json").read_text())
    assert told["not_before"] == "2026-01-02T00:00:00+00:00"
