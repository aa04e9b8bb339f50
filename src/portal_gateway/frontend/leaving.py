"""How a process leaves the address that it listens on without losing a client.

The kernel resets those that wait at a socket that is closed, or are in the middle of a handshake
with it. A client that has sent a request by then cannot know whether anybody has seen it. So before
that

1. new clients are directed to the other socket of the address (``SO_REUSEPORT``), where it is known
   which one that is;
2. the first packet of a client that comes here all the same is dropped: it sends it again after a
   second, and another socket gets it, or it is refused;
3. handshakes that have begun have time to end;
4. what waits is taken.
"""

import ctypes
import os
import select
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from twisted.internet import tcp
from twisted.internet.interfaces import IListeningPort

__all__ = ["LAST_HANDSHAKES", "NEAR_HANDSHAKES", "others_at", "step_aside", "take_waiting"]

LAST_HANDSHAKES: Final = 0.5
"""Seconds that handshakes have to end: longer than a way around the world, and shorter than the
second after which a client that was ignored comes again."""

NEAR_HANDSHAKES: Final = 0.05
"""The same where nobody else listens: a client that was ignored then is refused, but a second late,
so this is only for those in the neighbourhood, such as a load balancer."""

_ROUNDS: Final = 100
"""Times 100 connections that are taken at the end: more than can wait."""

_TABLES: Final = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}

_LISTENS: Final = "0A"
"""How these tables call a socket that listens; those stand before all others."""

_LOCAL, _STATE, _INODE = 1, 3, 9
"""Columns of the tables."""

_SO_ATTACH_FILTER: Final = 26
_SO_ATTACH_REUSEPORT_CBPF: Final = 51
_SO_DETACH_REUSEPORT_BPF: Final = 68

# Steps of classic BPF: code, jump if true, jump if false, value.
_Step = tuple[int, int, int, int]

_LOAD_BYTE, _IF_ANY_BIT, _GIVE = 0x30, 0x45, 0x06

_FLAGS_AT: Final = 13
_SYN: Final = 0x02
_ALL: Final = 0x7FFFFFFF

_DROP_SYN: Final[Sequence[_Step]] = (
    (_LOAD_BYTE, 0, 0, _FLAGS_AT),  # of the TCP header
    (_IF_ANY_BIT, 0, 1, _SYN),
    (_GIVE, 0, 0, 0),
    (_GIVE, 0, 0, _ALL),
)
"""Gives how much of a packet is kept: nothing of one that opens a connection."""


def others_at(listening: socket.socket) -> frozenset[int] | None:
    """The inodes of the other sockets that listen where this one does; None where that is secret.

    One that listens on every address and one that listens on this one are not at the same.
    """
    table = _TABLES.get(listening.family)
    own = os.fstat(listening.fileno()).st_ino
    found: dict[str, set[int]] = {}
    try:
        with (table or Path(os.devnull)).open(encoding="ascii") as lines:
            next(lines, None)
            for line in lines:
                columns = line.split()
                if columns[_STATE] != _LISTENS:
                    break
                found.setdefault(columns[_LOCAL], set()).add(int(columns[_INODE]))
    except (OSError, IndexError, ValueError):
        return None
    here = next((inodes for inodes in found.values() if own in inodes), None)
    return None if here is None else frozenset(here - {own})


def step_aside(port: IListeningPort, elders: frozenset[int] | None) -> None:
    """Let new clients find another process, or nobody; what has begun here goes on.

    ``elders`` are those that listened there before this one. Raises ``OSError`` where the system
    cannot do it.
    """
    if not isinstance(port, tcp.Port) or sys.platform != "linux":
        raise OSError("only Linux lets a socket ignore new clients")
    listening: socket.socket = port.socket
    other = _place_of_the_other(elders, others_at(listening))
    if other is not None:
        # Without it all goes on as with more than two, which is slower for some.
        with suppress(OSError):
            _attach(listening, _SO_ATTACH_REUSEPORT_CBPF, [(_GIVE, 0, 0, other)])
    _attach(listening, _SO_ATTACH_FILTER, _DROP_SYN)


def _place_of_the_other(elders: frozenset[int] | None, now: frozenset[int] | None) -> int | None:
    """The number that the kernel has for the one other socket; None where that cannot be told.

    A socket that comes gets the next number, and one that goes leaves its own to the last. So of
    two the elder is 0 and the younger is 1.
    """
    if elders is None or now is None or len(elders) > 1 or len(now) != 1:
        return None
    return 0 if now <= elders else 1


def _attach(listening: socket.socket, option: int, steps: Sequence[_Step]) -> None:
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    buffer = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    listening.setsockopt(socket.SOL_SOCKET, option, pointer)


def take_waiting(port: IListeningPort) -> None:
    """Accept what waits: it would be lost when the socket is closed, which it is to be now."""
    if not isinstance(port, tcp.Port) or not port.connected:
        return
    poll = select.poll()
    poll.register(port.socket, select.POLLIN)
    for _ in range(_ROUNDS):
        if not poll.poll(0):
            break
        port.numberAccepts = 100
        port.doRead()
    # Those that come later are dealt out as usual. There is nothing to detach in most cases.
    with suppress(OSError):
        port.socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_REUSEPORT_BPF, 0)
