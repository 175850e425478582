"""VP8 by libvpx (RFC 6386): encoders and the decoder. One thread an object; encode and decode give up the interpreter while they work.

`Vp8Encoder` is libvpx itself; `PyAvVp8Encoder` stands in for it where that library is another than the one known (`libvpx`).
"""

from __future__ import annotations

import os
import time
from typing import ClassVar

import av
import av.video

from vidconf.engine.codecs import libvpx
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.engine.codecs.pyav_encoder import PyAvEncoder
from vidconf.rtp import vp8
from vidconf.rtp.payload_format import PayloadFormat

REBUILD_RATIO = 0.25
REBUILD_EVERY_S = 4.0
URGENT_RATIO, URGENT_AFTER_S = 0.6, 1.0
"""Where the target fell below this part of the rate the network cannot wait."""
CIF = 352 * 288
SMALL_SPEED, HARD_SPEED, EASY_SPEED = -4, -6, -14
"""libvpx's `cpu_used`. Measured at 720p and 1.5 Mb/s: on what is easy to encode -14 takes a sixth off the time of -6 and the picture
is no worse (0.1 dB either way); on what is hard it costs up to half a decibel."""
EASY_QUANTIZER, HARD_QUANTIZER, JUDGED = 55, 70, 30
"""Easy is what is encoded finer than the first, hard again what is coarser than the second; the mean of so many pictures."""
MANY_CORES, LARGE = 4, 1280 * 720
"""From here on two threads share a picture."""
DROP_BELOW_PERCENT = 30
"""Of the buffer: then a camera's picture is left out rather than sent late."""


class Vp8Encoder(libvpx.LibvpxEncoder):
    """libwebrtc's settings for one layer (`libvpx_vp8_encoder.cc`), but for the denoiser: measured, it costs a third more time,
    and what it smooths away is missing in the picture."""

    CODEC = "vp8"

    def _settings(self, config: libvpx.Config) -> libvpx.Config:
        config = super()._settings(config)
        config.rc_min_quantizer, config.rc_max_quantizer = 12 if self.screen else 2, 56
        # a page that changes is worth waiting for; a face is not
        config.rc_dropframe_thresh = 0 if self.screen else DROP_BELOW_PERCENT
        config.g_threads = 2 if self.width * self.height >= LARGE and (os.cpu_count() or 1) >= MANY_CORES else 1
        return config

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False, library: libvpx.Library | None = None) -> None:
        """`width` and `height` in pixels, even. Raises CodecError where there is no such encoder here."""
        self._easy, self._coarseness, self._until_judged = False, 0.0, JUDGED
        super().__init__(width, height, fps, bitrate_bps, screen=screen, library=library)

    @property
    def _speed(self) -> int:
        if self.hurry:
            return EASY_SPEED
        if self.width * self.height < CIF:
            return SMALL_SPEED
        return EASY_SPEED if self._easy and not self.screen else HARD_SPEED

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        data = super().encode(frame, keyframe)
        if data is not None:
            self._judge()
        return data

    def _judge(self) -> None:
        """Whether looking harder for what is alike would pay."""
        self._coarseness += self.last_quantizer / JUDGED
        self._until_judged -= 1
        if self._until_judged:
            return
        mean, self._coarseness, self._until_judged = self._coarseness, 0.0, JUDGED
        easy = mean < (HARD_QUANTIZER if self._easy else EASY_QUANTIZER)
        if easy != self._easy:
            self._easy = easy
            self._set_speed()

    def _controls(self) -> dict[int, int]:
        return {
            libvpx.NOISE_SENSITIVITY: 0,
            libvpx.STATIC_THRESHOLD: 100 if self.screen else 1,
            libvpx.CPU_USED: self._speed,
            libvpx.TOKEN_PARTITIONS: 0,
            libvpx.MAX_INTRA_PERCENT: self._max_intra_percent,
            libvpx.SCREEN_CONTENT: 2 if self.screen else 0,
        }


class PyAvVp8Encoder(PyAvEncoder):
    """FFmpeg's wrapper of libvpx. It ignores a changed bit rate on an open encoder, so `set_bitrate` makes a new one, seldom: each
    costs a keyframe."""

    NAME = "VP8"
    last_quantizer: int | None = None
    """It does not tell."""

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False) -> None:
        """`width` and `height` in pixels, even. Raises CodecError."""
        super().__init__(width, height, fps, bitrate_bps, screen=screen)
        self._build(bitrate_bps)

    def _build(self, bitrate_bps: int) -> None:
        self._context = self._made("libvpx", bitrate_bps, 3000, {
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
        })  # fmt: skip
        self._built_at = time.monotonic()

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Follow a target: only when it is well off the present rate, and not often. Raises CodecError."""
        change, age_s = bitrate_bps / self.bitrate_bps, time.monotonic() - self._built_at
        if (abs(change - 1) > REBUILD_RATIO and age_s > REBUILD_EVERY_S) or (change < URGENT_RATIO and age_s > URGENT_AFTER_S):
            self._build(bitrate_bps)
            self.bitrate_bps = bitrate_bps

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, None when the encoder left this one out. `frame` is yuv420p of our size. Raises CodecError."""
        packet = self._packet(frame, keyframe)
        return None if packet is None else bytes(packet)


class Vp8Decoder(VideoDecoder):
    NAME = "vp8"
    FORMAT: ClassVar[PayloadFormat] = vp8
