"""The end: why, and what one can do next. The window's thread."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.frame import frame_head
from vidconf.gui.page import Page, StateSource
from vidconf.gui.parts import Text, box, button, glyph, pack, row, rule, scroll, stack
from vidconf.gui.theme import T

_LOOK = {
    # reason: (icon, colour, may one try again)
    "left": ("checkmark_circle!", "good_text", "rejoin"),
    "meeting_ended": ("checkmark_circle!", "accent", ""),
    "denied": ("door!", "warn_text", "knock_again"),
    "removed": ("door!", "warn_text", "knock_again"),
    "banned": ("block", "danger_text", ""),
    "lobby_timeout": ("clock!", "warn_text", "knock_again"),
    "replaced": ("swap", "info_text", "rejoin"),
    "lost": ("network_off!", "danger_text", "rejoin"),
}


def sentences(reason: str, detail: dict[str, Any]) -> tuple[str, str, str]:
    """(title, what happened, what to do next)."""
    if reason.startswith("error:"):
        code = reason.partition(":")[2]
        return words.text("ended.error.title"), words.error(code, detail), words.help_for(code, detail)
    if not words.has(f"ended.{reason}.title"):
        return words.text("ended.error.title"), words.error(reason, detail), words.help_for(reason, detail)
    said = str(detail.get("reason") or "").strip()
    if reason == "denied" and said:
        return words.text("ended.denied.title"), words.text("ended.denied.reason", reason=said[:300]), ""
    return words.text(f"ended.{reason}.title"), words.text(f"ended.{reason}.text"), ""


class EndedPage(Page):
    def __init__(self, store: StateSource, actions: Any) -> None:
        super().__init__(store, actions)
        state = self.state
        reason = state.end_reason or "left"
        symbol, colour, again = _LOOK.get(reason, ("error!", "danger_text", "rejoin"))
        title, what, cure = sentences(reason, state.end_detail)
        self._again = button(words.text(f"ended.{again}"), "accent", "arrow_sync", do=self.do.join) if again and state.link else None
        self._home = button(words.text("ended.home"), "" if self._again else "accent", "home", do=self.do.back_home)
        head = Text(title, "title", wrap=True)
        said = Text(what, wrap=True)
        for one in (head, said):
            one.setAlignment(Qt.AlignmentFlag.AlignHCenter)
        lines: list[Any] = [row(None, glyph(symbol, T[colour], 44), None), 6, head, said]
        if cure:
            help_ = Text(cure, "muted", wrap=True)
            help_.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            lines.append(help_)
        meeting = state.link_meeting.title if state.link_meeting is not None else ""
        if meeting:
            name = Text(meeting, "small", wrap=True)
            name.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            lines.append(name)
        if reason.startswith("error:"):
            code = Text(self._code(state), "small", wrap=True)
            code.setAlignment(Qt.AlignmentFlag.AlignHCenter)
            lines.append(code)
        doing = [self._home, *([self._again] if self._again else [])]
        lines += [10, row(None, *doing, None, gap=10)]
        card = box(lines, gap=6, margins=(32, 28, 32, 28), width=520)
        pack(
            QVBoxLayout(self), frame_head(self, title, self.do.back_home), rule(),
            (scroll(stack(None, row(None, card, None), None, margins=(16, 16, 16, 16))), 1), gap=0,
        )  # fmt: skip

    @staticmethod
    def _code(state: ClientState) -> str:
        code, ref = state.end_reason.partition(":")[2][:60], str(state.end_detail.get("ref", ""))[:40]
        return words.text("common.code_ref", code=code, ref=ref) if ref else words.text("common.code", code=code)

    def first_focus(self) -> QWidget | None:
        return self._again or self._home
