import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.configured_names import ConfiguredNames
from portal_gateway.relay.directory import (
    ANSWER_LIFETIME,
    MAX_DEPARTED,
    REFRESH_INTERVAL,
    SEEN_LIFETIME,
    UNKNOWN_INTERVAL,
    Directory,
)
from portal_gateway.relay.slices import SLICE
from portal_gateway.wire.errors import MalformedPacket
from portal_gateway.wire.limits import MAX_LEASE_NAME_BYTES
from portal_gateway.wire.messages import ListedLease, RelayInfo

A, B, C = (letter * 26 for letter in "ABC")


def numbered_id(number):
    return f"{number:026d}".translate(str.maketrans("0189", "ABCD"))


class Relay:
    """Answers, or keeps the question open while ``silent``."""

    def __init__(self, *leases):
        self.leases = leases
        self.silent = False
        self.failure = None
        self.open = []
        self.questions = 0

    def ask(self):
        self.questions += 1
        if self.silent:
            question = Deferred()
            self.open.append(question)
            return question
        if self.failure is not None:
            return fail(self.failure)
        return succeed(self.info())

    def info(self):
        return RelayInfo(None, (), tuple(ListedLease(*lease) for lease in self.leases))

    def answer(self):
        self.open.pop(0).callback(self.info())


def names(pins=None, configured=(), origins=()):
    return ConfiguredNames(pins, origins, configured)


def make(*leases, **options):
    clock = Clock()
    relay = Relay(*leases)
    return clock, relay, Directory(relay.ask, clock, names(**options))


def result_of(deferred):
    """What the Deferred has come to: an id, the code of a GatewayError, or None while it waits."""
    results = []

    def failed(failure):
        if failure.check(CancelledError):
            results.append("cancelled")
        else:
            failure.trap(GatewayError)
            results.append(failure.value.cause.code)

    deferred.addCallbacks(lambda lease: results.append(lease and lease.id), failed)
    return results


def resolved(directory, name):
    return result_of(directory.resolve(name))


# Asking.


def test_it_asks_at_once_and_then_every_five_seconds_until_it_is_stopped():
    clock, relay, directory = make((A, "agent"))
    assert directory.find("agent") is None
    directory.start()
    directory.start()
    assert relay.questions == 1
    assert directory.find("agent").id == A
    clock.advance(REFRESH_INTERVAL - 0.1)
    assert relay.questions == 1
    clock.advance(0.1)
    assert relay.questions == 2
    directory.stop()
    assert directory.find("agent") is None
    assert clock.getDelayedCalls() == []


def test_there_is_at_most_one_question_and_everybody_shares_its_answer():
    clock, relay, directory = make()
    relay.silent = True
    directory.start()
    waiting = [resolved(directory, "agent") for _ in range(3)]
    waiting.append(resolved(directory, A))
    refreshed = result_of(directory.refresh())
    clock.advance(REFRESH_INTERVAL)
    assert relay.questions == 1
    relay.leases = ((A, "agent"),)
    relay.answer()
    assert waiting == [[A]] * 4
    assert refreshed == [None]


def test_a_known_name_costs_no_question():
    _, relay, directory = make((A, "agent"))
    directory.start()
    assert resolved(directory, "agent") == [A]
    assert relay.questions == 1


def test_an_unknown_name_is_asked_for_at_once():
    clock, relay, directory = make()
    directory.start()
    relay.leases = ((A, "agent"),)
    clock.advance(0.01)
    assert resolved(directory, "agent") == [A]
    assert relay.questions == 2


def test_nobody_is_remembered_for_a_second_and_no_longer():
    clock, relay, directory = make()
    assert resolved(directory, "agent") == ["lease_not_found"]
    relay.leases = ((A, "agent"),)
    clock.advance(UNKNOWN_INTERVAL - 0.01)
    assert resolved(directory, "agent") == ["lease_not_found"]
    assert relay.questions == 1
    clock.advance(0.01)
    assert resolved(directory, "agent") == [A]
    assert relay.questions == 2


def test_an_unknown_name_is_known_as_soon_as_any_answer_has_it():
    _clock, relay, directory = make()
    assert resolved(directory, "agent") == ["lease_not_found"]
    relay.leases = ((A, "agent"),)
    directory.poll()
    assert resolved(directory, "agent") == [A]


