"""What may be sent, over a way whose narrowest place, queue and losses are known: found soon, held, left and found again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.rtp.bottleneck import run

from vidconf.rtp.congestion import SendRate
from vidconf.rtp.feedback import SentPacket

FLOOR, CEILING = 100_000, 3_000_000
MEGABIT = 1_000_000


def made() -> SendRate:
    return SendRate(500_000, FLOOR, CEILING)


def test_two_megabits_are_found_within_a_second() -> None:
    seen = run(made(), 6, lambda at: 10 * MEGABIT)
    assert seen.first(2 * MEGABIT) <= 1.0
    assert seen.target_bps(2, 6) > 2.4 * MEGABIT
    assert seen.queue_s(0.99) < 0.03


@pytest.mark.parametrize("seed", range(3))
def test_a_narrow_way_is_used_and_its_queue_stays_short(seed: int) -> None:
    seen = run(made(), 30, lambda at: MEGABIT, seed=seed, jitter_s=0.004)
    assert seen.arrived_bps(4, 30) > 0.75 * MEGABIT
    assert seen.queue_s(0.95, 3) < 0.1
    assert seen.queue_s(1.0, 3) < 0.25, "and is never full"


@pytest.mark.parametrize(("loss", "least_bps"), [(0.02, 2_200_000), (0.05, 2_200_000), (0.10, 1_200_000)])
def test_loss_that_is_the_ways_own_is_no_reason_to_send_less(loss: float, least_bps: int) -> None:
    for seed in range(3):
        seen = run(made(), 25, lambda at: 10 * MEGABIT, loss=loss, seed=seed)
        assert seen.target_bps(5, 25) >= least_bps, seed
        assert seen.first(2 * MEGABIT) <= 2.0


def test_nor_for_who_uses_only_part_of_it() -> None:
    for seed in range(3):
        seen = run(made(), 25, lambda at: 10 * MEGABIT, loss=0.05, seed=seed, used=0.7)
        assert seen.target_bps(5, 25) > 2.5 * MEGABIT, seed


def test_loss_that_comes_of_sending_too_much_is() -> None:
    """A queue of two packets: no delay warns, only what does not fit is lost."""
    seen = run(made(), 40, lambda at: MEGABIT, queue_s=0.02)
    assert seen.target_bps(10, 40) < 1.25 * MEGABIT
    assert seen.arrived_bps(10, 40) > 0.7 * MEGABIT


def test_a_way_that_loses_half_is_hardly_used() -> None:
    seen = run(made(), 20, lambda at: 10 * MEGABIT, loss=0.5)
    assert seen.target_bps(10, 20) < 300_000


def test_a_way_that_narrows_is_left_and_found_again() -> None:
    rate = made()
    seen = run(rate, 60, lambda at: MEGABIT / 2 if 15 <= at < 45 else 2.5 * MEGABIT)
    before = seen.arrived_bps(5, 15)
    assert before > 0.8 * 2.5 * MEGABIT
    assert seen.arrived_bps(20, 45) > 0.75 * MEGABIT / 2
    assert seen.queue_s(0.95, 18, 45) < 0.1, "what had gathered is soon gone"
    assert seen.first(0.9 * before, 45) <= 10
    assert seen.arrived_bps(55, 60) > 0.9 * before
    assert rate.overuses > 0


@pytest.mark.parametrize("phase", range(6))
def test_a_way_that_becomes_much_narrower_is_noticed_before_its_queue_is_full(phase: int) -> None:
    cut = 10 + 0.037 * phase
    seen = run(made(), 13, lambda at: MEGABIT / 2 if at >= cut else 2.5 * MEGABIT)
    left = next(at - cut for at, target in seen.targets if at >= cut and target < 0.6 * MEGABIT)
    assert left <= 0.4
    assert seen.queue_s(0.95, cut + 1.5) < 0.1


def test_who_uses_two_thirds_only_comes_back_after_losses_too() -> None:
    """Layers come in steps: what is sent is often well below the target, and yet too much for an application that is idle."""
    seen = run(made(), 60, lambda at: MEGABIT / 2 if 15 <= at < 30 else 2.5 * MEGABIT, queue_s=0.03, used=0.67)
    assert seen.target_bps(20, 30) < MEGABIT
    assert seen.first(2 * MEGABIT, 30) <= 10
    assert seen.target_bps(45, 60) > 1.8 * MEGABIT


def test_a_quiet_application_keeps_what_was_proven_and_proves_it_anew() -> None:
    """Half a minute of a still picture: the target is not forgotten, and holds when the picture moves."""
    rate = made()
    seen = run(rate, 40, lambda at: 4 * MEGABIT, encoder_bps=lambda at: 200_000 if 4 < at < 30 else 2_500_000)
    assert seen.target_bps(10, 30) > 2 * MEGABIT
    assert seen.arrived_bps(31, 36) > 2 * MEGABIT
    assert seen.queue_s(0.99, 30) < 0.1


def test_a_quiet_application_finds_out_that_more_is_carried_now() -> None:
    seen = run(made(), 40, lambda at: MEGABIT if at < 10 else 4 * MEGABIT, encoder_bps=lambda at: 300_000)
    assert seen.target_bps(8, 10) < 1.3 * MEGABIT
    assert seen.target_bps(25, 40) > 1.8 * MEGABIT


def test_silence_shrinks_the_target() -> None:
    rate = made()
    run(rate, 5, lambda at: 10 * MEGABIT)
    for k in range(500):
        now = 5 + k * 0.02
        rate.sent(1200, now)
        rate.probes(now)
    assert rate.target_bps < 0.2 * CEILING


def test_before_any_report_nothing_is_probed_and_the_start_holds() -> None:
    rate = made()
    for k in range(200):
        rate.sent(1200, k * 0.01)
        assert rate.probes(k * 0.01) == []
    assert rate.target_bps == 500_000


result = st.builds(
    SentPacket, st.integers(0, 65535), st.integers(0, 1500), st.floats(0, 100), st.none() | st.floats(-1e6, 1e6), st.integers(0, 40)
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(result, max_size=30), st.floats(0, 3), st.integers(FLOOR, 10_000_000)), max_size=40))
def test_whatever_is_reported_the_target_keeps_its_bounds(reports: list[tuple[list[SentPacket], float, int]]) -> None:
    rate, now = made(), 0.0
    for results, step, ceiling in reports:
        now += step
        rate.ceiling_bps = ceiling
        rate.sent(1200, now)
        rate.on_report(results, now)
        for probe in rate.probes(now):
            assert 0 < probe.bps <= max(ceiling, FLOOR)
        assert FLOOR <= rate.target_bps <= max(ceiling, FLOOR)
        assert 0 <= rate.loss <= 1
