"""The laboratory's arithmetic: freezes and latency from times, a voice's place, score and delay from a recording."""

from __future__ import annotations

import numpy as np
import pytest

from bench.network import frame_times, voices

STEADY = [k / 30 for k in range(300)]


def test_a_steady_picture_does_not_freeze() -> None:
    assert frame_times.freezes(STEADY) == (0, 0.0)
    assert frame_times.freezes([]) == (0, 0.0)


@pytest.mark.parametrize(("gap_s", "count"), [(0.17, 0), (0.19, 1), (1.0, 1)])
def test_a_gap_is_a_freeze_from_mean_plus_150_ms(gap_s: float, count: int) -> None:
    times = [*STEADY, *(STEADY[-1] + gap_s + k / 30 for k in range(100))]
    assert frame_times.freezes(times) == (count, pytest.approx(gap_s if count else 0.0))


def test_a_slow_picture_freezes_from_three_times_its_mean() -> None:
    slow = [k / 5 for k in range(60)]
    assert frame_times.freezes([*slow, slow[-1] + 0.55])[0] == 0
    assert frame_times.freezes([*slow, slow[-1] + 0.65])[0] == 1


def test_a_picture_that_never_comes_back_is_a_freeze() -> None:
    count, seconds = frame_times.freezes(STEADY, until=STEADY[-1] + 4)
    assert (count, seconds) == (1, pytest.approx(4))


def test_only_the_watch_counts() -> None:
    seen = [(at, 40.0 + (at > 5)) for at in STEADY if not 1.0 < at < 2.0]
    found = frame_times.pictures(seen, 5.0, 10.0)
    assert found["freezes"] == 0
    assert found["fps"] == pytest.approx(30, abs=0.5)
    assert found["latency_p50_ms"] == 41.0
    assert frame_times.pictures([], 0.0, 5.0)["latency_p50_ms"] is None


def spoken(seconds: float, begin_s: float = 3.1) -> np.ndarray:
    said, rate = voices.loop(voices.RATE_HZ), voices.RATE_HZ
    return np.take(said, range(int(begin_s * rate), int((begin_s + seconds) * rate)), mode="wrap").astype(np.float32)


def test_what_is_heard_as_said_scores_high_and_in_place() -> None:
    heard = spoken(24)
    scored = voices.score(heard, 0.5, 23.5)
    assert len(scored.scores) >= 3
    assert min(scored.scores) > 4.4
    assert scored.unheard == 0


def test_holes_cost_and_silence_is_the_worst() -> None:
    heard = spoken(24)
    torn = heard.copy()
    for k in range(0, len(torn) - 320, 3200):
        torn[k : k + 640] = 0
    torn_scores = voices.score(torn, 0.5, 23.5).scores
    assert len(torn_scores) >= 3
    assert max(torn_scores) < 3
    silent = voices.score(heard * 0, 0.5, 23.5)
    assert set(silent.scores) == {1.0}
    assert silent.unheard == len(silent.scores)


def test_a_delay_that_grows_is_seen_where_it_grows() -> None:
    rate = voices.RATE_HZ
    heard = spoken(24)
    late = np.concatenate([heard[: 12 * rate], np.zeros(int(0.2 * rate), np.float32), heard[12 * rate :]])
    found = voices.delays(late)
    assert len(found) > 60
    before = [ms for at, ms in found if at < 11.5]
    after = [ms for at, ms in found if at > 12.8]
    assert np.median(after) - np.median(before) == pytest.approx(200, abs=2)
    assert max(before) - min(before) < 3
