import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.directory import (
    ANSWER_LIFETIME,
    MAX_DEPARTED,
    MAX_UNKNOWN,
    REFRESH_INTERVAL,
    SEEN_LIFETIME,
    UNKNOWN_LIFETIME,
    Directory,
)
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


def make(*leases, **options):
    clock = Clock()
    relay = Relay(*leases)
    return clock, relay, Directory(relay.ask, clock, **options)


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
    clock.advance(UNKNOWN_LIFETIME - 0.01)
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
    relay.leases = ((B, "agent"), (A, "elsewhere"))
    clock.advance(UNKNOWN_LIFETIME)
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
    assert directory.figures.unknown_names == 0


def test_a_name_that_came_from_bytes_that_are_not_utf8_is_unknown():
    _, _, directory = make((A, "agent"))
    assert resolved(directory, "\udc80agent") == ["lease_not_found"]


# Bounds, figures, logs.


def test_ten_thousand_strange_names_stay_within_the_bounds(logged):
    strange = [(numbered_id(number), f"\x1b[31m{number}\n") for number in range(10_000)]
    _clock, relay, directory = make(*strange)
    directory.poll()
    assert directory.figures.leases == 10_000
    assert directory.find("\x1b[31m9999\n").id == strange[9999][0]
    relay.leases = ()
    directory.poll()
    for number in range(3 * MAX_UNKNOWN):
        assert resolved(directory, f"made up {number}\r\n") == ["lease_not_found"]
    figures = directory.figures
    assert figures.unknown_names == MAX_UNKNOWN
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


def test_an_invented_multitude_of_contests_is_logged_in_one_short_line(logged):
    _, _, directory = make(*((numbered_id(number), f"name {number // 2}") for number in range(600)))
    directory.poll()
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

    _, _, directory = make(
        *((f"{n:026d}".translate(str.maketrans("0189", "ABCD")), f"n{n}") for n in range(2000))
    )
    directory.poll()
    for asked in ("n7", "N7", "nobody", A):
        Counting.hashes = 0
        directory.find(Counting(asked))
        assert Counting.hashes <= 2


def test_other_pins_hold_for_what_was_listed():
    clock, _, directory = make((A, "agent"), (B, "tool"))
    directory.start()
    assert directory.find("agent").id == A
    directory.use({"agent": B, "mine": A}, frozenset({"away"}))
    assert directory.find("mine").id == A
    assert directory.find("agent").id == B
    assert resolved(directory, "away") == ["lease_offline"]
    clock.advance(REFRESH_INTERVAL)
    assert directory.find("mine").id == A
    directory.use({}, frozenset())
    assert directory.find("mine") is None
    assert directory.find("agent").id == A
    directory.stop()
