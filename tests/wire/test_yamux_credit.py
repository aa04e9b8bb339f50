"""Receive windows: when credit is given back, how windows grow, what they may cost in memory."""

import pytest

from portal_gateway.wire.yamux import DataReceived, Role, StreamReset, YamuxSession
from portal_gateway.wire.yamux_credit import ReceiveCredit, largest
from portal_gateway.wire.yamux_frames import (
    INITIAL_WINDOW,
    MAX_BUFFERED,
    MAX_EXTRA_CREDIT,
    MAX_RECEIVE_WINDOW,
    MAX_STREAMS,
)
from portal_gateway.wire.yamux_stream import Phase, YamuxStream
from tests.wire.yamux_pair import DATA, UPDATE, frame, frames

KIB = 1024
MIB = 1024 * KIB


def download(credit, stream, amount, *, unread=0):
    """Receive and consume ``amount`` bytes, ``unread`` of them always waiting; the grants."""
    grants = []
    waiting = 0
    while amount > 0:
        chunk = min(stream.credit, 64 * KIB, amount)
        assert chunk > 0, "the window closed although all was consumed"
        stream.credit -= chunk
        credit.buffered += chunk
        amount -= chunk
        waiting += chunk
        if waiting > unread:
            grant = credit.consume(stream, waiting - unread)
            waiting = unread
            if grant:
                grants.append(grant)
        assert 0 <= stream.credit <= stream.window <= credit.max_window
        assert stream.buffered == waiting
    return grants


def a_stream():
    return YamuxStream(1, Phase.ESTABLISHED)


