"""How much of a client's HTTP/2 is borne that carries nothing.

Frames that open no request and bring no data cost their sender a few bytes and us a parse and often
an answer: PING and SETTINGS that are acknowledged, PRIORITY and unknown ones that are read in vain,
CONTINUATION, DATA without data. Each takes a token; tokens come back with time, so that a
connection may live long (CVE-2019-9511 to 9518, CVE-2024-27316).

Streams that are reset are counted for themselves, by whichever side: each has cost a request and
freed its place at once (CVE-2023-44487, CVE-2025-8671).
"""

from portal_gateway.wire.http2_frames import Frame, FrameType

__all__ = ["MAX_RESETS", "SMALL_DATA", "TOKENS", "TOKENS_A_SECOND", "Patience"]

TOKENS = 500
"""Idle frames in a row: more than any client sends at its start, half of what is to end a flood."""

TOKENS_A_SECOND = 100.0
"""An idle frame every 10 ms, for ever: more than a client needs that pings and sets priorities."""

SMALL_DATA = 64
"""DATA of fewer bytes takes a token: below this, framing costs more than what it frames."""

MAX_RESETS = 200
"""Streams that are reset on one connection, by the client or for what it did."""

_UPDATES_A_FRAME = 2
"""WINDOW_UPDATE frames that each DATA frame of ours may be answered with: stream and connection."""

_MAX_UPDATES = 10_000
"""Updates that are owed at most: a long download must not save up for a flood."""

_SETTING = 6
"""Bytes of one setting."""

_SETTINGS_A_TOKEN = 8


class Patience:
    """The tokens and resets of one connection; ``now`` is in seconds of any monotonic clock.

    ``exhausted`` once either is used up: the limit's name, ``"http2_idle_frames"`` or
    ``"http2_resets"``.
    """

    __slots__ = ("_at", "_most", "_resets_left", "_tokens", "_updates", "exhausted")

    def __init__(self, now: float, *, tokens: int = TOKENS, resets: int = MAX_RESETS) -> None:
        self._tokens = self._most = float(tokens)
        self._at = now
        self._updates = 2 * _UPDATES_A_FRAME
        self._resets_left = resets
        self.exhausted: str | None = None

    def take(self, frame: Frame, now: float, *, meant_something: bool) -> None:
        """A frame came; ``meant_something``: it had an effect on a request."""
        cost = 1
        if frame.type in {FrameType.DATA, FrameType.HEADERS}:
            small = frame.type == FrameType.DATA and frame.length < SMALL_DATA
            if meant_something and (frame.ends_stream or not small):
                return
        elif frame.type == FrameType.WINDOW_UPDATE and self._updates:
            self._updates -= 1
            return
        elif frame.type == FrameType.SETTINGS:
            cost += frame.length // (_SETTING * _SETTINGS_A_TOKEN)
        elif frame.type == FrameType.RST_STREAM and meant_something:
            return
        tokens = min(self._most, self._tokens + (now - self._at) * TOKENS_A_SECOND) - cost
        self._at = now
        self._tokens = tokens
        if tokens < 0:
            self.exhausted = "http2_idle_frames"

    def sent_data(self) -> None:
        """A DATA frame was sent, which the client will answer with updates of its windows."""
        self._updates = min(_MAX_UPDATES, self._updates + _UPDATES_A_FRAME)

    def reset(self) -> None:
        """A stream was reset by the client, or for what it did."""
        self._resets_left -= 1
        if self._resets_left < 0:
            self.exhausted = "http2_resets"