def test_made_up_names_cost_one_question_a_second():
    clock, relay, directory = make((A, "agent"))
    directory.start()
    for tenth in range(1, 31):
        codes = {resolved(directory, f"made-up-{tenth}-{number}")[0] for number in range(20)}
        assert codes == {"lease_not_found"}
        assert relay.questions <= 2 + tenth // 10
        # Who asks for a lease that is there is not concerned.
        assert resolved(directory, "agent") == [A]
        clock.advance(0.1)
    assert directory.figures.unasked == 600 - (relay.questions - 1)
    # A lease that just came is found within a second, by whoever asks next.
    relay.leases = ((A, "agent"), (B, "new"))
    resolved(directory, "made-up")
    clock.advance(UNKNOWN_INTERVAL)
    assert resolved(directory, "new") == [B]
    directory.stop()


def test_while_a_question_is_in_flight_its_answer_is_shared():
    clock, relay, directory = make()
    directory.poll()
    relay.silent = True
    waiting = [resolved(directory, f"name-{number}") for number in range(100)]
    assert relay.questions == 2
    relay.leases = ((A, "name-7"),)
    relay.answer()
    assert waiting == [[A] if number == 7 else ["lease_not_found"] for number in range(100)]
    assert directory.figures.unasked == 0
    clock.advance(0.5)
    assert resolved(directory, "name-1") == ["lease_not_found"]
    assert directory.figures.unasked == 1


def test_what_went_wrong_with_the_last_question_is_said_until_the_next():
    clock, relay, directory = make((A, "agent"))
    directory.poll()
    relay.failure = fault("relay_unavailable", "gone")
    assert resolved(directory, "other") == ["relay_unavailable"]
    assert resolved(directory, "another") == ["relay_unavailable"]
    assert relay.questions == 2
    clock.advance(UNKNOWN_INTERVAL)
    relay.failure = None
    assert resolved(directory, "other") == ["lease_not_found"]


def many(count, name="n{}"):
    return [(numbered_id(number), name.format(number)) for number in range(count)]


def test_a_long_answer_is_indexed_in_several_turns():
    class CountingClock(Clock):
        turns = 0

        def callLater(self, *args, **keys):
            self.turns += 1
            return super().callLater(*args, **keys)

    clock = CountingClock()
    relay = Relay(*many(1000))
    waiting = resolved(Directory(relay.ask, clock), "n999")
    assert waiting == []
    clock.advance(0)
    assert waiting == [numbered_id(999)]
    assert clock.turns >= 1000 // SLICE
    assert clock.getDelayedCalls() == []


def test_a_relay_that_is_lost_while_its_answer_is_indexed_is_forgotten():
    clock, relay, directory = make(*many(1000))
    waiting = resolved(directory, "n1")
    directory.clear()
    assert waiting == ["relay_unavailable"]
    assert clock.getDelayedCalls() == []
    assert directory.find("n1") is None
    relay.leases = ((A, "n1"),)
    assert resolved(directory, "n1") == [A]


def test_pins_that_change_while_an_answer_is_indexed_hold_for_it():
    clock, _relay, directory = make(*many(1000))
    directory.poll()
    directory.use(names({"mine": numbered_id(5)}))
    clock.pump([0] * 20)
    assert directory.find("mine").id == numbered_id(5)


def test_a_waiter_that_gives_up_leaves_the_others_waiting():
    _, relay, directory = make((A, "agent"))
    relay.silent = True
    first = directory.resolve("agent")
    given_up, second = result_of(first), resolved(directory, "agent")
    first.cancel()
    assert given_up == ["cancelled"]
    relay.answer()
    assert second == [A]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (fault("relay_unavailable", "gone"), "relay_unavailable"),
        (fault("relay_protocol_error", "garbage"), "relay_protocol_error"),
        (MalformedPacket("garbage"), "relay_protocol_error"),
        (ConnectionDone(), "relay_unavailable"),
        (CancelledError(), "relay_unavailable"),
    ],
)
def test_without_an_answer_the_relay_is_to_blame(error, code):
    _clock, relay, directory = make((A, "agent"))
    relay.failure = error
    directory.start()
    assert directory.figures.last_error == code
    assert resolved(directory, "agent") == [code]
    relay.failure = None
    assert resolved(directory, "agent") == [A]
    assert directory.figures.last_error is None


def test_a_defect_of_ours_is_not_blamed_on_the_relay(tracebacks):
    _, relay, directory = make()
    relay.failure = ZeroDivisionError()
    assert resolved(directory, "agent") == ["internal_error"]
    assert [event["log_failure"].type for event in tracebacks] == [ZeroDivisionError]
    tracebacks.clear()


def test_failed_questions_do_not_end_the_asking_nor_what_is_known():
    clock, relay, directory = make((A, "agent"))
    directory.start()
    relay.failure = fault("relay_unavailable", "gone")
    clock.advance(REFRESH_INTERVAL)
    clock.advance(REFRESH_INTERVAL)
    assert relay.questions == 3
    assert directory.find("agent").id == A
    assert resolved(directory, "other") == ["relay_unavailable"]
    relay.failure = None
    clock.advance(REFRESH_INTERVAL)
    assert directory.figures.last_error is None


