"""What stands at the edge of the stage: what went wrong, that one is sharing, whose turn it is to speak, who knocks.

Bars push the stage down, they never lie over a picture; the toast of who knocks lies at its lower edge and can be put away. All of
them follow the state; what is theirs is only what was put away. The window's thread.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui import shortcuts
from vidconf.gui.own_sources import trouble
from vidconf.gui.painted import FloorClock
from vidconf.gui.panels.moderation import leads
from vidconf.gui.parts import Text, button, column, enter_presses, glyph, mark, pack, set_button, set_glyph, tool
from vidconf.gui.share_words import sharing_line, show_pause
from vidconf.gui.theme import T
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant

TICK_MS = 500
SLOW_MS = 1500
MORE_S = 60
"""What "one minute more" gives."""
SOURCES = ("microphone", "camera", "screen_share")


class ConnectionBar(QFrame):
    """While a wire is down: what is lost, what is kept. The program comes back by itself. The first connection is only spoken of
    when it takes long (`slow`: show the state again)."""

    slow = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("tone", "warn")
        self._sign = glyph("network_off!", T["warn_text"], 24)
        self._what, self._kept = Text("", "strong", wrap=True), Text("", "small", wrap=True)
        pack(QHBoxLayout(self), self._sign, (column(self._what, self._kept, gap=0), 1), gap=12, margins=(14, 6, 12, 6))
        self._slow = QTimer(self)
        self._slow.setSingleShot(True)
        self._slow.setInterval(SLOW_MS)
        self._slow.timeout.connect(self._on_slow)
        self._waited = False
        self.hide()

    def _on_slow(self) -> None:
        self._waited = True
        self.slow.emit()

    def show_state(self, state: ClientState) -> None:
        if state.control in ("reconnecting", "connecting"):
            which = "control"
        elif state.media in ("reconnecting", "closed"):
            which = "media"
        elif state.media in ("idle", "connecting"):
            which = "first"
        else:
            which = ""
        if which != "first":
            self._slow.stop()
            self._waited = False
        elif not self._waited:
            if not self._slow.isActive():
                self._slow.start()
            which = ""
        if not which:
            self.hide()
            return
        first = which == "first"
        mark(self, tone="info" if first else "warn")
        set_glyph(self._sign, "network" if first else "network_off!", T["info_text" if first else "warn_text"], 24)
        self._what.setText(words.text(f"bar.{which}"))
        microphone = state.sources.get("microphone", LocalSource())
        on = "on" in (microphone.state, microphone.wanted)
        self._kept.setText(words.text(f"bar.{which}.kept_on" if on else f"bar.{which}.kept_off") if not first else words.text("bar.first.kept"))
        self.setAccessibleName(f"{self._what.text()} {self._kept.text()}")
        self.show()


class SourceBar(QFrame):
    """A microphone, camera or page that did not open: what to do, once more, another device."""

    devices_wanted = Signal(str)

    def __init__(self, kind: str, again: Callable[[], object], put_away: Callable[[], object]) -> None:
        super().__init__()
        self.kind = kind
        self.setProperty("tone", "danger")
        self._what, self._cure = Text("", "strong", wrap=True), Text("", "small", wrap=True)
        symbol = {"microphone": "mic_off!", "camera": "video_off!", "screen_share": "share_screen_stop!"}[kind]
        self.again = button(words.text("common.retry" if kind != "screen_share" else "bar.another_page"), "", "arrow_sync", do=again)
        choose = button(words.text("bar.choose_device"), "quiet", do=lambda: self.devices_wanted.emit(kind))
        if kind == "screen_share":  # never shown before it stands in the bar: it would be a window of its own
            choose.hide()
        close = tool("dismiss", tip=words.text("notice.dismiss"), do=put_away)
        pack(
            QHBoxLayout(self), glyph(symbol, T["danger_text"], 24), (column(self._what, self._cure, gap=0), 1), choose, self.again, close,
            gap=10, margins=(14, 6, 6, 6),
        )  # fmt: skip
        enter_presses(self)
        self.hide()

    def show_trouble(self, wrong: tuple[str, str] | None, again: bool = True) -> None:
        """`again`: another try may help."""
        self.setVisible(wrong is not None)
        self.again.setVisible(again)
        if wrong is not None:
            self._what.setText(wrong[0])
            self._cure.setText(wrong[1])
            self._cure.setVisible(bool(wrong[1]))
            self.setAccessibleName(" ".join(wrong))


class SharingBar(QFrame):
    """What of one's own is seen by all, or was until it was paused."""

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.setProperty("tone", "accent")
        self.do, self._source = actions, LocalSource()
        self._text = mark(Text("", wrap=True), ink="accent")
        self.pause = button("", "", "pause", do=self.turn_pause)
        self.stop = button(words.text("toolbar.share.stop"), "", "share_screen_stop", do=actions.stop_share)
        self._sign = glyph("share_screen!", T["accent_text"])
        pack(QHBoxLayout(self), self._sign, (self._text, 1), self.pause, self.stop, gap=10, margins=(14, 4, 6, 4))
        enter_presses(self)
        self.hide()

    def show_state(self, state: ClientState) -> None:
        self._source = state.sources.get("screen_share", LocalSource())
        if self._source.state != "off":
            self._text.setText(sharing_line(state))
            show_pause(self.pause, self._source, shortcuts.shown("pause_share"))
            tone = "accent" if self._source.state == "on" else "warn"
            mark(self, tone=tone)
            mark(self._text, ink=tone)
            set_glyph(self._sign, "share_screen!", T[f"{tone}_text"])
        self.setVisible(self._source.state != "off")

    def turn_pause(self) -> None:
        """Pause, or resume; while nothing is shared there is nothing to do."""
        if self._source.state != "off":
            self.do.pause_share(self._source.wanted == "on")


