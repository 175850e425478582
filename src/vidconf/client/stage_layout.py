"""Where each tile of the stage lies. Pure arithmetic on whole pixels; any thread.

`grid`: all alike at 16:9, as large as the window allows, the last row centred. `speaker`: one large, the others in a strip.
`share`: the shared page as large as it can be, the people in a strip. Whatever does not fit comes on further pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Mode = Literal["grid", "speaker", "share"]
ASPECT = 16 / 9
LEAST_WIDTH = 128
"""Narrowest tile worth showing; more tiles than fit at this width go to the next page."""
PER_PAGE = 49
STRIP_SHARE = 0.22
"""Of the window's width or height, for the strip."""
STRIP_LEAST, STRIP_MOST = 112, 260
"""Width of a tile in the strip, pixels."""


@dataclass(frozen=True, slots=True)
class TileSpec:
    """One thing to show. `key`: whatever the caller knows it by (a participant, a track). `main`: the large one of `speaker`
    and `share`; without any, the first is."""

    key: str
    main: bool = False


@dataclass(frozen=True, slots=True)
class Placed:
    tile: TileSpec
    x: int
    y: int
    w: int
    h: int


def layout(tiles: Sequence[TileSpec], width: int, height: int, mode: Mode = "grid", gap: int = 8, page: int = 0) -> list[Placed]:
    """The tiles of `page` (from 0; beyond the last: the last), in order. Never overlapping, all inside width × height."""
    if not tiles or width < 1 or height < 1:
        return []
    gap = max(0, min(gap, width // 8, height // 8))
    if mode == "grid" or len(tiles) == 1:
        if mode != "grid":
            return [Placed(tiles[0], gap, gap, max(1, width - 2 * gap), max(1, height - 2 * gap))]
        return _grid(_on_page(tiles, _per_page(len(tiles), width, height, gap), page), 0, 0, width, height, gap)
    main, others = _split(tiles)
    strip = _strip(len(others), width, height, gap)
    placed = [Placed(main, *strip.main)]
    shown = _on_page(others, strip.holds, page)
    return placed + [Placed(tile, *_in_strip(strip, n, len(shown))) for n, tile in enumerate(shown)]


def pages(count: int, width: int, height: int, mode: Mode = "grid", gap: int = 8) -> int:
    """How many pages `count` tiles need; at least 1."""
    if count < 1 or width < 1 or height < 1:
        return 1
    gap = max(0, min(gap, width // 8, height // 8))
    if mode == "grid":
        return -(-count // _per_page(count, width, height, gap))
    if count == 1:
        return 1
    return max(1, -(-(count - 1) // _strip(count - 1, width, height, gap).holds))


def keep_places(
    before: Sequence[str], present: Sequence[str], speaking: Sequence[str], last_spoke: Mapping[str, float], visible: int
) -> tuple[str, ...]:
    """The order of tiles with as little movement as can be: who was shown keeps the place, newcomers come last, and who
    speaks unseen takes the place, on the first page, of the one silent for longest. `visible`: tiles on the first page."""
    here = set(present)
    order = [key for key in before if key in here]
    held = set(order)
    order += [key for key in present if key not in held]
    active = set(speaking)
    for speaker in speaking:
        if speaker not in here or order.index(speaker) < visible:
            continue
        silent = [n for n in range(min(visible, len(order))) if order[n] not in active]
        if not silent:
            break
        give = min(silent, key=lambda n: (last_spoke.get(order[n], 0.0), -n))
        take = order.index(speaker)
        order[give], order[take] = order[take], order[give]
    return tuple(order)


# ---- the grid -------------------------------------------------------------------------------------------------------------


def _fit(count: int, width: int, height: int, gap: int) -> tuple[int, int, int, int]:
    """(columns, rows, tile width, tile height) with the largest tile; of equals, the one with the fewest holes."""
    best = (0, 0, 0, 0)
    score = (-1.0, 0)
    for columns in range(1, count + 1):
        rows = -(-count // columns)
        if rows > 1 and -(-count // rows) < columns:
            continue  # the same rows with fewer columns
        w = min((width - gap * (columns + 1)) / columns, (height - gap * (rows + 1)) / rows * ASPECT)
        holes = columns * rows - count
        if (w, -holes) > score:
            score = (w, -holes)
            best = (columns, rows, int(w), int(w / ASPECT))
    return best


def _per_page(count: int, width: int, height: int, gap: int) -> int:
    """As many as fit at the least width, at most `PER_PAGE`; at least one."""
    most = min(count, PER_PAGE)
    while most > 1 and _fit(most, width, height, gap)[2] < LEAST_WIDTH:
        most -= 1
    return most


def _grid(tiles: Sequence[TileSpec], left: int, top: int, width: int, height: int, gap: int) -> list[Placed]:
    count = len(tiles)
    columns, rows, w, h = _fit(count, width, height, gap)
    w, h = max(1, w), max(1, h)
    y = top + (height - rows * h - (rows - 1) * gap) // 2
    placed = []
    for row in range(rows):
        in_row = tiles[row * columns : (row + 1) * columns]
        x = left + (width - len(in_row) * w - (len(in_row) - 1) * gap) // 2
        placed += [Placed(tile, x + n * (w + gap), y, w, h) for n, tile in enumerate(in_row)]
        y += h + gap
    return placed


def _on_page(tiles: Sequence[TileSpec], holds: int, page: int) -> Sequence[TileSpec]:
    """Pages of equal size, so that no tile changes its size on turning the page."""
    last = -(-len(tiles) // holds) - 1
    page = max(0, min(page, last))
    return tiles[page * holds : (page + 1) * holds]


# ---- one large, and a strip --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Strip:
    main: tuple[int, int, int, int]
    x: int
    y: int
    w: int
    h: int
    """Of one tile in the strip."""
    holds: int
    down: bool
    length: int
    gap: int


def _split(tiles: Sequence[TileSpec]) -> tuple[TileSpec, list[TileSpec]]:
    main = next((tile for tile in tiles if tile.main), tiles[0])
    return main, [tile for tile in tiles if tile is not main]


def _strip(count: int, width: int, height: int, gap: int) -> _Strip:
    """At the right or below, whichever leaves the large one more."""
    side = int(min(STRIP_MOST, max(STRIP_LEAST, width * STRIP_SHARE), width / 3))
    below = int(min(STRIP_MOST / ASPECT, max(STRIP_LEAST / ASPECT, height * STRIP_SHARE), height / 3))
    side, below = max(1, side), max(1, below)
    at_right = (max(1, width - side - 3 * gap), max(1, height - 2 * gap))
    above = (max(1, width - 2 * gap), max(1, height - below - 3 * gap))
    if _shown_area(*at_right) >= _shown_area(*above):
        h = max(1, int(side / ASPECT))
        holds = max(1, (height - gap) // (h + gap))
        return _Strip((gap, gap, *at_right), width - side - gap, gap, side, min(h, height - 2 * gap), holds, True, height, gap)
    w = max(1, int(below * ASPECT))
    holds = max(1, (width - gap) // (w + gap))
    return _Strip((gap, gap, *above), gap, height - below - gap, min(w, width - 2 * gap), below, holds, False, width, gap)


def _shown_area(width: int, height: int) -> float:
    w = min(width, height * ASPECT)
    return w * w / ASPECT


def _in_strip(strip: _Strip, n: int, shown: int) -> tuple[int, int, int, int]:
    each = strip.h if strip.down else strip.w
    start = max(0, (strip.length - shown * each - (shown - 1) * strip.gap) // 2)
    at = start + n * (each + strip.gap)
    return (strip.x, at, strip.w, strip.h) if strip.down else (at, strip.y, strip.w, strip.h)
