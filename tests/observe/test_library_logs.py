"""What libraries and threads have to say goes where everything goes."""

import logging
import sys
import threading

import pytest
from twisted.logger import LogLevel, globalLogPublisher

from portal_gateway.observe.library_logs import LibraryLog, hear_libraries


@pytest.fixture
def heard():
    events = []
    before = threading.excepthook
    globalLogPublisher.addObserver(events.append)
    hear_libraries()
    hear_libraries()
    yield events
    globalLogPublisher.removeObserver(events.append)
    threading.excepthook = before
    root = logging.getLogger()
    ours = [each for each in root.handlers if isinstance(each, LibraryLog)]
    assert len(ours) == 1
    root.removeHandler(ours[0])


def test_a_warning_of_a_library_is_an_event_once(heard):
    logger = logging.getLogger("some.library")
    logger.info("not worth it")
    logger.warning("%s of %d", "one", 2)
    (event,) = heard
    assert event["log_namespace"] == "some.library"
    assert event["log_level"] is LogLevel.warn
    assert event["log_text"] == "one of 2"
    assert "log_failure" not in event


def test_an_exception_comes_as_a_failure(heard):
    try:
        int("x")
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    (event,) = heard
    assert event["log_level"] is LogLevel.error
    assert event["log_failure"].type is ValueError


def test_a_record_that_cannot_be_formatted_is_told_as_it_is(heard):
    record = {"name": "a", "msg": "%d", "args": ("word",), "levelno": logging.CRITICAL}
    LibraryLog().emit(logging.makeLogRecord(record))
    (event,) = heard
    assert event["log_level"] is LogLevel.critical
    assert event["log_text"] == "%d"


def test_a_thread_that_exits_is_no_failure(heard):
    thread = threading.Thread(target=sys.exit)
    thread.start()
    thread.join()
    assert heard == []


def test_a_thread_that_fails_is_told(heard):
    thread = threading.Thread(target={}.popitem)
    thread.start()
    thread.join()
    (event,) = heard
    assert event["log_failure"].type is KeyError
