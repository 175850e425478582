"""Frames in temporal layers: which can be decoded although frames before them are missing.

Pure; one thread an object. After libwebrtc's modules/video_coding/rtp_vp8_ref_finder.cc and RFC 7741 §4.2: a base frame (layer 0)
needs the base frame before it; a frame that is a switching point (`sync`) needs the base frame only; any other needs those of its
own and lower layers. So a lost frame of a higher layer costs that layer until its next switching point, and nothing below it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

UPPER = 0xFE
"""All layers but the base, a bit each."""


class Place(NamedTuple):
    """Where a frame stands among the layers. `picture` counts frames modulo `mask` + 1, `base` base frames modulo 256 (a frame of a
    higher layer carries that of the base frame it belongs to); `reference`: others may be predicted from it."""

    picture: int
    mask: int
    base: int
    layer: int
    sync: bool
    reference: bool


class LayerChain:
    """Told of every frame in decoding order by `take`."""

    __slots__ = ("_broken", "_last")

    def __init__(self) -> None:
        self._last: Place | None = None
        self._broken = 0
        """Layers whose newest frame is missing, a bit each."""

    def take(self, place: Place | None, keyframe: bool) -> bool:
        """A whole frame, before which nothing is missing but what `leave_out` was told of. Whether it can be decoded."""
        if place is None or keyframe:
            self._last, self._broken = place, 0
            return True
        self._last = place
        if place.layer and not place.sync and _needs(place.layer) & self._broken:
            self._broken |= 1 << place.layer
            return False
        self._broken &= ~(1 << place.layer)
        return True

    def after(self, lost: Sequence[Place], place: Place) -> int | None:
        """Whether `place` can be decoded when nothing between the last frame and it ever comes. `lost` is what is known of those.
        None when it cannot; else what to tell `leave_out` when it is gone on with."""
        last = self._last
        if last is None or (place.base - last.base) & 255 != (1 if place.layer == 0 else 0):
            return None
        broken = self._broken
        if (place.picture - last.picture - 1) & place.mask == len(lost):
            for frame in lost:
                if frame.reference:
                    broken |= 1 << frame.layer
        else:
            broken |= UPPER
        if place.layer and not place.sync and _needs(place.layer) & broken:
            return None
        return broken & UPPER

    def leave_out(self, broken: int) -> None:
        """What `after` answered: go on without the frames in between."""
        self._broken = broken


def _needs(layer: int) -> int:
    """The layers that an ordinary frame of this one is predicted from."""
    return (2 << layer) - 1
