"""What the program consists of, and the licence of each part to read. The window's thread.

Wide: the list beside the text. Narrow: above it.
"""

from __future__ import annotations

from PySide6.QtCore import QTimer
from PySide6.QtGui import QGuiApplication, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QHBoxLayout, QListWidget, QPlainTextEdit, QWidget

from vidconf import words
from vidconf.gui.parts import Text, button, pack, stack
from vidconf.gui.sheet import Sheet
from vidconf.licences import Component, components

LIST_WIDTH, LIST_HEIGHT = 272, 132
NARROW = 720
QWIDGETSIZE_MAX = (1 << 24) - 1
"""Qt's word for no limit, which PySide does not name."""


class LicencesSheet(Sheet):
    def __init__(self, window: QWidget) -> None:
        super().__init__(window, words.text("licences.title"), width=980, symbol="document", fill=True)
        self.body.setContentsMargins(24, 4, 24, 4)
        self._found: tuple[Component, ...] = ()
        self.list = QListWidget()
        self.list.setAccessibleName(words.text("licences.list"))
        self.list.setUniformItemSizes(True)
        self.list.currentRowChanged.connect(self._show)
        self._name = Text(words.text("licences.reading"), "strong", wrap=True)
        self._about = Text("", "small", wrap=True)
        self.text = QPlainTextEdit()
        self.text.setReadOnly(True)
        self.text.setTabChangesFocus(True)
        self.text.setAccessibleName(words.text("licences.text"))
        right = stack(self._name, self._about, (self.text, 1), gap=4)
        inside = QWidget()
        self._halves = pack(QHBoxLayout(inside), self.list, (right, 1), gap=14)
        self.put(Text(words.text("licences.intro"), "small", wrap=True), (inside, 1))
        self._close = button(words.text("common.close"), "accent", do=self.accept)
        self.answers(button(words.text("licences.copy"), "quiet", "copy", do=self._copy), None, self._close)
        # Once it is on the screen. Not in a thread: Python may collect the window's objects in any that makes much waste.
        QTimer.singleShot(0, self, self._read)

    def first_focus(self) -> QWidget | None:
        return self.list

    def _read(self) -> None:
        self._found = found = components()
        self.list.addItems([f"{one.name} {one.version}".strip() for one in found])
        self.list.setCurrentRow(0)

    def _show(self, row: int) -> None:
        if not 0 <= row < len(self._found):
            return
        one = self._found[row]
        self._name.setText(f"{one.name} {one.version}".strip())
        parts = [words.text("licences.under", licence=one.licence)]
        if one.part_of:
            parts.append(words.text("licences.inside", name=one.part_of))
        if one.home:
            parts.append(one.home)
        self._about.setText(" · ".join(parts))
        self.text.setPlainText(one.text() or words.text("licences.no_text"))

    def _copy(self) -> None:
        lines = [f"{one.name}\t{one.version}\t{one.licence}\t{one.part_of}" for one in self._found]
        QGuiApplication.clipboard().setText("\n".join(lines))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = event.size().width() < NARROW
        self._halves.setDirection(QBoxLayout.Direction.TopToBottom if narrow else QBoxLayout.Direction.LeftToRight)
        self.list.setMinimumWidth(0 if narrow else LIST_WIDTH)
        self.list.setMaximumSize(QWIDGETSIZE_MAX if narrow else LIST_WIDTH, LIST_HEIGHT if narrow else QWIDGETSIZE_MAX)
