"""How much later than usual a video frame may come: what showing it in time must allow for.

Pure; one thread an object. After libwebrtc's modules/video_coding/timing/jitter_estimator.cc and
frame_delay_variation_kalman_filter.cc. A frame's delay against the one before is modelled as a line over its size (a large frame
takes longer on a thin path) plus noise; the estimate is the line at the largest frame plus 2.33 standard deviations of the noise
beyond 30 ms. What repairs take is not in it (`render_time`). Milliseconds and bytes inside, seconds at the face.
"""

from __future__ import annotations

import math

STARTUP_FRAMES = 30
STARTUP_SIZES = 5
SIZE_FORGETS, LARGEST_FORGETS = 0.97, 0.9999
DELAY_SIGMAS = 3.5
"""A frame's delay counts for at most so many."""
OUTLIER_DELAY_SIGMAS, OUTLIER_SIZE_SIGMAS = 15.0, 3.0
CONGESTED = -0.25
"""A frame smaller than the one before by this part of the largest came in that one's wake: it says nothing of the path."""
MAX_MEMORY = 400
NOISE_SIGMAS, NOISE_OFFSET_MS = 2.33, 30.0
LEAST_FPS, FULL_FPS = 5.0, 10.0
"""Pictures as rare as the first need no smoothing; in between it fades."""
MAX_S = 2.0


class _Line:
    """Kalman filter of (delay a byte, constant delay)."""

    __slots__ = ("_c00", "_c01", "_c10", "_c11", "offset_ms", "slope")

    def __init__(self) -> None:
        self.slope, self.offset_ms = 1 / 64_000, 0.0
        self._c00, self._c01, self._c10, self._c11 = 1e-4, 0.0, 0.0, 1e2

    def at(self, size_step: float) -> float:
        return self.slope * size_step + self.offset_ms

    def update(self, delay_ms: float, size_step: float, largest: float, noise_variance: float) -> None:
        self._c00 += 2.5e-10
        self._c11 += 1e-10
        surprise = delay_ms - self.at(size_step)
        h0 = self._c00 * size_step + self._c01
        h1 = self._c10 * size_step + self._c11
        spread = max(1.0, (300.0 * math.exp(-abs(size_step) / largest) + 1) * math.sqrt(noise_variance))
        total = size_step * h0 + h1 + spread
        if abs(total) < 1e-9:
            return
        g0, g1 = h0 / total, h1 / total
        self.slope = max(1e-6, self.slope + g0 * surprise)
        self.offset_ms += g1 * surprise
        c00, c01 = self._c00, self._c01
        self._c00 = (1 - g0 * size_step) * c00 - g0 * self._c10
        self._c01 = (1 - g0 * size_step) * c01 - g0 * self._c11
        self._c10 = self._c10 * (1 - g1) - g1 * size_step * c00
        self._c11 = self._c11 * (1 - g1) - g1 * size_step * c01


class FrameJitter:
    """`note` each frame that came without repair."""

    __slots__ = (
        "_average", "_frames", "_interval_s", "_largest", "_last_at", "_last_size", "_line", "_memory", "_noise_ms", "_noise_variance",
        "_size_sum", "_size_variance", "_sizes",
    )  # fmt: skip

    def __init__(self) -> None:
        self._line = _Line()
        self._average = self._largest = 500.0
        self._size_variance = 100.0
        self._sizes, self._size_sum = 0, 0.0
        self._last_size: int | None = None
        self._noise_ms, self._noise_variance = 0.0, 4.0
        self._memory = 1
        self._frames = 0
        self._interval_s = 0.0
        """Mean time between frames; 0 until it is known."""
        self._last_at: float | None = None

    def note(self, variation_s: float, size: int, at: float) -> None:
        """A frame of `size` bytes, complete at `at` (monotonic seconds), `variation_s` later against the frame before than their
        timestamps say."""
        if size <= 0:
            return
        if self._last_at is not None:
            step_s = min(2.0, max(0.0, at - self._last_at))
            self._interval_s = step_s if not self._interval_s else self._interval_s + (step_s - self._interval_s) / STARTUP_FRAMES
        self._last_at = at
        size_step = size - (self._last_size or 0)
        self._note_size(size)
        first, self._last_size = self._last_size is None, size
        if first:
            return
        sigma = math.sqrt(self._noise_variance)
        limit = DELAY_SIGMAS * sigma + 0.5
        delay_ms = max(-limit, min(limit, 1000 * variation_s))
        deviation = delay_ms - self._line.at(size_step)
        large = size > self._average + OUTLIER_SIZE_SIGMAS * math.sqrt(self._size_variance)
        if abs(deviation) < OUTLIER_DELAY_SIGMAS * sigma or large:
            self._note_noise(deviation)
            if size_step > CONGESTED * self._largest:
                self._line.update(delay_ms, size_step, self._largest, self._noise_variance)
        else:
            self._note_noise(math.copysign(OUTLIER_DELAY_SIGMAS, deviation) * sigma)
        self._frames += 1

    def _note_size(self, size: int) -> None:
        if self._sizes < STARTUP_SIZES:
            self._size_sum += size
            self._sizes += 1
        elif self._sizes == STARTUP_SIZES:
            self._average = self._size_sum / self._sizes
            self._sizes += 1
        average = SIZE_FORGETS * self._average + (1 - SIZE_FORGETS) * size
        if size < self._average + 2 * math.sqrt(self._size_variance):
            self._average = average         # no keyframe
        self._size_variance = max(1.0, SIZE_FORGETS * self._size_variance + (1 - SIZE_FORGETS) * (size - average) ** 2)
        self._largest = max(LARGEST_FORGETS * self._largest, float(size))

    def _note_noise(self, deviation: float) -> None:
        keep = (self._memory - 1) / self._memory
        self._memory = min(MAX_MEMORY, self._memory + 1)
        if keep > 0 and self._interval_s > 0:
            scale = min(30.0, 30.0 * self._interval_s)     # rare frames count for more
            if self._memory < STARTUP_FRAMES:
                scale = (self._memory * scale + STARTUP_FRAMES - self._memory) / STARTUP_FRAMES
            keep **= scale
        away = deviation - self._noise_ms
        self._noise_ms = keep * self._noise_ms + (1 - keep) * deviation
        self._noise_variance = max(1.0, keep * self._noise_variance + (1 - keep) * away * away)

    def estimate_s(self) -> float:
        """Seconds to hold frames back so that nearly all are there in time."""
        if self._frames < STARTUP_FRAMES:
            return 0.0
        noise_ms = max(1.0, NOISE_SIGMAS * math.sqrt(self._noise_variance) - NOISE_OFFSET_MS)
        estimate_s = (max(0.0, self._line.slope * (self._largest - self._average)) + noise_ms) / 1000
        fps = 1 / self._interval_s if self._interval_s > 0 else FULL_FPS
        if fps < FULL_FPS:
            estimate_s *= max(0.0, (fps - LEAST_FPS) / (FULL_FPS - LEAST_FPS))
        return min(MAX_S, estimate_s)
