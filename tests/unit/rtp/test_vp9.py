"""VP9's descriptors (RFC 9628 §4.2), pictures of several layers, and headers that lie."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.rtp.streams import encoded

from vidconf.rtp import vp9
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import PacketError


@st.composite
def descriptors(draw: st.DrawFn) -> tuple[bytes, vp9.Vp9Descriptor]:
    """Any descriptor, written as the RFC's figures say."""
    flexible, inter, layers = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    begins, ends, not_for_upper = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    picture_id = draw(st.none() | st.integers(0, 0x7FFF))
    long_id = picture_id is not None and (picture_id > 127 or draw(st.booleans()))
    sizes = draw(st.none() | st.lists(st.tuples(st.integers(0, 65535), st.integers(0, 65535)), max_size=8))
    found = vp9.Vp9Descriptor(begins, ends, inter, flexible, not_for_upper, picture_id)
    body = b""
    if picture_id is not None:
        body += (0x8000 | picture_id).to_bytes(2, "big") if long_id else bytes((picture_id,))
    if layers:
        found.temporal, found.switching_up = draw(st.integers(0, 7)), draw(st.booleans())
        found.spatial, found.inter_layer = draw(st.integers(0, 7)), draw(st.booleans())
        body += bytes((found.temporal << 5 | found.switching_up << 4 | found.spatial << 1 | found.inter_layer,))
        if not flexible:
            found.tl0picidx = draw(st.integers(0, 255))
            body += bytes((found.tl0picidx,))
    if flexible and inter:
        found.references = tuple(draw(st.lists(st.integers(0, 127), min_size=1, max_size=3)))
        body += bytes(r << 1 | (k < len(found.references) - 1) for k, r in enumerate(found.references))
    if sizes is not None:
        pictures = draw(st.none() | st.lists(st.lists(st.integers(0, 255), max_size=3), max_size=12))
        count = len(sizes) or draw(st.integers(1, 8))
        body += bytes((count - 1 << 5 | (0x10 if sizes else 0) | (0x08 if pictures is not None else 0),))
        body += b"".join(w.to_bytes(2, "big") + h.to_bytes(2, "big") for w, h in sizes)
        found.sizes = tuple(sizes)
        if pictures is not None:
            body += bytes((len(pictures),)) + b"".join(bytes((len(p) << 2, *p)) for p in pictures)
    flags = (
        (picture_id is not None) << 7 | inter << 6 | layers << 5 | flexible << 4 | begins << 3 | ends << 2 | (sizes is not None) << 1
        | not_for_upper
    )
    return bytes((flags,)) + body, found


@given(descriptors(), st.binary(max_size=20))
def test_every_descriptor_is_read(written: tuple[bytes, vp9.Vp9Descriptor], data: bytes) -> None:
    head, expected = written
    assert vp9.parse_descriptor(head + data) == (expected, len(head))
    assert vp9.data_start(head + data) == len(head)
    assert vp9.spatial_layer(head + data) == (expected.spatial or 0)
    assert vp9.unpack(head + data)[:2] == (data, expected.begins)


@given(descriptors(), st.integers(0, 400))
def test_a_cut_descriptor_is_an_error(written: tuple[bytes, vp9.Vp9Descriptor], keep: int) -> None:
    head = written[0][:keep]
    if len(head) == len(written[0]):
        return
    with pytest.raises(PacketError):
        vp9.parse_descriptor(head)
    with pytest.raises(PacketError):
        vp9.data_start(head)


@given(st.binary(max_size=60))
def test_both_readers_agree_about_anything(payload: bytes) -> None:
    try:
        at = vp9.parse_descriptor(payload)[1]
    except PacketError:
        with pytest.raises(PacketError):
            vp9.data_start(payload)
    else:
        assert vp9.data_start(payload) == at


def layered(frames: list[bytes], key: bool, limit: int = 100) -> list[bytes]:
    """The payloads of a picture of several spatial layers, lowest first."""
    payloads = []
    for layer, frame in enumerate(frames):
        pieces = [frame[at : at + limit] for at in range(0, len(frame), limit)]
        for n, piece in enumerate(pieces):
            flags = 0x20 | (0 if key else 0x40) | (8 if n == 0 else 0) | (4 if n == len(pieces) - 1 else 0)
            payloads.append(bytes((flags, layer << 1 | (layer > 0), 7)) + piece)
    return payloads


