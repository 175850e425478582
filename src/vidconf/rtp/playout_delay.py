"""How long sound is to be held back: how late packets are, and what share of that is worth waiting for.

Pure; one thread an object; `now` in monotonic seconds. After NetEQ (libwebrtc, modules/audio_coding/neteq: delay_manager.cc,
histogram.cc, underrun_optimizer.cc, reorder_optimizer.cc, packet_arrival_history.cc), with finer steps.
"""

from __future__ import annotations

WINDOW_S = 0.5
"""The latest packet of each such window is one sample of how late packets are."""
WINDOWS = 4
"""The fastest packet, against which lateness is measured, is looked for in so many of them and the one that is open."""
EXPIRED_S = WINDOW_S * (WINDOWS + 2)
CLOCK_JUMP_S = 1.0
STANDSTILL_S, STOOD_STILL_S = 0.15, 0.05
"""After a pause of the first, all packets of a window later than before by the second: the sender's clock had stood still."""

STEP_S = 0.01
STEPS = 100
QUANTILE, FORGET = 0.95, 0.983
REORDER_FORGET = 0.9993
PRESUMED = 20
LOSS_COST_S = 0.03
"""What one per cent of packets played without waiting for their repair is worth in delay (libwebrtc: 20 ms, which at 15 % leaves
unheard what was lost twice)."""
MOST_WAITED_S = 0.25
"""More is not asked for, however much is lost."""
START_S = 0.03
"""What is enough for most networks: a longer start would have to be squeezed out of the first sentences."""
ROUNDING_S = 0.01
"""A packet that comes just after a block of 10 ms was made waits for the next one."""
LEAST_S, MOST_S = 0.03, 0.5
MOST_ASKED_S = 1.0


class ArrivalDelay:
    """The delay of packets against the fastest of the last two seconds or so."""

    __slots__ = ("_high", "_last", "_low", "_opened", "_past", "_paused", "fastest")

    def __init__(self) -> None:
        self.fastest: float | None = None
        """Arrival time less media time of the fastest packet, seconds. Nothing is later than media time plus this plus `late`."""
        self._past: list[tuple[float, float]] = []
        """Windows that are closed: when, and their fastest."""
        self._low = self._high = 0.0
        self._opened = self._last = 0.0
        self._paused = False

    def arrived(self, media_s: float, now: float) -> float | None:
        """Note a packet that nobody had to ask for, of that media time. At the end of a window: how late its latest was, seconds."""
        transit = now - media_s
        if self.fastest is None or abs(transit - self.fastest) > CLOCK_JUMP_S:
            self._past.clear()
            self._open(transit, now, paused=False)
            self.fastest, self._last = transit, now
            return None
        latest = None
        paused = now - self._last >= STANDSTILL_S
        if now - self._opened >= WINDOW_S or (paused and self._low < self._high):
            latest = self._close(now)
            self._open(transit, now, paused)
        self._last = now
        self._low, self._high = min(self._low, transit), max(self._high, transit)
        self.fastest = min(self.fastest, transit)
        return latest

    def late_s(self, media_s: float, now: float) -> float:
        """How long after the fastest possible moment this media time is at `now`; 0 before any packet."""
        return now - media_s - self.fastest if self.fastest is not None else 0.0

    def _open(self, transit: float, now: float, paused: bool) -> None:
        self._low = self._high = transit
        self._opened, self._paused = now, paused

    def _close(self, now: float) -> float:
        if self._paused and self._past and self._low - min(low for _, low in self._past) > STOOD_STILL_S:
            self._past.clear()
        self._past = [window for window in self._past if now - window[0] < EXPIRED_S][1 - WINDOWS :]
        self._past.append((now, self._low))
        self.fastest = min(low for _, low in self._past)
        return self._high - self.fastest


class _Histogram:
    """Shares of STEP_S that forget. It begins as if PRESUMED samples had been on time, and learns faster at first; one sample alone
    never passes 1 - QUANTILE."""

    __slots__ = ("_forget", "_least", "_samples", "shares")

    def __init__(self, forget: float) -> None:
        self._forget, self._samples = forget, PRESUMED
        self.shares = [0.0] * STEPS
        self.shares[0] = 1.0

    def add(self, late_s: float, weight: int = 1) -> None:
        keep = min(self._forget, 1 - 1 / (self._samples + 1)) ** weight
        self._samples += weight
        self.shares = [share * keep for share in self.shares]
        self.shares[min(STEPS - 1, max(0, int(late_s / STEP_S)))] += 1 - keep


class PlayoutDelay:
    """The target: what hides all but the rarest lateness, and the wait for repairs where that pays for itself."""

    __slots__ = ("_in_order", "_late", "_least_s", "_network_s", "_repairs", "_repairs_s", "_repairs_seen", "target_s")

    def __init__(self) -> None:
        self._late, self._repairs = _Histogram(FORGET), _Histogram(REORDER_FORGET)
        self._in_order, self._repairs_seen = 0, False
        self._network_s, self._repairs_s, self._least_s = START_S, 0.0, 0.0
        self.target_s = START_S
        """Seconds from the moment at which the fastest packet would have come to the one at which it is played."""

    def late(self, latest_s: float) -> None:
        """The latest packet of half a second was so late."""
        self._late.add(latest_s)
        left, step = 1 - QUANTILE, STEPS - 1
        while step and left >= self._late.shares[step]:
            left -= self._late.shares[step]
            step -= 1
        self._network_s = (step + 1) * STEP_S + ROUNDING_S
        if self._repairs_seen:
            self._weigh_repairs()
        self._settle()

    def in_order(self) -> None:
        """A packet came by itself."""
        self._in_order += 1

    def out_of_order(self, late_s: float) -> None:
        """One came after its follower: re-ordered, asked for again, or a copy of it, `late_s` after the fastest way."""
        self._repairs_seen = True
        if self._in_order:
            self._repairs.add(0.0, self._in_order)
            self._in_order = 0
        self._repairs.add(late_s)
        self._weigh_repairs()
        self._settle()

    def set_least(self, seconds: float) -> None:
        """Not less than this (at most MOST_ASKED_S); 0 leaves it to the network."""
        self._least_s = max(0.0, min(MOST_ASKED_S, seconds))
        self._settle()

    def affordable_s(self, loss: float) -> float:
        """How late a repair may come where that share of packets is lost: in time for the delay of now, or for the one that would
        pay for itself."""
        return max(self.target_s, self._network_s + min(MOST_WAITED_S, 100 * LOSS_COST_S * loss))

    def _weigh_repairs(self) -> None:
        if self._in_order:
            self._repairs.add(0.0, self._in_order)
            self._in_order = 0
        missed, least_cost, best = 1.0, float("inf"), 0
        for step, share in enumerate(self._repairs.shares):
            missed -= share
            cost = max(0.0, step * STEP_S - self._network_s) + 100 * LOSS_COST_S * max(0.0, missed)
            if cost < least_cost - 1e-9:
                least_cost, best = cost, step
            if missed < 1e-6:
                break
        self._repairs_s = (best + 1) * STEP_S + ROUNDING_S if best else 0.0

    def _settle(self) -> None:
        self.target_s = max(LEAST_S, self._least_s, min(MOST_S, max(self._network_s, self._repairs_s)))
