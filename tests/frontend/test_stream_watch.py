"""One look at all streams: what fails for one of them is not for the others."""

from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from portal_gateway.frontend.response_stream import TICK, StreamRules, StreamWatch
from portal_gateway.wire.http1_response import ResponseHead


def test_one_that_fails_is_left_and_the_others_are_looked_at():
    clock = Clock()
    watch = StreamWatch(clock, StreamRules(idle_timeout=10.0))
    ended = []
    events = []
    head = ResponseHead(
        200, b"OK", b"1.1", [], content_length=None, chunked=True, until_eof=False, keep_alive=True
    )

    def fails():
        raise RuntimeError("a defect")

    for too_silent in (fails, lambda: ended.append(1), fails, lambda: ended.append(2)):
        watch.begin(head, ended.append, too_silent)
    globalLogPublisher.addObserver(events.append)
    clock.pump([TICK] * 21)
    globalLogPublisher.removeObserver(events.append)
    assert sorted(ended) == [1, 2]
    assert len([event for event in events if "log_failure" in event]) == 2
    # Later ones are looked at, too.
    watch.begin(head, ended.append, lambda: ended.append(3))
    clock.pump([TICK] * 21)
    assert ended[-1] == 3
    assert len(watch) == 0
    assert clock.getDelayedCalls() == []
