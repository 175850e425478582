"""The stage painted without a graphics card: pictures come from the engine in the tile's exact size and are only put down.

The window's thread. A picture of another size than its tile (for a moment, while the engine has not heard of a new size) is scaled,
all else is copied pixel for pixel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from time import perf_counter

from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPaintEvent, QRegion
from PySide6.QtWidgets import QWidget

from vidconf.gui.stage.canvas import Format, Overlays, Shown, ground
from vidconf.gui.stage.pictures import Pictures
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import T


class RasterCanvas(QWidget):
    """Paints with QPainter."""

    format: Format = "bgrx"

    def __init__(self, parent: QWidget, pictures: Pictures) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)  # every pixel is painted here: no erasing
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.pass_ms = 0.0
        self._pictures = pictures
        self._tiles: list[Shown] = []
        self._overlays = Overlays()
        self._covered = QRegion()

    # ---- what there is to paint
    def show_tiles(self, tiles: Sequence[Shown]) -> None:
        before, ratio = {tile.content.key: tile for tile in self._tiles}, self.devicePixelRatioF()
        changed = QRegion()
        for tile in tiles:
            old = before.get(tile.content.key)
            if old != tile:
                changed |= QRegion(tile.area)
                if old is not None and old.area != tile.area:
                    changed |= QRegion(old.area)
        for key, old in before.items():
            if all(tile.content.key != key for tile in tiles):
                changed |= QRegion(old.area)
        self._tiles = list(tiles)
        self._overlays.keep(tiles, ratio)
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
        self._overlays.beat(phase, levels)
        ratio = self.devicePixelRatioF()
        for tile in self._tiles:
            at = self._overlays.bars_of(tile)
            if at is not None:
                self.update(_outer(at, ratio))

    def let_go(self) -> None:
        self._tiles, self._covered = [], QRegion()
        self._overlays.clear()

    # ---- painting
    def paintEvent(self, event: QPaintEvent) -> None:
        began = perf_counter()
        painter, ratio, region = QPainter(self), self.devicePixelRatioF(), event.region()
        if ratio != 1:
            painter.scale(1 / ratio, 1 / ratio)
        bare = QColor(T["stage"])
        for beside in _rects(region.subtracted(self._covered)):
            painter.fillRect(_scaled(beside, ratio), bare)
        for tile in self._tiles:
            if region.intersects(tile.area):
                # Of a region of many parts Qt clips every line it copies; within one rectangle it copies whole rows.
                painter.setClipRect(tile.pixels)
                self._paint(painter, tile, ratio)
        painter.end()
        self.pass_ms += 0.1 * (1000 * (perf_counter() - began) - self.pass_ms)

    def _paint(self, painter: QPainter, tile: Shown, ratio: float) -> None:
        content = tile.content
        picture = self._pictures.get(content.track) if content.picture else None
        image = picture.image() if picture is not None else None
        if image is not None and picture is not None:
            _put(painter, tile.pixels, image, content, ground(tile))
            picture.shown()
        self._overlays.paint(painter, tile, ratio, image is not None)


def _put(painter: QPainter, at: QRect, image: QImage, content: Content, ground: QColor) -> None:
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
        painter.fillRect(beside, ground)
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
