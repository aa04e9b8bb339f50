"""The request's body by itself: what is kept, and how it is framed."""

from portal_gateway.relay.request_body import REPLAY_BODY_LIMIT, BodyFraming, RequestBody


def body_of(framing, *pieces):
    body = RequestBody(framing)
    for piece in pieces:
        body.add(piece)
    return body


def test_what_is_kept_for_a_repeat():
    for keep in (True, False):
        body = body_of(BodyFraming.chunked(), b"abc")
        body.start(b"HEAD ", keep=keep)
        assert body.repeatable == keep
    body = body_of(BodyFraming.chunked(), b"x" * (REPLAY_BODY_LIMIT + 1))
    body.start(b"HEAD ", keep=True)
    assert not body.repeatable
    body = body_of(BodyFraming.chunked(), b"x" * REPLAY_BODY_LIMIT)
    body.start(b"HEAD ", keep=True)
    assert body.repeatable
    body.add(b"y")
    assert not body.repeatable


def test_forgotten_is_forgotten():
    body = body_of(BodyFraming.chunked(), b"abc")
    body.start(b"HEAD ", keep=True)
    body.forget()
    body.add(b"def")
    assert not body.repeatable


def test_a_repeat_begins_at_the_start():
    body = body_of(BodyFraming.chunked(), b"abc")
    assert body.start(b"HEAD ", keep=True) == b"HEAD 3\r\nabc\r\n"
    body.add(b"d")
    assert b"".join(body.framed(b"d")) == b"1\r\nd\r\n"
    body.rewind()
    body.end([(b"X", b"y")])
    assert body.start(b"HEAD ", keep=True) == b"HEAD 4\r\nabcd\r\n0\r\nX: y\r\n\r\n"


def test_completeness():
    assert body_of(BodyFraming.none()).complete
    assert body_of(BodyFraming.length(0)).complete
    assert not body_of(BodyFraming.length(3), b"ab").complete
    assert body_of(BodyFraming.length(3), b"ab", b"c").complete
    body = body_of(BodyFraming.chunked(), b"ab")
    assert not body.complete
    body.end()
    assert body.complete
    assert body.closing() == b"0\r\n\r\n"
    assert body_of(BodyFraming.none()).closing() == b""
