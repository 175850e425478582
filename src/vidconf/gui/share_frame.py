"""The frame around what everybody sees, and the small bar that stays in sight while the window does not. The window's thread.

The frame is four thin windows of their own, which nothing can be clicked on; around a window they lie outside of it, so that they are
not in its picture. `SharingSigns` follows the state: it shows both while they are needed, and takes them away with the share.
"""

from __future__ import annotations

import sys
from typing import Any

from PySide6.QtCore import QObject, QPoint, QRect, QRectF, Qt
from PySide6.QtGui import QColor, QGuiApplication, QMouseEvent, QPainter, QPainterPath, QPaintEvent, QRegion, QResizeEvent, QScreen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.engine import api
from vidconf.gui.own_sources import look, wanted_on
from vidconf.gui.page import StateSource
from vidconf.gui.parts import Text, button, column, enter_presses, glyph, mark, pack, set_glyph, set_tool, tool
from vidconf.gui.share_words import sharing_line, show_pause
from vidconf.gui.theme import RADIUS, T

THICK = 4
STRIP_WIDTH = 860
_OVER_ALL = Qt.WindowType.Tool | Qt.WindowType.FramelessWindowHint | Qt.WindowType.WindowStaysOnTopHint


class Edge(QWidget):
    """One side of the frame."""

    def __init__(self) -> None:
        super().__init__()
        nothing = Qt.WindowType.WindowTransparentForInput | Qt.WindowType.WindowDoesNotAcceptFocus | Qt.WindowType.BypassWindowManagerHint
        self.setWindowFlags(_OVER_ALL | nothing)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(T["danger"]))
        painter.end()


class ShareFrame(QObject):
    """Four edges around a rectangle of the desktop."""

    def __init__(self) -> None:
        super().__init__()
        self.edges = [Edge() for _ in range(4)]

    def surround(self, area: QRect, screen: QRect, *, inside: bool) -> None:
        """`inside`: of a whole screen, whose outside nobody sees. Else around it, but never beyond `screen`."""
        outer = area if inside else area.adjusted(-THICK, -THICK, THICK, THICK).intersected(screen)
        left, top, width, height = outer.x(), outer.y(), outer.width(), outer.height()
        sides = (
            QRect(left, top, width, THICK), QRect(left, top + height - THICK, width, THICK),
            QRect(left, top, THICK, height), QRect(left + width - THICK, top, THICK, height),
        )  # fmt: skip
        for edge, side in zip(self.edges, sides, strict=True):
            edge.setGeometry(side)
            edge.setVisible(width > 2 * THICK and height > 2 * THICK)

    def hide(self) -> None:
        for edge in self.edges:
            edge.hide()

    @property
    def visible(self) -> bool:
        return any(edge.isVisible() for edge in self.edges)

    def let_go(self) -> None:
        for edge in self.edges:
            edge.hide()
            edge.deleteLater()


