"""Where tiles lie: for any number in any window nothing overlaps, nothing leaves it, everybody is on exactly one page."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.stage_layout import ASPECT, LEAST_WIDTH, PER_PAGE, Mode, Placed, TileSpec, keep_places, layout, pages

COUNTS, WIDTHS, HEIGHTS = st.integers(1, 140), st.integers(16, 4000), st.integers(16, 2400)
GAPS = st.integers(0, 24)
MODES = st.sampled_from(["grid", "speaker", "share"])


def specs(count: int, main: int = 0) -> list[TileSpec]:
    return [TileSpec(f"p{n}", n == main) for n in range(count)]


def check(placed: list[Placed], width: int, height: int) -> None:
    for one in placed:
        assert one.w >= 1
        assert one.h >= 1
        assert one.x >= 0
        assert one.y >= 0
        assert one.x + one.w <= width, one
        assert one.y + one.h <= height, one
    for a, b in itertools.combinations(placed, 2):
        assert a.x + a.w <= b.x or b.x + b.w <= a.x or a.y + a.h <= b.y or b.y + b.h <= a.y, (a, b)


@given(COUNTS, WIDTHS, HEIGHTS, MODES, GAPS, st.integers(0, 200), st.integers(0, 150))
def test_nothing_overlaps_and_nothing_leaves_the_window(
    count: int, width: int, height: int, mode: Mode, gap: int, page: int, main: int
) -> None:
    check(layout(specs(count, main), width, height, mode, gap, page), width, height)


@given(COUNTS, st.integers(300, 4000), st.integers(200, 2400), MODES, st.integers(0, 150))
def test_everybody_is_on_exactly_one_page_in_order(count: int, width: int, height: int, mode: Mode, main: int) -> None:
    tiles = specs(count, main)
    number = pages(count, width, height, mode)
    shown = [layout(tiles, width, height, mode, page=n) for n in range(number)]
    keys = [[placed.tile.key for placed in page] for page in shown]
    assert all(keys), "no page is empty"
    if mode == "grid":
        assert list(itertools.chain(*keys)) == [tile.key for tile in tiles]
    else:
        large = next((tile.key for tile in tiles if tile.main), "p0")
        assert all(page[0] == large for page in keys), "the large one is on every page"
        assert list(itertools.chain(*(page[1:] for page in keys))) == [tile.key for tile in tiles if tile.key != large]
    assert layout(tiles, width, height, mode, page=number + 5) == shown[-1], "beyond the last is the last"
    assert layout(tiles, width, height, mode, page=-1) == shown[0]


@given(COUNTS, st.integers(LEAST_WIDTH + 40, 4000), st.integers(120, 2400))
def test_the_grid_is_16_to_9_and_all_alike(count: int, width: int, height: int) -> None:
    placed = layout(specs(count), width, height)
    assert len({(one.w, one.h) for one in placed}) == 1
    assert abs(placed[0].h - placed[0].w / ASPECT) <= 1
    assert len(placed) <= PER_PAGE
    assert placed[0].w >= LEAST_WIDTH or len(placed) == 1, "too small to be worth showing: rather another page"


@given(COUNTS, st.integers(400, 4000), st.integers(300, 2400), st.sampled_from(["speaker", "share"]))
def test_the_large_one_is_the_largest(count: int, width: int, height: int, mode: Mode) -> None:
    placed = layout(specs(count, count // 2), width, height, mode)
    assert placed[0].tile.main
    for one in placed[1:]:
        assert one.w * one.h < placed[0].w * placed[0].h
        assert abs(one.h - one.w / ASPECT) <= 2, "the strip is 16:9 too"


@given(COUNTS, st.integers(300, 4000), st.integers(200, 2400), MODES)
def test_the_same_window_gives_the_same_picture(count: int, width: int, height: int, mode: Mode) -> None:
    assert layout(specs(count), width, height, mode) == layout(specs(count), width, height, mode)


@given(st.integers(1, 49), st.integers(640, 3000), st.integers(480, 2000))
def test_a_larger_window_never_makes_tiles_smaller(count: int, width: int, height: int) -> None:
    before, after = layout(specs(count), width, height)[0], layout(specs(count), width + 64, height + 36)[0]
    if pages(count, width, height) == 1:
        assert after.w >= before.w


def test_nothing_to_show_or_nowhere_to_show_it() -> None:
    assert layout([], 800, 600) == []
    assert layout(specs(3), 0, 600) == []
    assert layout(specs(3), 800, -1, "speaker") == []
    assert pages(0, 800, 600) == 1
    assert pages(9, 0, 0) == 1


def test_alone() -> None:
    for mode in ("grid", "speaker", "share"):
        (one,) = layout(specs(1), 1280, 720, mode)
        assert one.w > 1200


# ---- keeping places ----

_KEYS = st.lists(st.sampled_from([f"p{n}" for n in range(12)]), unique=True, max_size=12)


@given(_KEYS, _KEYS, _KEYS, st.dictionaries(st.sampled_from([f"p{n}" for n in range(12)]), st.floats(0, 100)), st.integers(0, 12))
def test_places_are_kept(before: list[str], present: list[str], speaking: list[str], last: dict[str, float], visible: int) -> None:
    order = keep_places(before, present, speaking, last, visible)
    assert sorted(order) == sorted(present), "all who are here, once"
    shown = set(order[:visible])
    here = [one for one in speaking if one in present]
    assert len([one for one in here if one in shown]) == min(len(here), min(visible, len(present))), (
        "who speaks is seen, as far as there is room"
    )
    assert keep_places(order, present, speaking, last, visible) == order, "and then nothing moves any more"


@given(_KEYS, _KEYS, st.integers(1, 12))
def test_in_silence_nobody_moves(before: list[str], present: list[str], visible: int) -> None:
    order = keep_places(before, present, (), {}, visible)
    kept = [one for one in before if one in present]
    assert list(order[: len(kept)]) == kept
    assert list(order[len(kept) :]) == [one for one in present if one not in kept]


def test_who_speaks_unseen_takes_the_place_of_the_longest_silent() -> None:
    present = ["a", "b", "c", "d", "e"]
    assert keep_places(present, present, ["e"], {"a": 5.0, "b": 1.0, "c": 3.0}, 3) == ("a", "e", "c", "d", "b")
    assert keep_places(present, present, ["d", "e"], {"a": 5.0}, 3)[0] == "a"
    assert keep_places(present, present, ["b"], {}, 3) == tuple(present), "who is seen already stays"
    assert keep_places(present, present, ["a", "b", "c", "d"], {}, 3) == tuple(present), "all who are seen speak: nobody gives way"
