"""The bar over pages that are not home and not the meeting: back, title, settings, help. The window's thread."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QVBoxLayout, QWidget

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


class Halves(QWidget):
    """Two halves side by side, one over the other where the window is narrower than `least`."""

    def __init__(self, left: QWidget, right: QWidget, *, least: int = 720, gap: int = 28) -> None:
        super().__init__()
        self._least = least
        self.left, self.right = left, right
        self._row = QHBoxLayout()
        pack(self._row, (left, 1), right, gap=gap)
        pack(QVBoxLayout(self), self._row, gap=0)
        self.stacked = False

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        stacked = event.size().width() < self._least
        if stacked != self.stacked:
            self.stacked = stacked
            self._row.setDirection(QBoxLayout.Direction.TopToBottom if stacked else QBoxLayout.Direction.LeftToRight)
