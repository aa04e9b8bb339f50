import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError
from portal_gateway.frontend.key_questions import (
    BATCH,
    BATCH_OF_BEHIND,
    MOST_AT_FRONT,
    MOST_BEHIND,
    MOST_UNDER_WAY,
    PLACES,
    KeyQuestions,
)

BATCH_OF_FRONT = BATCH - BATCH_OF_BEHIND


class Asked:
    """Batches that are answered when a test says so."""

    def __init__(self):
        self.under_way = []
        self.questions = KeyQuestions(self.ask)

    def ask(self, digests):
        assert len(digests) == len(set(digests)) <= BATCH
        self.under_way.append((digests, Deferred()))
        return self.under_way[-1][1]

    def answer(self):
        """Answer the batch that was asked first; what was in it."""
        digests, answers = self.under_way.pop(0)
        answers.callback({digest: f"of {digest}" for digest in digests})
        return digests

    def answer_all(self):
        found = []
        while self.under_way:
            found.append(self.answer())
        return found

    def occupy(self):
        """Have as many batches under way as there can be."""
        for number in range(MOST_UNDER_WAY):
            self.questions.ask(f"busy {number}", "busy")
        assert len(self.under_way) == MOST_UNDER_WAY


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def busy(asked):
    asked.occupy()
    return asked


def heard(deferred):
    answers = []
    deferred.addBoth(answers.append)
    return answers


def test_a_question_alone_is_asked_at_once(asked):
    answer = heard(asked.questions.ask("a", "net"))
    assert asked.answer() == ["a"]
    assert answer == ["of a"]


def test_who_asks_for_what_is_under_way_waits_for_that(asked):
    answers = [heard(asked.questions.ask("a", f"net {number}")) for number in range(3)]
    assert asked.answer() == ["a"]
    assert answers == [["of a"]] * 3
    assert asked.under_way == []
    heard(asked.questions.ask("a", "net"))
    assert len(asked.under_way) == 1, "an answer is not kept"


def test_no_turn_has_more_answers_than_a_batch(busy):
    for _ in range(3 * BATCH):
        busy.questions.ask("busy 0", "net")
    assert len(busy.questions._under_way["busy 0"]) == BATCH


def test_what_waits_is_asked_in_one_batch(busy):
    answers = [heard(busy.questions.ask(number, f"net {number}")) for number in range(50)]
    again = heard(busy.questions.ask(7, "another"))
    assert len(busy.under_way) == MOST_UNDER_WAY
    busy.answer()
    assert busy.under_way[-1][0] == list(range(50))
    busy.answer_all()
    assert answers == [[f"of {number}"] for number in range(50)]
    assert again == ["of 7"]
    assert len(busy.questions) == 0


def test_one_network_waits_behind_its_own(busy):
    """A thousand questions of one network are no more in the way of another than one."""
    for number in range(1_000):
        busy.questions.ask(f"random {number}", "attacker")
    good = heard(busy.questions.ask("good", "good"))
    busy.answer()
    assert "good" in busy.under_way[-1][0][:2]
    busy.answer_all()
    assert good == ["of good"]


def test_networks_behind_the_others_have_a_few_places_of_each_batch(busy):
    for network in range(300):
        for number in range(10):
            busy.questions.ask((network, number), network, behind=True)
    good = [heard(busy.questions.ask(f"good {n}", f"good {n}")) for n in range(BATCH_OF_FRONT)]
    busy.answer()
    batch = busy.under_way[-1][0]
    assert batch[:BATCH_OF_FRONT] == [f"good {n}" for n in range(BATCH_OF_FRONT)]
    assert len(batch) == BATCH, "and they are not starved"
    busy.answer()
    busy.answer_all()
    assert [answer for answer in good if not answer] == []


def refused(question):
    return question.cause.code if isinstance(question, GatewayError) else None


