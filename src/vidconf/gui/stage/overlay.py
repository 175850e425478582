"""What lies over a tile's picture: plate with name, marks, initials where there is no picture, rounded corners, speaking frame.

All of it is drawn once into pixmaps, in device pixels, and put over each picture as it is; `Overlay.of` remembers nothing, who
paints keeps it until tile or size change. Text never overlaps and is never cut inside a letter: what has no room is left out,
first the second line, then the badge, then the words of the marks. The window's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import ceil

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, QSizeF, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPainterPath, QPen, QPixmap

from vidconf import words
from vidconf.gui.icons import picture
from vidconf.gui.parts import fit_unit
from vidconf.gui.stage import said
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import BOLD, RADIUS_TILE, T, font

FRAME = 3
"""Of who speaks; device-independent pixels."""
LARGE_WIDTH, LARGE_HEIGHT = 640, 340
"""From here on text is larger."""
SMALL_WIDTH, SMALL_HEIGHT = 180, 100
"""Below either there is no second line, and marks are signs only."""
PHASES = 6
"""Pictures of the moving bars."""
LOUDNESS = 3
"""Heights of the moving bars."""
_BARS = ((0.5, 1.0, 0.65), (0.8, 0.7, 1.0), (1.0, 0.5, 0.8), (0.65, 0.9, 0.45), (0.4, 1.0, 0.9), (0.9, 0.6, 0.5))
_STILL = (0.5, 1.0, 0.65)


@dataclass(frozen=True, slots=True)
class Piece:
    """A pixmap and where it lies in its tile, device pixels."""

    x: int
    y: int
    pixels: QPixmap

    @property
    def area(self) -> QRect:
        return QRect(self.x, self.y, self.pixels.width(), self.pixels.height())


@dataclass(slots=True)
class Overlay:
    """Of one tile. `bars`: where the moving bars stand, None when it does not speak."""

    over: list[Piece] = field(default_factory=list)
    """On top of picture or initials, in this order."""
    without: Callable[[], tuple[list[Piece], list[Piece]]] = lambda: ([], [])
    """Draws `instead` and `waiting`, when they are first asked for: most tiles have a picture."""
    corners: tuple[Piece, ...] = ()
    frame: bool = False
    bars: QRect | None = None
    _drawn: tuple[list[Piece], list[Piece]] | None = None

    @property
    def instead(self) -> list[Piece]:
        """Where there is no picture."""
        return self._once()[0]

    @property
    def waiting(self) -> list[Piece]:
        """Where a picture is on its way and does not come."""
        return self._once()[1]

    def _once(self) -> tuple[list[Piece], list[Piece]]:
        if self._drawn is None:
            self._drawn = self.without()
        return self._drawn

    @classmethod
    def of(cls, content: Content, size: QSize, ratio: float, bare: bool = False) -> Overlay:
        """`size` in device pixels, `ratio` of them to one of ours. `bare`: a shared page shown large, with nothing over it."""
        if bare:
            return cls(without=lambda: ([], _waiting_page(size, ratio)))
        drawn = _Drawn(content, size, ratio).overlay
        if content.kind == "page":
            drawn.without = lambda: ([], _waiting_page(size, ratio))
        return drawn


class _Drawn:
    """The drawing of one overlay, in device-independent pixels."""

    def __init__(self, content: Content, size: QSize, ratio: float) -> None:
        self.content, self.ratio, self.size = content, ratio, size
        self.w, self.h = size.width() / ratio, size.height() / ratio
        self.small = self.w < SMALL_WIDTH or self.h < SMALL_HEIGHT
        self.large = self.w >= LARGE_WIDTH and self.h >= LARGE_HEIGHT
        self.inset = 4 if self.small else 8
        self.overlay = Overlay(frame=content.speaking, corners=corners(size, ratio, content.speaking))
        plate = self._plate()
        above = plate.y() if plate is not None else self.h - self.inset
        disc = self._disc(above)
        self._marks(above, disc)

    # ---- the plate at the lower left
    def _plate(self) -> QRectF | None:
        content = self.content
        first, second = (20, 15) if self.large else (13, 13) if self.small else (14, 13)
        name, small, tag_metrics = QFontMetrics(font(first, BOLD)), QFontMetrics(font(second)), QFontMetrics(font(13, BOLD))
        side = first + (12 if self.small else 18)
        end = 6 if self.small else 9
        room = int(self.w - 2 * self.inset - side - end)
        if room < 12 or name.height() + 2 * self.inset + 2 > self.h:
            return self._only_sign(first)
        line = "" if self.small or name.height() + small.height() + 2 * self.inset + 5 > self.h else said.whole(content)
        line = fit_unit(content.position, content.unit, small, room) if line else ""
        tag, full = said.badge(content), said.name(content)
        tag_room = tag_metrics.horizontalAdvance(tag) + 10 + 8 if tag else 0
        if tag and room - tag_room < min(name.horizontalAdvance(full), 84 if not self.large else 160):
            tag, tag_room = "", 0
        shown = said.fit_plate_name(content, name, room - tag_room)
        tall = name.height() + (small.height() if line else 0) + (2 if self.small else 5)
        wide = side + max(name.horizontalAdvance(shown) + tag_room, small.horizontalAdvance(line)) + end
        plate = QRectF(self.inset, self.h - self.inset - tall, ceil(wide), tall)
        with _Sheet(plate.size(), self.ratio) as sheet:
            p = sheet.painter
            self._ground(p, plate.size())
            self._sign(p, QRectF(0, 0, side, tall), first, plate)
            p.setPen(QColor(T["plate_text"]))
            p.setFont(font(first, BOLD))
            top = 1.0 if self.small else 2.0
            p.drawText(QPointF(side, top + name.ascent()), shown)
            if tag:
                at = QRectF(side + name.horizontalAdvance(shown) + 8, top + (name.height() - 20) / 2, tag_room - 8, 20)
                p.setPen(Qt.PenStyle.NoPen)
                p.setBrush(QColor(T["plate_text"]))
                p.drawRoundedRect(at, 4, 4)
                p.setPen(QColor(T["stage"]))
                p.setFont(font(13, BOLD))
                p.drawText(at, Qt.AlignmentFlag.AlignCenter, tag)
            if line:
                p.setPen(QColor(T["plate_muted"]))
                p.setFont(font(second))
                p.drawText(QPointF(side, top + name.height() + small.ascent()), line)
        self.overlay.over.append(self._piece(plate.topLeft(), sheet.pixels))
        return plate

    def _only_sign(self, first: int) -> QRectF | None:
        side = first + 10
        if self.w < side + 2 * self.inset or self.h < side + 2 * self.inset:
            return None
        plate = QRectF(self.inset, self.h - self.inset - side, side, side)
        with _Sheet(plate.size(), self.ratio) as sheet:
            self._ground(sheet.painter, plate.size())
            self._sign(sheet.painter, QRectF(0, 0, side, side), first, plate)
        self.overlay.over.append(self._piece(plate.topLeft(), sheet.pixels))
        return plate

    def _ground(self, p: QPainter, size: QSizeF) -> None:
        p.setBrush(QColor(T["plate"]))
        area = QRectF(QPointF(0, 0), size)
        if self.content.pending:  # asked, not yet answered
            p.setPen(QPen(QColor(T["plate_muted"]), 1, Qt.PenStyle.DashLine))
            area.adjust(0.5, 0.5, -0.5, -0.5)
        else:
            p.setPen(Qt.PenStyle.NoPen)
        p.drawRoundedRect(area, 7, 7)

    def _sign(self, p: QPainter, area: QRectF, first: int, plate: QRectF) -> None:
        """Microphone, or room for the bars of who speaks; of a page that it is one."""
        side = first + 4
        at = QPointF(area.center().x() - side / 2, area.center().y() - side / 2)
        if self.content.speaking:
            self.overlay.bars = self._pixels(QRectF(plate.topLeft() + at, QSizeF(side, side)))
            return
        symbol = "share_screen!" if self.content.kind == "page" else "mic!" if self.content.microphone == "on" else "mic_off"
        p.drawPixmap(at, picture(symbol, T["plate_text"], side, self.ratio))

    # ---- initials in the middle
    def _disc(self, above: float) -> QRectF | None:
        """Where the initials go, between the top and `above`."""
        content, space = self.content, above - self.inset
        side = float(round(min(self.h * 0.42, 160 if self.large else 120, space * 0.84, self.w * 0.5)))
        if side < 20:
            return None
        disc = QRectF((self.w - side) / 2, max(self.inset / 2, (self.h - side) / 2 * 0.86), side, side)
        if disc.bottom() > above - 4:
            disc.moveTop(max(2.0, (above - side) / 2))
        return disc if content.kind == "person" else None

    def _draw_disc(self, disc: QRectF, above: float) -> tuple[list[Piece], list[Piece]]:
        """What stands instead of a picture, and what while one is awaited."""
        content = self.content
        with _Sheet(disc.size(), self.ratio) as sheet:
            p, area = sheet.painter, QRectF(QPointF(0, 0), disc.size())
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(QColor(T["disc"]))
            p.drawEllipse(area)
            p.setPen(QColor(T["plate_text"]))
            if content.initials:
                p.setFont(font(max(11, disc.width() * 0.36), BOLD))
                p.drawText(area, Qt.AlignmentFlag.AlignCenter, content.initials)
            else:
                side = round(disc.width() * 0.5)
                p.drawPixmap(area.center() - QPointF(side / 2, side / 2), picture("person!", T["plate_text"], side, self.ratio))
        piece = self._piece(disc.topLeft(), sheet.pixels)
        waiting = [piece]
        text, metrics = words.text("stage.waiting"), QFontMetrics(font(13))
        wide = metrics.horizontalAdvance(text) + 4
        if not self.small and disc.bottom() + 8 + metrics.height() <= above - 4 and wide < self.w - 2 * self.inset:
            line = _line(text, 13, self.ratio)
            waiting.append(self._piece(QPointF((self.w - wide) / 2, disc.bottom() + 8), line))
        return [piece], waiting

    # ---- marks at the upper left
    def _marks(self, above: float, disc: QRectF | None) -> None:
        """In words where they have room, else as signs; not over the initials."""
        found = said.marks(self.content)
        tall = 20 if self.small else 26
        metrics = QFontMetrics(font(13, BOLD))
        placed: list[tuple[QRectF, str, str, bool]] | None = None
        in_words = [(symbol, text, hand) for (symbol, text, _), hand in zip(found, _hands(found), strict=True)]
        in_signs = [(symbol, short, hand) for (symbol, _, short), hand in zip(found, _hands(found), strict=True)]
        if not self.small:
            placed = self._flow(in_words, tall, above, metrics)
            if placed is not None and disc is not None:
                areas = [at for at, *_ in placed]
                # With a picture there is no disc, but for a moment: it may step aside.
                if _touches(self._beside(disc, areas) if self.content.picture else disc, areas):
                    placed = None
        most = len(in_signs)
        while placed is None:  # the least weighty are given up
            placed = self._flow(in_signs[:most], tall, above, metrics)
            most -= 1
        if disc is not None:
            areas = [at for at, *_ in placed]
            disc = self._beside(disc, areas)
            if not _touches(disc, areas):
                self.overlay.without = partial(self._draw_disc, disc, above)
        for at, symbol, text, hand in placed:
            self._draw_mark(at, symbol, text, hand)

    def _flow(self, marks: list[tuple[str, str, bool]], tall: int, above: float, metrics: QFontMetrics) -> list[tuple[QRectF, str, str, bool]] | None:
        """Side by side, and below each other where they have no more room; None when they do not fit over the plate."""
        x, y, gap = float(self.inset), float(self.inset), 4.0
        placed = []
        for symbol, text, hand in marks:
            wide = tall + (metrics.horizontalAdvance(text) + (5 if self.small else 8) if text else 0)
            if x > self.inset and x + wide > self.w - self.inset:
                x, y = float(self.inset), y + tall + gap
            if x + wide > self.w - self.inset or y + tall > above - 2:
                return None
            placed.append((QRectF(x, y, wide, tall), symbol, text, hand))
            x += wide + gap
        return placed

    def _beside(self, disc: QRectF, marks: list[QRectF]) -> QRectF:
        """The disc moved out of the marks' way, to the right, where it would touch them."""
        for mark in marks:
            if mark.adjusted(-3, -3, 3, 3).intersects(disc):
                disc = disc.translated(min(mark.right() + 4 - disc.x(), self.w - self.inset - disc.right()), 0)
        return disc

    def _draw_mark(self, at: QRectF, symbol: str, text: str, hand: bool) -> None:
        ink = T["on_hand" if hand else "plate_text"]
        side = 14 if self.small else 16
        with _Sheet(at.size(), self.ratio) as sheet:
            p, tall = sheet.painter, at.height()
            p.setPen(Qt.PenStyle.NoPen)
            p.setBrush(QColor(T["hand" if hand else "plate"]))
            p.drawRoundedRect(QRectF(QPointF(0, 0), at.size()), 6, 6)
            p.drawPixmap(QPointF((tall - side) / 2, (tall - side) / 2), picture(symbol, ink, side, self.ratio))
            if text:
                p.setPen(QColor(ink))
                p.setFont(font(13, BOLD))
                p.drawText(QRectF(tall - 1, 0, at.width() - tall, tall), Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, text)
        self.overlay.over.append(self._piece(at.topLeft(), sheet.pixels))

    # ---- pixels
    def _piece(self, at: QPointF, pixels: QPixmap) -> Piece:
        return Piece(round(at.x() * self.ratio), round(at.y() * self.ratio), pixels)

    def _pixels(self, area: QRectF) -> QRect:
        r = self.ratio
        return QRect(round(area.x() * r), round(area.y() * r), round(area.width() * r), round(area.height() * r))


