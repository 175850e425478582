"""Frames out of lost, late, doubled and reordered packets."""

from __future__ import annotations

import random

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
    first_key = next(k for k, i in enumerate(order) if packets[i][3][0] & 0x10)
    out = [f for k in order for f in assembler.push(*packets[k], now=0.0)] if first_key is not None else []
    assert [index(f.data) for f in out] == list(range(20))


def test_a_late_packet_holds_up_and_then_releases() -> None:
    assembler = FrameAssembler()
    packets = stream(5)
    missing = packets.pop(4)
    out = [f for p in packets for f in assembler.push(*p, now=0.0)]
    assert len(out) == 1
    assert not assembler.poll(0.1)
    assert [index(f.data) for f in assembler.push(*missing, now=0.2)] == [1, 2, 3, 4]


def test_what_never_comes_is_given_up_and_a_keyframe_goes_on() -> None:
    assembler = FrameAssembler(wait_s=0.3)
    packets = stream(60)
    del packets[10]
    shown, asked = [], 0
    for k, packet in enumerate(packets):
        now = k * 0.01
        shown += [index(f.data) for f in assembler.push(*packet, now=now)]
        asked += assembler.poll(now)
    assert asked == 1
    assert shown[-1] == 59
    assert 30 in shown
    assert assembler.dropped_frames == 1


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


def test_a_flood_without_keyframes_does_not_grow() -> None:
    assembler = FrameAssembler()
    for k in range(10_000):
        assembler.push(k & 0xFFFF, k, False, b"\x10\x01data", now=k * 0.001)
    assert len(assembler._packets) <= 2000


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
