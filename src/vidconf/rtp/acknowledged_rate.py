"""How much arrives at the far end, and whether the application sends as much as it may. Pure; one thread an object.

Times in monotonic seconds, rates in bits a second. After libwebrtc's bitrate_estimator.cc and alr_detector.cc
(modules/congestion_controller/goog_cc).
"""

from __future__ import annotations

from collections import deque

FIRST_WINDOW_S, WINDOW_S = 0.5, 0.15
SCALE, SCALE_WHEN_IDLE = 10.0, 20.0
"""How much a sample that differs is doubted; more when it is lower because little was sent."""
RECENT_S, LEAST_RECENT_S = 0.2, 0.1
DRIFT = 5.0
"""What the estimate may have moved between two samples, (kb/s)²."""

USED = 0.65
"""Less of the target than this, for half a second, and the application is what limits."""
BUDGET_S = 0.5
BEGINS, ENDS = 0.8, 0.5
"""Parts of the budget left."""


class AcknowledgedRate:
    """Bits a second that arrive, from samples of 150 ms joined by how far each can be believed."""

    __slots__ = ("_at", "_estimate", "_octets", "_recent", "_recent_octets", "_variance", "_window_s")

    def __init__(self) -> None:
        self._at: float | None = None
        self._window_s = 0.0
        self._octets = 0
        self._estimate: float | None = None
        self._variance = 50.0
        self._recent: deque[tuple[float, int]] = deque()
        self._recent_octets = 0

    @property
    def bps(self) -> int | None:
        """None for the first half second."""
        return None if self._estimate is None else int(1000 * self._estimate)

    @property
    def recent_bps(self) -> int | None:
        """What arrived in the last fifth of a second alone: unsteady, but while a queue is filling it is what the way carries,
        and `bps` may not have caught up with a target that has just been raised. None where so little came that it says nothing."""
        if len(self._recent) < 2:
            return None
        span_s = self._recent[-1][0] - self._recent[0][0]
        return int(8 * (self._recent_octets - self._recent[0][1]) / span_s) if span_s >= LEAST_RECENT_S else None

    def add(self, size: int, arrived: float, *, idle: bool = False) -> None:
        """Octets that arrived (the far end's clock). `idle`: the application limits what is sent."""
        window_s = FIRST_WINDOW_S if self._estimate is None else WINDOW_S
        sample: float | None = None
        if self._at is not None and arrived >= self._at:
            gap = arrived - self._at
            self._window_s += gap
            if gap > window_s:
                self._octets, self._window_s = 0, self._window_s % window_s
            if self._window_s >= window_s:
                sample = 8 * self._octets / window_s / 1000
                self._window_s -= window_s
                self._octets = 0
        elif self._at is not None:
            self._octets, self._window_s = 0, 0.0
        self._at = arrived
        self._octets += size
        self._note(size, arrived)
        if sample is not None:
            self._take(sample, idle)

    def _note(self, size: int, arrived: float) -> None:
        recent = self._recent
        if recent and arrived < recent[-1][0]:
            recent.clear()
            self._recent_octets = 0
        recent.append((arrived, size))
        self._recent_octets += size
        while arrived - recent[0][0] > RECENT_S:
            self._recent_octets -= recent.popleft()[1]

    def _take(self, sample: float, idle: bool) -> None:
        if self._estimate is None:
            self._estimate = sample
            return
        scale = SCALE_WHEN_IDLE if idle and sample < self._estimate else SCALE
        doubt = (scale * abs(self._estimate - sample) / max(self._estimate, 1.0)) ** 2
        variance = self._variance + DRIFT
        self._estimate = max(0.0, (doubt * self._estimate + variance * sample) / (doubt + variance))
        self._variance = doubt * variance / (doubt + variance)


class ApplicationLimited:
    """Whether much less than the target is being sent: then arrivals prove little. `sent` everything that counts."""

    __slots__ = ("_at", "_left", "_target_bps", "limited")

    def __init__(self, target_bps: float) -> None:
        self._target_bps = target_bps
        self._left = 0.0
        """Octets of USED of the target that were not used, at most those of BUDGET_S either way."""
        self._at: float | None = None
        self.limited = False

    def target(self, target_bps: float) -> None:
        self._target_bps = target_bps

    def sent(self, size: int, now: float) -> None:
        self.look(now)
        self._left -= size
        self._judge()

    def look(self, now: float) -> bool:
        """The verdict now, whether or not anything is sent."""
        if self._at is not None and now > self._at:
            self._left += USED * self._target_bps / 8 * (now - self._at)
        self._at = now if self._at is None else max(self._at, now)
        self._judge()
        return self.limited

    def _judge(self) -> None:
        most = USED * self._target_bps / 8 * BUDGET_S
        self._left = max(-most, min(self._left, most))
        if self._left > BEGINS * most:
            self.limited = True
        elif self._left < ENDS * most:
            self.limited = False
