"""The transparent widget over each tile: keyboard focus, accessible name, tooltip, clicks. It paints nothing. The window's thread.

One of them is the stage's stop for Tab (`set_current`), arrows lead to the others. Space is left alone: it is held to talk.
"""

from __future__ import annotations

from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QContextMenuEvent, QFocusEvent, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QWidget

from vidconf.gui.stage import said
from vidconf.gui.stage.tiles import Content

_DIRECTIONS = {
    Qt.Key.Key_Left: "left", Qt.Key.Key_Right: "right", Qt.Key.Key_Up: "up", Qt.Key.Key_Down: "down", Qt.Key.Key_Home: "first",
    Qt.Key.Key_End: "last",
}  # fmt: skip


class Tile(QWidget):
    """Made for one key; shows another content of it by `show_content`."""

    moved = Signal(str)
    """An arrow key: `left`, `right`, `up`, `down`, `first`, `last`."""
    chosen = Signal()
    """Enter."""
    clicked = Signal()
    double_clicked = Signal()
    menu_asked = Signal(QPoint)
    """Where, on the screen."""
    focused = Signal()

    def __init__(self, parent: QWidget, content: Content) -> None:
        super().__init__(parent)
        self.content = content
        self.setObjectName(content.key)
        self.setAttribute(Qt.WidgetAttribute.WA_NoSystemBackground)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.DefaultContextMenu)
        self.set_current(False)
        self.say()

    def show_content(self, content: Content) -> None:
        if content != self.content:
            self.content = content
            self.say()

    def say(self) -> None:
        """Name, description and tooltip, in the words of now."""
        for get, put, now in (
            (self.accessibleName, self.setAccessibleName, said.accessible(self.content)),
            (self.accessibleDescription, self.setAccessibleDescription, said.whole(self.content)),
            (self.toolTip, self.setToolTip, said.tooltip(self.content)),
        ):
            if get() != now:
                put(now)

    def set_current(self, current: bool) -> None:
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus if current else Qt.FocusPolicy.ClickFocus)

    # ---- keys and clicks
    def keyPressEvent(self, event: QKeyEvent) -> None:
        key, held = Qt.Key(event.key()), event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier
        if held == Qt.KeyboardModifier.NoModifier and key in _DIRECTIONS:
            self.moved.emit(_DIRECTIONS[key])
        elif held == Qt.KeyboardModifier.NoModifier and key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not event.isAutoRepeat():
            self.chosen.emit()
        elif held == Qt.KeyboardModifier.ShiftModifier and key == Qt.Key.Key_F10:
            self._ask_menu(None)
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self._ask_menu(None if event.reason() == QContextMenuEvent.Reason.Keyboard else event.globalPos())
        event.accept()

    def _ask_menu(self, at: QPoint | None) -> None:
        """By the keyboard it opens near the name."""
        self.menu_asked.emit(at if at is not None else self.mapToGlobal(QPoint(min(24, self.width() // 2), max(0, self.height() - 16))))

    def mousePressEvent(self, event: QMouseEvent) -> None:
        event.accept()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self.clicked.emit()
        event.accept()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self.double_clicked.emit()
        event.accept()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.focused.emit()
        super().focusInEvent(event)
