"""One's own camera before the meeting: the newest frame of its shared-memory ring, mirrored, with the plate of the stage.

The window's thread. Asks for pictures of its own size through `actions.watch`, reads at most thirty a second, and only while it
can be seen. Without a picture it shows initials.
"""

from __future__ import annotations

import logging
from typing import Any

from PySide6.QtCore import QPointF, QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QColor, QFontMetrics, QHideEvent, QImage, QPainter, QPainterPath, QPaintEvent, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from vidconf.client.state import LocalSource, TrackView
from vidconf.engine.frame_ring import BGRX, Frame, RingError, RingReader
from vidconf.gui.icons import picture
from vidconf.gui.painted import initials, smooth
from vidconf.gui.parts import fit_unit
from vidconf.gui.theme import BOLD, RADIUS_TILE, T, font

log = logging.getLogger("vidconf.preview")

TRACK = "local:camera"
PERIOD_MS = 33
OPEN_AGAIN_TICKS = 15


class Preview(QWidget):
    """16:9 as far as its place allows; call `show_track` and `show_person` as the state changes."""

    def __init__(self, actions: Any, name: str = "", line: str = "", *, most_width: int = 664) -> None:
        super().__init__()
        self.do, self.name, self.line = actions, name, line
        self._most = most_width
        self._camera = self._microphone = LocalSource()
        self.status = ""
        self._ring_name = ""
        self._reader: RingReader | None = None
        self._frame: Frame | None = None
        self._waited = 0
        self._watching: tuple[int, int] | None = None
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(240, 135)
        self.setMaximumSize(most_width, round(most_width * 9 / 16))
        self._timer = QTimer(self)
        self._timer.setInterval(PERIOD_MS)
        self._timer.timeout.connect(self._tick)

    def sizeHint(self) -> QSize:
        return QSize(self._most, round(self._most * 9 / 16))

    def heightForWidth(self, width: int) -> int:
        return round(min(width, self._most) * 9 / 16)

    def show_person(self, name: str, line: str, status: str) -> None:
        """`status`: what is going on when there is no picture."""
        if (name, line, status) != (self.name, self.line, self.status):
            self.name, self.line, self.status = name, line, status
            self.setAccessibleName(f"{name}. {status}" if status else name)
            self.update()

    def show_sources(self, microphone: LocalSource, camera: LocalSource) -> None:
        if (microphone.state, camera.state) != (self._microphone.state, self._camera.state):
            self.update()
        self._microphone, self._camera = microphone, camera

    def show_track(self, track: TrackView | None) -> None:
        """The local camera's track, None while there is none."""
        name = track.ring if track is not None and track.ring else ""
        if name != self._ring_name:
            self._drop()
            self._ring_name = name
            self._waited = 0
        if name and self.isVisible():
            self._timer.start()
        elif not name:
            self._timer.stop()
            self.update()

    def let_go(self) -> None:
        """Stop watching and give the shared memory back."""
        self._timer.stop()
        self._drop()
        self._ring_name = ""
        self._watch(False)

    # ---- pictures
    def _drop(self) -> None:
        self._frame = None
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _tick(self) -> None:
        if self._reader is None:
            if self._waited > 0:
                self._waited -= 1
                return
            try:
                self._reader = RingReader(self._ring_name)
            except RingError as error:
                # The engine may have opened another one already: its name comes with the next state.
                self._waited = OPEN_AGAIN_TICKS
                log.debug("the preview's ring cannot be opened: %s", error)
                return
        if self._reader.fresh():
            self._frame = self._reader.newest()
            self.update()

    def _watch(self, visible: bool) -> None:
        if not visible:
            if self._watching is not None:
                self._watching = None
                self.do.watch(TRACK, 0, 0, False, True)
            return
        ratio = self.devicePixelRatioF()
        size = (round(self.width() * ratio), round(self.height() * ratio))
        if size != self._watching and min(size) > 0:
            self._watching = size
            self.do.watch(TRACK, *size, True, True)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._watch(True)
        if self._ring_name:
            self._timer.start()

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._timer.stop()
        self._watch(False)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        if self.isVisible():
            self._watch(True)

    # ---- painting
    def paintEvent(self, event: QPaintEvent) -> None:
        painter, area = smooth(self), QRectF(self.rect())
        shape = QPainterPath()
        shape.addRoundedRect(area, RADIUS_TILE, RADIUS_TILE)
        painter.setClipPath(shape)
        painter.fillRect(area, QColor(T["tile"]))
        plate = self._plate(area)
        if self._camera.state == "on" and self._frame is not None and self._frame.format & 0xFF == BGRX:
            self._paint_frame(painter, area, self._frame)
        else:
            self._paint_nobody(painter, area.adjusted(0, 0, 0, plate.top() - area.bottom() if self.name else 0))
        if self.name:
            self._paint_plate(painter, plate)

    def _paint_frame(self, painter: QPainter, area: QRectF, frame: Frame) -> None:
        image = QImage(frame.data, frame.width, frame.height, frame.stride, QImage.Format.Format_RGB32)
        painter.save()
        painter.translate(area.width(), 0)  # as in a mirror: others see it the right way round
        painter.scale(-1, 1)
        wide = area.width() / area.height()
        if frame.width / frame.height > wide:
            cut = frame.height * wide
            source = QRectF((frame.width - cut) / 2, 0, cut, frame.height)
        else:
            cut = frame.width / wide
            source = QRectF(0, (frame.height - cut) / 2, frame.width, cut)
        painter.drawImage(area, image, source)
        painter.restore()

    def _paint_nobody(self, painter: QPainter, area: QRectF) -> None:
        """In what the plate leaves free; the words only where they fit."""
        line = 32 if self.status and area.height() >= 100 else 0
        size = min(area.height() * 0.5, area.height() - line - 16, 120.0)
        disc = QRectF(area.center().x() - size / 2, area.center().y() - (size + line) / 2, size, size)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(T["disc"]))
        painter.drawEllipse(disc)
        painter.setPen(QColor(T["plate_text"]))
        shown = initials(self.name)
        if shown:
            painter.setFont(font(size * 0.36, BOLD))
            painter.drawText(disc, Qt.AlignmentFlag.AlignCenter, shown)
        else:
            side = round(size * 0.5)
            painter.drawPixmap(QPointF(disc.center().x() - side / 2, disc.center().y() - side / 2), picture("person!", T["plate_text"], side))
        if line:
            painter.setFont(font(14))
            painter.setPen(QColor(T["plate_muted"]))
            below = QRectF(area.x() + 12, disc.bottom() + 8, area.width() - 24, 24)
            painter.drawText(below, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, self.status)

    def _plate(self, area: QRectF) -> QRectF:
        """As wide as it may be."""
        high = QFontMetrics(font(18, BOLD)).height() + (QFontMetrics(font(14)).height() if self.line else 0) + 4
        return QRectF(8, area.height() - high - 8, area.width() - 16, high)

    def _paint_plate(self, painter: QPainter, room: QRectF) -> None:
        name, small = QFontMetrics(font(18, BOLD)), QFontMetrics(font(14))
        side, most = 36, int(room.width() - 36 - 12)
        line = fit_unit("", self.line, small, most) if self.line else ""
        shown = name.elidedText(self.name, Qt.TextElideMode.ElideRight, most)
        plate = QRectF(room.topLeft(), QSize(max(name.horizontalAdvance(shown), small.horizontalAdvance(line)) + side + 12, int(room.height())))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(T["plate"]))
        painter.drawRoundedRect(plate, 7, 7)
        symbol = "mic!" if self._microphone.state == "on" else "mic_off"
        painter.drawPixmap(QPointF(plate.x() + 8, plate.center().y() - 11), picture(symbol, T["plate_text"], 22))
        painter.setPen(QColor(T["plate_text"]))
        painter.setFont(font(18, BOLD))
        painter.drawText(QPointF(plate.x() + side, plate.y() + 1 + name.ascent()), shown)
        if line:
            painter.setPen(QColor(T["plate_muted"]))
            painter.setFont(font(14))
            painter.drawText(QPointF(plate.x() + side, plate.y() + 1 + name.height() + small.ascent()), line)
