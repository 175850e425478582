"""What went wrong before or after a meeting, as a card: what happened, what to do next, a code for the help desk.

For home, sign-in, pre-join and the page of the end; the window's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.parts import Text, clear, glyph, pack, row
from vidconf.gui.theme import T


class Trouble(QFrame):
    """Hidden while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("tone", "danger")
        self._shown: tuple[str, str] = ("", "")
        self._inside = pack(QVBoxLayout(self), gap=4, margins=(14, 10, 14, 10))
        self.hide()

    def show_error(self, code: str, detail: Mapping[str, Any] | None = None, *buttons: QWidget) -> None:
        """`code` "" hides it."""
        what = words.error(code, detail) if code else ""
        if (code, what) == self._shown:
            return
        self._shown = (code, what)
        clear(self._inside)
        if not code:
            self.hide()
            return
        cure, ref = words.help_for(code, detail), str((detail or {}).get("ref", ""))[:40]
        shown = code[:60]
        self._inside.addLayout(row(glyph("error!", T["danger_text"]), (Text(what, "strong", wrap=True), 1), gap=10))
        inner = [Text(cure, wrap=True)] if cure else []
        told = Text(words.text("common.code_ref", code=shown, ref=ref) if ref else words.text("common.code", code=shown), "small", wrap=True)
        below = QWidget()
        pack(QVBoxLayout(below), *inner, told, gap=2, margins=(30, 0, 0, 0))
        self._inside.addWidget(below)
        if buttons:
            line = QWidget()
            pack(QHBoxLayout(line), *buttons, None, margins=(30, 4, 0, 0))
            self._inside.addWidget(line)
        self.setAccessibleName(f"{what} {cure}")
        self.show()
