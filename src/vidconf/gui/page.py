"""What every page of the window is: drawn from a `ClientState`, asks for things through an Actions-like object. The window's thread.

A page is made from anything with `state` and `subscribe` (the store; a plain holder in tests) and is made anew when language or
theme change: what the user typed goes from the old one to the new by `keep` and `restore`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QWidget

from vidconf.client.state import ClientState


class StateSource(Protocol):
    """`client.store.Store`, or a stand-in."""

    @property
    def state(self) -> ClientState: ...

    def subscribe(self, listener: Callable[[ClientState, ClientState], None], /) -> Callable[[], None]: ...


class Page(QWidget):
    """Subclasses build themselves in `__init__` and follow the state in `show_state`."""

    now = staticmethod(time.time)
    """Unix seconds; a test or a picture may set it."""
    asked = Signal(str, object)
    """Something the window itself does (`settings`, `shortcuts`, `about`, `create`, …) with what it needs."""

    def __init__(self, store: StateSource, actions: Any, kind: str = "plain") -> None:
        super().__init__()
        self.store, self.do = store, actions
        self.setProperty("page", kind)
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._unsubscribe: Callable[[], None] | None = store.subscribe(self._on_state)

    @property
    def state(self) -> ClientState:
        return self.store.state

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if self._unsubscribe is not None:
            self.show_state(old, new)

    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        """Follow the state. `old` None: the first time, show everything."""

    def first_focus(self) -> QWidget | None:
        """Who gets the keyboard when the page appears."""
        return None

    def keep(self) -> dict[str, Any]:
        """What was typed or scrolled and is in no state."""
        return {}

    def restore(self, kept: dict[str, Any]) -> None:
        """Take over what `keep` of the page before gave."""

    def let_go(self) -> None:
        """Stop following; the page is about to be deleted. Harmless to call twice."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
