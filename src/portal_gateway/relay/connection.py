"""One connection to a relay: a carrier below, many streams above, in either role.

How bytes leave is ``outbox``'s subject; what a stream does with them is ``substream``'s.

Closing::

    close()            go-away, then the carrier's own farewell
    abort()            at once
    a fault of the     go-away with the protocol error code, then the carrier's farewell
    multiplexing
    the peer's         no new streams; closed when the last one is over, or after DRAIN_LIMIT
    go-away
    the carrier is     over
    lost

Whatever it was, ``closed`` fires with the ``RelayLost`` that says why, after every stream was told
the same; ``gone`` fires when the transport below is closed as well.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.errors import fault
from portal_gateway.relay.carrier import Carrier
from portal_gateway.relay.lost import Loss, RelayLost
from portal_gateway.relay.outbox import Outbox
from portal_gateway.relay.substream import ACCEPTED_CLOSE_WAIT, CLOSE_WAIT, Substream
from portal_gateway.wire.errors import StreamsExhausted, WireError
from portal_gateway.wire.yamux import (
    DataReceived,
    Event,
    GoAwayReceived,
    PongReceived,
    Role,
    StreamAccepted,
    StreamEnded,
    StreamOpened,
    StreamReset,
    WindowOpened,
    YamuxSession,
)

__all__ = ["DRAIN_LIMIT", "RelayConnection"]

_log = Logger("portal_gateway.relay")

DRAIN_LIMIT = 30.0
"""Seconds that the streams of a connection may go on after the relay's go-away."""


