"""The far end on the microphone's clock: whole, in its place, through drift, late threads, pauses and wild times."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.engine.far_end import AHEAD_S, KEPT, FarEnd

RATE_HZ, BLOCK = 48_000, 960


def wave(count: int, first: int = 0, hz: float = 1000.0) -> np.ndarray:
    return np.rint(10_000 * np.sin(2 * np.pi * hz * (first + np.arange(count)) / RATE_HZ)).astype(np.int16)


def run(far: FarEnd, seconds: float, ppm: float, seed: int | None, begin: float = 50.0) -> tuple[np.ndarray, np.ndarray]:
    """What is taken, and the sample each should be: the card takes a tone by our clock, the microphone is `ppm` fast."""
    late = random.Random(seed)
    taken, due, written, k = [], [], 0, 0
    while k * BLOCK / RATE_HZ < seconds:
        starts = begin + k * BLOCK / RATE_HZ / (1 + ppm * 1e-6)
        ends = starts + BLOCK / RATE_HZ / (1 + ppm * 1e-6)
        while begin + written / RATE_HZ <= ends:
            far.played(wave(BLOCK, written).tobytes(), begin + written / RATE_HZ + (late.uniform(0, 0.02) if seed is not None else 0.0))
            written += BLOCK
        taken.append(far.take(starts, BLOCK))
        due.append((starts - begin - AHEAD_S + BLOCK / RATE_HZ + np.arange(BLOCK) / RATE_HZ / (1 + ppm * 1e-6)) * RATE_HZ)
        k += 1
    return np.concatenate(taken), np.concatenate(due)


@pytest.mark.parametrize("ppm", [-100.0, 0.0, 100.0])
def test_it_is_read_where_it_belongs_and_follows_the_drift(ppm: float) -> None:
    """The tone comes back whole, and its phase stays where AEC3 found it once."""
    taken, due = run(FarEnd(), 30, ppm, 4)
    phases = []
    for at in range(10 * RATE_HZ, 29 * RATE_HZ, RATE_HZ // 2):
        part, when = taken[at : at + 4800].astype(float), due[at : at + 4800]
        tone = np.exp(-2j * np.pi * 1000 * when / RATE_HZ)
        found = 2 * np.mean(part * tone)
        rest = part - np.real(found * np.conj(tone))
        assert np.sqrt(np.mean(rest**2)) < 0.04 * 10_000, "no click, no hole"
        phases.append(np.angle(found) / (2 * np.pi) * 48)
    assert np.ptp(np.unwrap(np.array(phases) * 2 * np.pi / 48) * 48 / (2 * np.pi)) < 40, "within 0.8 ms over twenty seconds"


def test_a_drift_is_not_saved_up() -> None:
    far = FarEnd()
    run(far, 60, 200.0, 7)
    assert far.restarts <= 2, "once to begin, once where its first second was all late"
    assert far.late == 0


def test_a_card_that_fills_its_buffer_first_and_one_that_ran_dry() -> None:
    """Three blocks at once, then in step; after four seconds it has nothing for 15 ms, which no sound server tells us."""
    far, written, taken = FarEnd(), 0, []
    for k in range(403):
        at = 20.0 + max(0, k - 2) * 0.02 + (0.015 if k > 200 else 0.0)
        far.played(wave(BLOCK, written).tobytes(), at)
        written += BLOCK
        taken.append((at, far.take(at - 0.02, BLOCK)))
    for begin, end in ((20.5, 24.0), (24.8, 28.0)):
        steady = np.concatenate([block for at, block in taken if begin < at < end])
        assert np.abs(steady).reshape(-1, 48).max(axis=1).min() > 9000, "no hole"
        assert np.abs(np.diff(steady.astype(int))).max() < 1600, "no jump: 1 kHz at this level has steps of 1306"
    assert far.gaps == 1
    assert far.restarts <= 3


def test_nothing_played_is_silence_and_a_pause_begins_anew() -> None:
    far = FarEnd()
    assert not far.take(10.0, BLOCK).any()
    run(far, 2, 0.0, None, begin=20.0)
    assert not far.take(30.0, BLOCK).any()
    taken, _ = run(far, 2, 0.0, None, begin=40.0)
    assert np.abs(taken[RATE_HZ:]).max() > 9000
    assert far.restarts == 2


def test_more_than_is_kept_at_once() -> None:
    far = FarEnd()
    far.played(wave(3 * KEPT).tobytes(), 10.0)
    assert len(far.take(10.0, BLOCK)) == BLOCK


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5000), st.floats(-1, 1)), max_size=60))
def test_wild_times_and_sizes(steps: list[tuple[bool, int, float]]) -> None:
    far, at = FarEnd(), 100.0
    for write, count, later in steps:
        at += later
        if write:
            far.played(bytes(2 * count), at)
        else:
            assert len(far.take(at, count + 1)) == count + 1
