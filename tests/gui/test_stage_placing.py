"""Where things lie: from one to sixty people, from the smallest window to 4K, in every mode."""

from __future__ import annotations

import itertools

import pytest
from gui.stage_room import room

from vidconf.client.stage_layout import ASPECT
from vidconf.gui.stage.placing import NARROWEST, WIDEST, Placing, place
from vidconf.gui.stage.tiles import Choice, LineUp, Memory, line_up

SIZES = ((312, 330), (640, 480), (640, 366), (800, 600), (1280, 720), (1920, 1080), (3840, 2160), (700, 1400), (2400, 500))


def found(count: int, mode: str) -> LineUp:
    state = room(count, shares=(0, 2) if mode == "share" and count > 2 else (0,) if mode == "share" else ())
    return line_up(state, Choice(mode="speaker" if mode == "speaker" else "grid"), Memory(), 9, 0.0)


def boxes(placing: Placing) -> list[tuple[int, int, int, int]]:
    around = [area for area in (placing.caption, placing.pager, placing.words) if area is not None]
    return [(one.x, one.y, one.w, one.h) for one in placing.tiles] + around


def overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] + b[3] and b[1] < a[1] + a[3]


@pytest.mark.parametrize("mode", ["grid", "speaker", "share"])
@pytest.mark.parametrize("size", SIZES)
def test_nothing_overlaps_or_leaves_the_stage_and_everybody_is_on_one_page(size: tuple[int, int], mode: str) -> None:
    width, height = size
    for count in range(2, 61):
        line = found(count, mode)
        first = place(line, width, height, 0, False)
        seen: list[str] = []
        for page in range(first.pages):
            placing = place(line, width, height, page, False)
            assert placing.pages == first.pages
            for x, y, w, h in boxes(placing):
                assert w > 0
                assert h > 0
                assert 0 <= x <= x + w <= width
                assert 0 <= y <= y + h <= height
            assert not any(overlap(a, b) for a, b in itertools.combinations(boxes(placing), 2)), (count, page)
            seen += [one.tile.key for one in placing.tiles if page == 0 or not one.tile.main]
            assert (placing.pager is None) == (first.pages == 1)
        assert sorted(seen) == sorted(tile.key for tile in line.tiles)


def test_in_the_grid_all_are_alike_and_at_16_to_9() -> None:
    for count in range(2, 50):
        tiles = place(found(count, "grid"), 1280, 720, 0, False).tiles
        assert len({(one.w, one.h) for one in tiles}) == 1
        assert abs(tiles[0].w / tiles[0].h - ASPECT) < 0.03


@pytest.mark.parametrize(("width", "height"), [(2400, 500), (700, 1400), (1280, 720)])
def test_who_is_large_keeps_a_human_shape(width: int, height: int) -> None:
    tiles = place(found(6, "speaker"), width, height, 0, False).tiles
    main = next(one for one in tiles if one.tile.main)
    assert NARROWEST - 0.02 <= main.w / main.h <= WIDEST + 0.02


def test_visible_counts_the_people_of_the_first_page() -> None:
    grid = place(found(60, "grid"), 640, 480, 0, False)
    assert grid.visible == len(grid.tiles)
    share = place(found(12, "share"), 1280, 720, 0, False)
    assert share.visible == len([one for one in share.tiles if not one.tile.key.startswith("page:")])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("people", [0, 1])
def test_alone_there_are_words_under_ones_own_picture(size: tuple[int, int], people: int) -> None:
    line = line_up(room(1, me="p0"), Choice(self_view=bool(people)), Memory(), 1, 0.0)
    placing = place(line, *size, 0, True)
    assert len(placing.tiles) == people
    assert placing.words is not None
    for x, y, w, h in boxes(placing):
        assert 0 <= x <= x + w <= size[0]
        assert 0 <= y <= y + h <= size[1]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes(placing), 2))
