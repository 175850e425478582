"""The receiver's own estimate against links with an explicit clock: it cuts nothing that flows, and follows what does not fit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.rtp.receive_rate import CEILING_BPS, FLOOR_BPS, SEND_TIME_HZ, ArrivalGroups, ArrivingRate, Queue, ReceiveRate

PACKET = 1100


def abs_send_time(at: float) -> int:
    return int(at * SEND_TIME_HZ) & 0xFFFFFF


class Link:
    """A queue in front of a wire of `capacity_bps`; what waits longer than `queue_s` is dropped. Arrivals in order."""

    def __init__(self, capacity_bps: float, queue_s: float = 0.3, delay_s: float = 0.02, jitter_s: float = 0.0, seed: int = 1) -> None:
        self.capacity_bps, self.queue_s, self.delay_s, self.jitter_s = capacity_bps, queue_s, delay_s, jitter_s
        self._chance = random.Random(seed)
        self._free_at = self._last = 0.0
        self.dropped = 0
        self.waited: list[float] = []

    def send(self, size: int, now: float) -> float | None:
        """When it arrives, None when it is dropped."""
        if self._free_at - now > self.queue_s:
            self.dropped += 1
            return None
        self.waited.append(max(0.0, self._free_at - now))
        self._free_at = max(self._free_at, now) + 8 * size / self.capacity_bps
        self._last = max(self._last, self._free_at + self.delay_s + self._chance.uniform(0, self.jitter_s))
        return self._last


def meeting(link: Link, rate: ReceiveRate, seconds: float, target: Callable[[int | None], float], *, began: float = 0.0) -> list[tuple[float, int]]:
    """Frames at 30 a second of what `target` allows; the estimate told every 200 ms. Returns what was told, with its time."""
    told: list[tuple[float, int]] = []
    arrivals: list[tuple[float, int, int]] = []
    latest: int | None = None
    now = began
    while now < began + seconds:
        left = int(target(latest) / 8 / 30)
        sent = now
        while left > 0:
            size = min(PACKET, left)
            arrived = link.send(size, sent)
            if arrived is not None:
                arrivals.append((arrived, abs_send_time(sent), size))
            left -= size
            sent += 0.0002
        now += 1 / 30
        while arrivals and arrivals[0][0] <= now:
            at, stamp, size = arrivals.pop(0)
            rate.arrived(size, at)
            rate.timed(stamp, at)
        estimate = rate.due(now)
        if estimate is not None:
            latest = estimate
            told.append((now, estimate))
    return told


@settings(max_examples=40, deadline=None)
@given(st.integers(100_000, 6_000_000), st.floats(0, 0.008), st.integers(0, 1000))
def test_a_clean_link_is_never_said_to_carry_less_than_flows(bps: int, jitter_s: float, seed: int) -> None:
    link, rate = Link(20e6, jitter_s=jitter_s, seed=seed), ReceiveRate()
    told = meeting(link, rate, 12, lambda _: bps)
    assert told
    assert told[0][0] < 3.0
    # frames of one size: what arrives within a second is known to one frame, and to one packet at its end
    slack = 8 * (bps / 8 / 30 + PACKET)
    assert min(estimate for _, estimate in told) >= 0.85 * (bps - slack), (bps, jitter_s)
    assert told[-1][1] >= bps - slack


def test_it_grows_to_half_as_much_again_as_flows_and_no_further() -> None:
    told = meeting(Link(20e6), ReceiveRate(), 20, lambda _: 1_000_000)
    assert 1_350_000 < told[-1][1] <= 1_600_000


def test_a_sender_that_does_not_listen_is_seen_to_fill_the_queue() -> None:
    link, rate = Link(1e6), ReceiveRate()
    told = meeting(link, rate, 6, lambda _: 2_000_000)
    assert link.dropped
    assert rate.overuses
    cut = [at for at, estimate in told if estimate < 1_000_000]
    assert cut
    assert cut[0] < 2.5


def test_a_queue_that_stays_full_is_not_taken_for_a_way_that_carries_it() -> None:
    """A sender that never listens: the delay stands at its most, without a trend. The round trip tells."""
    link, rate = Link(1e6), ReceiveRate()
    rate.round_trip(0.04, 0.0)
    told: list[tuple[float, int]] = []
    for second in range(14):
        told += meeting(link, rate, 1.0, lambda _: 1_300_000, began=float(second))
        rate.round_trip(0.04 + max(link.waited[-30:]), second + 1.0)
    assert link.dropped
    late = [estimate for at, estimate in told if at > 5]
    assert max(late) < 950_000, late


@settings(max_examples=15, deadline=None)
@given(st.sampled_from((300_000, 500_000, 1_000_000, 2_500_000)), st.floats(0, 0.004), st.integers(0, 100))
def test_a_sender_that_listens_uses_the_link_and_keeps_the_queue_short(capacity: int, jitter_s: float, seed: int) -> None:
    link, rate = Link(capacity, jitter_s=jitter_s, seed=seed), ReceiveRate()
    told = meeting(link, rate, 60, lambda latest: min(latest or 1.5 * capacity, 3 * capacity))
    late = [estimate for at, estimate in told if at > 20]
    assert 0.55 * capacity < sum(late) / len(late) < 1.1 * capacity
    settled = sorted(link.waited[len(link.waited) // 3 :])
    assert settled[len(settled) // 2] < 0.08
    assert settled[int(0.95 * len(settled))] < 0.25


def test_capacity_that_comes_back_is_found_again() -> None:
    link, rate = Link(500_000), ReceiveRate()
    told = meeting(link, rate, 20, lambda latest: min(latest or 1_000_000, 2_500_000))
    assert told[-1][1] < 600_000
    link.capacity_bps = 5_000_000
    told = meeting(link, rate, 60, lambda latest: min(latest or 1_000_000, 2_500_000), began=20.0)
    assert told[-1][1] > 1_500_000


def test_a_cut_is_told_at_once() -> None:
    link, rate = Link(5e6), ReceiveRate()
    meeting(link, rate, 5, lambda _: 1_000_000)
    link.capacity_bps = 400_000
    told = meeting(link, rate, 3, lambda _: 1_000_000, began=5.0)
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(told) if b[1] < 0.97 * a[1]]
    assert gaps
    assert min(gaps) < 0.2


def test_a_moment_in_which_we_did_not_read_is_no_queue() -> None:
    """400 ms of packets come at once, as after our own stall: what had come before them is not all that comes."""
    link, rate = Link(20e6), ReceiveRate()
    told: list[tuple[float, int]] = []
    now = 0.0
    for k in range(600):
        now = k / 60
        stalled = 5.0 <= now < 5.4
        at = 5.4 + (now - 5.4) * 1e-3 if stalled else now
        rate.arrived(1500, at)
        rate.timed(abs_send_time(now - 0.02), at)
        if not stalled and (estimate := rate.due(now)) is not None:
            told.append((now, estimate))
    assert min(estimate for _, estimate in told) > 0.5 * 8 * 1500 * 60
    assert link.dropped == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 1 << 25), st.integers(0, 70_000), st.floats(-1.0, 5.0)), max_size=400))
def test_any_stamps_sizes_and_clocks_give_a_figure_within_bounds(packets: list[tuple[int, int, float]]) -> None:
    rate, now = ReceiveRate(), 1000.0
    for stamp, size, step in packets:
        now += max(0.0, step)
        rate.arrived(size, now)
        rate.timed(stamp, now)
        estimate = rate.due(now)
        assert estimate is None or FLOOR_BPS <= estimate <= CEILING_BPS


def test_send_times_wrap_every_64_seconds_without_being_noticed() -> None:
    rate = ReceiveRate()
    meeting(Link(20e6), rate, 90, lambda _: 800_000, began=30.0)
    assert rate.overuses == 0
    assert rate.queue is Queue.STEADY


def test_packets_sent_together_are_one_group_and_a_stall_of_ours_is_one_burst() -> None:
    groups = ArrivalGroups()
    assert groups.add(0.0, 1.0) is None
    assert groups.add(0.004, 1.004) is None         # the same group
    assert groups.add(0.030, 1.030) is None         # the second: nothing to compare the first with
    assert groups.add(0.060, 1.060) == (0.030 - 0.004, 1.030 - 1.004)
    # 40 ms in which we did not read: what was sent 30 and 60 ms later comes in the same moment
    assert groups.add(0.090, 1.160) is not None
    assert groups.add(0.120, 1.1601) is None
    assert groups.add(0.150, 1.1602) is None


def test_what_arrives_is_counted_over_the_last_second() -> None:
    rate = ArrivingRate()
    for k in range(300):
        rate.add(125, 100 + k * 0.01)
    assert rate.bps(103.0) is not None
    assert abs((rate.bps(103.0) or 0) - 100_000) < 6000
    assert rate.bps(110.0) is None
    rate.add(125, 120.0)
    assert rate.bps(120.1) is None
