"""A registry as a tree in memory, behind the few functions of `winreg` that the program calls, with their habits."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

Value = tuple[Any, int]


class Key:
    """An open key."""

    def __init__(self, values: list[tuple[str, Any, int]], subkeys: list[str]) -> None:
        self.values, self.subkeys, self.open = values, subkeys, True

    def __enter__(self) -> Key:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.open = False


class Registry:
    """`keys`: by hive and path (`HKLM\\Software\\…`), each key's values by name as (data, type). `closed`: paths nobody may read."""

    HKEY_LOCAL_MACHINE, HKEY_CURRENT_USER = "HKLM", "HKCU"
    KEY_READ, KEY_WOW64_64KEY = 0x20019, 0x0100
    REG_SZ, REG_EXPAND_SZ, REG_BINARY, REG_DWORD, REG_MULTI_SZ, REG_QWORD = 1, 2, 3, 4, 7, 11

    def __init__(self, keys: Mapping[str, Mapping[str, Value]], *, closed: tuple[str, ...] = ()) -> None:
        self.keys = {path: dict(values) for path, values in keys.items()}
        self.closed = closed
        self.opened: list[Key] = []

    def OpenKeyEx(self, hive: str, path: str, reserved: int, access: int) -> Key:
        assert (reserved, access) == (0, self.KEY_READ | self.KEY_WOW64_64KEY), "a 32-bit view would be another registry"
        wanted = f"{hive}\\{path}".lower()
        if wanted in (one.lower() for one in self.closed):
            raise PermissionError(13, "Access is denied", path, 5)
        below = [one for one in self.keys if f"{one.lower()}\\".startswith(f"{wanted}\\")]
        if not below:
            raise FileNotFoundError(2, "The system cannot find the file specified", path, 2)
        values = [(name, *value) for one in below if one.lower() == wanted for name, value in self.keys[one].items()]
        subkeys = dict.fromkeys(one[len(wanted) + 1 :].partition("\\")[0] for one in below if len(one) > len(wanted))
        key = Key(values, list(subkeys))
        self.opened.append(key)
        return key

    @staticmethod
    def QueryInfoKey(key: Key) -> tuple[int, int, int]:
        assert key.open
        return len(key.subkeys), len(key.values), 0

    @staticmethod
    def EnumValue(key: Key, place: int) -> tuple[str, Any, int]:
        assert key.open
        return key.values[place]

    @staticmethod
    def EnumKey(key: Key, place: int) -> str:
        assert key.open
        return key.subkeys[place]

    @staticmethod
    def ExpandEnvironmentStrings(text: str) -> str:
        return re.sub(r"%(\w+)%", lambda found: os.environ.get(found[1], found[0]), text)
