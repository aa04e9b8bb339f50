from portal_gateway.testing.threads import NoThreads


def outcome(deferred):
    results = []
    deferred.addBoth(results.append)
    return results


def test_functions_run_at_once():
    threads = NoThreads()
    assert outcome(threads.run(lambda: 7)) == [7]
    (failure,) = outcome(threads.run(lambda: 1 // 0))
    assert failure.check(ZeroDivisionError)


def test_functions_run_when_they_are_released():
    threads = NoThreads()
    threads.held = True
    ran = []
    first = outcome(threads.run(lambda: ran.append(1)))
    second = outcome(threads.run(lambda: 2))
    assert (ran, first, second) == ([], [], [])
    threads.release()
    assert (ran, first, second) == ([1], [None], [2])
    assert outcome(threads.run(lambda: 3)) == [3]
