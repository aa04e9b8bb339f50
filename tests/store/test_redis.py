"""Asking scripts in Redis: when it is well, when it falters in every way, and when it is back."""

import pytest
from fake_redis import NOSCRIPT, PORT, RedisWorld
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from portal_gateway.store import redis
from portal_gateway.store.redis import MOST_IN_FLIGHT, RedisUnavailable
from portal_gateway.store.redis_script import Call, Script

SCRIPT = Script("return redis.status_reply('seven')")
OTHER = Script("return 8")


def read_seven(reply):
    if reply != "seven":
        raise ValueError(reply)
    return 7


@pytest.fixture
def worlds():
    made = []

    def make(**options):
        world = RedisWorld(**options)
        world.redis.answers[SCRIPT.digest] = b"+seven\r\n"
        made.append(world)
        return world

    yield make
    for world in made:
        world.stop()


@pytest.fixture(autouse=True)
def logged():
    """What is logged, as lines; nothing of it is a failure or a traceback."""
    events = []
    globalLogPublisher.addObserver(events.append)
    lines = []

    def told():
        lines.extend(
            event["log_format"].format(**event)
            for event in events
            if event["log_namespace"].startswith("portal_gateway")
        )
        events.clear()
        found = lines[:]
        lines.clear()
        return found

    yield told
    globalLogPublisher.removeObserver(events.append)
    assert not [event for event in events if event["log_level"] >= LogLevel.error]


class Asked:
    """A question, and what came of it."""

    def __init__(self, world, call=None, read=read_seven):
        self.results = []
        call = call or Call(SCRIPT, [world.scripts.key("a")], [b"1"])
        self.deferred = world.scripts.run(call, read).addBoth(self.results.append)

    @property
    def over(self):
        return bool(self.results)

    @property
    def reason(self):
        """Why there was no answer."""
        (failure,) = self.results
        assert isinstance(failure, Failure), failure
        assert failure.check(RedisUnavailable)
        return str(failure.value)


def ask(world, **options):
    asked = Asked(world, **options)
    world.reactor.settle()
    return asked


# When it is well.


def test_a_script_is_asked_and_its_answer_read(worlds, logged):
    world = worlds()
    assert world.scripts.usable
    assert ask(world).results == [7]
    assert logged() == ["Redis at redis.test:6379 answers"]
    assert world.figures.usable is True
    assert world.figures.transitions == 0


def test_keys_and_arguments_arrive(worlds):
    world = worlds(prefix="gw:eu")
    seen = []
    world.redis.answers[SCRIPT.digest] = lambda *both: seen.append(both) or b"+seven\r\n"
    call = Call(SCRIPT, [world.scripts.key("a:\N{SNOWMAN}"), b"b"], [b"\r\n", b""])
    assert ask(world, call=call).results == [7]
    assert seen == [([b"{gw:eu}:a:\xe2\x98\x83", b"b"], [b"\r\n", b""])]


def test_the_script_is_sent_once_and_then_its_digest(worlds):
    world = worlds()
    for _ in range(5):
        assert ask(world).results == [7]
    assert world.redis.counts == {b"EVAL": 2, b"EVALSHA": 5}
    assert world.figures.loads == 1


def test_a_flushed_script_is_loaded_once_for_all_who_wait(worlds):
    """SCRIPT FLUSH with questions under way, whose order is kept."""
    world = worlds()
    ask(world)
    ask(world, call=Call(OTHER, [], []), read=lambda reply: reply)
    world.redis.known.clear()
    before = world.redis.counts[b"EVAL"]
    asked = [Asked(world) for _ in range(20)]
    world.reactor.settle()
    assert [one.results for one in asked] == [[7]] * 20
    assert world.redis.counts[b"EVAL"] == before + 1
    assert world.figures.usable
    assert world.figures.failures == 0


def test_a_script_that_is_never_known_is_a_failure(worlds):
    world = worlds()
    world.redis.answers[SCRIPT.digest] = NOSCRIPT
    assert ask(world).reason == "it answers NOSCRIPT"
    assert not world.scripts.usable


