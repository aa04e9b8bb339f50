import pytest
from sqlalchemy import update
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.model import key_digest
from portal_gateway.errors import GatewayError
from portal_gateway.exchange import Caller
from portal_gateway.frontend.key_questions import BATCH, MOST_UNDER_WAY, PLACES
from portal_gateway.frontend.stored_keys import POLL_INTERVAL, StoredKeys
from portal_gateway.policy.api_key_text import key_text
from portal_gateway.store.api_key_rows import (
    API_KEYS,
    StoredKey,
    insert_key,
    read_key,
    revoke_key,
    rotate_key,
)
from portal_gateway.store.database import Database
from portal_gateway.testing.threads import NoThreads

NOW = 1_795_608_000
TTL = 300.0


class World:
    """A database, and two gateways' views of its keys."""

    def __init__(self, tmp_path):
        self.clock = Clock()
        self.file = tmp_path / "keys.sqlite"
        self.threads = NoThreads()
        self.section = DatabaseSection(file=self.file, timeout=0.1)
        self.database = Database(self.section, self.threads)
        self.questions = 0
        self.away = False
        self.late = None
        run = self.database.run

        def counted(work):
            self.questions += 1
            if self.away:
                return run(lambda _connection: (_ for _ in ()).throw(OSError("away")))
            if self.late is None:
                return run(work)
            # It is read now, and heard of later.
            self.late.append((run(work), Deferred()))
            return self.late[-1][1]

        self.database.run = counted
        self.keys = self.view()

    def view(self, **options):
        return StoredKeys(self.database, TTL, self.clock, self.now, **options)

    def now(self):
        return NOW + self.clock.seconds()

    def do(self, function, *arguments):
        return self.database.run_here(lambda connection: function(connection, *arguments))

    def create(self, number=1, key_id="key_a", **fields):
        secret = key_text(number.to_bytes(32)).encode()
        key = StoredKey(key_id, "", frozenset({"read"}), "", None, NOW)._replace(**fields)
        self.do(insert_key, key, key_digest(secret))
        return secret

    def hear(self):
        """Let what came late be heard, in the order in which it was asked."""
        late, self.late = self.late, None
        for read, heard in late:
            read.chainDeferred(heard)

    def ask(self, secret, keys=None):
        """The id of the caller, or the code of the refusal; None while it waits."""
        found = (keys or self.keys).look_up(secret, self.now())
        if not isinstance(found, Deferred):
            found = succeed(found)
        answers = []
        found.addBoth(answers.append)
        return told(*answers) if answers else None


class Silent:
    """What calls when there are changes; here the test does."""

    def start(self):
        pass

    def stop(self):
        return succeed(None)


def told(answer):
    if isinstance(answer, Caller):
        return answer.key_id
    assert isinstance(answer, GatewayError), answer
    return answer.cause.code


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.database.close()
    assert world.clock.getDelayedCalls() == []


@pytest.fixture
def running(world):
    world.keys.startService()
    yield world
    world.keys.stopService()


def test_the_caller_is_what_the_database_says(world):
    secret = world.create(plan="gold", leases=("tool",), description="a friend")
    answers = []
    world.keys.look_up(secret, NOW).addCallback(answers.append)
    (caller,) = answers
    assert (caller.key_id, caller.scopes, caller.plan) == ("key_a", frozenset({"read"}), "gold")
    assert (caller.leases, caller.description) == (("tool",), "a friend")
    assert (caller.source, caller.digest) == ("database", key_digest(secret))


def test_what_the_database_cannot_have_made_is_not_asked_for(world):
    assert world.ask(b"sk_live_abc123") == "invalid_api_key"
    mistyped = bytearray(world.create())
    mistyped[-1] ^= 1
    assert world.ask(bytes(mistyped)) == "invalid_api_key"
    assert world.questions == 0


def test_an_answer_is_remembered_for_its_time(world):
    secret, stranger = world.create(), key_text(bytes(32)).encode()
    for _ in range(10):
        assert world.ask(secret) == "key_a"
        assert world.ask(stranger) == "invalid_api_key"
    assert world.questions == 2
    world.clock.advance(TTL)
    assert world.ask(secret) == "key_a"
    assert world.questions == 3


def test_requests_that_come_meanwhile_wait_for_one_answer(world):
    secret = world.create()
    world.threads.held = True
    waiting = [world.keys.look_up(secret, NOW) for _ in range(5)]
    waiting[1].addErrback(lambda _: None).cancel()
    answers = []
    for one in (0, 2, 3, 4):
        waiting[one].addCallback(answers.append)
    assert world.questions == 1
    world.threads.release()
    assert [caller.key_id for caller in answers] == ["key_a"] * 4


