"""``portal-gateway keys``: what each action prints, and how it ends."""

import calendar
import json
import re
import sqlite3
import time

import pytest

from portal_gateway.cli import main

KEY = re.compile(r"sk_live_[0-9A-Za-z]{49}")


@pytest.fixture
def run(capsys, tmp_path):
    config = tmp_path / "gateway.yaml"
    config.write_text(
        "auth: {keys: {database: {enabled: true}}}\n"
        "leases: {tool: {url: 'http://127.0.0.1:3000'}}\n",
        encoding="utf-8",
    )

    def run(action, *arguments):
        """Status, output and errors; 0 where the command went well."""
        status = 0
        try:
            main(["keys", action, "--config", str(config), *arguments])
        except SystemExit as ended:
            status = ended.code
        printed = capsys.readouterr()
        if isinstance(status, str):
            return 1, printed.out, f"{status}\n"
        return status, printed.out, printed.err

    run.directory = tmp_path
    return run


def created(run, *arguments):
    status, out, err = run("create", "--json", *arguments)
    assert (status, err) == (0, "")
    return json.loads(out)


def test_a_key_is_made_and_shown_alone_on_standard_output(run):
    status, out, err = run("create", "--description", "a friend")
    assert status == 0
    assert KEY.fullmatch(out.strip())
    assert re.fullmatch(r"key_[0-9a-f]{16}: this key is not shown again\n", err)


def test_what_a_key_is_made_with_is_shown(run):
    key = created(
        run,
        *("--description", "a friend", "--scopes", "read", "--plan", "gold", "--expires", "90d"),
        *("--lease", "tool", "--lease", "too*"),
    )
    assert KEY.fullmatch(key.pop("key"))
    status, out, err = run("show", "--json", key["id"])
    assert (status, json.loads(out), err) == (0, key, "")
    assert (key["scopes"], key["plan"], key["state"]) == (["read"], "gold", "good")
    assert key["leases"] == ["tool", "too*"]
    assert key["expires_at"] > key["created_at"]
    status, out, _ = run("show", key["id"])
    assert re.search(r"^leases: +tool, too\*$", out, re.MULTILINE)
    assert re.search(r"^last_used_at: +-$", out, re.MULTILINE)


def test_keys_are_listed(run):
    ids = [created(run)["id"] for _ in range(3)]
    status, out, err = run("list")
    assert (status, err) == (0, "")
    heading, *rows = out.splitlines()
    assert heading.split()[:3] == ["ID", "STATE", "SCOPES"]
    assert sorted(row.split()[0] for row in rows) == sorted(ids)
    assert all(row.split()[1:3] == ["good", "read,write"] for row in rows)
    status, out, _ = run("list", "--json")
    assert sorted(key["id"] for key in json.loads(out)) == sorted(ids)


def test_a_key_is_revoked_for_good(run):
    key = created(run)
    status, out, _ = run("revoke", "--json", key["id"])
    assert status == 0
    assert json.loads(out)["state"] == "revoked"
    assert run("revoke", "--json", key["id"])[1] == out
    status, out, err = run("rotate", key["id"])
    assert (status, out) == (1, "")
    assert err == f"portal-gateway: {key['id']} was revoked: create another key\n"


def test_a_key_is_rotated(run):
    key = created(run)
    status, out, err = run("rotate", key["id"], "--grace", "10m", "--json")
    rotated = json.loads(out)
    assert (status, err) == (0, "")
    assert KEY.fullmatch(rotated["key"])
    assert rotated["key"] != key["key"]
    assert {**rotated, "key": None} == {**key, "key": None}


def test_no_secret_is_in_the_database(run):
    keys = [created(run)["key"] for _ in range(3)]
    keys.append(json.loads(run("rotate", created(run)["id"], "--json")[1])["key"])
    with sqlite3.connect(run.directory / "portal-gateway.sqlite") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    assert dumped.count('INSERT INTO "api_key_secrets"') == 5
    assert not any(key in dumped for key in keys)


def test_an_expiry_may_be_a_time(run):
    assert created(run, "--expires", "2099-01-31T00:00:00+01:00")["expires_at"] == (
        "2099-01-30T23:00:00Z"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--scopes", "fly"], "scopes are some of admin, read, write"),
        (["create", "--scopes", ","], "scopes are some of"),
        (["create", "--expires", "soon"], "write a duration such as 90d, or a time"),
        (["create", "--plan", "\n"], "printable"),
        (["create", "--lease", ""], "argument --lease: a lease name must not be empty"),
        (["create", "--lease", "a", "--lease", "Bad Lease/.."], 'bad lease name "Bad Lease/.."'),
        (["create", "--lease", ".."], 'bad lease name "..": a path takes it for a dot segment'),
        (["create", "--lease", "a\\b"], "bad lease name"),
        (["create", "--lease", "a\x00b"], 'bad lease name "a\\u0000b"'),
        (["create", "--lease", "a\udcffb"], 'bad lease name "a\\udcffb"'),
        (["create", "--lease", "é" * 129], "a lease name has at most 256 bytes of UTF-8"),
        (["create", "--lease", "${TOOL}"], "variables are replaced in values, not in names"),
        (["rotate", "key_1", "--grace", "long"], "a duration is a number and a unit"),
        (["show"], "ID"),
        (["fly"], "invalid choice"),
    ],
)
def test_a_command_line_that_is_wrong_is_told_with_status_2(run, arguments, says):
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert says in err


@pytest.mark.parametrize("lease", ["tool", "Ünïcødé", "a b", "*", "a?c*", "007", "no", "é" * 128])
def test_a_lease_may_be_whatever_it_may_be_in_quotes_in_a_configuration(run, lease):
    assert created(run, "--lease", lease)["leases"] == [lease]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["create", "--expires", "2001-01-01T00:00:00Z"], "the key would have expired already"),
        (["create", "--description", "x" * 201], "a description has at most 200"),
        (["show", "key_1"], "there is no key with the id 'key_1'; portal-gateway keys list"),
        (["revoke", "key_1"], "there is no key with the id 'key_1'"),
        (["rotate", "key_1"], "there is no key with the id 'key_1'"),
    ],
)
def test_what_cannot_be_done_is_told_with_status_1(run, arguments, says):
    status, out, err = run(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("portal-gateway: ")
    assert says in err
    assert run("list", "--json")[1] == "[]\n"


def test_a_key_that_is_given_for_an_id_is_not_repeated(run):
    key = created(run)["key"]
    status, out, err = run("revoke", key)
    assert (status, out) == (1, "")
    assert key not in err


def test_a_configuration_without_a_database_of_keys_is_told(run):
    (run.directory / "gateway.yaml").write_text("auth: {keys: []}\n", encoding="utf-8")
    status, _, err = run("list")
    assert status == 1
    assert "has no API keys in a database" in err


def test_a_database_that_cannot_be_used_is_told(run):
    (run.directory / "portal-gateway.sqlite").mkdir()
    status, _, err = run("list")
    assert status == 1
    assert err.startswith("portal-gateway: the database cannot be used: ")


def test_times_are_those_of_the_clock(run):
    before = int(time.time())
    key = created(run)
    made = time.strptime(key["created_at"], "%Y-%m-%dT%H:%M:%SZ")
    assert before <= calendar.timegm(made) <= time.time()
