import socket

from twisted.internet.tcp import Connection
from twisted.protocols.tls import TLSMemoryBIOProtocol

from portal_gateway.relay.transport_buffers import UNSENT, limit_unsent, set_buffer_size


class Socket(Connection):
    def __init__(self):
        pass


class Wrapped:
    def __init__(self, transport):
        self.transport = transport


class Stream:
    """A transport without the attribute."""


def test_a_socket_of_twisted():
    socket = Socket()
    set_buffer_size(socket, 100)
    assert socket.bufferSize == 100
    set_buffer_size(socket, None)
    assert socket.bufferSize == Connection.bufferSize == 65_536
    set_buffer_size(socket, None)


def test_the_socket_below_tls():
    socket = Socket()
    set_buffer_size(Wrapped(Wrapped(socket)), 100)
    assert socket.bufferSize == 100
    assert hasattr(TLSMemoryBIOProtocol, "transport")


def test_a_stream_that_has_windows_is_left_alone():
    stream = Stream()
    set_buffer_size(stream, 100)
    assert not vars(stream)


def test_the_system_takes_no_more_than_it_can_send_soon():
    transport = Socket()
    with socket.socket() as handle:
        transport.socket = handle
        limit_unsent(Wrapped(transport))
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT


def test_other_transports_have_no_such_option():
    transport = Socket()
    with socket.socket(socket.AF_UNIX) as handle:
        transport.socket = handle
        limit_unsent(transport)
    limit_unsent(Stream())
