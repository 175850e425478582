"""When a whole video frame goes to its decoder, so that pictures move evenly and with the sound.

Pure; one thread an object. After libwebrtc's modules/video_coding/timing/timing.cc: a frame is due when frames of its timestamp
usually come, plus a delay that follows what the path needs (`frame_jitter`). What is ours: nothing is held back on a path that
needs less than the next refresh of a screen hides, nor for longer than nearly all frames of the last seconds needed (a machine that
stalled once makes a large variance, and no reason to wait); the time frames usually come is a mean over the last seconds and not
over the whole stream, so that a path which gets shorter is not waited for; where packets are lost no whole round trip is added, only
as much as keeps a repair from being seen as a freeze; and what waits, waits encoded.
"""

from __future__ import annotations

from collections import deque

from vidconf.rtp.frame_jitter import FrameJitter
from vidconf.rtp.statistics import timestamp_unwrapper

CLOCK_HZ = 90_000
QUIET_S = 0.006
"""Less jitter than this is not smoothed."""
SYSTEM_JITTER_S = 0.01
"""Of our own machine, on top of the network's, where frames are held back."""
CHANGE = 0.1
"""Seconds a second that the delay may move: seen as slightly slower or faster movement, not as a jump."""
FREEZE_S = 0.15
"""A picture so much later than usual is seen as a freeze (`engine.frame_timing`)."""
REPAIRS, REPAIRS_COUNT_S = 3, 60.0
"""So many frames repaired in that time make a way that loses."""
REPAIR_TRIPS, REPAIR_S = 2.5, 0.03
"""What the answer to a third question takes (`nack`): round trips, and what is lost in between."""
LATEST_S = 20.0
"""The latest repair is looked for in the last one to two of these."""
MAX_REPAIR_HOLD_S = 0.2
MEMORY_FRAMES = 64
MAX_LATE_S = 0.05
"""So much of a late frame counts for the mean: what is later was held up, and says little of the way."""
IN_WAKE = 0.3
"""A frame that follows the one before in less than this part of the time between them was held up with it."""
SEEN_FRAMES, MOST, EVERY = 300, 0.97, 10
"""Of so many frames so large a part came within what is held back at most; looked at once in so many."""
MAX_STEP_S = 3.0
"""A larger jump of timestamps against the clock is a new beginning."""
MAX_DELAY_S = 2.0


class _Repairs:
    """How long frames are held back so that repairs are no freezes."""

    __slots__ = ("_at", "_before_s", "_count", "_latest_s", "_window_at")

    def __init__(self) -> None:
        self._count, self._at = 0, 0.0
        self._latest_s = self._before_s = 0.0
        self._window_at = float("-inf")

    def note(self, late_s: float, at: float) -> None:
        """A repaired frame became whole at `at`, so much later than usual."""
        self._count = 1 if at - self._at > REPAIRS_COUNT_S else min(REPAIRS, self._count + 1)
        self._at = at
        if at - self._window_at > LATEST_S:
            self._before_s = self._latest_s if at - self._window_at < 2 * LATEST_S else 0.0
            self._latest_s, self._window_at = 0.0, at
        self._latest_s = max(self._latest_s, late_s)

    def hold_s(self, rtt_s: float, now: float) -> float:
        if self._count < REPAIRS or now - self._at > REPAIRS_COUNT_S:
            return 0.0
        latest_s = max(self._latest_s, self._before_s) if now - self._window_at < 2 * LATEST_S else 0.0
        needed_s = max(REPAIR_TRIPS * rtt_s + REPAIR_S, latest_s + SYSTEM_JITTER_S) - FREEZE_S
        return max(0.0, min(MAX_REPAIR_HOLD_S, needed_s))


