"""Which codecs of an offer are answered, in which form, and how their repairs are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiortc import RTCIceGatherer, RTCIceTransport
from aiortc.sdp import MediaDescription

from vidconf.webrtc.description import answer_to, parse, remote_tracks
from vidconf.webrtc.seams import PacketTransport

OFFER = (Path(__file__).parents[2] / "data" / "livekit-offer.sdp").read_bytes().decode()
VIDEO = "96 97 98 99 100 101 125 126 108 109 104 105 102 103 35 36 116 117"


@pytest.fixture
async def transport() -> tuple[RTCIceGatherer, PacketTransport]:
    gatherer = RTCIceGatherer(iceServers=[])
    return gatherer, PacketTransport(RTCIceTransport(gatherer), lambda data, now: None, lambda data, now: None)


def video(text: str) -> MediaDescription:
    return next(m for m in parse(text).media if m.kind == "video")


async def test_vp8_vp9_and_h264_are_answered_in_the_servers_order(transport: Any) -> None:
    answered = video(answer_to(parse(OFFER), *transport, 1))
    assert [(c.payloadType, c.name) for c in answered.rtp.codecs] == [
        (96, "VP8"), (97, "rtx"), (98, "VP9"), (99, "rtx"), (125, "H264"), (126, "rtx"), (108, "H264"), (109, "rtx"), (104, "H264"), (105, "rtx"),
        (102, "H264"), (103, "rtx"),
    ]  # fmt: skip
    assert answered.fmt == [c.payloadType for c in answered.rtp.codecs]
    parameters = {c.payloadType: c.parameters for c in answered.rtp.codecs}
    assert parameters[98] == {"profile-id": "0"}
    assert parameters[108] == {"level-asymmetry-allowed": "1", "packetization-mode": "1", "profile-level-id": "42e01f"}
    assert [parameters[pt]["apt"] for pt in (97, 99, 126, 109, 105, 103)] == [96, 98, 125, 108, 104, 102]
    asked = {(f.type, f.parameter) for c in answered.rtp.codecs if c.name != "rtx" for f in c.rtcpFeedback}
    assert {("nack", None), ("nack", "pli"), ("ccm", "fir")} <= asked
    assert all(not c.rtcpFeedback for c in answered.rtp.codecs if c.name == "rtx")


@pytest.mark.parametrize(
    ("line", "replaced", "is_answered"),
    [
        ("profile-id=0", "profile-id=2", False), ("a=fmtp:98 profile-id=0", "a=x", True), ("profile-level-id=42e01f", "profile-level-id=640c1f", True),
        ("profile-level-id=42e01f", "profile-level-id=4D0028", True), ("profile-level-id=42e01f", "profile-level-id=f4001f", False),
        ("profile-level-id=42e01f", "profile-level-id=6e001f", False), ("profile-level-id=42e01f", "profile-level-id=", True),
        ("packetization-mode=1;profile-level-id=42e01f", "packetization-mode=2;profile-level-id=42e01f", False),
    ],
    ids=["VP9 of 10 bits", "VP9 that says nothing", "High", "Main", "4:4:4", "High 10", "no profile", "interleaved"],
)  # fmt: skip
async def test_only_what_is_decoded_is_answered(transport: Any, line: str, replaced: str, is_answered: bool) -> None:
    which = 98 if "98" in line or "profile-id" in line else 108
    text = "\r\n".join(
        entry.replace(line, replaced) if entry.startswith(f"a=fmtp:{which} ") else entry for entry in OFFER.split("\r\n")
    )
    assert text != OFFER
    answered = {c.payloadType for c in video(answer_to(parse(text), *transport, 1)).rtp.codecs}
    assert (which in answered) == is_answered
    assert (which + 1 in answered) == is_answered, "and its repair with it"


async def test_names_of_any_case_are_understood(transport: Any) -> None:
    text = OFFER.replace("VP8/90000", "vp8/90000").replace("H264/90000", "h264/90000").replace("rtx/90000", "RTX/90000")
    answered = video(answer_to(parse(text), *transport, 1))
    assert len(answered.rtp.codecs) == 12
    assert set(next(t for t in remote_tracks(parse(text)) if t.kind == "video").payload_types.values()) >= {"vp8", "h264", "rtx"}


def test_each_repair_knows_what_it_repairs() -> None:
    track = next(t for t in remote_tracks(parse(OFFER)) if t.kind == "video")
    assert track.repaired == {97: 96, 99: 98, 101: 100, 126: 125, 109: 108, 105: 104, 103: 102, 36: 35, 117: 116}
    text = OFFER.replace("a=fmtp:97 apt=96", "a=fmtp:97 apt").replace("a=fmtp:99 apt=98", "a=fmtp:99 apt=77")
    track = next(t for t in remote_tracks(parse(text)) if t.kind == "video")
    assert not {97, 99} & set(track.repaired)


async def test_a_video_codec_in_a_section_of_sound_is_none(transport: Any) -> None:
    text = OFFER.replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:0 VP9/90000")
    answered = next(m for m in parse(answer_to(parse(text), *transport, 1)).media if m.kind == "audio")
    assert "VP9" not in {c.name for c in answered.rtp.codecs}