def test_an_expired_key_and_an_old_secret_are_told_so(world):
    expired = world.create(1, "key_e", expires_at=NOW - 1)
    assert world.ask(expired) == "expired_api_key"
    old = world.create(2, "key_r")
    new = key_text((3).to_bytes(32)).encode()
    world.do(rotate_key, "key_r", key_digest(new), NOW, 60)
    assert (world.ask(old), world.ask(new)) == ("key_r", "key_r")
    world.clock.advance(60)
    assert (world.ask(old), world.ask(new)) == ("expired_api_key", "key_r")


def test_a_change_is_known_with_the_next_poll(running):
    secret, other = running.create(1), running.create(2, "key_b")
    running.clock.advance(POLL_INTERVAL)
    assert (running.ask(secret), running.ask(other)) == ("key_a", "key_b")
    running.do(revoke_key, "key_a", NOW)
    assert running.ask(secret) == "key_a"
    running.clock.advance(POLL_INTERVAL)
    assert (running.ask(secret), running.ask(other)) == ("invalid_api_key", "key_b")


def test_a_key_that_was_asked_for_too_early_is_good_with_the_next_poll(running):
    secret = key_text((1).to_bytes(32)).encode()
    assert running.ask(secret) == "invalid_api_key"
    assert running.create(1) == secret
    running.clock.advance(POLL_INTERVAL)
    assert running.ask(secret) == "key_a"


