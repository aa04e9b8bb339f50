"""A client that reads nothing is seen to: the system does not take its response for sent."""

import socket

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from portal_gateway.frontend.channel import HTTPChannel
from portal_gateway.frontend.http2_connection import HTTP2Connection
from portal_gateway.relay.transport_buffers import UNSENT
from tests.frontend.serving import Noting, Served


@pytest.mark.parametrize("speak", [HTTPChannel, HTTP2Connection])
def test_the_system_holds_little_for_a_client_whatever_it_speaks(speak):
    served = Served(Noting())
    connection = speak(served.site)
    transport = StringTransport()
    with socket.socket() as handle:
        transport.socket = handle
        connection.makeConnection(transport)
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT
    connection.connectionLost(Failure(ConnectionDone()))
    served.finish()
