import pytest

from portal_gateway.wire.http2_frames import Frame, FrameType
from portal_gateway.wire.http2_patience import (
    MAX_RESETS,
    TOKENS,
    TOKENS_A_SECOND,
    Patience,
)


def frame(kind, length=0, flags=0):
    return Frame(kind, flags, 1, bytes(9 + length))


IDLE = [
    (frame(FrameType.PING, 8), False),
    (frame(FrameType.SETTINGS), False),
    (frame(FrameType.PRIORITY, 5), False),
    (frame(0xEE), False),
    (frame(FrameType.CONTINUATION, 1), False),
    (frame(FrameType.DATA), True),
    (frame(FrameType.DATA, 1), True),
    (frame(FrameType.DATA, 16_384), False),
    (frame(FrameType.HEADERS, 9, 4), False),
    (frame(FrameType.RST_STREAM, 4), False),
    (frame(FrameType.WINDOW_UPDATE, 4), False),
]

USEFUL = [
    (frame(FrameType.DATA, 64), True),
    (frame(FrameType.DATA, 0, 1), True),
    (frame(FrameType.HEADERS, 9, 4), True),
    (frame(FrameType.RST_STREAM, 4), True),
]


def count(patience, one, means, *, step=0.0, most=5000):
    now = 0.0
    for number in range(1, most):
        patience.take(one, now, meant_something=means)
        now += step
        if patience.exhausted:
            return number
    return most


@pytest.mark.parametrize(("one", "means"), IDLE)
def test_frames_that_carry_nothing(one, means):
    assert TOKENS < count(Patience(0.0), one, means) <= TOKENS + 10


@pytest.mark.parametrize(("one", "means"), USEFUL)
def test_frames_that_carry_something(one, means):
    assert count(Patience(0.0), one, means) == 5000


def test_tokens_come_back_with_time():
    one, means = IDLE[0]
    assert count(Patience(0.0), one, means, step=1.1 / TOKENS_A_SECOND) == 5000
    assert count(Patience(0.0), one, means, step=0.5 / TOKENS_A_SECOND) < 1100


def test_large_settings_cost_more():
    assert count(Patience(0.0), frame(FrameType.SETTINGS, 6 * 2700), means=False) < 5


def test_updates_that_answer_our_data_are_free():
    patience = Patience(0.0)
    for _ in range(3000):
        patience.sent_data()
        for _ in range(2):
            patience.take(frame(FrameType.WINDOW_UPDATE, 4), 0.0, meant_something=False)
    assert not patience.exhausted


def test_updates_are_not_saved_up_for_ever():
    patience = Patience(0.0)
    for _ in range(100_000):
        patience.sent_data()
    assert count(patience, frame(FrameType.WINDOW_UPDATE, 4), means=False, most=20_000) < 10_600


def test_resets():
    patience = Patience(0.0)
    for _ in range(MAX_RESETS):
        patience.reset()
    assert not patience.exhausted
    patience.reset()
    assert patience.exhausted
