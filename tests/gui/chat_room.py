"""For the tests of the chat: its panel, in a host that follows the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gui import states
from gui.meeting_room import (
    change,
    quiet,
)
from gui.recording import RecordingActions, go_to
from PySide6.QtWidgets import QVBoxLayout, QWidget

from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.panels.chat import ChatPanel
from vidconf.gui.panels.chat_list import Said
from vidconf.gui.panels.chat_rows import MessageRow
from vidconf.gui.parts import pack
from vidconf.meeting.models import ChatMessage

WIDTH = 360


class Place:
    """A panel that follows the store."""

    def __init__(self, store: Store, actions: RecordingActions, show: Any, state: ClientState, height: int) -> None:
        go_to(store, state)
        self.store, self.actions = store, actions
        self.panel = ChatPanel(store, actions)
        self.host = QWidget()
        pack(QVBoxLayout(self.host), self.panel, gap=0)
        store.subscribe(self.panel.show_state)
        show(self.host, WIDTH, height)
        actions.forget()

    @property
    def text(self) -> Any:
        return self.panel.composer.text

    def messages(self) -> list[Said]:
        return [item.value for item in self.panel.list.items if item.kind == "said"]

    def lines(self) -> list[str]:
        return [item.value.text for item in self.panel.list.items if item.kind == "line"]

    def row(self, key: str) -> MessageRow:
        row = self.panel.list.row_of(("said", key))
        assert isinstance(row, MessageRow)
        return row

    def say(self, n: int, text: str = "", **fields: Any) -> None:
        """One more message."""
        assert self.store.state.meeting is not None
        message = ChatMessage(f"n{n}", states.NOW + n, "p3", "Lê Văn Cường", text or f"Tin số {n}", **fields)
        change(self.store, chat=(*self.store.state.meeting.chat, message))

    def many(self, count: int) -> None:
        said = tuple(ChatMessage(f"x{n}", states.NOW - count + n, f"p{n % 6 + 1}", f"Người {n % 6}", f"Tin {n}: " + "nội dung trao đổi " * (n % 9)) for n in range(count))
        change(self.store, chat=said)

    def chat_calls(self) -> list[dict[str, Any]]:
        return self.actions.named("chat")


Make = Callable[..., Place]


def maker(store: Store, actions: RecordingActions, show: Any) -> Make:
    """Makes a `Place` of a state, where none is given of a meeting as it goes on, and of a height."""

    def make(state: ClientState | None = None, height: int = 700) -> Place:
        return Place(store, actions, show, state if state is not None else states.in_meeting(meeting=quiet(), unsent_chat=(), unread_chat=0), height)

    return make