def test_many_questions_go_over_one_connection_without_waiting(worlds):
    world = worlds()
    asked = [Asked(world) for _ in range(100)]
    assert world.scripts.in_flight == 100
    world.reactor.settle()
    assert [one.results for one in asked] == [[7]] * 100
    assert world.scripts.in_flight == 0
    assert len(world.redis.connections) == 1


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (b":5\r\n", 5),
        (b"$3\r\nabc\r\n", b"abc"),
        (b"$-1\r\n", None),
        (b"*2\r\n:1\r\n$2\r\n12\r\n", [1, b"12"]),
        (b"*0\r\n", []),
        (b"+fine\r\n", "fine"),
    ],
)
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_every_kind_of_answer_is_read_in_whatever_pieces(worlds, answer, value, chunk):
    world = worlds()
    world.redis.answers[SCRIPT.digest] = answer
    world.reactor.links[-1].chunk = chunk
    asked = [Asked(world, read=lambda reply: reply) for _ in range(3)]
    world.reactor.settle()
    assert [one.results for one in asked] == [[value]] * 3


def test_connections_are_made_one_a_second_up_to_the_pool_size(worlds):
    world = worlds(pool_size=3)
    seen = []
    for _ in range(5):
        seen.append(len(world.redis.open))
        world.reactor.advance(1)
    assert seen == [1, 2, 3, 3, 3]
    assert world.reactor.getDelayedCalls() == []


def test_the_least_busy_connection_is_asked(worlds):
    world = worlds(pool_size=2)
    world.reactor.advance(1)
    for link in world.reactor.links:
        link.frozen = True
    asked = [Asked(world) for _ in range(10)]
    assert [c.waiting for c in world.scripts._connections] == [5, 5]
    for link in world.reactor.links:
        link.frozen = False
    world.reactor.settle()
    assert all(one.results == [7] for one in asked)


def test_the_user_its_password_and_the_database_are_said_first(worlds):
    world = worlds(start=False, username="gateway", password="h\u00e9", db=3)
    world.redis.username, world.redis.password = b"gateway", "h\u00e9".encode()
    world.scripts.start()
    world.reactor.settle()
    assert ask(world).results == [7]
    assert [words[0] for words in world.redis.commands[:3]] == [b"AUTH", b"SELECT", b"EVAL"]
    assert world.redis.commands[1] == [b"SELECT", b"3"]


def test_an_idle_connection_that_redis_closes_is_made_again_without_a_word(worlds, logged):
    world = worlds()
    logged()
    for _ in range(3):
        world.reactor.advance(60)
        world.redis.open[0].transport.loseConnection()
        world.reactor.settle()
        assert ask(world).results == [7]
    assert logged() == []
    assert world.figures.transitions == 0


def test_a_question_that_nobody_waits_for_holds_nothing_up(worlds):
    world = worlds()
    first, second = Asked(world), Asked(world)
    first.deferred.cancel()
    world.reactor.settle()
    assert second.results == [7]
    assert world.scripts.in_flight == 0
    assert world.figures.usable


def test_there_is_a_bound_for_what_is_under_way(worlds):
    world = worlds()
    world.redis.silent = True
    asked = [Asked(world) for _ in range(MOST_IN_FLIGHT)]
    assert not world.scripts.usable
    assert Asked(world).reason == "Redis cannot be asked at the moment"
    assert world.figures.usable
    assert not any(one.over for one in asked)
    world.reactor.advance(0.06)
    assert all(one.over for one in asked)


# When it falters.

ERRORS = {
    b"-READONLY You can't write against a read only replica.\r\n": "it answers READONLY",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n": "it answers OOM",
    b"-NOAUTH Authentication required.\r\n": "it answers NOAUTH",
    b"-LOADING Redis is loading the dataset in memory\r\n": "it answers LOADING",
    b"-BUSY Redis is busy running a script.\r\n": "it answers BUSY",
    b"-CLUSTERDOWN The cluster is down\r\n": "it answers CLUSTERDOWN",
    b"-ERR unknown command\r\n": "it answers ERR",
    b"-sk_live_secret in an error\r\n": "it answers ERR",
    b"-\r\n": "it answers ERR",
}

