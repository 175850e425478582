"""What the two painters of the stage share: the tiles they are told of, and what lies over each picture. The window's thread.

A painter (`Canvas`) is a widget under the tiles. `stage.py` tells it what lies where (`show_tiles`), which tracks have a new
picture (`fresh`) and that the bars have moved (`beat`); it paints that and nothing else. `raster` paints with the processor,
`gpu` with the graphics card; what lies over a picture both put down from the same pixmaps, so that they look the same.
Everything here is in device pixels, so that nothing is blurred at 125 %.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from PySide6.QtCore import QPoint, QRect, QSize
from PySide6.QtGui import QColor, QPainter

from vidconf.gui.painted import loudness
from vidconf.gui.stage.overlay import LOUDNESS, Overlay, Piece, bars, frame_pixels
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import T

Format = Literal["bgrx", "i420"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A tile where it lies. `area`: device-independent, for widgets; `pixels`: whole device pixels, for pictures. `bare`: without
    anything over it. `waiting`: its picture is late, and that is said."""

    content: Content
    area: QRect
    pixels: QRect
    bare: bool = False
    waiting: bool = False


class Canvas(Protocol):
    """What `stage.py` needs of a painter; a QWidget as well."""

    format: Format
    """Of the pictures it takes."""
    pass_ms: float
    """How long painting takes, smoothed."""

    def show_tiles(self, tiles: Sequence[Shown]) -> None:
        """These and no others; what did not change is not drawn again."""

    def fresh(self, tracks: Collection[str]) -> None:
        """These have another picture than before."""

    def beat(self, phase: int, levels: Mapping[str, float]) -> None:
        """The bars of those who speak (participant → level 0…1) are at `phase`; -1: they stand still."""

    def let_go(self) -> None:
        """Give everything back; what is shown later is painted as if it were the first time."""


_Drawing = tuple[Content, QSize, bool, float]
"""What an overlay is drawn from; when it differs, it is drawn again."""


def _drawing(tile: Shown, ratio: float) -> _Drawing:
    return (tile.content, tile.pixels.size(), tile.bare, ratio)


class Overlays:
    """What lies over each tile, drawn when it is first painted and kept until it changes; and where the bars are now."""

    def __init__(self) -> None:
        self._drawn: dict[str, tuple[_Drawing, Overlay]] = {}
        self._phase, self._levels = -1, dict[str, float]()

    def keep(self, tiles: Sequence[Shown], ratio: float) -> None:
        """Forget all but what is still as it was drawn."""
        kept: dict[str, tuple[_Drawing, Overlay]] = {}
        for tile in tiles:
            held = self._drawn.get(tile.content.key)
            if held is not None and held[0] == _drawing(tile, ratio):
                kept[tile.content.key] = held
        self._drawn = kept

    def clear(self) -> None:
        self._drawn = {}

    def of(self, tile: Shown, ratio: float) -> Overlay:
        """Of one of the tiles last given to `keep`."""
        held = self._drawn.get(tile.content.key)
        if held is None:
            drawn = Overlay.of(tile.content, tile.pixels.size(), ratio, tile.bare)
            held = self._drawn[tile.content.key] = (_drawing(tile, ratio), drawn)
        return held[1]

    def beat(self, phase: int, levels: Mapping[str, float]) -> None:
        self._phase, self._levels = phase, dict(levels)

    def bars_of(self, tile: Shown) -> QRect | None:
        """Where the bars of one that was drawn stand, on the canvas; None where there are none."""
        held = self._drawn.get(tile.content.key)
        at = held[1].bars if held is not None else None
        return at.translated(tile.pixels.topLeft()) if at is not None else None

    def paint(self, painter: QPainter, tile: Shown, ratio: float, picture: bool) -> None:
        """Everything but the picture itself; `picture`: there is one below, else what stands instead of it is painted."""
        overlay, at = self.of(tile, ratio), tile.pixels
        if not picture:
            painter.fillRect(at, ground(tile))
            _put_pieces(painter, at.topLeft(), overlay.waiting if tile.waiting else overlay.instead)
        _put_pieces(painter, at.topLeft(), overlay.over)
        if overlay.bars is not None:
            loud = max(1, round(loudness(self._levels.get(tile.content.participant, 0.0)) * LOUDNESS))
            painter.drawPixmap(at.topLeft() + overlay.bars.topLeft(), bars(overlay.bars.width(), self._phase, loud, T["speaking"]))
        if overlay.frame:
            _put_frame(painter, at, frame_pixels(ratio), QColor(T["speaking"]))
        _put_pieces(painter, at.topLeft(), overlay.corners)


def ground(tile: Shown) -> QColor:
    """Of a tile without a picture, and beside a picture that does not fill it."""
    return QColor(T["stage" if tile.bare else "tile"])


def fitted(picture: QSize, tile: QSize) -> QSize:
    """The largest even size of the picture's shape inside the tile: as the engine fits it."""
    scale = min(tile.width() / picture.width(), tile.height() / picture.height())
    return QSize(max(2, int(picture.width() * scale + 0.5) // 2 * 2), max(2, int(picture.height() * scale + 0.5) // 2 * 2))


def _put_pieces(painter: QPainter, origin: QPoint, pieces: Sequence[Piece]) -> None:
    x, y = origin.x(), origin.y()
    for piece in pieces:
        painter.drawPixmap(x + piece.x, y + piece.y, piece.pixels)


def _put_frame(painter: QPainter, at: QRect, wide: int, colour: QColor) -> None:
    x, y, w, h = at.x(), at.y(), at.width(), at.height()
    for side in (QRect(x, y, w, wide), QRect(x, y + h - wide, w, wide), QRect(x, y, wide, h), QRect(x + w - wide, y, wide, h)):
        painter.fillRect(side, colour)
