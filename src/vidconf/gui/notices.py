"""What the program has to tell, as toasts at the upper edge of the window: who muted this microphone, why a rule said no.

The window's thread. Never a dialog over the picture; at most three at once, the newest on top. Information goes by itself,
what failed stays until it is read.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QFrame, QSizePolicy, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState, Notice
from vidconf.gui.page import StateSource
from vidconf.gui.parts import Text, box, button, column, glyph, pack, row, tool
from vidconf.gui.theme import T

SHOWN = 3
WIDTH = 520
TOP = 56
"""Below the bar of every page."""
GOES_AFTER_MS = {"info": 6000, "warn": 12000}
_LOOK = {"info": ("info", "info!"), "warn": ("warn", "warning!"), "error": ("danger", "error!")}


def sentences(notice: Notice) -> tuple[str, str]:
    """(what happened, what to do) of a notice; the second may be ""."""
    detail = dict(notice.detail)
    if not detail.get("name"):
        detail["name"] = words.text("notice.moderator")
    for gap, nameless in (("device", "device.nameless_chosen"), ("stand_in", "device.nameless_default")):
        if detail.get(gap) == "":
            detail[gap] = words.text(nameless)
    if isinstance(detail.get("role"), str) and words.has(f"role.{detail['role']}"):
        detail["role"] = words.text(f"role.{detail['role']}")
    if notice.family == "refusal":
        return words.refusal(notice.code, detail), ""
    if notice.family == "error":
        return words.error(notice.code, detail), words.help_for(notice.code, detail)
    key = f"notice.{notice.code}"
    if not words.has(key):
        return words.text("notice.unknown", code=notice.code[:60]), ""
    return words.text(key, **words.filling(detail)), words.text(f"{key}.help") if words.has(f"{key}.help") else ""


class Notices(QWidget):
    """An overlay of the window as large as what it shows; `place` keeps it at the upper edge."""

    def __init__(self, window: QWidget, store: StateSource, actions: Any) -> None:
        super().__init__(window)
        self.store, self.do = store, actions
        self._toasts: dict[int, QFrame] = {}
        self._prompt: QFrame | None = None
        self._hint: QFrame | None = None
        self._put_away = False
        """The hint was, and stays away until the next."""
        self._column = pack(QVBoxLayout(self), gap=8)
        self._told: list[str] = []
        self._unsubscribe = store.subscribe(self._on_state)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()
        self._on_state(None, store.state)

    def let_go(self) -> None:
        self._unsubscribe()

    def _on_state(self, old: ClientState | None, new: ClientState) -> None:
        if old is not None and old.notices is new.notices and old.unmute_asked == new.unmute_asked and _speaks_muted(old) == _speaks_muted(new):
            return
        # The prompt to unmute is asked for as a button of its own, below.
        wanted = [n for n in new.notices if n.code != "unmute_asked"][-SHOWN:]
        keep = {notice.id for notice in wanted}
        for id_ in [id_ for id_ in self._toasts if id_ not in keep]:
            self._let_toast_go(self._toasts.pop(id_))
        for notice in wanted:
            if notice.id not in self._toasts:
                toast = self._make(notice)
                self._toasts[notice.id] = toast
                self._column.insertWidget(0, toast)
                toast.show()  # or it has no height yet, and `place` gives it none
        self._show_prompt(new)
        self._show_hint(_speaks_muted(new))
        self.place()

    def _make(self, notice: Notice) -> QFrame:
        tone, symbol = _LOOK[notice.level]
        what, cure = sentences(notice)
        lines = [Text(what, "strong" if cure else "", wrap=True)] + ([Text(cure, wrap=True)] if cure else [])
        id_ = notice.id
        gone = tool("dismiss", tip=words.text("notice.dismiss"), do=lambda: self.do.dismiss(id_))
        toast = box(
            [glyph(symbol, T[f"{tone}_text"]), (column(*lines, gap=2), 1), gone], tone, vertical=False, gap=12, margins=(14, 6, 6, 6)
        )
        toast.setAccessibleName(f"{what} {cure}")
        if notice.level in GOES_AFTER_MS:
            timer = QTimer(toast)
            timer.setSingleShot(True)
            timer.timeout.connect(lambda: self.do.dismiss(id_))
            timer.start(GOES_AFTER_MS[notice.level])
        return toast

    def _show_prompt(self, state: ClientState) -> None:
        if state.unmute_asked and self._prompt is None:
            asked = next((n for n in reversed(state.notices) if n.code == "unmute_asked"), None)
            what = sentences(asked or Notice(0, "info", "unmute_asked"))[0]
            yes = button(words.text("notice.unmute_asked.yes"), "accent", "mic!", do=lambda: self.do.answer_unmute(True))
            no = button(words.text("notice.unmute_asked.no"), do=lambda: self.do.answer_unmute(False))
            line = row(glyph("mic!", T["warn_text"], 24), (Text(what, "strong", wrap=True), 1), no, yes, gap=10)
            self._prompt = box([line], "warn", margins=(14, 8, 10, 8))
            self._prompt.setAccessibleName(what)
            self._column.insertWidget(0, self._prompt)
            self._prompt.show()
        elif not state.unmute_asked and self._prompt is not None:
            self._let_toast_go(self._prompt)
            self._prompt = None

    def _show_hint(self, shown: bool) -> None:
        """One speaks, and nobody hears it."""
        self._put_away = self._put_away and shown
        if shown and not self._put_away and self._hint is None:
            what = words.text("notice.speaking_muted")
            on = button(words.text("notice.unmute_asked.yes"), "accent", "mic!", do=lambda: self.do.set_microphone(True))
            gone = tool("dismiss", tip=words.text("notice.dismiss"), do=self._put_hint_away)
            line = row(glyph("mic_off!", T["info_text"], 24), (Text(what, "strong", wrap=True), 1), on, gone, gap=10)
            self._hint = box([line], "info", margins=(14, 6, 6, 6))
            self._hint.setAccessibleName(what)
            self._column.insertWidget(0, self._hint)
            self._hint.show()
        elif not shown or self._put_away:
            self._let_hint_go()

    def _put_hint_away(self) -> None:
        self._put_away = True
        self._let_hint_go()
        self.place()

    def _let_hint_go(self) -> None:
        if self._hint is not None:
            self._let_toast_go(self._hint)
            self._hint = None

    def _let_toast_go(self, toast: QFrame) -> None:
        self._column.removeWidget(toast)
        toast.hide()
        toast.deleteLater()

    def place(self) -> None:
        """At the upper edge, in the middle; again when the window's size changes."""
        window = self.parentWidget()
        if window is None or not (self._toasts or self._prompt or self._hint):
            self.hide()
            return
        width = min(WIDTH, window.width() - 32)
        height = self._column.heightForWidth(width) if self._column.hasHeightForWidth() else self._column.sizeHint().height()
        self.setGeometry((window.width() - width) // 2, TOP, width, height)
        self.show()
        self.raise_()


def _speaks_muted(state: ClientState) -> bool:
    """In the room, muted, and speaking; while a moderator asks to unmute, that is the prompt."""
    return state.phase == "meeting" and not state.unmute_asked and "speaking_muted" in state.sources["microphone"].hints
