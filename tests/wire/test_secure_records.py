"""Secure records: any segmentation, any plaintext, and the name of each fault."""

import itertools
import os
import tracemalloc

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from portal_gateway.wire.errors import (
    RecordCorrupt,
    RecordError,
    RecordTooLarge,
    RecordTooShort,
    RecordTruncated,
)
from portal_gateway.wire.limits import MAX_RECORD, MAX_RECORD_PLAINTEXT, RECORD_PLAINTEXT
from portal_gateway.wire.secure_records import RecordOpener, RecordSealer
from tests.wire.channel_peers import each_bit_flipped, refused_without_memory

KEY = bytes(range(32))


def record(plaintext: bytes, key: bytes = KEY) -> bytes:
    """One record, made without the code under test, of any size."""
    nonce = os.urandom(12)
    body = nonce + ChaCha20Poly1305(key).encrypt(nonce, plaintext, None)
    return len(body).to_bytes(4, "big") + body


def seal(plaintext: bytes) -> bytes:
    return b"".join(RecordSealer(KEY, os.urandom).seal(plaintext))


def deliver(opener: RecordOpener, data: bytes) -> list[bytes]:
    opened = opener.receive_data(data)
    opener.receive_eof()
    return opened


def test_chacha20_poly1305_as_in_rfc_8439() -> None:
    # Section 2.8.2.
    sealed = ChaCha20Poly1305(bytes(range(0x80, 0xA0))).encrypt(
        bytes.fromhex("070000004041424344454647"),
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the "
        b"future, sunscreen would be it.",
        bytes.fromhex("50515253c0c1c2c3c4c5c6c7"),
    )
    assert sealed.hex() == (
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691"
    )


# --- sealing


def test_a_record_is_length_nonce_ciphertext_and_tag() -> None:
    nonces = bytes(range(200))
    sealed = b"".join(RecordSealer(KEY, lambda size: (nonces * 6)[:size]).seal(b"plain"))
    assert sealed[:4] == (12 + 5 + 16).to_bytes(4, "big")
    assert sealed[4:16] == nonces[:12]
    assert ChaCha20Poly1305(KEY).decrypt(sealed[4:16], sealed[16:], None) == b"plain"
    assert len(sealed) == 4 + 12 + 5 + 16


