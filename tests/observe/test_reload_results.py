"""What is counted of reloads."""

from twisted.internet.task import Clock

from portal_gateway.observe.reload_results import ReloadResults


def test_the_start_is_the_first_generation_and_a_refused_one_changes_only_its_count():
    clock = Clock()
    clock.advance(100)
    results = ReloadResults(clock.seconds)
    assert (results.generation, results.applied, results.last_succeeded) == (1, 100, True)
    clock.advance(5)
    results.failed()
    assert (results.generation, results.applied, results.last_succeeded) == (1, 100, False)
    results.succeeded()
    assert (results.generation, results.applied, results.last_succeeded) == (2, 105, True)
    assert (results.successes, results.failures) == (1, 1)
