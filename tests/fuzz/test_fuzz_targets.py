"""Every fuzz target over its kept inputs, and over some that hypothesis makes.

``make soak`` has the long form: coverage-guided, and with many examples (tests/soak/soak_fuzz.py).
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.dice import Dice
from tests.fuzz.kept_inputs import CORPUS, kept, run
from tests.fuzz.targets import TARGETS

EXAMPLES = 25

LONGEST = 400
"""Bytes of an input: some hundred steps of a conversation."""

KEPT_IN_ALL = 200_000
"""Bytes of all inputs that are kept."""


@pytest.mark.parametrize("name", TARGETS)
def test_the_inputs_that_are_kept(name):
    inputs = kept(name)
    assert inputs
    for file in inputs:
        run(name, file.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_by_chance(name):
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        # The same ones each time: new ones are for the long form.
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=1, max_size=LONGEST))
    def by_chance(data):
        run(name, data)

    by_chance()


def test_the_corpus_is_small():
    files = [file for file in CORPUS.rglob("*") if file.is_file()]
    assert {file.parent.name for file in files} == set(TARGETS)
    assert sum(file.stat().st_size for file in files) < KEPT_IN_ALL


def test_the_same_bytes_make_the_same_choices():
    def choices():
        dice = Dice(bytes(range(7, 40)))
        found = [dice.below(300), dice.pick("abc"), dice.odds(3), dice.take(9), dice.byte()]
        return found, dice.left

    assert choices() == choices()
    assert Dice(b"").below(10) == 0
    assert not Dice(b"").odds(2)
