"""Stream ids: a yamux client's are odd, a server's even, 0 is the session; none is used twice."""

from enum import Enum

from portal_gateway.wire.errors import InvalidStreamId, StreamsExhausted
from portal_gateway.wire.yamux_frames import MAX_SKIPPED_IDS, MAX_STREAM_ID

__all__ = ["Role", "StreamIds"]


class Role(Enum):
    """Which end of the session this is: the client opened the connection underneath."""

    CLIENT = 1
    SERVER = 2


class StreamIds:
    """The ids that were used on one session, by either side, in bounded memory.

    The genuine peer's SYNs overtake each other (see ``MAX_SKIPPED_IDS``), so an id below the
    highest is new when it was skipped, and the latest skipped ids are remembered.
    """

    __slots__ = ("_highest", "_next", "_skipped")

    def __init__(self, role: Role) -> None:
        self._next = role.value
        self._highest = 1 - role.value  # one step (2) below the first id of the peer
        self._skipped: dict[int, None] = {}

    def allocate(self) -> int:
        """Return the next id of ours; raises StreamsExhausted."""
        stream_id = self._next
        if stream_id > MAX_STREAM_ID:
            raise StreamsExhausted(f"every stream id up to {MAX_STREAM_ID} has been used")
        self._next = stream_id + 2
        return stream_id

    def is_ours(self, stream_id: int) -> bool:
        """Whether an id has our parity."""
        return (stream_id ^ self._next) & 1 == 0

    def was_used(self, stream_id: int) -> bool:
        """Whether a stream of this id exists or may have existed."""
        if stream_id <= 0:
            return False
        return stream_id < self._next if self.is_ours(stream_id) else stream_id <= self._highest

    def peer_opens(self, stream_id: int) -> None:
        """Record the id of a SYN; raises InvalidStreamId for zero, our parity, or a used one."""
        if stream_id == 0 or self.is_ours(stream_id):
            raise InvalidStreamId(f"the peer cannot open stream {stream_id}")
        highest = self._highest
        if stream_id <= highest:
            if stream_id not in self._skipped:
                raise InvalidStreamId(f"stream {stream_id} was opened before")
            del self._skipped[stream_id]
            return
        skipped = self._skipped
        if stream_id > highest + 2:
            first = max(highest + 2, stream_id - 2 * MAX_SKIPPED_IDS)
            skipped.update(dict.fromkeys(range(first, stream_id, 2)))
            while len(skipped) > MAX_SKIPPED_IDS:
                del skipped[next(iter(skipped))]
        self._highest = stream_id
