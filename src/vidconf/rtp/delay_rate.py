"""How much the way carries, judged by whether a queue fills on it: the sender's side. Pure; one thread an object.

Times in monotonic seconds, rates in bits a second. Groups and trend are those of the receive side (`vidconf.rtp.receive_rate`,
draft-ietf-rmcat-gcc-02 §5); growth and back-off after libwebrtc's aimd_rate_control.cc and link_capacity_estimator.cc, when to
back off after delay_based_bwe.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

from vidconf.rtp.feedback import SentPacket
from vidconf.rtp.receive_rate import BACK_OFF, ArrivalGroups, DelayTrend, Queue

SILENCE_S = 2.0
"""After so long without feedback what went before says nothing of the queue."""
LEAST_RESPONSE_S, MOST_RESPONSE_S = 0.01, 0.2
GROWTH = 1.08
"""A second, while the capacity is unknown."""
BEYOND, BEYOND_BPS = 1.5, 10_000
"""It grows no further beyond what arrives than this."""
FRAMES_A_SECOND, PACKET_BITS = 30, 9_600
LEAST_STEP_BPS = 4_000.0
OVERUSE_WEIGHT, PROBE_WEIGHT = 0.05, 0.5
LEAST_DEVIATION, MOST_DEVIATION = 0.4, 2.5
DEVIATIONS = 3.0
STANDING_S, STANDS_S, DRAIN = 0.06, 10.0, 0.8
"""Every packet is later by the first than the earliest of late, so long after the queue filled: a queue stands that, being as long all
the time, shows no trend. Then less than the capacity is sent until it is gone (GCC of the drafts would leave it standing)."""
COLLAPSE_S, COLLAPSED = 0.1, 0.75
"""Every packet is later by the first, and of late less than this part of the estimate arrived: the way has become much narrower. That is
not waited for to become a trend, during which the queue would run over (libwebrtc waits)."""
EARLIEST_S = 10.0
"""The earliest is looked for in the last one to two of these: clocks drift, and the way may have become another."""


class LinkCapacity:
    """What arrived each time that the queue filled: near it one grows in steps, far beyond it the way is another by now."""

    __slots__ = ("_deviation", "_estimate")

    def __init__(self) -> None:
        self._estimate: float | None = None
        self._deviation = LEAST_DEVIATION

    @property
    def bps(self) -> float | None:
        return None if self._estimate is None else 1000 * self._estimate

    @property
    def bounds_bps(self) -> tuple[float, float]:
        """What is still the same way: (0, infinity) while nothing is known."""
        if self._estimate is None:
            return 0.0, float("inf")
        width = DEVIATIONS * (self._deviation * self._estimate) ** 0.5
        return 1000 * max(0.0, self._estimate - width), 1000 * (self._estimate + width)

    def forget(self) -> None:
        self._estimate = None

    def overused(self, arriving_bps: float) -> None:
        self._learn(arriving_bps / 1000, OVERUSE_WEIGHT)

    def probed(self, bps: float) -> None:
        self._learn(bps / 1000, PROBE_WEIGHT)

    def _learn(self, sample: float, weight: float) -> None:
        before = sample if self._estimate is None else self._estimate
        self._estimate = (1 - weight) * before + weight * sample
        error = self._estimate - sample
        deviation = (1 - weight) * self._deviation + weight * error * error / max(self._estimate, 1.0)
        self._deviation = max(LEAST_DEVIATION, min(deviation, MOST_DEVIATION))


class StandingQueue:
    """By how much all packets of late came later than the earliest: what of a queue never empties."""

    __slots__ = ("_before_s", "_earliest_s", "_since", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._earliest_s = self._before_s = float("inf")
        self._since = float("-inf")

    def note(self, delay_s: float, now: float) -> None:
        """The least one-way delay of a report, on whatever two clocks."""
        if now - self._since > EARLIEST_S:
            self._before_s, self._earliest_s, self._since = self._earliest_s, delay_s, now
        self._earliest_s = min(self._earliest_s, delay_s)
        self.seconds = max(0.0, delay_s - min(self._earliest_s, self._before_s))


class DelayRate:
    """`estimate_bps` follows the reports. It never leaves `floor_bps` and what `update` is told as the ceiling."""

    __slots__ = (
        "_capacity", "_changed_at", "_floor", "_groups", "_growing", "_heard_at", "_overused_at", "_standing", "_steady_since", "_trend",
        "estimate_bps", "overuses",
    )  # fmt: skip

    def __init__(self, start_bps: float, floor_bps: float) -> None:
        self._floor = floor_bps
        self.estimate_bps = start_bps
        self._groups, self._trend, self._capacity = ArrivalGroups(), DelayTrend(), LinkCapacity()
        self._standing = StandingQueue()
        self._overused_at = float("-inf")
        self._heard_at: float | None = None
        self._changed_at: float | None = None
        self._growing = False
        self._steady_since: float | None = None
        self.overuses = 0
        """Times that it backed off because the queue was filling."""

    @property
    def queue(self) -> Queue:
        return self._trend.queue

    @property
    def standing_s(self) -> float:
        """By how much every packet of the last report was later than the earliest of late."""
        return self._standing.seconds

    def steady_s(self, now: float) -> float:
        """Since when the queue has neither filled nor emptied; 0 before the first report."""
        return 0.0 if self._steady_since is None else max(0.0, now - self._steady_since)

    def on_report(self, results: Sequence[SentPacket], now: float) -> None:
        """Read what has arrived into the trend; `update` then draws the conclusion."""
        if self._heard_at is None or now - self._heard_at > SILENCE_S:
            self._groups, self._trend = ArrivalGroups(), DelayTrend()
            self._steady_since = now
        self._heard_at = now
        delays = [result.received_at - result.sent_at for result in results if result.received_at is not None]
        if delays:
            self._standing.note(min(delays), now)
        for result in results:
            if result.received_at is None:
                continue
            distance = self._groups.add(result.sent_at, result.received_at)
            if distance is not None:
                self._trend.group(*distance, result.received_at)
                if self._trend.queue is not Queue.STEADY:
                    self._steady_since = now

    def update(
        self, arriving_bps: int | None, rtt_s: float, ceiling_bps: float, now: float, *, recent_bps: int | None = None, idle: bool = False,
        probed_bps: float | None = None,
    ) -> None:
        """One step. `arriving_bps`: what the far end acknowledges, None while unknown; `recent_bps`: in the last moment alone.
        `idle`: the application limits what is sent. `probed_bps`: what a probe has just proven; it can only raise the estimate."""
        if self._changed_at is None:
            self._changed_at = now
        if recent_bps is not None and not idle and self._standing.seconds > COLLAPSE_S and recent_bps < COLLAPSED * self.estimate_bps:
            self._growing = False
            self._cut(recent_bps, now)
        elif self._trend.queue is Queue.FILLING:
            self._growing = False
            self._back_off(self._carried(arriving_bps, recent_bps), rtt_s, now)
        elif self.stands(now):
            self._drain(now)
        elif probed_bps is not None:
            self._capacity.probed(probed_bps)
            if probed_bps > self.estimate_bps:
                self.estimate_bps, self._changed_at = probed_bps, now
        elif self._trend.queue is Queue.EMPTYING:
            self._growing, self._changed_at = False, now
        else:
            if self._growing:
                self._grow(arriving_bps, rtt_s, now, idle)
            self._growing, self._changed_at = True, now
        self.estimate_bps = max(self._floor, min(self.estimate_bps, ceiling_bps))

    def _carried(self, arriving_bps: int | None, recent_bps: int | None) -> int | None:
        """What the way carries while a queue fills on it: where the queue is long, exactly what came in the last moment."""
        if arriving_bps is None or recent_bps is None:
            return arriving_bps
        return recent_bps if self._standing.seconds > STANDING_S else max(arriving_bps, recent_bps)

    def stands(self, now: float) -> bool:
        """A queue that filled of late is still there, though it does not grow."""
        return self._standing.seconds > STANDING_S and now - self._overused_at < STANDS_S

    def _drain(self, now: float) -> None:
        known = self._capacity.bps
        if known is not None and self.estimate_bps > DRAIN * known:
            self.estimate_bps = DRAIN * known
        self._growing, self._changed_at, self._steady_since = False, now, now

    def _back_off(self, arriving_bps: int | None, rtt_s: float, now: float) -> None:
        assert self._changed_at is not None
        due = now - self._changed_at >= max(LEAST_RESPONSE_S, min(rtt_s, MOST_RESPONSE_S))
        if arriving_bps is None:
            if due:
                self.estimate_bps, self._changed_at, self._overused_at = self.estimate_bps / 2, now, now
                self.overuses += 1
            return
        if not due and arriving_bps >= 0.5 * self.estimate_bps:
            return
        self._cut(arriving_bps, now)

    def _cut(self, arriving_bps: int, now: float) -> None:
        """So much is carried."""
        wanted = BACK_OFF * arriving_bps
        known = self._capacity.bps
        if wanted > self.estimate_bps and known is not None:
            wanted = BACK_OFF * known
        self.estimate_bps = min(self.estimate_bps, wanted)
        if not self._capacity.bounds_bps[0] <= arriving_bps:
            self._capacity.forget()
        self._capacity.overused(arriving_bps)
        self._changed_at = self._overused_at = now
        self.overuses += 1

    def _grow(self, arriving_bps: int | None, rtt_s: float, now: float, idle: bool) -> None:
        assert self._changed_at is not None
        elapsed_s = min(now - self._changed_at, 1.0)
        if arriving_bps is not None and arriving_bps > self._capacity.bounds_bps[1]:
            self._capacity.forget()
        if arriving_bps is None or idle:
            return
        limit = BEYOND * arriving_bps + BEYOND_BPS
        if self.estimate_bps >= limit:
            return
        if self._capacity.bps is not None:
            grown = self.estimate_bps + self._step_bps(rtt_s) * elapsed_s
        else:
            grown = self.estimate_bps * GROWTH**elapsed_s
        self.estimate_bps = min(grown, limit)

    def _step_bps(self, rtt_s: float) -> float:
        """About one packet a response time, each second."""
        frame = self.estimate_bps / FRAMES_A_SECOND
        packets = max(1.0, -(-frame // PACKET_BITS))
        return max(LEAST_STEP_BPS, frame / packets / (2 * (rtt_s + 0.1)))