NONSENSE = {
    b"+eight\r\n": "it answers what makes no sense",
    b":7\r\n": "it answers what makes no sense",
    b"$-1\r\n": "it answers what makes no sense",
    b"*1\r\n+seven\r\n": "it answers what makes no sense",
    b":seven\r\n": "it answers with what cannot be read",
    b"$seven\r\n": "it answers with what cannot be read",
    b"*seven\r\n": "it answers with what cannot be read",
    b"+\xff\xfe\r\n": "it answers with what cannot be read",
    b"x" * 20_000: "its answer is too long",
    b"+" + b"x" * 20_000 + b"\r\n": "its answer is too long",
    b"$100000000\r\n" + b"x" * 70_000: "its answer is too long",
    b"*100000000\r\n" + b":1\r\n" * 20_000: "its answer is too long",
}

SILENCE = {
    b"": "no answer within 50 ms",
    b"HTTP/1.1 400 Bad Request\r\n\r\n": "no answer within 50 ms",
    b"\r\n\r\n\r\n": "no answer within 50 ms",
    b"$7\r\nsev": "no answer within 50 ms",
    b"*3\r\n:1\r\n": "no answer within 50 ms",
    b"$-7\r\n": "no answer within 50 ms",
    b"*-7\r\n": "no answer within 50 ms",
}


@pytest.mark.parametrize("answer", [*ERRORS, *NONSENSE, *SILENCE], ids=lambda answer: answer[:24])
def test_a_bad_answer_fails_at_once_and_for_all(worlds, logged, answer):
    """R9: READONLY, NOAUTH, OOM, garbage, a reply that is cut, nothing at all."""
    reason = {**ERRORS, **NONSENSE, **SILENCE}[answer]
    world = worlds()
    ask(world)
    world.reactor.advance(redis.STEADY)
    logged()
    world.redis.answers[SCRIPT.digest] = world.redis.broken = answer
    asked = [Asked(world) for _ in range(1 if answer in SILENCE else 5)]
    world.reactor.advance(0.051)
    assert not world.figures.usable
    assert {one.reason for one in asked} == {reason}
    assert Asked(world).reason == "Redis cannot be asked at the moment"
    assert logged() == [f"Redis at redis.test:6379 cannot be asked: {reason}"]
    assert not world.redis.connections[0].connected
    # And it stays so while that goes on.
    world.reactor.advance(20)
    assert not world.figures.usable
    assert logged() == []
    assert world.figures.transitions == 1
    # Until it is over.
    world.redis.answers[SCRIPT.digest] = b"+seven\r\n"
    world.redis.broken = None
    world.reactor.advance(1.01)
    assert ask(world).results == [7]
    assert logged() == ["Redis at redis.test:6379 answers again, after 21.0 s"]


@pytest.mark.parametrize("part", [b"", b"+sev", b"$100\r\nabc", b"*2\r\n:1\r\n"])
def test_a_connection_that_is_reset_within_an_answer(worlds, logged, part):
    world = worlds()
    world.reactor.advance(redis.STEADY)
    logged()
    world.redis.answers[SCRIPT.digest] = part
    asked = [Asked(world), Asked(world)]
    world.reactor.settle()
    world.redis.open[0].transport.abortConnection()
    world.reactor.settle()
    assert {one.reason for one in asked} == {"the connection was lost"}
    assert logged()[0] == "Redis at redis.test:6379 cannot be asked: the connection was lost"


