"""Twisted's events, ours and the access lines through one writer."""

import io
import json

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from portal_gateway.exchange import Caller, Exchange
from portal_gateway.observe.logs import Log

NOW = 1763086591.7


class BrokenSink:
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise AssertionError("nothing was written")


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
        secret = "sk_live_" + "canary"
        try:
            {}[len(secret)]
        except KeyError:
            logger.failure("unexpected", Failure(captureVars=True), level=LogLevel.critical)
        self.assertNotIn("sk_live_canary", self.sink.getvalue())
        (line,) = self.lines()
        self.assertEqual(line["error_type"], "KeyError")
        self.assertIn("test_logs.py", line["traceback"])
        self.assertNotIn("sk_live_canary", json.dumps(line))

    def test_an_event_below_the_level_is_not_written(self):
        logger = Logger(namespace="n", observer=self.make(level="error"))
        logger.info("quiet")
        self.assertEqual(self.lines(), [])

    def test_a_sink_that_fails_costs_its_lines_only(self):
        log = Log(self.clock, BrokenSink())
        log.access(Exchange("a", "::1", 0.0, status=200))
        self.clock.advance(0)
        self.assertEqual(log.lost, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_flush_writes_at_once_and_leaves_nothing_to_do(self):
        log = self.make(style="text")
        log.access(Exchange("a", "::1", 0.0, status=200, method="GET", path="/health"))
        log.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertIn("info    request_completed request_id=a method=GET", self.sink.getvalue())
