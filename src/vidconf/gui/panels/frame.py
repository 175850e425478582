"""What all panels beside the stage share: ground, title, the way to close it. The window's thread."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.parts import Text, enter_presses, pack, row, tool

WIDTH = 360


class Panel(QFrame):
    """Fill `body`. Esc closes it."""

    closed = Signal()

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setProperty("bar", "true")
        self.setAccessibleName(title)
        self.title = Text(title, "lead")
        self.close_button = tool("dismiss", tip=words.text("panel.close"), do=self.closed.emit)
        self.body = pack(QVBoxLayout(self), row(self.title, None, self.close_button, gap=0, margins=(14, 4, 6, 0)), gap=0)
        enter_presses(self)

    def first_focus(self) -> QWidget:
        return self.close_button

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and event.modifiers() == Qt.KeyboardModifier.NoModifier:
            self.closed.emit()
            return
        super().keyPressEvent(event)
