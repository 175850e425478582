"""The stage painted without a GPU: pictures come from the engine in the tile's exact size and are only put down. The window's thread.

A painter of the stage (`Canvas`) is a widget under the tiles. `stage.py` tells it what lies where (`show_tiles`), which tracks
have a new picture (`fresh`) and that the bars have moved (`beat`); it paints that and nothing else.
Everything here is in device pixels, so that nothing is blurred at 125 %: a picture of another size than its tile (for a moment,
while the engine has not heard of a new size) is scaled, all else is copied pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent, QRegion
from PySide6.QtWidgets import QWidget

from vidconf.gui.painted import loudness
from vidconf.gui.stage.overlay import LOUDNESS, Overlay, Piece, bars, frame_pixels
from vidconf.gui.stage.pictures import Pictures
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import T


@dataclass(frozen=True, slots=True)
class Shown:
    """A tile where it lies. `area`: device-independent, for widgets; `pixels`: whole device pixels, for pictures. `bare`: without
    anything over it. `waiting`: its picture is late, and that is said."""

    content: Content
    area: QRect
    pixels: QRect
    bare: bool = False
    waiting: bool = False


_Drawing = tuple[Content, QSize, bool, float]
"""What an overlay is drawn from; when it differs, it is drawn again."""


def _drawing(tile: Shown, ratio: float) -> _Drawing:
    return (tile.content, tile.pixels.size(), tile.bare, ratio)


class Canvas(Protocol):
    """What `stage.py` needs of a painter; a QWidget as well."""

    pass_ms: float
    """How long painting takes, smoothed."""

    def show_tiles(self, tiles: Sequence[Shown]) -> None:
        """These and no others; what did not change is not drawn again."""

    def fresh(self, tracks: Collection[str]) -> None:
        """These have another picture than before."""

    def beat(self, phase: int, levels: Mapping[str, float]) -> None:
        """The bars of those who speak (participant → level 0…1) are at `phase`; -1: they stand still."""

    def let_go(self) -> None: ...


class RasterCanvas(QWidget):
    """Paints with QPainter."""

    def __init__(self, parent: QWidget, pictures: Pictures) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)  # every pixel is painted here: no erasing
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.pass_ms = 0.0
        self._pictures = pictures
        self._tiles: list[Shown] = []
        self._overlays: dict[str, tuple[_Drawing, Overlay]] = {}
        self._covered = QRegion()
        self._phase, self._levels = -1, dict[str, float]()

    # ---- what there is to paint
    def show_tiles(self, tiles: Sequence[Shown]) -> None:
        before, ratio = {tile.content.key: tile for tile in self._tiles}, self.devicePixelRatioF()
        kept: dict[str, tuple[_Drawing, Overlay]] = {}
        changed = QRegion()
        for tile in tiles:
            key, old = tile.content.key, before.get(tile.content.key)
            if old != tile:
                changed |= QRegion(tile.area)
                if old is not None and old.area != tile.area:
                    changed |= QRegion(old.area)
            held = self._overlays.get(key)
            if held is not None and held[0] == _drawing(tile, ratio):
                kept[key] = held
        for key, old in before.items():
            if all(tile.content.key != key for tile in tiles):
                changed |= QRegion(old.area)
        self._tiles, self._overlays = list(tiles), kept
        self._covered = QRegion()
        for tile in tiles:
            self._covered |= QRegion(_inner(tile.pixels, ratio))
        if not changed.isEmpty():
            self.update(changed)

    def fresh(self, tracks: Collection[str]) -> None:
        for tile in self._tiles:
            if tile.content.track in tracks:
                self.update(tile.area)

    def beat(self, phase: int, levels: Mapping[str, float]) -> None:
        self._phase, self._levels = phase, dict(levels)
        ratio = self.devicePixelRatioF()
        for tile in self._tiles:
            held = self._overlays.get(tile.content.key)
            if held is not None and held[1].bars is not None:
                self.update(_outer(held[1].bars.translated(tile.pixels.topLeft()), ratio))

    def let_go(self) -> None:
        self._tiles, self._overlays, self._covered = [], {}, QRegion()

    # ---- painting
    def paintEvent(self, event: QPaintEvent) -> None:
        began = perf_counter()
        painter, ratio, region = QPainter(self), self.devicePixelRatioF(), event.region()
        if ratio != 1:
            painter.scale(1 / ratio, 1 / ratio)
        ground = QColor(T["stage"])
        for bare in _rects(region.subtracted(self._covered)):
            painter.fillRect(_scaled(bare, ratio), ground)
        for tile in self._tiles:
            if region.intersects(tile.area):
                self._paint(painter, tile, ratio)
        painter.end()
        self.pass_ms += 0.1 * (1000 * (perf_counter() - began) - self.pass_ms)

    def _paint(self, painter: QPainter, tile: Shown, ratio: float) -> None:
        overlay, at, content = self._overlay(tile, ratio), tile.pixels, tile.content
        picture = self._pictures.get(content.track) if content.picture else None
        image = picture.image() if picture is not None else None
        if image is not None and picture is not None:
            _put(painter, at, image, content, tile.bare)
            picture.shown()
        else:
            painter.fillRect(at, QColor(T["stage" if tile.bare else "tile"]))
            _put_pieces(painter, at.topLeft(), overlay.waiting if tile.waiting else overlay.instead)
        _put_pieces(painter, at.topLeft(), overlay.over)
        if overlay.bars is not None:
            loud = max(1, round(loudness(self._levels.get(content.participant, 0.0)) * LOUDNESS))
            painter.drawPixmap(at.topLeft() + overlay.bars.topLeft(), bars(overlay.bars.width(), self._phase, loud, T["speaking"]))
        if overlay.frame:
            _put_frame(painter, at, frame_pixels(ratio), QColor(T["speaking"]))
        _put_pieces(painter, at.topLeft(), overlay.corners)

    def _overlay(self, tile: Shown, ratio: float) -> Overlay:
        held = self._overlays.get(tile.content.key)
        if held is None:
            drawn = Overlay.of(tile.content, tile.pixels.size(), ratio, tile.bare)
            held = self._overlays[tile.content.key] = (_drawing(tile, ratio), drawn)
        return held[1]


def _put(painter: QPainter, at: QRect, image: QImage, content: Content, bare: bool) -> None:
    if content.mirrored:  # as in a mirror: others see it the right way round
        image = image.flipped(Qt.Orientation.Horizontal)
    size = image.size()
    if content.fill:
        if size == at.size():
            painter.drawImage(at.topLeft(), image)
        else:
            _put_scaled(painter, QRectF(at), image, _middle(size, at.size()))
        return
    where = _inside(at, size)
    for beside in _rects(QRegion(at).subtracted(QRegion(where))):
        painter.fillRect(beside, QColor(T["stage" if bare else "tile"]))
    if where.size() == size:
        painter.drawImage(where.topLeft(), image)
    else:
        _put_scaled(painter, QRectF(where), image, QRectF(image.rect()))


def _put_scaled(painter: QPainter, where: QRectF, image: QImage, part: QRectF) -> None:
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.drawImage(where, image, part)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, False)


def _middle(picture: QSize, tile: QSize) -> QRectF:
    """The part of a picture that fills the tile's shape."""
    wide = tile.width() / max(1, tile.height())
    if picture.width() > picture.height() * wide:
        cut = picture.height() * wide
        return QRectF((picture.width() - cut) / 2, 0, cut, picture.height())
    cut = picture.width() / wide
    return QRectF(0, (picture.height() - cut) / 2, picture.width(), cut)


