"""A small card over the page, beside the button that opened it: devices, what the meeting is. The window's thread.

Inside the window, as `sheet`, so that the focus ring and screen readers find it; it goes on Esc, on a click or the keyboard
elsewhere, and gives the keyboard back to its button.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, Qt, Signal
from PySide6.QtGui import QGuiApplication, QKeyEvent, QMouseEvent
from PySide6.QtWidgets import QApplication, QComboBox, QFrame, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.parts import Text, enter_presses, pack, row, tool

GAP, EDGE = 10, 8


class Popover(QFrame):
    """Fill `body`, then `open_at(button)`. It deletes itself."""

    gone = Signal()

    def __init__(self, page: QWidget, title: str, width: int) -> None:
        super().__init__(page)
        self._page, self._width = page, width
        self._button: QWidget | None = None
        self._closed = False
        self.setProperty("card", "true")
        self.setAccessibleName(title)
        close = tool("dismiss", tip=words.text("sheet.close"), do=self.close_it)
        self.body = pack(QVBoxLayout(self), row((Text(title, "lead", wrap=True), 1), close, gap=8), gap=6, margins=(16, 8, 8, 14))
        self.hide()

    def open_at(self, button: QWidget) -> None:
        """Above or below `button`, where there is room; takes the keyboard."""
        self._button = button
        enter_presses(self)
        self.place()
        self.show()
        self.raise_()
        (self.first_focus() or self).setFocus(Qt.FocusReason.TabFocusReason)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.installEventFilter(self)
        app.focusChanged.connect(self._on_focus_changed)

    def first_focus(self) -> QWidget | None:
        return next((w for w in self.findChildren(QWidget) if w.focusPolicy() & Qt.FocusPolicy.TabFocus and w.isVisibleTo(self) and w.isEnabled()), None)

    @property
    def button(self) -> QWidget | None:
        return self._button

    def place(self) -> None:
        """Again when the page's size changes."""
        if self._button is None:
            return
        width = min(self._width, self._page.width() - 2 * EDGE)
        layout = self.layout()
        assert layout is not None
        layout.activate()
        height = layout.totalHeightForWidth(width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()
        height = min(height, self._page.height() - 2 * EDGE)
        corner = self._button.mapTo(self._page, QPoint(0, 0))
        x = max(EDGE, min(corner.x() + self._button.width() // 2 - width // 2, self._page.width() - width - EDGE))
        above, below = corner.y() - GAP - height, corner.y() + self._button.height() + GAP
        y = above if above >= EDGE else below if below + height <= self._page.height() - EDGE else EDGE
        self.setGeometry(x, y, width, height)

    def close_it(self) -> None:
        """The keyboard goes back to the button, if it is still here."""
        self._close(give_back=True)

    def _close(self, *, give_back: bool) -> None:
        if self._closed:
            return
        self._closed = True
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.removeEventFilter(self)
        app.focusChanged.disconnect(self._on_focus_changed)
        held = QApplication.focusWidget()
        if give_back and self._button is not None and self._button.isVisible() and (held is None or held is self or self.isAncestorOf(held)):
            self._button.setFocus(Qt.FocusReason.OtherFocusReason)
        self.hide()
        self.gone.emit()
        self.deleteLater()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.MouseButtonPress and isinstance(event, QMouseEvent) and isinstance(watched, QWidget):
            at = event.globalPosition().toPoint()
            inside = watched is self or self.isAncestorOf(watched) or watched.window() is not self.window()
            on_button = self._button is not None and self._button.rect().contains(self._button.mapFromGlobal(at))
            if not inside and not on_button:
                self._close(give_back=False)
        elif event.type() == QEvent.Type.Resize and watched is self._page:
            self.place()
        return False

    def _on_focus_changed(self, old: QWidget | None, now: QWidget | None) -> None:
        if now is None or QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton:
            return
        if now is self or self.isAncestorOf(now) or now is self._button or now.window() is not self.window():
            return
        if isinstance(now.parent(), QComboBox):
            return
        self._close(give_back=False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.close_it()
        else:
            super().keyPressEvent(event)
