"""A device's clock as we learn of it: late, unevenly, at a rate of its own, with holes."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.rtp.sample_clock import JUMP_S, SLIDE, WINDOW_S, SampleClock

RATE_HZ, BLOCK = 48_000, 960


def told(clock: SampleClock, blocks: int, ppm: float, late: random.Random | None = None, begin: float = 100.0) -> list[float]:
    """How far off the clock's answer is after each block, seconds; it is told up to 40 ms late."""
    off = []
    last = 0.0
    for k in range(1, blocks + 1):
        made = begin + k * BLOCK / RATE_HZ / (1 + ppm * 1e-6)
        last = max(last, made + (late.uniform(0, 0.04) if late else 0.0))
        clock.note(k * BLOCK, last)
        off.append(clock.time_of(k * BLOCK) - made)
    return off


@settings(deadline=None, max_examples=30)
@given(st.floats(-300, 300), st.integers(0, 1000))
def test_it_follows_a_drifting_device_smoothly(ppm: float, seed: int) -> None:
    off = told(SampleClock(RATE_HZ), 3000, ppm, random.Random(seed))
    assert max(abs(o) for o in off[100:]) < 0.015, "the earliest of fifty that are up to 40 ms late"
    steps = [b - a for a, b in itertools.pairwise(off[60:])]
    assert max(map(abs, steps)) < (SLIDE + 400e-6) * 0.2, "never a jump: at most what a late block's time lets it slide"


def test_a_minute_of_drift_is_followed_not_saved_up() -> None:
    off = told(SampleClock(RATE_HZ), 60 * 50, 100)
    assert abs(off[-1]) < 0.001, "6 ms by now, had it only counted"


def test_a_burst_after_a_stall_changes_nothing() -> None:
    clock = SampleClock(RATE_HZ)
    told(clock, 500, 0)
    before = clock.time_of(0)
    made = 100.0 + 500 * BLOCK / RATE_HZ
    for k in range(501, 521):       # 20 blocks at once, 0.4 s late
        clock.note(k * BLOCK, made + 0.4)
        assert clock.jumped_s == 0.0
    assert abs(clock.time_of(0) - before) < 0.002


def test_lost_samples_are_a_jump_once_they_are_sure() -> None:
    clock = SampleClock(RATE_HZ)
    told(clock, 500, 0)
    lost_s, jumps = 0.3, []
    for k in range(501, 651):
        at = 100.0 + k * BLOCK / RATE_HZ + lost_s
        clock.note(k * BLOCK, at)
        if clock.jumped_s:
            jumps.append((at, clock.jumped_s))
    assert len(jumps) == 1
    assert abs(jumps[0][1] - lost_s) < 0.005
    assert WINDOW_S < jumps[0][0] - 110.0 < WINDOW_S + 0.1, "as soon as a whole window says so"
    assert abs(clock.time_of(650 * BLOCK) - (100.0 + 650 * BLOCK / RATE_HZ + lost_s)) < 0.002


def test_a_late_beginning_is_mended_at_once() -> None:
    clock = SampleClock(RATE_HZ)
    clock.note(BLOCK, 100.5)        # the first block took half a second to be told
    clock.note(2 * BLOCK, 100.04)
    assert clock.time_of(0) == 100.0
    assert clock.jumped_s == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100_000), st.floats(0, 1e6)), min_size=1, max_size=50))
def test_whatever_is_told_the_line_stays_a_line(notes: list[tuple[int, float]]) -> None:
    clock, count = SampleClock(RATE_HZ), 0
    for more, at in notes:
        count += more
        clock.note(count, at)
    assert abs(clock.count_at(clock.time_of(1234.5)) - 1234.5) < 0.01
    assert clock.time_of(RATE_HZ) - clock.time_of(0) - 1 < 1e-6
    assert JUMP_S > 0
