"""What is asked of the server while a window is resized."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.wanted_size import WantedSize

LAYERS = (180, 360, 720)


def asks(size: WantedSize, heights: list[int], step_s: float = 0.02, begin: float = 10.0) -> list[int]:
    """Heights asked for while the picture is shown in these heights, one each `step_s`; without repeats."""
    told: list[int] = []
    for k, height in enumerate(heights):
        asked = size.settled((height * 16 // 9, height), begin + k * step_s)[1]
        if not told or asked != told[-1]:
            told.append(asked)
    return told


def test_growing_asks_once_a_layer_and_at_once() -> None:
    size = WantedSize()
    size.set_layers(LAYERS)
    assert asks(size, list(range(100, 800))) == [100, 181, 361]


def test_shrinking_asks_when_it_has_settled() -> None:
    size = WantedSize()
    size.set_layers(LAYERS)
    assert asks(size, list(range(700, 100, -1)), step_s=0.002) == [700]
    assert asks(size, [100] * 200, begin=12.0) == [700, 100]
    assert asks(size, [100, 90, 101], begin=20.0) == [100]


def test_back_and_forth_within_two_seconds_asks_nothing() -> None:
    size = WantedSize()
    size.set_layers(LAYERS)
    assert asks(size, [700, 300, 300, 700, 200, 700] * 40) == [700]


def test_without_known_layers_a_good_part_counts() -> None:
    size = WantedSize()
    told = asks(size, list(range(300, 600)))
    assert len(told) == 8
    assert all(1.09 < b / a < 1.12 for a, b in itertools.pairwise(told))
    assert asks(size, [590, 570, 500]) == [told[-1]]
    size.forget()
    assert asks(size, [100]) == [100]


def layer(height: int) -> int:
    return next((k for k, high in enumerate(LAYERS) if high >= height), len(LAYERS) - 1)


@given(st.lists(st.tuples(st.integers(1, 4000), st.floats(0, 3)), min_size=1, max_size=60), st.booleans())
def test_a_layer_is_never_too_small_and_in_the_end_right(shown: list[tuple[int, float]], known: bool) -> None:
    size, now = WantedSize(), 0.0
    if known:
        size.set_layers(LAYERS)
    for height, pause_s in shown:
        now += pause_s
        asked = size.settled((height, height), now)[1]
        assert layer(asked) >= layer(height) if known else 1.11 * asked + 1 >= height
    last = shown[-1][0]
    size.settled((last, last), now + 3)
    settled = size.settled((last, last), now + 6)[1]
    assert layer(settled) == layer(last) if known else 0.7 * settled <= last <= 1.11 * settled + 1
