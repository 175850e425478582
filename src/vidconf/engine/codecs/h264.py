"""H.264 through PyAV: x264 as constrained baseline for sending, FFmpeg's decoder, each picture out as soon as it is in.

One thread an object; encode and decode give up the interpreter while they work.
"""

from __future__ import annotations

import fractions
import time
from typing import Any, ClassVar

import av
import av.video
from av.codec.context import Flags
from av.video.frame import PictureType

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.rtp import h264
from vidconf.rtp.payload_format import PayloadFormat

TICKS = 90_000
CEILING_BPS, BUFFER_BITS = 4_000_000, 400_000
"""x264 follows a changed rate only below the one it was opened with, and only as a buffer of constant rate; a tenth of a second of it."""
LEAST_BPS = 50_000
QUANTIZER_SCALE = 118
"""FF_QP2LAMBDA."""
MACROBLOCKS_OF_31 = 3600
"""Of a picture at level 3.1: 1280 × 720 (H.264 table A-1)."""


class H264Encoder:
    """Real-time, one frame in, one frame out; parameter sets before each keyframe, one slice a picture. The rate follows within a
    second and without a keyframe."""

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> None:
        """`width` and `height` in pixels, even. Raises CodecError."""
        self.width, self.height, self.fps, self.screen = width, height, fps, screen
        self.bitrate_bps = bitrate_bps
        self.last_quantizer: int | None = None
        """Of the picture encoded last, 0…51."""
        self._started_at, self._pts = time.monotonic(), -1
        context = av.VideoCodecContext.create("libx264", "w")
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base, context.framerate = fractions.Fraction(1, TICKS), fractions.Fraction(fps, 1)
        context.bit_rate, context.gop_size, context.thread_count = CEILING_BPS, 1 << 20, 1
        context.options = {
            "preset": "superfast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1",
            "level": "3.1" if -(-width // 16) * -(-height // 16) <= MACROBLOCKS_OF_31 else "5.1",
            "maxrate": str(CEILING_BPS), "bufsize": str(BUFFER_BITS),
            "x264-params": "repeat-headers=1:annexb=1:aud=0:sliced-threads=0:slices=1:scenecut=0:nal-hrd=none",
        }  # fmt: skip
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"H.264 encoder {width}×{height}: {error}") from error
        self._context = context
        self.set_bitrate(bitrate_bps)

    def set_bitrate(self, bitrate_bps: int) -> None:
        """From the next picture on; no higher than CEILING_BPS."""
        self.bitrate_bps = max(LEAST_BPS, min(bitrate_bps, CEILING_BPS))
        self._context.bit_rate = self.bitrate_bps

    def set_fps(self, fps: int) -> None:
        """How many pictures a second are to be expected; the rate control goes by those that come."""
        self.fps = max(1, min(120, fps))

    def set_hurry(self, hurry: bool) -> None:
        """x264 looks as hard as it was opened to."""

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, a byte stream (annex B). `frame` is yuv420p of our size. Raises CodecError."""
        if (frame.width, frame.height, frame.format.name) != (self.width, self.height, "yuv420p"):
            raise CodecError(f"{frame.format.name} of {frame.width}×{frame.height} for an encoder of {self.width}×{self.height}")
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        # the time it really is, as for VP8: a source slower than `fps` still fills the rate
        now = int((time.monotonic() - self._started_at) * TICKS)
        self._pts = max(now, self._pts + TICKS // (2 * self.fps)) if self._pts >= 0 else now
        frame.time_base, frame.pts = self._context.time_base, self._pts
        try:
            packets = self._context.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"H.264 encoder: {error}") from error
        if not packets:
            return None
        packet: Any = packets[-1]
        if packet.has_sidedata("quality_stats"):
            self.last_quantizer = int.from_bytes(bytes(packet.get_sidedata("quality_stats"))[:4], "little") // QUANTIZER_SCALE
        return bytes(packet)

    def close(self) -> None:
        """FFmpeg's memory is given back with the object."""


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
