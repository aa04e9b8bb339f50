"""The secure channel: our client against our server, split anywhere, and what a relay may try."""

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.errors import (
    HandshakeTruncated,
    RecordCorrupt,
    RecordTooLarge,
    RecordTruncated,
    StaleTimestamp,
)
from portal_gateway.wire.identity import Credential
from portal_gateway.wire.secure_channel import SecureChannel
from tests.wire.channel_peers import (
    GATEWAY,
    LEASE,
    NOW,
    client,
    established,
    sealed,
    server,
)


def test_data_both_ways() -> None:
    asking, serving = established()
    assert serving.receive_data(sealed(asking, b"request")) == [b"request"]
    assert asking.receive_data(sealed(serving, b"re", b"sponse")) == [b"re", b"sponse"]
    asking.receive_eof()
    serving.receive_eof()


def test_fresh_credentials() -> None:
    asking_credential, serving_credential = Credential.generate(), Credential.generate()
    asking = client(asking_credential, serving_credential.identity.id)
    serving = server(serving_credential)
    serving.receive_data(asking.data_to_send())
    asking.receive_data(serving.data_to_send())
    assert (asking.peer, serving.peer) == (
        serving_credential.identity,
        asking_credential.identity,
    )


@given(
    st.lists(st.binary(max_size=100), max_size=5),
    st.lists(st.binary(max_size=100), max_size=5),
    st.data(),
)
@settings(max_examples=60, deadline=None)
def test_own_client_against_own_server_split_anywhere(
    requests: list[bytes], responses: list[bytes], data: st.DataObject
) -> None:
    asking, serving = client(), server()

    def carry(sender: SecureChannel, receiver: SecureChannel) -> bytes:
        stream = sender.data_to_send()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
        pieces = [stream[a:b] for a, b in itertools.pairwise([0, *cuts, len(stream)])]
        return b"".join(b"".join(receiver.receive_data(piece)) for piece in pieces)

    assert carry(asking, serving) == b""
    # The server may speak at once: its first records follow its handshake message.
    for response in responses:
        serving.send_data(response)
    assert carry(serving, asking) == b"".join(responses)
    for request in requests:
        asking.send_data(request)
    assert carry(asking, serving) == b"".join(requests)
    for channel in (asking, serving):
        assert channel.buffered == 0
        assert channel.data_to_send() == b""
        channel.receive_eof()


def test_one_byte_at_a_time() -> None:
    asking, serving = client(), server()
    for byte in asking.data_to_send():
        assert serving.receive_data(bytes([byte])) == []
    serving.send_data(b"hello")
    got = [asking.receive_data(bytes([byte])) for byte in serving.data_to_send()]
    assert got[-1] == [b"hello"]
    assert not any(got[:-1])


def test_what_follows_the_handshake_is_records() -> None:
    asking, serving = client(), server()
    serving.receive_data(asking.data_to_send())
    serving.send_data(b"one")
    serving.send_data(b"two")
    stream = serving.data_to_send()
    assert asking.receive_data(stream[:-1]) == [b"one"]
    assert asking.buffered == 4 + 12 + 3 + 16 - 1
    assert asking.receive_data(stream[-1:]) == [b"two"]


def test_a_broken_record_right_behind_the_handshake() -> None:
    asking, serving = client(), server()
    serving.receive_data(asking.data_to_send())
    serving.send_data(b"one")
    with pytest.raises(RecordTooLarge):
        asking.receive_data(serving.data_to_send() + b"\xff\xff\xff\xff")
    # The handshake and the first record were good; the caller may still have them.
    assert asking.established
    assert asking.peer == LEASE.identity
    assert asking.opened == [b"one"]
    with pytest.raises(RecordTooLarge):
        asking.receive_data(b"")
    with pytest.raises(RecordTooLarge):
        asking.receive_eof()


def test_the_answer_and_records_leave_in_one_piece() -> None:
    asking, serving = client(), server()
    serving.receive_data(asking.data_to_send())
    serving.send_data(b"one")
    assert asking.receive_data(serving.data_to_send()) == [b"one"]
    assert serving.data_to_send() == b""


def test_nothing_is_opened_before_the_handshake() -> None:
    asking = client()
    assert asking.opened == []
    assert asking.buffered == 0


@pytest.mark.parametrize("make", [client, server])
def test_nothing_can_be_sent_before_the_handshake(make) -> None:
    channel = make()
    with pytest.raises(RuntimeError, match="not established"):
        channel.send_data(b"early")


