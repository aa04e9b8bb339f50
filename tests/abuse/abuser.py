"""Connections that send what they are told to, from an address of their own."""

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["ABUSER", "Abuser", "Outcome", "Sending"]

ABUSER = "127.0.0.2"
"""Where abusers come from; who means well is at 127.0.0.1."""

_POLL = 0.005

_READ = 1 << 16


class Sending(NamedTuple):
    """What one abuse sends, on each of ``connections``.

    ``pieces`` makes what follows ``opening``, one after the other; it is sent until the gateway
    closes, or ``most`` bytes have left on all connections. Then ``patience`` seconds are waited for
    the close. ``reads``: what comes is taken. ``again``: connections that were closed are made anew
    as long as there is something to send.
    """

    opening: bytes = b""
    pieces: Callable[[], Iterator[bytes]] = lambda: iter(())
    connections: int = 1
    most: int = 300_000
    patience: float = 1.6
    reads: bool = True
    again: bool = False
    after_answer: bytes = b""
    """What the pieces wait for."""


class Outcome(NamedTuple):
    """What became of it; ``ended`` connections were closed by the gateway."""

    sent: int
    received: int
    connections: int
    ended: int


class _Connection:
    def __init__(self, address: tuple[str, int], context: ssl.SSLContext | None, what: Sending):
        self.sent = self.received = 0
        self.ended = False
        self._what = what
        self._pieces = what.pieces()
        self.exhausted = False
        self._waits_for = what.after_answer
        self._seen = b""
        raw = socket.socket()
        self.socket = raw
        try:
            raw.bind((ABUSER, 0))
            raw.settimeout(10)
            # One above a limit is dropped at once, perhaps before it is here.
            raw.connect(address)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not what.reads:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            if context is not None:
                self.socket = context.wrap_socket(raw, server_hostname="localhost")
        except OSError:
            self.ended = True
        self.socket.settimeout(0)
        self._out = memoryview(what.opening)

    def turn(self, *, more: bool) -> bool:
        """Send and take what goes now; whether anything moved."""
        if self.ended:
            return False
        try:
            moved = self._send(more=more)
            return self._take() or moved
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            self.ended = True
            return True

    def _send(self, *, more: bool) -> bool:
        if not self._out and more and not self._waits_for:
            piece = next(self._pieces, None)
            if piece is None:
                self.exhausted = True
            else:
                self._out = memoryview(piece)
        if not self._out:
            return False
        try:
            size = self.socket.send(self._out)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        self._out = self._out[size:]
        self.sent += size
        return True

    def _take(self) -> bool:
        if not self._what.reads and not self._waits_for:
            self.ended = self._is_cut()
            return self.ended
        data = self.socket.recv(_READ)
        self.received += len(data)
        if self._waits_for:
            self._seen = (self._seen + data)[-_READ:]
            if self._waits_for in self._seen:
                self._waits_for = b""
        if not data:
            self.ended = True
        return True

    def _is_cut(self) -> bool:
        """Whether the connection was cut, of which who does not read hears nothing."""
        poll = select.poll()
        poll.register(self.socket, 0)
        return bool(poll.poll(0))


class Abuser:
    """Sends to the gateway at ``address``; with ``alpn`` over TLS."""

    def __init__(self, address: str, alpn: str | None = None) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._context: ssl.SSLContext | None = None
        if alpn is not None:
            self._context = ssl.create_default_context()
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
            self._context.set_alpn_protocols([alpn])

    def send(self, what: Sending, longest: float = 20.0) -> Outcome:
        """Do it, in no more than ``longest`` seconds."""
        live: list[_Connection] = []
        done: list[_Connection] = []
        end = time.monotonic() + longest
        try:
            live += [self._connect(what) for _ in range(what.connections)]
            while live and time.monotonic() < end:
                more = sum(each.sent for each in (*live, *done)) < what.most
                moved = [each.turn(more=more) for each in live]
                if not more or all(each.exhausted for each in live):
                    end = min(end, time.monotonic() + what.patience)
                    more = False
                ended = [each for each in live if each.ended]
                done += ended
                live = [each for each in live if not each.ended]
                if what.again and more:
                    live += [self._connect(what) for _ in ended]
                if not any(moved):
                    select.select([], [], [], _POLL)
        finally:
            for each in (*live, *done):
                each.socket.close()
        every = (*live, *done)
        return Outcome(
            sum(each.sent for each in every),
            sum(each.received for each in every),
            len(every),
            sum(each.ended for each in every),
        )

    def _connect(self, what: Sending) -> _Connection:
        return _Connection(self._address, self._context, what)
