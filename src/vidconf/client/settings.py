"""What every setting of `settings_table` is now, and where that comes from. The loop's thread; `save` in an executor.

Layers, the first that says something wins: policy (locked) > command line > user > recommended by policy > default.
Policy is read by `policies.files` (Linux), `.registry` (Windows) or `.preferences` (macOS). What is malformed, unknown or
not safely owned is ignored, logged, and listed in `problems`. The user's layer is one JSON file, replaced whole.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import platformdirs

from vidconf.client.policies.files import FILE_LIMIT, FilePolicies
from vidconf.client.policies.reading import Policies, PolicySource
from vidconf.client.policies.reading import Problem as Problem  # what `problems` holds
from vidconf.client.settings_json import json_object
from vidconf.client.settings_table import SETTINGS, Setting, SettingError, checked
from vidconf.client.whole_file import write_whole

log = logging.getLogger("vidconf.settings")

SourceName = Literal["policy", "command line", "user", "recommended", "default"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A setting's value now. `origin`: the file or key it comes from, "" for defaults and the command line."""

    setting: Setting
    value: Any
    source: SourceName
    locked: bool = False
    origin: str = ""

    @property
    def place(self) -> str:
        """`origin` where there is little room: a file by its name, a key whole."""
        return PurePosixPath(self.origin).name if self.origin.startswith("/") else self.origin


def machine_policies() -> PolicySource:
    """Where this system keeps policies."""
    if sys.platform == "win32":
        from vidconf.client.policies.registry import RegistryPolicies

        return RegistryPolicies()
    if sys.platform == "darwin":
        from vidconf.client.policies.preferences import PreferencePolicies

        return PreferencePolicies()
    return FilePolicies()


def _setting(key: str) -> Setting:
    if key not in SETTINGS:
        raise SettingError("setting_unknown", key)
    return SETTINGS[key]


