"""Sound and picture of one person together: when each was captured, how far apart they come out, and what to hold back for that.

Pure; one thread an object. Capture times come from RTCP sender reports (RFC 3550 §6.4.1: one instant on the sender's wall clock and
on the stream's own). The correction follows libwebrtc's video/stream_synchronization.cc: a filtered skew of more than 30 ms is
corrected by at most 80 ms a step, first by holding back less what was held back, then by holding back the other. The filter is
ours: of two measurements the smaller counts, so that a picture that stalls once does not make the sound late.
"""

from __future__ import annotations

from dataclasses import dataclass

LEAST_SKEW_S, MAX_STEP_S = 0.03, 0.08
MAX_SKEW_S = 10.0
"""More is no skew but two clocks that have nothing to do with each other."""
MAX_SOUND_HELD_S, MAX_PICTURE_HELD_S = 0.5, 0.3
"""More than that would cost the conversation more than the skew does."""
STEP = 0.75
"""Part of the filtered skew that is corrected at once."""
EARLY_S = 0.028
"""A picture may be so early: nobody notices (ITU-R BT.1359: sound up to 125 ms late is not), and it is that much newer."""
TOLERANCE_S = 0.006
"""So much earlier still is let be: measurements tremble."""
CLOCK_JUMP_S = 0.5


class CaptureClock:
    """When a stream's samples were captured, in seconds of its sender's wall clock."""

    __slots__ = ("_clock_hz", "_ntp_s", "_stamp")

    def __init__(self, clock_hz: int) -> None:
        self._clock_hz = clock_hz
        self._stamp: int | None = None
        self._ntp_s = 0.0

    def report(self, ntp: int, timestamp: int) -> None:
        """A sender report: `ntp` (32.32 fixed point) and the RTP timestamp of the same instant. One that says 0 says nothing."""
        if not ntp:
            return
        said = ntp / (1 << 32)
        expected = self.at(timestamp)
        if expected is not None and abs(said - expected) < CLOCK_JUMP_S:
            said = expected + (said - expected) / 4     # senders take the two clocks a few milliseconds apart
        self._ntp_s, self._stamp = said, timestamp

    def at(self, timestamp: int) -> float | None:
        """Wall-clock seconds when the sample of this 32-bit RTP timestamp was captured; None before the first report."""
        if self._stamp is None:
            return None
        step = (timestamp - self._stamp + (1 << 31)) % (1 << 32) - (1 << 31)
        return self._ntp_s + step / self._clock_hz


@dataclass(frozen=True, slots=True)
class Shown:
    """Something that came out: when it was captured (sender's clock) and when it came out (ours), seconds."""

    captured_s: float
    at_s: float


def skew_s(sound: Shown, picture: Shown) -> float:
    """How much later a picture comes out than the sound of the same moment."""
    return (picture.at_s - picture.captured_s) - (sound.at_s - sound.captured_s)


class LipSync:
    """One pair of a sound and a picture. `update` once a second; `least_sound_s` and `least_picture_s` are what each must be held
    back at least, 0 where it is free."""

    __slots__ = ("_before_s", "least_picture_s", "least_sound_s")

    def __init__(self) -> None:
        self._before_s: float | None = None
        self.least_sound_s = self.least_picture_s = 0.0

    def release(self) -> None:
        """One of the two does not come out: nothing to wait for."""
        self._before_s = None
        self.least_sound_s = self.least_picture_s = 0.0

    def update(self, skew: float, sound_delay_s: float, picture_delay_s: float) -> bool:
        """`skew` as `skew_s` gives it; the delays are how long each is held back now. True when something is to change."""
        if abs(skew) > MAX_SKEW_S:
            return False
        before, self._before_s = self._before_s, skew
        if before is None or before * skew <= 0:
            return False
        filtered = min(before, skew, key=abs)
        if -EARLY_S - TOLERANCE_S < filtered < LEAST_SKEW_S:
            return False
        self._before_s = None       # what it does is seen in the next but one
        step = STEP * filtered if filtered > 0 else -filtered - EARLY_S
        step = min(MAX_STEP_S, step)
        if filtered > 0:
            self.least_picture_s, self.least_sound_s = _move(self.least_picture_s, self.least_sound_s, sound_delay_s, step, MAX_SOUND_HELD_S)
        else:
            self.least_sound_s, self.least_picture_s = _move(self.least_sound_s, self.least_picture_s, picture_delay_s, step, MAX_PICTURE_HELD_S)
        return True


def _move(late: float, other: float, other_delay: float, step: float, most: float) -> tuple[float, float]:
    """Hold back the one that is late less, or the other more, up to `most`: (of the late one, of the other)."""
    if late > 0:
        return max(0.0, late - step), other
    return 0.0, min(most, max(other, other_delay) + step)
