"""The newest picture of each track on the stage, borrowed from its shared-memory ring, and how well they are painted.

The window's thread. `follow` opens and closes readers as rings come, are replaced and go; a ring that is not there (yet, or any
more) is tried again. Between two rings, and for a while after one has gone, a copy of the last picture stands in.
Whoever paints (`raster`) asks for `Picture.image` and says `Picture.shown`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from time import monotonic, monotonic_ns

from PySide6.QtGui import QImage

from vidconf.engine.frame_ring import BGRX, Frame, RingError, RingReader

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
        self._kept: QImage | None = None
        self._kept_until = 0.0
        self._open_at = 0.0
        self._since: float | None = None
        self.painted = 0
        """Distinct pictures painted."""
        self._number = (0, 0)
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
        self._frame = frame if frame.format & 0xFF == BGRX and min(frame.width, frame.height) > 0 else None
        if self._frame is not None:
            self._kept, self._since = None, now
        return True

    @property
    def live(self) -> bool:
        """There is a picture to paint, be it the kept one."""
        return self._frame is not None or self._kept is not None

    @property
    def flowing(self) -> bool:
        """Pictures may come, or the kept one may run out: worth looking again soon."""
        return bool(self.ring) or self._kept is not None

    def image(self) -> QImage | None:
        """The picture to paint, valid until the next `take`: it lies in shared memory, without a copy of it."""
        frame = self._frame
        if frame is not None:
            return QImage(frame.data, frame.width, frame.height, frame.stride, QImage.Format.Format_RGB32)
        return self._kept

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
        if self._frame is not None:
            image = self.image()
            self._kept, self._kept_until = (image.copy() if image is not None else None), now + KEEP_S
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
        if frame is None or self._number == (self._rings, frame.number):
            return
        self._number = (self._rings, frame.number)
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
        if not ages:
            return {"p50": 0.0, "p95": 0.0}
        return {"p50": round(ages[len(ages) // 2], 1), "p95": round(ages[min(len(ages) - 1, int(len(ages) * 0.95))], 1)}


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
