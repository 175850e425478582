"""H.264's payloads (RFC 6184 §5.6 to §5.8), its parameter sets against the encoder's word, and both when they lie."""

from __future__ import annotations

import fractions

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.rtp.streams import encoded, nal_units

from vidconf.rtp import h264
from vidconf.rtp.bits import BitReader
from vidconf.rtp.packets import PacketError

START = b"\0\0\0\1"


def frame_of(width: int, height: int, **parameters: str) -> bytes:
    """A keyframe of x264's, of a picture that shows nothing."""
    context = av.VideoCodecContext.create("libx264", "w")
    context.width, context.height = width, height
    context.pix_fmt = "yuv444p" if parameters.get("profile") == "high444" else "yuv420p"
    context.time_base, context.framerate, context.thread_count = fractions.Fraction(1, 30), fractions.Fraction(30), 1
    context.options = {"preset": "ultrafast", "tune": "zerolatency", **parameters}
    picture = av.VideoFrame(width, height, context.pix_fmt)
    for plane in picture.planes:
        plane.update(bytes(plane.buffer_size))
    return b"".join(bytes(p) for p in context.encode(picture))


def sps_of(width: int, height: int, **parameters: str) -> bytes:
    """The parameter set x264 writes for a picture."""
    return next(unit for unit in nal_units(frame_of(width, height, **parameters)) if unit[0] & 31 == 7)


@pytest.mark.parametrize(
    ("width", "height", "parameters"),
    [
        (320, 180, {}), (1280, 720, {"profile": "baseline"}), (1920, 1080, {"profile": "main"}), (640, 360, {"profile": "high", "preset": "medium"}),
        (2, 2, {}), (4096, 2304, {}), (322, 182, {"profile": "high444"}), (1920, 1080, {"x264-params": "interlaced=1", "preset": "medium"}),
        (640, 480, {"x264-params": "cqm=jvt", "profile": "high", "preset": "medium"}),
    ],
)  # fmt: skip
def test_sizes_as_the_encoder_was_told(width: int, height: int, parameters: dict[str, str]) -> None:
    found = h264.parse_sps(sps_of(width, height, **parameters))
    assert found.shown == (width, height)
    assert found.width % 16 == found.height % 16 == 0
    assert 0 <= found.width - width < 16
    assert 0 <= found.height - height < 32
    assert 1 <= found.references <= 16


def test_the_first_payload_of_a_keyframe_says_how_large_it_is() -> None:
    head, *rest = h264.packetize(frame_of(640, 360), 0, 400)
    assert h264.keyframe_size(head) == (640, 360), "as shown: coded are 368 lines"
    assert [h264.keyframe_size(payload) for payload in (*rest, b"", b"\x41abc")] == [None] * (len(rest) + 2)


@given(st.binary(max_size=64))
def test_the_size_of_any_payload_is_read_or_an_error(data: bytes) -> None:
    try:
        found = h264.keyframe_size(b"\x67" + data)
    except PacketError:
        return
    assert found is None or min(found) > 0


@given(st.lists(st.integers(0, (1 << 32) - 2), max_size=20))
def test_exp_golomb_reads_what_the_standard_writes(numbers: list[int]) -> None:
    bits = "".join("0" * ((n + 1).bit_length() - 1) + f"{n + 1:b}" for n in numbers)
    read = BitReader(int((bits + "1").ljust(-(-len(bits + "1") // 8) * 8, "0"), 2).to_bytes(-(-len(bits + "1") // 8), "big"))
    assert [read.unsigned() for _ in numbers] == numbers


def test_signed_exp_golomb() -> None:
    read = BitReader(int("1" + "010" + "011" + "00100" + "00101" + "1" * 7, 2).to_bytes(3, "big"))
    assert [read.signed() for _ in range(5)] == [0, 1, -1, 2, -2]


@pytest.mark.parametrize("data", [b"", b"\0" * 40, b"\0\0\0\0"])
def test_a_code_without_an_end_is_an_error(data: bytes) -> None:
    with pytest.raises(PacketError):
        BitReader(data).unsigned()


@given(st.binary(max_size=120))
def test_any_parameter_set_is_read_or_an_error(data: bytes) -> None:
    try:
        found = h264.parse_sps(b"\x67" + data)
    except PacketError:
        return
    assert found.width > 0
    assert found.shown[0] > 0
    assert found.shown[1] > 0


def test_single_units_aggregates_and_pieces() -> None:
    sps, pps, idr = b"\x67" + b"s" * 9, b"\x68" + b"p" * 3, b"\x65" + bytes(range(1, 200))
    assert h264.unpack(idr) == (START + idr, True, False)
    assert h264.unpack(sps) == (START + sps, True, True)
    both = b"\x78" + b"\0\x0a" + sps + b"\0\x04" + pps
    assert h264.unpack(both) == (START + sps + START + pps, True, True)
    head, middle, tail = b"\x7c\x85" + idr[1:50], b"\x7c\x05" + idr[50:120], b"\x7c\x45" + idr[120:]
    assert h264.unpack(head) == (START + idr[:50], True, False)
    assert h264.unpack(middle) == (idr[50:120], False, False)
    assert b"".join(h264.unpack(p)[0] for p in (head, middle, tail)) == START + idr


@pytest.mark.parametrize(
    "payload",
    [
        b"\x00", b"\x1e\1\2", b"\x1f\1\2", b"\x79\0\0\0\1\1", b"\x7a\0\0", b"\x7d\x85\0\0", b"\x7c", b"\x7c\x9c\0", b"\x7c\x80\0", b"\x78",
        b"\x78\0", b"\x78\0\x09\x67", b"\x78\0\0\0\0",
    ],
    ids=[
        "type 0", "type 30", "type 31", "STAP-B", "MTAP16", "FU-B", "FU-A without its head", "FU-A of an FU-A", "FU-A of type 0",
        "STAP-A of nothing", "STAP-A with half a size", "a unit larger than its STAP-A", "STAP-A of empty units",
    ],
)  # fmt: skip
def test_what_modes_0_and_1_do_not_have_is_an_error(payload: bytes) -> None:
    with pytest.raises(PacketError):
        h264.unpack(payload)
    assert not h264.starts_keyframe(payload)


def test_keyframes_are_told_by_their_first_slice() -> None:
    sent = encoded("h264")
    assert h264.is_keyframe(sent[0])
    assert not h264.is_keyframe(sent[1])
    assert h264.is_keyframe(START + b"\x09\xf0" + START + b"\x06\x05\1\1\x80" + b"\0\0\1\x65\x88"), "behind a delimiter and SEI"
    assert not h264.is_keyframe(START + b"\x67\x42"), "parameter sets alone are none"
    assert not h264.is_keyframe(b"")


def test_a_frame_of_countless_units_is_looked_at_for_a_moment_only() -> None:
    assert not h264.is_keyframe((START + b"\x06") * 100_000 + START + b"\x65")
    assert list(h264.units(b"\0" * 1_000_000)) == []


def test_parameter_sets_that_want_too_much_memory_are_errors() -> None:
    modest = START + sps_of(1920, 1080, preset="medium", **{"x264-params": "ref=16"})
    assert h264.frame_size(modest) == (1920, 1088)
    with pytest.raises(PacketError):
        h264.frame_size(START + sps_of(4096, 2304, preset="medium", **{"x264-params": "ref=16"}))