def _touches(disc: QRectF, marks: list[QRectF]) -> bool:
    return any(mark.adjusted(-3, -3, 3, 3).intersects(disc) for mark in marks)


def _hands(found: list[tuple[str, str, str]]) -> list[bool]:
    return [symbol == "hand!" for symbol, _, _ in found]


class _Sheet:
    """A transparent pixmap of a size in our pixels, to be drawn on."""

    def __init__(self, size: QSizeF, ratio: float) -> None:
        self.pixels = QPixmap(max(1, ceil(size.width() * ratio)), max(1, ceil(size.height() * ratio)))
        self.pixels.setDevicePixelRatio(ratio)
        self.pixels.fill(Qt.GlobalColor.transparent)
        self.painter = QPainter()

    def __enter__(self) -> _Sheet:
        self.painter.begin(self.pixels)
        self.painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        return self

    def __exit__(self, *error: object) -> None:
        self.painter.end()
        self.pixels.setDevicePixelRatio(1.0)  # it is put down pixel for pixel


def _line(text: str, px: int, ratio: float) -> QPixmap:
    metrics = QFontMetrics(font(px))
    with _Sheet(QSizeF(metrics.horizontalAdvance(text) + 4, metrics.height()), ratio) as sheet:
        sheet.painter.setPen(QColor(T["plate_muted"]))
        sheet.painter.setFont(font(px))
        sheet.painter.drawText(QPointF(2, metrics.ascent()), text)
    return sheet.pixels


