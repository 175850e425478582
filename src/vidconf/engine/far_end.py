"""What the loudspeaker was given, kept for the echo canceller: the far end, laid on the microphone's clock.

`played` on the loudspeaker's thread, `take` on the microphone's; each locks for microseconds. The two devices count by crystals of
their own and start and stop on their own. AEC3 (libwebrtc's, `engine.voice`) is given a block of each at a time and finds a fixed
delay between them by itself, so what it needs is one that stays: the far end is read at the microphone's pace, by interpolation
between samples, and follows the drift of the two clocks as slowly as it goes on.
"""

from __future__ import annotations

import functools
import threading
from types import ModuleType
from typing import Any

from vidconf.rtp.sample_clock import SampleClock

np: ModuleType | None
try:
    import numpy as np
except ImportError:     # an installation without it has no echo canceller either
    np = None

RATE_HZ = 48_000
KEPT = 2 * RATE_HZ
AHEAD_S = 0.03
"""So much earlier than it was written the far end is read: what a late writer may be late by. The card itself holds what it plays
for longer, so the echo still comes after it."""
SILENT_S = 0.5
"""Nothing written for so long: nothing is played."""
GAP_S, SURE_S = 0.008, 0.5
"""Of what comes later by so much, and for so long, no thread was late: the card had nothing to play for a moment."""
FILLS_S = 0.25
"""In the beginning a card takes more than it plays, until its buffer is full: what it takes then says nothing of its clock."""
SETTLES_S, SETTLES_FIRST_S = 4.0, 0.25
"""Time constant with which reading follows the clocks, after a while and in the beginning."""
FASTEST = 500e-6
SLIP = 288
"""Samples by which reading may be off before it jumps: after a gap the echo then is where AEC3 had found it before."""
TAPS = 32


class FarEnd:
    """`take` answers as many samples as it is asked for, silence where nothing was played."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray(2 * KEPT)
        self._written = 0
        self._clock = self._new_clock()
        self._begun = 0
        """Sample with which the present clock began: before it another device, or a pause."""
        self._last_at = -SILENT_S
        self._position: float | None = None
        self._since = self._full_at = 0.0
        self.gaps = self.restarts = self.late = 0
        """How often the card had nothing to play; how often reading jumped, and how many samples had not been written in time."""

    def played(self, pcm: bytes, at: float) -> None:
        """48 kHz mono s16 that the card took at `at` (monotonic seconds)."""
        with self._lock:
            if at - self._last_at > SILENT_S:
                self._clock, self._begun, self._full_at = self._new_clock(), self._written, at + FILLS_S
            self._last_at = at
            pcm = pcm[-2 * KEPT :]
            begin = 2 * (self._written % KEPT)
            first = min(len(pcm), 2 * KEPT - begin)
            self._kept[begin : begin + first] = pcm[:first]
            self._kept[: len(pcm) - first] = pcm[first:]
            self._written += len(pcm) // 2
            if at >= self._full_at:
                self._clock.note(self._written - self._begun, at)
                self.gaps += self._clock.jumped_s > 0

    @staticmethod
    def _new_clock() -> SampleClock:
        return SampleClock(RATE_HZ, window_s=SURE_S, jump_s=GAP_S)

    def take(self, at: float, samples: int) -> Any:
        """What was written AHEAD_S before the microphone's block that began at `at`: int16 in numpy's array. Needs numpy."""
        assert np is not None
        with self._lock:
            wanted = self._wanted(at)
            if wanted is None:
                self._position = None
                return np.zeros(samples, np.int16)
            if self._position is None or abs(wanted - self._position) > SLIP:
                self._position, self._since = wanted, at
                self.restarts += 1
            settles_s = max(SETTLES_FIRST_S, min(SETTLES_S, (at - self._since) / 2))
            away = (wanted - self._position) / (settles_s * RATE_HZ)
            pace = 1.0 + max(-FASTEST, min(FASTEST, away))
            begin, self._position = self._position, self._position + samples * pace
            first = int(begin // 1)
            raw = self._read(first - TAPS // 2 + 1, samples + TAPS - 1)
            self.late += max(0, min(samples, first + samples - self._written))
        return _between(raw, begin - first, self._position - first - samples)

    def _wanted(self, at: float) -> float | None:
        """The sample to read for the microphone's `at`; None: nothing is played."""
        if at - self._last_at > SILENT_S:
            return None
        if not self._clock.running:
            return self._position       # as before, till the clock is known again
        return self._begun + self._clock.count_at(at - AHEAD_S)

    def _read(self, first: int, count: int) -> Any:
        """Samples `first` … as float32; silence where nothing is (yet, any more)."""
        assert np is not None
        got = np.zeros(count, np.float32)
        low, high = max(first, self._written - KEPT, 0), min(first + count, self._written)
        if low < high:
            ring = np.frombuffer(self._kept, np.int16)
            got[low - first : high - first] = ring[np.arange(low, high) % KEPT]
        return got


@functools.lru_cache(4)
def _grid(count: int) -> Any:
    assert np is not None
    return np.linspace(0, 1, count, endpoint=False, dtype=np.float32)


def _taps(fraction: float) -> Any:
    """A sample `fraction` behind the middle one: sinc under a Kaiser window."""
    assert np is not None
    x = np.arange(TAPS, dtype=np.float32) - (TAPS // 2 - 1) - np.float32(fraction)
    window = np.i0(7.0 * np.sqrt(np.maximum(0.0, 1 - (x / (TAPS / 2)) ** 2))) / np.i0(7.0)
    taps = np.sinc(x) * window
    return (taps / taps.sum()).astype(np.float32)


def _between(raw: Any, first: float, last: float) -> Any:
    """`raw` read `first` of a sample behind its grid at the beginning and `last` at the end: the two differ by very little."""
    assert np is not None
    begin = np.convolve(raw, _taps(first)[::-1], "valid")
    end = np.convolve(raw, _taps(last)[::-1], "valid")
    mixed = begin + (end - begin) * _grid(len(begin))
    return np.clip(np.rint(mixed), -32768, 32767).astype(np.int16)