def test_redis_killed_and_back(worlds, logged):
    """R8, without the load: what is under way fails, back within 5 s, one attempt a second."""
    world = worlds(pool_size=3)
    world.reactor.advance(redis.STEADY)
    logged()
    world.redis.silent = True
    asked = [Asked(world) for _ in range(9)]
    world.reactor.settle()
    world.kill()
    assert {one.reason for one in asked} == {"the connection was lost"}
    assert not world.figures.usable
    before = world.figures.attempts
    world.reactor.advance(10)
    assert 9 <= world.figures.attempts - before <= 11
    world.redis.silent = False
    world.listen()
    world.reactor.advance(1.01)
    assert ask(world).results == [7]
    assert logged() == [
        "Redis at redis.test:6379 cannot be asked: the connection was lost",
        "Redis at redis.test:6379 answers again, after 11.0 s",
    ]


def test_a_hung_redis_is_noticed_once_and_waited_for_by_nobody_else(worlds):
    """R9: SIGSTOP. The first answer that is late ends the wait of all."""
    world = worlds()
    ask(world)
    world.reactor.links[-1].frozen = True
    asked = []
    for _ in range(10):
        asked.append(Asked(world))
        world.reactor.advance(0.004)
    assert not any(one.over for one in asked)
    world.reactor.advance(0.011)
    assert {one.reason for one in asked} == {"no answer within 50 ms"}
    assert Asked(world).over
    world.reactor.links[-1].frozen = False


def test_a_hang_while_connecting_ends_with_the_attempt(worlds, logged):
    """A network that drops everything, and one that connects and then says nothing."""
    world = worlds(listening=False, start=False)
    world.reactor.silent_ports.add(PORT)
    world.scripts.start()
    world.reactor.advance(1.99)
    assert world.figures.usable is None
    world.reactor.advance(0.02)
    assert logged() == ["Redis at redis.test:6379 cannot be asked: no connection within 2 s"]
    world.reactor.advance(20)
    assert 10 <= world.figures.attempts <= 12
    world.reactor.silent_ports.clear()
    world.listen()
    world.redis.silent = True
    world.reactor.advance(5)
    assert not world.figures.usable
    world.redis.silent = False
    world.reactor.advance(2)
    assert ask(world).results == [7]


def test_a_slow_redis_is_not_asked(worlds, logged):
    """R9: with 200 ms for each answer nothing is in time, and no probe is."""
    world = worlds()
    world.reactor.advance(redis.STEADY)
    logged()
    world.redis.delay = 0.2
    late = Asked(world)
    world.reactor.advance(0.051)
    assert late.reason == "no answer within 50 ms"
    world.reactor.advance(30)
    assert not world.figures.usable
    assert world.figures.attempts <= 32
    assert logged() == ["Redis at redis.test:6379 cannot be asked: no answer within 50 ms"]
    world.redis.delay = 0.02
    world.reactor.advance(2)
    quick = Asked(world)
    # Twice, as the script has to be sent.
    world.reactor.advance(0.041)
    assert quick.results == [7]
    world.reactor.advance(1)


def test_an_answer_to_nothing_costs_the_connection(worlds):
    """Nobody can be given it, and nobody can tell what the next one is for."""
    world = worlds()
    world.reactor.advance(2)
    world.redis.open[0].transport.write(b"+surprise\r\n")
    world.reactor.settle()
    assert not world.redis.connections[0].connected
    assert ask(world).results == [7]
    world.reactor.advance(2)
    world.redis.answers[SCRIPT.digest] = b"+seven\r\n+seven\r\n"
    assert ask(world).results == [7]
    assert not world.redis.connections[1].connected
    world.redis.answers[SCRIPT.digest] = b"+seven\r\n"
    assert ask(world).results == [7]
    assert world.figures.transitions == 0


def test_the_last_connection_that_is_lost_soon_after_it_was_made_is_a_failure(worlds, logged):
    """It cannot be made again at once, so there would be a time when nobody knows."""
    world = worlds()
    logged()
    world.redis.open[0].transport.loseConnection()
    world.reactor.settle()
    assert world.figures.usable is False
    assert logged() == ["Redis at redis.test:6379 cannot be asked: the connection was lost"]
    world.reactor.advance(2)
    assert ask(world).results == [7]


