"""A newer version, as a card on home: which, what is new in it, who brings it. Never over a meeting, gone once it is put away.

The window's thread.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtWidgets import QFrame, QHBoxLayout

from vidconf import words
from vidconf.client.state import UpdateView
from vidconf.gui.parts import Text, button, clear, column, glyph, pack, plain_tip, tool
from vidconf.gui.theme import T

NOTES_SHOWN = 240
"""Characters of the notes on home; all of them are in the tooltip."""


class UpdateBar(QFrame):
    """Hidden while there is none."""

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.setProperty("tone", "info")
        self.do = actions
        self._shown: UpdateView | None = None
        self._inside = pack(QHBoxLayout(self), gap=12, margins=(14, 8, 6, 8))
        self.hide()

    def show_update(self, update: UpdateView | None) -> None:
        """Built anew only where something has changed: whoever stands on a button stays there."""
        if update == self._shown:
            return
        self._shown = update
        clear(self._inside)
        if update is None:
            self.hide()
            return
        what, how = words.text("home.update", version=update.version), words.text(f"home.update.{_way(update)}")
        notes = _notes(update)
        lines = [Text(what, "strong", wrap=True), Text(how, wrap=True)]
        if notes:
            about = Text(notes if len(notes) <= NOTES_SHOWN else notes[:NOTES_SHOWN].rsplit(" ", 1)[0] + "…", "small", wrap=True)
            about.setToolTip(plain_tip(notes))
            lines.append(about)
        page = (
            [button(words.text("home.update.page"), "", "globe", do=lambda: open_page(update.page))]
            if update.page and not update.ready
            else []
        )
        gone = tool("dismiss", tip=words.text("notice.dismiss"), do=self.do.put_away_update)
        pack(self._inside, glyph("info!", T["info_text"]), (column(*lines, gap=2), 1), *page, gone, gap=12, margins=(14, 8, 6, 8))
        self.setAccessibleName(f"{what} {how}")
        self.show()


def open_page(address: str) -> None:
    """In the browser; it was checked to be https when it was read."""
    QDesktopServices.openUrl(QUrl(address))


def _way(update: UpdateView) -> str:
    if update.ready:
        return "ready"
    return "coming" if update.own_doing else "by_it"


def _notes(update: UpdateView) -> str:
    """In the window's language, or the other one; on one line."""
    told = update.notes.get(words.language()) or next(iter(update.notes.values()), "")
    return " ".join(told.split())
