"""Frames in temporal layers, some of which never come: what is shown can be decoded, and the base layer goes on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.temporal_layers import LayerChain, Place
from vidconf.rtp.vp8 import place

KEY, DELTA = b"\x10\0\0\x9d\x01\x2a\x80\x02\x68\x01", b"\x11"
PATTERN = ((0, False), (2, True), (1, True), (2, False))
"""(layer, switching point) of four frames, as libwebrtc makes three layers."""


def descriptor(picture: int, base: int, layer: int, sync: bool, *, start: bool, reference: bool = True) -> bytes:
    first = 0x80 | (0 if reference else 0x20) | (0x10 if start else 0)
    return bytes((first, 0xE0, 0x80 | picture >> 8 & 0x7F, picture & 255, base & 255, layer << 6 | (0x20 if sync else 0)))


Packet = tuple[int, int, bool, bytes]


def layered(frames: int, packets_each: int = 3, first_base: int = 250) -> list[tuple[Place, list[Packet]]]:
    """A stream in three temporal layers; only frame 0 is a keyframe. The layer-2 frames are predicted from by none but the next
    of their layer."""
    made, sequence, base = [], 65_530, first_base
    for n in range(frames):
        layer, sync = PATTERN[n % 4]
        base += layer == 0 and n > 0
        data = (KEY if n == 0 else DELTA) + n.to_bytes(4, "big")
        packets = []
        for k in range(packets_each):
            head = descriptor(n + 32_760, base, layer, sync, start=k == 0)
            packets.append((sequence & 0xFFFF, n * 3000, k == packets_each - 1, head + (data if k == 0 else b"more")))
            sequence += 1
        made.append((Place((n + 32_760) & 0x7FFF, 0x7FFF, base & 255, layer, sync, True), packets))
    return made


def number_of(data: bytes) -> int:
    head = KEY if data.startswith(KEY) else DELTA
    return int.from_bytes(data[len(head) : len(head) + 4], "big")


def needs(n: int) -> list[int]:
    """Which frames frame `n` of the pattern is predicted from."""
    base = n - n % 4
    return {0: [n - 4] if n else [], 1: [base], 2: [base], 3: [base, base + 1, base + 2]}[n % 4]


def run(stream: list[tuple[Place, list[Packet]]], lost: set[int], *, frame_s: float = 1 / 30, skip_s: float = 0.05) -> list[int]:
    """Frames that leave when the second packet of each frame in `lost` never comes."""
    assembler = FrameAssembler(wait_s=100)
    assembler.skip_s = skip_s
    shown = []
    for n, (_, packets) in enumerate(stream):
        for k, packet in enumerate(packets):
            if n in lost and k == 1:
                continue
            shown += assembler.push(*packet, now=n * frame_s)
        shown += assembler.poll(n * frame_s)
    shown += assembler.poll(len(stream) * frame_s + 1)
    return [number_of(f.data) for f in shown]


def test_a_descriptor_tells_the_place() -> None:
    for picture, base, layer, sync, reference in ((5, 7, 2, True, False), (32_767, 255, 0, False, True)):
        payload = descriptor(picture, base, layer, sync, start=True, reference=reference) + b"\x11"
        assert place(payload) == Place(picture, 0x7FFF, base, layer, sync, reference)
    assert place(bytes((0x90, 0xE0, 5, 7, 0x40)) + b"\x11") == Place(5, 0x7F, 7, 1, False, True)
    assert place(b"\x90\x80\x80\x05\x11") is None
    assert place(b"\x10\x11") is None


def test_without_loss_every_frame_leaves_at_once() -> None:
    assembler = FrameAssembler()
    out = [f for _, packets in layered(40) for p in packets for f in assembler.push(*p, now=0.0)]
    assert [number_of(f.data) for f in out] == list(range(40))


@pytest.mark.parametrize(("lost", "missing"), [({5}, {5, 7}), ({6}, {6, 7}), ({7}, {7})])
def test_a_lost_frame_of_a_higher_layer_costs_only_what_needs_it(lost: set[int], missing: set[int]) -> None:
    assert run(layered(40), lost) == [n for n in range(40) if n not in missing]


def test_a_lost_base_frame_stops_everything() -> None:
    assert run(layered(40), {8}) == list(range(8))


def test_the_gap_is_waited_for_as_long_as_said() -> None:
    stream = layered(8)
    assembler = FrameAssembler(wait_s=100)
    assembler.skip_s = 0.1
    missing = stream[5][1].pop(1)
    out = [f for _, packets in stream for p in packets for f in assembler.push(*p, now=1.0)]
    assert [number_of(f.data) for f in out] == [0, 1, 2, 3, 4]
    assert not assembler.poll(1.09)
    out += assembler.push(*missing, now=1.09)
    assert [number_of(f.data) for f in out] == list(range(8))


@given(st.integers(0, 1 << 30), st.floats(0.0, 0.3))
def test_whatever_is_lost_what_leaves_can_be_decoded(seed: int, rate: float) -> None:
    chance = random.Random(seed)
    frames = 80
    shown = run(layered(frames), {n for n in range(1, frames) if chance.random() < rate})
    assert shown == sorted(set(shown))
    decoded: set[int] = set()
    for n in shown:
        assert all(m in decoded for m in needs(n)), f"{n} without one of {needs(n)}"
        decoded.add(n)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 255), st.integers(0, 3), st.booleans(), st.booleans()), max_size=60))
def test_any_places_keep_the_chain_in_bounds(places: list[tuple[int, int, int, bool, bool]]) -> None:
    chain = LayerChain()
    chain.take(None, True)
    for picture, base, layer, sync, reference in places:
        where = Place(picture, 0x7F, base, layer, sync, reference)
        broken = chain.after([], where)
        if broken is not None:
            assert broken & 1 == 0
            chain.leave_out(broken)
            assert chain.take(where, False)
        else:
            chain.take(where, False)
