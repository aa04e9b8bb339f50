"""The ledger itself: what counts as answered, refused and lost."""

import pytest

from tests.integration.ledger import STREAMED, Ledger, Outcome, quantile


def book(*outcomes):
    """A ledger with one request for each outcome, and their ids; None leaves it under way."""
    ledger = Ledger()
    ids = []
    for outcome in outcomes:
        ids.append(ledger.begin(1.0))
        if outcome is not None:
            ledger.end(ids[-1], outcome, "why", 3.5)
    return ledger, ids


def test_every_id_is_another():
    ledger, other = Ledger(), Ledger()
    ids = [each.begin(0.0) for each in (ledger, other) for _ in range(100)]
    assert len(set(ids)) == 200


def test_all_answered_is_even():
    ledger, ids = book(Outcome.ANSWERED, Outcome.ANSWERED)
    balance = ledger.balance(ids)
    assert balance.even
    assert (balance.sent, balance.answered, balance.refused) == (2, 2, 0)


def test_a_refusal_of_what_was_not_seen_is_even():
    ledger, ids = book(Outcome.ANSWERED, Outcome.REFUSED)
    balance = ledger.balance(ids[:1])
    assert balance.even
    assert (balance.answered, balance.refused) == (1, 1)


def test_a_refusal_of_what_was_seen_is_a_loss():
    ledger, ids = book(Outcome.REFUSED)
    balance = ledger.balance(ids)
    assert not balance.even
    assert balance.refused == 0
    assert [(entry.id, entry.why) for entry in balance.lost] == [(ids[0], "why, but seen")]


@pytest.mark.parametrize("seen", [True, False])
def test_a_loss_is_one_whether_it_was_seen_or_not(seen):
    ledger, ids = book(Outcome.LOST)
    balance = ledger.balance(ids if seen else [])
    assert not balance.even
    assert len(balance.lost) == 1


def test_what_has_no_end_yet_is_not_even():
    ledger, ids = book(None)
    balance = ledger.balance([])
    assert not balance.even
    assert balance.under_way == tuple(ids)
    assert balance.sent == ledger.sent == 1


def test_what_the_upstream_saw_twice_or_never_or_from_nobody():
    ledger, ids = book(Outcome.ANSWERED, Outcome.ANSWERED)
    balance = ledger.balance([ids[0], ids[0], "stranger"])
    assert not balance.even
    assert balance.twice == (ids[0],)
    assert balance.unseen == (ids[1],)
    assert balance.unknown == ("stranger",)
    assert "stranger" in str(balance)


def test_others_requests_may_be_left_out():
    ledger, ids = book(Outcome.ANSWERED)
    assert ledger.balance([*ids, "stranger"], mine=False).even
    assert ledger.balance([*ids, f"sse{STREAMED}1"]).even


def test_an_end_without_a_beginning_is_an_error():
    ledger, ids = book(Outcome.ANSWERED)
    with pytest.raises(KeyError):
        ledger.end(ids[0], Outcome.ANSWERED, "again", 4.0)


def test_latencies_are_of_answers_and_count_from_when_they_were_due():
    ledger, _ = book(Outcome.ANSWERED, Outcome.REFUSED)
    late = ledger.begin(2.0)
    ledger.end(late, Outcome.ANSWERED, "200", 3.0, kept=True)
    assert ledger.latencies() == [1.0, 2.5]
    assert ledger.latencies(lambda entry: entry.kept) == [1.0]


def test_quantiles():
    ordered = [float(number) for number in range(1, 101)]
    assert quantile(ordered, 0.5) == 51.0
    assert quantile(ordered, 0.99) == 100.0
    assert quantile([7.0], 0.99) == 7.0
