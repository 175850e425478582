"""How much the way to us carries, judged where the packets arrive: the figure a receiver reports as REMB.

Pure; one thread an object; times in monotonic seconds, rates in bits a second. Three steps, each a class: packets sent together
become groups (libwebrtc `inter_arrival.cc`), a line through the groups' growing delay says whether a queue fills (`trendline_
estimator.cc`), and the rate backs off from what arrives or grows towards it (`aimd_rate_control.cc`; draft-ietf-rmcat-gcc-02
§5). Send times are those of abs-send-time: seconds in 6.18 fixed point, 24 bits, wrapping every 64 s.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from vidconf.rtp.statistics import Unwrapper

SEND_TIME_HZ = 1 << 18
GROUP_S = 0.005
BURST_S = 0.005
MAX_BURST_S = 0.1
PAUSE_S = 3.0
"""Groups further apart say nothing about each other."""
MAX_BACKWARDS = 3

WINDOW = 20
"""Groups that the line is drawn through."""
SMOOTHING, GAIN = 0.9, 4.0
FULL_WEIGHT = 60
"""Groups after which the trend counts in full."""
OVER_MS = 10.0
"""Above the threshold for longer than this: the queue fills."""
THRESHOLD_MS, MIN_THRESHOLD_MS, MAX_THRESHOLD_MS = 12.5, 6.0, 600.0
THRESHOLD_UP, THRESHOLD_DOWN = 0.0087, 0.039
MAX_SPIKE_MS = 15.0
"""Further above the threshold it is a jump, and the threshold does not learn from it."""

PRESUMED_RTT_S, LEAST_RTT_S = 0.2, 15.0
RATE_WINDOW_S = 1.0
RATE_BUCKETS = 20
BACK_OFF = 0.85
FIRST_ESTIMATE_S = 1.0
"""Of arrivals before the first figure is said: it is what arrives, half as much again, and the start of growth."""
CAPACITY_UP, CAPACITY_DOWN, NEAR = 1.2, 0.85, 0.7
"""More, or at an overuse less, than this part of what the capacity was arrives: it is another by now."""
STANDING_S, STANDS_S = 0.05, 20.0
"""A round trip longer by the first than the shortest, so long after the queue filled: it stands still, and its delay, being the same
all the time, shows no trend."""
FLOOR_BPS, CEILING_BPS = 50_000, 100_000_000
UPDATE_S = 0.2


class Queue(Enum):
    """What the delay says of the narrowest place on the way."""

    STEADY = 0
    FILLING = 1
    EMPTYING = 2


class ArrivalGroups:
    """Packets sent within GROUP_S of each other, and those that came in one burst after a stall, are one group."""

    __slots__ = ("_arrived", "_backwards", "_before", "_began", "_first_arrived", "_last")

    def __init__(self) -> None:
        self._began: float | None = None
        self._last = self._arrived = self._first_arrived = 0.0
        self._before: tuple[float, float] | None = None
        self._backwards = 0

    def add(self, sent: float, arrived: float) -> tuple[float, float] | None:
        """One packet: unwrapped send time, arrival. When it opens a new group: by how much the one just closed was sent and
        arrived after the one before it, seconds; else None."""
        if self._began is None:
            self._open(sent, arrived)
            return None
        if sent < self._began:
            return None
        gap = arrived - self._arrived
        if gap > PAUSE_S:
            self._before = None
            self._open(sent, arrived)
            return None
        step = sent - self._last
        together = step == 0 or (gap - step < 0 and gap <= BURST_S and arrived - self._first_arrived < MAX_BURST_S)
        if together or sent - self._began <= GROUP_S:
            self._last, self._arrived = max(self._last, sent), arrived
            return None
        closed, before = (self._last, self._arrived), self._before
        self._before = closed
        self._open(sent, arrived)
        if before is None:
            return None
        sent_after, arrived_after = closed[0] - before[0], closed[1] - before[1]
        if arrived_after < 0:
            self._backwards += 1
            if self._backwards >= MAX_BACKWARDS:
                self._began = self._before = None
            return None
        self._backwards = 0
        return sent_after, arrived_after

    def _open(self, sent: float, arrived: float) -> None:
        self._began = self._last = sent
        self._first_arrived = self._arrived = arrived


class DelayTrend:
    """Whether the delay of successive groups grows, with a threshold that learns how unsteady this network is."""

    __slots__ = ("_above", "_above_ms", "_count", "_delay_ms", "_line", "_since", "_smoothed_ms", "_threshold_ms", "_trend", "_updated", "queue")

    def __init__(self) -> None:
        self.queue = Queue.STEADY
        self._line: deque[tuple[float, float]] = deque(maxlen=WINDOW)
        self._count = self._above = 0
        self._delay_ms = self._smoothed_ms = self._trend = 0.0
        self._above_ms: float | None = None
        self._threshold_ms = THRESHOLD_MS
        self._since: float | None = None
        self._updated = 0.0

    def group(self, sent_after: float, arrived_after: float, now: float) -> None:
        """One group's distances from the one before it; `queue` tells the verdict."""
        if self._since is None:
            self._since = self._updated = now
        self._count += 1
        self._delay_ms += 1000 * (arrived_after - sent_after)
        self._smoothed_ms = SMOOTHING * self._smoothed_ms + (1 - SMOOTHING) * self._delay_ms
        self._line.append((1000 * (now - self._since), self._smoothed_ms))
        trend = _slope(self._line) if len(self._line) == WINDOW else None
        self._judge(self._trend if trend is None else trend, 1000 * sent_after, now)

    def _judge(self, trend: float, sent_ms: float, now: float) -> None:
        if self._count < 2:
            return
        weighted = min(self._count, FULL_WEIGHT) * trend * GAIN
        if weighted > self._threshold_ms:
            self._above_ms = sent_ms / 2 if self._above_ms is None else self._above_ms + sent_ms
            self._above += 1
            if self._above_ms > OVER_MS and self._above > 1 and trend >= self._trend:
                self._above_ms, self._above = 0.0, 0
                self.queue = Queue.FILLING
        else:
            self._above_ms, self._above = None, 0
            self.queue = Queue.EMPTYING if weighted < -self._threshold_ms else Queue.STEADY
        self._trend = trend
        over_ms = abs(weighted) - self._threshold_ms
        if over_ms <= MAX_SPIKE_MS:
            rate = THRESHOLD_DOWN if over_ms < 0 else THRESHOLD_UP
            step = rate * over_ms * min(1000 * (now - self._updated), 100.0)
            self._threshold_ms = max(MIN_THRESHOLD_MS, min(self._threshold_ms + step, MAX_THRESHOLD_MS))
        self._updated = now