def test_a_network_has_an_end_of_its_own(busy):
    waiting = 0
    while refused(busy.questions.ask(waiting, "attacker")) is None:
        waiting += 1
    assert waiting == MOST_AT_FRONT + MOST_BEHIND
    assert refused(busy.questions.ask("one more", "attacker")) == "rate_limit_exceeded"
    assert busy.questions.refused == 2
    assert busy.questions.waiting_of("attacker") == waiting
    assert refused(busy.questions.ask("good", "good")) is None
    busy.answer_all()
    assert len(busy.questions) == 0
    assert refused(busy.questions.ask("one more", "attacker")) is None


@pytest.mark.parametrize("behind", [False, True])
def test_no_crowd_of_networks_takes_the_place_of_another(busy, behind):
    crowd = [
        busy.questions.ask((network, number), network, behind=behind)
        for network in range(5_000)
        for number in range(20)
    ]
    assert len(busy.questions) <= 2 * PLACES
    good = [
        heard(busy.questions.ask(("good", number), ("good", number), behind=behind))
        for number in range(500)
    ]
    lost = [heard(question) for question in crowd if refused(question) is None]
    busy.answer_all()
    assert good == [[f"of ('good', {number})"] for number in range(500)]
    assert [answer for answer in lost if len(answer) != 1] == []
    codes = {answer[0].value.cause.code for answer in lost if isinstance(answer[0], Failure)}
    assert codes == {"rate_limit_exceeded"}, "who lost a place hears of it"


def test_more_networks_than_places_are_refused_as_if_it_could_not_be_asked(busy):
    for network in range(2 * PLACES):
        assert refused(busy.questions.ask(network, network)) is None
    assert refused(busy.questions.ask("another", "another")) == "keys_unavailable"
    busy.answer_all()


def test_what_was_admitted_before_is_asked_first_and_never_refused(busy):
    for network in range(2 * PLACES):
        busy.questions.ask((network, 0), network)
    admitted = [heard(busy.questions.ask_first(number % 7)) for number in range(2 * BATCH)]
    busy.answer()
    assert busy.under_way[-1][0][:7] == list(range(7))
    for _ in range(MOST_UNDER_WAY + 1):
        busy.answer()
    assert all(admitted)


def test_answers_may_come_at_once(busy):
    line = [heard(busy.questions.ask(number, number)) for number in range(3_000)]
    busy.questions._ask = lambda digests: succeed(dict.fromkeys(digests, "away"))
    busy.answer()
    assert line == [["away"]] * 3_000


def test_who_asks_no_more_keeps_nobody_from_an_answer(asked):
    first, second = asked.questions.ask("a", "net"), asked.questions.ask("a", "net")
    gone = heard(first)
    first.cancel()
    answer = heard(second)
    asked.answer()
    assert answer == ["of a"]
    assert len(gone) == 1


def test_what_nobody_waits_for_any_more_is_not_asked(busy):
    gone, kept = busy.questions.ask("gone", "net"), busy.questions.ask("kept", "net")
    heard(gone)
    gone.cancel()
    busy.answer()
    assert busy.under_way[-1][0] == ["kept"]
    answer = heard(kept)
    busy.answer_all()
    assert answer == ["of kept"]


def test_asking_and_leaving_is_no_way_around_the_places_of_a_network(busy):
    for number in range(3 * MOST_BEHIND):
        question = busy.questions.ask(number, "attacker", behind=True)
        if refused(question) is None:
            heard(question)
            question.cancel()
    assert busy.questions.waiting_of("attacker") <= MOST_BEHIND
    busy.answer_all()
    assert len(busy.questions) == 0


def test_an_answer_may_end_another_that_waits_for_it(asked):
    first, second = asked.questions.ask("a", "net"), asked.questions.ask("a", "net")
    gone = heard(second)
    first.addCallback(lambda _: second.cancel())
    asked.answer()
    assert len(gone) == 1
    assert gone[0] != "of a"
