"""One yamux stream: its state, with every transition in one table, and its two windows.

::

    OPEN ─── SEND_FIN ────► LOCAL_ENDED ──── RECEIVE_FIN ──► CLOSED
    OPEN ─── RECEIVE_FIN ─► REMOTE_ENDED ─── SEND_FIN ─────► CLOSED
    any of the three ─── SEND_RST or RECEIVE_RST ──────────► CLOSED

How a stream came to be is apart from that (``Phase``): data and FIN may be sent before the ACK.

The receive window is one sum, at every moment::

    window = credit       what the peer may still send
           + buffered     what arrived and was not consumed
           + returnable   what was consumed and not granted again
"""

from enum import IntEnum
from typing import Final

from portal_gateway.wire.yamux_frames import INITIAL_WINDOW

__all__ = ["TRANSITIONS", "Phase", "Signal", "State", "YamuxStream"]


class Phase(IntEnum):
    """How far the opening of a stream got."""

    WAITING = 0  # ours; too many are unacknowledged, so the SYN has not left
    OPENING = 1  # ours; SYN sent
    OFFERED = 2  # the peer's; not accepted yet
    ESTABLISHED = 3


class State(IntEnum):
    """Which halves of a stream are open."""

    OPEN = 0
    LOCAL_ENDED = 1
    REMOTE_ENDED = 2
    CLOSED = 3


class Signal(IntEnum):
    """What changes a stream's state."""

    SEND_FIN = 0
    RECEIVE_FIN = 1
    SEND_RST = 2
    RECEIVE_RST = 3


# A pair that is absent is a fault: of the peer for RECEIVE_FIN, of the caller for SEND_FIN.
TRANSITIONS: Final[dict[tuple[State, Signal], State]] = {
    (State.OPEN, Signal.SEND_FIN): State.LOCAL_ENDED,
    (State.OPEN, Signal.RECEIVE_FIN): State.REMOTE_ENDED,
    (State.OPEN, Signal.SEND_RST): State.CLOSED,
    (State.OPEN, Signal.RECEIVE_RST): State.CLOSED,
    (State.LOCAL_ENDED, Signal.RECEIVE_FIN): State.CLOSED,
    (State.LOCAL_ENDED, Signal.SEND_RST): State.CLOSED,
    (State.LOCAL_ENDED, Signal.RECEIVE_RST): State.CLOSED,
    (State.REMOTE_ENDED, Signal.SEND_FIN): State.CLOSED,
    (State.REMOTE_ENDED, Signal.SEND_RST): State.CLOSED,
    (State.REMOTE_ENDED, Signal.RECEIVE_RST): State.CLOSED,
}

_PEER_SENDS = frozenset((State.OPEN, State.LOCAL_ENDED))
_WE_SEND = frozenset((State.OPEN, State.REMOTE_ENDED))
_ANNOUNCED = frozenset((Phase.OPENING, Phase.ESTABLISHED))


class YamuxStream:
    """What a session knows of one stream.

    ``receivable``: the peer may send data; ``sendable``: we may. Both follow from phase and state,
    and are attributes because they are asked for every frame. ``owed``: bytes that were sent and
    for which the peer has not given credit back, so that credit is explained; 1 at first, for a
    peer that raises its window with SYN or ACK. ``volume``: bytes granted again since the window
    last grew; ``extra``: what it grew by in all. ``waited``: the SYN could not leave at once.
    """

    __slots__ = (
        "credit",
        "extra",
        "owed",
        "phase",
        "receivable",
        "returnable",
        "send_window",
        "sendable",
        "state",
        "stream_id",
        "volume",
        "waited",
        "window",
    )

    def __init__(self, stream_id: int, phase: Phase) -> None:
        self.stream_id = stream_id
        self.state = State.OPEN
        self.send_window = INITIAL_WINDOW
        self.owed = 1
        self.waited = False
        self.window = INITIAL_WINDOW
        self.credit = INITIAL_WINDOW
        self.returnable = 0
        self.volume = 0
        self.extra = 0
        self.enter(phase)

    @property
    def buffered(self) -> int:
        """Bytes that arrived, or were announced by a header, and were not consumed."""
        return self.window - self.credit - self.returnable

    def enter(self, phase: Phase) -> None:
        """Enter a phase of opening."""
        self.phase = phase
        self._derive()

    def advance(self, signal: Signal) -> State:
        """Take one transition of the table; KeyError where it has none."""
        self.state = TRANSITIONS[self.state, signal]
        self._derive()
        return self.state

    def _derive(self) -> None:
        self.receivable = self.state in _PEER_SENDS and self.phase is not Phase.WAITING
        self.sendable = self.state in _WE_SEND and self.phase in _ANNOUNCED

    def withdraw(self, count: int) -> None:
        """Take ``count`` bytes out of credit and window: nobody will consume them."""
        self.credit -= count
        self.window -= count
