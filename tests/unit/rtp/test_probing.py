"""When a probe is sent, how fast, and what its answer proves; what arrives; whether the application is what limits."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.acknowledged_rate import AcknowledgedRate, ApplicationLimited
from vidconf.rtp.feedback import SentPacket
from vidconf.rtp.probing import ANSWER_S, MAX_CLUSTERS, Probe, ProbePlan, ProbeResults

LIMIT = 5_000_000.0


def sent(probe: Probe, carried_bps: float, count: int = 8, size: int = 1000) -> list[SentPacket]:
    """A cluster at its own rate through a place that carries less or more."""
    packets, free = [], 0.0
    for k in range(count):
        at = 8 * size * k / probe.bps
        free = max(free, at) + 8 * size / carried_bps
        packets.append(SentPacket(k, size, at, free, probe.cluster))
    return packets


def test_an_answer_is_what_was_carried() -> None:
    results, probe = ProbeResults(), Probe(1, 2_000_000, 5, 5_000)
    results.began(probe)
    assert results.on_report(sent(probe, 10_000_000)) == pytest.approx(2_000_000, rel=0.02)
    probe = Probe(2, 2_000_000, 5, 5_000)
    results.began(probe)
    assert results.on_report(sent(probe, 1_000_000)) == pytest.approx(950_000, rel=0.02), "the way was full: a little less is usable"


def test_too_few_of_a_cluster_or_of_none_say_nothing() -> None:
    results, probe = ProbeResults(), Probe(1, 2_000_000, 5, 5_000)
    assert results.on_report(sent(probe, 10_000_000)) is None, "it was never begun"
    results.began(probe)
    assert results.on_report(sent(probe, 10_000_000)[:3]) is None
    assert results.on_report([SentPacket(1, 1000, 0.0, None, 1)] * 9) is None


def test_what_was_held_up_and_let_go_together_says_nothing() -> None:
    results, probe = ProbeResults(), Probe(1, 1_000_000, 5, 5_000)
    results.began(probe)
    together = [SentPacket(k, 1000, 0.008 * k, 1.0 + 0.001 * k, 1) for k in range(8)]
    assert results.on_report(together) is None


@given(st.lists(st.builds(SentPacket, st.integers(0, 9), st.integers(0, 1500), st.floats(0, 9), st.none() | st.floats(0, 9), st.integers(0, 40)), max_size=60))
def test_whatever_is_reported_a_result_is_a_rate(packets: list[SentPacket]) -> None:
    results = ProbeResults()
    for cluster in range(1, 30):
        results.began(Probe(cluster, 1_000_000, 3, 2_000))
        assert len(results._clusters) <= MAX_CLUSTERS
    found = results.on_report(packets)
    assert found is None or (math.isfinite(found) and found > 0)


def test_it_begins_with_three_and_six_times_and_goes_on_while_it_is_answered_well() -> None:
    plan = ProbePlan()
    first = plan.due(300_000, LIMIT, 0.0, idle=False, steady_s=0, held_back=False)
    assert [p.bps for p in first] == [900_000, 1_800_000]
    assert len({p.cluster for p in first}) == 2
    assert plan.answered(900_000, LIMIT, 0.1) == [], "the faster one is still out"
    (further,) = plan.answered(1_750_000, LIMIT, 0.1)
    assert further.bps == 3_500_000
    assert plan.answered(1_900_000, LIMIT, 0.2) == [], "that was all the way carries"


def test_in_the_beginning_what_failed_is_tried_again_each_second() -> None:
    plan = ProbePlan()
    times = [t for t in (0.05 * k for k in range(100)) if plan.due(500_000, LIMIT, t, idle=False, steady_s=0.3, held_back=False)]
    assert len(times) == 5
    assert all(1 <= b - a < 1.15 for a, b in itertools.pairwise(times))


def test_no_faster_than_is_of_use() -> None:
    plan = ProbePlan()
    (only,) = plan.due(300_000, 700_000, 0.0, idle=False, steady_s=0, held_back=False)
    assert only.bps == 700_000
    assert plan.answered(700_000, 700_000, 0.1) == []
    for k in range(200):
        assert plan.due(690_000, 700_000, 1 + k * 0.5, idle=True, steady_s=9, held_back=False) == []


def test_it_asks_again_where_more_would_be_of_use_seldomer_each_time() -> None:
    plan = ProbePlan()
    plan.due(500_000, LIMIT, 0.0, idle=False, steady_s=0, held_back=False)
    times = [t * 0.05 for t in range(120, 2800) if plan.due(500_000, LIMIT, t * 0.05, idle=False, steady_s=5, held_back=False)]
    gaps = [round(b - a, 1) for a, b in itertools.pairwise(times)]
    assert all(b >= a - 0.1 for a, b in itertools.pairwise(gaps))
    assert times[0] == 6
    assert gaps[0] < 5
    assert 14 < gaps[-1] < 16


def test_after_a_cut_it_asks_soon_whatever_came_before() -> None:
    plan = ProbePlan()
    plan.due(500_000, LIMIT, 0.0, idle=False, steady_s=0, held_back=False)
    for t in range(1, 1800):
        plan.due(500_000, LIMIT, t * 0.05, idle=False, steady_s=5, held_back=False)
    plan.estimated(2_000_000, 90.0)
    plan.estimated(400_000, 91.0)
    times = [t for t in (91 + 0.05 * k for k in range(500)) if plan.due(400_000, LIMIT, t, idle=False, steady_s=5, held_back=False)]
    assert all(b - a <= 5.1 for a, b in itertools.pairwise(times))


def test_a_filling_queue_and_losses_hold_it_back() -> None:
    plan = ProbePlan()
    plan.due(500_000, LIMIT, 0.0, idle=False, steady_s=0, held_back=False)
    assert plan.due(500_000, LIMIT, 20.0, idle=True, steady_s=0.9, held_back=False) == []
    assert plan.due(500_000, LIMIT, 20.0, idle=True, steady_s=9.0, held_back=True) == []
    assert plan.due(500_000, LIMIT, 20.0 + ANSWER_S, idle=True, steady_s=9.0, held_back=False)


def arrive(rate: AcknowledgedRate, bps: float, since: float, until: float, size: int = 1000) -> None:
    step = 8 * size / bps
    for k in range(int((until - since) / step)):
        rate.add(size, since + k * step)


def test_what_arrives_is_known_after_half_a_second_and_followed() -> None:
    rate = AcknowledgedRate()
    assert rate.bps is None
    arrive(rate, 1_000_000, 0, 2)
    assert rate.bps == pytest.approx(1_000_000, rel=0.05)
    arrive(rate, 400_000, 2, 6)
    assert rate.bps == pytest.approx(400_000, rel=0.1)
    arrive(rate, 2_000_000, 6, 6.3)
    assert rate.recent_bps == pytest.approx(2_000_000, rel=0.1), "the last moment alone is ahead"


@given(st.lists(st.tuples(st.integers(0, 1500), st.floats(-1e9, 1e9)), max_size=80))
def test_times_of_any_kind_give_a_rate_or_none(packets: list[tuple[int, float]]) -> None:
    rate = AcknowledgedRate()
    for size, at in packets:
        rate.add(size, at)
        assert rate.bps is None or rate.bps >= 0
        assert rate.recent_bps is None or rate.recent_bps >= 0


def test_who_sends_little_is_what_limits_until_much_is_sent_again() -> None:
    application, now = ApplicationLimited(1_000_000), 0.0
    application.look(now)
    while now < 2:
        now += 0.01
        application.sent(200, now)
    assert application.limited
    began = now
    while application.limited:
        now += 0.01
        application.sent(1250, now)
    assert now - began < 1
    for _ in range(300):
        now += 0.01
        application.sent(1000, now)
    assert not application.limited, "four fifths of the target is no little"


def test_where_all_that_is_of_use_was_asked_for_nothing_more_is() -> None:
    """Answers come a little below what was asked: that is no reason to ask the same again, twelve times a second."""
    plan = ProbePlan()
    (first,) = plan.due(400_000, 400_000, 10.0, idle=False, steady_s=0.0, held_back=False)
    assert first.bps == 400_000
    assert plan.answered(392_000, 400_000, 10.1) == []
    plan = ProbePlan()
    plan.due(400_000, 4_000_000, 10.0, idle=False, steady_s=0.0, held_back=False)
    assert [probe.bps for probe in plan.answered(2_390_000, 4_000_000, 10.1)] == [4_000_000], "more is of use still"
