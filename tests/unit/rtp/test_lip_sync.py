"""Sound and picture brought together, whichever is late, and let go when there is no reason any more."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.lip_sync import MAX_PICTURE_HELD_S, MAX_SOUND_HELD_S, CaptureClock, LipSync, Shown, skew_s

NTP = 3_900_000_000 << 32


def test_capture_times_come_from_reports_and_wrap() -> None:
    clock = CaptureClock(90_000)
    assert clock.at(5) is None
    clock.report(0, 77)
    assert clock.at(5) is None
    clock.report(NTP, (1 << 32) - 45_000)
    assert clock.at(45_000) == pytest.approx(3_900_000_001.0)
    assert clock.at((1 << 32) - 90_000) == pytest.approx(3_899_999_999.5)


def test_reports_that_tremble_are_smoothed_and_a_jump_is_believed() -> None:
    clock, chance = CaptureClock(48_000), random.Random(1)
    for second in range(30):
        clock.report(NTP + int((second + chance.uniform(-0.01, 0.01)) * (1 << 32)), 48_000 * second)
    assert clock.at(48_000 * 30) == pytest.approx(3_900_000_030, abs=0.008)
    clock.report(NTP + (500 << 32), 48_000 * 31)
    assert clock.at(48_000 * 31) == pytest.approx(3_900_000_500)


def test_a_later_picture_is_a_positive_skew() -> None:
    assert skew_s(Shown(10.0, 110.1), Shown(10.0, 110.3)) == pytest.approx(0.2)


class Streams:
    """A sound and a picture whose ways differ. What is asked of them they follow at most 100 ms a second."""

    def __init__(self, sound_way_s: float, picture_way_s: float, sound_buffer_s: float = 0.06) -> None:
        self.sound_way_s, self.picture_way_s, self.sound_needs_s = sound_way_s, picture_way_s, sound_buffer_s
        self.sound_s, self.picture_s = sound_buffer_s, 0.0
        self.sync = LipSync()

    @property
    def skew(self) -> float:
        return self.picture_way_s + self.picture_s - self.sound_way_s - self.sound_s

    def second(self, noise_s: float = 0.0) -> float:
        self.sync.update(self.skew + noise_s, self.sound_s, self.picture_s)
        for name, wanted in (("sound_s", max(self.sound_needs_s, self.sync.least_sound_s)), ("picture_s", self.sync.least_picture_s)):
            now = getattr(self, name)
            setattr(self, name, now + max(-0.1, min(0.1, wanted - now)))
        return self.skew


@pytest.mark.parametrize(("sound_s", "picture_s"), [(0.03, 0.18), (0.03, 0.03), (0.23, 0.03), (0.02, 0.4)])
def test_within_seconds_they_are_together_and_stay_so(sound_s: float, picture_s: float) -> None:
    streams, chance = Streams(sound_s, picture_s), random.Random(2)
    skews = [streams.second(chance.uniform(-0.016, 0.016)) for _ in range(120)]
    settled = skews[20:]
    assert sum(abs(s) <= 0.04 for s in settled) >= 0.95 * len(settled)
    assert max(abs(s) for s in settled) < 0.06


def test_no_more_is_held_back_than_needed_when_the_ways_become_equal() -> None:
    streams = Streams(0.03, 0.23)
    for _ in range(30):
        streams.second()
    assert streams.sync.least_sound_s > 0.1
    streams.picture_way_s = 0.03
    for _ in range(40):
        streams.second()
    assert abs(streams.skew) <= 0.04
    assert streams.sync.least_sound_s <= streams.sound_needs_s
    streams.sync.release()
    assert (streams.sync.least_sound_s, streams.sync.least_picture_s) == (0.0, 0.0)


def test_a_picture_that_stalls_once_does_not_make_the_sound_late() -> None:
    sync = LipSync()
    for skew in (0.01, 0.4, 0.02, -0.01, 0.5, 0.01) * 10:
        assert not sync.update(skew, 0.06, 0.0)
    assert (sync.least_sound_s, sync.least_picture_s) == (0.0, 0.0)


def test_clocks_that_have_nothing_to_do_with_each_other_move_nothing() -> None:
    sync = LipSync()
    for _ in range(10):
        assert not sync.update(5000.0, 0.06, 0.0)
    assert (sync.least_sound_s, sync.least_picture_s) == (0.0, 0.0)


@given(st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 2), st.floats(0, 2)), max_size=80))
def test_what_is_held_back_is_bounded_and_only_one_of_them(measured: list[tuple[float, float, float]]) -> None:
    sync = LipSync()
    for skew, sound_s, picture_s in measured:
        sync.update(skew, sound_s, picture_s)
        assert 0 <= sync.least_sound_s <= MAX_SOUND_HELD_S
        assert 0 <= sync.least_picture_s <= MAX_PICTURE_HELD_S
        assert not (sync.least_sound_s and sync.least_picture_s)
