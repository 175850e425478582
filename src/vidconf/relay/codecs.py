"""The codecs that are forwarded: what they are called, under which numbers, where a keyframe begins. Pure; any thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vidconf.rtp import h264, vp8
from vidconf.rtp.payload_format import FORMATS


@dataclass(frozen=True, slots=True)
class Codec:
    """`payload_type` is what subscribers get it under, `rtpmap` and `parameters` how it is offered to them."""

    name: str
    kind: str
    payload_type: int
    rtpmap: str
    mime: str
    parameters: str = ""
    starts_keyframe: Callable[[bytes], bool] | None = None
    keyframe_size: Callable[[bytes], tuple[int, int] | None] = lambda payload: None
    """How large the picture is that begins with this payload of a keyframe, None where it does not say. Raises PacketError."""

    @property
    def rtx_payload_type(self) -> int:
        """Of repairs (RFC 4588): the next number, as LiveKit has it. Sound is repaired under its own."""
        return self.payload_type + 1 if self.kind == "video" else 0

    @property
    def clock_hz(self) -> int:
        return int(self.rtpmap.split("/")[1])


RED = 63
"""Payload type of `red/48000/2`; its blocks are Opus under 111, as everywhere."""

OPUS = Codec("opus", "audio", 111, "opus/48000/2", "audio/opus", "minptime=10;useinbandfec=1")
VP8 = Codec("vp8", "video", 96, "VP8/90000", "video/VP8", "", FORMATS["vp8"].starts_keyframe, lambda payload: vp8.keyframe_size(vp8.unpack(payload)[0]))
VP9 = Codec("vp9", "video", 98, "VP9/90000", "video/VP9", "profile-id=0", FORMATS["vp9"].starts_keyframe)
H264 = Codec(
    "h264", "video", 125, "H264/90000", "video/H264", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    FORMATS["h264"].starts_keyframe, h264.keyframe_size,
)  # fmt: skip
"""Constrained baseline, packets of several units or of parts of one: what every WebRTC client decodes (RFC 7742)."""

CODECS = {codec.name: codec for codec in (OPUS, VP8, VP9, H264)}
FIRST = {"audio": OPUS, "video": VP8}
"""What a section is taken for that says nothing: what all can receive."""


def named(mime: str) -> Codec | None:
    """By what clients call it: `vp8`, `video/VP8`."""
    return CODECS.get(mime.rpartition("/")[2].lower())
