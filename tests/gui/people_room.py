"""For the tests of the people panel: the panel between two buttons, in a host that follows the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gui import states
from gui.meeting_room import (
    open_menu,
)
from gui.recording import RecordingActions, go_to
from PySide6.QtWidgets import QMenu, QVBoxLayout, QWidget

from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.panels.people import PeoplePanel
from vidconf.gui.panels.person_menu import Hooks, PersonMenu
from vidconf.gui.parts import button, pack

WIDTH = 360


class Place:
    """A panel between two buttons, that follows the store; what it asks of the window is in `told`."""

    def __init__(self, store: Store, actions: RecordingActions, show: Any, state: ClientState, height: int) -> None:
        go_to(store, state)
        self.store, self.actions = store, actions
        self.told: list[tuple[str, Any]] = []
        self.pinned: str | None = None
        hooks = Hooks(lambda: self.pinned, lambda id_: self.told.append(("pin", id_)), lambda id_: self.told.append(("write", id_)), self.ask)
        self.panel = PeoplePanel(store, actions, PersonMenu(actions, hooks))
        self.before, self.after = button("before"), button("after")
        self.host = QWidget()
        pack(QVBoxLayout(self.host), self.before, (self.panel, 1), self.after, gap=0)
        store.subscribe(self.panel.show_state)
        show(self.host, WIDTH, height)
        actions.forget()

    def ask(self, id_: str, asking: Any) -> None:
        self.panel.ask_about(id_, asking)

    def row(self, *key: str) -> Any:
        row = self.panel.list.row_of(tuple(key) if len(key) > 1 else key[0])
        assert row is not None, key
        return row

    def headings(self) -> list[str]:
        return [item.value.text for item in self.panel.list.items if item.kind == "heading"]

    def keys(self, kind: str) -> list[str]:
        return [item.key[1] for item in self.panel.list.items if item.kind == kind]  # type: ignore[index]

    def names(self) -> list[str]:
        return [item.value.name for item in self.panel.list.items if item.kind == "present"]

    def menu(self, id_: str) -> QMenu:
        self.row("room", id_).more.click()
        return open_menu()


Make = Callable[..., Place]


def maker(store: Store, actions: RecordingActions, show: Any) -> Make:
    """Makes a `Place` of a state, where none is given of a meeting as it goes on, and of a height."""

    def make(state: ClientState | None = None, height: int = 1200) -> Place:
        return Place(store, actions, show, state if state is not None else states.in_meeting(), height)

    return make
