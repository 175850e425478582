"""Decoded pictures -> what the window paints: scaled to the watched tile's device pixels, in the track's shared-memory ring.

`TileWriter.watch` and `close` on the loop's thread, `show` on one decoder (or capture) thread; a lock keeps them apart for the
time of one scaling at most. Scaling gives up the interpreter while it works.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

import av
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from vidconf.engine.api import PixelFormat
from vidconf.engine.frame_ring import BT709, FULL_RANGE, RingWriter, bgrx_bytes, i420_bytes, i420_stride

log = logging.getLogger("vidconf.scaling")

MAX_TILE = 8192
"""Device pixels a side; more is a mistake of whoever asks."""
BLOCK = 8
"""Pixels of a row that swscale converts at once."""


def fit_size(width: int, height: int, tile_width: int, tile_height: int) -> tuple[int, int]:
    """The largest even size of the picture's shape inside the tile."""
    scale = min(tile_width / width, tile_height / height)
    return max(2, int(width * scale + 0.5) // 2 * 2), max(2, int(height * scale + 0.5) // 2 * 2)


def cover_size(width: int, height: int, tile_width: int, tile_height: int) -> tuple[int, int]:
    """The smallest even size of the picture's shape that covers the tile."""
    scale = max(tile_width / width, tile_height / height)
    return math.ceil(round(width * scale, 3) / 2) * 2, math.ceil(round(height * scale, 3) / 2) * 2


def in_blocks(width: int, height: int) -> tuple[int, int]:
    """The next size of this shape that is a whole number of blocks wide: what `Scaler` converts fastest."""
    wide = (width + BLOCK - 1) // BLOCK * BLOCK
    return wide, math.ceil(round(height * wide / width, 3) / 2) * 2


class Scaler:
    """One stream's conversions; keeps swscale's contexts from frame to frame. One thread at a time."""

    def __init__(self) -> None:
        self._resize, self._convert = VideoReformatter(), VideoReformatter()

    def bgrx(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """`frame` at exactly this (even) size as BGRX, the fourth byte 255."""
        shrinks = width < frame.width or height < frame.height
        interpolation = Interpolation.AREA if shrinks else Interpolation.BILINEAR
        if width % BLOCK:
            # swscale's straight conversion works in blocks, and leaves out the last where the row has no room for it:
            # accurate rounding keeps it from that shortcut, also where nothing is resized.
            exact = interpolation | Interpolation.ACCURATE_RND
            return self._resize.reformat(frame, width, height, "bgra", interpolation=exact, threads=1)
        # In two steps: resizing planes and then the straight conversion takes about half of doing both at once.
        resized = self._resize.reformat(frame, width, height, "yuv420p", interpolation=interpolation, threads=1)
        return self._convert.reformat(resized, width, height, "bgra", threads=1)

    def planar(self, frame: av.VideoFrame) -> av.VideoFrame:
        """`frame` as yuv420p of its own size."""
        return self._convert.reformat(frame, format="yuv420p", threads=1)


class Shrinker:
    """The same picture smaller, for those who get it as a thumbnail; keeps swscale's contexts. One thread at a time."""

    def __init__(self) -> None:
        self._resize: dict[tuple[int, int], VideoReformatter] = {}

    def shrink(self, frame: av.VideoFrame, width: int, height: int) -> av.VideoFrame:
        """`frame` as yuv420p of this (even) size, each pixel the mean of those it stands for; itself where nothing is to be done."""
        if (frame.width, frame.height, frame.format.name) == (width, height, "yuv420p"):
            return frame
        if len(self._resize) > 8:       # of sizes that are gone
            self._resize.clear()
        resize = self._resize.setdefault((width, height), VideoReformatter())
        return resize.reformat(frame, width, height, "yuv420p", interpolation=Interpolation.AREA, threads=1)


TOO_LARGE = 8
"""Times what is needed."""


class TileWriter:
    """Shows one track as it is watched. `on_ring(name)` is called on the thread of `show` after a new ring has its first
    picture; the one before is dead then."""

    def __init__(self, on_ring: Callable[[str], None]) -> None:
        self._on_ring = on_ring
        self._lock = threading.Lock()
        self._scaler = Scaler()
        self._ring: RingWriter | None = None
        self._tile: tuple[int, int] = (0, 0)
        self._format: PixelFormat = "bgrx"
        self._fill = True
        self._closed = False
        self.shown = 0

    def watch(self, width: int, height: int, format: PixelFormat = "bgrx", fill: bool = True) -> None:
        """Device pixels of the tile, 0 × 0 to show nothing. `fill` crops the picture to the tile's shape, else the whole
        picture is scaled to fit inside it: what is in the ring is then smaller than the tile on one side."""
        with self._lock:
            self._tile = (max(0, min(width, MAX_TILE)), max(0, min(height, MAX_TILE)))
            self._format, self._fill = format, fill

    @property
    def watched(self) -> bool:
        return min(self._tile) > 0 and not self._closed

    @property
    def ring(self) -> str | None:
        """Name of the living ring."""
        ring = self._ring
        return ring.name if ring else None

    def show(self, frame: av.VideoFrame, pts_us: int = 0, still: Callable[[], bool] | None = None) -> bool:
        """Scale and publish one picture. False when nobody watches or there was no free slot, or when it is not `still` to be
        shown: asked when no other thread can show one any more before it."""
        with self._lock:
            if not self.watched or (still is not None and not still()):
                return False
            opened = self._i420(frame, pts_us) if self._format == "i420" else self._bgrx(frame, pts_us)
            name = self._ring.name if opened is not None and self._ring else ""
        if opened:
            self._on_ring(name)
        self.shown += opened is not None
        return opened is not None

    def close(self) -> None:
        """Unlinks the ring. Later `show`s do nothing."""
        with self._lock:
            self._closed = True
            ring, self._ring = self._ring, None
            if ring:
                ring.close()

    def _room(self, size: int) -> bool:
        """Makes sure of a ring with slots of `size`; True when it is a new one. Only touched pages cost memory, so rings are
        made with room to grow; one that is far too large, left from when its tile was alone, is given back."""
        if self._ring is not None and size <= self._ring.slot_bytes <= TOO_LARGE * size:
            return False
        old, self._ring = self._ring, RingWriter(1 << (size - 1).bit_length())
        if old:
            old.close()
        return True

    def _bgrx(self, frame: av.VideoFrame, pts_us: int) -> bool | None:
        tile_width, tile_height = self._tile
        if self._fill:
            width, height = in_blocks(*cover_size(frame.width, frame.height, tile_width, tile_height))
        else:
            width, height = fit_size(frame.width, frame.height, tile_width, tile_height)
        picture = self._scaler.bgrx(frame, width, height)
        plane = picture.planes[0]
        shown_width, shown_height = (tile_width, tile_height) if self._fill else (width, height)
        # Cropping is an offset: rows keep the scaled picture's stride, so that one copy takes them all.
        start = (height - shown_height) // 2 * plane.line_size + (width - shown_width) // 2 * 4
        size = bgrx_bytes(shown_width, shown_height, plane.line_size)
        new = self._room(plane.line_size * shown_height)
        assert self._ring is not None
        view = memoryview(plane).cast("B")[start : start + size]
        return new if self._ring.write_bgrx(view, shown_width, shown_height, plane.line_size, pts_us) else None

    def _i420(self, frame: av.VideoFrame, pts_us: int) -> bool | None:
        if frame.format.name not in ("yuv420p", "yuvj420p"):
            frame = self._scaler.planar(frame)
        y, u, v = frame.planes
        stride = i420_stride(frame.width)
        new = self._room(i420_bytes(frame.height, stride))
        assert self._ring is not None
        planes = tuple((memoryview(p).cast("B"), p.line_size) for p in (y, u, v))
        return new if self._ring.write_i420(planes, frame.width, frame.height, pts_us, _colour(frame)) else None


def _colour(frame: av.VideoFrame) -> int:
    """How a planar picture's colours are meant, as a ring says it; what is not said is BT.601, limited range, as swscale takes it."""
    full = frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG
    return (BT709 if frame.colorspace == Colorspace.ITU709 else 0) | (FULL_RANGE if full else 0)
