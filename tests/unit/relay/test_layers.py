"""The choice of a layer, as LiveKit chooses; what is known of layers; dynacast; the rule for a line that loses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.relay import dynacast
from vidconf.relay.downlink import Downlink
from vidconf.relay.layers import HIGH, LOW, MEDIUM, Layer, Wish, choose, described, in_order, living

CAMERA = [Layer("q", LOW, 320, 180), Layer("h", MEDIUM, 640, 360), Layer("f", HIGH, 1280, 720)]


@pytest.mark.parametrize(
    ("width", "height", "index"),
    [(1, 1, 0), (320, 180, 0), (355, 200, 0), (360, 202, 1), (640, 360, 1), (711, 400, 1), (720, 405, 2), (1280, 720, 2), (4000, 2000, 2)],
)
def test_the_smallest_that_covers_what_is_shown(width: int, height: int, index: int) -> None:
    assert choose(CAMERA, Wish(width=width, height=height, quality=LOW)) == index


@pytest.mark.parametrize(
    ("qualities", "wished", "index"),
    [
        ((LOW, MEDIUM, HIGH), LOW, 0), ((LOW, MEDIUM, HIGH), MEDIUM, 1), ((LOW, MEDIUM, HIGH), HIGH, 2), ((LOW, MEDIUM), HIGH, 1),
        ((LOW, HIGH), MEDIUM, 1), ((MEDIUM, HIGH), LOW, 0), ((MEDIUM, HIGH), MEDIUM, 0), ((HIGH,), LOW, 0),
    ],
)  # fmt: skip
def test_a_quality_is_the_first_layer_as_good(qualities: tuple[int, ...], wished: int, index: int) -> None:
    """The table of LiveKit's VideoQualityToSpatialLayer."""
    assert choose([Layer("", q) for q in qualities], Wish(quality=wished)) == index


def test_of_two_layers_of_one_size_the_better() -> None:
    assert choose([Layer("q", LOW, 320, 180), Layer("h", MEDIUM, 320, 180)], Wish(width=320, height=180)) == 1


@given(st.lists(st.integers(1, 4000), min_size=1, max_size=3), st.integers(1, 4000), st.integers(0, 4000))
def test_no_smaller_layer_would_have_done(heights: list[int], width: int, height: int) -> None:
    layers = [Layer("", k, 2 * h, h) for k, h in enumerate(sorted(heights))]
    chosen = choose(layers, Wish(width=width, height=height))
    assert chosen == len(layers) - 1 or layers[chosen].height >= int(0.9 * height)
    assert all(layer.height < int(0.9 * height) or layer.height == layers[chosen].height for layer in layers[:chosen])


@given(st.lists(st.booleans(), min_size=1, max_size=3), st.data())
def test_what_lives_is_taken_from_below_first(alive: list[bool], data: st.DataObject) -> None:
    wanted = data.draw(st.integers(0, len(alive) - 1))
    found = living(alive, wanted)
    if not any(alive):
        assert found is None
    else:
        assert found is not None
        assert alive[found]
        if any(alive[: wanted + 1]):
            assert found <= wanted
            assert not any(alive[found + 1 : wanted + 1])
        else:
            assert not any(alive[wanted:found])


def test_names_are_ranked_whatever_their_order() -> None:
    assert in_order(("f", "q", "h")) == ("q", "h", "f")
    assert in_order(("0", "1", "2")) == ("2", "1", "0")
    assert in_order(("small", "q", "small")) == ("small", "q")
    assert len(in_order("abcdef")) == 3


def test_what_the_publisher_said_of_its_layers() -> None:
    declared = [Layer("", HIGH, 960, 540), Layer("", LOW, 240, 135), Layer("", MEDIUM, 480, 270)]
    found = described(("q", "h", "f"), declared, 960, 540)
    assert [(x.rid, x.quality, x.height) for x in found] == [("q", LOW, 135), ("h", MEDIUM, 270), ("f", HIGH, 540)]
    named = [Layer("f", HIGH, 960, 540), Layer("q", LOW, 240, 135)]
    assert [(x.quality, x.height) for x in described(("q", "f"), named, 960, 540)] == [(LOW, 135), (HIGH, 540)]
    assert [(x.quality, x.width, x.height) for x in described(("q", "h"), [], 640, 360)] == [(LOW, 320, 180), (MEDIUM, 640, 360)]
    assert [(x.quality, x.height) for x in described(("",), [Layer("", LOW, 320, 180)], 0, 0)] == [(HIGH, 180)]
    lies = [Layer("", HIGH), Layer("", HIGH), Layer("", HIGH)]
    assert [x.quality for x in described(("q", "h", "f"), lies, 0, 0)] == [LOW, MEDIUM, HIGH]


@given(
    st.lists(st.sampled_from(["q", "h", "f", "x"]), min_size=1, max_size=3, unique=True),
    st.lists(st.builds(Layer, st.sampled_from(["", "q", "h", "f"]), st.integers(0, 2), st.integers(0, 2000), st.integers(0, 2000)), max_size=4),
)
def test_qualities_always_rise(rids: list[str], declared: list[Layer]) -> None:
    qualities = [layer.quality for layer in described(rids, declared, 640, 360)]
    assert qualities == sorted(set(qualities))


def test_more_is_told_at_once_and_less_five_seconds_late() -> None:
    watched = dynacast.Watched()
    assert not watched.look(HIGH, 0)
    assert not watched.look(LOW, 1)
    assert not watched.look(dynacast.NOTHING, 5.9)
    assert watched.look(LOW, 6)
    assert watched.told == LOW
    assert not watched.look(dynacast.NOTHING, 7)
    assert not watched.look(LOW, 8)  # somebody is back
    assert not watched.look(dynacast.NOTHING, 9)
    assert not watched.look(dynacast.NOTHING, 13.9)
    assert watched.look(dynacast.NOTHING, 14)
    assert [on for _, on in dynacast.enabled(watched.told)] == [False, False, False]
    assert watched.look(MEDIUM, 14.1)
    assert [on for _, on in dynacast.enabled(watched.told)] == [True, True, False]


def test_a_line_that_loses_gets_less_and_then_more_again() -> None:
    down = Downlink()
    changes = []
    for second in range(40):
        if down.reported(0.2 if 5 <= second < 9 else 0.0, 2, second):
            changes.append((second, down.less))
    assert changes == [(8, 1), (19, 0)]


def test_it_is_not_driven_below_the_smallest() -> None:
    down = Downlink()
    for second in range(60):
        down.reported(0.3, 1, second)
    assert down.less == 1


def test_a_line_that_fails_again_is_tried_again_later() -> None:
    """It carries the lower layer without loss, and loses a fifth of the higher one."""
    down, ups = Downlink(), []
    for second in range(300):
        before = down.less
        down.reported(0.0 if down.less else 0.2, 1, second)
        if down.less < before:
            ups.append(second)
    gaps = [b - a for a, b in itertools.pairwise(ups)]
    assert gaps == sorted(gaps)
    assert gaps[-1] >= 80