def test_an_old_answer_is_not_believed():
    clock, _relay, directory = make((A, "agent"))
    directory.poll()
    clock.advance(ANSWER_LIFETIME)
    assert directory.find("agent").id == A
    clock.advance(0.01)
    assert directory.find("agent") is None
    assert directory.find(A) is None
    assert directory.figures.leases == 0
    assert resolved(directory, "agent") == [A]


def test_what_a_lost_relay_said_is_forgotten_and_so_is_its_late_answer():
    _clock, relay, directory = make((A, "agent"))
    directory.start()
    relay.silent = True
    waiting = resolved(directory, "other")
    late = relay.open[0]
    directory.clear()
    assert waiting == ["relay_unavailable"]
    assert directory.find("agent") is None
    assert late.called  # it was cancelled: nobody waits for it any more
    relay.silent = False
    assert resolved(directory, "agent") == [A]


def test_the_answer_to_a_cancelled_question_changes_nothing():
    clock = Clock()
    question = Deferred(lambda _: None)  # a canceller that does not fire

    directory = Directory(lambda: question, clock)
    waiting = resolved(directory, "agent")
    directory.clear()
    assert waiting == ["relay_unavailable"]
    assert directory.find("agent") is None


# What is said about a name that nobody has.


def test_a_configured_lease_is_offline():
    _, _, directory = make(pins={"pinned": A}, configured=frozenset({"configured"}))
    assert resolved(directory, "configured") == ["lease_offline"]
    assert resolved(directory, "pinned") == ["lease_offline"]
    assert resolved(directory, "Pinned") == ["lease_offline"]
    assert resolved(directory, "other") == ["lease_not_found"]


@pytest.mark.parametrize("asked", ["agent", "AGENT", A])
def test_a_lease_that_was_seen_is_offline_for_five_minutes(asked):
    clock, relay, directory = make((A, "agent"))
    directory.poll()
    relay.leases = ()
    clock.advance(1)
    directory.poll()
    assert resolved(directory, asked) == ["lease_offline"]
    clock.advance(SEEN_LIFETIME - 1)
    assert resolved(directory, asked) == ["lease_offline"]
    clock.advance(1.1)
    assert resolved(directory, asked) == ["lease_not_found"]


def test_a_lease_seen_before_the_relay_was_lost_is_offline_after_it_is_back():
    clock, relay, directory = make((A, "agent"))
    directory.poll()
    clock.advance(60)  # nobody asked meanwhile
    directory.clear()
    relay.leases = ()
    assert resolved(directory, "agent") == ["lease_offline"]
    clock.advance(SEEN_LIFETIME - 60 + 0.1)
    assert resolved(directory, "agent") == ["lease_not_found"]


def test_a_lease_that_comes_back_is_found():
    _clock, relay, directory = make((A, "agent"))
    directory.poll()
    relay.leases = ()
    directory.poll()
    relay.leases = ((B, "agent"),)
    directory.poll()
    assert resolved(directory, "agent") == [B]
    assert resolved(directory, A) == ["lease_offline"]


@pytest.mark.parametrize("asked", ["agent", "Agent"])
def test_a_pinned_name_that_another_identity_holds_is_a_mismatch(asked):
    clock, relay, directory = make((B, "agent"), pins={"agent": A})
    assert resolved(directory, asked) == ["identity_mismatch"]
    assert directory.figures.usurped == 1
    assert directory.figures.unasked == 0
    relay.leases = ((B, "agent"), (A, "elsewhere"))
    clock.advance(UNKNOWN_INTERVAL)
    assert resolved(directory, asked) == [A]


def test_a_pin_resolves_a_name_on_a_relay_that_lists_ids_only():
    _, _, directory = make((A,), pins={"agent": A})
    assert resolved(directory, "agent") == [A]
    assert resolved(directory, A) == [A]


@pytest.mark.parametrize("name", ["", "x" * (MAX_LEASE_NAME_BYTES + 1)])
def test_a_name_that_nobody_can_have_is_not_asked_for(name):
    _, relay, directory = make()
    assert resolved(directory, name) == ["lease_not_found"]
    assert relay.questions == 0


def test_a_name_that_came_from_bytes_that_are_not_utf8_is_unknown():
    _, _, directory = make((A, "agent"))
    assert resolved(directory, "\udc80agent") == ["lease_not_found"]


# Bounds, figures, logs.


