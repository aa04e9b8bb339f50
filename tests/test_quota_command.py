"""``portal-gateway quota show``: what it prints, and how it ends."""

import json
import time

import pytest

from portal_gateway.cli import main
from portal_gateway.config.database import DatabaseSection
from portal_gateway.policy.quota_spans import span_at
from portal_gateway.store.database import Database
from portal_gateway.store.quota_database import DatabaseQuotas
from portal_gateway.store.quota_store import Added, UsedIn
from portal_gateway.store.threads import ThisThread

CONFIG = """
auth:
  keys:
    - {key: "sk_live_freemium_0123", id: "free"}
    - {key: "sk_live_unmetered_0123", id: "other"}
leases:
  tool: {url: "http://127.0.0.1:3000"}
quotas:
  monthly:
    "sk_live_freemium_0123": {requests: 10000, bandwidth: 10KB}
  daily:
    free: {requests: 100}
  plans:
    gold: {monthly: {requests: 7}}
"""


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "gateway.yaml"
    file.write_text(CONFIG)
    file.chmod(0o600)
    return file


@pytest.fixture
def use(tmp_path):
    """Note use of a key in the current month, as a gateway does."""
    database = Database(DatabaseSection(file=tmp_path / "portal-gateway.sqlite"), ThisThread())
    store = DatabaseQuotas(database, time.time)
    numbers = iter(range(1, 100))

    def note(key_id, requests, size=0):
        span = span_at("monthly", time.time())
        used = UsedIn(key_id, "monthly", span.label, span.end)
        store.sync(next(numbers), [Added(used, requests, size)], [])

    yield note
    database.close()


def show(capsys, file, key, *more):
    main(["quota", "show", key, "--config", str(file), *more])
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "sk_live" not in printed.out
    return printed.out


def refused(capsys, file, key, *more):
    with pytest.raises(SystemExit) as ended:
        main(["quota", "show", key, "--config", str(file), *more])
    printed = capsys.readouterr()
    assert printed.out == ""
    return str(ended.value.code)


def test_what_is_used_is_shown(capsys, file, use):
    use("free", 1234, 5000)
    day, month = (span_at(period, time.time()) for period in ("daily", "monthly"))
    assert (
        show(capsys, file, "free")
        == f"""\
free
  daily, {day.label}, anew at {day.spoken_end}
    0 of 100 requests, 100 left
  monthly, {month.label}, anew at {month.spoken_end}
    1234 of 10000 requests, 8766 left
    5000 of 10000 bytes of bandwidth, 5000 left
"""
    )


def test_as_json(capsys, file, use):
    use("free", 12)
    told = json.loads(show(capsys, file, "free", "--json"))
    assert told["key_id"] == "free"
    assert [quota["period"] for quota in told["quotas"]] == ["daily", "monthly"]
    assert told["quotas"][1]["requests"] == {"limit": 10_000, "used": 12, "remaining": 9988}


def test_a_key_without_a_quota(capsys, file):
    assert show(capsys, file, "other") == "other: no quota holds for this key\n"
    assert json.loads(show(capsys, file, "other", "--json"))["quotas"] == []


def test_holders_of_tokens(capsys, file, use):
    text = CONFIG + "\n"
    text = text.replace(
        "  keys:",
        "  jwt: {algorithm: HS256, secret: 'a secret of 32 bytes and some more'}\n  keys:",
    )
    file.write_text(text)
    use("jwt:alice", 3)
    assert show(capsys, file, "jwt:alice") == "jwt:alice: no quota holds for this key\n"
    assert "3 of 7 requests, 4 left" in show(capsys, file, "jwt:alice", "--plan", "gold")


def test_keys_of_a_database_have_the_plan_that_stands_there(capsys, file, use):
    file.write_text(
        "auth: {keys: {database: {enabled: true}}}\n"
        + CONFIG[CONFIG.index("leases:") :].replace("free:", "default:")
    )
    main(["keys", "create", "--config", str(file), "--plan", "gold", "--json"])
    key_id = json.loads(capsys.readouterr().out)["id"]
    use(key_id, 2)
    assert "2 of 7 requests, 5 left" in show(capsys, file, key_id)
    assert refused(capsys, file, "key_0") == "portal-gateway: there is no key with this id"


def test_a_key_itself_is_refused(capsys, file):
    """It would stand in the history of the shell; the id does as well."""
    reason = refused(capsys, file, "sk_live_freemium_0123")
    assert reason == "portal-gateway: this is an API key; write its id, free"


def test_an_id_that_nobody_has_is_refused(capsys, file):
    reason = refused(capsys, file, "freee")
    assert reason == "portal-gateway: there is no key with this id"


def test_a_database_that_is_away(capsys, file, tmp_path):
    (tmp_path / "portal-gateway.sqlite").mkdir()
    reason = refused(capsys, file, "free")
    assert reason == "portal-gateway: the database cannot be used: IsADirectoryError"


def test_a_configuration_that_is_wrong(capsys, file):
    file.write_text("quotas: 5")
    with pytest.raises(SystemExit) as ended:
        main(["quota", "show", "free", "--config", str(file)])
    assert ended.value.code == 1
    assert "quotas" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["quota"], ["quota", "show"], ["quota", "show", "free"]])
def test_a_command_line_that_is_wrong(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err
