"""H.264 through PyAV: x264 as constrained baseline for sending, FFmpeg's decoder, each picture out as soon as it is in.

One thread an object; encode and decode give up the interpreter while they work.
"""

from __future__ import annotations

from typing import Any, ClassVar

import av
import av.video
from av.codec.context import Flags

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.engine.codecs.pyav_encoder import PyAvEncoder
from vidconf.rtp import h264
from vidconf.rtp.payload_format import PayloadFormat

CEILING_BPS, BUFFER_BITS = 4_000_000, 400_000
"""x264 follows a changed rate only below the one it was opened with, and only as a buffer of constant rate; a tenth of a second of it."""
LEAST_BPS = 50_000
PRESET, FILTER = "ultrafast", "no-deblock=0:deblock=-2,-2"
"""x264's fastest, with its filter of block edges put back, weak. Measured at 720p: two thirds of the time of "superfast", and 0.9 dB
better on a grainy room, within 0.4 dB on drawings."""
QUANTIZER_SCALE = 118
"""FF_QP2LAMBDA."""
MACROBLOCKS_OF_31 = 3600
"""Of a picture at level 3.1: 1280 × 720 (H.264 table A-1)."""


class H264Encoder(PyAvEncoder):
    """Parameter sets before each keyframe, one slice a picture. The rate follows within a second and without a keyframe."""

    NAME = "H.264"

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> None:
        """`width` and `height` in pixels, even. Raises CodecError."""
        super().__init__(width, height, fps, bitrate_bps, screen=screen)
        self.last_quantizer: int | None = None
        """Of the picture encoded last, 0…51."""
        self._context = self._made("libx264", CEILING_BPS, 1 << 20, {
            "preset": PRESET, "tune": "zerolatency", "profile": "baseline", "forced-idr": "1",
            "level": "3.1" if -(-width // 16) * -(-height // 16) <= MACROBLOCKS_OF_31 else "5.1",
            "maxrate": str(CEILING_BPS), "bufsize": str(BUFFER_BITS),
            "x264-params": f"repeat-headers=1:annexb=1:aud=0:sliced-threads=0:slices=1:scenecut=0:nal-hrd=none:{FILTER}",
        })  # fmt: skip
        self.set_bitrate(bitrate_bps)

    def set_bitrate(self, bitrate_bps: int) -> None:
        """From the next picture on; no higher than CEILING_BPS."""
        self.bitrate_bps = max(LEAST_BPS, min(bitrate_bps, CEILING_BPS))
        self._context.bit_rate = self.bitrate_bps

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, a byte stream (annex B). `frame` is yuv420p of our size. Raises CodecError."""
        packet: Any = self._packet(frame, keyframe)
        if packet is None:
            return None
        if packet.has_sidedata("quality_stats"):
            self.last_quantizer = int.from_bytes(bytes(packet.get_sidedata("quality_stats"))[:4], "little") // QUANTIZER_SCALE
        return bytes(packet)


class H264Decoder(VideoDecoder):
    NAME = "h264"
    FORMAT: ClassVar[PayloadFormat] = h264

    def _set_up(self, context: av.VideoCodecContext) -> None:
        # without it pictures wait for others that might come to be shown before them
        context.flags |= Flags.low_delay

    def decode(self, data: bytes) -> av.VideoFrame | None:
        picture = super().decode(data)
        if picture is not None and picture.is_corrupt:
            raise CodecError("h264 decoder: parts of a picture were missing or unreadable")
        return picture
