"""What FFmpeg's video encoders share: the checks, the clock and the call. One thread an object; `encode` gives up the interpreter."""

from __future__ import annotations

import fractions
import time
from typing import Any, ClassVar

import av
import av.video
from av.video.frame import PictureType

from vidconf.engine.codecs import CodecError

TICKS = 90_000


class PyAvEncoder:
    """Real-time, one frame in, one frame out. `_context` is opened by each kind, by `_made`."""

    NAME: ClassVar[str]
    _context: Any

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> None:
        """`width` and `height` in pixels, even."""
        self.width, self.height, self.fps, self.screen = width, height, fps, screen
        self.bitrate_bps = bitrate_bps
        self._started_at, self._pts = time.monotonic(), -1

    def _made(self, codec: str, bitrate_bps: int, gop_size: int, options: dict[str, str]) -> Any:
        """An open `av.VideoCodecContext`. Raises CodecError."""
        context: Any = av.VideoCodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = self.width, self.height, "yuv420p"
        context.time_base, context.framerate = fractions.Fraction(1, TICKS), fractions.Fraction(self.fps, 1)
        context.bit_rate, context.gop_size, context.thread_count = bitrate_bps, gop_size, 1
        context.options = options
        try:
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self.NAME} encoder {self.width}×{self.height}: {error}") from error
        return context

    def set_fps(self, fps: int) -> None:
        """How many pictures a second are to be expected; the rate control goes by those that come."""
        self.fps = max(1, min(120, fps))

    def set_hurry(self, hurry: bool) -> None:
        """FFmpeg does not pass it on: it looks as hard as it was opened to."""

    def _packet(self, frame: av.VideoFrame, keyframe: bool) -> Any:
        """One encoded frame as PyAV's packet, None when the encoder left this one out. `frame` is yuv420p of our size. Raises CodecError."""
        if (frame.width, frame.height, frame.format.name) != (self.width, self.height, "yuv420p"):
            raise CodecError(f"{frame.format.name} of {frame.width}×{frame.height} for an encoder of {self.width}×{self.height}")
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        # The time it really is, so that a source slower than `fps` still fills the rate. Never less than half a frame's step:
        # pictures that come in a bunch must not each be given a whole second's bits.
        now = int((time.monotonic() - self._started_at) * TICKS)
        self._pts = max(now, self._pts + TICKS // (2 * self.fps)) if self._pts >= 0 else now
        frame.time_base, frame.pts = fractions.Fraction(1, TICKS), self._pts
        try:
            packets = self._context.encode(frame)
        except (av.FFmpegError, ValueError) as error:
            raise CodecError(f"{self.NAME} encoder: {error}") from error
        return packets[-1] if packets else None

    def close(self) -> None:
        """FFmpeg's memory is given back with the object."""
