"""One two-toned ring for the whole window that follows the keyboard's focus, so that it shows on any ground. The window's thread.

It is not drawn for a click, and never takes part in the layout or the mouse.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QPaintEvent, QPen, QRegion
from PySide6.QtWidgets import QAbstractScrollArea, QApplication, QLineEdit, QPlainTextEdit, QWidget
from shiboken6 import isValid

from vidconf.gui.painted import smooth
from vidconf.gui.theme import RADIUS, T

REACH = 5
"""Pixels around the target."""


class FocusRing(QWidget):
    """Child of the window it rings in; `follow(None)` hides it."""

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self.target: QWidget | None = None
        self._watched: list[QWidget] = []
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.hide()
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        app.focusChanged.connect(self._on_focus_changed)

    def _on_focus_changed(self, old: QWidget | None, now: QWidget | None) -> None:
        clicked = QGuiApplication.mouseButtons() != Qt.MouseButton.NoButton
        writes = isinstance(now, QLineEdit | QPlainTextEdit)  # a caret is easily lost: a text field is always ringed
        if now is None or now.window() is not self.window() or (clicked and not writes) or now.property("ring") is False:
            self.follow(None)
        else:
            self.follow(now)

    def follow(self, target: QWidget | None) -> None:
        for held in self._watched:
            if isValid(held):
                held.removeEventFilter(self)
        self._watched = []
        self.target = target
        widget: QWidget | None = target
        while widget is not None and widget is not self.parentWidget():
            widget.installEventFilter(self)
            self._watched.append(widget)
            widget = widget.parentWidget()
        self._place()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        match event.type():
            case QEvent.Type.Move | QEvent.Type.Resize | QEvent.Type.Show | QEvent.Type.LayoutRequest:
                self._place()
            case QEvent.Type.Hide:
                self.hide()
            case QEvent.Type.DeferredDelete:
                self.follow(None)
        return False

    def _place(self) -> None:
        target, window = self.target, self.parentWidget()
        if target is None or window is None or not target.isVisibleTo(window):
            self.hide()
            return
        corner = target.mapTo(window, QPoint(0, 0))
        self.setGeometry(QRect(corner, target.size()).adjusted(-REACH, -REACH, REACH, REACH))
        self._clip(window)
        self.show()
        self.raise_()

    def _clip(self, window: QWidget) -> None:
        """Where the target scrolls, the ring does not leave the scrolling area."""
        shown = self.geometry()
        for widget in self._watched:
            if isinstance(widget, QAbstractScrollArea) and widget is not self.target:
                view = widget.viewport()
                area = QRect(view.mapTo(window, QPoint(0, 0)), view.size()).adjusted(-REACH, 0, REACH, 0)
                shown = shown.intersected(area)
        if shown == self.geometry():
            self.clearMask()
        elif shown.isEmpty():
            self.setMask(QRegion(-1, -1, 1, 1))
        else:
            self.setMask(QRegion(shown.translated(-self.pos())))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = smooth(self)
        for inset, width, colour in ((3.5, 2.0, "focus_gap"), (1.5, 2.5, "focus")):
            painter.setPen(QPen(QColor(T[colour]), width))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(inset, inset, -inset, -inset), RADIUS + 3, RADIUS + 3)