def _slope(points: deque[tuple[float, float]]) -> float | None:
    """Of the line that fits best; None when all are at one instant."""
    count = len(points)
    mean_x = sum([x for x, _ in points]) / count
    mean_y = sum([y for _, y in points]) / count
    spread = sum([(x - mean_x) ** 2 for x, _ in points])
    return sum([(x - mean_x) * (y - mean_y) for x, y in points]) / spread if spread else None


class ArrivingRate:
    """Bits a second over the last second, from buckets of 50 ms."""

    __slots__ = ("_began", "_buckets", "_newest", "_octets")

    def __init__(self) -> None:
        self._buckets = [0] * RATE_BUCKETS
        self._octets = 0
        self._newest: int | None = None
        self._began = 0.0

    def add(self, size: int, now: float) -> None:
        self._turn(now)
        assert self._newest is not None
        self._buckets[self._newest % RATE_BUCKETS] += size
        self._octets += size

    def bps(self, now: float) -> int | None:
        """None while there has been less than half a window of arrivals."""
        if self._newest is None:
            return None
        self._turn(now)
        held_s = min(now - self._began, RATE_WINDOW_S)
        return int(8 * self._octets / held_s) if held_s >= RATE_WINDOW_S / 2 and self._octets else None

    def _turn(self, now: float) -> None:
        bucket = int(now * RATE_BUCKETS / RATE_WINDOW_S)
        if self._newest is None or bucket - self._newest >= RATE_BUCKETS:
            self._buckets, self._octets = [0] * RATE_BUCKETS, 0
            self._newest, self._began = bucket, now
        while self._newest < bucket:
            self._newest += 1
            self._octets -= self._buckets[self._newest % RATE_BUCKETS]
            self._buckets[self._newest % RATE_BUCKETS] = 0


