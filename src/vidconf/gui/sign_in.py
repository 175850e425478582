"""Sign-in: server, name, password on one card. The window's thread; the password leaves this page only towards the action."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLineEdit, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.links import shown_host
from vidconf.client.state import ClientState
from vidconf.gui.frame import frame_head
from vidconf.gui.icons import icon
from vidconf.gui.page import Page, StateSource
from vidconf.gui.parts import Text, box, button, field, mark, pack, row, rule, scroll, stack
from vidconf.gui.theme import T
from vidconf.gui.trouble import Trouble


class SignInPage(Page):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(store, actions)
        state = self.state
        self.server = field(
            shown_host(state.server) if state.server else "", "server", words.text("sign_in.server.hint"), name=words.text("sign_in.server"),
            locked="other_servers" in state.closed,
        )  # fmt: skip
        self._origin_shown = self.server.text()
        self.name = field("", "person", "", name=words.text("sign_in.name"))
        self.password = field("", "key", "", name=words.text("sign_in.password"), secret=True)
        for one in (self.server, self.name, self.password):
            one.returnPressed.connect(self._go)
            one.setMaxLength(256)
        self._eye = self.password.addAction(icon("eye", T["muted"]), QLineEdit.ActionPosition.TrailingPosition)
        self._eye.triggered.connect(self._turn_eye)
        self._eye.setToolTip(words.text("sign_in.show_password"))
        self.go = button(words.text("sign_in.go"), "accent", big=True, do=self._go)
        self._trouble = Trouble()
        card = box(
            [
                Text(words.text("sign_in.title"), "title"), Text(words.text("sign_in.text"), "muted", wrap=True), 6, self._trouble,
                Text(words.text("sign_in.server"), "strong"), self.server, 4,
                Text(words.text("sign_in.name"), "strong"), self.name, 4,
                Text(words.text("sign_in.password"), "strong"), self.password, 2,
                Text(words.text("sign_in.kept"), "small", wrap=True), 10, self.go,
            ],
            gap=4, margins=(28, 22, 28, 26), width=440,
        )  # fmt: skip
        inner = stack(None, row(None, card, None), None, margins=(16, 16, 16, 16))
        head = frame_head(self, words.text("sign_in.title"), self.do.cancel)
        pack(QVBoxLayout(self), head, rule(), (scroll(inner), 1), gap=0)
        self.show_state(None, state)

    def _turn_eye(self) -> None:
        hidden = self.password.echoMode() == QLineEdit.EchoMode.Password
        self.password.setEchoMode(QLineEdit.EchoMode.Normal if hidden else QLineEdit.EchoMode.Password)
        self._eye.setIcon(icon("eye_off" if hidden else "eye", T["muted"]))
        self._eye.setToolTip(words.text("sign_in.hide_password" if hidden else "sign_in.show_password"))

    def _go(self) -> None:
        for one in (self.server, self.name, self.password):
            if not one.text().strip():
                mark(one, wrong="true")
                one.setFocus(Qt.FocusReason.TabFocusReason)
                return
            mark(one, wrong="")
        if "sign_in" in self.state.busy:
            return
        typed = self.server.text().strip()
        # An untouched field stands for the server known; what is shown there is its readable name.
        self.do.sign_in("" if self.state.server and typed == self._origin_shown else typed, self.name.text().strip(), self.password.text())

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        busy = "sign_in" in new.busy
        self.go.setText(words.text("sign_in.busy" if busy else "sign_in.go"))
        self.go.setEnabled(not busy)
        mark(self.go, state="pending" if busy else "")
        self._trouble.show_error(new.join_error, new.join_detail)
        if new.join_error == "wrong_password" and old is not None and old.join_error != "wrong_password":
            self.password.selectAll()
            self.password.setFocus(Qt.FocusReason.TabFocusReason)

    def first_focus(self) -> QWidget | None:
        return self.name if self.server.text() else self.server

    def keep(self) -> dict[str, Any]:
        return {"server": self.server.text(), "name": self.name.text(), "password": self.password.text()}

    def restore(self, kept: dict[str, Any]) -> None:
        if not self.server.isReadOnly():
            self.server.setText(kept.get("server", ""))
        self.name.setText(kept.get("name", ""))
        self.password.setText(kept.get("password", ""))
