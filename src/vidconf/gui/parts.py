"""The small pieces pages are put together from: text, boxes, buttons, fields. Styled by `theme.style_sheet` through properties.

For everything in `gui`; the window's thread. A text made here is never cut unless it was made with `elide` (names and titles
that come from outside): then its end, or a unit's middle, gives way and the whole stays in the tooltip and for screen readers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from html import escape
from typing import Any, TypeVar

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QBoxLayout,
    QCheckBox,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from vidconf.gui.icons import icon, picture
from vidconf.gui.theme import TONES, T

W = TypeVar("W", bound=QWidget)
L = TypeVar("L", bound=QBoxLayout)
Margins = tuple[int, int, int, int]


def mark(widget: W, **properties: object) -> W:
    """Set what the style sheet matches; on a living widget this is how its state changes."""
    changed = False
    for name, value in properties.items():
        if widget.property(name) != value:
            widget.setProperty(name, value)
            changed = True
    if changed:
        widget.style().unpolish(widget)
        widget.style().polish(widget)
    return widget


# ---- text -----------------------------------------------------------------------------------------------------------
SHORT = (("Nông nghiệp và Môi trường", "NN&MT"), ("Ủy ban nhân dân", "UBND"), ("thành phố ", "TP. "), ("tỉnh ", ""))


def short_unit(unit: str) -> str:
    """The official short way to write a unit."""
    for long, short in SHORT:
        unit = unit.replace(long, short)
    return unit


def fit_unit(position: str, unit: str, metrics: QFontMetrics, width: int) -> str:
    """A unit is told apart by its end, the province: shorten the official way, drop the post, cut the middle last."""
    line = f"{position}, {unit}" if position and unit else position or unit
    for long, short in SHORT:
        if metrics.horizontalAdvance(line) <= width:
            return line
        line = line.replace(long, short)
    if metrics.horizontalAdvance(line) > width and position and unit:
        line = line.removeprefix(f"{position}, ")
    return metrics.elidedText(line, Qt.TextElideMode.ElideMiddle, width)


def plain_tip(text: str) -> str:
    """For a tooltip: names come from outside, and Qt takes what looks like markup for it."""
    return f"<p>{escape(text)}</p>" if "<" in text else text


def breakable(host: str) -> str:
    """A server's name with places where a line may break: all of it must be seen, its end above all."""
    return re.sub(r"([^.]{24}(?=[^.])|\.)", "\\1\u200b", host)


class Text(QLabel):
    """Plain text (never markup). `elide`: gives up its end where there is no room; `unit`: its middle, after the official short form."""

    def __init__(self, text: str = "", role: str = "", *, elide: bool = False, wrap: bool = False, unit: bool = False) -> None:
        super().__init__(text)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(wrap)
        self.setProperty("role", role)
        self.unit = unit
        self._post = ""
        self.elide = (elide or unit) and not wrap
        if wrap:
            policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
            policy.setHeightForWidth(True)
            self.setSizePolicy(policy)
        self._whole()

    def setText(self, text: str) -> None:
        if text != self.text():
            super().setText(text)
            self._whole()

    def set_unit(self, position: str, unit: str) -> None:
        """Position and unit, of which the position goes first where there is no room."""
        self._post = position
        self.setText(", ".join(part for part in (position, unit) if part))

    def _whole(self) -> None:
        if self.elide:
            self.setToolTip(plain_tip(self.text()))
            self.setAccessibleName(self.text())

    def minimumSizeHint(self) -> QSize:
        hint = super().minimumSizeHint()
        return QSize(24, hint.height()) if self.elide else hint

    def paintEvent(self, event: QPaintEvent) -> None:
        if not self.elide:
            super().paintEvent(event)
            return
        painter, room, metrics = QPainter(self), self.contentsRect(), self.fontMetrics()
        painter.setPen(self.palette().windowText().color())
        if self.unit:
            rest = self.text().removeprefix(f"{self._post}, ") if self._post else self.text()
            shown = fit_unit(self._post if rest != self.text() else "", rest, metrics, room.width())
        else:
            shown = metrics.elidedText(self.text(), Qt.TextElideMode.ElideRight, room.width())
        painter.drawText(room, int(self.alignment()) | int(Qt.TextFlag.TextSingleLine), shown)


def glyph(name: str, colour: str | None = None, size: int = 20) -> QLabel:
    """An icon that is only looked at."""
    made = QLabel()
    set_glyph(made, name, colour, size)
    made.setFixedSize(size, size)
    return made


def set_glyph(label: QLabel, name: str, colour: str | None = None, size: int = 20) -> None:
    label.setPixmap(picture(name, colour or T["text"], size))


def chip(text: str, tone: str = "accent", symbol: str = "") -> QFrame:
    """A state, never by colour alone: a word always, a sign nearly always."""
    made = mark(QFrame(), tone=tone)
    label = mark(Text(text), ink=tone)
    signs = [glyph(symbol, T[tone + "_text"], 16)] if symbol else []
    pack(QHBoxLayout(made), *signs, label, gap=5, margins=(7, 2, 8, 2))
    made.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Maximum)
    return made


