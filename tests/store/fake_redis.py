"""A Redis in memory that does what it is told, and the reactor that it listens on."""

import re
from collections import Counter

from twisted.internet.protocol import Factory, Protocol

from portal_gateway.config.rate_limits import RedisSection
from portal_gateway.relay.tcp import tcp_endpoint
from portal_gateway.store.redis import RedisScripts
from portal_gateway.store.redis_script import Script
from portal_gateway.testing.memory_reactor import MemoryReactor

PORT = 6379
OK = b"+OK\r\n"
NOSCRIPT = b"-NOSCRIPT No matching script. Please use EVAL.\r\n"


class FakeRedis(Factory):
    """Knows AUTH, SELECT, EVAL and EVALSHA.

    ``password`` and ``username`` are asked for where they are set. ``answers`` has what a script is
    answered with, by its digest: bytes, or a function of keys and arguments to bytes; None is no
    answer at all. ``broken`` is what every script is answered with instead. Answers come ``delay``
    seconds late, or never where it is ``silent``. ``commands`` are all that came.
    """

    noisy = False

    def __init__(self, clock):
        self.clock = clock
        self.delay = 0.0
        self.password = None
        self.username = None
        self.known = set()
        self.answers = {}
        self.broken = None
        self.silent = False
        self.commands = []
        self.connections = []
        self.counts = Counter()

    def buildProtocol(self, addr):
        connection = _Connection(self)
        self.connections.append(connection)
        return connection

    @property
    def open(self):
        return [connection for connection in self.connections if connection.connected]


class _Connection(Protocol):
    def __init__(self, redis):
        self.redis = redis
        self._data = b""
        self._logged_in = redis.password is None

    def dataReceived(self, data):
        self._data += data
        while (words := self._take()) is not None:
            self.redis.commands.append(words)
            self.redis.counts[words[0]] += 1
            answer = self._answer(words)
            if answer is None or self.redis.silent:
                continue
            if self.redis.delay:
                self.redis.clock.callLater(self.redis.delay, self.transport.write, answer)
            else:
                self.transport.write(answer)

    def connectionLost(self, reason=None):
        self.connected = 0

    def _take(self):
        """The words of the first command, once it is whole."""
        head = re.match(rb"\*(\d+)\r\n", self._data)
        if head is None:
            assert b"\r\n" not in self._data, self._data
            return None
        words = []
        position = head.end()
        for _ in range(int(head[1])):
            size = re.compile(rb"\$(\d+)\r\n").match(self._data, position)
            if size is None:
                return None
            position = size.end() + int(size[1]) + 2
            if position > len(self._data):
                return None
            assert self._data[position - 2 : position] == b"\r\n"
            words.append(self._data[size.end() : position - 2])
        self._data = self._data[position:]
        return words

    def _answer(self, words):
        redis = self.redis
        name, *rest = words
        if name == b"AUTH":
            expected = (
                [redis.password] if redis.username is None else [redis.username, redis.password]
            )
            self._logged_in = rest == expected
            return OK if self._logged_in else b"-WRONGPASS invalid username-password pair\r\n"
        if not self._logged_in:
            return b"-NOAUTH Authentication required.\r\n"
        if redis.broken is not None:
            return redis.broken
        if name == b"SELECT":
            return OK if int(rest[0]) < 16 else b"-ERR DB index is out of range\r\n"
        if name == b"EVAL":
            digest = Script(rest[0].decode()).digest
            redis.known.add(digest)
        elif name == b"EVALSHA":
            digest = rest[0]
            if digest not in redis.known:
                return NOSCRIPT
        else:
            return b"-ERR unknown command\r\n"
        answer = redis.answers.get(digest, OK)
        if callable(answer):
            count = int(rest[1])
            answer = answer(rest[2 : 2 + count], rest[2 + count :])
        return answer


class RedisWorld:
    """`RedisScripts` on a reactor in memory, with a `FakeRedis` to talk to."""

    def __init__(self, *, listening=True, start=True, **settings):
        self.reactor = MemoryReactor(now=1000.0)
        self.redis = FakeRedis(self.reactor)
        if listening:
            self.listen()
        self.settings = RedisSection(host="redis.test", port=PORT, **{"pool_size": 1, **settings})
        endpoint = tcp_endpoint(self.reactor, "127.0.0.1", PORT)
        self.scripts = RedisScripts(endpoint, self.settings, self.reactor)
        if start:
            self.scripts.start()
            self.reactor.settle()

    def listen(self):
        self.port = self.reactor.listenTCP(PORT, self.redis)

    def kill(self):
        """As ``kill -9`` would: nobody listens, every connection is reset."""
        self.port.stopListening()
        for connection in self.redis.open:
            connection.transport.abortConnection()
        self.reactor.settle()

    @property
    def figures(self):
        return self.scripts.figures

    def stop(self):
        self.scripts.close()
        self.reactor.settle()
        assert self.scripts.in_flight == 0
        assert self.redis.open == []
        assert self.reactor.getDelayedCalls() == []
