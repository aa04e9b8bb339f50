import pytest

from portal_gateway.relay.producing import SteeredProducer


class Told:
    def __init__(self):
        self.told = []

    def pauseProducing(self):
        self.told.append("pause")

    def resumeProducing(self):
        self.told.append("resume")

    def stopProducing(self):
        self.told.append("stop")


def test_a_push_producer_is_paused_when_full_and_resumed_when_nothing_waits():
    producer = Told()
    steered = SteeredProducer(producer, True, pytest.fail)  # noqa: FBT003  # Twisted's order
    steered.steer(waits=False, full=False)
    steered.steer(waits=True, full=False)
    assert producer.told == []
    steered.steer(waits=True, full=True)
    steered.steer(waits=True, full=True)
    steered.steer(waits=True, full=False)
    assert producer.told == ["pause"]
    steered.steer(waits=False, full=False)
    steered.steer(waits=False, full=False)
    assert producer.told == ["pause", "resume"]
    steered.stop()
    assert producer.told[-1] == "stop"


def test_a_pull_producer_is_asked_later_and_once():
    calls = []
    producer = Told()
    steered = SteeredProducer(producer, False, calls.append)  # noqa: FBT003  # Twisted's order
    steered.steer(waits=False, full=False)
    steered.steer(waits=False, full=False)
    assert producer.told == []
    assert len(calls) == 1
    calls.pop()()
    assert producer.told == ["resume"]
    steered.steer(waits=True, full=True)
    assert calls == []


def test_a_pull_producer_is_not_asked_when_something_came_to_wait_or_it_left():
    for change in (
        lambda steered: steered.steer(waits=True, full=False),
        lambda steered: steered.leave(),
    ):
        calls = []
        producer = Told()
        steered = SteeredProducer(producer, False, calls.append)  # noqa: FBT003  # as above
        steered.steer(waits=False, full=False)
        change(steered)
        calls.pop()()
        assert producer.told == []
