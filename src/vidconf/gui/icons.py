"""Icons in the colours of the theme: one drawing, recoloured as it is loaded. The window's thread.

Names are those of `script/fetch-icons`; a trailing `!` asks for the filled cut (on, open, urgent).
"""

from __future__ import annotations

from functools import lru_cache

from PySide6.QtCore import QByteArray, QRectF, QSize, Qt
from PySide6.QtGui import QIcon, QPainter, QPixmap
from PySide6.QtSvg import QSvgRenderer

from vidconf.gui.theme import T
from vidconf.resources import resource


@lru_cache(maxsize=256)
def _drawing(name: str) -> str:
    file = f"{name.rstrip('!')}{'_filled' if name.endswith('!') else ''}.svg"
    return resource("icons", file).read_text(encoding="utf-8")


@lru_cache(maxsize=512)
def picture(name: str, colour: str, size: int = 20, ratio: float = 2.0) -> QPixmap:
    """`name` in one colour (`#RRGGBB`), `size` device-independent pixels, drawn `ratio` times finer."""
    svg = _drawing(name).replace("<svg ", f'<svg fill="{colour}" ', 1)
    pixels = QPixmap(round(size * ratio), round(size * ratio))
    pixels.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixels)
    QSvgRenderer(QByteArray(svg.encode())).render(painter, QRectF(0, 0, pixels.width(), pixels.height()))
    painter.end()
    pixels.setDevicePixelRatio(ratio)
    return pixels


def icon(name: str, colour: str | None = None, size: int = 20) -> QIcon:
    """For buttons and menus; greyed by itself when they are disabled."""
    made = QIcon(picture(name, colour or T["text"], size))
    made.addPixmap(picture(name, T["disabled"], size), QIcon.Mode.Disabled)
    return made


def program_icon() -> QIcon:
    """The program's own sign, for the window and the task bar."""
    made = QIcon()
    renderer = QSvgRenderer(str(resource("icons", "vidconf.svg")))
    for size in (16, 24, 32, 48, 64, 128, 256):
        pixels = QPixmap(QSize(size, size))
        pixels.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixels)
        renderer.render(painter, QRectF(0, 0, size, size))
        painter.end()
        made.addPixmap(pixels)
    return made