class TestGivingBack:
    @pytest.mark.parametrize("short", [1, 1000, INITIAL_WINDOW // 2])
    def test_one_update_when_half_of_the_window_was_consumed(self, short):
        session = YamuxSession(Role.CLIENT)
        session.open_stream()
        session.data_to_send()
        session.receive_data(frame(DATA, "ACK", 1, payload=bytes(INITIAL_WINDOW)))
        session.consume(1, INITIAL_WINDOW // 2 - short)
        assert not session.has_data_to_send
        session.consume(1, short)
        assert frames(session.data_to_send()) == [("update", "", 1, INITIAL_WINDOW // 2)]
        session.consume(1, 1)
        assert not session.has_data_to_send

    def test_consumption_byte_by_byte_costs_one_update_per_half_window(self):
        credit, stream = ReceiveCredit(INITIAL_WINDOW), a_stream()
        stream.credit = 0
        credit.buffered = INITIAL_WINDOW
        grants = [credit.consume(stream, 1) for _ in range(INITIAL_WINDOW)]
        assert [grant for grant in grants if grant] == [INITIAL_WINDOW // 2] * 2
        assert credit.buffered == 0

    def test_a_stream_that_is_not_consumed_gets_nothing(self):
        session = YamuxSession(Role.CLIENT)
        session.open_stream()
        session.data_to_send()
        session.receive_data(frame(DATA, "ACK", 1, payload=bytes(INITIAL_WINDOW)))
        assert not session.has_data_to_send
        assert session.buffered == INITIAL_WINDOW


class TestGrowth:
    def test_a_bulk_stream_doubles_up_to_the_maximum(self):
        credit, stream = ReceiveCredit(MAX_RECEIVE_WINDOW), a_stream()
        grown = [(0, stream.window)]
        for n in range(1, 513):
            download(credit, stream, 64 * KIB)
            if stream.window != grown[-1][1]:
                grown.append((n * 64, stream.window))
        # Each window has to be consumed once before the next: 256 KiB, then 512 more, then 1024 …
        assert grown == [(256 * (2**n - 1), 256 * KIB << n) for n in range(7)]
        assert credit.extra == stream.extra == MAX_RECEIVE_WINDOW - INITIAL_WINDOW

    def test_no_growth_before_a_window_was_consumed(self):
        credit, stream = ReceiveCredit(MAX_RECEIVE_WINDOW), a_stream()
        assert download(credit, stream, INITIAL_WINDOW - 1) == [128 * KIB]
        assert stream.window == INITIAL_WINDOW
        assert download(credit, stream, 1) == [128 * KIB + INITIAL_WINDOW]
        assert stream.window == 2 * INITIAL_WINDOW

    @pytest.mark.parametrize("maximum", [INITIAL_WINDOW, 300 * KIB, MIB, 5 * MIB])
    def test_the_maximum_is_a_parameter(self, maximum):
        credit, stream = ReceiveCredit(maximum), a_stream()
        download(credit, stream, 16 * MIB)
        assert stream.window == maximum

    def test_the_session_offers_what_it_was_told_to(self):
        for maximum in (INITIAL_WINDOW, MIB):
            session = YamuxSession(Role.CLIENT, receive_window=maximum)
            session.open_stream()
            session.data_to_send()
            granted = received = 0
            window = INITIAL_WINDOW
            while received < 4 * MIB:
                session.receive_data(frame(DATA, "", 1, payload=bytes(64 * KIB)))
                received += 64 * KIB
                session.consume(1, 64 * KIB)
                granted += sum(delta for *_, delta in frames(session.data_to_send()))
                window = max(window, INITIAL_WINDOW + granted - received)
            assert window == maximum

    def test_a_reader_that_lags_does_not_grow_its_window(self):
        credit, stream = ReceiveCredit(MAX_RECEIVE_WINDOW), a_stream()
        download(credit, stream, 8 * MIB, unread=INITIAL_WINDOW // 4 + 1)
        assert stream.window == INITIAL_WINDOW

    def test_streams_share_the_extra_credit_and_none_takes_all(self):
        credit = ReceiveCredit(MAX_RECEIVE_WINDOW)
        streams = [YamuxStream(n, Phase.ESTABLISHED) for n in range(1, 1000, 2)]
        for stream in streams:
            download(credit, stream, 64 * MIB if stream.stream_id < 20 else MIB)
        windows = [stream.window for stream in streams]
        assert windows[:2] == [MAX_RECEIVE_WINDOW, MAX_RECEIVE_WINDOW // 2]
        assert windows[2] > windows[5] > INITIAL_WINDOW
        assert windows[:10] == sorted(windows[:10], reverse=True)
        assert credit.extra == sum(stream.extra for stream in streams) <= MAX_EXTRA_CREDIT
        assert all(stream.window >= INITIAL_WINDOW for stream in streams)

    def test_the_credit_returns_when_a_stream_goes(self):
        credit = ReceiveCredit(MAX_RECEIVE_WINDOW)
        for _ in range(10):
            stream = a_stream()
            download(credit, stream, 64 * MIB)
            assert stream.window == MAX_RECEIVE_WINDOW
            credit.forget(stream)
            assert credit.extra == credit.buffered == 0


class TestMemory:
    def test_the_stream_that_holds_most_is_the_largest(self):
        streams = [YamuxStream(n, Phase.ESTABLISHED) for n in (1, 3, 5)]
        streams[1].credit -= 100
        streams[2].credit -= 200
        streams[2].returnable = 150
        assert largest(streams) is streams[1]

    def test_readers_that_all_stop_are_no_reason_to_reset_below_the_bound(self):
        """What MAX_BUFFERED is made of: every extra credit, and 384 first windows."""
        assert MAX_BUFFERED == MAX_EXTRA_CREDIT + 384 * INITIAL_WINDOW

    @pytest.mark.parametrize("cut", [None, 65_536])
    def test_a_peer_that_fills_streams_nobody_reads(self, cut):
        session = YamuxSession(Role.SERVER)
        session._credit.max_buffered = bound = 4 * MIB
        payload = bytes(INITIAL_WINDOW)
        events = []
        for n in range(64):
            data = frame(UPDATE, "SYN", 2 * n + 1) + frame(DATA, "", 2 * n + 1, payload=payload)
            for start in range(0, len(data), cut or len(data)):
                events += session.receive_data(data[start : start + (cut or len(data))])
                assert session.buffered <= bound
            session.accept_stream(2 * n + 1)
        resets = [event.stream_id for event in events if isinstance(event, StreamReset)]
        assert len(resets) == 64 - bound // INITIAL_WINDOW
        assert session.failure is None
        assert session.stream_count == bound // INITIAL_WINDOW
        told = [
            stream_id for _, flags, stream_id, _ in frames(session.data_to_send()) if flags == "RST"
        ]
        assert told == resets

    def test_small_streams_are_spared(self):
        session = YamuxSession(Role.SERVER)
        session._credit.max_buffered = MIB
        for n in range(1, 9, 2):
            session.receive_data(frame(DATA, "SYN", n, payload=bytes(250_000)))
        events = session.receive_data(frame(DATA, "SYN", 9, payload=bytes(100_000)))
        assert StreamReset(1) in events
        assert DataReceived(9, bytes(100_000)) in events
        assert session.buffered == 850_000

    def test_nothing_is_delivered_after_the_reset(self):
        session = YamuxSession(Role.SERVER)
        session._credit.max_buffered = 300_000
        session.receive_data(frame(DATA, "SYN", 1, payload=bytes(150_000)))
        session.receive_data(frame(DATA, "SYN", 3, payload=bytes(100_000)))
        events = session.receive_data(frame(DATA, "FIN", 1, payload=bytes(100_000)))
        assert events == [StreamReset(1)]
        assert session.buffered == 100_000

    def test_closed_streams_whose_bytes_nobody_takes_are_given_up_too(self):
        session = YamuxSession(Role.SERVER)
        session._credit.max_buffered = 300_000
        session.receive_data(frame(DATA, "SYN FIN", 1, payload=bytes(200_000)))
        session.accept_stream(1)
        session.send_fin(1)
        session.data_to_send()
        events = session.receive_data(frame(DATA, "SYN", 3, payload=bytes(150_000)))
        assert StreamReset(1) in events
        assert (session.stream_count, session.buffered) == (1, 150_000)
        assert not session.has_data_to_send  # the peer has closed it already

    def test_the_default_bound(self):
        session = YamuxSession(Role.SERVER)
        payload = bytes(INITIAL_WINDOW)
        for n in range(MAX_BUFFERED // INITIAL_WINDOW + 50):
            session.receive_data(frame(DATA, "SYN", 2 * n + 1, payload=payload))
            session.accept_stream(2 * n + 1)
            session.data_to_send()
        assert session.buffered == MAX_BUFFERED
        assert session.stream_count == MAX_BUFFERED // INITIAL_WINDOW < MAX_STREAMS
        assert session.failure is None
