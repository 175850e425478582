"""The newest picture of each track on the stage, borrowed from its shared-memory ring, and how well they are painted.

The window's thread. `follow` opens and closes readers as rings come, are replaced and go; a ring that is not there (yet, or any
more) is tried again. Between two rings, and for a while after one has gone, a copy of the last picture stands in.
Whoever paints asks for `Picture.image` (`raster`) or `Picture.frame` (`gpu`) and says `Picture.shown`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic, monotonic_ns

from PySide6.QtGui import QImage

from vidconf.engine.frame_ring import BGRX, I420, Frame, RingError, RingReader

log = logging.getLogger("vidconf.stage")

OPEN_AGAIN_S = 0.5
WINDOW_S = 2.5
"""How far back the frames painted a second are counted."""
KEEP_S = 5.0
"""How long the last picture stands in for a ring that has gone: longer would pass for live."""


class Picture:
    """One track's pictures."""

    def __init__(self, track: str) -> None:
        self.track = track
        self.ring = ""
        self._reader: RingReader | None = None
        self._frame: Frame | None = None
        self._kept: Frame | None = None
        """A copy."""
        self._kept_until = 0.0
        self._open_at = 0.0
        self._since: float | None = None
        self.painted = 0
        """Distinct pictures painted."""
        self._number = (0, 0)
        self.version = (0, 0)
        """Of the picture: the ring it came by, and its number there."""
        self._rings = 0
        self._times: deque[tuple[float, float]] = deque(maxlen=256)

    # ---- reading
    def follow(self, ring: str, now: float) -> bool:
        """The track's ring is called `ring` now, "" when there is none. True when what is to be painted changes by it."""
        if ring == self.ring:
            return False
        self._keep(now)
        self._close()
        self.ring, self._open_at = ring, 0.0
        return self._kept is not None

    def take(self, now: float) -> bool:
        """Hold the newest picture. True when there is a new one to paint."""
        if self._reader is None and not self._open(now):
            return self._kept is not None and self._expire(now)
        assert self._reader is not None
        if not self._reader.fresh():
            return False
        frame = self._reader.newest()
        if frame is None:
            # It was overtaken again and again, or it is no picture; what was held before may be written to by now.
            had, self._frame = self._frame is not None, None
            return had
        self._frame = frame if frame.format & 0xFF in (BGRX, I420) and min(frame.width, frame.height) > 0 else None
        if self._frame is not None:
            self._kept, self._since = None, now
            self.version = (self._rings, frame.number)
        return True

    @property
    def live(self) -> bool:
        """There is a picture to paint, be it the kept one."""
        return self._frame is not None or self._kept is not None

    @property
    def flowing(self) -> bool:
        """Pictures may come, or the kept one may run out: worth looking again soon."""
        return bool(self.ring) or self._kept is not None

    @property
    def frame(self) -> Frame | None:
        """The picture to paint, valid until the next `take`: it lies in shared memory, without a copy of it. `version` tells it from
        the one before."""
        return self._frame or self._kept

    @property
    def planar(self) -> bool:
        """It is I420: for the graphics card."""
        frame = self.frame
        return frame is not None and frame.format & 0xFF == I420

    def image(self) -> QImage | None:
        """`frame` for QPainter. Of a planar one, which comes while the engine has not heard that it is to scale, its brightness."""
        frame = self.frame
        if frame is None:
            return None
        how = QImage.Format.Format_Grayscale8 if self.planar else QImage.Format.Format_RGB32
        return QImage(frame.data, frame.width, frame.height, frame.stride, how)

    def expect(self, on: bool, now: float) -> None:
        """Whether pictures are to come. Switched off, nothing of what was seen is shown again."""
        if not on:
            self._frame, self._kept, self._since = None, None, None
        elif self._since is None:
            self._since = now

    def waited_s(self, now: float) -> float:
        """How long a picture has been expected that does not come."""
        if self._since is None or self.live:
            return 0.0
        return now - self._since

    def close(self) -> None:
        self._kept = None
        self._close()
        self.ring = ""

    def _open(self, now: float) -> bool:
        if not self.ring or now < self._open_at:
            return False
        try:
            self._reader = RingReader(self.ring)
        except RingError as error:
            # The engine may have replaced it already: the new name comes with the next state.
            self._open_at = now + OPEN_AGAIN_S
            log.debug("the ring of %s cannot be opened: %s", self.track, error)
            return False
        self._rings += 1
        return True

    def _keep(self, now: float) -> None:
        frame = self._frame
        if frame is not None:
            rows = frame.height + (frame.height + 1) // 2 if self.planar else frame.height
            self._kept, self._kept_until = replace(frame, data=memoryview(bytes(frame.data[: frame.stride * rows]))), now + KEEP_S
        elif self._kept is not None:
            self._kept_until = min(self._kept_until, now + KEEP_S)

    def _expire(self, now: float) -> bool:
        if now < self._kept_until:
            return False
        self._kept = None
        return True

    def _close(self) -> None:
        self._frame = None
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    # ---- counting
    def shown(self) -> None:
        """The held picture has just been painted; the same one again does not count."""
        frame = self._frame
        if frame is None or self._number == self.version:
            return
        self._number = self.version
        self.painted += 1
        self._times.append((monotonic(), (monotonic_ns() - frame.written_ns) / 1e6))

    def painted_fps(self, now: float) -> float:
        """Distinct pictures painted a second over the last `WINDOW_S`, or since the first one where that is less."""
        recent = [at for at, _ in self._times if now - at <= WINDOW_S]
        if len(recent) < 2:
            return 0.0
        if self.painted > len(recent):
            return len(recent) / WINDOW_S
        return (len(recent) - 1) / max(0.001, now - recent[0])

    def ages_ms(self, now: float) -> dict[str, float]:
        """Age of the pictures when they were painted: from the ring to the screen."""
        ages = sorted(age for at, age in self._times if now - at <= WINDOW_S)
        return {f"p{share}": round(_of(ages, share / 100), 1) for share in (50, 95, 99)}


def _of(values: Sequence[float], share: float) -> float:
    """The value below which this share of sorted `values` lies; 0 when there are none."""
    return values[min(len(values) - 1, int(len(values) * share))] if values else 0.0


class Pictures:
    """Those of all tracks that are shown."""

    def __init__(self) -> None:
        self._by_track: dict[str, Picture] = {}

    def follow(self, rings: Mapping[str, str], now: float) -> set[str]:
        """Exactly these tracks are shown, with these rings ("" when there is none yet). Answers whose picture changes by it."""
        for track in [held for held in self._by_track if held not in rings]:
            self._by_track.pop(track).close()
        changed = set()
        for track, ring in rings.items():
            picture = self._by_track.get(track)
            if picture is None:
                picture = self._by_track[track] = Picture(track)
            if picture.follow(ring, now):
                changed.add(track)
        return changed

    def take(self, now: float) -> set[str]:
        """Hold the newest of each; whose is new."""
        return {track for track, picture in self._by_track.items() if picture.take(now)}

    def get(self, track: str | None) -> Picture | None:
        return self._by_track.get(track) if track is not None else None

    @property
    def flowing(self) -> bool:
        return any(picture.flowing for picture in self._by_track.values())

    def close(self) -> None:
        """Give all shared memory back. Harmless twice."""
        for picture in self._by_track.values():
            picture.close()
        self._by_track.clear()
