"""Which encoder a picture is sent by. Any thread; an encoder is one thread's at a time."""

from __future__ import annotations

from typing import Protocol

import av

from vidconf.engine.codecs import CodecError, libvpx
from vidconf.engine.codecs.h264 import H264Encoder
from vidconf.engine.codecs.vp8 import PyAvVp8Encoder, Vp8Encoder
from vidconf.engine.codecs.vp9 import Vp9Encoder


class VideoEncoder(Protocol):
    """Real-time: one picture in, one frame out or none. A CodecError is for this picture, or for good: a new one tells."""

    width: int
    height: int
    fps: int
    bitrate_bps: int
    screen: bool

    @property
    def last_quantizer(self) -> int | None:
        """How coarse the picture encoded last is, on the codec's own scale (VP8 0…127, VP9 0…255, H.264 0…51); None where the
        encoder does not tell."""

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, None when the encoder left this one out. `frame` is yuv420p of its size. Raises CodecError."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Follow a target. Cheap enough for each picture. Raises CodecError."""

    def set_fps(self, fps: int) -> None:
        """How many pictures a second are to be expected. Raises CodecError."""

    def set_hurry(self, hurry: bool) -> None:
        """Whether the machine has little time to spare: less is looked for. Raises CodecError."""

    def close(self) -> None:
        """Gives its memory back."""


def encoder_for(codec: str, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> VideoEncoder:
    """The best encoder of `codec` (`a=rtpmap`'s name in lower case) that this PC has; `width` and `height` even. Raises CodecError
    where there is none."""
    if codec == "vp8":
        if libvpx.usable(Vp8Encoder):
            return Vp8Encoder(width, height, fps, bitrate_bps, screen=screen)
        return PyAvVp8Encoder(width, height, fps, bitrate_bps, screen=screen)
    if codec == "vp9":
        return Vp9Encoder(width, height, fps, bitrate_bps, screen=screen)
    if codec == "h264":
        return H264Encoder(width, height, fps, bitrate_bps, screen=screen)
    raise CodecError(f"no encoder for {codec}")
