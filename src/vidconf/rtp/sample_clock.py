"""A sound device's clock held against ours: when its sample number n was made, though we are told late and unevenly.

Pure; `at` in monotonic seconds; one thread an object. A device counts its samples exactly, but at a rate of its own (100 ppm off is
usual), and a thread that reads it is woken when there is time: it may learn of a sample late, never early. So of what was told in
the last second the earliest counts (as NetEQ's and RFC 6051's base delay do), and the answer slides to it, faster than any clock
drifts and too slowly to be heard.
"""

from __future__ import annotations

from collections import deque

WINDOW_S = 1.0
SLIDE = 0.0005
"""Seconds a second: several times the drift of a bad crystal."""
JUMP_S = 0.06
"""What is further off, for a whole window, is no drift: samples were lost, or the device stood still."""


class SampleClock:
    """`note` what has come by when; `time_of` and `count_at` then answer on one straight, slowly turning line."""

    def __init__(self, rate_hz: int, *, window_s: float = WINDOW_S, jump_s: float = JUMP_S) -> None:
        self.rate_hz = rate_hz
        self._window_s, self._jump_s = window_s, jump_s
        self.jumped_s = 0.0
        """By how much the last `note` moved the line at once: above 0 samples were lost, below 0 what was told first came late."""
        self._offset: float | None = None
        self._since = self._last = 0.0
        self._earliest: deque[tuple[float, float]] = deque()
        """(when told, offset), offsets ascending: the first is the least of the window."""

    def note(self, count: int, at: float) -> None:
        """All samples before number `count` had come by `at`. Counts ascend."""
        offset = at - count / self.rate_hz
        while self._earliest and self._earliest[-1][1] >= offset:
            self._earliest.pop()
        self._earliest.append((at, offset))
        while self._earliest[0][0] < at - self._window_s:
            self._earliest.popleft()
        least = self._earliest[0][1]
        self.jumped_s = 0.0
        if self._offset is None:
            self._offset, self._since = least, at
        else:
            away = least - self._offset
            if away < 0 and at - self._since < self._window_s:
                self._offset = least            # the beginning: nothing has been built on it yet
            elif abs(away) > self._jump_s:
                self._offset, self.jumped_s = least, away
            else:
                room = SLIDE * max(0.0, at - self._last)
                self._offset += max(-room, min(room, away))
        self._last = at

    @property
    def running(self) -> bool:
        """Whether anything was told."""
        return self._offset is not None

    def time_of(self, count: float) -> float:
        """When sample `count` was made, seconds. Only after `note`."""
        assert self._offset is not None
        return self._offset + count / self.rate_hz

    def count_at(self, at: float) -> float:
        """Which sample was made at `at`, fractions included. Only after `note`."""
        assert self._offset is not None
        return (at - self._offset) * self.rate_hz
