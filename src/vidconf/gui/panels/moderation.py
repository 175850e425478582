"""The foot of the people panel: mute all, lock, and who may switch what on. The window's thread; moderators only see it."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, get_args

from PySide6.QtCore import QPoint
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import QHBoxLayout, QMenu, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.panels.person_menu import add_choice, add_menu, make_menu, popup
from vidconf.gui.parts import button, enter_presses, pack, set_button, set_tool, tool
from vidconf.meeting.models import Allowed
from vidconf.meeting.rights import is_moderator

What = Literal["microphone", "camera", "screen_share", "chat"]
_SYMBOLS: dict[What, str] = {"microphone": "mic", "camera": "video", "screen_share": "share_screen", "chat": "chat"}


def leads(state: ClientState) -> bool:
    """Whether the viewer is a moderator in the room."""
    return state.own is not None and is_moderator(state.own)


def mute_all(state: ClientState, actions: Any) -> None:
    """All but oneself and whoever was given the floor."""
    floor = state.meeting.floor if state.meeting is not None else None
    actions.mute_all([floor.participant] if floor is not None else [])


def fill_permissions(menu: QMenu, state: ClientState, actions: Any) -> None:
    """Who may switch microphone, camera, share on, and who may write."""
    if state.meeting is None:
        return
    for what, symbol in _SYMBOLS.items():
        inner = add_menu(menu, words.text(f"permission.{what}"), symbol)
        group = QActionGroup(inner)
        now = state.meeting.permissions.of(what)
        for allowed in get_args(Allowed):
            add_choice(inner, group, words.text(f"permission.{allowed}"), now == allowed, partial(actions.set_permission, what, allowed))


class ModerationFoot(QWidget):
    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.do = actions
        self._state = ClientState()
        self.mute = button("", "", do=self._on_mute)
        self.lock = button("", "", do=self._on_lock)
        self.more = tool("more_horizontal", tip=words.text("moderation.more"), do=self._on_more)
        pack(QHBoxLayout(self), (self.mute, 1), self.lock, self.more, gap=6, margins=(14, 8, 6, 10))
        enter_presses(self)

    def show_state(self, state: ClientState) -> None:
        self._state = state
        self.setVisible(leads(state))
        meeting = state.meeting
        if meeting is None:
            return
        speaker = meeting.participants.get(meeting.floor.participant) if meeting.floor is not None else None
        tip = words.text("moderation.mute_all.tip_floor", name=speaker.name) if speaker is not None else words.text("moderation.mute_all.tip")
        asked = ("mute_all", "") in state.pending
        set_button(self.mute, words.text("moderation.mute_all"), "mic_off", "pending" if asked else "", tip)
        locked = meeting.locked
        asked = ("lock", "") in state.pending or ("unlock", "") in state.pending
        set_button(
            self.lock, words.text("moderation.unlock" if locked else "moderation.lock"), "lock_open" if locked else "lock_closed",
            "pending" if asked else "", words.text("moderation.unlock.tip" if locked else "moderation.lock.tip"),
        )  # fmt: skip
        set_tool(self.more, "more_horizontal", "", "", words.text("moderation.more"))

    def _on_mute(self) -> None:
        mute_all(self._state, self.do)

    def _on_lock(self) -> None:
        if self._state.meeting is not None:
            self.do.lock(not self._state.meeting.locked)

    def _on_more(self) -> None:
        menu = make_menu(self, words.text("moderation.more"))
        fill_permissions(menu, self._state, self.do)
        popup(menu, self.more.mapToGlobal(QPoint(0, -4)), above=True)
