"""Whether the program starts, hidden in the tray, when its user logs in; kept in step with the setting `autostart`.

    keep_in_step(settings, system_autostart())        at each start and when the setting changes

One entry of the program's own, for this user alone, written anew at each start, so that it follows where the program lies:
a file of the desktop's autostart folder (Linux), a value of the registry's Run key (Windows), a launch agent (macOS). Any thread but
the loop's: it reads and writes files or the registry.
"""

from __future__ import annotations

import logging
import os
import plistlib
import subprocess
import sys
from pathlib import Path, PurePath
from typing import Any, Protocol

from vidconf.client.settings import Settings
from vidconf.client.whole_file import write_whole
from vidconf.starting import own_command

log = logging.getLogger("vidconf.autostart")

BACKGROUND = "--background"
RUN_KEY, RUN_VALUE = r"Software\Microsoft\Windows\CurrentVersion\Run", "Vidconf"
AGENT = "vn.vidconf.client"
_LEAVE_ALONE = ("hidden=true", "x-gnome-autostart-enabled=false")


class AutostartError(OSError):
    """The entry could be neither written nor removed."""


class Autostart(Protocol):
    """One system's way."""

    def held(self) -> bool:
        """Whether the entry is there."""

    def put(self, command: list[str], *, by_policy: bool) -> None:
        """Write it. `by_policy`: also where the user has switched it off in the desktop's own settings. Raises `AutostartError`."""

    def remove(self) -> None:
        """Raises `AutostartError`."""


def system_autostart() -> Autostart:
    """This system's."""
    if sys.platform == "win32":
        import winreg

        return RunKey(winreg)
    if sys.platform == "darwin":
        return LaunchAgent(Path.home() / "Library" / "LaunchAgents")
    return DesktopFile(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "autostart")


def start_command() -> list[str]:
    """What the system runs: the window's program without a console, which stays hidden."""
    command = own_command(BACKGROUND)
    program = PurePath(command[0])
    if program.stem.casefold() == "vidconf-cli":
        command[0] = str(program.with_name("vidconf" + program.suffix))
    return command


def keep_in_step(settings: Settings, autostart: Autostart, command: list[str] | None = None) -> bool:
    """Make the entry what the setting says; whether there is one now. Raises `AutostartError`."""
    wanted = settings.resolved("autostart")
    if wanted.value:
        autostart.put(command or start_command(), by_policy=wanted.locked)
    elif autostart.held():
        autostart.remove()
        log.info("no longer started at login")
    return bool(wanted.value)


class DesktopFile:
    """`vidconf.desktop` in a folder of the XDG autostart specification."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "vidconf.desktop"

    def held(self) -> bool:
        return self.file.is_file()

    def put(self, command: list[str], *, by_policy: bool) -> None:
        content = desktop_entry(command)
        try:
            before = self.file.read_text(encoding="utf-8", errors="replace") if self.file.is_file() else ""
            if before == content:
                return
            if not by_policy and any(line.strip().casefold().replace(" ", "") in _LEAVE_ALONE for line in before.splitlines()):
                return  # switched off in the desktop's own settings, which keep the file
            _replace(self.file, content.encode())
        except OSError as error:
            raise AutostartError(f"{self.file}: {error.strerror or error}") from error

    def remove(self) -> None:
        _remove(self.file)


class RunKey:
    """The value `Vidconf` of the user's Run key. `winreg`: that module, or one like it."""

    def __init__(self, winreg: Any) -> None:
        self._winreg = winreg

    def held(self) -> bool:
        return self._value() is not None

    def put(self, command: list[str], *, by_policy: bool) -> None:
        line = subprocess.list2cmdline(command)
        if self._value() == line:
            return
        reg = self._winreg
        try:
            with reg.CreateKeyEx(reg.HKEY_CURRENT_USER, RUN_KEY, 0, reg.KEY_SET_VALUE) as key:
                reg.SetValueEx(key, RUN_VALUE, 0, reg.REG_SZ, line)
        except OSError as error:
            raise AutostartError(f"{RUN_KEY}: {error}") from error

    def remove(self) -> None:
        reg = self._winreg
        try:
            with reg.OpenKey(reg.HKEY_CURRENT_USER, RUN_KEY, 0, reg.KEY_SET_VALUE) as key:
                reg.DeleteValue(key, RUN_VALUE)
        except FileNotFoundError:
            return
        except OSError as error:
            raise AutostartError(f"{RUN_KEY}: {error}") from error

    def _value(self) -> str | None:
        reg = self._winreg
        try:
            with reg.OpenKey(reg.HKEY_CURRENT_USER, RUN_KEY, 0, reg.KEY_QUERY_VALUE) as key:
                return str(reg.QueryValueEx(key, RUN_VALUE)[0])
        except OSError:
            return None


class LaunchAgent:
    """A property list in the user's LaunchAgents."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / f"{AGENT}.plist"

    def held(self) -> bool:
        return self.file.is_file()

    def put(self, command: list[str], *, by_policy: bool) -> None:
        told = {
            "Label": AGENT,
            "ProgramArguments": command,
            "RunAtLoad": True,
            "LimitLoadToSessionType": "Aqua",
            "ProcessType": "Interactive",
        }
        content = plistlib.dumps(told)
        try:
            if not self.file.is_file() or self.file.read_bytes() != content:
                _replace(self.file, content)
        except OSError as error:
            raise AutostartError(f"{self.file}: {error.strerror or error}") from error

    def remove(self) -> None:
        _remove(self.file)


def desktop_entry(command: list[str]) -> str:
    """The file's text."""
    return (
        "[Desktop Entry]\nType=Application\nName=vidconf\nComment=Video conferences\nComment[vi]=Họp trực tuyến\nIcon=vidconf\n"
        f"Exec={' '.join(_quoted(word) for word in command)}\nTerminal=false\nNoDisplay=true\nX-GNOME-Autostart-enabled=true\n"
    )


def _quoted(word: str) -> str:
    """A word of an Exec line: quoted where the specification wants it, then escaped as any string of the file."""
    word = word.replace("%", "%%")
    if not word or any(char in " \t\n\"'\\><~|&;$*?#()`" for char in word):
        word = '"' + "".join(f"\\{char}" if char in '"`$\\' else char for char in word) + '"'
    return word.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t")


def _remove(file: Path) -> None:
    """Raises AutostartError."""
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise AutostartError(f"{file}: {error.strerror or error}") from error


def _replace(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, content, mode=0o644)