class FloorBar(QFrame):
    """Whose turn it is, how long still. `now`: our clock, Unix seconds."""

    def __init__(self, actions: Any, now: Callable[[], float]) -> None:
        super().__init__()
        self.do, self._now = actions, now
        self._state = ClientState()
        self.setProperty("page", "stage")
        self.clock = FloorClock()
        self.time = Text("", "stage_title")
        self._word = Text("", "stage")
        self._name, self._about = Text("", "stage_name", elide=True), Text("", "stage", unit=True)
        self.more = button(words.text("floor.more"), "", "add", do=self._on_more)
        self.end = button(words.text("floor.end"), "", "stop", do=actions.end_floor)
        pack(
            QHBoxLayout(self), self.clock, self.time, self._word, 8, (column(self._name, self._about, gap=0), 1), self.more, self.end,
            gap=8, margins=(14, 5, 8, 3),
        )  # fmt: skip
        enter_presses(self)
        self._tick = QTimer(self)
        self._tick.timeout.connect(self._show_time)
        self.hide()

    def show_state(self, state: ClientState) -> None:
        self._state = state
        floor = state.meeting.floor if state.meeting is not None else None
        speaker = state.meeting.participants.get(floor.participant) if state.meeting is not None and floor is not None else None
        if floor is None or speaker is None:
            self._tick.stop()
            self.hide()
            return
        mine = floor.participant == state.me
        self._name.setText(words.text("floor.mine") if mine else speaker.name)
        self._about.set_unit("" if mine else speaker.position, "" if mine else speaker.unit)
        self._about.setVisible(bool(self._about.text()))
        self.end.setVisible(self.do.can(m.EndFloor()) is None)
        set_button(self.end, words.text("floor.end"), "stop", "pending" if ("end_floor", "") in state.pending else "")
        self.more.setVisible(floor.until is not None and leads(state))
        set_button(self.more, words.text("floor.more"), "add", "pending" if ("give_floor", floor.participant) in state.pending else "")
        self.setAccessibleName(words.text("floor.mine") if mine else words.text("floor.of", name=speaker.name))
        self._show_time()
        self._tick.start(TICK_MS)
        self.show()

    def _server_now(self) -> float:
        return self._now() + self._state.clock_offset_s

    def _show_time(self) -> None:
        floor = self._state.meeting.floor if self._state.meeting is not None else None
        if floor is None:
            return
        now = self._server_now()
        if floor.until is None:
            self.time.setText(_figures(max(0.0, now - floor.given_at)))
            self._word.setText(words.text("floor.spoken"))
            self.clock.show_time(1.0, False)
            over = False
        else:
            left, over = floor.until - now, now > floor.until
            self.time.setText(_figures(abs(left) + (0 if over else 0.999)))
            self._word.setText(words.text("floor.over" if over else "floor.left"))
            self.clock.show_time(left / max(1.0, floor.until - floor.given_at), over)
        for text in (self.time, self._word):
            mark(text, over="true" if over else "")

    def _on_more(self) -> None:
        """A minute more than what is left; after the end a minute from now."""
        floor = self._state.meeting.floor if self._state.meeting is not None else None
        if floor is not None and floor.until is not None:
            self.do.give_floor(floor.participant, round(max(0.0, floor.until - self._server_now())) + MORE_S)

    def let_go(self) -> None:
        self._tick.stop()


def _figures(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02}:{rest:02}"


