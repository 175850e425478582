"""When frames go to the decoder: at once on a clean way, evenly on an uneven one, never long after the way has become better."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from vidconf.rtp.render_time import MAX_DELAY_S, RenderTime

FRAME_S = 1 / 30


@dataclass
class Run:
    """What became of the frames: arrival, and when each went on."""

    arrived: list[float] = field(default_factory=list)
    released: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)

    @property
    def waits(self) -> list[float]:
        return [r - a for a, r in zip(self.arrived, self.released, strict=True)]

    def gaps_s(self, begin: int) -> list[float]:
        times = self.released[begin:]
        return [b - a for a, b in itertools.pairwise(times)]


def run(render: RenderTime, late_s: list[float], *, repaired: set[int] = frozenset(), size: int = 8000, first: int = 0) -> Run:  # type: ignore[assignment]
    """Frames 30 a second, each so much later than the way's least; in order, one behind the other."""
    out = Run()
    free = 0.0
    for k, late in enumerate(late_s):
        n = first + k
        stamp = (n * 3000 + 4_294_900_000) & 0xFFFFFFFF
        own = 100 + n * FRAME_S + late
        free = max(free, own)       # a frame waits for those before it
        render.arrived(stamp, size if n % 300 else 8 * size, own, repaired=k in repaired)
        at = max(free, render.due(stamp, free))
        free = at
        render.released(stamp, at)
        out.arrived.append(own)
        out.released.append(at)
        out.delays.append(render.delay_s)
    return out


def quantile(values: list[float], part: float) -> float:
    return sorted(values)[int(part * (len(values) - 1))]


def test_on_a_clean_way_nothing_waits() -> None:
    chance = random.Random(1)
    out = run(RenderTime(), [chance.uniform(0, 0.003) for _ in range(900)])
    assert max(out.waits) == 0.0


def test_a_shaking_way_is_made_even() -> None:
    chance = random.Random(2)
    out = run(RenderTime(), [abs(chance.gauss(0, 0.03)) for _ in range(1800)])
    before = [b - a for a, b in itertools.pairwise(out.arrived)]
    uneven = sum(abs(g - FRAME_S) for g in before) / len(before)
    even = sum(abs(g - FRAME_S) for g in out.gaps_s(300)) / len(out.gaps_s(300))
    assert even < uneven / 3
    assert quantile(out.waits, 0.95) < 0.1


def test_a_machine_that_stalls_now_and_then_is_not_waited_for() -> None:
    chance = random.Random(8)
    late = [0.3 if k % 90 == 0 else chance.uniform(0, 0.004) for k in range(1800)]
    for k in range(1, 1800):
        late[k] = max(late[k], late[k - 1] - FRAME_S)        # the frames behind come with it
    out = run(RenderTime(), late)
    assert quantile(out.waits[300:], 0.8) < 0.01
    assert quantile(out.delays[300:], 0.9) < 0.08


def lossy(seconds: int, rtt_s: float, tries: int, seed: int = 3) -> tuple[list[float], set[int]]:
    """Lateness of frames of which two in five need a repair, one in a hundred of those up to `tries` of them."""
    chance = random.Random(seed)
    late, repaired = [], set()
    for k in range(30 * seconds):
        if chance.random() < 0.4:
            repaired.add(k)
            late.append((rtt_s + 0.005) * (tries if chance.random() < 0.01 else 1))
        else:
            late.append(chance.uniform(0, 0.002))
    return late, repaired


def test_a_way_that_loses_is_given_only_what_keeps_a_repair_from_being_a_freeze() -> None:
    for rtt_s, tries in ((0.05, 3), (0.1, 3), (0.05, 4)):
        render = RenderTime()
        render.rtt_s = rtt_s
        late, repaired = lossy(60, rtt_s, tries)
        out = run(render, late, repaired=repaired)
        settled = out.gaps_s(600)
        assert max(settled) < FRAME_S + 0.15
        assert render.delay_s <= max(0.0, tries * (rtt_s + 0.005) - 0.15) + 0.05


def test_a_short_way_that_loses_is_given_nothing() -> None:
    render = RenderTime()
    render.rtt_s = 0.002
    late, repaired = lossy(60, 0.02, 1)
    assert max(run(render, late, repaired=repaired).delays) == 0.0


def test_the_delay_goes_away_when_the_way_is_clean_again() -> None:
    render = RenderTime()
    render.rtt_s = 0.08
    late, repaired = lossy(20, 0.08, 3)
    run(render, late, repaired=repaired)
    assert render.delay_s > 0.05
    out = run(render, [0.0] * 30 * 70, first=600)
    assert out.delays[-1] == 0.0
    steps = [abs(b - a) for a, b in itertools.pairwise(out.delays)]
    assert max(steps) <= 0.1 * FRAME_S * 1.15


def test_a_way_that_becomes_shorter_is_not_waited_for() -> None:
    render = RenderTime()
    chance = random.Random(4)
    late = [0.15 + abs(chance.gauss(0, 0.02)) for _ in range(900)]
    late += [abs(chance.gauss(0, 0.02)) for _ in range(900)]
    out = run(render, late)
    assert quantile(out.waits[900 + 200 :], 0.9) < 0.08


def test_what_lip_sync_wants_is_reached_slowly_and_given_back() -> None:
    render = RenderTime()
    run(render, [0.0] * 60)
    render.least_delay_s = 0.12
    out = run(render, [0.0] * 60, first=60)
    assert abs(out.delays[-1] - 0.12) < 1e-6
    assert max(b - a for a, b in itertools.pairwise(out.delays)) <= 0.1 * FRAME_S * 1.15
    assert abs(out.waits[-1] - 0.12) < 0.005
    render.least_delay_s = 0.0
    out = run(render, [0.0] * 60, first=120)
    assert out.delays[-1] == 0.0


def test_another_clock_begins_anew() -> None:
    render = RenderTime()
    run(render, [0.02 * (k % 3) for k in range(200)])
    render.arrived(5, 1000, 500.0, repaired=False)
    assert render.due(5, 500.0) < 500.5


def test_rare_pictures_are_not_smoothed() -> None:
    render = RenderTime()
    chance = random.Random(5)
    for n in range(200):
        at = 100 + n * 0.5 + chance.uniform(0, 0.2)
        render.arrived(n * 45_000, 20_000, at, repaired=False)
        assert render.due(n * 45_000, at) <= at
        render.released(n * 45_000, at)


@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 32) - 1), st.integers(0, 1 << 20), st.floats(0, 5), st.booleans(), st.floats(0, 3)), max_size=120,
    )
)
def test_whatever_comes_nothing_waits_long(frames: list[tuple[int, int, float, bool, float]]) -> None:
    render, now = RenderTime(), 10.0
    for stamp, size, pause_s, repaired, least_s in frames:
        now += pause_s
        render.rtt_s, render.least_delay_s = pause_s, least_s
        render.arrived(stamp, size, now, repaired=repaired)
        assert render.due(stamp, now) - now <= MAX_DELAY_S + 3.1
        render.released(stamp, now)
        assert 0.0 <= render.delay_s <= MAX_DELAY_S + 1e-9
