from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.exchange import Caller
from portal_gateway.policy import key_cache
from portal_gateway.policy.credentials import UNKNOWN_KEY, key_entry
from portal_gateway.policy.key_cache import UNKNOWN_TTL, KeyCache

TTL = 300.0


def digest(number):
    return number.to_bytes(32)


def entry(key_id):
    return key_entry(Caller(key_id), None)


def test_what_was_learned_is_known_until_its_time_is_over():
    cache = KeyCache(TTL)
    known = entry("a")
    cache.learn(digest(1), known, 0)
    assert cache.find(digest(1), TTL - 0.001) is known
    assert cache.find(digest(1), TTL) is None
    assert len(cache) == 0


def test_that_a_key_is_nobodys_is_known_for_a_shorter_time():
    cache = KeyCache(TTL)
    cache.learn(digest(1), UNKNOWN_KEY, 0)
    assert cache.find(digest(1), UNKNOWN_TTL - 0.001) is UNKNOWN_KEY
    assert cache.find(digest(1), UNKNOWN_TTL) is None
    assert len(cache) == 0


def test_a_change_forgets_the_key_by_all_its_secrets_and_all_that_are_nobodys():
    cache = KeyCache(TTL)
    for number, key_id in enumerate("aab"):
        cache.learn(digest(number), entry(key_id), 0)
    cache.learn(digest(9), UNKNOWN_KEY, 0)
    cache.changed(("a", "unheard of"))
    assert [cache.find(digest(n), 1) is None for n in (0, 1, 2, 9)] == [True, True, False, True]


def test_a_change_that_cannot_be_told_forgets_everything():
    cache = KeyCache(TTL)
    cache.learn(digest(1), entry("a"), 0)
    cache.learn(digest(2), UNKNOWN_KEY, 0)
    cache.changed(None)
    assert len(cache) == 0


def test_there_are_never_more_than_the_bounds(monkeypatch):
    monkeypatch.setattr(key_cache, "MOST_KNOWN", 10)
    monkeypatch.setattr(key_cache, "MOST_UNKNOWN", 5)
    cache = KeyCache(TTL)
    for number in range(100):
        cache.learn(digest(number), entry(f"k{number}"), number)
        cache.learn(digest(1000 + number), UNKNOWN_KEY, number)
    assert len(cache) == 15
    assert cache.find(digest(99), 99) is not None
    assert cache.find(digest(0), 99) is None
    cache.changed(tuple(f"k{number}" for number in range(100)))
    assert len(cache) == 0


ANSWERS = st.sampled_from([UNKNOWN_KEY, entry("a"), entry("b")])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("learn"), st.integers(0, 4), ANSWERS),
        st.tuples(st.just("change"), st.sampled_from([("a",), ("b",), None])),
        st.tuples(st.just("wait"), st.floats(0, 200)),
    ),
    max_size=40,
)


@settings(max_examples=300)
@given(STEPS)
def test_nothing_is_known_that_was_not_learned_since_the_last_change_of_it(steps):
    cache, model, now = KeyCache(TTL), {}, 0.0
    for step in steps:
        if step[0] == "wait":
            now += step[1]
        elif step[0] == "learn":
            until = now + (UNKNOWN_TTL if step[2] is UNKNOWN_KEY else TTL)
            cache.learn(digest(step[1]), step[2], now)
            model[step[1]] = (step[2], until)
        else:
            cache.changed(step[1])
            model = {
                number: (known, until)
                for number, (known, until) in model.items()
                if step[1] is not None
                and known is not UNKNOWN_KEY
                and known.caller.key_id not in step[1]
            }
        for number in range(5):
            known, until = model.get(number, (None, 0))
            assert cache.find(digest(number), now) is (known if now < until else None)
