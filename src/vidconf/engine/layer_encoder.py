"""One's own pictures, encoded in the sizes that are sent. Used by `video_publication`.

A `LayerEncoder` is made for one connection: what is wanted of it is said on the loop's thread, `encode` and `rest` are called on the
publication's encoder thread. The `PictureEncoder` is that thread's alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Any

import av

from vidconf.engine.adaptation import Adaptation, Limits
from vidconf.engine.allocation import RETURN_FACTOR, STAYS
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.encoders import VideoEncoder, encoder_for
from vidconf.engine.ladder import Layer, layers
from vidconf.engine.outgoing import OutgoingStream
from vidconf.engine.scaling import Shrinker

log = logging.getLogger("vidconf.publication")

KEYFRAME_GAP_S = 0.3
"""Requests closer together are put off, not dropped."""
SMALLER_BELOW, LARGER_FROM = STAYS, RETURN_FACTOR
"""Parts of a layer's least rate: what stands for a smaller layer takes on its size below the first, and its own again at the second."""
MAX_IN_FLIGHT = 3
"""Encoded pictures the loop has not taken yet; more and the encoder leaves some out."""


class LayerEncoder:
    """`wanted`: somebody takes it. `rate_bps`: what it may use, 0: it is not sent, None: nobody has said yet."""

    def __init__(self, stream: OutgoingStream, rid: str = "", *, screen: bool = False, codec: str = "vp8") -> None:
        self.stream, self.rid, self.codec = stream, rid, codec
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
        self._crowded = False

    def crowded(self, layer: Layer) -> bool:
        """Whether its rate is too little for the layer's size."""
        bound = LARGER_FROM if self._crowded else SMALLER_BELOW
        self._crowded = self.rate_bps is not None and self.rate_bps < bound * layer.least_bps
        return self._crowded

    @property
    def quantizer(self) -> int | None:
        """Of the picture encoded last; None where the encoder does not tell."""
        return self._encoder.last_quantizer if self._encoder is not None else None

    @property
    def sends(self) -> bool:
        """Whether it is to be encoded now."""
        return self.wanted and self.rate_bps != 0

    def request_keyframe(self) -> None:
        """A viewer needs one. Answered with the next picture, at most every KEYFRAME_GAP_S."""
        self._keyframe_wanted = True

    def encode(self, frame: av.VideoFrame, layer: Layer, fps: int, now: float, *, hurry: bool = False) -> bytes | None:
        """One frame as it will be sent; None when the encoder left this picture out. `frame` is yuv420p. Raises CodecError."""
        rate = layer.enough_bps if self.rate_bps is None else min(self.rate_bps, layer.most_bps)
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (frame.width, frame.height):
            self.rest()
            encoder = self._encoder = encoder_for(self.codec, frame.width, frame.height, fps, rate, screen=self._screen)
            self.width, self.height = frame.width, frame.height
        else:
            encoder.set_bitrate(rate)
            if encoder.fps != fps:
                encoder.set_fps(fps)
        encoder.set_hurry(hurry)
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
            "fraction_lost": round(stream.fraction_lost, 3),
        }  # fmt: skip


class PictureEncoder:
    """One source's. Each picture is encoded for every layer that is sent, the smallest first: it is done soonest, and who sees a
    thumbnail need not wait for the others. What the machine cannot keep up with, or one layer alone has no bits for, is made smaller
    or comes more seldom (`adaptation`)."""

    def __init__(self, fps: int, most_bps: int, *, screen: bool) -> None:
        """`fps` and `most_bps`: the most pictures a second, and bits a second of the largest layer."""
        self._fps, self._most_bps, self._screen = fps, most_bps, screen
        self._shrinker = Shrinker()
        self._codec = "vp8"
        self._adaptation = Adaptation(self._codec, screen=screen)
        self._size = (0, 0)
        self._largest = 0
        self._next_due = 0.0
        self._told = (1.0, float(fps), False)
        self.spared = 0
        """Pictures left out to spare the machine or the rate."""

    def encode(
        self, frame: av.VideoFrame, senders: Sequence[LayerEncoder], clock: Callable[[], float], encoded: Callable[[LayerEncoder, bytes], None]
    ) -> CodecError | None:
        """Hand each layer's frame to `encoded` as it is done. `frame` is yuv420p with even sides, `clock` tells monotonic seconds. A
        layer whose encoder fails begins anew with the next picture; the last such error is returned."""
        steps = layers(frame.width, frame.height, screen=self._screen, most_bps=self._most_bps, at_most=max(1, len(senders)))
        sending = [sender.sends for sender in senders[: len(steps)]]
        for k, sender in enumerate(senders):
            if not sender.resting and not (k < len(steps) and sending[k]):
                sender.rest()
        if not any(sending):
            return None
        began = clock()
        sizes = self._sizes(steps, sending, senders)
        limits = self._limits(frame, sizes, sending, senders[0].codec, began)
        if began < self._next_due - 0.25 / limits.max_fps:
            self.spared += 1
            return None
        self._next_due = max(self._next_due + 1 / limits.max_fps, began - 1 / limits.max_fps)
        part = math.sqrt(limits.max_pixels / self._largest)
        pictures, larger = [], frame
        for (width, height), sends in zip(reversed(sizes), reversed(sending), strict=True):
            if sends:
                larger = self._shrinker.shrink(larger, _even(part * width), _even(part * height))
            pictures.append(larger)
        error = None
        left_out = False
        for sender, step, picture, sends in zip(senders, steps, reversed(pictures), sending, strict=False):
            if not sends or not sender.sends:       # the others may have taken a while
                continue
            if sender.in_flight >= MAX_IN_FLIGHT:
                sender.left_out += 1
                continue
            try:
                data = sender.encode(picture, step, max(1, round(limits.max_fps)), clock(), hurry=limits.hurry)
            except CodecError as failed:
                sender.rest()
                error = failed
                continue
            left_out = not data
            if data:
                encoded(sender, data)
        last = max(k for k, sends in enumerate(sending) if sends)
        ended = clock()
        self._adaptation.picture(ended, ended - began, senders[last].quantizer, left_out=left_out)
        return error

    def _sizes(self, steps: Sequence[Layer], sending: Sequence[bool], senders: Sequence[LayerEncoder]) -> list[tuple[int, int]]:
        """Width and height of each layer: its own, or of the one before it for which it stands (`allocation`)."""
        sizes = [(step.width, step.height) for step in steps]
        for k in range(1, len(steps)):
            if sending[k] and not self._screen and senders[k].crowded(steps[k]) and not sending[k - 1]:
                sizes[k] = sizes[k - 1]
        return sizes

    def _limits(self, frame: av.VideoFrame, sizes: Sequence[tuple[int, int]], sending: Sequence[bool], codec: str, now: float) -> Limits:
        """How large the largest layer that is sent may be, and how often."""
        if self._size != (frame.width, frame.height) or self._codec != codec:
            self._size, self._codec = (frame.width, frame.height), codec
            self._adaptation = Adaptation(codec, screen=self._screen)
        width, height = sizes[max(k for k, sends in enumerate(sending) if sends)]
        self._largest = width * height
        limits = self._adaptation.decide(now, self._largest, self._fps, alone=sum(sending) == 1)
        told = (round(limits.max_pixels / self._largest, 2), limits.max_fps, limits.hurry)
        if told != self._told:
            self._told = told
            log.info("encoded are %d %% of the pixels, %.1f times a second%s", 100 * told[0], told[1], ", in a hurry" if told[2] else "")
        return limits


def _even(side: float) -> int:
    return max(2, int(side / 2 + 0.5) * 2)