# ---- layout ---------------------------------------------------------------------------------------------------------
Item = QWidget | QLayout | int | None | tuple[Any, int]


def pack(layout: L, *items: Item, gap: int = 8, margins: Margins = (0, 0, 0, 0)) -> L:
    """A box layout with its distances, filled."""
    layout.setSpacing(gap)
    layout.setContentsMargins(*margins)
    fill(layout, items)
    return layout


def fill(layout: QBoxLayout, items: Iterable[Item]) -> None:
    """Add to a box layout: a widget, a layout, (either, stretch), a number of pixels, or None for a stretch."""
    for item in items:
        thing, stretch = item if isinstance(item, tuple) else (item, 0)
        if thing is None:
            layout.addStretch(1)
        elif isinstance(thing, int):
            layout.addSpacing(thing)
        elif isinstance(thing, QWidget):
            layout.addWidget(thing, stretch)
        else:
            layout.addLayout(thing, stretch)


def row(*items: Item, gap: int = 8, margins: Margins = (0, 0, 0, 0)) -> QHBoxLayout:
    return pack(QHBoxLayout(), *items, gap=gap, margins=margins)


def column(*items: Item, gap: int = 8, margins: Margins = (0, 0, 0, 0)) -> QVBoxLayout:
    return pack(QVBoxLayout(), *items, gap=gap, margins=margins)


def cell(*items: Item, gap: int = 10, margins: Margins = (0, 4, 0, 4)) -> QWidget:
    """A row that is a widget, to hide, to size, to put into a list."""
    made = QWidget()
    pack(QHBoxLayout(made), *items, gap=gap, margins=margins)
    return made


def stack(*items: Item, gap: int = 8, margins: Margins = (0, 0, 0, 0)) -> QWidget:
    """A column that is a widget."""
    made = QWidget()
    pack(QVBoxLayout(made), *items, gap=gap, margins=margins)
    return made


def box(
    items: Iterable[Item], kind: str = "card", *, vertical: bool = True, gap: int = 8, margins: Margins = (16, 16, 16, 16), width: int = 0, height: int = 0
) -> QFrame:
    """A card, a bar, or a coloured notice (`kind` is then a tone)."""
    frame = QFrame()
    if kind in TONES:
        frame.setProperty("tone", kind)
    else:
        frame.setProperty(kind, "true")
    pack(QVBoxLayout(frame) if vertical else QHBoxLayout(frame), *items, gap=gap, margins=margins)
    if width:
        frame.setFixedWidth(width)
    if height:
        frame.setFixedHeight(height)
    return frame


def rule() -> QFrame:
    made = QFrame()
    made.setProperty("rule", "true")
    return made


def sheet(kind: str = "plain") -> QWidget:
    """A page's ground: `plain`, `stage` (dark in both themes) or `veil`."""
    made = QWidget()
    made.setProperty("page", kind)
    made.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
    return made


def scroll(inner: QWidget) -> QScrollArea:
    """Scrolls downwards only: what is inside must be content with the width it gets."""
    area = QScrollArea()
    area.setWidget(inner)
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    return area


def clear(layout: QLayout) -> None:
    """Take everything out of a layout and let it go."""
    while (item := layout.takeAt(0)) is not None:
        widget, inner = item.widget(), item.layout()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
        elif inner is not None:
            clear(inner)


# ---- buttons and fields ---------------------------------------------------------------------------------------------
_INK = {"accent": "on_accent", "danger": "on_danger", "here": "accent_text", "quiet": "accent_text", "risky": "danger_text"}
_TOOL_INK = {"live": "on_accent", "leave": "on_danger", "open": "accent_text", "pending": "muted", "hand": "on_hand", "barred": "disabled"}


def button(
    text: str, kind: str = "", symbol: str = "", *, big: bool = False, name: str = "", tip: str = "", do: Callable[[], object] | None = None
) -> QPushButton:
    """`kind`: accent (one a page), danger, risky, quiet, nav, here. `name`: for screen readers where the text is not enough."""
    made = QPushButton(text)
    made.setProperty("kind", kind)
    made.setProperty("big", "true" if big else "")
    made.setAccessibleName(name or text)
    made.setToolTip(plain_tip(tip))
    made.setAutoDefault(False)
    if symbol:
        made.setIcon(icon(symbol, T[_INK.get(kind, "text")]))
        made.setIconSize(QSize(20, 20))
    if do is not None:
        made.clicked.connect(lambda *_: do())
    return made


def set_button(made: QPushButton, text: str, symbol: str = "", state: str = "", tip: str = "", *, name: str = "") -> None:
    """Show another state on a living button: `pending` (asked, not yet so), `barred` (the rules forbid it now; the tip says why)."""
    made.setText(text)
    made.setToolTip(plain_tip(tip))
    made.setAccessibleName(name or text)
    made.setAccessibleDescription(tip)
    mark(made, state=state)
    if symbol:
        made.setIcon(icon(symbol, T[_TOOL_INK.get(state) or _INK.get(str(made.property("kind") or ""), "text")]))
        made.setIconSize(QSize(20, 20))