def test_ten_thousand_strange_names_stay_within_the_bounds(logged):
    strange = [(numbered_id(number), f"\x1b[31m{number}\n") for number in range(10_000)]
    clock, relay, directory = make(*strange)
    directory.poll()
    clock.pump([0] * 200)
    assert directory.figures.leases == 10_000
    assert directory.find("\x1b[31m9999\n").id == strange[9999][0]
    relay.leases = ()
    directory.poll()
    clock.pump([0] * 300)
    questions = relay.questions
    for number in range(3000):
        assert resolved(directory, f"made up {number}\r\n") == ["lease_not_found"]
    figures = directory.figures
    assert figures.unasked == 2999
    assert relay.questions == questions + 1
    assert figures.departed_names == MAX_DEPARTED
    assert "\x1b" not in str(logged)
    assert "made up" not in str(logged)


def test_what_was_seen_too_long_ago_is_dropped_from_memory():
    clock, relay, directory = make((A, "agent"), (B, "other"))
    directory.poll()
    relay.leases = ((B, "other"),)
    directory.poll()
    assert directory.figures.departed_names == 2
    clock.advance(SEEN_LIFETIME + 1)
    relay.leases = ()
    directory.poll()
    assert directory.figures.departed_names == 0
    relay.leases = ((C, "new"),)
    directory.poll()
    relay.leases = ()
    directory.poll()
    assert directory.figures.departed_names == 2


def test_a_contested_name_is_reported_once_and_by_ids_only(logged):
    _clock, _relay, directory = make((A, "secret name"), (B, "secret name"))
    directory.poll()
    directory.poll()
    assert resolved(directory, "secret name") == ["lease_not_found"]
    warnings = [event for event in logged if event["log_namespace"].endswith("directory")]
    assert [event["ids"] for event in warnings] == [f"{A}, {B}"]
    assert "secret name" not in str(warnings)
    assert directory.figures.contested == 1


def test_a_contested_name_is_answered_by_the_last_answer_and_is_offline_once_it_left():
    _clock, relay, directory = make((A, "Tool"), (B, "TOOL"))
    directory.poll()
    questions = relay.questions
    assert resolved(directory, "tool") == ["lease_not_found"]
    assert directory.is_contested("tool")
    assert relay.questions == questions
    relay.leases = ((B, "TOOL"),)
    directory.poll()
    assert directory.find("tool").id == B
    relay.leases = ()
    directory.poll()
    assert not directory.is_contested("tool")
    assert resolved(directory, "tool") == ["lease_offline"]
    relay.leases = ((A, "Tool"), (B, "TOOL"))
    directory.poll()
    directory.clear()
    assert not directory.is_contested("tool")


def test_an_invented_multitude_of_contests_is_logged_in_one_short_line(logged):
    clock, _, directory = make(
        *((numbered_id(number), f"name {number // 2}") for number in range(600))
    )
    directory.poll()
    clock.pump([0] * 20)
    warnings = [event for event in logged if event["log_namespace"].endswith("directory")]
    assert len(warnings) == 1
    assert len(warnings[0]["ids"]) < 300
    assert warnings[0]["ids"].endswith(", …")


def test_the_figures():
    clock, _relay, directory = make((A, "agent"), (B, ""))
    figures = directory.figures
    assert (figures.leases, figures.questions, figures.answered_at) == (0, 0, None)
    clock.advance(3)
    directory.poll()
    figures = directory.figures
    assert (figures.leases, figures.questions, figures.answered_at) == (2, 1, 3.0)
    directory.clear()
    assert directory.figures.leases == 0


def test_one_look_up_is_cheap_however_many_leases_there_are():
    """Few dictionary look-ups: counted through a str whose hash counts."""

    class Counting(str):
        __slots__ = ()
        hashes = 0

        def __hash__(self):
            Counting.hashes += 1
            return super().__hash__()

        def casefold(self):
            return Counting(super().casefold())

    clock, _, directory = make(*many(2000))
    directory.poll()
    clock.pump([0] * 20)
    for asked, again in (("n7", 1), ("N7", 1), (A, 1), ("nobody", 2)):
        Counting.hashes = 0
        found = directory.find(Counting(asked))
        assert Counting.hashes <= 4
        Counting.hashes = 0
        assert directory.find(Counting(asked)) == found
        assert Counting.hashes <= again


def test_other_pins_hold_for_what_was_listed():
    clock, _, directory = make((A, "agent"), (B, "tool"))
    directory.start()
    assert directory.find("agent").id == A
    directory.use(names({"agent": B, "mine": A}, ["away"]))
    assert directory.find("mine").id == A
    assert directory.find("agent").id == B
    assert resolved(directory, "away") == ["lease_offline"]
    clock.advance(REFRESH_INTERVAL)
    assert directory.find("mine").id == A
    directory.use(names())
    assert directory.find("mine") is None
    assert directory.find("agent").id == A
    directory.stop()
