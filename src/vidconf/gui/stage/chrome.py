"""What stands around the tiles: who shares, the pager, the words to who is alone. Real widgets on the stage's dark ground."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QRect, QSize, Qt
from PySide6.QtWidgets import QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.icons import icon
from vidconf.gui.parts import Text, glyph, mark, pack, set_glyph
from vidconf.gui.stage import said
from vidconf.gui.stage.placing import Area
from vidconf.gui.stage.tiles import Content
from vidconf.gui.theme import T


class _Around(QWidget):
    def put(self, area: Area | None) -> None:
        """Show it there; None: not at all."""
        if area is not None:
            self.setGeometry(QRect(*area))
        self.setVisible(area is not None)

    def refresh_look(self) -> None:
        """Theme or language have changed."""


def _tool(symbol: str, do: Callable[[], object]) -> QToolButton:
    made = mark(QToolButton(), stage="true")
    made.setIcon(icon(symbol, T["plate_text"]))
    made.setIconSize(QSize(20, 20))
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    made.clicked.connect(lambda *_: do())
    return made


def _say(button: QToolButton, text: str) -> None:
    button.setToolTip(text)
    button.setAccessibleName(text)


class Caption(_Around):
    """Who shares, over the page; with several pages a button that turns to the next."""

    def __init__(self, parent: QWidget, turn: Callable[[], object]) -> None:
        super().__init__(parent)
        self._sign = glyph("share_screen!", T["plate_text"])
        self._text = Text("", "stage", elide=True)
        self.turn = _tool("swap", turn)
        self.turn.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        pack(QHBoxLayout(self), self._sign, (self._text, 1), self.turn, gap=10, margins=(16, 0, 8, 0))
        self.turn.hide()
        self.hide()

    def show_share(self, page: Content | None, number: int, count: int) -> None:
        if page is None:
            return
        self._text.setText(said.sharing(page))
        if count > 1:
            self.turn.setText(words.text("stage.other_share", number=number + 1, count=count))
            _say(self.turn, words.text("stage.other_share.tip", number=number + 1, count=count))
        self.turn.setVisible(count > 1)

    def refresh_look(self) -> None:
        set_glyph(self._sign, "share_screen!", T["plate_text"])
        self.turn.setIcon(icon("swap", T["plate_text"]))


class Pager(_Around):
    """`‹ Trang 1/4 · 9 trên 34 ›`."""

    def __init__(self, parent: QWidget, back: Callable[[], object], on: Callable[[], object]) -> None:
        super().__init__(parent)
        self.previous, self.next = _tool("chevron_left", back), _tool("chevron_right", on)
        self._text = Text("", "stage")
        pack(QHBoxLayout(self), None, self.previous, self._text, self.next, None, gap=12)
        self.refresh_look()
        self.hide()

    def show_page(self, page: int, pages: int, shown: int, count: int) -> None:
        self._text.setText(words.text("stage.page_of", page=page + 1, pages=pages, shown=shown, count=count))
        for button, on in ((self.previous, page > 0), (self.next, page < pages - 1)):
            if button.isEnabled() != on:
                if not on and button.hasFocus():
                    (self.next if button is self.previous else self.previous).setFocus(Qt.FocusReason.OtherFocusReason)
                button.setEnabled(on)

    def refresh_look(self) -> None:
        self.previous.setIcon(icon("chevron_left", T["plate_text"]))
        self.next.setIcon(icon("chevron_right", T["plate_text"]))
        _say(self.previous, words.text("stage.previous_page"))
        _say(self.next, words.text("stage.next_page"))


class Alone(_Around):
    """To who is the only one in the room."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self._title = Text("", "stage_title", wrap=True)
        self._line = Text("", "stage", wrap=True)
        for text in (self._title, self._line):
            text.setAlignment(Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop)
        pack(QVBoxLayout(self), self._title, self._line, None, gap=4, margins=(24, 16, 24, 8))
        self._knocking = 0
        self.refresh_look()
        self.hide()

    def show_knocking(self, count: int) -> None:
        if count != self._knocking:
            self._knocking = count
            self.refresh_look()

    def refresh_look(self) -> None:
        self._title.setText(words.text("stage.alone"))
        self._line.setText(words.text("stage.alone.knocking", count=self._knocking) if self._knocking else words.text("stage.alone.help"))
