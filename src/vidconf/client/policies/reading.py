"""What a machine's policies say, whichever system they are kept in. The readers' thread; nothing here is shared between threads.

A reader (`files`, `registry`, `preferences`) takes what it finds through `Policies`, which keeps what the table
of settings knows and lists the rest as problems: what is ignored is never silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

from vidconf.client.settings_table import BY_POLICY, Setting, SettingError, checked

UNREAD = ("unreadable", "malformed", "too_large")
"""Codes of a whole file or key of which nothing is known."""


class Held(NamedTuple):
    """A policy's value in the setting's form, and the file or key it stands in."""

    value: Any
    origin: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something ignored. `origin`: the file or key. `code`: unreadable, malformed, too_large, unsafe_owner, unsafe_folder,
    unknown_name, bad_value, twice (a later file says it too), repeated (in one file)."""

    origin: str
    code: str
    name: str = ""


@dataclass(slots=True)
class Policies:
    """One reading. By the setting's key: `managed` holds, `recommended` stands until the user chooses. `found`: every file or key
    that was there, in the order read."""

    managed: dict[str, Held] = field(default_factory=dict)
    recommended: dict[str, Held] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    found: list[str] = field(default_factory=list)

    def ignore(self, origin: str, code: str, name: str = "") -> None:
        self.problems.append(Problem(origin, code, name))

    def value(self, setting: Setting, value: Any, origin: str) -> Held | None:
        """What is kept of `value`; None, and a problem, where it is none of the setting's."""
        try:
            return Held(checked(setting, value), origin)
        except SettingError:
            self.ignore(origin, "bad_value", setting.policy)
            return None

    def hold_on(self, before: Policies) -> None:
        """What stood in files and keys that cannot be read now, but could `before`, goes on counting: somebody may just be writing them."""
        broken = {problem.origin for problem in self.problems if problem.code in UNREAD and not problem.name}
        for kept, now in ((before.managed, self.managed), (before.recommended, self.recommended)):
            for key, held in kept.items():
                if held.origin in broken or str(PurePath(held.origin).parent) in broken:
                    now.setdefault(key, held)


class PolicySource(Protocol):
    """Where a system keeps policies. `places`: where is looked, the strongest first, as a person would look for it."""

    @property
    def places(self) -> tuple[str, ...]: ...

    def read(self) -> Policies:
        """All of it, anew; some milliseconds. Raises nothing: what cannot be read is a problem in what it gives."""
        ...


def known(name: str) -> Setting | None:
    """The setting of a policy's name, whose case counts."""
    return BY_POLICY.get(name)
