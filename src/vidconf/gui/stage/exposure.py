"""Whether a widget can be seen at all: shown, its window neither minimised nor unexposed. The window's thread.

What cannot be seen is neither decoded nor painted. A widget that is shown again in another window is followed there.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Signal
from PySide6.QtGui import QWindow
from PySide6.QtWidgets import QWidget
from shiboken6 import isValid

_OF_WINDOW = (QEvent.Type.WindowStateChange, QEvent.Type.Show, QEvent.Type.Hide, QEvent.Type.WinIdChange)


class Exposure(QObject):
    """`changed(seen)` when it changes; `seen` asks now."""

    changed = Signal(bool)

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self._top: QWidget | None = None
        self._surface: QWindow | None = None
        self._was = False
        widget.installEventFilter(self)
        self._attach()

    @property
    def seen(self) -> bool:
        top = self._widget.window()
        if not self._widget.isVisible() or top.isMinimized():
            return False
        surface = top.windowHandle()  # asked anew: what PySide holds of it may count as deleted though it lives
        return surface is not None and surface.isExposed()

    def let_go(self) -> None:
        """Harmless to call twice."""
        for watched in (self._widget, self._top, self._surface):
            if watched is not None and isValid(watched):
                watched.removeEventFilter(self)
        self._top = self._surface = None

    def _attach(self) -> None:
        top = self._widget.window()
        surface = top.windowHandle()
        if top is not self._top and top is not self._widget:
            if self._top is not None and isValid(self._top):
                self._top.removeEventFilter(self)
            top.installEventFilter(self)
            self._top = top
        if surface is not self._surface:
            if self._surface is not None and isValid(self._surface):
                self._surface.removeEventFilter(self)
            if surface is not None:
                surface.installEventFilter(self)
            self._surface = surface

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        kind = event.type()
        if kind == QEvent.Type.Expose or kind in _OF_WINDOW or kind == QEvent.Type.ParentChange:
            self._attach()
            self._look()
        elif kind == QEvent.Type.PlatformSurface and watched is self._surface:
            self._surface = None
            self._look()
        return False

    def _look(self) -> None:
        seen = self.seen
        if seen != self._was:
            self._was = seen
            self.changed.emit(seen)
