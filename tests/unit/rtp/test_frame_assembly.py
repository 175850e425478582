"""Frames out of lost, late, doubled and reordered packets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.vp8 import packetize

KEY, DELTA = b"\x10\0\0\x9d\x01\x2a\x80\x02\x68\x01", b"\x11"


def stream(frames: int, key_every: int = 30, size: int = 3000) -> list[tuple[int, int, bool, bytes]]:
    """(sequence, timestamp, marker, payload) of a plain stream, sequence numbers wrapping early on."""
    packets, sequence = [], 65500
    for n in range(frames):
        head = KEY if n % key_every == 0 else DELTA
        body = head + n.to_bytes(4, "big") + bytes(size)
        payloads = packetize(body, n)
        for k, payload in enumerate(payloads):
            packets.append((sequence & 0xFFFF, n * 3000, k == len(payloads) - 1, payload))
            sequence += 1
    return packets


def index(frame: bytes) -> int:
    head = KEY if frame.startswith(KEY) else DELTA
    return int.from_bytes(frame[len(head) : len(head) + 4], "big")


def test_in_order_every_frame_leaves_with_its_last_packet() -> None:
    assembler = FrameAssembler()
    out = [f for p in stream(60) for f in assembler.push(*p, now=0.0)]
    assert [index(f.data) for f in out] == list(range(60))
    assert [f.keyframe for f in out[:2]] == [True, False]
    assert not assembler.needs_keyframe


@given(st.integers(0, 1 << 30))
def test_reordered_and_doubled_packets_make_the_same_frames(seed: int) -> None:
    rnd = random.Random(seed)
    packets = stream(20)
    order = sorted(range(len(packets)), key=lambda k: k + rnd.uniform(0, 6))
    order[0:0] = [0]
    assembler = FrameAssembler()
    out = [f for k in order for f in assembler.push(*packets[k], now=0.0)]
    assert [index(f.data) for f in out] == list(range(20))


def test_a_late_packet_holds_up_and_then_releases() -> None:
    assembler = FrameAssembler()
    packets = stream(5)
    missing = packets.pop(4)
    out = [f for p in packets for f in assembler.push(*p, now=0.0)]
    assert len(out) == 1
    assert assembler.is_stuck
    assert not assembler.poll(0.1)
    assert not assembler.needs_keyframe
    assert [index(f.data) for f in assembler.push(*missing, now=0.2)] == [1, 2, 3, 4]
    assert not assembler.is_stuck


def test_each_frame_says_when_it_came_and_whether_it_was_repaired() -> None:
    assembler = FrameAssembler()
    packets = stream(4)
    missing = packets.pop(4)
    out = [f for k, p in enumerate(packets) for f in assembler.push(*p, now=k / 10)]
    out += assembler.push(*missing, now=5.0, repaired=True)
    assert [(f.arrived, f.repaired) for f in out] == [(0.2, False), (5.0, True), (0.7, False), (1.0, False)]


def test_what_never_comes_is_given_up_and_a_keyframe_goes_on() -> None:
    assembler = FrameAssembler(wait_s=0.3)
    packets = stream(60)
    del packets[10]
    shown, asked = [], set()
    for k, packet in enumerate(packets):
        now = k * 0.01
        shown += [index(f.data) for f in assembler.push(*packet, now=now)]
        assert not assembler.poll(now)
        asked.add(assembler.needs_keyframe)
    assert asked == {False, True}
    assert not assembler.needs_keyframe
    assert shown[-1] == 59
    assert 30 in shown
    assert assembler.dropped_frames == 1


def test_a_repair_that_comes_after_giving_up_still_goes_on() -> None:
    assembler = FrameAssembler(wait_s=0.2)
    packets = stream(12, key_every=100)
    missing = packets.pop(7)
    out = [f for k, p in enumerate(packets) for f in assembler.push(*p, now=0.01 * k)]
    assert not assembler.poll(0.6)
    assert assembler.needs_keyframe
    out += assembler.push(*missing, now=0.7)
    assert [index(f.data) for f in out] == list(range(12))
    assert not assembler.needs_keyframe
    assert assembler.dropped_frames == 0


def test_what_is_stuck_for_ever_is_let_go() -> None:
    assembler = FrameAssembler(wait_s=0.2)
    packets = stream(12, key_every=100)
    del packets[7]
    for packet in packets:
        assembler.push(*packet, now=0.0)
    assembler.poll(10.0)
    assert not assembler._packets
    assert assembler.needs_keyframe
    assembler.require_keyframe()
    assert [index(f.data) for p in stream(1) for f in assembler.push(*p, now=11.0)] in ([0], [])


def test_nothing_leaves_before_a_keyframe() -> None:
    assembler = FrameAssembler()
    out = [f for p in stream(40)[3:] for f in assembler.push(*p, now=0.0)]
    assert index(out[0].data) == 30


@given(st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 1 << 32), st.booleans(), st.binary(max_size=20)), max_size=200))
def test_garbage_is_counted_and_bounded(packets: list[tuple[int, int, bool, bytes]]) -> None:
    assembler = FrameAssembler()
    for k, packet in enumerate(packets):
        assembler.push(*packet, now=k * 0.02)
        assembler.poll(k * 0.02)


@pytest.mark.parametrize("payload", [b"\x10\x01delta", b"\x10\x00key", b"\x00\x00more", b""])
@pytest.mark.parametrize("step", [1, 2, 40])
@pytest.mark.parametrize("begun", [False, True])
def test_a_flood_that_completes_nothing_does_not_grow(payload: bytes, step: int, begun: bool) -> None:
    assembler = FrameAssembler()
    if begun:
        for packet in stream(1):
            assembler.push(*packet, now=0.0)
        assert not assembler.needs_keyframe
    for k in range(6_000):
        assembler.push((65600 + k * step) & 0xFFFF, 9, False, payload, now=k * 0.001)
        assert len(assembler._packets) <= 2000


def test_a_whole_keyframe_ends_the_waiting_at_once() -> None:
    assembler = FrameAssembler(wait_s=5.0)
    packets = stream(60)
    del packets[10]
    shown = []
    for packet in packets:
        shown += [index(f.data) for f in assembler.push(*packet, now=0.0)]
        assert not assembler.poll(0.0)
    assert shown == [0, 1, 2, *range(30, 60)]
    assert assembler.dropped_frames == 1


def test_a_frame_whose_marker_was_left_out_ends_where_the_next_begins() -> None:
    assembler = FrameAssembler()
    packets = [(s, t, m and t != 6000, p) for s, t, m, p in stream(6)]
    out = [f for p in packets for f in assembler.push(*p, now=0.0)]
    assert [index(f.data) for f in out] == list(range(6))
    assembler = FrameAssembler()
    packets = [(s, t, m and t != 0, p) for s, t, m, p in stream(6)]
    out = [f for p in packets for f in assembler.push(*p, now=0.0)]
    assert [index(f.data) for f in out] == list(range(6))


def test_a_frame_without_its_beginning_is_not_shown() -> None:
    assembler = FrameAssembler()
    packets = stream(40)
    cut = next(k for k, p in enumerate(packets) if p[1] == 3000)
    packets[cut] = (packets[cut][0], packets[cut][1], False, b"\x80" + packets[cut][3][1:])
    out = [index(f.data) for p in packets for f in assembler.push(*p, now=0.0)]
    assert out == [0, *range(30, 40)]
    assert assembler.malformed == 1


def test_a_jump_of_the_numbers_is_a_new_stream() -> None:
    assembler = FrameAssembler()
    packets = stream(5) + [((s + 20_000) & 0xFFFF, t + 99_000, m, p) for s, t, m, p in stream(5)]
    out = [index(f.data) for p in packets for f in assembler.push(*p, now=0.0)]
    assert out == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]


def test_padding_fills_its_number() -> None:
    assembler = FrameAssembler()
    packets = stream(2)
    shown = []
    for sequence, timestamp, marker, payload in packets[:3]:
        shown += assembler.push(sequence, timestamp, marker, payload, 0.0)
    shown += assembler.push((packets[3][0]) & 0xFFFF, packets[2][1], False, b"", 0.0)
    for sequence, timestamp, marker, payload in packets[3:]:
        shown += assembler.push((sequence + 1) & 0xFFFF, timestamp, marker, payload, 0.0)
    assert [index(f.data) for f in shown] == [0, 1]
