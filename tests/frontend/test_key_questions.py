import pytest
from twisted.internet.defer import Deferred, succeed

from portal_gateway.frontend.key_questions import MOST_ASKED, MOST_IN_LINE, KeyQuestions


class Asked:
    """Questions that are answered when a test says so."""

    def __init__(self):
        self.under_way = {}
        self.questions = KeyQuestions(self.ask)

    def ask(self, digest):
        assert digest not in self.under_way
        self.under_way[digest] = Deferred()
        return self.under_way[digest]

    def answer(self, digest):
        self.under_way.pop(digest).callback(f"of {digest}")


@pytest.fixture
def asked():
    return Asked()


def heard(deferred):
    answers = []
    deferred.addBoth(answers.append)
    return answers


def test_a_question_is_asked_once_for_all_that_wait(asked):
    answers = [heard(asked.questions.ask(b"a")) for _ in range(3)]
    other = heard(asked.questions.ask(b"b"))
    asked.answer(b"a")
    assert answers == [["of b'a'"]] * 3
    assert (other, len(asked.questions)) == ([], 1)
    heard(asked.questions.ask(b"a"))
    assert list(asked.under_way) == [b"b", b"a"], "an answer is not kept"


def test_few_are_asked_at_the_same_time_and_the_others_in_their_order(asked):
    answers = [heard(asked.questions.ask(number)) for number in range(MOST_ASKED + 3)]
    assert list(asked.under_way) == list(range(MOST_ASKED))
    asked.answer(5)
    asked.answer(7)
    assert list(asked.under_way)[-2:] == [MOST_ASKED, MOST_ASKED + 1]
    assert [number for number, answer in enumerate(answers) if answer] == [5, 7]


def test_the_line_has_an_end(asked):
    for number in range(MOST_ASKED + MOST_IN_LINE):
        assert asked.questions.ask(number) is not None
    assert asked.questions.ask("one more") is None
    assert asked.questions.ask(3) is not None, "that is asked already"
    assert asked.questions.ask(MOST_ASKED + 3) is not None, "that is in line already"
    asked.answer(0)
    assert asked.questions.ask("one more") is not None
    while asked.under_way:
        asked.answer(next(iter(asked.under_way)))
    assert len(asked.questions) == 0


def test_a_whole_line_may_be_answered_at_once(asked):
    first = [heard(asked.questions.ask(number)) for number in range(MOST_ASKED)]
    line = [heard(asked.questions.ask(MOST_ASKED + number)) for number in range(MOST_IN_LINE)]
    asked.ask = asked.questions._ask = lambda _digest: succeed("away")
    asked.answer(0)
    assert line == [["away"]] * MOST_IN_LINE
    assert [answer for answer in first if answer] == [["of 0"]]


def test_who_asks_no_more_keeps_nobody_from_an_answer(asked):
    first, second = asked.questions.ask(b"a"), asked.questions.ask(b"a")
    gone = heard(first)
    first.cancel()
    answer = heard(second)
    asked.answer(b"a")
    assert answer == ["of b'a'"]
    assert len(gone) == 1


def test_what_nobody_waits_for_any_more_is_not_asked(asked):
    for number in range(MOST_ASKED):
        asked.questions.ask(number)
    gone, kept = asked.questions.ask("gone"), asked.questions.ask("kept")
    heard(gone)
    gone.cancel()
    asked.answer(0)
    assert list(asked.under_way)[-1] == "kept"
    assert len(asked.questions) == MOST_ASKED
    answer = heard(kept)
    asked.answer("kept")
    assert answer == ["of kept"]


def test_an_answer_may_end_another_that_waits_for_it(asked):
    first, second = asked.questions.ask(b"a"), asked.questions.ask(b"a")
    gone = heard(second)
    first.addCallback(lambda _: second.cancel())
    asked.answer(b"a")
    assert len(gone) == 1
    assert gone[0] != "of b'a'"
