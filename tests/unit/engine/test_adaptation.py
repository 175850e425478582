"""How large and how often a source is encoded, as rate and machine allow: whatever comes, within bounds, and without flapping."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.adaptation import (
    CHECK_S,
    MIN_BUSY_SCREEN_FPS,
    MIN_CAMERA_FPS,
    MIN_PIXELS,
    MIN_SCREEN_FPS,
    QUANTIZERS,
    STEP,
    WINDOW_S,
    Adaptation,
    Limits,
    OveruseDetector,
    QualityScaler,
    overuse_steps,
    quality_steps,
)

HD = 1280 * 720
FREE = 0.005
"""Seconds a picture costs on a machine that has them to spare."""

sources = st.tuples(st.integers(2, 4096 * 2304), st.floats(1, 60))


class Source:
    """Pictures at their rate, each as coarse and as dear as is said."""

    def __init__(self, adaptation: Adaptation, pixels: int = HD, fps: float = 30) -> None:
        self.adaptation, self.pixels, self.fps, self.now = adaptation, pixels, fps, 100.0
        self.limits = Limits(pixels, fps)
        self.history: list[tuple[float, Limits]] = []

    def run(self, seconds: float, quantizer: Callable[[Limits], int | None] = lambda limits: 60,
            spent: Callable[[Limits], float] = lambda limits: FREE, *, alone: bool = True, left_out: Callable[[int], bool] = lambda k: False) -> Limits:
        for k in range(int(seconds * self.fps)):
            self.now += 1 / min(self.fps, self.limits.max_fps)
            self.adaptation.picture(self.now, spent(self.limits), quantizer(self.limits), left_out=left_out(k))
            found = self.adaptation.decide(self.now, self.pixels, self.fps, alone=alone)
            if found != self.limits:
                self.history.append((self.now, found))
            self.limits = found
        return self.limits


@pytest.mark.parametrize("codec", sorted(QUANTIZERS))
def test_a_camera_that_is_too_coarse_gets_smaller_and_comes_back(codec: str) -> None:
    finer, coarser = QUANTIZERS[codec]
    source = Source(Adaptation(codec))
    assert source.run(1.5, lambda limits: coarser + 1) == Limits(HD, 30), "not at once"
    assert source.run(1.0, lambda limits: coarser + 1) == Limits(int(STEP * HD), 30)
    assert source.run(30, lambda limits: (finer + coarser) // 2) == Limits(int(STEP * HD), 30), "neither too coarse nor fine"
    assert source.run(30, lambda limits: finer) == Limits(HD, 30)


def test_a_camera_never_gets_smaller_than_a_thumbnail_nor_slower_for_quality() -> None:
    found = Source(Adaptation("vp8")).run(120, lambda limits: 127)
    assert MIN_PIXELS <= found.max_pixels < MIN_PIXELS / STEP
    assert found.max_fps == 30
    assert not found.hurry


def test_a_screen_that_is_too_coarse_comes_less_often_and_keeps_its_size() -> None:
    source = Source(Adaptation("vp8", screen=True), 1920 * 1080, 15)
    assert source.run(2.5, lambda limits: 110) == Limits(1920 * 1080, 10)
    found = source.run(120, lambda limits: 110)
    assert found.max_pixels == 1920 * 1080
    assert MIN_SCREEN_FPS <= found.max_fps < MIN_SCREEN_FPS * 1.5
    assert source.run(200, lambda limits: 20) == Limits(1920 * 1080, 15)


def test_most_pictures_left_out_are_as_bad_as_coarse_ones() -> None:
    assert Source(Adaptation("vp8")).run(2.5, lambda limits: 50, left_out=lambda k: k % 5 != 0).max_pixels < HD
    assert Source(Adaptation("vp8")).run(20, lambda limits: 50, left_out=lambda k: k % 2 == 0).max_pixels == HD


def test_an_encoder_that_does_not_tell_is_not_judged() -> None:
    assert Source(Adaptation("vp8")).run(60, lambda limits: None) == Limits(HD, 30)


def test_of_several_layers_quality_is_not_this_room_s_business() -> None:
    source = Source(Adaptation("vp8"))
    assert source.run(60, lambda limits: 127, alone=False) == Limits(HD, 30)
    assert source.run(6, lambda limits: 127).max_pixels < HD
    assert source.run(0.1, lambda limits: 127, alone=False) == Limits(HD, 30), "what was given up comes back with the other layers"


def test_a_busy_machine_takes_less_care_first_then_smaller_pictures_then_fewer() -> None:
    source = Source(Adaptation("vp8"))
    source.run(3 * CHECK_S, spent=lambda limits: 0.95 / 30)
    assert source.history[0][1] == Limits(HD, 30, hurry=True)
    found = source.run(600, spent=lambda limits: 0.95 / limits.max_fps)
    assert MIN_PIXELS <= found.max_pixels < MIN_PIXELS / STEP
    assert MIN_CAMERA_FPS <= found.max_fps < MIN_CAMERA_FPS * 1.5
    sizes = [limits.max_pixels for _, limits in source.history]
    assert sizes == sorted(sizes, reverse=True)
    screen = Source(Adaptation("vp8", screen=True), 1920 * 1080, 15)
    found = screen.run(600, spent=lambda limits: 0.3)
    assert found.max_pixels == 1920 * 1080
    assert MIN_BUSY_SCREEN_FPS <= found.max_fps < MIN_BUSY_SCREEN_FPS * 1.5


def test_a_moment_s_load_is_no_reason_and_half_of_the_time_is_none_either() -> None:
    source = Source(Adaptation("vp8"))
    for _ in range(10):
        source.run(20, spent=lambda limits: 0.5 / 30)
        assert source.run(2, spent=lambda limits: 1.2 / 30) == Limits(HD, 30)


def test_what_the_machine_cannot_bear_is_tried_more_and_more_seldom() -> None:
    """Full size is too much for it, the next smaller one next to nothing: the worst that can be."""
    source = Source(Adaptation("vp8"))
    source.run(1800, spent=lambda limits: (1.2 if limits.max_pixels == HD else 0.1) / 30)
    tries = [at for (at, limits) in source.history if (limits.max_pixels == HD and not limits.hurry) or limits == Limits(HD, 30, True)]
    assert 1 <= len([at for at in tries if at > 1000]) <= 8
    source = Source(Adaptation("vp8"))
    source.run(1800, lambda limits: 127 if limits.max_pixels == HD else 0)
    assert len([at for at, limits in source.history if at > 1000 and limits.max_pixels == HD]) <= 5


@given(sources, st.booleans())
def test_each_step_gives_something_up_and_never_too_much(source: tuple[int, float], screen: bool) -> None:
    pixels, fps = source
    for steps in (quality_steps(pixels, fps, screen=screen), overuse_steps(pixels, fps, screen=screen)):
        assert steps[0] == Limits(pixels, fps)
        for before, after in itertools.pairwise(steps):
            assert after != before
            assert after.max_pixels <= before.max_pixels
            assert after.max_fps <= before.max_fps
            assert before.hurry <= after.hurry
            assert after.max_pixels in (before.max_pixels, *range(int(before.max_pixels * STEP), int(before.max_pixels * STEP) + 2))
        assert steps[-1].max_pixels >= min(pixels, MIN_PIXELS)
        assert steps[-1].max_pixels == pixels or not screen
        assert steps[-1].max_fps >= min(fps, MIN_BUSY_SCREEN_FPS if screen else MIN_CAMERA_FPS)


pictures = st.lists(st.tuples(st.floats(0, 2), st.floats(0, 3), st.one_of(st.none(), st.integers(0, 255)), st.booleans(), st.booleans(), sources), max_size=200)


@given(pictures, st.sampled_from([*QUANTIZERS, "av1"]), st.booleans())
def test_whatever_comes_the_limits_are_the_source_s_or_less(given_: list, codec: str, screen: bool) -> None:
    adaptation, now = Adaptation(codec, screen=screen), 0.0
    for passed, spent, quantizer, left_out, alone, (pixels, fps) in given_:
        now += passed
        adaptation.picture(now, spent, quantizer, left_out=left_out)
        found = adaptation.decide(now, pixels, fps, alone=alone)
        assert min(pixels, MIN_PIXELS) <= found.max_pixels <= pixels
        assert min(fps, MIN_BUSY_SCREEN_FPS) <= found.max_fps <= fps
        assert found.max_pixels == pixels or not screen


@given(st.lists(st.tuples(st.floats(0.001, 1), st.one_of(st.none(), st.integers(0, 127))), max_size=300))
def test_a_window_is_never_judged_before_its_time(given_: list[tuple[float, int | None]]) -> None:
    scaler, now, judged = QualityScaler("vp8"), 0.0, 0.0
    for passed, quantizer in given_:
        now += passed
        scaler.picture(now, quantizer)
        if scaler.verdict(now):
            assert now - judged >= WINDOW_S
            judged = now


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=300))
def test_the_load_stays_a_number_and_is_looked_at_in_its_time(given_: list[tuple[float, float]]) -> None:
    detector, now, told = OveruseDetector(), 0.0, -math.inf
    for passed, spent in given_:
        now += passed
        detector.picture(now, spent)
        assert math.isfinite(detector.load)
        assert detector.load >= 0
        if detector.verdict(now):
            assert now - told >= CHECK_S
            told = now
