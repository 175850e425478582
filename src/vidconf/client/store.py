"""The client's one state and who watches it.

`Store.dispatch(change)` makes the next immutable `ClientState` by `reduction.reduce` and tells every listener
`(old, new)`; a change that changes nothing tells nobody. All on the loop's thread. A listener that dispatches is
answered after the change at hand: listeners always see states in order. What the state holds is `state.py`.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable

from vidconf.client.changes import Change
from vidconf.client.reduction import reduce
from vidconf.client.state import (
    AccountView,
    ChosenDevices,
    ClientState,
    JoinLink,
    LocalSource,
    MeetingPreview,
    Notice,
    PendingChat,
    Phase,
    Reaction,
    TrackView,
    UpcomingMeeting,
)

__all__ = [
    "AccountView",
    "ChosenDevices",
    "ClientState",
    "JoinLink",
    "LocalSource",
    "MeetingPreview",
    "Notice",
    "PendingChat",
    "Phase",
    "Reaction",
    "Store",
    "TrackView",
    "UpcomingMeeting",
]

log = logging.getLogger("vidconf.store")

Listener = Callable[[ClientState, ClientState], None]


class Store:
    """Holds the state. `counts` tells what went wrong in listeners, for the help desk."""

    def __init__(self, state: ClientState | None = None) -> None:
        self._state = state if state is not None else ClientState()
        self._listeners: list[Listener] = []
        self._queue: deque[Change] = deque()
        self._running = False
        self.counts: Counter[str] = Counter()

    @property
    def state(self) -> ClientState:
        return self._state

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(old, new)` after each change; returns how to stop it (harmless to call twice)."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def dispatch(self, change: Change) -> None:
        """Apply `change` and tell the listeners. A listener that raises is logged and counted; the others still hear."""
        self._queue.append(change)
        if self._running:
            return
        self._running = True
        try:
            while self._queue:
                old = self._state
                self._state = new = reduce(old, self._queue.popleft())
                if new is not old:
                    self._tell(old, new)
        finally:
            self._running = False

    def _tell(self, old: ClientState, new: ClientState) -> None:
        for listener in list(self._listeners):
            try:
                listener(old, new)
            except Exception:
                self.counts["listener_failed"] += 1
                log.exception("a listener of the client's state failed")
