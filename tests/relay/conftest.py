"""What the tests of relay connections share."""

import pytest
from twisted.logger import globalLogPublisher


@pytest.fixture
def logged():
    """The events that were logged, but for the starting and stopping of factories."""
    events = []

    def observe(event):
        if not event.get("log_namespace", "").startswith("twisted.internet.protocol"):
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


@pytest.fixture(autouse=True)
def tracebacks():
    """What was logged with a traceback; nothing must be, unless the test takes it away."""
    events = []

    def observe(event):
        if "log_failure" in event:
            events.append(event)

    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)
    assert events == []