@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        RECORD_PLAINTEXT - 1,
        RECORD_PLAINTEXT,
        RECORD_PLAINTEXT + 1,
        3 * RECORD_PLAINTEXT,
        3 * RECORD_PLAINTEXT + 7,
    ],
)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_of_any_size_becomes_records_of_a_bounded_size(size: int, kind: type) -> None:
    plaintext = os.urandom(size)
    sealed = b"".join(RecordSealer(KEY, os.urandom).seal(kind(plaintext)))
    opened = deliver(RecordOpener(KEY), sealed)
    assert b"".join(opened) == plaintext
    assert [len(each) for each in opened] == [
        *[RECORD_PLAINTEXT] * (size // RECORD_PLAINTEXT),
        *([size % RECORD_PLAINTEXT] if size % RECORD_PLAINTEXT else []),
    ]


def test_no_nonce_comes_twice() -> None:
    sealer = RecordSealer(KEY, os.urandom)
    nonces = {sealer.seal(b"x")[1] for _ in range(1000)}
    assert len(nonces) == 1000
    assert {len(nonce) for nonce in nonces} == {12}


def test_nonces_are_drawn_in_one_call_and_used_once_each() -> None:
    counter = itertools.count()
    asked = []

    def random_bytes(size: int) -> bytes:
        asked.append(size)
        return b"".join(next(counter).to_bytes(12, "big") for _ in range(size // 12))

    sealer = RecordSealer(KEY, random_bytes)
    assert asked == []
    nonces = [sealer.seal(b"x")[1] for _ in range(200)]
    assert nonces == [n.to_bytes(12, "big") for n in range(200)]
    assert set(asked) == {1020}
    assert len(asked) == 3


# --- opening


@given(st.lists(st.binary(max_size=60), max_size=8), st.data())
@settings(max_examples=100, deadline=None)
def test_any_segmentation(plaintexts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(record, plaintexts))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    opener = RecordOpener(KEY)
    opened = []
    for start, end in itertools.pairwise([0, *cuts, len(stream)]):
        opened += opener.receive_data(stream[start:end])
    assert opened == [plaintext for plaintext in plaintexts if plaintext]
    assert opener.buffered == 0
    opener.receive_eof()


def test_byte_by_byte() -> None:
    opener = RecordOpener(KEY)
    stream = record(b"one") + record(b"") + record(b"two")
    opened = [opener.receive_data(stream[n : n + 1]) for n in range(len(stream))]
    assert [each for each in opened if each] == [[b"one"], [b"two"]]
    assert opened[len(record(b"one")) - 1] == [b"one"]


def test_an_empty_record_is_fine_and_gives_nothing() -> None:
    assert deliver(RecordOpener(KEY), record(b"")) == []
    assert deliver(RecordOpener(KEY), record(b"") + record(b"x") + record(b"")) == [b"x"]


@pytest.mark.parametrize("size", [0, 1, 27])
def test_too_short(size: int) -> None:
    with pytest.raises(RecordTooShort, match=f"^{size} bytes announced, a record has at least 28$"):
        RecordOpener(KEY).receive_data(size.to_bytes(4, "big") + bytes(size))


@pytest.mark.parametrize("length", [MAX_RECORD + 1, 2**26, 2**26 + 1, 2**31, 2**32 - 1])
@pytest.mark.parametrize("pieces", [1, 4])
def test_too_large_is_refused_from_the_length_alone(length: int, pieces: int) -> None:
    opener = RecordOpener(KEY)
    prefix = length.to_bytes(4, "big")
    for start in range(0, 4 - 4 // pieces, 4 // pieces):
        assert opener.receive_data(prefix[start : start + 4 // pieces]) == []
    text = refused_without_memory(
        lambda: opener.receive_data(prefix[4 - 4 // pieces :]), RecordTooLarge
    )
    assert text == f"{length} bytes announced, {MAX_RECORD} allowed"
    assert opener.buffered == 0


def test_the_largest_record_that_peers_write() -> None:
    plaintext = bytes(MAX_RECORD_PLAINTEXT)
    sealed = record(plaintext)
    opener = RecordOpener(KEY)
    opened = []
    for start in range(0, len(sealed), 1 << 20):
        opened += opener.receive_data(sealed[start : start + (1 << 20)])
        assert opener.buffered <= MAX_RECORD + 4
    assert opened == [plaintext]


def test_nothing_is_set_aside_for_an_announced_length() -> None:
    opener = RecordOpener(KEY)
    tracemalloc.start()
    try:
        assert opener.receive_data(MAX_RECORD.to_bytes(4, "big") + b"x") == []
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()
    assert opener.buffered == 5


def test_the_memory_of_a_large_record_is_given_back() -> None:
    sealed = record(bytes(4_000_000))
    opener = RecordOpener(KEY)
    tracemalloc.start()
    try:
        opener.receive_data(sealed[:-1])
        assert tracemalloc.get_traced_memory()[0] > 4_000_000
        opener.receive_data(sealed[-1:])
        opener.receive_data(b"")
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_every_flipped_bit_is_refused() -> None:
    for flipped in each_bit_flipped(record(b"plain")):
        with pytest.raises(RecordError):
            deliver(RecordOpener(KEY), flipped)


def test_every_flipped_bit_behind_the_length_is_corrupt() -> None:
    sealed = record(b"plain")
    for flipped in each_bit_flipped(sealed[4:]):
        with pytest.raises(RecordCorrupt, match="33 bytes"):
            deliver(RecordOpener(KEY), sealed[:4] + flipped)


def test_truncated_after_every_byte() -> None:
    sealed = record(b"plain")
    for size in range(1, len(sealed)):
        opener = RecordOpener(KEY)
        assert opener.receive_data(record(b"before") + sealed[:size]) == [b"before"]
        assert opener.buffered == size
        with pytest.raises(RecordTruncated, match=f"after {size} bytes"):
            opener.receive_eof()


def test_a_shortened_tag() -> None:
    sealed = record(b"plain")
    for missing in range(1, 6):
        length = len(sealed) - 4 - missing
        with pytest.raises(RecordCorrupt):
            RecordOpener(KEY).receive_data(length.to_bytes(4, "big") + sealed[4 : 4 + length])


def test_another_key() -> None:
    with pytest.raises(RecordCorrupt):
        RecordOpener(KEY).receive_data(record(b"plain", bytes(32)))


@pytest.mark.parametrize("fault", ["corrupt", "short", "large"])
@pytest.mark.parametrize("split", [False, True])
def test_records_before_a_fault_are_not_lost_and_those_after_it_are_not_taken(
    fault: str, split: bool
) -> None:
    bad, error = {
        "corrupt": (record(b"x", bytes(32)), RecordCorrupt),
        "short": (b"\0\0\0\x1b", RecordTooShort),
        "large": (b"\xff\xff\xff\xff", RecordTooLarge),
    }[fault]
    good = record(b"one") + record(b"two")
    opener = RecordOpener(KEY)
    if split:
        assert opener.receive_data(good[:10]) == []
        good = good[10:]
    with pytest.raises(error) as caught:
        opener.receive_data(good + bad + record(b"three"))
    assert opener.opened == [b"one", b"two"]
    assert opener.buffered == 0
    with pytest.raises(error) as again:
        opener.receive_data(record(b"four"))
    assert again.value is caught.value
    assert opener.opened == []
    with pytest.raises(error):
        opener.receive_eof()


def test_replayed_and_swapped_records_open() -> None:
    # The protocol has no sequence numbers; this is what it promises and no more.
    first, second = record(b"first"), record(b"second")
    assert deliver(RecordOpener(KEY), second + first + first) == [b"second", b"first", b"first"]


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_named_error(data: bytes) -> None:
    opener = RecordOpener(KEY)
    if not data:
        assert deliver(opener, data) == []
        return
    with pytest.raises(RecordError):
        deliver(opener, data)


def test_many_small_records_take_time_in_proportion() -> None:
    # One megabyte in small records: quadratic buffering would copy 12 GB.
    stream = record(b"x" * 10) * 25_000
    assert len(deliver(RecordOpener(KEY), stream)) == 25_000
    opener = RecordOpener(KEY)
    assert opener.receive_data(stream[:1]) == []
    assert len(deliver(opener, stream[1:])) == 25_000


def test_nothing_shows_the_key() -> None:
    for each in (RecordSealer(KEY, os.urandom), RecordOpener(KEY)):
        assert repr(KEY) not in repr(each)
        assert KEY.hex() not in repr(each)
