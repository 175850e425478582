"""Which layers are sent, and at what rate: nothing beyond the budget, the important first, no coming and going."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.allocation import FIRST_WAIT_S, LONGEST_WAIT_S, STAYS, Allocator, Need, useful_bps
from vidconf.engine.ladder import HIGH, LOW, MEDIUM, Layer, layers

CAMERA = layers(1280, 720)
SCREEN = layers(1920, 1080, screen=True, most_bps=2_000_000)
ALL = (True, True, True)


def share(budget: int, *needs: Need, allocator: Allocator | None = None, now: float = 0.0) -> list[tuple[int, ...]]:
    found = (allocator or Allocator()).share(budget, dict(enumerate(needs)), now)
    return [found[k] for k in range(len(needs))]


# ---- the ladder


def test_a_camera_is_sent_in_three_sizes() -> None:
    assert [(x.rid, x.quality, x.width, x.height) for x in CAMERA] == [("q", LOW, 320, 180), ("h", MEDIUM, 640, 360), ("f", HIGH, 1280, 720)]
    assert [(x.least_bps, x.enough_bps, x.most_bps) for x in CAMERA] == [
        (30_000, 150_000, 200_000), (150_000, 500_000, 700_000), (600_000, 2_500_000, 2_500_000),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "names"),
    [((1920, 1080), "qhf"), ((960, 540), "qhf"), ((640, 480), "qh"), ((640, 360), "qh"), ((480, 270), "qh"), ((320, 240), ""), ((2, 2), "")],
)
def test_a_small_picture_has_fewer(size: tuple[int, int], names: str) -> None:
    found = layers(*size)
    assert "".join(x.rid for x in found) == names
    assert (found[-1].width, found[-1].height) == size
    assert found[-1].quality == (HIGH if len(found) == 1 else (LOW, MEDIUM, HIGH)[len(found) - 1])


def test_a_screen_is_always_there_whole() -> None:
    assert [(x.rid, x.width, x.height, x.most_bps) for x in SCREEN] == [("q", 960, 540, 300_000), ("h", 1920, 1080, 2_000_000)]
    assert [(x.rid, x.width) for x in layers(800, 600, screen=True)] == [("", 800)]


@given(st.integers(1, 4096), st.integers(1, 4096), st.booleans(), st.none() | st.integers(1, 8_000_000), st.integers(1, 3))
def test_any_size_has_layers_that_make_sense(width: int, height: int, screen: bool, most: int | None, at_most: int) -> None:
    found = layers(2 * width, 2 * height, screen=screen, most_bps=most, at_most=at_most)
    assert 1 <= len(found) <= at_most
    assert (found[-1].width, found[-1].height) == (2 * width, 2 * height)
    for layer in found:
        assert layer.width % 2 == layer.height % 2 == 0
        assert layer.width >= 2 <= layer.height
        assert 0 < layer.least_bps <= layer.most_bps
        assert layer.enough_bps <= layer.most_bps
    assert not most or found[-1].most_bps <= most
    for smaller, larger in itertools.pairwise(found):
        assert smaller.width <= larger.width
        assert smaller.quality < larger.quality


# ---- sharing


def test_a_wide_way_carries_everything() -> None:
    (rates,) = share(10_000_000, Need(CAMERA, ALL))
    assert rates == (150_000, 500_000, 2_500_000)
    assert sum(rates) == Need(CAMERA, ALL).useful_bps


def test_layers_go_from_the_top_where_their_least_does_not_fit() -> None:
    rates = share(1_370_000, Need(CAMERA, ALL))[0]
    assert rates == (150_000, 500_000, 720_000)
    assert share(1_300_000, Need(CAMERA, (True, True, False)))[0] == (150_000, 700_000, 0), "what is left goes to the largest that is sent"
    assert share(200_000, Need(CAMERA, ALL))[0] == (200_000, 0, 0)
    assert share(1, Need(CAMERA, ALL))[0] == (30_000, 0, 0), "the last is never given up"


def test_the_largest_stands_for_the_one_before_it_where_both_do_not_fit() -> None:
    """Who watches it stays where they are: moved to another layer they would wait for the server to notice, and for its keyframe."""
    assert share(1_300_000, Need(CAMERA, ALL))[0] == (150_000, 0, 1_150_000)
    assert share(400_000, Need(CAMERA, ALL))[0] == (150_000, 0, 250_000)
    assert share(290_000, Need(CAMERA, ALL))[0] == (200_000, 0, 0), "nobody is left without the smallest"
    assert share(900_000, Need(CAMERA, (False, True, True)))[0] == (0, 700_000, 0), "nor without any but the largest"
    two = layers(640, 360)
    assert share(250_000, Need(two, (True, True)))[0] == (200_000, 0)
    assert share(250_000, Need(SCREEN, (True, True), screen=True))[0] == (0, 250_000)


def test_a_layer_that_is_sent_bears_a_little_less_than_its_least() -> None:
    allocator, need = Allocator(), Need(CAMERA, ALL)
    share(400_000, need, allocator=allocator)
    least = int(STAYS * 150_000)
    assert share(150_000 + least, need, allocator=allocator)[0] == (150_000, 0, least)
    assert share(90_000 + least, need, allocator=allocator)[0] == (90_000, 0, least), "the smaller one gives way"
    assert share(74_000 + least, need, allocator=allocator)[0] == (74_000 + least, 0, 0), "down to half of what is enough for it"
    assert share(90_000 + least, need, allocator=allocator)[0] == (200_000, 0, 0), "for one that is not sent it does not"


def test_what_nobody_takes_is_not_sent() -> None:
    assert share(3_000_000, Need(CAMERA, (True, False, False)))[0] == (200_000, 0, 0)
    assert share(3_000_000, Need(CAMERA, (False, False, True)))[0] == (0, 0, 2_500_000)
    assert share(3_000_000, Need(CAMERA, (False, False, False)))[0] == (0, 0, 0)
    assert Need(CAMERA, (False, False, False)).useful_bps == 0


def test_a_screen_comes_before_a_camera_and_its_whole_size_before_its_small_one() -> None:
    screen, camera = share(1_200_000, Need(SCREEN, (True, True), screen=True), Need(CAMERA, ALL))
    assert screen == (0, 1_050_000)
    assert camera == (150_000, 0, 0), "a face before the small page"
    camera, screen = share(260_000, Need(CAMERA, ALL), Need(SCREEN, (True, True), screen=True))
    assert screen == (0, 230_000)
    assert camera == (30_000, 0, 0)
    screen, camera = share(9_000_000, Need(SCREEN, (True, True), screen=True), Need(CAMERA, ALL))
    assert screen == (300_000, 2_000_000), "what is left goes to the text"
    assert camera == (150_000, 500_000, 2_500_000)


def on(rates: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(rate > 0 for rate in rates)


def test_a_layer_that_is_sent_stays_a_little_below_where_it_came() -> None:
    allocator, need = Allocator(), Need(CAMERA, ALL)
    assert on(share(1_300_000, need, allocator=allocator)[0]) == (True, False, True)
    assert on(share(1_371_000, need, allocator=allocator)[0]) == ALL, "the first time it need not wait"
    assert on(share(1_260_000, need, allocator=allocator)[0]) == ALL


def test_one_that_had_to_go_waits_and_longer_each_time() -> None:
    allocator, need, now, waits = Allocator(), Need(CAMERA, ALL), 0.0, []
    share(3_000_000, need, allocator=allocator, now=now)
    for _ in range(6):
        now += 0.5
        assert on(share(900_000, need, allocator=allocator, now=now)[0]) == (True, False, True)
        gone = now
        while on(share(3_000_000, need, allocator=allocator, now=now)[0]) != ALL:
            now += 0.1
        waits.append(round(now - gone, 1))
    assert waits[0] == pytest.approx(FIRST_WAIT_S, abs=0.2)
    assert waits == sorted(waits)
    assert waits[-1] == pytest.approx(LONGEST_WAIT_S, abs=0.2)
    share(3_000_000, need, allocator=allocator, now=now + 30)
    share(900_000, need, allocator=allocator, now=now + 31)
    assert on(share(3_000_000, need, allocator=allocator, now=now + 31 + FIRST_WAIT_S)[0]) == ALL, "long ago is forgotten"


def test_one_that_nobody_took_for_a_while_need_not_wait() -> None:
    allocator = Allocator()
    share(5_000_000, Need(CAMERA, ALL), allocator=allocator)
    share(5_000_000, Need(CAMERA, (True, False, False)), allocator=allocator, now=1.0)
    assert on(share(5_000_000, Need(CAMERA, ALL), allocator=allocator, now=1.1)[0]) == ALL


NEEDS = st.lists(
    st.builds(
        lambda width, height, screen, wanted: Need(
            found := layers(2 * width, 2 * height, screen=screen, most_bps=2_000_000 if screen else None), tuple(wanted[: len(found)]), screen
        ),
        st.integers(1, 1200), st.integers(1, 800), st.booleans(), st.lists(st.booleans(), min_size=3, max_size=3),
    ),
    max_size=4,
)  # fmt: skip


@given(NEEDS, st.lists(st.integers(-100_000, 12_000_000), min_size=1, max_size=8))
def test_never_more_than_there_is_and_never_what_nobody_takes(needs: list[Need], budgets: list[int]) -> None:
    allocator = Allocator()
    for step, budget in enumerate(budgets):
        found = share(budget, *needs, allocator=allocator, now=0.3 * step)
        floors = 0
        for need, rates in zip(needs, found, strict=True):
            assert len(rates) == len(need.layers)
            taken: list[tuple[Layer, int]] = [(x, r) for x, r, w in zip(need.layers, rates, need.wanted, strict=True) if w]
            assert sum(rate for _, rate in taken) == sum(rates), "nothing for what nobody takes"
            ordered = taken[::-1] if need.screen else taken
            assert not ordered or ordered[0][1] > 0
            sent = [rate > 0 for _, rate in ordered]
            if sent == [True, False, True]:
                assert not need.screen, "the largest stands for the one before it, where a third is there"
                assert all(STAYS * layer.least_bps <= rate for (layer, _), rate in zip(ordered[:2], (ordered[0][1], ordered[2][1]), strict=True))
            else:
                assert sent == sorted(sent, reverse=True), "never one beyond one that is off"
                assert all(rate == 0 or int(STAYS * layer.least_bps) <= rate for layer, rate in taken)
            assert all(rate <= layer.most_bps for layer, rate in taken)
            floors += ordered[0][0].least_bps if ordered else 0
            assert sum(rates) <= need.useful_bps
        assert sum(map(sum, found)) <= max(budget, floors)
        assert sum(map(sum, found)) <= useful_bps(needs)


@given(st.integers(0, 6_000_000), st.integers(0, 6_000_000))
def test_more_room_is_never_worse(one: int, other: int) -> None:
    less, more = (share(b, Need(CAMERA, ALL))[0] for b in sorted((one, other)))
    assert sum(less) <= sum(more)
    assert sum(on(less)) <= sum(on(more))


@given(st.lists(st.floats(0.86, 1.15), min_size=40, max_size=80))
def test_an_estimate_that_trembles_does_not_make_layers_come_and_go(trembles: list[float]) -> None:
    allocator, need = Allocator(), Need(CAMERA, ALL)
    seen = [on(share(int(1_310_000 * by), need, allocator=allocator, now=0.1 * k)[0]) for k, by in enumerate(trembles)]
    changes = sum(a != b for a, b in itertools.pairwise(seen))
    assert changes <= 2 * (1 + len(trembles) * 0.1 / FIRST_WAIT_S)
