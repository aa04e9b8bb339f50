"""What a yamux session reports.

Named tuples, since one is made for every data frame. They are facts about the past: the session has
already moved on when they are read, so a stream named in one may be reset by a later one of the
same list.
"""

from typing import NamedTuple

__all__ = [
    "DataReceived",
    "Event",
    "GoAwayReceived",
    "PongReceived",
    "StreamAccepted",
    "StreamEnded",
    "StreamOpened",
    "StreamReset",
    "WindowOpened",
]


class StreamOpened(NamedTuple):
    """The peer opened a stream; answer with ``accept_stream`` or ``refuse_stream``."""

    stream_id: int


class StreamAccepted(NamedTuple):
    """The peer acknowledged a stream that we opened."""

    stream_id: int


class DataReceived(NamedTuple):
    """At least one byte of payload; call ``consume`` once the application took it."""

    stream_id: int
    data: bytes


class WindowOpened(NamedTuple):
    """The peer granted credit: ``send_data`` may take more than it did."""

    stream_id: int


class StreamEnded(NamedTuple):
    """The peer ended its half; no data follows. Ours stays open."""

    stream_id: int


class StreamReset(NamedTuple):
    """The stream is gone in both directions, with whatever was not consumed.

    Mostly the peer did it; the session does so itself when a peer sends after its own FIN, and when
    the session's buffered bytes exceed their bound and this stream holds most of them.
    """

    stream_id: int


class PongReceived(NamedTuple):
    """The answer to the ping of this value."""

    value: int


class GoAwayReceived(NamedTuple):
    """The peer takes no more streams (code 0), or gave up the session (else; a failure follows)."""

    code: int


Event = (
    StreamOpened
    | StreamAccepted
    | DataReceived
    | WindowOpened
    | StreamEnded
    | StreamReset
    | PongReceived
    | GoAwayReceived
)
