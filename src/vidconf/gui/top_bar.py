"""The bar at the head of the meeting: what it is called, the network, the time, the view, what one may want to know of it.

The window's thread. In a narrow window the network keeps its sign, the view its sign; the title gives up its end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import QPoint, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QActionGroup, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QWidget

from vidconf import words
from vidconf.client.links import shown_host
from vidconf.client.state import ClientState
from vidconf.gui import shortcuts
from vidconf.gui.icons import icon
from vidconf.gui.panels.person_menu import add_choice, make_menu, popup
from vidconf.gui.parts import Text, button, cell, enter_presses, glyph, pack, row, rule, set_glyph, set_tool, tool
from vidconf.gui.popover import Popover
from vidconf.gui.theme import T

HEIGHT = 44
WIDE, MIDDLE = 900, 720
TICK_MS = 1000
MODES = {"grid": "grid", "speaker": "speaker_view", "share": "share_screen"}
_NETWORK = {
    "good": ("network", "good_text"), "fair": ("network_fair", "good_text"), "weak": ("network_poor!", "warn_text"),
    "lost": ("network_off!", "danger_text"), "connecting": ("network_poor", "muted"),
}  # fmt: skip


def network(state: ClientState) -> str:
    """good, fair, weak, lost or connecting: one's own way to the meeting."""
    if state.reconnecting or state.control == "reconnecting" or state.media in ("reconnecting", "closed"):
        return "lost"
    if state.media in ("idle", "connecting"):
        return "connecting"
    return {"poor": "weak", "lost": "lost", "good": "fair"}.get(state.quality.get(state.me or "", "excellent"), "good")


class TopBar(QFrame):
    """`view_chosen(mode)`, `self_view_chosen(on)`, `unpin`; `asked`: `full_screen`, `information`."""

    view_chosen = Signal(str)
    self_view_chosen = Signal(bool)
    unpin = Signal()
    asked = Signal(str)

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__()
        self._now = now
        self._state = ClientState()
        self._mode, self._sharing, self._self_view, self._pinned = "grid", False, True, False
        self.setProperty("bar", "true")
        self.setAccessibleName(words.text("top.name"))
        self.setFixedHeight(HEIGHT)
        self._lock = glyph("shield", T["good_text"])
        self._title = Text("", "strong", elide=True)
        self._network = glyph("network", T["good_text"])
        self._network_word = Text("", "small")
        self._clock = Text("", "strong")
        self.view = button("", "quiet", do=self._on_view)
        self.information = tool("info", tip=words.text("top.information"), do=lambda: self.asked.emit("information"))
        self.full_screen = tool("full_screen", do=lambda: self.asked.emit("full_screen"))
        pack(
            QHBoxLayout(self), self._lock, (self._title, 1), self._network, self._network_word, 4, self._clock, self.view, self.information,
            self.full_screen, gap=8, margins=(14, 0, 8, 0),
        )  # fmt: skip
        enter_presses(self)
        self._tick = QTimer(self)
        self._tick.timeout.connect(self._show_time)
        self._tick.start(TICK_MS)
        self._clock.setMinimumWidth(self._clock.fontMetrics().horizontalAdvance("00:00:00") + 6)
        self.show_full_screen(False)
        self.show_view("grid", sharing=False)

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        self._state = new
        if old is None or old.meeting is not new.meeting:
            self._show_meeting(new)
        if old is None or (old.reconnecting, old.control, old.media, old.quality, old.me) != (new.reconnecting, new.control, new.media, new.quality, new.me):
            self._show_network(new)
        self._show_time()

    def _show_meeting(self, state: ClientState) -> None:
        meeting = state.meeting
        if meeting is None:
            return
        self._title.setText(meeting.title or words.text("prejoin.no_title", code=meeting.code))
        locked = meeting.locked
        tip = words.text("top.locked" if locked else "top.open")
        if self._lock.toolTip() != tip:
            set_glyph(self._lock, "lock_closed!" if locked else "shield", T["warn_text" if locked else "good_text"])
            self._lock.setToolTip(tip)
            self._lock.setAccessibleName(tip)

    def _show_network(self, state: ClientState) -> None:
        how = network(state)
        symbol, ink = _NETWORK[how]
        set_glyph(self._network, symbol, T[ink])
        said = words.text(f"top.network.{how}")
        self._network_word.setText(said)
        self._network.setToolTip(words.text(f"top.network.{how}.tip"))
        self._network.setAccessibleName(said)
        self._fit()

    def _show_time(self) -> None:
        meeting = self._state.meeting
        if meeting is None:
            return
        if meeting.started_at is None:
            self._clock.setText(words.text("top.not_started"))
        else:
            self._clock.setText(words.elapsed(self._now() + self._state.clock_offset_s - meeting.started_at))
        self._clock.setToolTip(words.text("top.elapsed"))

    def show_view(self, mode: str, *, sharing: bool, self_view: bool = True, pinned: bool = False) -> None:
        """What the stage shows, and what it could show."""
        self._mode, self._sharing, self._self_view, self._pinned = mode, sharing, self_view, pinned
        said = words.text(f"view.{mode}")
        self.view.setIcon(icon(MODES.get(mode, "grid"), T["accent_text"]))
        self.view.setIconSize(QSize(20, 20))
        self.view.setToolTip(words.text("view.tip", key=shortcuts.shown("view")))
        self.view.setAccessibleName(words.text("view.name", mode=said))
        self._fit()

    def show_full_screen(self, full: bool) -> None:
        tip = words.text("top.full_screen.leave" if full else "top.full_screen", key=shortcuts.shown("full_screen"))
        set_tool(self.full_screen, "full_screen_exit" if full else "full_screen", "", "", tip)

    # ---- the view
    def next_mode(self) -> str:
        """For the key: the next view in turn."""
        turn = [*(["share"] if self._sharing else []), "grid", "speaker"]
        return turn[(turn.index(self._mode) + 1) % len(turn)] if self._mode in turn else "grid"

    def _on_view(self) -> None:
        menu = make_menu(self, words.text("view.tip", key=""))
        group = QActionGroup(menu)
        for mode in [*(["share"] if self._sharing else []), "grid", "speaker"]:
            add_choice(menu, group, words.text(f"view.{mode}"), mode == self._mode, partial(self.view_chosen.emit, mode))
        menu.addSeparator()
        own = menu.addAction(words.text("view.self_view"))
        own.setCheckable(True)
        own.setChecked(self._self_view)
        own.toggled.connect(self.self_view_chosen.emit)
        if self._pinned:
            menu.addAction(words.text("people.unpin")).triggered.connect(lambda *_: self.unpin.emit())
        popup(menu, self.view.mapToGlobal(QPoint(0, self.view.height() + 2)))

    # ---- room
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        # What is not well is said in words at any width.
        wide, well = self.width() >= WIDE, network(self._state) in ("good", "fair")
        self._network_word.setVisible(wide or not well)
        text = words.text(f"view.{self._mode}") if self.width() >= MIDDLE else ""
        if self.view.text() != text:
            self.view.setText(text)

    def minimumSizeHint(self) -> QSize:
        return QSize(320, HEIGHT)

    def first_focus(self) -> QWidget:
        return self.view

    def let_go(self) -> None:
        self._tick.stop()