@pytest.mark.parametrize("make", [client, server])
def test_an_end_before_the_handshake(make) -> None:
    with pytest.raises(HandshakeTruncated):
        make().receive_eof()


def test_an_end_inside_and_between_records() -> None:
    asking, serving = established()
    stream = sealed(asking, b"request")
    serving.receive_data(stream[:-1])
    with pytest.raises(RecordTruncated):
        serving.receive_eof()
    serving.receive_data(stream[-1:])
    serving.receive_eof()


def test_no_data_is_no_record() -> None:
    asking, _ = established()
    assert sealed(asking, b"") == b""


def test_large_data_both_ways() -> None:
    asking, serving = established()
    data = os.urandom(1_000_000)
    for sender, receiver in ((asking, serving), (serving, asking)):
        stream = sealed(sender, data)
        got = b"".join(
            b"".join(receiver.receive_data(stream[start : start + 10_007]))
            for start in range(0, len(stream), 10_007)
        )
        assert got == data


# --- what the relay in between may try


def test_a_record_sent_back_to_its_sender() -> None:
    asking, _ = established()
    with pytest.raises(RecordCorrupt):
        asking.receive_data(sealed(asking, b"request"))


def test_a_record_of_another_channel() -> None:
    _, serving = established()
    other, _ = established()
    with pytest.raises(RecordCorrupt):
        serving.receive_data(sealed(other, b"request"))


def test_plaintext_instead_of_records() -> None:
    asking, _ = established()
    # "HTTP" read as a length is above any bound.
    with pytest.raises(RecordTooLarge, match=str(int.from_bytes(b"HTTP"))):
        asking.receive_data(b"HTTP/1.1 200 OK\r\n\r\n")


def test_a_replayed_answer_gives_keys_that_open_nothing() -> None:
    asking, serving = client(), server()
    serving.receive_data(asking.data_to_send())
    answer = serving.data_to_send()
    record = sealed(serving, b"old response")
    asking.receive_data(answer + record)

    again = client(now=NOW + 20)
    again.data_to_send()
    # Signed by the lease and recent: nothing in it tells. But its X25519 key is gone.
    assert again.receive_data(answer) == []
    assert again.established
    with pytest.raises(RecordCorrupt):
        again.receive_data(record)


def test_a_replayed_answer_that_is_old() -> None:
    serving = server()
    serving.receive_data(client().data_to_send())
    answer = serving.data_to_send()
    later = client(now=NOW + 31)
    later.data_to_send()
    with pytest.raises(StaleTimestamp):
        later.receive_data(answer)


def test_a_replayed_first_message_gives_keys_that_open_nothing() -> None:
    asking, serving = client(), server()
    first = asking.data_to_send()
    serving.receive_data(first)
    asking.receive_data(serving.data_to_send())
    record = sealed(asking, b"old request")
    assert serving.receive_data(record) == [b"old request"]

    again = server()
    assert again.receive_data(first) == []
    with pytest.raises(RecordCorrupt):
        again.receive_data(record)
    with pytest.raises(StaleTimestamp):
        server(now=NOW + 31).receive_data(first)


def test_nonces_of_the_two_messages_swapped_between_channels() -> None:
    # Each answer belongs to one first message: with the other's, the keys do not fit.
    first, second = client(), client()
    one, two = server(), server()
    one.receive_data(first.data_to_send())
    two.receive_data(second.data_to_send())
    first.receive_data(two.data_to_send())
    with pytest.raises(RecordCorrupt):
        two.receive_data(sealed(first, b"request"))
    with pytest.raises(RecordCorrupt):
        one.receive_data(sealed(first, b"request"))


# --- secrets


def test_nothing_shows_a_secret() -> None:
    drawn = []

    def random_bytes(size: int) -> bytes:
        drawn.append(os.urandom(size))
        return drawn[-1]

    asking = client(random_bytes=random_bytes)
    shown = repr(asking) + str(asking)
    for secret in (*drawn, GATEWAY.private_bytes()):
        assert repr(secret) not in shown
        assert secret.hex() not in shown
    # The nonce and the X25519 key, of these sizes: what a recorded exchange is recomputed from.
    assert [len(each) for each in drawn] == [12, 32]


def test_two_channels_draw_different_keys() -> None:
    assert client().data_to_send() != client().data_to_send()
