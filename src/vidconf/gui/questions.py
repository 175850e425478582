"""The small sheets: leaving, the list of shortcuts, about. The window's thread; answers come as signals of `Sheet`."""

from __future__ import annotations

import platform

from PySide6.QtCore import Signal, qVersion
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QGridLayout, QWidget

from vidconf import __version__, words
from vidconf.gui import shortcuts
from vidconf.gui.parts import Text, button, cell, glyph, row, rule, stack
from vidconf.gui.sheet import Sheet
from vidconf.gui.theme import T


class LeaveSheet(Sheet):
    """Leave, end for all (who may), or stay. `chosen`: `leave` or `end`."""

    chosen = Signal(str)

    def __init__(self, window: QWidget, *, in_lobby: bool, may_end: bool, closing: bool) -> None:
        super().__init__(window, words.text("leave.title"), width=540, symbol="call_end!", tone="danger")
        text = "leave.text_lobby" if in_lobby else "leave.text_chair" if may_end else "leave.text"
        self.put(Text(words.text(text), wrap=True))
        if closing:
            self.put(Text(words.text("leave.quit_after"), "small", wrap=True))
        self.leave = button(words.text("leave.leave_lobby" if in_lobby else "leave.leave"), "danger", do=lambda: self._choose("leave"))
        end = [button(words.text("leave.end"), "risky", do=lambda: self._choose("end"))] if may_end else []
        self.answers(None, button(words.text("leave.stay"), do=self.reject), *end, self.leave)

    def _choose(self, what: str) -> None:
        self.accept()
        self.chosen.emit(what)

    def first_focus(self) -> QWidget | None:
        return self.leave


class ShortcutsSheet(Sheet):
    """Every key and what it does. `change`: go to the settings."""

    change = Signal()

    def __init__(self, window: QWidget) -> None:
        super().__init__(window, words.text("shortcuts.title"), width=620, symbol="keyboard")
        for group in shortcuts.GROUPS:
            grid = QGridLayout()
            grid.setContentsMargins(0, 0, 0, 4)
            grid.setVerticalSpacing(6)
            grid.setColumnStretch(0, 1)
            for n, one in enumerate(o for o in shortcuts.TABLE if o.group == group):
                written = [shortcuts.shown(one.id), *([shortcuts.written(one.also)] if one.also else [])]
                grid.addWidget(Text(words.text(f"shortcut.{one.id}")), n, 0)
                keys = row(None, *[Text(w, "code") for w in written], gap=6)
                grid.addLayout(keys, n, 1)
            self.put(Text(words.text(f"shortcuts.group.{group}"), "lead"), grid)
        self.put(Text(words.text("shortcuts.note"), "small", wrap=True))
        self._close = button(words.text("common.close"), "accent", do=self.accept)
        self.answers(button(words.text("shortcuts.change"), "quiet", "settings", do=self._change), None, self._close)

    def _change(self) -> None:
        self.accept()
        self.change.emit()

    def first_focus(self) -> QWidget | None:
        return self._close


class AboutSheet(Sheet):
    """`asked`: `licences` or `log_folder`. `logs`: whether there is such a folder."""

    asked = Signal(str)

    def __init__(self, window: QWidget, *, logs: bool = False) -> None:
        super().__init__(window, words.text("about.title"), width=560, symbol="people_community!")
        self.put(
            stack(Text(words.text("app.name"), "title"), Text(words.text("about.version", version=__version__), "muted"), gap=0),
            Text(words.text("about.text"), wrap=True), rule(),
            cell(glyph("lock_closed", T["muted"]), (Text(words.text("about.privacy"), wrap=True), 1)),
            cell(glyph("info", T["muted"]), (Text(words.text("about.licence"), wrap=True), 1)),
            Text(words.text("about.fonts"), "small", wrap=True),
            row(*self._further(logs), None, gap=6),
        )  # fmt: skip
        self._close = button(words.text("common.close"), "accent", do=self.accept)
        self.answers(button(words.text("about.copy"), "quiet", "copy", do=self._copy), None, self._close)

    def _further(self, logs: bool) -> list[QWidget]:
        licences = button(words.text("about.licences"), "", "list", do=lambda: self._ask("licences"))
        folder = [button(words.text("about.logs"), "", "open", do=lambda: self._ask("log_folder"))] if logs else []
        return [licences, *folder]

    def _ask(self, what: str) -> None:
        self.accept()
        self.asked.emit(what)

    def _copy(self) -> None:
        told = f"vidconf {__version__}, Qt {qVersion()}, Python {platform.python_version()}, {platform.platform()}"
        QGuiApplication.clipboard().setText(told)

    def first_focus(self) -> QWidget | None:
        return self._close
