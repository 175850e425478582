"""The lobby: what happened, what happens next, since when. The window's thread."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui import shortcuts
from vidconf.gui.frame import Half, Halves, frame_head
from vidconf.gui.own_sources import OwnButtons
from vidconf.gui.page import Page, StateSource
from vidconf.gui.parts import Text, box, button, column, glyph, pack, row, rule, scroll, stack
from vidconf.gui.preview import TRACK, Preview
from vidconf.gui.theme import T

TICK_MS = 1000
LONG_S = 180
"""After this long the page says whom to call."""


class LobbyPage(Page):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(store, actions)
        head = frame_head(self, words.text("lobby.title"), lambda: self.asked.emit("leave", None))
        halves = Halves(self._left(), self._right())
        pack(QVBoxLayout(self), head, rule(), (halves, 1), gap=0)
        self._clock = QTimer(self)
        self._clock.timeout.connect(lambda: self._show_wait(self.state))
        self._clock.start(TICK_MS)
        self.show_state(None, self.state)

    def _left(self) -> QWidget:
        self.preview = Preview(self.do, most_width=560)
        self.buttons = OwnButtons(self.do, {"microphone": shortcuts.shown("microphone"), "camera": shortcuts.shown("camera")})
        keys = row(self.buttons.microphone, self.buttons.camera, None, gap=10)
        unseen = row(glyph("eye_off", T["muted"]), (Text(words.text("lobby.unseen"), "small", wrap=True), 1), gap=8)
        return Half(self.preview, keys, unseen)

    def _right(self) -> QWidget:
        self._title = Text("", "title", wrap=True)
        self._about = Text("", "muted", wrap=True)
        self._told = Text("", "strong", wrap=True)
        self._waiting = Text(words.text("lobby.waiting"), "title", wrap=True)
        self._since = Text("", "muted", wrap=True)
        self.leave = button(words.text("lobby.leave"), "", "sign_out", do=lambda: self.asked.emit("leave", None))
        state = box(
            [
                row(glyph("checkmark_circle!", T["good_text"], 24), (self._told, 1), gap=12),
                row(column(glyph("clock!", T["accent"], 24), None), (column(self._waiting, self._since, gap=2), 1), gap=12),
                row(self.leave, None),
            ],
            gap=14, margins=(20, 16, 20, 16),
        )  # fmt: skip
        self._hint_text = Text("", wrap=True)
        self._hint = box([glyph("info", T["info_text"]), (self._hint_text, 1)], "info", vertical=False, gap=10, margins=(12, 10, 12, 10))
        self._lost = box(
            [glyph("network_off!", T["warn_text"]), (Text(words.text("lobby.reconnecting"), wrap=True), 1)], "warn",
            vertical=False, gap=10, margins=(12, 10, 12, 10),
        )  # fmt: skip
        inner = stack(None, self._title, self._about, 6, self._lost, state, self._hint, None, gap=10, margins=(0, 12, 12, 12))
        area = scroll(inner)
        area.setMinimumWidth(340)
        area.setMaximumWidth(620)
        return area

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        meeting = new.link_meeting
        title = (new.meeting.title if new.meeting is not None else "") or (meeting.title if meeting is not None else "")
        self._title.setText(title or words.text("prejoin.no_title", code=new.link.code if new.link else ""))
        start = meeting.start if meeting is not None else None
        parts = []
        if start is not None:
            ends = f" – {words.clock(start + meeting.duration_s)}" if meeting is not None and meeting.duration_s else ""
            parts.append(words.clock(start) + ends)
        live = (new.meeting.state if new.meeting is not None else "") == "live" or (meeting is not None and meeting.state == "live")
        parts.append(words.text("prejoin.state.live" if live else "prejoin.state.scheduled"))
        self._about.setText(" · ".join(parts))
        if new.lobby_since is not None:
            self._told.setText(words.text("lobby.told", time=words.clock(new.lobby_since)))
        self._show_wait(new)
        if old is None or old.sources is not new.sources or old.name != new.name:
            microphone, camera = new.sources["microphone"], new.sources["camera"]
            self.buttons.show(new.sources)
            self.preview.show_sources(microphone, camera)
            opening = camera.pending and camera.wanted == "on"
            status = "" if camera.state == "on" else words.text("prejoin.camera_opening" if opening else "prejoin.camera_off")
            self.preview.show_person(self._own_name(new), self._own_line(new), status)
        self.preview.show_track(new.tracks.get(TRACK))
        self._lost.setVisible(new.reconnecting)

    @staticmethod
    def _own_name(state: ClientState) -> str:
        return state.own.name if state.own is not None else state.name.strip()

    @staticmethod
    def _own_line(state: ClientState) -> str:
        own = state.own
        return ", ".join(filter(None, (own.position, own.unit))) if own is not None else ""

    def _show_wait(self, state: ClientState) -> None:
        waited = max(0.0, self.now() + state.clock_offset_s - (state.lobby_since or self.now()))
        self._since.setText(words.text("lobby.since", time=words.waited(waited)))
        long = waited >= LONG_S
        self._hint_text.setText(words.text("lobby.long") if long else words.text("lobby.short", name=self._own_name(state)))

    def first_focus(self) -> QWidget | None:
        return self.buttons.microphone

    def let_go(self) -> None:
        self.preview.let_go()
        super().let_go()