def test_an_answer_that_waits_while_this_process_is_busy_is_not_late(worlds):
    world = worlds()
    ask(world)
    asked = Asked(world)
    # The reactor makes calls that are due before it reads what has come.
    world.reactor.rightNow += 3.0
    world.scripts._timer.cancel()
    world.scripts._look_for_late_answers()
    assert not asked.over
    world.reactor.links[-1].flush()
    world.reactor.settle()
    assert asked.results == [7]
    assert world.figures.usable


@pytest.mark.parametrize("password", [None, "wrong"])
def test_a_password_that_is_missing_or_wrong_is_said_and_not_shown(worlds, logged, password):
    world = worlds(start=False, password=password)
    world.redis.password = b"right"
    world.scripts.start()
    world.reactor.advance(10)
    code = "NOAUTH" if password is None else "WRONGPASS"
    assert logged() == [f"Redis at redis.test:6379 cannot be asked: it answers {code}"]
    assert world.figures.transitions == 0
    assert world.figures.attempts == 11


def test_a_database_that_is_not_there_is_an_error(worlds, logged):
    world = worlds(db=99)
    assert logged() == ["Redis at redis.test:6379 cannot be asked: it answers ERR"]
    assert not world.scripts.usable


def test_nobody_there_at_the_start(worlds, logged):
    """R30: the gateway starts, and uses Redis when it comes."""
    world = worlds(listening=False)
    assert Asked(world).over
    world.reactor.advance(5)
    assert logged() == ["Redis at redis.test:6379 cannot be asked: the connection was refused"]
    world.listen()
    world.reactor.advance(1)
    assert ask(world).results == [7]
    assert logged() == ["Redis at redis.test:6379 answers again, after 6.0 s"]


def test_further_connections_that_fail_do_not_make_it_unusable(worlds, logged):
    world = worlds(pool_size=3)
    logged()
    world.port.stopListening()
    world.reactor.advance(10)
    assert world.figures.usable
    assert ask(world).results == [7]
    assert logged() == []


def test_a_redis_on_the_verge_is_asked_after_more_good_probes_each_time(worlds, logged):
    world = worlds()
    world.reactor.advance(60)
    pauses = []
    for _ in range(6):
        assert world.scripts.usable
        world.redis.answers[SCRIPT.digest] = b"-OOM\r\n"
        ask(world)
        world.redis.answers[SCRIPT.digest] = b"+seven\r\n"
        failed = world.reactor.seconds()
        while not world.scripts.usable:
            world.reactor.advance(0.1)
        pauses.append(round(world.reactor.seconds() - failed))
        world.reactor.advance(2)
    # One probe, two, four and no more, at one a second, the first at once.
    assert pauses == [0, 1, 3, 3, 3, 3]
    world.reactor.advance(redis.STEADY)
    world.redis.answers[SCRIPT.digest] = b"-OOM\r\n"
    ask(world)
    world.reactor.advance(0.1)
    assert world.scripts.usable


def test_stopping_fails_what_is_under_way_and_says_nothing(worlds, logged):
    world = worlds()
    logged()
    world.redis.silent = True
    asked = [Asked(world) for _ in range(3)]
    world.scripts.close()
    assert {one.reason for one in asked} == {"the gateway is stopping"}
    assert not world.scripts.usable
    assert logged() == []


@pytest.mark.parametrize("after", [0.0, 0.5, 2.5])
def test_it_can_be_stopped_while_it_tries(worlds, after):
    world = worlds(listening=False, start=False)
    world.reactor.silent_ports.add(PORT)
    world.scripts.start()
    world.reactor.advance(after)
    world.scripts.close()
    world.reactor.advance(10)
    assert world.reactor.getDelayedCalls() == []


def test_a_repr_shows_no_password(worlds):
    world = worlds(password="sk_canary_redis")
    assert "sk_canary" not in repr(vars(world.scripts))
