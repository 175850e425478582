"""The delay's and the losses' part of what may be sent, each by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.delay_rate import EARLIEST_S, DelayRate, LinkCapacity, StandingQueue
from vidconf.rtp.feedback import SentPacket
from vidconf.rtp.loss_rate import LossRate
from vidconf.rtp.receive_rate import Queue

FLOOR, CEILING = 100_000, 5_000_000


def test_the_capacity_has_bounds_only_once_it_is_known() -> None:
    capacity = LinkCapacity()
    assert capacity.bounds_bps == (0.0, float("inf"))
    capacity.overused(1_000_000)
    low, high = capacity.bounds_bps
    assert 0.9e6 < low < 1_000_000 < high < 1.1e6
    capacity.probed(2_000_000)
    assert capacity.bps == pytest.approx(1_500_000)
    assert capacity.bounds_bps[1] - capacity.bounds_bps[0] > high - low, "it is less certain now"
    capacity.forget()
    assert capacity.bps is None


def test_a_queue_stands_where_even_the_earliest_packet_is_late() -> None:
    standing = StandingQueue()
    for k in range(20):
        standing.note(-5.0, 0.1 * k)       # the clocks differ
    assert standing.seconds == 0
    standing.note(-4.8, 2.0)
    assert standing.seconds == pytest.approx(0.2)
    for k in range(int(25 * EARLIEST_S)):
        standing.note(-4.8, 2.1 + 0.1 * k)
    assert standing.seconds == 0, "the way itself is longer now"


def reports(delay_s: float, growth_s: float, since: float, count: int, bps: float = 1_000_000) -> list[list[SentPacket]]:
    """Reports of a twentieth of a second each; every packet comes `growth_s` later than the one before it."""
    step, made, number = 8 * 1200 / bps, [], 0
    at, packets = since, []
    for _ in range(count):
        ends = at + 0.05
        while at < ends:
            packets.append(SentPacket(number & 0xFFFF, 1200, at, at + delay_s + growth_s * number))
            at, number = at + step, number + 1
        made.append(packets)
        packets = []
    return made


def test_it_grows_by_eight_per_cent_a_second_and_no_further_than_what_arrives() -> None:
    rate = DelayRate(1_000_000, FLOOR)
    for k, report in enumerate(reports(0.02, 0.0, 0.0, 40)):
        now = 0.05 * (k + 1) + 0.03
        rate.on_report(report, now)
        rate.update(1_000_000, 0.05, CEILING, now)
    assert rate.estimate_bps == pytest.approx(1_000_000 * 1.08**1.95, rel=0.01)
    assert rate.steady_s(now) > 1.5
    for k in range(400):
        rate.update(1_000_000, 0.05, CEILING, now + 0.05 * k)
    assert rate.estimate_bps == pytest.approx(1_510_000)
    before = rate.estimate_bps
    for k in range(20):
        rate.update(5_000_000, 0.05, CEILING, now + 20 + 0.05 * k, idle=True)
    assert rate.estimate_bps == before, "who sends little proves nothing"


def test_a_filling_queue_backs_off_below_what_arrives() -> None:
    rate = DelayRate(2_000_000, FLOOR)
    for k, report in enumerate(reports(0.02, 0.0045, 0.0, 30, 2_000_000)):
        now = 0.05 * (k + 1) + 0.5
        rate.on_report(report, now)
        rate.update(1_000_000, 0.05, CEILING, now)
    assert rate.queue is Queue.FILLING
    assert rate.overuses > 0
    assert rate.estimate_bps <= 860_000


def test_a_probe_raises_and_never_lowers() -> None:
    rate = DelayRate(1_000_000, FLOOR)
    rate.update(500_000, 0.05, CEILING, 0.0, probed_bps=3_000_000)
    assert rate.estimate_bps == 3_000_000
    rate.update(500_000, 0.05, CEILING, 0.1, probed_bps=400_000)
    assert rate.estimate_bps == 3_000_000
    rate.update(500_000, 0.05, 1_000_000, 0.2)
    assert rate.estimate_bps == 1_000_000, "but the ceiling does"


def observed(rate: LossRate, bps: float, lost: float, seconds: float, since: float, delay_bps: float = 3_000_000) -> float:
    step, missing, number, at = 8 * 1200 / bps, 0.0, 0, since
    while at < since + seconds:
        packets = []
        for _ in range(10):
            missing += lost
            gone, missing = missing >= 1, missing - (missing >= 1)
            packets.append(SentPacket(number & 0xFFFF, 1200, at, None if gone else at + 0.05))
            number, at = number + 1, at + step
        rate.on_report(packets, delay_bps, int(bps * (1 - lost)), CEILING)
    return at


def test_a_few_losses_bound_nothing_and_many_do() -> None:
    rate = LossRate(FLOOR)
    assert rate.estimate_bps == float("inf"), "before anything is known"
    at = observed(rate, 2_000_000, 0.03, 6, 0.0)
    assert not rate.bound
    assert rate.estimate_bps == 3_000_000
    assert rate.average == pytest.approx(0.03, abs=0.01)
    at = observed(rate, 2_000_000, 0.4, 5, at)
    assert rate.bound
    assert rate.estimate_bps <= 1_300_000
    observed(rate, 1_000_000, 0.0, 12, at)
    assert not rate.bound, "and it is over when it is over"


def test_what_comes_late_after_all_was_not_lost() -> None:
    rate = LossRate(FLOOR)
    lost = [SentPacket(k, 1000, 0.01 * k, None) for k in range(20)]
    rate.on_report(lost, 3_000_000, None, CEILING)
    rate.on_report([SentPacket(k, 1000, 0.01 * k, 1.0) for k in range(20)], 3_000_000, None, CEILING)
    rate.on_report([SentPacket(99, 1000, 0.4, 1.1)], 3_000_000, None, CEILING)
    assert rate.average == 0


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 1500), st.floats(0, 60), st.booleans(), st.integers(FLOOR, CEILING)), max_size=80))
def test_whatever_is_lost_a_rate_is_said(packets: list[tuple[int, int, float, bool, int]]) -> None:
    rate = LossRate(FLOOR)
    for number, size, at, came, delay_bps in packets:
        rate.on_report([SentPacket(number, size, at, at if came else None)], delay_bps, size * 800 or None, CEILING)
        assert rate.estimate_bps > 0
        assert 0 <= rate.average <= 1
