"""One layer of one's own picture: its encoder, its rate, and when it owes a picture that stands alone. Made by `video_publication`
for one connection.

What is wanted of it is said on the loop's thread; `encode` and `rest` are called on the publication's encoder thread.
"""

from __future__ import annotations

from typing import Any

import av

from vidconf.engine.codecs.encoders import VideoEncoder, encoder_for
from vidconf.engine.ladder import Layer
from vidconf.engine.outgoing import OutgoingStream

KEYFRAME_GAP_S = 0.3
"""Requests closer together are put off, not dropped."""
MAX_IN_FLIGHT = 3
"""Encoded pictures the loop has not taken yet; more and the encoder leaves some out."""


class LayerEncoder:
    """`wanted`: somebody takes it. `rate_bps`: what it may use, 0: it is not sent, None: nobody has said yet."""

    def __init__(self, stream: OutgoingStream, rid: str = "", *, screen: bool = False) -> None:
        self.stream, self.rid = stream, rid
        self.wanted = True
        self.rate_bps: int | None = None
        self.broken = True
        """What was encoded last has not left, or nothing has: only a keyframe may follow, throttle or not."""
        self.in_flight = 0
        """Under the publication's lock."""
        self.picture_id = 0
        self.frames = self.keyframes = self.left_out = 0
        """`frames` were handed to the connection."""
        self.width = self.height = 0
        self._screen = screen
        self._keyframe_wanted = False
        self._last_keyframe = float("-inf")
        self._encoder: VideoEncoder | None = None

    @property
    def sends(self) -> bool:
        """Whether it is to be encoded now."""
        return self.wanted and self.rate_bps != 0

    def request_keyframe(self) -> None:
        """A viewer needs one. Answered with the next picture, at most every KEYFRAME_GAP_S."""
        self._keyframe_wanted = True

    def encode(self, frame: av.VideoFrame, layer: Layer, fps: int, now: float) -> bytes | None:
        """One frame as it will be sent; None when the encoder left this picture out. `frame` is yuv420p. Raises CodecError."""
        rate = layer.enough_bps if self.rate_bps is None else min(self.rate_bps, layer.most_bps)
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (frame.width, frame.height):
            self.rest()
            encoder = self._encoder = encoder_for("vp8", frame.width, frame.height, fps, rate, screen=self._screen)
            self.width, self.height = frame.width, frame.height
        else:
            encoder.set_bitrate(rate)
        keyframe = self.broken or (self._keyframe_wanted and now - self._last_keyframe >= KEYFRAME_GAP_S)
        if keyframe:
            self.broken, self._keyframe_wanted, self._last_keyframe = False, False, now
            self.keyframes += 1
        return encoder.encode(frame, keyframe)

    def rest(self) -> None:
        """It is not sent for now: the encoder's memory is given back, the next picture stands alone."""
        encoder, self._encoder = self._encoder, None
        self.broken = True
        if encoder is not None:
            encoder.close()

    @property
    def resting(self) -> bool:
        return self._encoder is None

    def report(self) -> dict[str, Any]:
        """For the report's `sent`."""
        stream = self.stream
        return {
            "rid": self.rid, "width": self.width, "height": self.height, "frames": self.frames, "keyframes": self.keyframes,
            "rate_bps": self.rate_bps if self.wanted else 0, "packets": stream.packets, "octets": stream.octets,
        }  # fmt: skip