class ReceiveRate:
    """Give `arrived` every packet, `timed` those that carry abs-send-time; tell the sender what `due` gives. None until enough
    has arrived to say anything.

    It never tells less than what arrives while the delay is steady, so that a server which believes it cuts nothing that flows.
    """

    __slots__ = (
        "_arriving", "_capacity_bps", "_changed_at", "_cut", "_first_at", "_groups", "_least_before_s", "_least_rtt_s",
        "_least_since", "_overused_at", "_rate_bps", "_rtt_s", "_steady_since", "_told_at", "_trend", "_unwrap", "_waiting", "overuses",
    )  # fmt: skip

    def __init__(self) -> None:
        self._unwrap = Unwrapper(24)
        self._groups, self._trend, self._arriving = ArrivalGroups(), DelayTrend(), ArrivingRate()
        self._rate_bps: float | None = None
        self._capacity_bps: float | None = None
        """What arrived when the queue last filled: near it the rate grows by steps, far from it by a share."""
        self._first_at: float | None = None
        self._changed_at = self._steady_since = 0.0
        self._told_at = float("-inf")
        self._cut = False
        """It has been lowered since it was last told."""
        self._rtt_s = PRESUMED_RTT_S
        self._least_rtt_s = self._least_before_s = float("inf")
        self._least_since = 0.0
        self._overused_at = float("-inf")
        self._waiting = 0
        """Octets that have come since the last look at the rate."""
        self.overuses = 0
        """Times that the queue was seen filling."""

    @property
    def queue(self) -> Queue:
        return self._trend.queue

    def arrived(self, size: int, now: float) -> None:
        """Octets of a packet, whether it says when it was sent or not."""
        self._waiting += size

    def round_trip(self, rtt_s: float, now: float) -> None:
        """The newest round trip, seconds: how fast the sender can follow, and whether a queue stands. The shortest is looked for in
        the last one to two LEAST_RTT_S: the way itself may have become longer."""
        if now - self._least_since > LEAST_RTT_S:
            self._least_before_s, self._least_rtt_s, self._least_since = self._least_rtt_s, rtt_s, now
        self._rtt_s, self._least_rtt_s = rtt_s, min(self._least_rtt_s, rtt_s)

    def timed(self, send_time: int, now: float) -> None:
        """The abs-send-time (24 bits) of a packet that has arrived."""
        if self._first_at is None:
            self._first_at = self._changed_at = now
        distance = self._groups.add(self._unwrap.unwrap(send_time & 0xFFFFFF) / SEND_TIME_HZ, now)
        if distance is None:
            return
        self._arrived_bps(now)
        before = self._trend.queue
        self._trend.group(*distance, now)
        if self._trend.queue is not Queue.STEADY:
            self._steady_since = now
        if self._trend.queue is Queue.FILLING and (before is not Queue.FILLING or now - self._changed_at >= max(0.01, min(self._rtt_s, 0.2))):
            self._back_off(now)

    def estimate(self, now: float) -> int | None:
        """Bits a second."""
        self._grow(now)
        return None if self._rate_bps is None else int(self._rate_bps)

    def due(self, now: float, interval_s: float = UPDATE_S) -> int | None:
        """The estimate when it should be told now: at the interval, and at once when it has been cut. It counts as told then."""
        if not self._cut and now - self._told_at < interval_s:
            return None
        estimate = self.estimate(now)
        if estimate is not None:
            self._told_at, self._cut = now, False
        return estimate

    def arriving_bps(self, now: float) -> int:
        """What came in the last second; 0 when that is not known."""
        return self._arrived_bps(now) or 0

    def _arrived_bps(self, now: float) -> int | None:
        if self._waiting:
            self._arriving.add(self._waiting, now)
            self._waiting = 0
        return self._arriving.bps(now)

    def _back_off(self, now: float) -> None:
        arriving = self._arrived_bps(now)
        if arriving is None:
            return
        self.overuses += 1
        self._overused_at = now
        wanted = BACK_OFF * arriving
        if self._rate_bps is not None and wanted > self._rate_bps and self._capacity_bps is not None:
            wanted = BACK_OFF * self._capacity_bps
        if self._rate_bps is None or wanted < self._rate_bps:
            self._rate_bps = max(FLOOR_BPS, wanted)
            self._cut = True
        if self._capacity_bps is None or arriving < CAPACITY_DOWN * self._capacity_bps:
            self._capacity_bps = arriving
        else:
            self._capacity_bps += 0.05 * (arriving - self._capacity_bps)
        self._changed_at = now

    def _grow(self, now: float) -> None:
        if self._first_at is None:
            return
        elapsed_s, arriving = min(now - self._changed_at, 1.0), self._arrived_bps(now)
        # a long round trip alone may be a busy machine at either end
        standing = now - self._overused_at < STANDS_S and self._rtt_s > min(self._least_rtt_s, self._least_before_s) + STANDING_S
        if self._trend.queue is not Queue.STEADY or arriving is None or standing:
            self._changed_at = now      # the pipe must clear first; and where nothing comes, nothing is learnt
            return
        if self._rate_bps is None:
            if now - self._first_at < FIRST_ESTIMATE_S:
                return
            self._rate_bps = 1.5 * arriving + 10_000
        if self._capacity_bps is not None and arriving > CAPACITY_UP * self._capacity_bps:
            self._capacity_bps = None
        limit = 1.5 * arriving + 10_000
        if self._rate_bps < limit:
            near = self._capacity_bps is not None and self._rate_bps > NEAR * self._capacity_bps
            grown = self._rate_bps + (self._step_bps(elapsed_s) if near else self._rate_bps * (1.08**elapsed_s - 1))
            # what has flowed for the whole window without a queue is carried; before that it may be a queue running out
            flows = arriving if now - self._steady_since >= RATE_WINDOW_S else 0
            self._rate_bps = min(max(grown, flows), limit)
        self._rate_bps = max(FLOOR_BPS, min(self._rate_bps, CEILING_BPS))
        self._changed_at = now

    def _step_bps(self, elapsed_s: float) -> float:
        """Near the capacity: about one packet a response time."""
        assert self._rate_bps is not None
        frame = self._rate_bps / 30
        packets = max(1.0, -(-frame // 9600))
        return max(4000.0, frame / packets / (2 * (self._rtt_s + 0.1))) * elapsed_s
