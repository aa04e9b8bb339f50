"""A lease in memory for tests of the HTTP client: bytes, pauses and losses are the test's."""

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from portal_gateway.relay.http_client import BodyFraming
from portal_gateway.relay.pool import Pool, PoolLimits

__all__ = ["OK", "Bench", "Line", "RecordingSink", "ScriptedEndpoint"]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Line:
    """The transport of one connection, and the lease at its other end."""

    def __init__(self, limit=None):
        self.protocol = None
        self.writes = []
        self.limit = limit
        """Bytes that it takes before it pauses its producer; ``None`` for any number."""
        self.waiting = 0
        self.producer = None
        self.reading = True
        self.aborted = False
        self.losing = False
        self.gone = False
        self.no_delay = False
        self.keep_alive = False

    # Twisted's transport.

    def write(self, data):
        assert isinstance(data, bytes)
        assert data
        assert not self.aborted
        assert not self.losing
        self.writes.append(data)
        self.waiting += len(data)
        if self.producer is not None and self.limit is not None and self.waiting > self.limit:
            self.producer.pauseProducing()

    def writeSequence(self, data):
        self.write(b"".join(data))

    def registerProducer(self, producer, streaming):
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self):
        assert not self.gone
        assert self.producer is not None
        self.producer = None

    def pauseProducing(self):
        assert self.reading
        self.reading = False

    def resumeProducing(self):
        assert not self.reading
        self.reading = True

    def loseConnection(self):
        self.losing = True

    def abortConnection(self):
        self.aborted = True

    def setTcpNoDelay(self, enabled):
        self.no_delay = enabled

    def setTcpKeepAlive(self, enabled):
        self.keep_alive = enabled

    # The lease's end.

    @property
    def received(self):
        return b"".join(self.writes)

    def clear(self):
        self.writes = []

    def take_all(self):
        """Everything written is on its way: the transport takes more."""
        self.waiting = 0
        if self.producer is not None:
            self.producer.resumeProducing()

    def answer(self, data=OK):
        self.protocol.dataReceived(data)

    def answer_bytewise(self, data):
        for i in range(len(data)):
            if self.aborted or self.gone:
                return
            self.answer(data[i : i + 1])

    def lose(self, reason=None):
        """The connection ends."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def dropped(self):
        """Whether the client has given the connection up."""
        return self.aborted or self.losing


@implementer(IStreamClientEndpoint)
class ScriptedEndpoint:
    """Dials wait in ``dials`` for `accept` or `refuse`; ``lines`` are the connections made."""

    def __init__(self):
        self.dials = []
        self.lines = []
        self.cancelled = 0
        self.limit = None

    def connect(self, factory):
        dialled = Deferred(self._cancelled)
        self.dials.append((dialled, factory))
        return dialled

    def _cancelled(self, dialled):
        self.cancelled += 1
        self.dials = [dial for dial in self.dials if dial[0] is not dialled]

    def accept(self, index=0):
        dialled, factory = self.dials.pop(index)
        line = Line(self.limit)
        line.protocol = factory.buildProtocol(None)
        self.lines.append(line)
        line.protocol.makeConnection(line)
        dialled.callback(line.protocol)
        return line

    def refuse(self, error, index=0):
        dialled, _ = self.dials.pop(index)
        dialled.errback(Failure(error))

    def report_losses(self):
        """Tell every connection that was given up that it has ended, as a reactor does."""
        for line in self.lines:
            if line.dropped:
                line.lose(ConnectionAborted() if line.aborted else ConnectionDone())


class RecordingSink:
    """Remembers, and checks, what an exchange told. ``on`` maps a call's name to what it does."""

    def __init__(self, on=None):
        self.told = []
        self.body = b""
        self.head = None
        self.error = None
        self.endings = 0
        self.paused = 0
        self.resumed = 0
        self.on = on or {}
        self.silent = False
        """Set when the exchange was cancelled: nothing may come any more."""

    def _note(self, name, *arguments):
        assert not self.silent, f"{name} after cancel"
        assert not self.endings, f"{name} after the end"
        self.told.append((name, *arguments))

    def _then(self, name):
        action = self.on.get(name)
        if action is not None:
            action()

    def response_informational(self, head):
        self._note("informational", head)
        assert self.head is None
        self._then("informational")

    def response_head(self, head):
        self._note("head", head)
        assert self.head is None
        self.head = head
        self._then("head")

    def response_data(self, data):
        self._note("data", data)
        assert self.head is not None
        self.body += data
        self._then("data")

    def response_end(self, trailers):
        self._note("end", trailers)
        assert self.head is not None
        self.endings += 1
        self._then("end")

    def response_failed(self, error):
        self._note("failed", error)
        self.error = error
        self.endings += 1
        self._then("failed")

    def pause_request_body(self):
        self._note("pause")
        self.paused += 1
        assert self.held
        self._then("pause")

    def resume_request_body(self):
        self._note("resume")
        self.resumed += 1
        assert not self.held
        self._then("resume")

    @property
    def held(self):
        return self.paused > self.resumed

    @property
    def complete(self):
        return self.endings == 1 and self.error is None

    @property
    def code(self):
        return self.error and self.error.cause.code


class Bench:
    """A pool, its clock and its lease."""

    def __init__(self, **limits):
        self.clock = Clock()
        self.endpoint = ScriptedEndpoint()
        self.pool = Pool(self.endpoint, self.clock, PoolLimits(**limits))

    def request(self, method=b"GET", body=None, sink=None, headers=((b"Host", b"lease"),)):
        sink = sink or RecordingSink()
        exchange = self.pool.request(method, b"/", headers, sink, body=body or BodyFraming.none())
        return exchange, sink

    def connected(self, method=b"GET", body=None, sink=None):
        """A request on a fresh connection."""
        exchange, sink = self.request(method, body, sink)
        return exchange, sink, self.endpoint.accept()

    def idle_line(self):
        """A connection that served a request and is idle."""
        _, sink, line = self.connected()
        line.answer()
        assert sink.complete
        assert self.pool.idle
        line.clear()
        return line

    def turn(self):
        """One turn of the reactor."""
        self.clock.advance(0)

    def check_clean(self):
        """Close the pool: nothing of it is left."""
        self.pool.close()
        self.clock.advance(0)
        self.endpoint.report_losses()
        pool = self.pool
        counts = (pool.idle, pool.active, pool.dialling, pool.queued)
        assert counts == (0, 0, 0, 0)
        assert pool.unused
        assert not self.endpoint.dials
        assert not self.clock.getDelayedCalls()
        for line in self.endpoint.lines:
            assert line.gone or line.aborted
            assert line.producer is None or line.gone
