"""Frames per second, freezes, ages; what the process costs."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.frame_timing import MAX_AGES, FrameTiming
from vidconf.engine.stats import ProcessUsage


def played(timing: FrameTiming, start: float, count: int, gap: float = 1 / 30) -> float:
    for k in range(count):
        timing.shown(start + k * gap)
    return start + (count - 1) * gap


def test_a_steady_picture() -> None:
    timing = FrameTiming()
    end = played(timing, 10.0, 91)
    report = timing.report()
    assert (report["frames"], report["freezes"], report["fps"]) == (91, 0, 30.0)
    assert 28 < timing.fps(end) < 33
    assert timing.first_at == 10.0


def test_a_gap_is_a_freeze_when_it_is_long_against_the_mean() -> None:
    timing = FrameTiming()
    end = played(timing, 0.0, 60)
    timing.shown(end + 0.17)        # less than the mean and 150 ms
    assert timing.freezes == 0
    timing.shown(end + 0.17 + 0.4)
    assert timing.freezes == 1
    assert abs(timing.freeze_s - 0.4) < 1e-6


def test_slow_pictures_are_no_freezes() -> None:
    timing = FrameTiming()
    played(timing, 0.0, 30, gap=0.2)
    assert timing.freezes == 0


def test_a_pause_is_no_freeze_and_no_time() -> None:
    timing = FrameTiming()
    end = played(timing, 0.0, 31)
    timing.pause()
    played(timing, end + 60, 31)
    assert timing.freezes == 0
    assert timing.report()["fps"] == round(61 / 2.0, 2)


def test_ages() -> None:
    timing = FrameTiming()
    for k in range(101):
        timing.shown(k / 30, float(k))
    assert timing.report()["latency_ms"] == {"p50": 50.0, "p95": 95.0}


@given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), max_size=200))
def test_bounded_and_never_negative(gaps: list[tuple[float, bool]]) -> None:
    timing, now = FrameTiming(), 0.0
    for gap, pause in gaps:
        now += gap
        if pause:
            timing.pause()
        timing.shown(now, 5.0)
    report = timing.report()
    assert report["fps"] >= 0
    assert report["freeze_s"] >= 0
    assert len(timing._ages) <= MAX_AGES
    assert timing.fps(now) >= 0


def test_usage() -> None:
    usage = ProcessUsage()
    ends = time.monotonic() + 0.2
    while time.monotonic() < ends:
        pass
    assert usage.sample() > 5
    assert usage.mean() > 5
    assert usage.rss_mb() > 10
