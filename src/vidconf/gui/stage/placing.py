"""Where tiles and what stands around them lie on the stage. Pure arithmetic over `stage_layout`.

Over a shared page there is a line that says whose it is, under the tiles a pager where there are several pages, and beside the
only one in the room a few words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vidconf.client.stage_layout import ASPECT, Mode, Placed, TileSpec, layout, pages
from vidconf.gui.stage.tiles import PAGE, LineUp

GAP = 8
CAPTION, PAGER = 40, 40
"""Heights."""
WORDS = 132
"""Height of the words to who is alone."""
WIDEST, NARROWEST = 2.1, 1.2
"""Shape of a person shown large: heads are not cut off at the top by a low window."""

Area = tuple[int, int, int, int]
"""x, y, width, height."""


@dataclass(frozen=True, slots=True)
class Placing:
    tiles: tuple[Placed, ...] = ()
    pages: int = 1
    visible: int = 1
    """People on the first page."""
    caption: Area | None = None
    pager: Area | None = None
    words: Area | None = None


def place(found: LineUp, width: int, height: int, page: int, alone: bool) -> Placing:
    """Everything of `found` on `page` (from 0; beyond the last: the last)."""
    if alone and found.mode != "share" and not found.shares:
        return _alone(found.tiles, width, height)
    top = min(CAPTION, height // 4) if found.mode == "share" else 0
    count = len(found.tiles)
    under = 0
    # Without a gap below the caption and above the pager: each has its own.
    several = pages(count, width, height - top, found.mode, GAP)
    if several > 1:
        under = min(PAGER, height // 4)
        several = pages(count, width, height - top - under, found.mode, GAP)
    room = max(1, height - top - under)
    page = max(0, min(page, several - 1))
    placed = [replace(one, y=one.y + top) for one in layout(found.tiles, width, room, found.mode, GAP, page)]
    placed = [_shaped(one) if one.tile.main and not one.tile.key.startswith(PAGE) else one for one in placed]
    first = layout(found.tiles, width, room, found.mode, GAP, 0)
    visible = sum(1 for one in first if not one.tile.key.startswith(PAGE) and not one.tile.main)
    return Placing(
        tuple(placed), several, max(1, visible), (0, 0, width, top) if top else None, (0, height - under, width, under) if under else None
    )


def _shaped(main: Placed) -> Placed:
    wide = main.w / main.h
    if wide > WIDEST:
        w = max(1, int(main.h * WIDEST))
        return replace(main, x=main.x + (main.w - w) // 2, w=w)
    if wide < NARROWEST:
        h = max(1, int(main.w / NARROWEST))
        return replace(main, y=main.y + (main.h - h) // 2, h=h)
    return main


def _alone(tiles: Sequence[TileSpec], width: int, height: int) -> Placing:
    """One's own tile over the words, both in the middle."""
    words = min(WORDS, height // 2)
    if not tiles:
        return Placing(words=(0, (height - words) // 2, width, words))
    room = max(1, height - words - 2 * GAP)
    w = max(1, int(min(width - 2 * GAP, room * ASPECT, max(320.0, width * 0.56))))
    h = max(1, int(w / ASPECT))
    y = max(0, (height - h - words) // 2)
    return Placing((Placed(tiles[0], (width - w) // 2, y, w, h),), words=(0, y + h, width, words))


__all__ = ["CAPTION", "GAP", "PAGER", "Area", "Mode", "Placing", "place"]
