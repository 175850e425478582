"""Redundant audio, built and read; numbers found for the copies; rubbish."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp import opus
from vidconf.rtp.packets import PacketError
from vidconf.rtp.red import MAX_BYTES, MAX_OFFSET, Block, Copies, Recovered, build, parse, recover

OPUS = 111
BLOCKS = st.builds(Block, st.integers(0, 127), st.integers(0, (1 << 14) - 1), st.binary(min_size=1, max_size=200))


def packet(number: int, milliseconds: int = 20) -> bytes:
    """20 ms of CELT, or 10: enough of a packet to be measured."""
    return bytes((0xF8 if milliseconds == 20 else 0xF0,)) + bytes((number,)) * 30


@given(st.lists(BLOCKS, max_size=7), st.integers(0, 127), st.binary(max_size=300))
def test_what_was_built_is_read(copies: list[Block], payload_type: int, primary: bytes) -> None:
    blocks = [*copies, Block(payload_type, 0, primary)]
    assert parse(build(blocks)) == blocks


def test_bytes_of_the_rfc() -> None:
    """RFC 2198 §3: F, block type, 14 bits of offset, 10 of length; the last header one byte."""
    assert build([Block(OPUS, 960, b"abc"), Block(OPUS, 0, b"de")]) == bytes((0x80 | 111, 960 >> 6, (960 & 63) << 2, 3, 111)) + b"abcde"


@given(st.binary(max_size=64))
def test_rubbish_is_refused_or_read_but_never_grows(data: bytes) -> None:
    try:
        blocks = parse(data)
    except PacketError:
        return
    assert len(blocks) <= 8
    assert sum(len(b.payload) for b in blocks) < len(data)
    assert blocks[-1].offset == 0


@given(st.integers(0, 65535), st.integers(0, (1 << 32) - 1), st.binary(max_size=64))
def test_recovering_from_rubbish_raises_its_own_error_only(sequence: int, timestamp: int, data: bytes) -> None:
    try:
        found = recover(sequence, timestamp, data, opus.duration)
    except PacketError:
        return
    assert (found[0].sequence, found[0].timestamp, found[0].copy) == (sequence, timestamp, False)
    assert all(0 <= f.sequence < 65536 and 0 <= f.timestamp < 1 << 32 for f in found)
    assert all(0 < (sequence - f.sequence) & 0xFFFF <= 8 for f in found[1:])


def test_mutated_packets_cost_little() -> None:
    rnd = random.Random(1)
    good = build([Block(OPUS, 1920, packet(1)), Block(OPUS, 960, packet(2)), Block(OPUS, 0, packet(3))])
    longest = 0.0
    for _ in range(20_000):
        data = bytearray(good[: rnd.randrange(len(good) + 1)])
        for _ in range(rnd.randrange(4)):
            if data:
                data[rnd.randrange(len(data))] = rnd.randrange(256)
        started = time.thread_time()
        try:
            recover(5, 5, bytes(data), opus.duration)
        except PacketError:
            pass
        longest = max(longest, time.thread_time() - started)
    assert longest < 0.01


@pytest.mark.parametrize("sequence", [500, 1])
def test_copies_get_the_numbers_before_the_packet(sequence: int) -> None:
    data = build([Block(OPUS, 1920, packet(1)), Block(OPUS, 960, packet(2)), Block(OPUS, 0, packet(3))])
    assert recover(sequence, 960, data, opus.duration) == [
        Recovered(sequence, 960, OPUS, packet(3), False),
        Recovered((sequence - 1) & 0xFFFF, 0, OPUS, packet(2), True),
        Recovered((sequence - 2) & 0xFFFF, (1 << 32) - 960, OPUS, packet(1), True),
    ]


def test_packets_of_changing_length_are_told_by_what_they_last() -> None:
    data = build([Block(OPUS, 1440, packet(1)), Block(OPUS, 480, packet(2, 10)), Block(OPUS, 0, packet(3))])
    assert [(f.sequence, f.timestamp) for f in recover(9, 5000, data, opus.duration)] == [(9, 5000), (8, 4520), (7, 3560)]


def test_a_block_left_out_between_is_seen_by_the_offset() -> None:
    """libwebrtc leaves out what is empty or too large: the copy of the packet before last then stands in the last one's place."""
    data = build([Block(OPUS, 1920, packet(1)), Block(OPUS, 0, packet(3))])
    assert [f.sequence for f in recover(9, 5000, data, opus.duration)] == [9, 7]


def test_across_a_pause_the_last_one_is_known_and_older_ones_are_not() -> None:
    data = build([Block(OPUS, 16_000, packet(1)), Block(OPUS, 15_360, packet(2)), Block(OPUS, 0, packet(3))])
    assert [f.sequence for f in recover(9, 50_000, data, opus.duration)] == [9, 8]


def test_what_cannot_be_a_packet_is_no_copy() -> None:
    data = build([Block(OPUS, 1000, b"\x03"), Block(OPUS, 0, packet(3))])
    assert [f.sequence for f in recover(9, 5000, data, opus.duration)] == [9]


def test_what_cannot_be_said_is_refused() -> None:
    for block in (Block(OPUS, 1 << 14, b"a"), Block(OPUS, 960, bytes(1024)), Block(128, 960, b"a")):
        with pytest.raises(ValueError, match="again"):
            build([block, Block(OPUS, 0, b"")])
    with pytest.raises(PacketError):
        parse(b"")
    with pytest.raises(PacketError):
        parse(bytes((0xEF, 0, 0, 1)) * 8 + bytes((111,)) + bytes(8))


def test_a_sender_repeats_what_went_before() -> None:
    copies = Copies(OPUS)
    assert parse(copies.wrap(960, packet(1))) == [Block(OPUS, 0, packet(1))]
    assert parse(copies.wrap(1920, packet(2))) == [Block(OPUS, 960, packet(1)), Block(OPUS, 0, packet(2))]
    assert parse(copies.wrap(2880, packet(3), 2)) == [Block(OPUS, 1920, packet(1)), Block(OPUS, 960, packet(2)), Block(OPUS, 0, packet(3))]
    assert parse(copies.wrap(2880 + MAX_OFFSET + 1, packet(4))) == [Block(OPUS, 0, packet(4))], "too long a pause to be written down"
    assert parse(copies.wrap((1 << 32) + 100, packet(5), 0)) == [Block(OPUS, 0, packet(5))]


@given(st.lists(st.tuples(st.integers(0, 40_000), st.binary(min_size=1, max_size=1200), st.integers(-1, 9)), max_size=30))
def test_whatever_a_sender_wraps_can_be_read(packets: list[tuple[int, bytes, int]]) -> None:
    copies, timestamp = Copies(OPUS), (1 << 32) - 20_000
    for later, payload, count in packets:
        timestamp += later
        wrapped = copies.wrap(timestamp & 0xFFFFFFFF, payload, count)
        blocks = parse(wrapped)
        assert blocks[-1] == Block(OPUS, 0, payload)
        assert len(wrapped) <= max(MAX_BYTES + 1, len(payload) + 1)
        assert len(blocks) <= 1 + max(0, count)
