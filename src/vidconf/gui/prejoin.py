"""Before the meeting: who, with which devices, how it will look and sound; also while joining. The window's thread.

Nothing is forced: the one accent button knocks or joins. A server never used before is asked about first.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.closed import way_in_closed
from vidconf.client.links import shown_host
from vidconf.client.state import ClientState
from vidconf.gui import shortcuts
from vidconf.gui.device_lists import DeviceLists, Level, devices_changed
from vidconf.gui.frame import Half, Halves, frame_head
from vidconf.gui.own_sources import OwnButtons, trouble
from vidconf.gui.page import Page, StateSource
from vidconf.gui.parts import Text, box, breakable, button, clear, column, field, glyph, mark, pack, row, rule, scroll, set_glyph, stack
from vidconf.gui.preview import TRACK, Preview
from vidconf.gui.theme import T
from vidconf.gui.trouble import Trouble

CARD_WIDTH, CARD_LEAST = 448, 348


class PrejoinPage(Page):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(store, actions)
        head = frame_head(self, words.text("prejoin.title"), self.do.cancel)
        self.halves = Halves(self._left(), self._right())
        pack(QVBoxLayout(self), head, rule(), (self.halves, 1), gap=0)
        self.show_state(None, self.state)

    # ---- left: what others will see and hear
    def _left(self) -> QWidget:
        self.preview = Preview(self.do)
        self.buttons = OwnButtons(self.do, {"microphone": shortcuts.shown("microphone"), "camera": shortcuts.shown("camera")})
        self._why = Text("", "strong", wrap=True)
        self._why_help = Text("", "small", wrap=True)
        self._why_sign = glyph("info", T["warn_text"])
        self._why_sign.hide()
        reason = column(None, row(self._why_sign, (self._why, 1)), self._why_help, None, gap=2)
        return Half(self.preview, row(self.buttons.microphone, self.buttons.camera, None, gap=10), reason)

    # ---- right: the meeting, the name, the devices
    def _right(self) -> QWidget:
        self._title = Text("", "title", wrap=True)
        self._about = Text("", "small", wrap=True)
        self._trouble = Trouble()
        self.name = field("", "person", words.text("prejoin.name.hint"), name=words.text("prejoin.name"))
        self.name.setMaxLength(64)
        self.name.textEdited.connect(self.do.set_name)
        self.name.returnPressed.connect(self._go)
        self._name_help = Text("", "small", wrap=True)
        self.lists = DeviceLists(self.do)
        self.level = Level()
        self._confirm = box([], "warn", gap=8, margins=(14, 10, 14, 12))
        self._asked_about = ""
        self._no: QWidget | None = None
        level_row = row(Text(words.text("prejoin.level"), "small"), (self.level.gauge, 1), self.level.word, gap=10)
        self._form = stack(
            Text(words.text("prejoin.name"), "strong"), self.name, self._name_help, 6,
            Text(words.text("prejoin.microphone"), "strong"), self.lists.microphone, level_row, 6,
            row(Text(words.text("prejoin.speaker"), "strong"), None, self.lists.test), self.lists.speaker, self.lists.speaker_trouble, 6,
            Text(words.text("prejoin.camera"), "strong"), self.lists.camera,
            gap=4,
        )  # fmt: skip
        inner = stack(self._title, self._about, 6, self._trouble, self._confirm, self._form, None, gap=4, margins=(20, 16, 20, 4))
        self.go = button(words.text("prejoin.join"), "accent", big=True, do=self._go)
        self.cancel = button(words.text("prejoin.cancel"), big=True, do=self.do.cancel)
        self._foot = row((self.go, 1), self.cancel, gap=8, margins=(20, 8, 20, 20))
        card = QFrame()
        card.setProperty("card", "true")
        self._area = scroll(inner)
        pack(QVBoxLayout(card), (self._area, 1), self._foot, gap=0, margins=(0, 2, 2, 0))
        card.setMinimumWidth(CARD_LEAST)
        card.setMaximumSize(CARD_WIDTH, 660)
        self._card = card
        holder = stack(None, (card, 20), None, margins=(0, 12, 0, 12))
        holder.setMaximumWidth(CARD_WIDTH)
        return holder

    def _go(self) -> None:
        if self._way(self.state) == "guest_join_closed":
            self.do.open_sign_in()
            return
        if self.state.account is None and not self.name.text().strip():
            mark(self.name, wrong="true")
            self._name_help.setText(words.text("prejoin.name.missing"))
            self.name.setFocus(Qt.FocusReason.TabFocusReason)
            return
        mark(self.name, wrong="")
        self.do.join()

    @staticmethod
    def _way(state: ClientState) -> str:
        """Why nobody can join like this, by the organisation's word; "" when one can."""
        return way_in_closed(state.closed, signed_in=state.account is not None)

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        if old is None or (old.link, old.link_meeting, old.busy, old.phase, old.account) != (new.link, new.link_meeting, new.busy, new.phase, new.account):
            self._show_meeting(new)
            self._show_confirm(new)
        self._show_name(old, new)
        if devices_changed(old, new):
            self.lists.show(new)
        if old is None or old.sources is not new.sources or old.name != new.name:
            self._show_sources(new)
        self.preview.show_track(new.tracks.get(TRACK))
        nobody = "no_way_in" if self._way(new) == "no_way_in" else ""
        self._trouble.show_error(nobody or new.join_error, {} if nobody else new.join_detail)
        self._show_go(new)

    def _show_meeting(self, state: ClientState) -> None:
        meeting, link = state.link_meeting, state.link
        code = link.code if link is not None else ""
        title = meeting.title if meeting is not None and meeting.title else words.text("prejoin.no_title", code=code)
        self._title.setText(title)
        parts = []
        if meeting is not None and meeting.start is not None:
            when = words.clock(meeting.start)
            if meeting.duration_s:
                when += f" – {words.clock(meeting.start + meeting.duration_s)}"
            if words.date(meeting.start) != words.date(self.now()):
                when += f", {words.date(meeting.start)}"
            parts.append(when)
        if meeting is not None:
            parts.append(words.text(f"prejoin.state.{meeting.state}") if words.has(f"prejoin.state.{meeting.state}") else meeting.state)
            if meeting.locked:
                parts.append(words.text("prejoin.locked"))
        elif "preview" in state.busy:
            parts.append(words.text("prejoin.meeting_loading"))
        if link is not None and link.chair:
            parts.append(words.text("prejoin.as_chair"))
        if link is not None and not parts:
            parts.append(breakable(shown_host(link.origin)))
        self._about.setText(" · ".join(parts))

    def _show_confirm(self, state: ClientState) -> None:
        """A host never used before: nothing was asked of it, and nothing will be until the user says so."""
        link = state.link
        asking = link is not None and link.confirm
        host = shown_host(link.origin) if asking and link is not None else ""
        if host != self._asked_about:
            self._asked_about = host
            layout = self._confirm.layout()
            assert layout is not None
            clear(layout)
            self._no = button(words.text("confirm.no"), do=self.do.cancel)
            yes = button(words.text("confirm.yes"), "accent", name=words.text("confirm.yes_name", host=host), do=self.do.confirm_host)
            pack(layout, row(glyph("shield_warning!", T["warn_text"]), (Text(words.text("confirm.title"), "strong", wrap=True), 1)),  # type: ignore[type-var]
                 Text(words.text("confirm.text"), wrap=True), Text(breakable(host), "strong", wrap=True), row(self._no, yes, None),
                 gap=8, margins=(14, 10, 14, 12))  # fmt: skip
        self._confirm.setVisible(asking)
        self._form.setVisible(not asking)

    def _show_name(self, old: ClientState | None, new: ClientState) -> None:
        fixed = new.account is not None
        if old is None or (old.account, old.name, old.closed) != (new.account, new.name, new.closed):
            way = self._way(new)
            told = "prejoin.sign_in_first" if way == "guest_join_closed" else "prejoin.name.fixed" if fixed else "prejoin.name.guest"
            if not self.name.hasFocus() or fixed:
                self.name.setText(new.name)
                self.name.setCursorPosition(0)
            self.name.setReadOnly(fixed)
            mark(self.name, locked="true" if fixed else "", wrong="")
            self._name_help.setText(words.text(told) if way != "no_way_in" else "")

    def _show_sources(self, state: ClientState) -> None:
        microphone, camera = state.sources["microphone"], state.sources["camera"]
        self.buttons.show(state.sources)
        self.level.show(microphone)
        self.preview.show_sources(microphone, camera)
        status = words.text("prejoin.camera_opening" if camera.pending and camera.wanted == "on" else "prejoin.camera_off")
        self.preview.show_person(state.name.strip(), "", "" if camera.state == "on" else status)
        wrong = trouble("microphone", microphone) or trouble("camera", camera)
        self._why_sign.setVisible(wrong is not None)
        if wrong is not None:
            set_glyph(self._why_sign, "warning!", T["warn_text"])
            self._why.setText(wrong[0])
            self._why_help.setText(wrong[1])
        else:
            on = microphone.state == "on"
            self._why.setText(words.text("prejoin.why.on" if on else "prejoin.why.off"))
            lobby = state.link_meeting is None or state.link_meeting.lobby
            chair = state.link is not None and state.link.chair
            told = "prejoin.why.lobby" if lobby and not chair and on else f"prejoin.why.{'on' if on else 'off'}.help"
            self._why_help.setText(words.text(told, key=shortcuts.shown("talk")))

    def _show_go(self, state: ClientState) -> None:
        joining = state.phase == "joining"
        asking = state.link is not None and state.link.confirm
        knocks = state.link_meeting is not None and state.link_meeting.lobby and state.account is None and not (state.link and state.link.chair)
        way = self._way(state)
        text = "prejoin.joining" if joining else "home.sign_in.go" if way == "guest_join_closed" else "prejoin.knock" if knocks else "prejoin.join"
        self.go.setText(words.text(text))
        self.go.setAccessibleName(self.go.text())
        over = state.link_meeting is not None and state.link_meeting.state == "ended"
        had, cancelled = self.go.hasFocus(), self.cancel.hasFocus()
        self.go.setEnabled(not joining and not over and way != "no_way_in")
        self.go.setVisible(not asking)
        mark(self.go, state="pending" if joining else "")
        self.cancel.setVisible(joining)
        if had and joining:  # the keyboard stays where one can act
            self.cancel.setFocus(Qt.FocusReason.TabFocusReason)
        elif cancelled and not joining and self.go.isEnabled():
            self.go.setFocus(Qt.FocusReason.TabFocusReason)
        self._foot.setContentsMargins(20, 8, 20, 20 if not asking else 8)

    def first_focus(self) -> QWidget | None:
        if self.state.link is not None and self.state.link.confirm:
            return self._no
        if self.state.phase == "joining":
            return self.cancel
        return self.name if self.state.account is None and not self.name.text().strip() else self.go

    def keep(self) -> dict[str, Any]:
        return {"name": self.name.text()}

    def restore(self, kept: dict[str, Any]) -> None:
        if not self.name.isReadOnly():
            self.name.setText(kept.get("name", ""))

    def let_go(self) -> None:
        self.preview.let_go()
        super().let_go()