def _inside(at: QRect, picture: QSize) -> QRect:
    """Where the whole picture is shown inside the tile: as it is where the engine has fitted it (to even sizes), else fitted."""
    spare_w, spare_h = at.width() - picture.width(), at.height() - picture.height()
    if min(spare_w, spare_h) >= 0 and min(spare_w, spare_h) <= 1:
        size = picture
    else:
        scale = min(at.width() / picture.width(), at.height() / picture.height())
        size = QSize(max(1, int(picture.width() * scale)), max(1, int(picture.height() * scale)))
    return QRect(at.topLeft() + QPoint((at.width() - size.width()) // 2, (at.height() - size.height()) // 2), size)


def _put_pieces(painter: QPainter, origin: QPoint, pieces: Sequence[Piece]) -> None:
    x, y = origin.x(), origin.y()
    for piece in pieces:
        painter.drawPixmap(x + piece.x, y + piece.y, piece.pixels)


def _put_frame(painter: QPainter, at: QRect, wide: int, colour: QColor) -> None:
    x, y, w, h = at.x(), at.y(), at.width(), at.height()
    for side in (QRect(x, y, w, wide), QRect(x, y + h - wide, w, wide), QRect(x, y, wide, h), QRect(x + w - wide, y, wide, h)):
        painter.fillRect(side, colour)


def _rects(region: QRegion) -> list[QRect]:
    found: list[QRect] = list(region)  # type: ignore[call-overload]  # iterable, though its stub does not say so
    return found


# ---- from ours to the device's pixels and back -------------------------------------------------------------------------------


def _scaled(area: QRect, ratio: float) -> QRectF:
    return QRectF(area.x() * ratio, area.y() * ratio, area.width() * ratio, area.height() * ratio)


def _outer(pixels: QRect, ratio: float) -> QRect:
    """The smallest area of ours that holds these device pixels."""
    return QRectF(pixels.x() / ratio, pixels.y() / ratio, pixels.width() / ratio, pixels.height() / ratio).toAlignedRect()


def _inner(pixels: QRect, ratio: float) -> QRect:
    """The largest area of ours whose every device pixel is one of these."""
    left, top = -(-pixels.x() // ratio), -(-pixels.y() // ratio)
    right, bottom = (pixels.x() + pixels.width()) // ratio, (pixels.y() + pixels.height()) // ratio
    return QRect(int(left), int(top), max(0, int(right - left)), max(0, int(bottom - top)))