def test_an_answer_from_before_a_change_is_asked_for_again(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.late = []
    asked = running.keys.look_up(secret, NOW)
    late, running.late = running.late, None
    running.do(revoke_key, "key_a", NOW)
    running.clock.advance(POLL_INTERVAL)
    answers = []
    asked.addCallback(answers.append)
    running.late = late
    running.hear()
    assert [told(found) for found in answers] == ["invalid_api_key"]
    assert running.ask(secret) == "invalid_api_key"


def test_an_answer_that_is_heard_before_the_change_is_forgotten_with_it(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.late = []
    asked = running.keys.look_up(secret, NOW)
    running.do(revoke_key, "key_a", NOW)
    running.clock.advance(POLL_INTERVAL)
    answers = []
    asked.addCallback(answers.append)
    running.hear()
    assert [told(found) for found in answers] == ["key_a"], "read before it was revoked"
    assert running.ask(secret) == "invalid_api_key"


def test_what_is_told_of_while_changes_are_read_is_read_afterwards(world):
    heard = []
    keys = world.view(listen=lambda call: heard.append(call) or Silent())
    keys.startService()
    secret = world.create()
    world.clock.advance(POLL_INTERVAL)
    assert world.ask(secret, keys) == "key_a"
    world.late = []
    heard[0]()
    world.do(revoke_key, "key_a", NOW)
    heard[0]()
    world.hear()
    assert world.ask(secret, keys) == "invalid_api_key", "with no other poll than these"
    keys.stopService()
    questions = world.questions
    heard[0]()
    assert world.questions == questions, "nothing is asked at the end"


def test_a_poll_that_came_too_late_has_told_nothing(world):
    world.database = Database(world.section, world.threads, world.clock)
    keys = world.view()
    keys.startService()
    secret = world.create()
    world.clock.advance(POLL_INTERVAL)
    assert world.ask(secret, keys) == "key_a"
    world.threads.held = True
    world.clock.advance(POLL_INTERVAL)
    world.do(revoke_key, "key_a", NOW)
    world.clock.advance(world.section.timeout)
    assert not keys.available
    # What the poll reads now nobody waits for.
    world.threads.release()
    assert world.ask(secret, keys) == "key_a"
    world.clock.advance(POLL_INTERVAL)
    assert keys.available
    assert world.ask(secret, keys) == "invalid_api_key"
    keys.stopService()


def test_what_was_revoked_before_the_first_poll_is_not_good_after_it(world):
    secret = world.create()
    assert world.ask(secret) == "key_a"
    world.late = []
    asked = world.keys.look_up(world.create(2, "key_b"), NOW)
    late, world.late = world.late, None
    world.do(revoke_key, "key_a", NOW)
    world.do(revoke_key, "key_b", NOW)
    world.keys.startService()
    assert world.ask(secret) == "invalid_api_key"
    answers = []
    asked.addCallback(answers.append)
    world.late = late
    world.hear()
    assert [told(found) for found in answers] == ["invalid_api_key"]
    world.keys.stopService()


def stranger(number):
    return key_text((10**9 + number).to_bytes(32)).encode()


def flood(world, count, address="192.0.2.1", is_over=None, start=0):
    """Random keys that look right; what came of those that wait, and of those that do not."""
    answers, refused = [], []
    for number in range(start, start + count):
        found = world.keys.look_up(stranger(number), NOW, address, is_over)
        if isinstance(found, Deferred):
            found.addCallbacks(
                lambda answer: answers.append(told(answer)),
                lambda failure: refused.append(told(failure.value)),
            )
        else:
            refused.append(told(found))
    return answers, refused


def test_a_flood_of_unknown_keys_keeps_no_revocation_waiting(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    assert running.ask(secret) == "key_a"
    running.threads.held = True
    before = running.questions
    answers, refused = flood(running, 3_000)
    assert set(refused) == {"rate_limit_exceeded"}
    assert running.keys.questions.refused == len(refused)
    running.do(revoke_key, "key_a", NOW)
    running.clock.advance(POLL_INTERVAL)
    assert running.questions - before == MOST_UNDER_WAY + 1, "the poll is behind few of them"
    assert running.keys.available
    running.threads.release()
    assert running.ask(secret) == "invalid_api_key"
    assert answers == ["invalid_api_key"] * (3_000 - len(refused))
    assert running.questions - before < 3_000 / BATCH * 5


@pytest.mark.parametrize("is_over", [None, lambda network: network == "192.0.2.1"])
@pytest.mark.parametrize("address", ["192.0.2.2", "2001:db8::1"])
def test_a_good_key_waits_for_no_flood_of_another_address(running, is_over, address):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.threads.held = True
    flood(running, 3_000, is_over=is_over)
    before, answers = running.questions, []
    found = running.keys.look_up(secret, NOW, address, is_over)
    found.addCallback(lambda answer: answers.append((told(answer), running.questions - before)))
    running.threads.release()
    ((caller, batches),) = answers
    assert caller == "key_a"
    assert batches <= MOST_UNDER_WAY, "it is in the next one"


def test_a_good_key_of_the_address_of_a_flood_is_answered_too(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.threads.held = True
    flood(running, 1_500, is_over=lambda _network: True)
    answers = []
    found = running.keys.look_up(secret, NOW, "192.0.2.1", lambda _network: True)
    found.addCallback(lambda answer: answers.append(told(answer)))
    running.threads.release()
    assert answers == ["key_a"]


def test_the_addresses_of_one_network_wait_together(running):
    running.threads.held = True
    refused = [
        flood(running, 1, f"2001:db8::{number:x}", start=number)[1] for number in range(1, 4_000)
    ]
    assert ["rate_limit_exceeded"] in refused
    assert flood(running, 1, "2001:db8:0:1::1", start=5_000) == ([], [])
    running.threads.release()


def test_a_crowd_of_networks_leaves_places_for_another(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.threads.held = True
    for network in range(2_000):
        flood(running, 20, f"10.0.{network >> 8}.{network & 255}", start=20 * network)
    answers = []
    found = running.keys.look_up(secret, NOW, "192.0.2.2")
    found.addCallback(lambda answer: answers.append(told(answer)))
    running.threads.release()
    assert answers == ["key_a"]


def test_more_networks_than_there_are_places_are_refused_as_if_it_were_away(running):
    running.threads.held = True
    refused = []
    for network in range(2 * PLACES + 1_000):
        address = f"10.{network >> 16}.{network >> 8 & 255}.{network & 255}"
        refused += flood(running, 1, address, start=network)[1]
    assert set(refused) == {"keys_unavailable"}
    running.threads.release()


def test_a_flood_does_not_keep_a_request_from_being_asked_again(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    running.threads.held = True
    for network in range(PLACES // 4):
        address = f"10.{network >> 16}.{network >> 8 & 255}.{network & 255}"
        flood(running, 20, address, start=20 * network)
    before, answers = running.questions, []
    found = running.keys.look_up_again(key_digest(secret), NOW)
    found.addCallback(lambda answer: answers.append((told(answer), running.questions - before)))
    running.threads.release()
    assert answers[0][0] == "key_a"
    assert answers[0][1] <= MOST_UNDER_WAY


def test_who_is_in_line_when_the_database_goes_away_is_told_with_the_first(running):
    running.threads.held = True
    answers, refused = flood(running, 500)
    assert refused == []
    running.away = True
    # Those that were asked already have an answer, and then it goes away.
    running.threads.release()
    assert answers.count("invalid_api_key") == MOST_UNDER_WAY
    assert answers.count("keys_unavailable") == 500 - MOST_UNDER_WAY
    assert running.questions <= MOST_UNDER_WAY + 3, "nobody else was asked for"


@pytest.mark.parametrize("fields", [{"scopes": "no JSON"}, {"expires_at": 10**17}])
def test_a_key_that_cannot_be_read_is_no_fault_of_those_asked_with_it(running, fields):
    secrets = [running.create(number, f"key_{number}") for number in range(1, 6)]
    running.clock.advance(POLL_INTERVAL)
    wrong = update(API_KEYS).where(API_KEYS.c.id == "key_4").values(**fields)
    running.database.run_here(lambda connection: connection.execute(wrong))
    running.threads.held = True
    answers = {}
    for number, secret in enumerate(secrets):
        found = running.keys.look_up(secret, NOW)
        found.addCallback(lambda answer, number=number: answers.update({number: told(answer)}))
    running.threads.release()
    assert [answers[number] for number in range(5)] == [
        "key_1",
        "key_2",
        "key_3",
        "keys_unavailable",
        "key_5",
    ]
    assert running.keys.available


def test_a_key_that_expires_while_it_is_asked_for_is_told_so(running):
    secret = running.create(expires_at=NOW + 1)
    running.threads.held = True
    answers = []
    running.keys.look_up(secret, running.now()).addCallback(answers.append)
    running.clock.advance(2)
    running.threads.release()
    assert [told(found) for found in answers] == ["expired_api_key"]


def test_while_the_database_is_away_only_what_is_remembered_is_good(running):
    lines = []
    observer = lambda event: lines.append(event["log_format"])  # noqa: E731
    globalLogPublisher.addObserver(observer)
    known, unknown = running.create(1), running.create(2, "key_b")
    assert running.ask(known) == "key_a"
    running.away = True
    for _ in range(20):
        running.clock.advance(POLL_INTERVAL)
        assert running.ask(known) == "key_a"
        assert running.ask(unknown) == "keys_unavailable"
    running.clock.advance(TTL)
    assert running.ask(known) == "keys_unavailable"
    running.away = False
    running.clock.advance(POLL_INTERVAL)
    assert (running.ask(known), running.ask(unknown)) == ("key_a", "key_b")
    globalLogPublisher.removeObserver(observer)
    assert len(lines) == 2, "one line for each transition"


def test_a_revoked_key_is_not_revived_by_a_database_that_goes_away(running):
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    assert running.ask(secret) == "key_a"
    running.do(revoke_key, "key_a", NOW)
    running.clock.advance(POLL_INTERVAL)
    running.away = True
    assert running.ask(secret) == "keys_unavailable"
    running.clock.advance(POLL_INTERVAL)
    assert running.ask(secret) == "keys_unavailable"


def test_use_is_written_down_at_the_end_and_only_that_of_good_keys(world):
    world.keys.startService()
    good, expired = world.create(), world.create(2, "key_e", expires_at=NOW)
    world.clock.advance(5)
    assert (world.ask(good), world.ask(expired)) == ("key_a", "expired_api_key")
    world.keys.stopService()
    assert world.do(read_key, "key_a").last_used_at == NOW + 5
    assert world.do(read_key, "key_e").last_used_at is None


def test_a_database_that_calls_is_asked_at_once(world):
    calls = []

    class Calling:
        def __init__(self, heard):
            self.heard = heard

        def start(self):
            calls.append("start")

        def stop(self):
            calls.append("stop")
            return succeed(None)

    made = []
    keys = world.view(listen=lambda heard: made.append(Calling(heard)) or made[0])
    keys.startService()
    secret = world.create()
    world.clock.advance(POLL_INTERVAL)
    assert world.ask(secret, keys) == "key_a"
    world.do(revoke_key, "key_a", NOW)
    made[0].heard()
    assert world.ask(secret, keys) == "invalid_api_key"
    keys.stopService()
    assert calls == ["start", "stop"]


def test_a_defect_is_logged_and_answered(world):
    world.create()
    secret = key_text((1).to_bytes(32)).encode()
    world.database.run = lambda _work: succeed("nonsense")
    failures = []
    observer = lambda event: failures.append(event.get("log_failure"))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    try:
        assert world.ask(secret) == "keys_unavailable"
    finally:
        globalLogPublisher.removeObserver(observer)
    assert len([failure for failure in failures if failure]) == 1


def test_a_defect_of_one_poll_does_not_end_them(running):
    failures = []
    observer = lambda event: failures.append(event.get("log_failure"))  # noqa: E731
    globalLogPublisher.addObserver(observer)
    run, running.database.run = running.database.run, lambda _work: succeed("nonsense")
    running.clock.advance(POLL_INTERVAL)
    globalLogPublisher.removeObserver(observer)
    assert len([failure for failure in failures if failure]) == 1
    running.database.run = run
    secret = running.create()
    running.clock.advance(POLL_INTERVAL)
    assert running.ask(secret) == "key_a"
