"""Every codec through frame assembly: frames come out as the encoder made them, in any order of their packets, and decode."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.rtp.streams import encoded, nal_units, packets

from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import PacketError
from vidconf.rtp.payload_format import FORMATS

CODECS = sorted(FORMATS)


def same(codec: str, frame: bytes, sent: bytes) -> bool:
    """H.264's start codes may be of another length."""
    return nal_units(frame) == nal_units(sent) if codec == "h264" else frame == sent


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("limit", [60, 700, 100_000])
def test_frames_come_out_as_they_went_in(codec: str, limit: int) -> None:
    sent = encoded(codec)
    assembler = FrameAssembler(FORMATS[codec])
    out = [f for p in packets(codec, sent, limit) for f in assembler.push(p.sequence, p.timestamp, p.marker, p.payload, 0.0)]
    assert len(out) == len(sent)
    assert all(same(codec, f.data, s) for f, s in zip(out, sent, strict=True))
    assert [k for k, f in enumerate(out) if f.keyframe] == [0, 20]
    assert assembler.malformed == 0


@pytest.mark.parametrize("codec", CODECS)
def test_only_a_keyframes_first_payload_starts_one(codec: str) -> None:
    sent = encoded(codec)
    stream = packets(codec, sent, 300)
    starts = [k for k, p in enumerate(stream) if FORMATS[codec].starts_keyframe(p.payload)]
    assert [stream[k].timestamp for k in starts] == [0, 20 * 3000]
    assert all(k == 0 or stream[k - 1].marker for k in starts)


@pytest.mark.parametrize("codec", CODECS)
def test_a_keyframe_says_its_size(codec: str) -> None:
    sent = encoded(codec)
    size = FORMATS[codec].frame_size
    assert size(sent[0]) == ((320, 192) if codec == "h264" else (320, 180)), "H.264 codes whole macroblocks"
    assert size(sent[1]) is None


@pytest.mark.parametrize("codec", CODECS)
@given(seed=st.integers(0, 1 << 30))
@settings(max_examples=25)
def test_reordered_and_doubled_packets_make_the_same_frames(codec: str, seed: int) -> None:
    chance = random.Random(seed)
    sent = encoded(codec)[:12]
    stream = packets(codec, sent, 500)
    order = [0, *sorted([k % len(stream) for k in range(2 * len(stream))], key=lambda k: k + chance.uniform(0, 5))]
    assembler = FrameAssembler(FORMATS[codec])
    out = [f for k in order for f in assembler.push(stream[k].sequence, stream[k].timestamp, stream[k].marker, stream[k].payload, 0.0)]
    assert len(out) == len(sent)
    assert all(same(codec, f.data, s) for f, s in zip(out, sent, strict=True))


@pytest.mark.parametrize("codec", CODECS)
@given(seed=st.integers(0, 1 << 30), loss=st.sampled_from([0.01, 0.05, 0.3]))
@settings(max_examples=25)
def test_what_leaves_after_losses_is_whole_and_can_be_decoded(codec: str, seed: int, loss: float) -> None:
    """Whatever is lost: each frame that leaves is one that was sent, and follows its predecessor or is a keyframe."""
    chance = random.Random(seed)
    sent = encoded(codec)
    assembler = FrameAssembler(FORMATS[codec], wait_s=0.1)
    before = -2
    for p in packets(codec, sent, 300):
        if chance.random() < loss:
            continue
        now = p.timestamp / 90_000
        for frame in assembler.push(p.sequence, p.timestamp, p.marker, p.payload, now):
            number = frame.timestamp // 3000
            assert same(codec, frame.data, sent[number])
            assert number == before + 1 or frame.keyframe
            before = number
        assembler.poll(now)


@pytest.mark.parametrize("codec", CODECS)
def test_a_frame_whose_marker_was_left_out_ends_where_the_next_begins(codec: str) -> None:
    sent = encoded(codec)[:6]
    assembler = FrameAssembler(FORMATS[codec])
    out = []
    for p in packets(codec, sent, 300):
        out += assembler.push(p.sequence, p.timestamp, p.marker and p.timestamp not in (0, 6000), p.payload, 0.0)
    assert all(same(codec, f.data, s) for f, s in zip(out, sent, strict=True))


@pytest.mark.parametrize("codec", CODECS)
@given(payload=st.binary(max_size=80))
def test_any_payload_is_unpacked_or_an_error(codec: str, payload: bytes) -> None:
    known = FORMATS[codec]
    starts = known.starts_keyframe(payload)
    if not payload:
        assert not starts
        return
    try:
        data, begins, key = known.unpack(payload)
    except PacketError:
        assert not starts
        return
    assert key == starts
    assert begins or not key
    known.is_keyframe(data)
    try:
        known.frame_size(data)
    except PacketError:
        return


@pytest.mark.parametrize("codec", CODECS)
@given(frame=st.binary(max_size=300), at=st.integers(0, 60), by=st.binary(min_size=1, max_size=4))
def test_any_frame_has_a_size_none_or_an_error(codec: str, frame: bytes, at: int, by: bytes) -> None:
    real = encoded(codec)[0]
    for data in (frame, real[:at] + by + real[at + len(by) :], real[:at]):
        try:
            size = FORMATS[codec].frame_size(data)
        except PacketError:
            continue
        assert size is None or min(size) >= 0