@given(st.lists(st.binary(min_size=1, max_size=700), min_size=1, max_size=8))
def test_a_picture_of_layers_is_a_superframe_that_is_split_again(layers: list[bytes]) -> None:
    head = b"\x80\x49\x83\x42"
    layers = [head + layer for layer in layers]
    payloads = layered(layers, key=True)
    assembler = FrameAssembler(vp9)
    out = [f for k, p in enumerate(payloads) for f in assembler.push(k, 90, k == len(payloads) - 1, p, 0.0)]
    assert len(out) == 1
    assert out[0].keyframe
    if len(layers) > 1:
        assert vp9.frames_of(out[0].data) == layers
    else:
        assert out[0].data == layers[0]
    assert [k for k, p in enumerate(payloads) if vp9.starts_keyframe(p)] == [0], "upper layers of a keyframe start none"


def test_more_layers_than_vp9_has_are_no_picture() -> None:
    payloads = layered([b"\x80" + bytes(5)] * 8, key=True) + layered([b"\x80" + bytes(5)], key=True)
    assembler = FrameAssembler(vp9)
    out = [f for k, p in enumerate(payloads) for f in assembler.push(k, 90, k == len(payloads) - 1, p, 0.0)]
    assert not out
    assert assembler.malformed == 1


def test_the_largest_layer_counts() -> None:
    small, large = encoded("vp9", 160, 90, 2, 2)[0], encoded("vp9", 322, 182, 2, 2)[0]
    assert vp9.frame_size(small) == (160, 90)
    whole = vp9.join([(0, False, True, small), (0, True, True, large)])
    assert vp9.frames_of(whole) == [small, large]
    assert vp9.frame_size(whole) == (322, 182)


def test_an_inter_frame_may_say_a_size_too() -> None:
    """VP9 bitstream §6.2: frame_size_with_refs without a reference to take it from. Nothing may grow past the reader."""
    # marker 10, profile 00, not shown again 0, inter 1, shown 1, not resilient 0 · reset 00 · refresh 8 · 3 × (3 + 1) · found 000
    bits = "10000110" + "00" + "1" * 8 + "0000" * 3 + "000" + f"{16383:016b}" + f"{8191:016b}"
    frame = int(bits.ljust(80, "0"), 2).to_bytes(10, "big")
    assert vp9.frame_size(frame) == (16384, 8192)
    intra = "10000100" + "1" + "00" + f"{0x498342:024b}" + "1" * 8 + f"{639:016b}" + f"{359:016b}"
    assert vp9.frame_size(int(intra.ljust(88, "0"), 2).to_bytes(11, "big")) == (640, 360)
    taken = "10000110" + "00" + "1" * 8 + "0000" * 3 + "01"
    assert vp9.frame_size(int(taken.ljust(40, "0"), 2).to_bytes(5, "big")) is None
    assert vp9.frame_size(b"\x88") is None, "an earlier frame, shown again"


@pytest.mark.parametrize(
    "frame",
    [
        b"", b"\x40\x49\x83\x42\0\0\0\0\0", b"\xa0\x49\x83\x42\0\0\0\0\0", b"\x80\x49\x83\x43\0\0\0\0\0", b"\x80\x49\x83\x42\xe0\0\0\0\0",
        b"\x80\x49\x83\x42\0\0\0", b"\x80\x49",
    ],
    ids=["nothing", "no marker", "profile 1", "wrong sync code", "RGB", "cut size", "cut sync code"],
)  # fmt: skip
def test_what_is_no_keyframe_of_profile_0_has_no_size(frame: bytes) -> None:
    if not frame:
        assert vp9.frame_size(frame) is None
        return
    with pytest.raises(PacketError):
        vp9.frame_size(frame)


def test_an_index_that_lies_is_an_error() -> None:
    marker = 0xC0 | 1
    picture = bytes(10) + bytes((marker, 9, 9, marker))
    with pytest.raises(PacketError):
        vp9.frames_of(picture)
    assert vp9.frames_of(bytes((marker,))) == [bytes((marker,))], "an index larger than the picture is none"