class RelayConnection:
    """A multiplexed connection over ``carrier``; it is the carrier's ``Receiver``.

    ``name`` stands for the peer in addresses and logs. ``on_stream`` is asked for a protocol for
    each stream that the peer opens; with ``None``, the stream is refused. ``on_going_away`` is
    called when no new streams can be opened although old ones go on. ``bytes_in`` and ``bytes_out``
    count what the carrier carried. ``outbox`` is for the streams.
    """

    def __init__(self, carrier: Carrier, role: Role, clock: IReactorTime, *, name: str) -> None:
        self.name = name
        self.clock = clock
        self.on_stream: Callable[[Substream], IProtocol | None] = _refuse
        self.on_going_away: Callable[[], None] | None = None
        self.going_away = False
        self.bytes_in = 0
        self._carrier = carrier
        self._session = YamuxSession(role)
        self.outbox = Outbox(self._session, carrier, clock)
        self._streams: dict[int, Substream] = {}
        self._pings: dict[int, tuple[Deferred[float], float]] = {}
        self._receiving = False
        self._drain_call: IDelayedCall | None = None
        self._closing = False
        self._lost: RelayLost | None = None
        self._gone = False
        self._when_closed: list[Deferred[RelayLost]] = []
        self._when_gone: list[Deferred[None]] = []
        self._reactions: dict[type[Event], Callable[[Any], None]] = {
            StreamOpened: self._stream_opened,
            StreamAccepted: self._stream_accepted,
            WindowOpened: self._window_opened,
            StreamEnded: self._stream_ended,
            StreamReset: self._stream_reset,
            PongReceived: self._pong_received,
            GoAwayReceived: self._go_away_received,
        }

    def __repr__(self) -> str:
        return f"<RelayConnection {self.name} streams={len(self._streams)} lost={self._lost!r}>"

    @property
    def closed(self) -> Deferred[RelayLost]:
        """A new Deferred at each call, so what one does with it is nobody else's concern."""
        if self._lost is not None:
            return succeed(self._lost)
        waiter: Deferred[RelayLost] = Deferred()
        self._when_closed.append(waiter)
        return waiter

    @property
    def gone(self) -> Deferred[None]:
        """As ``closed``."""
        if self._gone:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._when_gone.append(waiter)
        return waiter

    @property
    def connected(self) -> bool:
        """Whether streams still get through."""
        return self._lost is None

    @property
    def usable(self) -> bool:
        """Whether new streams can be opened."""
        return self._lost is None and not self._closing and not self.going_away

    @property
    def bytes_out(self) -> int:
        """How much was sent."""
        return self.outbox.bytes_out

    @property
    def streams(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    # For whoever uses the connection.

    def open_stream(self, protocol: IProtocol) -> Substream:
        """Open a stream for ``protocol``, which is connected to it at once.

        Raises ``GatewayError`` (``relay_unavailable``) when no stream can be opened.
        """
        if not self.usable:
            raise self._lost or fault("relay_unavailable", "The relay takes no more streams")
        try:
            stream_id = self._session.open_stream()
        except WireError as error:
            if isinstance(error, StreamsExhausted):
                self._go_away()
            raise fault(
                "relay_unavailable", "No more streams fit on the relay connection"
            ) from error
        stream = Substream(self, stream_id, close_wait=CLOSE_WAIT)
        self._streams[stream_id] = stream
        self.outbox.flush_soon()
        stream.start(protocol)
        return stream

    def ping(self) -> Deferred[float]:
        """Ask for a sign of life; fires with the round trip in seconds.

        Fails with ``RelayLost`` when the connection ends first.
        """
        if self._lost is not None:
            return fail(Failure(self._lost))
        value = self._session.ping()
        answer: Deferred[float] = Deferred()
        self._pings[value] = (answer, self.clock.seconds())
        self.outbox.flush_soon()
        return answer

    def close(self) -> None:
        """End in good order; streams that are still open are lost."""
        if self._closing or self._lost is not None:
            return
        self._closing = True
        self._session.go_away(0)
        self.outbox.flush()
        self._finish(RelayLost(Loss.STOPPED, "The relay connection was closed"))
        self._carrier.close()

    def abort(
        self, loss: Loss = Loss.STOPPED, detail: str = "The relay connection was cut"
    ) -> None:
        """End at once."""
        if self._lost is None:
            self._finish(RelayLost(loss, detail))
            self._carrier.abort()

    # Receiver: what the carrier calls.

    def bytes_received(self, data: bytes) -> None:
        """The next bytes of the multiplexed stream."""
        if self._lost is not None:
            return
        self.bytes_in += len(data)
        session = self._session
        find = self._streams.get
        self._receiving = True
        for event in session.receive_data(data):
            # Most events are data, and cost no more than this.
            if type(event) is DataReceived:
                stream = find(event.stream_id)
                if stream is not None:
                    stream.data_received(event.data)
                else:
                    self.consume(event.stream_id, len(event.data))
            else:
                self._reactions[type(event)](event)
        self._receiving = False
        if not self.connected:
            return
        if session.failure is not None:
            self._fail(session.failure)
        elif session.has_data_to_send:
            self.outbox.flush_soon()

    def pause_sending(self) -> None:
        """The carrier's buffer is full."""
        self.outbox.pause()

    def resume_sending(self) -> None:
        """The carrier's buffer is empty again."""
        self.outbox.resume()

    def carrier_lost(self, lost: RelayLost) -> None:
        """The carrier is gone."""
        self._finish(lost)

    def carrier_gone(self) -> None:
        """The carrier's transport is closed."""
        self._gone = True
        for waiter in self._when_gone:
            waiter.callback(None)

    # What the streams call.

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call in the next turn of the reactor."""
        self.clock.callLater(0, function, *args)

    def send_fin(self, stream_id: int) -> None:
        """End our half of a stream."""
        if self._lost is None:
            self._session.send_fin(stream_id)
            self.outbox.flush_soon()

    def consume(self, stream_id: int, size: int) -> None:
        """Give credit back for bytes that were taken."""
        if self._lost is None:
            self._session.consume(stream_id, size)
            # While bytes are received, one look at the end of them does for all.
            if not self._receiving and self._session.has_data_to_send:
                self.outbox.flush_soon()

    def forget(self, stream: Substream, *, reset: bool) -> None:
        """Drop a stream from the table; ``reset`` tells the peer so."""
        if self._streams.pop(stream.stream_id, None) is None or self._lost is not None:
            return
        if reset:
            self._session.reset_stream(stream.stream_id)
            self.outbox.flush_soon()
        if self.going_away and not self._streams:
            self.call_soon(self.close)

    # Inside: what the peer says, by the type of the event.

    def _stream_opened(self, event: StreamOpened) -> None:
        stream = Substream(self, event.stream_id, close_wait=ACCEPTED_CLOSE_WAIT)
        try:
            protocol = self.on_stream(stream) if self.usable else None
        except Exception:  # noqa: BLE001  # a defect in one must not end everybody's connection
            _log.failure("a relay stream could not be taken")
            protocol = None
        if protocol is None:
            self._session.refuse_stream(event.stream_id)
            return
        self._session.accept_stream(event.stream_id)
        self._streams[event.stream_id] = stream
        try:
            stream.start(protocol)
        except Exception:  # noqa: BLE001  # as above
            _log.failure("a relay stream could not be started")
            stream.abortConnection()

    def _window_opened(self, event: WindowOpened) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.window_opened()

    def _stream_ended(self, event: StreamEnded) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.ended_by_peer()

    def _stream_reset(self, event: StreamReset) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.reset_by_peer()

    def _stream_accepted(self, event: StreamAccepted) -> None:
        """Nothing to do: data is sent without waiting for it."""

    def _pong_received(self, event: PongReceived) -> None:
        answer, asked = self._pings.pop(event.value, (None, 0.0))
        if answer is not None and not answer.called:
            answer.callback(max(0.0, self.clock.seconds() - asked))

    def _go_away_received(self, event: GoAwayReceived) -> None:
        if event.code == 0:
            self._go_away()

    def _go_away(self) -> None:
        """No new streams: close when the last one is over."""
        if self.going_away or self._lost is not None:
            return
        self.going_away = True
        if self.on_going_away is not None:
            self.on_going_away()
        if self._streams:
            self._drain_call = self.clock.callLater(DRAIN_LIMIT, self._drained_too_long)
        else:
            self.call_soon(self.close)

    def _drained_too_long(self) -> None:
        self._drain_call = None
        self.close()

    # Inside: the end.

    def _fail(self, error: WireError) -> None:
        """The peer broke the multiplexing; the session has queued its go-away."""
        self.outbox.flush()
        detail = f"The relay broke the multiplexing protocol: {error}"
        self._finish(RelayLost(Loss.YAMUX_FAULT, detail))
        self._carrier.close(fault=True)

    def _finish(self, lost: RelayLost) -> None:
        if self._lost is not None:
            return
        self._lost = lost
        self.outbox.close()
        if self._drain_call is not None:
            self._drain_call.cancel()
            self._drain_call = None
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.connection_lost(Failure(lost))
        pings, self._pings = self._pings, {}
        for answer, _ in pings.values():
            if not answer.called:
                answer.errback(Failure(lost))
        for waiter in self._when_closed:
            waiter.callback(lost)


def _refuse(stream: Substream) -> IProtocol | None:  # noqa: ARG001  # the default of on_stream
    """No stream is expected."""
    return None
