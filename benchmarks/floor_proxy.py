"""The least that a proxy of Twisted and llhttp does: no policy, no limits, no log, no errors.

It says how far a gateway is from the ground that it stands on. ``floor_proxy.py HOST:PORT`` prints
``ready HOST:PORT``.
"""

import sys

import httptools
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol

HOST, PORT = sys.argv[1].split(":")
IDLE = []


class Upstream(Protocol):
    client = None

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)

    def ask(self, client, url):
        self.client = client
        self.body = []
        self.parser = httptools.HttpResponseParser(self)
        head = b"GET %b HTTP/1.1\r\nHost: %b:%b\r\n\r\n" % (url, HOST.encode(), PORT.encode())
        self.transport.write(head)

    def dataReceived(self, data):
        self.parser.feed_data(data)

    def on_body(self, data):
        self.body.append(data)

    def on_message_complete(self):
        body = b"".join(self.body)
        client, self.client = self.client, None
        IDLE.append(self)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.transport.write(head + body)


class Client(Protocol):
    url = b""

    def connectionMade(self):
        self.transport.setTcpNoDelay(True)
        self.parser = httptools.HttpRequestParser(self)

    def dataReceived(self, data):
        self.parser.feed_data(data)

    def on_url(self, url):
        self.url = url

    def on_message_complete(self):
        if IDLE:
            IDLE.pop().ask(self, self.url)
            return
        endpoint = TCP4ClientEndpoint(reactor, HOST, int(PORT))
        connectProtocol(endpoint, Upstream()).addCallback(Upstream.ask, self, self.url)


def listening(port):
    print(f"ready 127.0.0.1:{port.getHost().port}", flush=True)


endpoint = TCP4ServerEndpoint(reactor, 0, backlog=4096, interface="127.0.0.1")
endpoint.listen(Factory.forProtocol(Client)).addCallback(listening)
reactor.run()