class RenderTime:
    """For each frame: `arrived`, then `due`, then `released` when it goes to the decoder. Times are monotonic seconds."""

    __slots__ = (
        "_base", "_frames", "_jitter", "_last_at", "_last_stamp", "_late_s", "_most_s", "_moved_at", "_repairs", "_unwrap", "delay_s",
        "least_delay_s", "rtt_s", "target_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.rtt_s = 0.0
        """The way to the sender and back: what a repair takes."""
        self.least_delay_s = 0.0
        """At least so much, for lip sync."""
        self.delay_s = self.target_s = 0.0
        """How long after the usual arrival a frame goes on now, and how long the path would want."""
        self._repairs = _Repairs()
        self._restart()

    def _restart(self) -> None:
        self._unwrap = timestamp_unwrapper()
        self._jitter = FrameJitter()
        self._base: float | None = None
        """Mean arrival less the timestamp, seconds."""
        self._frames = 0
        self._late_s: deque[float] = deque(maxlen=SEEN_FRAMES)
        self._most_s = 0.0
        """How late nearly all frames were at most."""
        self._last_at = self._last_stamp = 0.0
        self._moved_at: float | None = None

    def pause(self) -> None:
        """Frames stop on purpose: the next one begins anew, with the delay that was right."""
        self._restart()

    def arrived(self, timestamp: int, size: int, at: float, *, repaired: bool, stalled: bool = False) -> None:
        """A frame (RTP timestamp, bytes) became whole at `at`; `repaired`: part of it had been asked for again; `stalled`: it was
        we who came late to it, which says nothing of the way."""
        stamp = self._unwrap.unwrap(timestamp) / CLOCK_HZ
        off_s = 0.0 if self._base is None else at - stamp - self._base
        if abs(off_s) > MAX_STEP_S:
            self._restart()
            stamp, off_s = self._unwrap.unwrap(timestamp) / CLOCK_HZ, 0.0
        if self._base is None:
            self._base = at - stamp
        elif stalled:
            return
        elif repaired:
            self._repairs.note(off_s, at)
        else:
            if at - self._last_at > IN_WAKE * (stamp - self._last_stamp):
                memory = MEMORY_FRAMES if off_s > -MAX_LATE_S else MEMORY_FRAMES // 4       # the way is shorter now
                self._base += min(off_s, MAX_LATE_S) / min(memory, self._frames + 1)
                self._late_s.append(off_s)
            if self._frames % EVERY == 0 and self._late_s:
                self._most_s = sorted(self._late_s)[int(MOST * (len(self._late_s) - 1))]
            if stamp > self._last_stamp:
                self._jitter.note(at - self._last_at - (stamp - self._last_stamp), size, at)
        if not repaired:
            self._frames += 1
            if stamp > self._last_stamp or self._frames == 1:
                self._last_at, self._last_stamp = at, stamp
        need_s = max(0.0, min(self._jitter.estimate_s(), self._most_s)) + self._repairs.hold_s(self.rtt_s, at)
        self.target_s = need_s + SYSTEM_JITTER_S if need_s > QUIET_S else 0.0

    def due(self, timestamp: int, now: float) -> float:
        """When the frame is to go to the decoder; `now` or earlier: at once."""
        if self._base is None or self.delay_s <= 0.0:
            return now
        at = self._unwrap.peek(timestamp) / CLOCK_HZ + self._base + self.delay_s
        return min(at, now + self.delay_s + MAX_STEP_S)

    def late_s(self, timestamp: int, now: float) -> float:
        """By how much the frame's moment has passed; negative: it is to come."""
        if self._base is None:
            return 0.0
        return now - (self._unwrap.peek(timestamp) / CLOCK_HZ + self._base + self.delay_s)

    def released(self, timestamp: int, now: float) -> None:
        """The frame went to the decoder at `now`. A late one makes the delay grow to what the path wants; else it moves slowly."""
        if self._base is None:
            return
        wanted = min(MAX_DELAY_S, max(self.target_s, self.least_delay_s))
        room = 0.0 if self._moved_at is None else CHANGE * max(0.0, min(1.0, now - self._moved_at))
        self._moved_at = now
        if self.delay_s > wanted:
            self.delay_s = max(wanted, self.delay_s - room)
            return
        if self.delay_s < self.least_delay_s:
            self.delay_s = min(self.least_delay_s, self.delay_s + room)
        late_s = self.late_s(timestamp, now)
        if late_s > 0:
            self.delay_s = max(self.delay_s, min(self.target_s, self.delay_s + late_s))
