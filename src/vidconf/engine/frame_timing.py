"""What a viewer felt: frames per second, freezes, age of the pictures. Pure; one thread at a time (a decoder's), `now` given."""

from __future__ import annotations

from collections import deque
from typing import Any

WINDOW = 60
"""Gaps that make the mean a freeze is measured against."""
FPS_WINDOW_S = 2.0
MAX_AGES = 4000
"""Latest ages kept for the percentiles: two minutes at 30 fps."""


class FrameTiming:
    """A freeze is a gap of more than max(3 × mean, mean + 150 ms) between two shown pictures. A pause (muted, hidden) is none."""

    def __init__(self) -> None:
        self.frames = self.freezes = 0
        self.freeze_s = 0.0
        self.first_at: float | None = None
        self._last: float | None = None
        self._gaps: deque[float] = deque(maxlen=WINDOW)
        self._recent: deque[float] = deque(maxlen=300)
        self._ages: deque[float] = deque(maxlen=MAX_AGES)
        self._watched_s = 0.0

    def shown(self, now: float, age_ms: float | None = None) -> None:
        """One picture, decoded at `now`; `age_ms` where it carries a stamp."""
        self.frames += 1
        if self.first_at is None:
            self.first_at = now
        if self._last is not None:
            gap = now - self._last
            self._watched_s += gap
            if len(self._gaps) >= 5:
                mean = sum(self._gaps) / len(self._gaps)
                if gap > max(3 * mean, mean + 0.15):
                    self.freezes += 1
                    self.freeze_s += gap
            self._gaps.append(gap)
        self._last = now
        self._recent.append(now)
        if age_ms is not None:
            self._ages.append(age_ms)

    def pause(self) -> None:
        """Pictures stop on purpose: the gap that follows says nothing."""
        self._last = None
        self._gaps.clear()
        self._recent.clear()

    def fps(self, now: float) -> float:
        """Of the last two seconds."""
        while self._recent and now - self._recent[0] > FPS_WINDOW_S:
            self._recent.popleft()
        if len(self._recent) < 2:
            return 0.0
        return (len(self._recent) - 1) / max(0.001, max(self._recent[-1] - self._recent[0], now - self._recent[0] - 0.2))

    def mean_fps(self) -> float:
        """Over all the time pictures were to be seen."""
        return (self.frames - 1) / self._watched_s if self._watched_s > 0 else 0.0

    def report(self) -> dict[str, Any]:
        """The fields of `bot --json`."""
        values: dict[str, Any] = {
            "frames": self.frames, "fps": round(self.mean_fps(), 2), "freezes": self.freezes, "freeze_s": round(self.freeze_s, 3),
        }
        ages = sorted(self._ages.copy())
        if ages:
            values["latency_ms"] = {"p50": round(ages[len(ages) // 2], 1), "p95": round(ages[min(len(ages) - 1, int(len(ages) * 0.95))], 1)}
        return values