class SharingStrip(QFrame):
    """That one shares, and what to do about it, over all other windows. It can be dragged out of the way."""

    def __init__(self, actions: Any, back: Any) -> None:
        super().__init__()
        self.do = actions
        self._state = ClientState()
        self._grip: QPoint | None = None
        self.setWindowFlags(_OVER_ALL)
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setProperty("page", "plain")
        self.setWindowTitle(words.text("app.name"))
        self._card = card = mark(QFrame(), tone="accent")
        self._sign = glyph("share_screen!", T["accent_text"])
        self.text = mark(Text("", elide=True), ink="accent")
        self.microphone = tool("mic_off", do=self._turn_microphone)
        self.pause = button("", "", "pause", do=self._turn_pause)
        self.stop = button(words.text("toolbar.share.stop"), "", "share_screen_stop", do=actions.stop_share)
        self.back = tool("open", tip=words.text("bar.back"), do=back)
        pack(
            QHBoxLayout(card), self._sign, (column(self.text, gap=0), 1), self.microphone, self.pause, self.stop, self.back,
            gap=8, margins=(12, 6, 8, 6),
        )  # fmt: skip
        pack(QVBoxLayout(self), card, margins=(0, 0, 0, 0))
        enter_presses(self)

    def show_state(self, state: ClientState) -> None:
        self._state = state
        source = state.sources.get("screen_share", LocalSource())
        line = sharing_line(state)
        self.text.setText(line)
        self.setAccessibleName(line)
        tone = "accent" if source.state == "on" else "warn"
        mark(self._card, tone=tone)
        mark(self.text, ink=tone)
        set_glyph(self._sign, "share_screen!", T[f"{tone}_text"])
        show_pause(self.pause, source)
        shown = look("microphone", state.sources.get("microphone", LocalSource()))
        set_tool(self.microphone, shown.symbol, "", shown.state, shown.tip, name=shown.tip)

    def appear(self, screen: QScreen) -> None:
        """At the upper edge, in the middle."""
        room = screen.availableGeometry()
        width = min(STRIP_WIDTH, room.width() - 24)
        self.resize(width, self.sizeHint().height())
        self.move(room.x() + (room.width() - width) // 2, room.y() + 8)
        self.show()
        self.raise_()

    def _turn_microphone(self) -> None:
        self.do.set_microphone(not wanted_on(self._state.sources.get("microphone", LocalSource())))

    def _turn_pause(self) -> None:
        self.do.pause_share(self._state.sources.get("screen_share", LocalSource()).wanted == "on")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Cut to the card's round corners, also where nothing composes windows."""
        super().resizeEvent(event)
        path = QPainterPath()
        path.addRoundedRect(QRectF(self.rect()), RADIUS, RADIUS)
        self.setMask(QRegion(path.toFillPolygon().toPolygon()))

    # ---- dragging
    def mousePressEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton:
            self._grip = event.globalPosition().toPoint() - self.pos()

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        if self._grip is not None:
            self.move(event.globalPosition().toPoint() - self._grip)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        self._grip = None


class SharingSigns(QObject):
    """The frame while something of the desktop is seen by all, the strip while the window is out of sight and one shares."""

    def __init__(self, window: QWidget, store: StateSource, actions: Any, back: Any) -> None:
        super().__init__(window)
        self._window, self.store, self.do, self._back = window, store, actions, back
        self.frame: ShareFrame | None = None
        self.strip: SharingStrip | None = None
        self._closed = False
        self._unsubscribe = store.subscribe(self._on_state)

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if (old.sources, old.share, old.phase) != (new.sources, new.share, new.phase):
            self.follow()

    def follow(self) -> None:
        """Also when the window was minimised, hidden or brought back."""
        if self._closed:
            return
        state = self.store.state
        source = state.sources.get("screen_share", LocalSource())
        sharing = state.phase == "meeting" and source.state in ("on", "muted")
        self._show_frame(state.share.area if sharing and source.state == "on" else None)
        if sharing and (self._window.isMinimized() or not self._window.isVisible()):
            if self.strip is None:
                self.strip = SharingStrip(self.do, self._back)
            self.strip.show_state(state)
            if not self.strip.isVisible():
                self.strip.appear(self._window.screen())
        elif self.strip is not None:
            strip, self.strip = self.strip, None
            strip.hide()
            strip.deleteLater()

    def _show_frame(self, area: api.SharedArea | None) -> None:
        if area is None or not area.shown:
            if self.frame is not None:
                self.frame.hide()
            return
        if self.frame is None:
            self.frame = ShareFrame()
        at, screen = on_desktop(area, QGuiApplication.screens())
        self.frame.surround(at, screen, inside=area.device.startswith("screen:"))

    def draw_again(self) -> None:
        """Language or colours have changed."""
        if self.strip is not None:
            strip, self.strip = self.strip, None
            strip.hide()
            strip.deleteLater()
        self.follow()

    def let_go(self) -> None:
        """Harmless to call twice."""
        self._closed = True
        self._unsubscribe()
        if self.frame is not None:
            self.frame.let_go()
            self.frame = None
        if self.strip is not None:
            self.strip.hide()
            self.strip.deleteLater()
            self.strip = None


def on_desktop(area: api.SharedArea, screens: list[QScreen]) -> tuple[QRect, QRect]:
    """(the area, the screen that holds its middle) in Qt's own pixels. Qt keeps each screen's upper left where the device has it, and
    scales its inside; on macOS all is in points already."""
    middle = QPoint(area.left + area.width // 2, area.top + area.height // 2)
    found, ratio = screens[0], 1.0
    for screen in screens:
        scale = 1.0 if sys.platform == "darwin" else screen.devicePixelRatio()
        at = screen.geometry()
        if QRect(at.x(), at.y(), round(at.width() * scale), round(at.height() * scale)).contains(middle):
            found, ratio = screen, scale
            break
    origin = found.geometry().topLeft()
    left, top = origin.x() + (area.left - origin.x()) / ratio, origin.y() + (area.top - origin.y()) / ratio
    return QRect(round(left), round(top), round(area.width / ratio), round(area.height / ratio)), found.geometry()
