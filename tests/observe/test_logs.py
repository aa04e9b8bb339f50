"""Twisted's events, ours and the access lines through one writer."""

import gc
import io
import json
import threading

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher, globalLogPublisher
from twisted.logger._legacy import publishToNewObserver
from twisted.python.failure import Failure
from twisted.python.log import textFromEventDict
from twisted.trial.unittest import SynchronousTestCase

from portal_gateway.exchange import Caller, Exchange
from portal_gateway.observe.log_queue import LogQueue
from portal_gateway.observe.logs import Log
from portal_gateway.observe.masking import masked

NOW = 1763086591.7


class BrokenSink:
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise AssertionError("nothing was written")


class Kept:
    """An output that keeps what it is given."""

    def __init__(self):
        self.data = b""
        self.closed = threading.Event()

    def write(self, data):
        self.data += data
        return b""

    def close(self):
        self.closed.set()


SECRETS = {
    "key": "sk_live_" + "canary0123456789",
    "token": "eyJhbGciOiJub25lIn0." + "eyJzdWIiOiJjYW5hcnkifQ.x",
    "word": "canary-" + "of-no-kind",
}


def failed_with(secrets):
    """A failure with secrets in its variables, and in its text."""
    try:
        {}[secrets["word"], f"as {secrets['key']}"]
    except KeyError:
        return Failure(captureVars=True)


def ids(data):
    return [json.loads(line)["request_id"] for line in data.splitlines()]


class LogTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.sink = io.StringIO()

    def make(self, **options):
        return Log(self.clock, self.sink, wall_clock=lambda: NOW, **options)

    def lines(self):
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return [json.loads(line) for line in self.sink.getvalue().splitlines()]

    def test_an_access_line_has_the_documented_fields_in_their_order(self):
        log = self.make()
        log.access(
            Exchange(
                request_id="req_abc123",
                client_address="203.0.113.42",
                started=10.0,
                finished=10.045,
                method="POST",
                path="/peer/my-agent",
                status=200,
                lease="my-agent",
                caller=Caller("key_1"),
                user_agent="n8n/1.0",
                bytes_in=3,
                bytes_out=5,
            )
        )
        (line,) = self.lines()
        self.assertEqual(
            list(line.items()),
            [
                ("timestamp", "2025-11-14T02:16:31Z"),
                ("level", "info"),
                ("message", "request_completed"),
                ("request_id", "req_abc123"),
                ("method", "POST"),
                ("path", "/peer/my-agent"),
                ("status", 200),
                ("duration_ms", 45.0),
                ("lease_id", "my-agent"),
                ("api_key_id", "key_1"),
                ("client_ip", "203.0.113.42"),
                ("user_agent", "n8n/1.0"),
                ("bytes_in", 3),
                ("bytes_out", 5),
            ],
        )

    def test_a_server_error_is_a_warning_and_an_abort_has_its_own_message(self):
        log = self.make(level="warning")
        log.access(Exchange("a", "::1", 0.0, status=200))
        log.access(Exchange("b", "::1", 0.0, status=503, error="lease_offline", aborted=True))
        (line,) = self.lines()
        self.assertEqual(line["message"], "request_aborted")
        self.assertEqual(line["level"], "warning")
        self.assertEqual(line["error"], "lease_offline")
        self.assertIsNone(line["api_key_id"])

    def test_whatever_a_client_sent_is_one_line_that_gives_it_back(self):
        log = self.make()
        rude = 'a"b\\c\n\r\x1b[31m\u2028{}\x00'
        log.access(Exchange(rude, rude, 0.0, method=rude, path=rude, user_agent=rude, lease=rude))
        (line,) = self.lines()
        for name in ("request_id", "method", "path", "lease_id", "client_ip", "user_agent"):
            self.assertEqual(line[name], rude)

    def test_lines_of_one_turn_leave_after_it_together(self):
        log = self.make()
        for name in "abc":
            log.access(Exchange(name, "::1", 0.0, status=200))
        self.assertEqual(self.sink.getvalue(), "")
        self.assertEqual([line["request_id"] for line in self.lines()], ["a", "b", "c"])

    def test_a_logger_event_carries_its_facts(self):
        logger = Logger(namespace="portal_gateway.relay", observer=self.make())
        logger.warn("relay lost, next try in {delay} s", delay=0.5, request_id="r", thing=object())
        (line,) = self.lines()
        self.assertEqual(line["message"], "relay lost, next try in 0.5 s")
        self.assertEqual(line["level"], "warning")
        self.assertEqual(line["logger"], "portal_gateway.relay")
        self.assertEqual(line["delay"], 0.5)
        self.assertEqual(line["request_id"], "r")
        self.assertNotIn("thing", line)

    def test_a_failure_has_a_traceback_without_the_values_of_variables(self):
        logger = Logger(namespace="n", observer=self.make())
        logger.failure("unexpected", failed_with(SECRETS), level=LogLevel.critical)
        (line,) = self.lines()
        self.assertEqual(line["message"], "unexpected")
        self.assertEqual(line["error_type"], "KeyError")
        self.assertEqual(line["error_message"], "(***)")
        self.assertRegex(line["traceback"], r"test_logs\.py:\d+:failed_with$")
        for secret in SECRETS.values():
            self.assertNotIn(secret, self.sink.getvalue())

    def test_what_the_older_log_of_twisted_is_told_is_told_like_the_rest(self):
        publisher = LogPublisher(self.make())
        for why in ("it broke", None):
            legacy = {"isError": 1, "why": why, "failure": failed_with(SECRETS), "time": NOW}
            publishToNewObserver(
                publisher, {**legacy, "system": "-", "message": ()}, textFromEventDict
            )
        first, second = self.lines()
        self.assertEqual(first["message"], "it broke")
        self.assertEqual(second["message"], "Unhandled error")
        for line in (first, second):
            self.assertEqual(line["level"], "critical")
            self.assertEqual(line["error_type"], "KeyError")
            self.assertRegex(line["traceback"], r":failed_with$")
        for secret in SECRETS.values():
            self.assertNotIn(secret, self.sink.getvalue())

    def test_an_error_that_no_deferred_handled_is_told_without_secrets(self):
        log = self.make()
        globalLogPublisher.addObserver(log)
        self.addCleanup(globalLogPublisher.removeObserver, log)
        Deferred().errback(failed_with(SECRETS))
        gc.collect()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        said, told = self.lines()
        self.assertEqual(said["message"], "Unhandled error in Deferred:")
        self.assertEqual(told["error_type"], "KeyError")
        for secret in SECRETS.values():
            self.assertNotIn(secret, self.sink.getvalue())

    def test_secrets_of_our_kind_are_masked_wherever_they_stand(self):
        log = self.make(query=True)
        key, token = SECRETS["key"], SECRETS["token"]
        logger = Logger(namespace="n", observer=log)
        logger.warn("no {word}, {thing}", word=key, thing=[token])
        log.access(
            Exchange(
                "r",
                "::1",
                0.0,
                path=f"/peer/{key}/x",
                query=f"a=1&password=canary-word&b={token}",
                lease=key,
                user_agent=f"curl {token}",
            )
        )
        event, access = self.lines()
        self.assertEqual(event["message"], "no ***, ['***']")
        self.assertEqual(event["word"], "***")
        self.assertEqual(access["path"], "/peer/***/x?a=1&password=***&b=***")
        self.assertEqual(access["lease_id"], "***")
        self.assertEqual(access["user_agent"], "curl ***")

    def test_a_query_is_not_written_unless_it_is_asked_for(self):
        log = self.make()
        log.access(Exchange("r", "::1", 0.0, path="/peer/a", query="page=2"))
        log.use("info", "json", query=True)
        log.access(Exchange("r", "::1", 0.0, path="/peer/a", query="page=2"))
        log.access(Exchange("r", "::1", 0.0, path="/peer/a"))
        self.assertEqual(
            [line["path"] for line in self.lines()], ["/peer/a", "/peer/a?page=2", "/peer/a"]
        )

    def test_a_number_that_json_does_not_have_is_a_text(self):
        Logger(namespace="n", observer=self.make()).info("soon", delay=float("inf"))
        (line,) = self.lines()
        self.assertEqual(line["delay"], "inf")

    def test_another_thread_writes_without_the_clock(self):
        logger = Logger(namespace="n", observer=self.make())
        thread = threading.Thread(target=logger.info, args=("from a thread",))
        thread.start()
        thread.join()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        (line,) = self.lines()
        self.assertEqual(line["message"], "from a thread")

    def test_an_event_below_the_level_is_not_written(self):
        logger = Logger(namespace="n", observer=self.make(level="error"))
        logger.info("quiet")
        self.assertEqual(self.lines(), [])

    def test_a_sink_that_fails_costs_its_lines_only(self):
        log = Log(self.clock, BrokenSink())
        log.access(Exchange("a", "::1", 0.0, status=200))
        self.clock.advance(0)
        self.assertEqual(log.dropped, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_wait_for_others_no_longer_than_they_may(self):
        log = Log(self.clock, self.sink, delay=0.05)
        log.access(Exchange("a", "::1", 0.0, status=200))
        self.clock.advance(0.04)
        log.access(Exchange("b", "::1", 0.0, status=200))
        self.assertEqual(self.sink.getvalue(), "")
        self.clock.advance(0.01)
        self.assertEqual(self.sink.getvalue().count("\n"), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_lines_go_elsewhere_from_one_moment_on_and_none_is_lost(self):
        first, second = Kept(), Kept()
        log = Log(self.clock, LogQueue(first))
        log.access(Exchange("a", "::1", 0.0, status=200))
        log.send_to(LogQueue(second))
        log.access(Exchange("b", "::1", 0.0, status=200))
        log.close()
        self.assertTrue(first.closed.wait(10))
        self.assertEqual(ids(first.data), ["a"])
        self.assertEqual(ids(second.data), ["b"])

    def test_what_was_dropped_is_counted_over_all_outputs_and_told(self):
        log = Log(self.clock, LogQueue(Kept(), most=10), wall_clock=lambda: NOW)
        for _ in range(3):
            log.access(Exchange("a", "::1", 0.0, status=200))
            log.flush()
        self.assertEqual(log.dropped, 3)
        last = Kept()
        log.send_to(LogQueue(last, most=10))
        log.access(Exchange("b", "::1", 0.0, status=200))
        log.close()
        self.assertEqual(log.dropped, 4)
        line = json.loads(last.data)
        self.assertEqual(line["level"], "warning")
        self.assertEqual(line["lines"], 1)
        self.assertIn("were lost", line["message"])

    def test_a_flush_writes_at_once_and_leaves_nothing_to_do(self):
        log = self.make(style="text")
        log.access(Exchange("a", "::1", 0.0, status=200, method="GET", path="/health"))
        log.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIn("info    request_completed request_id=a method=GET", self.sink.getvalue())


TEXTS = st.text() | st.text('\r\n\x1b\x00\u2028"\\{}:,%&=?sk_liveyJ.', max_size=40)


@given(st.lists(TEXTS, min_size=7, max_size=7), st.sampled_from(["json", "text"]))
def test_m5_whatever_was_sent_is_one_printable_line(texts, style):
    sink = io.StringIO()
    log = Log(Clock(), sink, style=style, query=True, wall_clock=lambda: NOW)
    names = ("request_id", "method", "path", "query", "lease", "client_address", "user_agent")
    log.access(Exchange(started=0.0, **dict(zip(names, texts, strict=True))))
    log.flush()
    line = sink.getvalue()
    assert line.isascii()
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    if style == "json":
        fields = json.loads(line)
        assert list(fields)[:4] == ["timestamp", "level", "message", "request_id"]
        assert fields["request_id"] == texts[0]
        assert fields["user_agent"] == masked(texts[6])


@given(TEXTS, TEXTS, st.sampled_from(["json", "text"]))
def test_whatever_an_event_holds_is_one_printable_line(message, fact, style):
    sink = io.StringIO()
    log = Log(Clock(), sink, style=style, wall_clock=lambda: NOW)
    Logger(namespace="n", observer=log).info("{why}", why=message, fact=fact)
    log.flush()
    line = sink.getvalue()
    assert line.isascii()
    assert line[:-1].isprintable()
    if style == "json":
        assert json.loads(line)["fact"] == masked(fact)
