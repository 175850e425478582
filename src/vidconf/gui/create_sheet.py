"""Creating a meeting: title, time, lobby; then its two links to copy. The window's thread."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QDateTime, Qt
from PySide6.QtWidgets import QDateTimeEdit, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.page import StateSource
from vidconf.gui.parts import Choice, Text, button, check, clear, field, glyph, mark, row, stack
from vidconf.gui.sheet import Sheet
from vidconf.gui.theme import T
from vidconf.gui.trouble import Trouble

TITLE_LIMIT = 200


class CreateSheet(Sheet):
    """Asks through `actions.create_meeting`, and stays to show the links once `created` is there."""

    def __init__(self, window: QWidget, store: StateSource, actions: Any, copy: Any) -> None:
        super().__init__(window, words.text("create.title"), width=600)
        self.store, self.do, self._copy = store, actions, copy
        self._asked = False
        self._had = store.state.created
        self.name = field("", "edit", words.text("create.name.hint"), name=words.text("create.name"))
        self.name.setMaxLength(TITLE_LIMIT)
        self.name.returnPressed.connect(self._go)
        self.when = Choice("clock", words.text("create.when"))
        self.when.show_items([("now", words.text("create.now")), ("at", words.text("create.at"))], "now")
        hour = QDateTime.currentDateTime().addSecs(3600)
        hour.setTime(hour.time().addSecs(-(hour.time().minute() * 60 + hour.time().second())))
        self.at = QDateTimeEdit(hour)
        self.at.setDisplayFormat("dd/MM/yyyy  HH:mm")
        self.at.setMinimumDateTime(QDateTime.currentDateTime().addSecs(-60))
        for one in (self.at, self.at.lineEdit()):
            one.setAccessibleName(words.text("create.at"))
        self.at.hide()
        self.when.chosen.connect(self._on_when)
        self.lobby = check(words.text("create.lobby"), True)
        self._trouble = Trouble()
        self.go = button(words.text("create.go"), "accent", do=self._go)
        self.put(
            Text(words.text("create.name"), "strong"), self.name, 4,
            Text(words.text("create.when"), "strong"), row((self.when, 1), (self.at, 1)), 4,
            self.lobby, Text(words.text("create.lobby.help"), "small", wrap=True), self._trouble,
        )  # fmt: skip
        self.answers(None, button(words.text("common.cancel"), do=self.reject), self.go)
        self._unsubscribe = store.subscribe(self._on_state)

    def _on_when(self, id_: str) -> None:
        self.at.setVisible(id_ == "at")
        self.place()

    def first_focus(self) -> QWidget | None:
        return self.name

    def done(self, result: int) -> None:
        self._unsubscribe()
        super().done(result)

    def _go(self) -> None:
        title = self.name.text().strip()
        if not title:
            mark(self.name, wrong="true")
            self.name.setFocus(Qt.FocusReason.TabFocusReason)
            return
        mark(self.name, wrong="")
        if "create" in self.store.state.busy:
            return
        self._asked = True
        start = float(self.at.dateTime().toSecsSinceEpoch()) if self.when.currentData() == "at" else None
        self.do.create_meeting(title, start, self.lobby.isChecked())

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        busy = "create" in new.busy
        self.go.setEnabled(not busy)
        self.go.setText(words.text("create.busy" if busy else "create.go"))
        mark(self.go, state="pending" if busy else "")
        if new.phase != "home":
            self.reject()
        elif self._asked and new.created is not None and new.created is not self._had and not busy:
            self._asked = False
            self._show_links(str(new.created.get("link") or ""), str(new.created.get("chair_link") or ""))
        elif self._asked and not busy:
            self._trouble.show_error(new.join_error, new.join_detail)
        self.place()

    def _show_links(self, link: str, chair_link: str) -> None:
        self.title.setText(words.text("create.done"))
        clear(self.body)
        clear(self.foot)
        self.put(row(glyph("checkmark_circle!", T["good_text"], 24), (Text(words.text("create.done.text"), wrap=True), 1), gap=12), 4)
        for name, value in (("link", link), ("chair_link", chair_link)):
            if value:
                shown = field(value, "link", locked=True, name=words.text(f"create.{name}"))
                copies = button(words.text("common.copy"), "", "copy", name=words.text(f"create.copy_{name}"))
                copies.clicked.connect(lambda *_, name=name, value=value: self._copy(value, chair=name == "chair_link"))
                self.put(stack(Text(words.text(f"create.{name}"), "strong"), row((shown, 1), copies), gap=4))
        join = button(words.text("create.join"), "accent", "arrow_right", do=lambda: self._join(chair_link or link))
        self.answers(None, button(words.text("common.close"), do=self.accept), join)
        self.place()
        join.setFocus(Qt.FocusReason.TabFocusReason)

    def _join(self, link: str) -> None:
        self.accept()
        self.do.open_link(link)
