"""Small widgets painted by hand: avatar, level gauge, the floor's clock. Colours from `theme.T` at the moment of painting; the window's thread."""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from vidconf.gui.theme import BOLD, T, font

SPEECH_LEVEL = 0.6
"""Where the mark stands that speech should reach."""


def smooth(widget: QWidget) -> QPainter:
    """A painter that rounds edges and scales pictures well."""
    painter = QPainter(widget)
    painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
    return painter


def initials(name: str) -> str:
    """Of the last two words, as Vietnamese names are told apart: Trần Thị Bình → TB."""
    return "".join(part[0] for part in name.split()[-2:]).upper()


def loudness(rms: float) -> float:
    """Microphone level 0…1 as the eye expects it: −54 dB and below is nothing, −6 dB is full."""
    if rms <= 0.002:
        return 0.0
    from math import log10

    return min(1.0, max(0.0, (20 * log10(rms) + 54) / 48))


class Avatar(QWidget):
    """Initials on a disc."""

    def __init__(self, name: str, size: int = 32) -> None:
        super().__init__()
        self.setFixedSize(size, size)
        self.initials = initials(name)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = smooth(self)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(T["accent_soft"]))
        painter.drawEllipse(self.rect())
        painter.setPen(QColor(T["accent_text"]))
        painter.setFont(font(self.width() * 0.4, BOLD))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self.initials)


class Gauge(QWidget):
    """A level in bars: how many are lit says it without colour; a tick marks where speech should reach."""

    def __init__(self, name: str, bars: int = 20) -> None:
        super().__init__()
        self.level, self.bars, self.name = 0.0, bars, name
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(name)

    def sizeHint(self) -> QSize:
        return QSize(160, 20)

    def minimumSizeHint(self) -> QSize:
        return QSize(80, 20)

    def show_level(self, level: float) -> None:
        """0…1, as heard: see `loudness`."""
        lit = round(level * self.bars)
        if lit != round(self.level * self.bars):
            self.update()
        self.level = level

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, step = QPainter(self), self.width() / self.bars
        painter.translate(0, (self.height() - 20) / 2)
        lit = round(self.level * self.bars)
        for i in range(self.bars):
            painter.fillRect(QRectF(i * step, 4, step - 3, 12), QColor(T["accent" if i < lit else "hover"]))
        painter.fillRect(QRectF(SPEECH_LEVEL * self.width() - 2.5, 0, 2, 20), QColor(T["text"]))


class FloorClock(QWidget):
    """A ring that empties with the speaking time; full and in another colour when the time is over. On the stage's ground."""

    def __init__(self, size: int = 28) -> None:
        super().__init__()
        self.setFixedSize(size, size)
        self.left, self.over = 1.0, False

    def show_time(self, left: float, over: bool) -> None:
        """`left` 1…0 of the time given."""
        left = round(min(1.0, max(0.0, left)), 3)
        if (left, over) != (self.left, self.over):
            self.left, self.over = left, over
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, thick = smooth(self), self.width() * 0.14
        ring = QRectF(self.rect()).adjusted(thick, thick, -thick, -thick)
        painter.setPen(QPen(QColor(T["disc"]), thick))
        painter.drawEllipse(ring)
        painter.setPen(QPen(QColor(T["over" if self.over else "speaking"]), thick))
        painter.drawArc(ring, 90 * 16, round((1.0 if self.over else self.left) * 360 * 16))
