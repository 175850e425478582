"""The chat panel: what was said, what waits to be sent, what was refused, and the field to write in. The window's thread.

It opens at the newest and stays there while one looks there; who has scrolled up is not moved, and told what came meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QResizeEvent, QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState, PendingChat
from vidconf.gui.page import StateSource
from vidconf.gui.panels.chat_list import ChatList
from vidconf.gui.panels.chat_rows import AboutRow, LineRow, MessageRow
from vidconf.gui.panels.composer import Composer
from vidconf.gui.panels.frame import Panel
from vidconf.gui.panels.row_list import RowList
from vidconf.gui.parts import Text, button, clear, enter_presses, glyph, pack, row, stack
from vidconf.gui.theme import T

REFUSED_SHOWN = 2


class Refused(QWidget):
    """Messages the server said no to, each with its reason, until they are sent again, taken back or dropped."""

    def __init__(self, actions: Any, take_back: Callable[[PendingChat], bool]) -> None:
        super().__init__()
        self.do, self._take_back = actions, take_back
        self._shown: tuple[PendingChat, ...] = ()
        self._column = pack(QVBoxLayout(self), gap=6, margins=(14, 6, 10, 0))
        self.hide()

    def show_state(self, state: ClientState) -> None:
        refused = tuple(message for message in state.unsent_chat if message.error)
        if refused == self._shown:
            return
        had = self.isAncestorOf(focus) if (focus := self.window().focusWidget()) is not None else False
        self._shown = refused
        clear(self._column)
        for message in refused[:REFUSED_SHOWN]:
            self._column.addWidget(self._card(message))
        if len(refused) > REFUSED_SHOWN:
            self._column.addWidget(Text(words.text("chat.refused_more", count=len(refused) - REFUSED_SHOWN), "small"))
        enter_presses(self)
        self.setVisible(bool(refused))
        if had and refused:
            self.findChildren(type(button("")))[0].setFocus(Qt.FocusReason.OtherFocusReason)

    def _card(self, message: PendingChat) -> QFrame:
        frame = QFrame()
        frame.setProperty("tone", "danger")
        key = message.key
        why = words.refusal(message.error)
        again = button(words.text("chat.again"), "", name=words.text("chat.again_name", text=message.text[:80]), do=lambda: self.do.chat_again(key))
        other = Text(words.text("chat.edit_other"), "small", wrap=True)
        other.hide()
        edit = button(words.text("chat.edit"), "", do=lambda: None if self._take_back(message) else other.show())
        drop = button(words.text("chat.drop"), "quiet", do=lambda: self.do.chat_give_up(key))
        text = Text(" ".join(message.text.split())[:200], "small", elide=True)
        lines = stack(Text(why, "strong", wrap=True), text, other, row(again, edit, drop, None, gap=4, margins=(0, 2, 0, 0)), gap=0)
        pack(QHBoxLayout(frame), stack(glyph("error!", T["danger_text"]), None, margins=(0, 2, 0, 0)), (lines, 1), gap=8, margins=(10, 6, 6, 6))
        return frame


class ChatPanel(Panel):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(words.text("chat.title"))
        self.store, self.do = store, actions
        self._chat = ChatList()
        self.list = RowList({"said": MessageRow, "line": LineRow, "about": AboutRow}, words.text("chat.title"), by_row=True, to_end=True)
        self.list.end_reached.connect(lambda _: self._show_new())
        self.refused = Refused(actions, self._take_back)
        self.composer = Composer(actions)
        self.composer.said.connect(self.list.to_end)
        self.newer = button("", "accent", "chevron_down", do=self.list.to_end)
        self.newer.setParent(self)
        self.newer.hide()
        self.body.addWidget(self.list, 1)
        self.body.addWidget(self.refused)
        self.body.addWidget(self.composer)
        enter_presses(self)

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if not self.isVisible():
            return
        if old is None or old.meeting is not new.meeting or old.unsent_chat is not new.unsent_chat or old.control != new.control:
            self._fill(new)
            self.composer.show_state(old, new)
        if old is None or old.unread_chat != new.unread_chat:
            self._show_new()

    def _fill(self, state: ClientState) -> None:
        self.list.show_items(self._chat.items(state))
        self.refused.show_state(state)

    def _show_new(self) -> None:
        """What came while one read further up; what one sees is read."""
        unread = self.store.state.unread_chat
        if unread and self.list.at_end and self.isVisible() and not self.window().isMinimized():
            self.do.chat_seen()
            return
        show = bool(unread) and not self.list.at_end
        if show:
            text = words.text("chat.new", count=unread)
            self.newer.setText(text)
            self.newer.setAccessibleName(text)
        if not show and self.newer.hasFocus():
            self.composer.text.setFocus(Qt.FocusReason.OtherFocusReason)
        self.newer.setVisible(show)
        self._place_newer()

    def _place_newer(self) -> None:
        if self.newer.isHidden():
            return
        size = self.newer.sizeHint()
        corner = self.list.mapTo(self, QPoint(0, self.list.height()))
        self.newer.setGeometry((self.width() - size.width()) // 2, corner.y() - size.height() - 10, size.width(), size.height())
        self.newer.raise_()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._place_newer()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        state = self.store.state
        self._fill(state)
        self.composer.show_state(None, state)
        self._show_new()

    def event(self, event: QEvent) -> bool:
        handled = super().event(event)
        if event.type() == QEvent.Type.WindowActivate:  # also when it is no longer minimised
            self._show_new()
        elif event.type() == QEvent.Type.LayoutRequest:
            self._place_newer()
        return handled

    def first_focus(self) -> QWidget:
        return self.composer.text

    def write_to(self, participant: str | None) -> None:
        self.composer.write_to(participant)

    def _take_back(self, message: PendingChat) -> bool:
        """A refused message, to be changed: under what is being written now, if anything. False: that is for somebody else, and
        what is private must not slip into what all read."""
        held = self.composer.text.toPlainText().strip()
        if held and self.composer.recipient != message.to:
            return False
        self.do.chat_give_up(message.key)
        self.composer.write_to(message.to)
        self.composer.text.setPlainText(f"{held}\n{message.text}" if held else message.text)
        self.composer.text.moveCursor(self.composer.text.textCursor().MoveOperation.End)
        return True

    # ---- what is kept over making the window anew
    def keep(self) -> dict[str, Any]:
        return {**self.composer.keep(), "where": self.list.where()}

    def restore(self, kept: dict[str, Any]) -> None:
        self.composer.restore(kept)
        self._fill(self.store.state)
        self.list.look_at(kept.get("where"))
