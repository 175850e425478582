"""VP8 by libvpx through PyAV (RFC 6386).

One thread an object; encode and decode give up the interpreter while they work. FFmpeg's wrapper ignores a changed bit rate on
an open encoder, so `set_bitrate` makes a new encoder, seldom: each costs a keyframe.
"""

from __future__ import annotations

import fractions
import time
from typing import ClassVar

import av
import av.video
from av.video.frame import PictureType

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.rtp import vp8
from vidconf.rtp.payload_format import PayloadFormat

REBUILD_RATIO = 0.25
REBUILD_EVERY_S = 4.0
URGENT_RATIO, URGENT_AFTER_S = 0.6, 1.0
"""Where the target fell below this part of the rate the network cannot wait."""
TICKS = 90_000


_TIME_BASE = fractions.Fraction(1, TICKS)


class Vp8Encoder:
    """Real-time, one frame in, one frame out. `width` and `height` even."""

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> None:
        self.width, self.height, self.fps, self.screen = width, height, fps, screen
        self.bitrate_bps = bitrate_bps
        self._built_at = 0.0
        self._started_at, self._pts = time.monotonic(), -1
        self._context = self._build(bitrate_bps)

    def _build(self, bitrate_bps: int) -> av.VideoCodecContext:
        context = av.VideoCodecContext.create("libvpx", "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base, context.framerate = fractions.Fraction(1, TICKS), fractions.Fraction(self.fps, 1)
        context.bit_rate, context.gop_size, context.thread_count = bitrate_bps, 3000, 1
        context.options = {
            "deadline": "realtime",
            "cpu-used": "-4" if self.width * self.height <= 640 * 360 else "-6",
            "lag-in-frames": "0",
            "error-resilient": "1",
            "noise-sensitivity": "0",
            "static-thresh": "100" if self.screen else "1",
            "max-intra-rate": "300",
            "minrate": str(bitrate_bps),
            "maxrate": str(bitrate_bps),
            "bufsize": str(bitrate_bps),
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "qmin": "2",
            "qmax": "56",
        }
        try:
            context.open()
        except av.FFmpegError as error:
            raise CodecError(f"VP8 encoder {self.width}×{self.height}: {error}") from error
        self._built_at = time.monotonic()
        return context

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Follow a target: only when it is well off the present rate, and not often. Raises CodecError."""
        change, age_s = bitrate_bps / self.bitrate_bps, time.monotonic() - self._built_at
        if (abs(change - 1) > REBUILD_RATIO and age_s > REBUILD_EVERY_S) or (change < URGENT_RATIO and age_s > URGENT_AFTER_S):
            self._context = self._build(bitrate_bps)
            self.bitrate_bps = bitrate_bps

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, None when the encoder left this one out. `frame` is yuv420p of our size. Raises CodecError."""
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        # The time it really is, so that a source slower than `fps` still fills the rate. Never less than half a frame's step:
        # pictures that come in a bunch must not each be given a whole second's bits.
        now = int((time.monotonic() - self._started_at) * TICKS)
        self._pts = max(now, self._pts + TICKS // (2 * self.fps)) if self._pts >= 0 else now
        frame.time_base, frame.pts = _TIME_BASE, self._pts
        try:
            packets = self._context.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"VP8 encoder: {error}") from error
        return bytes(packets[-1]) if packets else None


class Vp8Decoder(VideoDecoder):
    NAME = "vp8"
    FORMAT: ClassVar[PayloadFormat] = vp8
