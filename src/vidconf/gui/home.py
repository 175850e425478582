"""Home: join by link or code, the account or the way to sign in, the meetings to come by time. The window's thread.

Wide: a side bar with names. Narrow (below 1000 px): the side bar keeps its icons only.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.links import shown_host
from vidconf.client.state import ClientState
from vidconf.gui.meeting_rows import by_day, empty_place, meeting_row
from vidconf.gui.page import Page, StateSource
from vidconf.gui.painted import Avatar
from vidconf.gui.parts import Text, box, button, cell, clear, column, field, glyph, pack, row, rule, scroll, stack, tool
from vidconf.gui.theme import T
from vidconf.gui.trouble import Trouble
from vidconf.gui.update_bar import UpdateBar

NARROW = 1000
CLOCK_MS = 5000


class HomePage(Page):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(store, actions)
        self._narrow: bool | None = None
        self._meetings_key: object = None
        self._side = box([], "bar", gap=4, margins=(12, 16, 12, 14))
        self._main = QWidget()
        self._build_main()
        pack(QHBoxLayout(self), self._side, (self._main, 1), gap=0)
        self._clock = QTimer(self)
        self._clock.timeout.connect(self._on_minute)
        self._clock.start(CLOCK_MS)
        self.show_state(None, self.state)

    # ---- the side
    def _show_side(self, state: ClientState) -> None:
        narrow = bool(self._narrow)
        layout = self._side.layout()
        assert isinstance(layout, QVBoxLayout)
        clear(layout)
        self._side.setFixedWidth(64 if narrow else 232)
        layout.setContentsMargins(*((10, 14, 10, 14) if narrow else (12, 16, 12, 14)))
        brand = glyph("people_community!", T["accent"], 28)
        if narrow:
            layout.addLayout(row(None, brand, None))
        else:
            layout.addLayout(row(brand, column(Text(words.text("app.name"), "strong"), Text(words.text("app.tagline"), "small"), gap=0), None, gap=10))
        layout.addSpacing(16)
        for name, symbol in (("home", "home!"), ("settings", "settings"), ("shortcuts", "keyboard"), ("about", "info")):
            layout.addWidget(self._nav(name, symbol, narrow))
        layout.addStretch(1)
        if state.account is not None:
            layout.addWidget(rule())
            layout.addSpacing(4)
            self._show_account(layout, state, narrow)
        elif "password_login" not in state.closed:
            self._show_sign_in(layout, narrow)

    def _nav(self, name: str, symbol: str, narrow: bool) -> QPushButton:
        text = words.text(f"home.nav.{name}")
        here = name == "home"
        made = button("" if narrow else text, "here" if here else "nav", symbol, name=text, tip=text if narrow else "")
        if narrow:
            made.setStyleSheet("padding-left: 8px; padding-right: 0px;")
        if not here:
            made.clicked.connect(lambda: self.asked.emit(name, None))
        return made

    def _show_account(self, layout: QVBoxLayout, state: ClientState, narrow: bool) -> None:
        account = state.account
        assert account is not None
        out = tool("sign_out", tip=words.text("home.sign_out"), do=self.do.sign_out)
        face = Avatar(account.name, 36)
        if narrow:
            face.setToolTip(account.name)
            layout.addLayout(row(None, face, None))
            layout.addLayout(row(None, out, None))
            return
        role = words.text(f"home.role.{account.role}") if words.has(f"home.role.{account.role}") else words.text("home.role.member")
        about = column(Text(account.name, "strong", elide=True), Text(role, "small"), gap=0)
        if not account.token_kept:
            layout.addWidget(Text(words.text("home.token_not_kept"), "small", wrap=True))
            layout.addSpacing(6)
        layout.addLayout(row(face, (about, 1), out, gap=10))

    def _show_sign_in(self, layout: QVBoxLayout, narrow: bool) -> None:
        if narrow:
            layout.addWidget(tool("sign_in", tip=words.text("home.sign_in.go"), do=self.do.open_sign_in))
            return
        go = button(words.text("home.sign_in.go"), "", "sign_in", do=self.do.open_sign_in)
        card = box(
            [Text(words.text("home.sign_in.title"), "strong"), Text(words.text("home.sign_in.text"), "small", wrap=True), 4, go],
            gap=2, margins=(12, 10, 12, 12),
        )  # fmt: skip
        layout.addWidget(card)

    # ---- the middle
    def _build_main(self) -> None:
        self._date = Text("", "display")
        self._time = Text("", "display")
        self._server = Text("", "muted", elide=True)
        self.link = field("", "link", "", name=words.text("home.join.title"))
        self.link.returnPressed.connect(self._go)
        self.link.setMaxLength(4096)
        self._go_button = button(words.text("home.join.go"), "accent", "arrow_right", do=self._go)
        self.name = field("", "person", words.text("home.name.hint"), name=words.text("home.name"))
        self.name.setMaxLength(64)
        self.name.returnPressed.connect(self._go)
        self.name.textEdited.connect(self.do.set_name)
        self._as_guest = stack(
            row(Text(words.text("home.name"), "strong"), (Text(words.text("home.join.as_guest"), "small", elide=True), 1), gap=10), self.name, gap=4
        )
        self._as_account_text = Text("", "small", elide=True)
        self._as_account = cell(glyph("person", T["muted"]), (self._as_account_text, 1), margins=(0, 0, 0, 0))
        self._join = box(
            [
                Text(words.text("home.join.title"), "lead"), row((self.link, 1), self._go_button), 2, self._as_guest, self._as_account,
            ],
            gap=6, margins=(20, 12, 20, 14),
        )  # fmt: skip
        self._trouble = Trouble()
        self._update = UpdateBar(self.do)
        self._list = QWidget()
        self._rows = pack(QVBoxLayout(self._list), gap=2, margins=(20, 10, 20, 10))
        self._list_card = QFrame()
        self._list_card.setProperty("card", "true")
        pack(QVBoxLayout(self._list_card), scroll(self._list), gap=0, margins=(0, 4, 4, 4))
        self._head = row((column(self._date, self._server, gap=0), 1), self._time)
        self._column = pack(
            QVBoxLayout(self._main), self._head, self._trouble, self._update, self._join, (self._list_card, 1), gap=12, margins=(28, 16, 28, 20)
        )

    def _go(self) -> None:
        text = self.link.text().strip()
        self.do.set_name(self.name.text()) if self.state.account is None else None
        self.do.open_link(text)

    def _on_minute(self) -> None:
        self._show_time(self.state)
        self._show_meetings(self.state)

    def _show_time(self, state: ClientState) -> None:
        now = self.now()
        self._date.setText(words.long_date(now))
        self._time.setText(words.clock(now))

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if old is None or (old.account, old.server, old.closed) != (new.account, new.server, new.closed):
            self._show_who(new)
        if (old is None or old.name != new.name) and not (self.name.hasFocus() and self.name.text()):
            self.name.setText(new.name)
        self._trouble.show_error(new.join_error, new.join_detail)
        self._update.show_update(None if new.join_error else new.update)  # what went wrong comes first, and needs the room
        self._show_time(new)
        self._show_meetings(new)

    def _show_who(self, state: ClientState) -> None:
        if self._narrow is not None:
            self._show_side(state)
        self._server.setText(words.text("home.server", server=shown_host(state.server)) if state.server else words.text("home.no_server"))
        self.link.setPlaceholderText(words.text("home.join.hint" if state.server else "home.join.hint_link"))
        self._as_guest.setVisible(state.account is None)
        self._as_account.setVisible(state.account is not None)
        if state.account is not None:
            self._as_account_text.setText(words.text("home.join.as_account", name=state.account.name))

    # ---- meetings
    def _show_meetings(self, state: ClientState) -> None:
        now = self.now() + state.clock_offset_s
        loading = "upcoming" in state.busy
        key = (state.account, state.upcoming, loading and not state.upcoming, int(now // 60), self._narrow, state.closed)
        if key == self._meetings_key:
            return
        self._meetings_key = key
        held = self._focused_meeting()
        clear(self._rows)
        may_create = state.account is not None and state.account.role in ("organiser", "admin")
        create = [button(words.text("home.create"), "quiet", "add", do=lambda: self.asked.emit("create", None))] if may_create else []
        again = [tool("arrow_sync", tip=words.text("home.refresh"), do=self.do.refresh_upcoming)] if state.account is not None else []
        today, later = by_day(state.upcoming, now)
        self._rows.addLayout(row(Text(words.text("home.today"), "lead"), None, *again, *create))
        if state.account is None and "password_login" in state.closed:
            self._rows.addWidget(empty_place("calendar", words.text("home.empty.guest_only"), words.text("home.empty.guest_only.help")), 1)
            return
        if state.account is None:
            go = button(words.text("home.sign_in.go"), "", "sign_in", do=self.do.open_sign_in)
            self._rows.addWidget(empty_place("calendar", words.text("home.empty.signed_out"), words.text("home.empty.signed_out.help"), go), 1)
            return
        if not state.upcoming:
            if loading:
                self._rows.addWidget(empty_place("hourglass", words.text("home.loading"), ""), 1)
            else:
                first = [button(words.text("home.empty.create"), "", "add", do=lambda: self.asked.emit("create", None))] if may_create else []
                self._rows.addWidget(empty_place("calendar", words.text("home.empty.none"), words.text("home.empty.none.help"), *first), 1)
            return
        live_first = next((one for one in state.upcoming if one.state == "live"), None)
        for one in today:
            self._rows.addWidget(rule())
            self._rows.addWidget(meeting_row(one, now, main=one is live_first, narrow=bool(self._narrow), open_=self._open, copy=self._copy))
        if not today:
            self._rows.addWidget(Text(words.text("home.empty.none"), "muted"))
        if later:
            self._rows.addSpacing(14)
            self._rows.addWidget(Text(words.text("home.later"), "lead"))
            for one in later:
                self._rows.addWidget(rule())
                self._rows.addWidget(meeting_row(one, now, main=one is live_first, narrow=bool(self._narrow), open_=self._open, copy=self._copy))
        self._rows.addStretch(1)
        if held:
            again_here = self._list.findChild(QPushButton, held)
            row_of_it = again_here.parentWidget() if again_here is not None else None
            if again_here is not None and row_of_it is not None:
                row_of_it.show()  # what is not on the screen yet cannot have the keyboard
                again_here.setFocus()

    def _focused_meeting(self) -> str:
        """The row's button that has the keyboard, by name; it gives the name up to the one that takes its place."""
        widget = self._list.focusWidget()
        if widget is None or not widget.hasFocus():
            return ""
        name = widget.objectName()
        widget.setObjectName("")
        return name

    def _open(self, link: str) -> None:
        self.do.open_link(link)

    def _copy(self, link: str) -> None:
        self.asked.emit("copy_link", link)

    # ---- the window
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        narrow = event.size().width() < NARROW
        if narrow != self._narrow:
            self._narrow = narrow
            self._column.setContentsMargins(*((16, 10, 16, 12) if narrow else (28, 16, 28, 20)))
            self._show_side(self.state)
            self._show_meetings(self.state)

    def first_focus(self) -> QWidget | None:
        return self.link

    def keep(self) -> dict[str, Any]:
        return {"link": self.link.text(), "name": self.name.text()}

    def restore(self, kept: dict[str, Any]) -> None:
        self.link.setText(str(kept.get("link", "")))
        self.name.setText(str(kept.get("name", "")))
