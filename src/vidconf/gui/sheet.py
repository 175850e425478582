"""A question, or a small page, on a card over the veiled window. The window's thread; always `open()`, never `exec()`.

It is a QDialog inside the window rather than a window of its own: it moves with it, works where programs may not place windows,
and screen readers still hear a dialog. The rest of the window cannot be clicked or tabbed to meanwhile.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QDialog, QFrame, QScrollArea, QSizePolicy, QVBoxLayout, QWidget
from shiboken6 import isValid

from vidconf import words
from vidconf.gui.parts import Item, Text, enter_clicks, fill, glyph, pack, row, scroll, tool
from vidconf.gui.theme import T

EDGE = 24
"""Least distance of the card from the window's edge."""


class Sheet(QDialog):
    """`body` is the column to fill. `finished` tells the answer; the sheet deletes itself then.

    The card is as wide as `width` (less in a narrow window) and as high as what is in it; beyond the window's height it scrolls.
    """

    def __init__(self, window: QWidget, title: str, *, width: int = 560, symbol: str = "", tone: str = "", fill: bool = False) -> None:
        super().__init__(window)
        self.setWindowFlags(Qt.WindowType.Widget)  # a QDialog made with no type is a window of its own
        self._window = window
        self._width, self._fill = width, fill
        self._before: QWidget | None = None
        self.setProperty("page", "veil")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setAccessibleName(title)
        self.setWindowTitle(title)
        self.card = QFrame()
        self.card.setProperty("card", "true")
        self.close_button = tool("dismiss", tip=words.text("sheet.close"), do=self.reject)
        signs = [glyph(symbol, T[f"{tone}_text"] if tone else T["accent"], 28)] if symbol else []
        self.title = Text(title, "title", wrap=True)
        self.head = row(*signs, (self.title, 1), self.close_button, gap=12, margins=(24, 16, 16, 0))
        self._inner = QWidget()
        self._inner.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        self.body = pack(QVBoxLayout(self._inner), gap=10, margins=(24, 8, 24, 4))
        self._area: QScrollArea = scroll(self._inner)
        self.foot = row(gap=8, margins=(24, 8, 24, 18))
        pack(QVBoxLayout(self.card), self.head, (self._area, 1), self.foot, gap=0)
        self.card.setParent(self)
        for one in (window, self.card, self._inner):
            one.installEventFilter(self)

    # ---- filling
    def put(self, *items: Item) -> None:
        """Add to the body."""
        fill(self.body, items)
        self._appear(self._inner)

    def answers(self, *items: Item) -> None:
        """The buttons at the foot; the last one is the one meant."""
        fill(self.foot, items)
        self._appear(self.card)

    def _appear(self, parent: QWidget) -> None:
        """What is put in while the sheet is on the screen: at once, or the card is not as high as it must be."""
        for one in parent.children() if self.isVisible() else ():
            if isinstance(one, QWidget) and not one.testAttribute(Qt.WidgetAttribute.WA_WState_ExplicitShowHide):
                one.show()

    # ---- showing
    def open(self) -> None:
        """Show over the window and take the keyboard; returns at once."""
        self._before = self._window.focusWidget()
        self.setGeometry(self._window.rect())
        self.show()
        self.raise_()
        self._place()
        first = self.first_focus()
        (first or self.close_button).setFocus(Qt.FocusReason.TabFocusReason)

    def first_focus(self) -> QWidget | None:
        """Who gets the keyboard; the close button where a sheet does not say."""
        return None

    def done(self, result: int) -> None:
        before = self._before
        self._window.removeEventFilter(self)
        super().done(result)
        if before is not None and isValid(before) and before.isVisibleTo(self._window):
            before.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if watched is self._window and event.type() == QEvent.Type.Resize:
            self.setGeometry(self._window.rect())
        elif watched is not self._window and event.type() == QEvent.Type.LayoutRequest and self.isVisible():
            self._place()  # what was put in later has its height only now
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place()

    def place(self) -> None:
        """Fit the card again after its content changed."""
        self._place()

    def _place(self) -> None:
        width = min(self._width, self.width() - 2 * EDGE)
        most = self.height() - 2 * EDGE
        if self._fill:
            height = most
        else:
            foot = _height(self.foot, width - 2) if self.foot.count() else 0
            self.foot.setContentsMargins(24, 8, 24, 18 if self.foot.count() else 10)
            wanted, top = _height(self.body, width - 2), _height(self.head, width - 2)
            height = min(most, wanted + top + foot + (0 if self.foot.count() else 10) + 4)
        self.card.setGeometry((self.width() - width) // 2, max(EDGE, (self.height() - height) // 2), width, height)

    # ---- keys
    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self.reject()
        elif not enter_clicks(event) and event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Tab goes round inside."""
        held = self.focusWidget()
        # Not by nextInFocusChain: what it returns becomes a child of who was asked, as far as PySide knows, and when the sheet goes,
        # the window's own QWindow would count as deleted.
        chain = [one for one in self.findChildren(QWidget) if one.isEnabled() and one.isVisible() and _takes_tab(one)]
        if not chain:
            return True
        here = chain.index(held) if held in chain else (-1 if forward else 0)
        reason = Qt.FocusReason.TabFocusReason if forward else Qt.FocusReason.BacktabFocusReason
        chosen = chain[(here + (1 if forward else -1)) % len(chain)]
        chosen.setFocus(reason)
        around = chosen.parentWidget()
        while around is not None and around is not self:
            if isinstance(around, QScrollArea):
                around.ensureWidgetVisible(chosen)
            around = around.parentWidget()
        return True


def _takes_tab(widget: QWidget) -> bool:
    inner = widget.objectName() == "qt_spinbox_lineedit"  # its spin box has the keyboard for it
    return bool(widget.focusPolicy() & Qt.FocusPolicy.TabFocus) and not inner


def _height(layout: QBoxLayout, width: int) -> int:
    return layout.heightForWidth(width) if layout.hasHeightForWidth() else layout.sizeHint().height()
