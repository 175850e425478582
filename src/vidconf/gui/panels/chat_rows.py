"""The rows of the chat: a message, a thin line, the words at the head. The window's thread.

What others wrote is plain text and nothing else: no markup, no links that open at a click (the menu copies them), words longer
than the row broken anywhere, height bounded by the rules' limit on length.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from functools import partial
from math import ceil

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtGui import (
    QColor,
    QContextMenuEvent,
    QFontMetrics,
    QGuiApplication,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QTextOption,
    QWheelEvent,
)
from PySide6.QtWidgets import QFrame, QHBoxLayout, QSizePolicy, QTextEdit, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.panels.chat_list import About, Line, Said
from vidconf.gui.panels.person_menu import add, make_menu, popup
from vidconf.gui.panels.row import Row
from vidconf.gui.parts import Text, glyph, mark, pack, plain_tip, row
from vidconf.gui.theme import SIZES, T, font

_LINK = re.compile(r"https?://[^\s<>\"'“”]{3,500}", re.IGNORECASE)
LINKS = 3
"""So many links of one message are offered for copying."""
LINE_SIDE, LINE_RULE = 14, 26
_LINE_FLAGS = int(Qt.AlignmentFlag.AlignHCenter) | int(Qt.TextFlag.TextWordWrap)
LETTER_PX = 7.2
"""About, of running text; only to guess how high a message will be."""


class Paragraph(QTextEdit):
    """Plain text that can be selected and copied, as high as it is long."""

    def __init__(self) -> None:
        super().__init__()
        self._written = ""
        self._height: tuple[int, int] = (0, 0)
        self.setProperty("said", "true")
        self.setReadOnly(True)
        self.setAcceptRichText(False)
        self.setUndoRedoEnabled(False)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.document().setDocumentMargin(0)
        self.viewport().setAutoFillBackground(False)
        policy = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)

    def write(self, text: str) -> None:
        if text != self._written:
            self._written = text
            self._height = (0, 0)
            self.setPlainText(text)
            self.updateGeometry()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        if self._height[0] != width:
            document = self.document()
            held = document.textWidth()
            document.setTextWidth(max(1, width))
            self._height = (width, ceil(document.size().height()))
            document.setTextWidth(held)
        return self._height[1]

    def sizeHint(self) -> QSize:
        return QSize(160, self.heightForWidth(max(160, self.width())))

    def minimumSizeHint(self) -> QSize:
        return QSize(24, 16)

    def wheelEvent(self, event: QWheelEvent) -> None:
        event.ignore()  # the list scrolls

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Copying is ours, everything else the list's."""
        if event.matches(QKeySequence.StandardKey.Copy) or event.matches(QKeySequence.StandardKey.SelectAll):
            super().keyPressEvent(event)
        else:
            event.ignore()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        event.ignore()  # the row's


class MessageRow(Row):
    def __init__(self) -> None:
        super().__init__()
        self._said = Said("", "", "")
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._frame = mark(QFrame(), said="all")
        self._name, self._when = Text("", "strong", elide=True), Text("", "small")
        self._private = mark(Text("", elide=True), ink="info")
        self._lock = glyph("lock_closed", T["info_text"], 16)
        self.text = Paragraph()
        head = row((self._name, 1), self._when, gap=8)
        self._private_line = QWidget()
        pack(QHBoxLayout(self._private_line), self._lock, (self._private, 1), gap=4)
        pack(QVBoxLayout(self._frame), head, self._private_line, self.text, gap=2, margins=(12, 6, 12, 8))
        pack(QVBoxLayout(self), self._frame, margins=(14, 4, 10, 4))

    def show_value(self, value: Said) -> None:
        self._said = value
        mark(self._frame, said=value.ground)
        self._name.setText(value.name)
        self._when.setText(value.when)
        self._private.setText(value.private)
        self._private_line.setVisible(bool(value.private))
        self.text.write(value.text)
        self.setAccessibleName(value.says)

    def controls(self) -> list[QWidget]:
        return [self]

    @staticmethod
    def shape(value: Said) -> Hashable:
        return value.text, bool(value.private)

    @staticmethod
    def guess(value: Said, width: int) -> int:
        letters = max(8, (width - 50) / LETTER_PX)
        lines = sum(max(1, ceil(len(line) / letters)) for line in value.text.split("\n"))
        return 45 + 20 * lines + (22 if value.private else 0)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.matches(QKeySequence.StandardKey.Copy):
            self._copy(self._said.text)
        else:
            super().keyPressEvent(event)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        menu = make_menu(self, words.text("chat.message_menu"))
        selected = self.text.textCursor().selectedText().replace("\u2029", "\n")
        if selected:
            add(menu, words.text("chat.copy_selected"), "copy", lambda: self._copy(selected))
        add(menu, words.text("chat.copy"), "copy", lambda: self._copy(self._said.text))
        for link in list(dict.fromkeys(_LINK.findall(self._said.text)))[:LINKS]:
            shown = link if len(link) <= 48 else f"{link[:46]}…"
            add(menu, words.text("chat.copy_link", link=shown), "link", partial(self._copy, link))
        popup(menu, event.globalPos())
        event.accept()

    @staticmethod
    def _copy(text: str) -> None:
        QGuiApplication.clipboard().setText(text)


class LineRow(Row):
    """Something that happened, between two rules."""

    def __init__(self) -> None:
        super().__init__()
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self._text = ""

    def show_value(self, value: Line) -> None:
        self._text = value.text
        self.setAccessibleName(value.text)
        self.setToolTip(plain_tip(value.text))
        self.update()

    def hasHeightForWidth(self) -> bool:
        return True

    def heightForWidth(self, width: int) -> int:
        return self._bounds(width).height() + 8

    def _bounds(self, width: int) -> QRect:
        room = QRect(0, 0, max(40, width - 2 * (LINE_SIDE + LINE_RULE)), 10_000)
        return QFontMetrics(font(SIZES["small"])).boundingRect(room, _LINE_FLAGS, self._text)

    def paintEvent(self, event: QPaintEvent) -> None:
        painter, bounds = QPainter(self), self._bounds(self.width())
        left = (self.width() - bounds.width()) // 2
        painter.setFont(font(SIZES["small"]))
        painter.setPen(QColor(T["muted"]))
        painter.drawText(QRect(left - 2, 4, bounds.width() + 4, self.height() - 8), _LINE_FLAGS, self._text)
        painter.setPen(QColor(T["line"]))
        middle = self.height() // 2
        painter.drawLine(LINE_SIDE, middle, left - 10, middle)
        painter.drawLine(left + bounds.width() + 10, middle, self.width() - LINE_SIDE, middle)

    def controls(self) -> list[QWidget]:
        return [self]

    @staticmethod
    def shape(value: Line) -> Hashable:
        return value.text

    @staticmethod
    def guess(value: Line, width: int) -> int:
        return 25


class AboutRow(Row):
    """Who reads what is written here; and, while nothing is, what will be."""

    def __init__(self) -> None:
        super().__init__()
        self._title, self._text = Text("", "strong", wrap=True), Text("", "small", wrap=True)
        pack(QVBoxLayout(self), self._title, self._text, gap=2, margins=(14, 2, 14, 6))

    def show_value(self, value: About) -> None:
        self._title.setText(value.title)
        self._title.setVisible(bool(value.title))
        self._text.setText(value.text)

    @staticmethod
    def shape(value: About) -> Hashable:
        return value.title, value.text

