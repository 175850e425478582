"""The bar over pages that are not home and not the meeting: back, title, settings, help. The window's thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui import shortcuts
from vidconf.gui.page import Page
from vidconf.gui.parts import Text, box, pack, tool


def frame_head(page: Page, title: str, back: Callable[[], object]) -> QFrame:
    """Settings and help are asked of the window by the page's `asked`."""
    settings = tool("settings", tip=f"{words.text('common.settings')} ({shortcuts.shown('settings')})", do=lambda: page.asked.emit("settings", None))
    help_ = tool("question_circle", tip=f"{words.text('shortcuts.title')} ({shortcuts.shown('help')})", do=lambda: page.asked.emit("shortcuts", None))
    goes = tool("arrow_left", tip=words.text("common.back_home_tip"), do=back)
    return box([goes, (Text(title, "lead", elide=True), 1), settings, help_], "bar", vertical=False, margins=(12, 0, 12, 0), height=52)


NARROW = 1000


class Halves(QWidget):
    """Two halves side by side, closer together in a narrow window."""

    def __init__(self, left: QWidget, right: QWidget) -> None:
        super().__init__()
        self._row = pack(QHBoxLayout(self), (left, 1), right)
        self._space(28)

    def _space(self, gap: int) -> None:
        self._row.setSpacing(gap)
        self._row.setContentsMargins(gap, 0, gap, 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._space(28 if event.size().width() >= NARROW else 16)


class Half(QWidget):
    """A picture, the buttons below it, and what is said of them: beside them where there is room, else below."""

    def __init__(self, picture: QWidget, keys: QLayout, said: QLayout) -> None:
        super().__init__()
        self._below = QBoxLayout(QBoxLayout.Direction.LeftToRight)
        pack(self._below, keys, (said, 1), gap=14)
        pack(QVBoxLayout(self), None, picture, 12, self._below, None, gap=0, margins=(0, 12, 0, 12))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        wide = event.size().width() >= 460
        self._below.setDirection(QBoxLayout.Direction.LeftToRight if wide else QBoxLayout.Direction.TopToBottom)
        self._below.setSpacing(14 if wide else 10)
