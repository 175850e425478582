"""The people panel: the lobby, raised hands, who is in the room, and what moderators do about them. The window's thread.

It follows the state it is given by `show_state` while it is shown (hidden, it costs nothing); what it keeps of its own is what was
typed into its fields and which row asks a question.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.page import StateSource
from vidconf.gui.panels import people_rows as rows
from vidconf.gui.panels.frame import Panel
from vidconf.gui.panels.moderation import ModerationFoot
from vidconf.gui.panels.people_list import Asking, Looking, PeopleList, Place
from vidconf.gui.panels.person_menu import PersonMenu, popup
from vidconf.gui.panels.row_list import RowList
from vidconf.gui.parts import field, row, rule
from vidconf.meeting import messages as m

SEARCH_LIMIT = 64


class PeoplePanel(Panel):
    """`menus`: what can be done about one person, shared with the stage."""

    def __init__(self, store: StateSource, actions: Any, menus: PersonMenu) -> None:
        super().__init__(words.text("people.title"))
        self.store, self.do, self._menus = store, actions, menus
        self._people = PeopleList()
        self._asking: dict[Place, Asking] = {}
        self._drafts: dict[Place, str] = {}
        self.search = field("", "search", words.text("people.search"))
        self.search.setClearButtonEnabled(False)
        self.search.setMaxLength(SEARCH_LIMIT)
        self.search.textChanged.connect(lambda _: self._fill(self.store.state))
        self.list = RowList(
            {
                "heading": lambda: rows.HeadingRow(self), "note": rows.NoteRow, "knocker": lambda: rows.KnockerRow(self),
                "hand": lambda: rows.HandRow(self), "present": lambda: rows.PresentRow(self),
            },
            words.text("people.title"),
        )  # fmt: skip
        self.list.emptied.connect(self.search.setFocus)
        self.foot = ModerationFoot(actions)
        self._foot_rule = rule()
        self.body.addLayout(row((self.search, 1), margins=(14, 2, 10, 8)))
        self.body.addWidget(self.list, 1)
        self.body.addWidget(self._foot_rule)
        self.body.addWidget(self.foot)

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if not self.isVisible():
            return
        if old is None or _differ(old, new):
            self._fill(new)

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._fill(self.store.state)

    def _fill(self, state: ClientState) -> None:
        self._forget_gone(state)
        self.list.show_items(self._people.items(state, Looking(self.search.text(), self._asking)))
        self.foot.show_state(state)
        self._foot_rule.setVisible(not self.foot.isHidden())

    def _forget_gone(self, state: ClientState) -> None:
        """Questions about somebody who is no longer there."""
        if not self._asking or state.meeting is None:
            return
        people = state.meeting.participants
        places = {"lobby": "lobby", "room": "admitted"}
        for key in list(self._asking):
            place, id_ = key
            person = people.get(id_)
            if person is None or person.place != places[place]:
                del self._asking[key]
                self._drafts.pop(key, None)

    def first_focus(self) -> QWidget:
        return self.search

    def ask_about(self, id_: str, asking: Asking) -> None:
        """Show the person's row with the question open, and the keyboard on its first answer."""
        self.search.clear()
        self.ask(("room", id_), asking)
        if asking == "rename" and self.store.state.meeting is not None:
            person = self.store.state.meeting.participants.get(id_)
            self.keep_draft(("room", id_), person.name if person is not None else "")
            self._fill(self.store.state)
        row_ = self.list.bring(("room", id_))
        if isinstance(row_, rows.PresentRow):
            controls = row_.question.controls()
            controls[0].setFocus(Qt.FocusReason.TabFocusReason)
            if asking == "rename":
                row_.question.field.setText(self.draft(("room", id_)))
                row_.question.field.selectAll()

    # ---- what is kept over making the window anew
    def keep(self) -> dict[str, Any]:
        return {"search": self.search.text(), "where": self.list.where()}

    def restore(self, kept: dict[str, Any]) -> None:
        self.search.setText(str(kept.get("search", "")))
        self._fill(self.store.state)
        self.list.look_at(kept.get("where"))

    # ---- RowAsks
    def do_for_all(self, does: str) -> None:
        state = self.store.state
        if state.meeting is None:
            return
        match does:
            case "admit_all":
                self.do.admit_all()
            case "admit_both":
                self.do.admit([p.id for p in state.meeting.knocking()])
            case "lower_all":
                self.do.lower_hand([hand.participant for hand in state.meeting.hands])

    def admit(self, id_: str) -> None:
        self.do.admit([id_])

    def deny(self, id_: str, reason: str) -> None:
        self.do.deny([id_], reason)
        self.ask(("lobby", id_), None)

    def call(self, id_: str) -> None:
        self.do.give_floor(id_)

    def lower_hand(self, id_: str) -> None:
        self.do.lower_hand([] if id_ == self.store.state.me else [id_])

    def hand_menu(self, id_: str, button: QWidget) -> None:
        menu = self._menus.hand(self, self.store.state, id_)
        if menu is not None:
            popup(menu, rows.menu_point(button))

    def person_menu(self, id_: str, button: QWidget) -> None:
        menu = self._menus.person(self, self.store.state, id_)
        if menu is not None:
            popup(menu, rows.menu_point(button) + QPoint(button.width() - menu.sizeHint().width(), 0))

    def ask(self, key: Place, asking: Asking | None) -> None:
        if asking is None:
            self._asking.pop(key, None)
            self._drafts.pop(key, None)
        else:
            self._asking = {key: asking}  # one question at a time
        self._fill(self.store.state)
        row_ = self.list.bring(key)
        if row_ is not None and asking is not None:
            question = getattr(row_, "question", None)
            if question is not None:
                question.controls()[0].setFocus(Qt.FocusReason.TabFocusReason)

    def remove(self, id_: str, ban: bool) -> None:
        if ban:
            self.do.command(m.Ban((id_,)))
        else:
            self.do.remove([id_])
        self.ask(("room", id_), None)

    def rename(self, id_: str, name: str) -> None:
        if name:
            self.do.rename(name, None if id_ == self.store.state.me else id_)
        self.ask(("room", id_), None)

    def draft(self, key: Place) -> str:
        return self._drafts.get(key, "")

    def keep_draft(self, key: Place, text: str) -> None:
        self._drafts[key] = text


def _differ(old: ClientState, new: ClientState) -> bool:
    """Whether anything listed may be another."""
    if old.meeting is not new.meeting or old.pending != new.pending or old.quality is not new.quality or old.me != new.me:
        return True
    return old.speaking is not new.speaking and {id_ for id_, _ in old.speaking} != {id_ for id_, _ in new.speaking}

