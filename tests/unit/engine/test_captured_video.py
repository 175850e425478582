"""Packets that others' clients really sent, as they arrived: Chromium's spatial layers, its H.264 and the official SDK's."""

from __future__ import annotations

from pathlib import Path

import pytest

from vidconf.engine.decoders import DECODERS
from vidconf.rtp import vp9
from vidconf.rtp.frame_assembly import AssembledFrame, FrameAssembler
from vidconf.rtp.packets import RtpPacket, parse_rtp
from vidconf.rtp.payload_format import FORMATS

DATA = Path(__file__).parents[2] / "data"


def packets(name: str) -> list[RtpPacket]:
    """Each stands behind its length in two bytes."""
    data, at, found = (DATA / name).read_bytes(), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        found.append(parse_rtp(data[at + 2 : at + 2 + size]))
        at += 2 + size
    return found


def assembled(name: str) -> list[AssembledFrame]:
    assembler = FrameAssembler(FORMATS[name.split("-")[1]])
    frames = [f for p in packets(name) for f in assembler.push(p.sequence, p.timestamp, p.marker, p.payload, 0.0)]
    assert (assembler.malformed, assembler.dropped_frames, len(assembler._packets)) == (0, 0, 0)
    return frames


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("rtp-vp9-svc-key.bin", {(640, 360)}), ("rtp-vp9-svc.bin", {(320, 180), (640, 360)}), ("rtp-h264-chromium.bin", {(320, 180)}),
        ("rtp-h264-sdk.bin", {(640, 360)}),
    ],
)  # fmt: skip
def test_every_frame_is_a_picture(name: str, sizes: set[tuple[int, int]]) -> None:
    codec = name.split("-")[1]
    frames, decoder, seen = assembled(name), DECODERS[codec](), set()
    assert len(frames) == len({p.timestamp for p in packets(name)})
    assert frames[0].keyframe
    for frame in frames:
        picture = decoder.decode(frame.data)
        assert picture is not None
        seen.add((picture.width, picture.height))
    assert seen == sizes


def test_of_spatial_layers_the_highest_is_shown() -> None:
    frames = assembled("rtp-vp9-svc-key.bin")
    assert {len(vp9.frames_of(f.data)) for f in frames} == {2}
    assert vp9.frame_size(frames[0].data) in ((320, 180), (640, 360)), "the upper layer of a keyframe may take its size from the lower"
    keys = [p for p in packets("rtp-vp9-svc-key.bin") if vp9.starts_keyframe(p.payload)]
    assert [p.timestamp for p in keys] == [frames[0].timestamp], "once for a picture, whatever its layers"


def test_the_lowest_layer_alone_is_a_picture_too() -> None:
    """What an SFU sends to whoever shows it small: the numbers of what is left out are closed, the marker set."""
    lowest = [p for p in packets("rtp-vp9-svc-key.bin") if vp9.spatial_layer(p.payload) == 0]
    assembler, decoder, shown = FrameAssembler(vp9), DECODERS["vp9"](), 0
    for number, packet in enumerate(lowest):
        last = number + 1 == len(lowest) or lowest[number + 1].timestamp != packet.timestamp
        for frame in assembler.push(number, packet.timestamp, last, packet.payload, 0.0):
            picture = decoder.decode(frame.data)
            assert picture is not None
            assert (picture.width, picture.height) == (320, 180)
            shown += 1
    assert shown == len({p.timestamp for p in lowest})
