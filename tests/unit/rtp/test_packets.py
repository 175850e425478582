"""RTP and RTCP: round trips, hostile bytes, VP8 descriptors."""

from __future__ import annotations

import contextlib
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.packets import PacketError, build_rtp, parse_rtp
from vidconf.rtp.rtcp import (
    Bye,
    Fir,
    Nack,
    Pli,
    ReceiverReport,
    Remb,
    ReportBlock,
    Sdes,
    SenderReport,
    TransportFeedback,
    parse_rtcp,
)
from vidconf.rtp.vp8 import keyframe_size, packetize, parse_descriptor, starts_keyframe, unpack

u8, u16, u32, u64 = (st.integers(0, (1 << n) - 1) for n in (8, 16, 32, 64))
blocks = st.builds(ReportBlock, u32, u8, st.integers(-(1 << 23), (1 << 23) - 1), u32, u32, u32, u32)
few_blocks = st.lists(blocks, max_size=3).map(tuple)


@given(st.integers(0, 127), u16, u32, u32, st.booleans(), st.binary(max_size=200), st.dictionaries(st.integers(1, 255), st.binary(max_size=40), max_size=4))
def test_rtp_round_trip(pt: int, seq: int, ts: int, ssrc: int, marker: bool, payload: bytes, ext: dict[int, bytes]) -> None:
    packet = parse_rtp(build_rtp(pt, seq, ts, ssrc, marker, payload, list(ext.items())))
    assert (packet.payload_type, packet.sequence, packet.timestamp, packet.ssrc, packet.marker) == (pt, seq, ts, ssrc, marker)
    assert packet.payload == payload
    assert packet.extensions == ext


@given(st.binary(max_size=120))
def test_rtp_from_strangers_raises_only_its_own_error(data: bytes) -> None:
    try:
        parse_rtp(data)
    except PacketError:
        assert len(data) < 12 or data[0] >> 6 != 2 or data[0] & 0x3F


@given(st.binary(max_size=40), st.integers(0, 255))
def test_rtp_header_with_arbitrary_tail(tail: bytes, first: int) -> None:
    try:
        packet = parse_rtp(bytes((0x80 | first & 0x3F,)) + bytes(11) + tail)
    except PacketError:
        return
    assert len(packet.payload) <= len(tail)


def test_a_view_is_as_good_as_bytes() -> None:
    packet = parse_rtp(memoryview(build_rtp(96, 1, 2, 3, True, b"payload", [(1, b"a")])))
    assert type(packet.payload) is bytes
    assert packet.extensions == {1: b"a"}


def test_padding_and_csrc() -> None:
    packet = parse_rtp(bytes((0xA1, 96)) + bytes(10) + b"csrc" + b"payload" + b"\0\0\3")
    assert (packet.payload, packet.padding) == (b"payload", 3)
    with pytest.raises(PacketError):
        parse_rtp(bytes((0xA0, 96)) + bytes(10) + b"ab\x09")


@given(
    st.one_of(
        st.builds(SenderReport, u32, u64, u32, u32, u32, few_blocks),
        st.builds(ReceiverReport, u32, few_blocks),
        st.builds(Pli, u32, u32),
        st.builds(Fir, u32, st.lists(st.tuples(u32, u8), max_size=4).map(tuple)),
        st.builds(Sdes, u32, st.text(st.characters(exclude_categories=["Cs"]), max_size=40)),
        st.builds(Bye, st.lists(u32, max_size=3).map(tuple)),
        st.builds(Remb, u32, st.integers(0, (1 << 18) - 1), st.lists(u32, max_size=3).map(tuple)),
        st.builds(
            TransportFeedback, u32, u32, u16, st.integers(0, (1 << 24) - 1), u8,
            st.lists(st.none() | st.integers(-32768, 32767).map(lambda v: v * 250), min_size=1, max_size=60).map(tuple),
        ),
    )
)
def test_rtcp_round_trip(packet: object) -> None:
    data = packet.to_bytes()  # type: ignore[attr-defined]
    assert len(data) % 4 == 0
    assert 192 <= data[1] <= 223, "RFC 5761: told apart from RTP on one port"
    assert parse_rtcp(data + Pli(1, 2).to_bytes()) == [packet, Pli(1, 2)]


@given(st.sets(u16, min_size=1, max_size=80))
def test_nack_names_exactly_what_is_missing(numbers: set[int]) -> None:
    (read,) = parse_rtcp(Nack(1, 2, tuple(sorted(numbers))).to_bytes())
    assert isinstance(read, Nack)
    assert sorted(read.numbers) == sorted(numbers)


def test_nack_joins_neighbours_across_the_wrap() -> None:
    assert len(Nack(1, 2, (65534, 65535, 0, 3)).to_bytes()) == 16


@given(st.binary(max_size=200))
def test_rtcp_from_strangers_raises_only_its_own_error(data: bytes) -> None:
    try:
        parse_rtcp(data)
    except PacketError:
        return


@given(st.sampled_from([200, 201, 202, 203, 205, 206]), st.integers(0, 31), st.binary(max_size=80))
def test_rtcp_of_known_types_with_arbitrary_bodies(kind: int, form: int, body: bytes) -> None:
    body += bytes(-len(body) % 4)
    started = time.perf_counter()
    try:
        parse_rtcp(struct.pack("!BBH", 0x80 | form, kind, len(body) // 4) + body)
    except PacketError:
        pass
    finally:
        assert time.perf_counter() - started < 0.05


def test_remb_of_a_large_rate_keeps_its_size() -> None:
    (read,) = parse_rtcp(Remb(1, 2_500_000, (5,)).to_bytes())
    assert isinstance(read, Remb)
    assert abs(read.bitrate_bps - 2_500_000) < 16


@given(st.binary(min_size=1, max_size=5000), st.integers(0, 0x7FFF))
def test_vp8_packets_put_together_are_the_frame(frame: bytes, picture_id: int) -> None:
    payloads = packetize(frame, picture_id)
    assert all(len(p) <= 1154 for p in payloads)
    parsed = [parse_descriptor(p) for p in payloads]
    assert [d.start for d, _ in parsed] == [True] + [False] * (len(payloads) - 1)
    assert all(d.picture_id == picture_id for d, _ in parsed)
    assert b"".join(p[at:] for p, (_, at) in zip(payloads, parsed, strict=True)) == frame
    assert starts_keyframe(payloads[0]) == (not frame[0] & 1)


@given(st.binary(max_size=30))
def test_vp8_from_strangers(data: bytes) -> None:
    starts_keyframe(data)
    try:
        rest, begins, key = unpack(data)
    except PacketError:
        with pytest.raises(PacketError):
            parse_descriptor(data)
    else:
        descriptor, same = parse_descriptor(data)
        assert (rest, begins) == (data[same:], descriptor.start)
        assert key == starts_keyframe(data)
    with contextlib.suppress(PacketError):
        keyframe_size(data)


def test_keyframe_size() -> None:
    assert keyframe_size(bytes((0x10, 0, 0, 0x9D, 1, 0x2A, 0x80, 0x02, 0x68, 0x01)) + b"x") == (640, 360)
