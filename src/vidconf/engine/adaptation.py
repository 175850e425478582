"""How large, and how often, a source is to be encoded: as the rate allows (quality) and as the machine allows (overuse). Pure; `now`
is an argument (monotonic seconds); one thread an object.

After libwebrtc's quality_scaler.cc, overuse_frame_detector.cc and video_stream_adapter.cc: a camera gives up size before frame rate,
a screen frame rate and never size, because what cannot be read need not come smoothly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

QUANTIZERS: dict[str, tuple[int, int]] = {"vp8": (29, 95), "vp9": (149, 205), "h264": (24, 37)}
"""Finer than the first there is room for a larger picture, coarser than the second it is too large; on each codec's own scale."""
WINDOW_S, LATER_WINDOW_S = 2.0, 5.0
"""Pictures are judged together for so long; longer once something has been given up."""
FEWEST = 10
"""Pictures without which a window tells nothing."""
LEFT_OUT_SHARE = 0.6
"""So many left out by the encoder say that the picture is too large, whatever the others look like."""

TOO_BUSY, IDLE = 0.85, 0.42
"""Time spent on a picture over the time between two of them."""
CHECK_S, CHECKS = 5.0, 2
"""How often that is looked at, and how often in a row it must be too much."""
LOAD_S = 3.0
"""Of pictures the load is the mean of."""
LEAST_INTERVAL_S = 1e-4
"""What comes closer together came at once, and says nothing of the time there is."""
LONGEST_INTERVAL_S = 1 / 7
"""A source that shows little may not take all the time there is for each picture."""

STEP = 3 / 5
"""Of the pixels, at most, that are left by a step down."""
FPS_STEP = 2 / 3
MIN_PIXELS = 320 * 180
MIN_CAMERA_FPS, MIN_SCREEN_FPS, MIN_BUSY_SCREEN_FPS = 10.0, 5.0, 2.0

QUALITY_WAIT_S, OVERUSE_WAIT_S, LONGEST_WAIT_S = 5.0, 10.0, 240.0
"""Before something given up is tried again; twice as long each time it had to be given up again soon."""
SOON_S = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What the encoders may be given: pictures of at most `max_pixels` (width × height), at most `max_fps` of them a second;
    `hurry`: the encoder is to look for less."""

    max_pixels: int
    max_fps: float
    hurry: bool = False

    def within(self, other: Limits) -> Limits:
        """What both allow."""
        return Limits(min(self.max_pixels, other.max_pixels), min(self.max_fps, other.max_fps), self.hurry or other.hurry)


def quality_steps(pixels: int, fps: float, *, screen: bool) -> Sequence[Limits]:
    """What is given up for the sake of quality, step by step; the first is nothing."""
    if screen:
        return [Limits(pixels, rate) for rate in _falling(fps, FPS_STEP, MIN_SCREEN_FPS)]
    return [Limits(int(size), fps) for size in _falling(pixels, STEP, MIN_PIXELS)]


def overuse_steps(pixels: int, fps: float, *, screen: bool) -> Sequence[Limits]:
    """What is given up for the sake of the machine. At first only care: measured, the fast way costs a tenth of a decibel."""
    if screen:
        return [Limits(pixels, fps), *[Limits(pixels, rate, True) for rate in _falling(fps, FPS_STEP, MIN_BUSY_SCREEN_FPS)]]
    smaller = [Limits(int(size), fps, True) for size in _falling(pixels, STEP, MIN_PIXELS)]
    slower = [Limits(smaller[-1].max_pixels, rate, True) for rate in _falling(fps, FPS_STEP, MIN_CAMERA_FPS)[1:]]
    return [Limits(pixels, fps), *smaller, *slower]


def _falling(value: float, factor: float, least: float) -> list[float]:
    """`value`, and what is left of it step by step, none below `least` (but `value` itself)."""
    found = [value]
    while found[-1] * factor >= least:
        found.append(found[-1] * factor)
    return found


class QualityScaler:
    """Looks at the quantisers of a window of pictures."""

    def __init__(self, codec: str) -> None:
        """`codec` as in QUANTIZERS. One that is not there is never judged."""
        self._finer, self._coarser = QUANTIZERS.get(codec, (-1, 1 << 16))
        self.window_s = WINDOW_S
        self.reset()

    def reset(self) -> None:
        self._began: float | None = None
        self._sum = self._encoded = self._left_out = 0

    def picture(self, now: float, quantizer: int | None) -> None:
        """One was encoded with this quantiser; None: the encoder left it out."""
        if self._began is None:
            self._began = now
        if quantizer is None:
            self._left_out += 1
        else:
            self._encoded += 1
            self._sum += quantizer

    def verdict(self, now: float) -> int:
        """-1: too coarse, +1: there is room, 0: neither, or not known yet. Begins a new window with each that is known."""
        count = self._encoded + self._left_out
        if self._began is None or now - self._began < self.window_s or count < FEWEST:
            return 0
        mean = self._sum / self._encoded if self._encoded else math.inf
        crowded = self._left_out >= LEFT_OUT_SHARE * count
        self.reset()
        if crowded or mean > self._coarser:
            return -1
        return 1 if mean <= self._finer else 0


class OveruseDetector:
    """Looks at how much of the time between two pictures is spent on one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.load = (TOO_BUSY + IDLE) / 2
        """Smoothed; 1 is all the time there is."""
        self._last: float | None = None
        self._check_at = -math.inf
        self._busy = 0

    def picture(self, now: float, spent_s: float) -> None:
        """`spent_s` on the picture that ends now, all its layers."""
        if self._last is None:
            self._last, self._check_at = now, now + CHECK_S
            return
        passed, self._last = now - self._last, now
        if passed > LEAST_INTERVAL_S:
            weight = 1 - math.exp(-passed / LOAD_S)
            self.load += weight * (spent_s / min(passed, LONGEST_INTERVAL_S) - self.load)

    def verdict(self, now: float) -> int:
        """-1: too busy, +1: idle, 0: neither, or it is not time to look yet."""
        if self._last is None or now < self._check_at:
            return 0
        self._check_at = now + CHECK_S
        self._busy = self._busy + 1 if self.load > TOO_BUSY else 0
        if self._busy >= CHECKS:
            self._busy = 0
            return -1
        return 1 if self.load < IDLE else 0


