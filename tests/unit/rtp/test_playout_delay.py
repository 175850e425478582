"""How late packets are, and what is made of it."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.playout_delay import LEAST_S, MOST_ASKED_S, MOST_S, ArrivalDelay, PlayoutDelay


def through(delays: list[float], drift: float = 0.0, arrivals: ArrivalDelay | None = None, delay: PlayoutDelay | None = None, start: int = 0) -> tuple[ArrivalDelay, PlayoutDelay]:
    """Packet k of 20 ms comes `delays[k]` after it was sent; `drift` of the sender's clock."""
    arrivals, delay = arrivals or ArrivalDelay(), delay or PlayoutDelay()
    for k, late_s in enumerate(delays, start):
        latest_s = arrivals.arrived(k * 0.02 * (1 + drift), 100 + k * 0.02 + late_s)
        if latest_s is not None:
            delay.late(latest_s)
        delay.in_order()
    return arrivals, delay


def test_on_a_clean_network_the_least_is_enough() -> None:
    _, delay = through([0.02] * 100)
    assert delay.target_s == LEAST_S


def test_the_target_covers_nearly_all_lateness_and_follows_it_down() -> None:
    rnd = random.Random(1)
    jitter = [0.02 + rnd.uniform(0, 0.08) for _ in range(3000)]
    arrivals, delay = through(jitter)
    assert 0.09 <= delay.target_s <= 0.12
    through([0.02] * 6000, arrivals=arrivals, delay=delay, start=3000)
    assert delay.target_s == LEAST_S


def test_it_rises_within_a_second_or_two() -> None:
    rnd = random.Random(1)
    arrivals, delay = through([0.02] * 1000)
    through([0.02 + rnd.uniform(0, 0.2) for _ in range(150)], arrivals=arrivals, delay=delay, start=1000)
    assert delay.target_s > 0.15


def test_one_stall_is_no_habit() -> None:
    stall = [0.02 + max(0.0, 0.5 - 0.02 * (k - 300)) if 300 <= k < 325 else 0.02 for k in range(600)]
    _, delay = through(stall)
    assert delay.target_s == LEAST_S


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_clock_that_runs_fast_or_slow_is_no_lateness(drift: float) -> None:
    arrivals, delay = through([0.02] * 30_000, drift)
    assert delay.target_s == LEAST_S
    media_s, now = 30_000 * 0.02 * (1 + drift), 100 + 30_000 * 0.02 + 0.02
    assert abs(arrivals.late_s(media_s, now)) < 0.003


def test_a_clock_that_stood_still_during_a_pause_is_no_lateness() -> None:
    arrivals, delay = through([0.02] * 200)
    through([0.52] * 200, arrivals=arrivals, delay=delay, start=200)
    assert delay.target_s == LEAST_S
    assert abs(arrivals.late_s(400 * 0.02, 100 + 400 * 0.02 + 0.52)) < 0.001


def test_a_longer_way_is_learned_in_a_few_seconds() -> None:
    arrivals, delay = through([0.02] * 200)
    through([0.08] * 3000, arrivals=arrivals, delay=delay, start=200)
    assert abs(arrivals.late_s(3200 * 0.02, 100 + 3200 * 0.02 + 0.08)) < 0.001
    assert delay.target_s == LEAST_S


@pytest.mark.parametrize(("every", "late_s", "waited"), [(10, 0.06, True), (100, 0.06, False), (10, 0.4, False), (5, 0.3, True)])
def test_repairs_are_waited_for_where_that_costs_less_than_the_loss(every: int, late_s: float, waited: bool) -> None:
    """30 ms a per cent: a tenth of the packets is worth 300 ms, a hundredth 30."""
    delay = PlayoutDelay()
    for k in range(2000):
        if k % 25 == 0:
            delay.late(0.0)
        if k % every:
            delay.in_order()
        else:
            delay.out_of_order(late_s)
    assert (delay.target_s >= late_s) == waited
    for _ in range(20):
        for _ in range(500):
            delay.in_order()
        delay.late(0.0)
    assert delay.target_s == LEAST_S, "forgotten when nothing is repaired any more"


def test_a_late_picture_may_ask_for_more_but_not_without_end() -> None:
    delay = PlayoutDelay()
    delay.set_least(0.3)
    assert delay.target_s == 0.3
    delay.late(0.0)
    assert delay.target_s == 0.3
    delay.set_least(60.0)
    assert delay.target_s == MOST_ASKED_S
    delay.set_least(-1.0)
    assert delay.target_s == LEAST_S


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 5), st.floats(-10, 10)), max_size=200))
def test_any_times_leave_the_target_within_its_bounds(packets: list[tuple[float, float, float]]) -> None:
    arrivals, delay, now = ArrivalDelay(), PlayoutDelay(), 0.0
    for media_s, step, late_s in packets:
        now += step
        latest_s = arrivals.arrived(media_s, now)
        if latest_s is not None:
            assert latest_s >= 0
            delay.late(latest_s)
        delay.out_of_order(late_s)
        assert LEAST_S <= delay.target_s <= MOST_S
        assert arrivals.late_s(media_s, now) >= -1e-9
