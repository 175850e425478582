"""The client's actions as a page sees them, remembered instead of done; and a store put into a given state. For all GUI tests."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from vidconf.client.actions import Actions
from vidconf.client.changes import Set
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.meeting import messages as m


@dataclass(slots=True)
class Call:
    """One action asked for: its name, and every argument by name, defaults included."""

    name: str
    given: dict[str, Any] = field(default_factory=dict)


class RecordingActions:
    """Remembers each call after checking it against the real signature: a name or an argument that `Actions` does not have fails at
    once. `can` answers by the real rules, on the store's state."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls: list[Call] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        signature = inspect.signature(getattr(Actions, name))

        def remember(*args: Any, **kwargs: Any) -> None:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            given = dict(bound.arguments)
            del given["self"]
            self.calls.append(Call(name, given))

        return remember

    def can(self, command: m.Command) -> m.Refusal | None:
        return Actions.can(self, command)  # type: ignore[arg-type]

    def names(self) -> list[str]:
        """Of all calls, but for `watch`, which is about pixels."""
        return [call.name for call in self.calls if call.name != "watch"]

    def named(self, name: str) -> list[dict[str, Any]]:
        """What each call of `name` was given."""
        return [call.given for call in self.calls if call.name == name]

    def forget(self) -> None:
        self.calls.clear()


def go_to(store: Store, state: ClientState) -> None:
    """Make `state` the store's whole state; listeners are told once."""
    now = store.state
    store.dispatch(Set({one.name: getattr(state, one.name) for one in fields(state) if getattr(state, one.name) is not getattr(now, one.name)}))
