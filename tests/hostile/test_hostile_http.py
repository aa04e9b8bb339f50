"""What a lease says inside its records, when it is not the HTTP/1.1 that it should be.

A row's right side is read as in ``test_hostile_messages``; each tuple holds the plaintexts of the
records, and ``END`` that the stream's end follows them.
"""

import pytest
from hostile_world import LEASE, MARK, RUDE, HostileWorld, listed, meet

from portal_gateway.testing.hostile import RESPONSE, Script
from portal_gateway.wire.http1_response import MAX_INFORMATIONAL, MAX_RESPONSE_HEAD

END = None

OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = OK + b"Content-Length: 10\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
BODY = b"honestbody"
LONG = (b"a" * 8192,) * (MAX_RESPONSE_HEAD // 8192 + 1)
"""More than any bound on what is no body, in records of 8 KiB."""

STRANGER = MARK.encode()
RUDE_BYTES = RUDE.encode()

FAULT = "502 upstream_protocol_error"
CUT = "200 cut upstream_protocol_error"
CLOSED = "502 upstream_closed"
HALF = "200 cut upstream_closed"
FINE = "200"


def head(*lines, start=b"HTTP/1.1 200 OK"):
    return b"\r\n".join((start, *lines, b"", b""))


def field(line):
    """A response that is good but for one field, with its body."""
    return (head(line, b"Content-Length: 10"), BODY)


def length(value):
    return (head(b"Content-Length: " + value), BODY)


def started(*start):
    """A head of nothing but a status line."""
    return tuple(head(start=line) for line in start)


# fmt: off
TABLE = [
    # Heads that are none.
    ("another protocol",               (b"SSH-2.0-" + RUDE_BYTES,),                       FAULT),
    ("a body without a head",          (BODY, END),                                       FAULT),
    ("HTTP/2",                         started(b"HTTP/2.0 200 OK"),                       FAULT),
    ("HTTP/0.9",                       started(b"HTTP/0.9 200 OK"),                       FAULT),
    ("a status of two digits",         started(b"HTTP/1.1 20 OK"),                        FAULT),
    ("a status over 599",              started(b"HTTP/1.1 600 OK"),                       FAULT),
    ("a rude reason",                  started(b"HTTP/1.1 200 " + STRANGER + b"\x1b[m"),  FAULT),
    ("a head that breaks off",         (OK + b"Content-Le", END),                         CLOSED),
    ("no head at all",                 (END,),                                            CLOSED),
    ("a field of any length",          (OK + b"X: ", *LONG),                              FAULT),
    ("any number of fields",           (head(*(b"X: 1",) * 201),),                        FAULT),

    # Fields that two readers might read in two ways.
    ("a bare CR in a field",           field(b"X: a\rSet-Cookie: b"),                     FAULT),
    ("a bare LF in a field",           field(b"X: a\nSet-Cookie: b"),                     FAULT),
    ("a NUL in a field",               field(b"X: a\0b"),                                 FAULT),
    ("an escape in a field",           field(b"X: " + STRANGER + b"\x1b[31m"),            FAULT),
    ("a folded field",                 field(b"X: a\r\n b"),                              FAULT),
    ("a space before the colon",       field(b"X : a"),                                   FAULT),
    ("a field without a name",         field(b": a"),                                     FAULT),
    ("a field without a colon",        field(STRANGER),                                   FAULT),
    ("a name that is none",            field(b"X\x1b: a"),                                FAULT),

    # Framing.
    ("two lengths",                    field(b"Content-Length: 11"),                      FAULT),
    ("a length twice",                 field(b"Content-Length: 10"),                      FAULT),
    ("a length and chunks",            field(b"Transfer-Encoding: chunked"),              FAULT),
    ("a negative length",              length(b"-1"),                                     FAULT),
    ("a length with a sign",           length(b"+10"),                                    FAULT),
    ("a length of 31 digits",          length(b"1" + b"0" * 30),                          FAULT),
    ("an unknown coding",              (head(b"Transfer-Encoding: rude"), BODY),          FAULT),
    ("chunks in HTTP/1.0",             (b"HTTP/1.0" + CHUNKED[8:] + b"0\r\n\r\n",),      FAULT),
    ("a length with 204",              (b"HTTP/1.1 204 No" + LENGTH[15:], BODY),          FAULT),
    ("an upgrade that nobody wanted",  (head(b"Upgrade: x", b"Connection: upgrade",
                                             start=b"HTTP/1.1 101 Go"),),                 FAULT),

    # Bodies.
    ("a body that breaks off",         (LENGTH, BODY[:5], END),                           HALF),
    ("chunks that break off",          (CHUNKED, b"5\r\nhones\r\n", END),                HALF),
    ("chunks without their last",      (CHUNKED, b"a\r\nhonestbody\r\n", END),           HALF),
    ("a chunk size that is none",      (CHUNKED, b"zz\r\n"),                              CUT),
    ("the same along with the head",   (CHUNKED + b"zz\r\n",),                            FAULT),
    ("a chunk size over 64 bits",      (CHUNKED, b"f" * 17 + b"\r\n" + BODY),             CUT),
    ("a chunk longer than it says",    (CHUNKED, b"2\r\n" + BODY),                        CUT),
    ("a chunk extension of any length", (CHUNKED, b"1;", *LONG),                          CUT),
    ("trailers of any length",         (CHUNKED, b"0\r\nX: ", *LONG),                     CUT),
    ("a rude trailer",                 (CHUNKED, b"0\r\nX: a\0b\r\n\r\n"),                CUT),
    ("silence in a body",              (LENGTH, BODY[:5]),                                "waits"),
    ("silence in a head",              (OK,),                                             "waits"),

    # Too much.
    ("more than the length",           (LENGTH, BODY + RUDE_BYTES),                       CUT),
    ("a second response with the first", (LENGTH + BODY + LENGTH + BODY,),                FAULT),
    ("a second response behind it",    (LENGTH, BODY, LENGTH + BODY),                     FINE),
    ("an endless foreplay",            started(*(b"HTTP/1.1 103 Hint",) * (MAX_INFORMATIONAL + 1)),
                                                                                          FAULT),
]
# fmt: on


@pytest.mark.parametrize(("pieces", "right"), [pytest.param(*row, id=what) for what, *row in TABLE])
def test_a_lease_answers(pieces, right):
    script = Script(LEASE, (listed(LEASE, "newcomer"),))
    world = HostileWorld(script)
    script.response = tuple(piece for piece in pieces if piece is not END)
    script.ends = END in pieces

    def disarm():
        script.response, script.ends = RESPONSE, False

    meet(world, right, disarm)
    world.stop()
