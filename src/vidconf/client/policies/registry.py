r"""Policies of a Windows machine: the registry, as group policy, Intune or a person with `reg.exe` writes it. Any thread.

`Software\Policies\Vidconf\Vidconf` of the machine, then of the user, holds; its subkey `Recommended`, likewise, stands until the user
chooses; weakest is `HKLM\Software\Vidconf\Vidconf`, where the installer keeps what it was told: as texts, a list's items parted by
semicolons, beside names that are no policies. Always the 64-bit view. A switch is a DWORD 0 or 1, a number a DWORD, a text or choice
a string, a list a subkey whose values (1, 2, …) are strings. Names are compared as the registry does: their case does not count.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from vidconf.client.policies.reading import Held, Policies
from vidconf.client.settings_table import BY_POLICY, Setting

POLICY_KEY = r"Software\Policies\Vidconf\Vidconf"
INSTALLED_KEY = r"Software\Vidconf\Vidconf"
RECOMMENDED = "Recommended"
_BY_NAME = {name.lower(): setting for name, setting in BY_POLICY.items()}
_WRONG = object()
"""What no setting takes."""


class RegistryPolicies:
    """The registry's policies. `winreg`: the standard library's module, or what behaves as it does (tests)."""

    def __init__(self, winreg: Any = None) -> None:
        self._api: Any = winreg if winreg is not None else importlib.import_module("winreg")
        self._hives = {"HKLM": self._api.HKEY_LOCAL_MACHINE, "HKCU": self._api.HKEY_CURRENT_USER}

    @property
    def places(self) -> tuple[str, ...]:
        keys = (POLICY_KEY, rf"{POLICY_KEY}\{RECOMMENDED}")
        return (*(rf"{hive}\{key}" for key in keys for hive in self._hives), rf"HKLM\{INSTALLED_KEY}")

    def read(self) -> Policies:
        policies = Policies()
        for into, key in ((policies.managed, POLICY_KEY), (policies.recommended, rf"{POLICY_KEY}\{RECOMMENDED}")):
            for hive in self._hives:
                self._take(hive, key, into, policies)
        self._take("HKLM", INSTALLED_KEY, policies.recommended, policies, installed=True)
        return policies

    def _take(self, hive: str, path: str, into: dict[str, Held], policies: Policies, *, installed: bool = False) -> None:
        """One key; what is in `into` already is the stronger."""
        origin = rf"{hive}\{path}"
        try:
            with self._opened(hive, path) as key:
                if key is None:
                    return None
                subkeys, values = self._subkeys(key), self._values(key)
        except OSError:
            return policies.ignore(origin, "unreadable")
        policies.found.append(origin)
        for name, data, kind in values:
            setting = _BY_NAME.get(name.lower())
            if setting is not None:
                self._keep(setting, self._plain(setting, data, kind, installed), origin, into, policies)
            elif not installed:
                policies.ignore(origin, "unknown_name", name or "(Default)")
        for name in subkeys:
            setting = _BY_NAME.get(name.lower())
            if setting is not None and setting.kind == "list":
                self._take_list(setting, hive, rf"{path}\{name}", origin, into, policies)
            elif setting is not None:
                policies.ignore(origin, "bad_value", setting.policy)
            elif not installed and name.lower() != RECOMMENDED.lower():
                policies.ignore(origin, "unknown_name", name)
        return None

    def _take_list(self, setting: Setting, hive: str, path: str, origin: str, into: dict[str, Held], policies: Policies) -> None:
        try:
            with self._opened(hive, path) as key:
                values = [] if key is None else self._values(key)
        except OSError:
            return policies.ignore(rf"{hive}\{path}", "unreadable")
        ordered = sorted(values, key=lambda one: (int(one[0]) if one[0].isdecimal() and len(one[0]) < 10 else 1 << 32, one[0]))
        items = [self._text(data, kind) for _, data, kind in ordered]
        if items:  # an empty subkey says nothing: that is what a policy leaves behind that is set no more
            self._keep(setting, items, origin, into, policies)
        return None

    @staticmethod
    def _keep(setting: Setting, value: Any, origin: str, into: dict[str, Held], policies: Policies) -> None:
        held = policies.value(setting, value, origin)
        if held is not None:
            into.setdefault(setting.key, held)

    def _plain(self, setting: Setting, data: Any, kind: int, installed: bool) -> Any:
        """A value's data, where its type is the one that this setting has."""
        if setting.kind in ("switch", "number"):
            if kind == self._api.REG_DWORD:
                return data
            text = self._text(data, kind) if installed else _WRONG  # an installer's properties are texts
            return int(text) if isinstance(text, str) and text.isdecimal() and len(text) < 11 else _WRONG
        text = self._text(data, kind)
        if setting.kind != "list":
            return text
        return [one.strip() for one in text.split(";") if one.strip()] if installed and isinstance(text, str) else _WRONG

    def _text(self, data: Any, kind: int) -> Any:
        if kind == self._api.REG_EXPAND_SZ and isinstance(data, str):
            return self._api.ExpandEnvironmentStrings(data)
        return data if kind == self._api.REG_SZ else _WRONG

    # ---- the registry ----

    @contextmanager
    def _opened(self, hive: str, path: str) -> Iterator[Any]:
        """None where there is no such key. Raises `OSError` where it may not be read."""
        access = self._api.KEY_READ | self._api.KEY_WOW64_64KEY
        try:
            key = self._api.OpenKeyEx(self._hives[hive], path, 0, access)
        except FileNotFoundError:
            yield None
            return
        with key:
            yield key

    def _values(self, key: Any) -> list[tuple[str, Any, int]]:
        """Name, data and type of each."""
        return [self._api.EnumValue(key, place) for place in range(self._api.QueryInfoKey(key)[1])]

    def _subkeys(self, key: Any) -> list[str]:
        return [self._api.EnumKey(key, place) for place in range(self._api.QueryInfoKey(key)[0])]
