"""What every setting of `settings_table` is now, and where that comes from. The loop's thread; `save` in an executor.

Layers, the first that says something wins: policy (locked) > command line > user > recommended by policy > default.
Policy: JSON files under /etc/opt/vidconf/policies/managed and …/recommended (Linux; read in lexical order, later wins), keys are
the policy names below. What is malformed, unknown or not safely owned is ignored, logged, and listed in `problems`.
The user's layer is one JSON file, replaced whole.
"""

from __future__ import annotations

import json
import logging
import os
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from vidconf.client.settings_table import BY_POLICY, SETTINGS, Setting, SettingError, checked

log = logging.getLogger("vidconf.settings")

SourceName = Literal["policy", "command line", "user", "recommended", "default"]
POLICY_FOLDER = Path("/etc/opt/vidconf/policies")
FILE_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Resolved:
    """A setting's value now. `origin`: the file it comes from, "" for defaults and the command line."""

    setting: Setting
    value: Any
    source: SourceName
    locked: bool = False
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something ignored. `code`: unreadable, malformed, unsafe_owner, unknown_name, bad_value, twice."""

    file: str
    code: str
    name: str = ""


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
        policy_folder: Path | None = None,
        trusted_uids: Collection[int] = (0,),
        looking: bool = False,
    ) -> None:
        """`user_file` None: nothing is read or kept (bots, tests). `looking`: for a report, which leaves a broken file where it is."""
        self._user_file = user_file
        self._looking = looking
        self._policy_folder = policy_folder
        self._trusted_uids = trusted_uids
        self.problems: tuple[Problem, ...] = ()
        self._user_problems: list[Problem] = []
        self._managed: dict[str, tuple[Any, str]] = {}
        self._recommended: dict[str, tuple[Any, str]] = {}
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
        policies = POLICY_FOLDER if sys.platform == "linux" else None
        return cls(folder / "settings.json", command_line=command_line, policy_folder=policies, looking=looking)

    # ---- reading ----

    def resolved(self, key: str) -> Resolved:
        setting = SETTINGS[key]
        if key in self._managed:
            return Resolved(setting, self._managed[key][0], "policy", True, self._managed[key][1])
        if key in self._command_line:
            return Resolved(setting, self._command_line[key], "command line")
        if key in self._user:
            return Resolved(setting, self._user[key], "user", False, str(self._user_file or ""))
        if key in self._recommended:
            return Resolved(setting, self._recommended[key][0], "recommended", False, self._recommended[key][1])
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
                handle, name = tempfile.mkstemp(dir=self._user_file.parent, prefix=".settings-")
                try:
                    with os.fdopen(handle, "w", encoding="utf-8") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                    os.replace(name, self._user_file)
                except OSError:
                    os.unlink(name)
                    raise
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
        values = self._load(self._user_file, self._user_problems)
        for key, value in values.items():
            setting = SETTINGS.get(key)
            if setting is None:
                self._unknown[key] = value  # a newer version's: kept for it
                continue
            try:
                self._user[key] = checked(setting, value)
            except SettingError:
                self._problem(self._user_problems, self._user_file, "bad_value", key)
        if not values and self._user_problems and not self._looking:
            self._set_aside(self._user_file)

    def _set_aside(self, file: Path) -> None:
        """A file that cannot be read is kept beside, so that saving does not destroy what may be mended by hand."""
        try:
            os.replace(file, file.with_suffix(".broken"))
        except OSError as error:
            log.warning("the broken settings file could not be set aside: %s", error.strerror or error)

    def reload_policies(self) -> None:
        """Read policy again; tells listeners of what changed. Some file reads: cheap, but call it in an executor where it matters."""
        before = {key: self[key] for key in SETTINGS}
        problems: list[Problem] = []
        managed = self._policies("managed", problems)
        recommended = self._policies("recommended", problems)
        self._managed, self._recommended = managed, recommended
        self.problems = (*self._user_problems, *problems)
        for key, value in before.items():
            if self[key] != value:
                self._tell(key)

    def _policies(self, level: str, problems: list[Problem]) -> dict[str, tuple[Any, str]]:
        found: dict[str, tuple[Any, str]] = {}
        if self._policy_folder is None:
            return found
        try:
            files = sorted(file for file in (self._policy_folder / level).iterdir() if file.suffix == ".json")
        except FileNotFoundError:
            return found
        except OSError:
            self._problem(problems, self._policy_folder / level, "unreadable")
            return found
        for file in files:
            if not self._safely_owned(file):
                self._problem(problems, file, "unsafe_owner")
                continue
            for name, value in self._load(file, problems).items():
                setting = BY_POLICY.get(name)
                if setting is None:
                    self._problem(problems, file, "unknown_name", name)
                    continue
                try:
                    good = checked(setting, value)
                except SettingError:
                    self._problem(problems, file, "bad_value", name)
                    continue
                if setting.key in found:
                    self._problem(problems, file, "twice", name)
                found[setting.key] = (good, str(file))
        return found

    def _safely_owned(self, file: Path) -> bool:
        """What any user could write is no policy."""
        try:
            held = file.stat()
        except OSError:
            return False
        return held.st_uid in self._trusted_uids and not held.st_mode & (stat.S_IWGRP | stat.S_IWOTH)

    def _load(self, file: Path, problems: list[Problem]) -> dict[str, Any]:
        try:
            if file.stat().st_size > FILE_LIMIT:
                raise ValueError("too large")
            loaded = json.loads(file.read_text(encoding="utf-8-sig"))
        except FileNotFoundError:
            return {}
        except OSError:
            self._problem(problems, file, "unreadable")
            return {}
        except (ValueError, RecursionError):
            self._problem(problems, file, "malformed")
            return {}
        if not isinstance(loaded, dict):
            self._problem(problems, file, "malformed")
            return {}
        return loaded

    @staticmethod
    def _problem(problems: list[Problem], file: Path, code: str, name: str = "") -> None:
        log.warning("settings: %s in %s ignored: %s", name or "file", file, code)
        problems.append(Problem(str(file), code, name))