class Bars(QWidget):
    """All of them, in order, above the stage."""

    devices_wanted = Signal(str)
    share_wanted = Signal()

    def __init__(self, actions: Any, now: Callable[[], float]) -> None:
        super().__init__()
        self.do = actions
        self._state = ClientState()
        self._put_away: dict[str, tuple[str, str]] = {}
        self.setProperty("page", "stage")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.connection = ConnectionBar()
        self.sources = {kind: SourceBar(kind, partial(self._again, kind), partial(self._away, kind)) for kind in SOURCES}
        self.sharing = SharingBar(actions)
        self.floor = FloorBar(actions, now)
        self.connection.slow.connect(lambda: self.show_state(None, self._state))
        for made in self.sources.values():
            made.devices_wanted.connect(self.devices_wanted.emit)
        self._framed = [self.connection, *self.sources.values(), self.sharing]
        self._column = pack(QVBoxLayout(self), *self._framed, self.floor, gap=6)

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        self._state = new
        if old is None or (old.control, old.media, old.share, _sources(old)) != (new.control, new.media, new.share, _sources(new)):
            self.connection.show_state(new)
            self.sharing.show_state(new)
            self._show_sources(new)
        if old is None or old.meeting is not new.meeting or old.me != new.me or old.pending != new.pending:
            self.floor.show_state(new)
        self._fit()

    def _show_sources(self, state: ClientState) -> None:
        for kind, bar in self.sources.items():
            source = state.sources.get(kind, LocalSource())
            wrong = trouble(kind, source)
            if wrong is None:
                self._put_away.pop(kind, None)
            elif self._put_away.get(kind) == (source.error, source.device):
                wrong = None
            bar.show_trouble(wrong, again=bool(source.error))

    def _fit(self) -> None:
        """Margins only while a framed bar is shown."""
        framed = any(not bar.isHidden() for bar in self._framed)
        self._column.setContentsMargins(*((8, 8, 8, 0) if framed else (0, 0, 0, 0)))
        self.setVisible(framed or not self.floor.isHidden())

    def _again(self, kind: str) -> None:
        match kind:
            case "microphone":
                self.do.set_microphone(True)
            case "camera":
                self.do.set_camera(True)
            case "screen_share":
                self.share_wanted.emit()

    def _away(self, kind: str) -> None:
        source = self._state.sources.get(kind, LocalSource())
        self._put_away[kind] = (source.error, source.device)
        self._show_sources(self._state)
        self._fit()

    def let_go(self) -> None:
        self.floor.let_go()


def _sources(state: ClientState) -> list[tuple[str, str, str, str, frozenset[str], bool]]:
    return [(source.state, source.wanted, source.error, source.device, source.hints, source.waits) for source in state.sources.values()]


class KnockToast(QFrame):
    """Who knocks while the people panel is closed, with "admit" right there; several are one toast. Put away, it comes again with
    the next who knocks."""

    look = Signal()
    """Show me the lobby."""

    def __init__(self, page: QWidget, actions: Any) -> None:
        super().__init__(page)
        self.do = actions
        self._waiting: list[Participant] = []
        self._seen: set[str] = set()
        self.setProperty("card", "true")
        self._sign = glyph("door!", T["accent"], 24)
        self._name, self._about = Text("", "strong", elide=True), Text("", "small", unit=True)
        self.admit = button("", "accent", do=self._on_admit)
        self._look = button(words.text("knock.look"), "", do=self.look.emit)
        close = tool("dismiss", tip=words.text("notice.dismiss"), do=self.put_away)
        pack(
            QHBoxLayout(self), self._sign, (column(self._name, self._about, gap=0), 1), self._look, self.admit, close,
            gap=8, margins=(12, 6, 4, 6),
        )  # fmt: skip
        enter_presses(self)
        self.hide()

    def show_state(self, state: ClientState, panel_open: bool) -> None:
        """`panel_open`: the lobby is in sight, there is nothing to tell."""
        waiting = list(state.meeting.knocking()) if state.meeting is not None and leads(state) else []
        self._seen &= {p.id for p in waiting}
        if panel_open:
            self._seen |= {p.id for p in waiting}
        self._waiting = waiting
        if all(p.id in self._seen for p in waiting):
            self.hide()
            return
        first = waiting[0]
        several = len(waiting) > 1
        self._name.setText(words.text("knock.several", count=len(waiting)) if several else words.text("knock.one", name=first.name))
        about = ", ".join(p.name for p in waiting[:3]) + (words.text("knock.and_more", count=len(waiting) - 3) if len(waiting) > 3 else "")
        self._about.unit = not several
        if several or not (first.position or first.unit):
            self._about.setText(about if several else words.text("people.guest"))
        else:
            self._about.set_unit(first.position, first.unit)
        will = [p for p in waiting if not p.removed_before]
        suspect = any(p.removed_before or p.looks_like is not None for p in waiting)
        # Whoever wants a second look is let in from the list, where the warning stands.
        self.admit.setVisible(bool(will) and not suspect)
        asked = all(("admit", p.id) in state.pending for p in waiting) or ("admit_all", "") in state.pending
        text = "people.admitting" if asked else "people.admit_both" if len(waiting) == 2 else "people.admit_all" if several else "people.admit"
        set_button(self.admit, words.text(text), state="pending" if asked else "", name=f"{words.text(text)}: {about if several else first.name}")
        self.setAccessibleName(f"{self._name.text()}. {self._about.text()}")
        self.show()
        self.raise_()

    def put_away(self) -> None:
        self._seen |= {p.id for p in self._waiting}
        self.hide()

    def _on_admit(self) -> None:
        if self.admit.property("state") == "pending":
            return
        if len(self._waiting) > 2:
            self.do.admit_all()
        else:
            self.do.admit([p.id for p in self._waiting])