class Settings:
    """All settings of one user. Reading is cheap; `set` changes memory and marks it for `save`."""

    def __init__(
        self,
        user_file: Path | None = None,
        *,
        command_line: Mapping[str, Any] | None = None,
        policies: PolicySource | None = None,
        looking: bool = False,
    ) -> None:
        """`user_file` None: nothing is read or kept (bots, tests). `policies` None: there are none. `looking`: for a report, which
        leaves a broken file where it is."""
        self._user_file = user_file
        self._looking = looking
        self._source = policies
        self.problems: tuple[Problem, ...] = ()
        self.policies = Policies()
        """What the last reading gave."""
        self._user_problems: list[Problem] = []
        self._command_line = {key: checked(_setting(key), value) for key, value in (command_line or {}).items()}
        self._user: dict[str, Any] = {}
        self._unknown: dict[str, Any] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._saving = threading.Lock()
        self.dirty = False
        self._read_user()
        self.reload_policies()

    @classmethod
    def of_user(cls, command_line: Mapping[str, Any] | None = None, *, looking: bool = False) -> Settings:
        """This machine's user's settings, under the machine's policies."""
        folder = Path(platformdirs.user_config_dir("vidconf", appauthor=False, roaming=False))
        return cls(folder / "settings.json", command_line=command_line, policies=machine_policies(), looking=looking)

    # ---- reading ----

    @property
    def policy_places(self) -> tuple[str, ...]:
        """Where policies are looked for, the strongest first."""
        return self._source.places if self._source is not None else ()

    def resolved(self, key: str) -> Resolved:
        setting = SETTINGS[key]
        if (held := self.policies.managed.get(key)) is not None:
            return Resolved(setting, held.value, "policy", True, held.origin)
        if key in self._command_line:
            return Resolved(setting, self._command_line[key], "command line")
        if key in self._user:
            return Resolved(setting, self._user[key], "user", False, str(self._user_file or ""))
        if (held := self.policies.recommended.get(key)) is not None:
            return Resolved(setting, held.value, "recommended", False, held.origin)
        return Resolved(setting, setting.default, "default")

    def __getitem__(self, key: str) -> Any:
        return self.resolved(key).value

    def text(self, key: str) -> str:
        return str(self[key])

    def on(self, key: str) -> bool:
        return bool(self[key])

    def items(self, key: str) -> tuple[str, ...]:
        return tuple(self[key])

    def mapping(self, key: str) -> dict[str, str]:
        return dict(self[key])

    # ---- changing ----

    def set(self, key: str, value: Any) -> None:
        """The user's choice. Raises `SettingError` when the value is none, or policy holds the setting."""
        setting = _setting(key)
        if self.resolved(key).locked:
            raise SettingError("setting_locked", key)
        value = checked(setting, value)
        if key in self._user and self._user[key] == value:
            return
        before = self[key]
        self._user[key] = value
        self.dirty = True
        if self[key] != before:
            self._tell(key)

    def reset(self, key: str) -> None:
        """Back to what is recommended, or the default."""
        if self._user.pop(key, None) is not None:
            self.dirty = True
            self._tell(key)

    def remember(self, key: str, value: Any) -> None:
        """As `set`, for memory (last name, devices): where policy holds it, nothing is remembered."""
        if not self.resolved(key).locked:
            self.set(key, value)

    def subscribe(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Call `listener(key)` when a value changes; returns how to stop it."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return unsubscribe

    def _tell(self, key: str) -> None:
        for listener in list(self._listeners):
            listener(key)

    def save(self) -> bool:
        """Write the user's layer, whole and atomically; whether it worked. Blocks on the disk: call it in an executor."""
        if self._user_file is None:
            self.dirty = False
            return True
        with self._saving:
            self.dirty = False
            content = self._written()
            try:
                self._user_file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._user_file, content.encode())
            except OSError as error:
                log.warning("settings could not be written: %s", error.strerror or error)
                self.dirty = True
                return False
            return True

    def _written(self) -> str:
        def text(ascii_only: bool) -> str:
            return json.dumps({**self._unknown, **self._user}, ensure_ascii=ascii_only, indent=2, sort_keys=True, default=list)

        readable = text(False)
        try:
            readable.encode()
        except UnicodeEncodeError:  # half a letter, which only an escape can write
            return text(True)
        return readable

    # ---- files ----

    def _read_user(self) -> None:
        if self._user_file is None:
            return
        values = self._load(self._user_file)
        for key, value in values.items():
            setting = SETTINGS.get(key)
            if setting is None:
                self._unknown[key] = value  # a newer version's: kept for it
                continue
            try:
                self._user[key] = checked(setting, value)
            except SettingError:
                self._user_problems.append(Problem(str(self._user_file), "bad_value", key))
        if not values and self._user_problems and not self._looking:
            self._set_aside(self._user_file)

    def _load(self, file: Path) -> dict[str, Any]:
        """What the user's file holds; nothing, and a problem, where it is none."""
        try:
            with file.open("rb") as opened:
                content = opened.read(FILE_LIMIT + 1)
        except FileNotFoundError:
            return {}
        except OSError:
            self._user_problems.append(Problem(str(file), "unreadable"))
            return {}
        try:
            if len(content) > FILE_LIMIT:
                raise ValueError("too large")
            return json_object(content)[0]
        except ValueError:
            self._user_problems.append(Problem(str(file), "malformed"))
            return {}

    def _set_aside(self, file: Path) -> None:
        """A file that cannot be read is kept beside, so that saving does not destroy what may be mended by hand."""
        try:
            os.replace(file, file.with_suffix(".broken"))
        except OSError as error:
            log.warning("the broken settings file could not be set aside: %s", error.strerror or error)

    def reload_policies(self) -> None:
        """Read policy again; tells listeners of what changed. Some milliseconds. What cannot be read now holds as it was read last."""
        before = {key: self[key] for key in SETTINGS}
        read = self._source.read() if self._source is not None else Policies()
        read.hold_on(self.policies)
        self.policies = read
        told, self.problems = set(self.problems), (*self._user_problems, *self.policies.problems)
        for problem in self.problems:
            if problem not in told:  # once, however often it is read
                log.warning("settings: %s in %s ignored: %s", problem.name or "all", problem.origin, problem.code)
        for key, value in before.items():
            if self[key] != value:
                self._tell(key)