class Steps:
    """Where one is on the way down, and when it may be tried to go up again."""

    def __init__(self, wait_s: float) -> None:
        self.level = 0
        self._first_wait_s = self._wait_s = wait_s
        self._moved_at = -math.inf
        self._went_up = False

    def follow(self, verdict: int, last: int, now: float) -> bool:
        """One step as the verdict says, `last` being the lowest; whether it was taken."""
        self.level = min(self.level, last)
        if verdict < 0 and self.level < last:
            if self._went_up and now - self._moved_at < SOON_S:
                self._wait_s = min(LONGEST_WAIT_S, 2 * self._wait_s)
            elif now - self._moved_at > self._wait_s + SOON_S:
                self._wait_s = self._first_wait_s
            self.level += 1
            self._moved_at, self._went_up = now, False
            return True
        if verdict > 0 and self.level and now - self._moved_at >= self._wait_s:
            self.level -= 1
            self._moved_at, self._went_up = now, True
            return True
        return False

    def forget(self) -> None:
        """Nothing is given up any more."""
        self.level, self._wait_s, self._went_up = 0, self._first_wait_s, False


class Adaptation:
    """Both, for one source. Say what became of each picture, and ask `decide` before the next."""

    def __init__(self, codec: str, *, screen: bool = False) -> None:
        self.screen = screen
        self._quality, self._overuse = QualityScaler(codec), OveruseDetector()
        self._coarse, self._busy = Steps(QUALITY_WAIT_S), Steps(OVERUSE_WAIT_S)

    def picture(self, now: float, spent_s: float, quantizer: int | None, *, left_out: bool = False) -> None:
        """A picture is done: `spent_s` on all its layers, `quantizer` of the largest (None: the encoder does not tell);
        `left_out`: the encoder made nothing of it."""
        self._overuse.picture(now, spent_s)
        if left_out or quantizer is not None:
            self._quality.picture(now, None if left_out else quantizer)

    def decide(self, now: float, pixels: int, fps: float, *, alone: bool = True) -> Limits:
        """What of a source of so many pixels (width × height) and pictures a second is to be encoded. `alone`: in one layer;
        where there are several, quality is had by sending fewer of them (`allocation`)."""
        coarse = quality_steps(pixels, fps, screen=self.screen)
        busy = overuse_steps(pixels, fps, screen=self.screen)
        if not alone:
            self._coarse.forget()
            self._quality.reset()
        moved = self._coarse.follow(self._quality.verdict(now), len(coarse) - 1, now)
        moved = self._busy.follow(self._overuse.verdict(now), len(busy) - 1, now) or moved
        if moved:
            # what was measured before is of another size
            self._quality.reset()
            self._overuse.reset()
            self._quality.window_s = LATER_WINDOW_S if self._coarse.level else WINDOW_S
        return coarse[self._coarse.level].within(busy[self._busy.level])