def tool(
    symbol: str, text: str = "", state: str = "", tip: str = "", *, size: int = 20, name: str = "", do: Callable[[], object] | None = None
) -> QToolButton:
    """A button of a bar: the text under the icon says the state, the tooltip the action and its key."""
    made = QToolButton()
    made.setIconSize(QSize(size, size))
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    set_tool(made, symbol, text, state, tip, name=name)
    if text:
        made.setProperty("bar", "true")
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
    if do is not None:
        made.clicked.connect(lambda *_: do())
    return made


class _EnterPresses(QObject):
    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() != QEvent.Type.KeyPress or not isinstance(event, QKeyEvent) or not isinstance(watched, QAbstractButton):
            return False
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter) or event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier != Qt.KeyboardModifier.NoModifier:
            return False
        if not event.isAutoRepeat():
            watched.click()
        return True


_enter_presses = _EnterPresses()


def enter_clicks(event: QKeyEvent) -> bool:
    """Whether Enter pressed the button that has the keyboard: for the window and its sheets, to which it comes when nobody took it."""
    held = QApplication.focusWidget()
    if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter) or not isinstance(held, QPushButton | QToolButton):
        return False
    if not event.isAutoRepeat():
        held.click()
    return True


def enter_presses(root: QWidget) -> None:
    """Let Enter press the buttons in `root`, as Space does everywhere."""
    for one in root.findChildren(QAbstractButton):
        one.installEventFilter(_enter_presses)


def set_tool(made: QToolButton, symbol: str, text: str = "", state: str = "", tip: str = "", *, name: str = "") -> None:
    """Show another state on a living tool button."""
    made.setIcon(icon(symbol, T[_TOOL_INK.get(state, "text")], made.iconSize().width()))
    made.setText(text)
    made.setToolTip(plain_tip(tip))
    made.setAccessibleName(name or (f"{text}. {tip}" if text and tip else tip or text))
    mark(made, state=state)


def check(text: str, on: bool = False, enabled: bool = True, *, name: str = "", do: Callable[[bool], object] | None = None) -> QCheckBox:
    made = QCheckBox(text)
    made.setChecked(on)
    made.setEnabled(enabled)
    made.setAccessibleName(name or text)
    if do is not None:
        made.toggled.connect(do)
    return made


class Choice(QComboBox):
    """A list to choose from, by id. The arrow is laid over it: style-sheet arrows ignore the theme."""

    chosen = Signal(str)
    """The id, when the user chose (never when the program did)."""

    def __init__(self, symbol: str, name: str) -> None:
        super().__init__()
        self._symbol = symbol
        self._later: tuple[list[tuple[str, str]], str] | None = None
        self.setIconSize(QSize(20, 20))
        self.setAccessibleName(name)
        self.setMinimumContentsLength(8)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        arrow = glyph("chevron_down", T["muted"])
        arrow.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        pack(QHBoxLayout(self), None, arrow, margins=(0, 0, 10, 0))
        self.activated.connect(lambda index: self.chosen.emit(str(self.itemData(index))))
        self.installEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        # A wheel turned over a page that scrolls must not change what is chosen.
        if event.type() == QEvent.Type.Wheel and not self.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)

    def hidePopup(self) -> None:
        super().hidePopup()
        later, self._later = self._later, None
        if later is not None:
            self.show_items(*later)

    def show_items(self, items: Iterable[tuple[str, str]], selected: str) -> None:
        """(id, words) of all there is; keeps still when nothing changed, and while it is open: what one is about to click must not move."""
        wanted = list(items)
        if self.view().isVisible():
            self._later = (wanted, selected)
            return
        held = [(str(self.itemData(i)), self.itemText(i)) for i in range(self.count())]
        if held != wanted:
            self.clear()
            for id_, words in wanted:
                self.addItem(icon(self._symbol), words, id_)
        index = next((i for i, (id_, _) in enumerate(wanted) if id_ == selected), 0 if wanted else -1)
        if index != self.currentIndex():
            self.setCurrentIndex(index)
        self.setToolTip(plain_tip(self.currentText()))


def field(text: str = "", symbol: str = "", hint: str = "", *, locked: bool = False, name: str = "", secret: bool = False) -> QLineEdit:
    """A line to write in. `locked`: shown, can be copied, not changed."""
    made = QLineEdit(text)
    made.setPlaceholderText(hint)
    made.setAccessibleName(name or hint or text)
    made.setCursorPosition(0)
    if symbol:
        made.addAction(icon(symbol, T["muted"]), QLineEdit.ActionPosition.LeadingPosition)
        made.setProperty("sign", "true")
    made.setProperty("locked", "true" if locked else "")
    made.setReadOnly(locked)
    if secret:
        made.setEchoMode(QLineEdit.EchoMode.Password)
    return made