def link_of(state: ClientState) -> str:
    """What to send to who shall join; "" before any is known."""
    return f"{state.link.origin}/m/{state.link.code}" if state.link is not None else ""


class Information(Popover):
    """What the meeting is, its link to copy, how many are in it."""

    def __init__(self, page: QWidget, copy: Callable[[str], Any]) -> None:
        super().__init__(page, words.text("information.title"), 380)
        self._copy = copy
        self._link = ""
        self._title = Text("", "strong", wrap=True)
        self._about, self._people = Text("", "small", wrap=True), Text("", "", wrap=True)
        self._code = Text("", "code")
        self._code.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._shown_link = Text("", "small", elide=True)
        self.copy = button(words.text("information.copy"), "accent", "copy", do=lambda: self._copy(self._link))
        margins = (0, 0, 8, 0)
        self.body.addLayout(row((self._title, 1), margins=margins))
        self.body.addLayout(row((self._about, 1), margins=margins))
        self.body.addLayout(row(glyph("people", T["muted"]), (self._people, 1), gap=8, margins=margins))
        self.body.addWidget(rule())
        self.body.addLayout(row(Text(words.text("information.code"), "small"), self._code, None, margins=margins))
        self._link_row = cell(glyph("link", T["muted"]), (self._shown_link, 1), gap=8, margins=(0, 0, 8, 0))
        self.body.addWidget(self._link_row)
        self.body.addLayout(row(self.copy, None, margins=margins))

    def first_focus(self) -> QWidget | None:
        return self.copy if self.copy.isVisibleTo(self) else super().first_focus()

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        meeting = new.meeting
        if meeting is None or (old is not None and old.meeting is meeting and old.link is new.link):
            return
        self._title.setText(meeting.title or words.text("prejoin.no_title", code=meeting.code))
        self._code.setText(meeting.code)
        self._link = link_of(new)
        self._shown_link.setText(self._link.removeprefix("https://"))
        self._link_row.setVisible(bool(self._link))
        self.copy.setVisible(bool(self._link))
        about = [words.text("information.started", time=words.clock(meeting.started_at))] if meeting.started_at is not None else []
        about += [words.text("home.server", server=shown_host(new.link.origin))] if new.link is not None else []
        about.append(words.text("top.locked" if meeting.locked else "information.lobby" if meeting.lobby else "information.open"))
        self._about.setText(" · ".join(about))
        here = list(meeting.admitted())
        sites = sum(1 for p in here if p.kind == "site")
        self._people.setText(words.text("information.people_sites" if sites else "information.people", count=len(here), sites=sites))
        self.place()