def _waiting_page(size: QSize, ratio: float) -> list[Piece]:
    line = _line(words.text("stage.waiting"), 14, ratio)
    if line.width() > size.width() or line.height() > size.height():
        return []
    return [Piece((size.width() - line.width()) // 2, (size.height() - line.height()) // 2, line)]


# ---- corners and bars: the same for all tiles ------------------------------------------------------------------------------


def corners(size: QSize, ratio: float, speaking: bool) -> tuple[Piece, ...]:
    """Four, painted over the picture: what lies outside the rounding in the stage's colour, and the frame's bend."""
    side = ceil((RADIUS_TILE + 1) * ratio)
    if min(size.width(), size.height()) < 2 * side:
        return ()
    right, bottom = size.width() - side, size.height() - side
    places = ((0, 0), (right, 0), (right, bottom), (0, bottom))
    drawn = _corner_pixels(ratio, speaking, T["stage"], T["speaking"])
    return tuple(Piece(x, y, pixels) for (x, y), pixels in zip(places, drawn, strict=True))


@lru_cache(maxsize=32)
def _corner_pixels(ratio: float, speaking: bool, ground: str, ink: str) -> tuple[QPixmap, ...]:
    side, radius = ceil((RADIUS_TILE + 1) * ratio), RADIUS_TILE * ratio
    whole = QRectF(0, 0, side * 4, side * 4)
    outside, rounded = QPainterPath(), QPainterPath()
    outside.addRect(whole)
    rounded.addRoundedRect(whole, radius, radius)
    made = []
    for x, y in ((0, 0), (3 * side, 0), (3 * side, 3 * side), (0, 3 * side)):
        pixels = QPixmap(side, side)
        pixels.fill(Qt.GlobalColor.transparent)
        p = QPainter(pixels)
        p.setRenderHint(QPainter.RenderHint.Antialiasing)
        p.translate(-x, -y)
        if speaking:
            wide = frame_pixels(ratio)
            inner = whole.adjusted(wide / 2, wide / 2, -wide / 2, -wide / 2)
            p.setPen(QPen(QColor(ink), wide))
            p.drawRoundedRect(inner, radius - wide / 2, radius - wide / 2)
        p.fillPath(outside - rounded, QColor(ground))
        p.end()
        made.append(pixels)
    return tuple(made)


def frame_pixels(ratio: float) -> int:
    return max(1, round(FRAME * ratio))


@lru_cache(maxsize=128)
def bars(side: int, phase: int, loud: int, colour: str) -> QPixmap:
    """The three bars of who speaks, `side` device pixels; `phase` 0…`PHASES` - 1, -1: still; `loud` 1…`LOUDNESS`."""
    pixels = QPixmap(side, side)
    pixels.fill(Qt.GlobalColor.transparent)
    p = QPainter(pixels)
    p.setRenderHint(QPainter.RenderHint.Antialiasing)
    p.setPen(Qt.PenStyle.NoPen)
    p.setBrush(QColor(colour))
    wide, step = side * 0.2, side * 0.31
    reach = 1.0 if phase < 0 else 0.55 + 0.45 * loud / LOUDNESS
    for n, tallness in enumerate(_STILL if phase < 0 else _BARS[phase % PHASES]):
        tall = side * tallness * reach
        p.drawRoundedRect(QRectF(side * 0.09 + n * step, (side - tall) / 2, wide, tall), wide / 2, wide / 2)
    p.end()
    return pixels
