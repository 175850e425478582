"""Starting at login: the entry is what the system expects, follows the setting and the program, and is gone when it is off."""

from __future__ import annotations

import configparser
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client import autostart
from vidconf.client.autostart import (
    AutostartError,
    DesktopFile,
    LaunchAgent,
    RunKey,
    desktop_entry,
    keep_in_step,
    start_command,
    system_autostart,
)
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings

COMMAND = ["/opt/vidconf/vidconf", "--background"]


def on(value: bool = True) -> Settings:
    settings = Settings()
    settings.set("autostart", value)
    return settings


def by_policy(folder: Path, value: bool) -> Settings:
    (folder / "managed").mkdir(parents=True, exist_ok=True)
    (folder / "managed" / "1.json").write_text(json.dumps({"AutoStart": value}))
    return Settings(policies=FilePolicies(folder, trusted=(os.getuid(),)))


def exec_words(text: str) -> list[str]:
    """What a desktop reads of the Exec line: the file's escapes, then the quotes and what is escaped in them, then %%."""
    line = next(line for line in text.split("\n") if line.startswith("Exec=")).removeprefix("Exec=")
    unescaped, rest = "", line
    while rest:
        pair = rest[:2]
        if pair in ("\\\\", "\\n", "\\t"):
            unescaped, rest = unescaped + {"\\\\": "\\", "\\n": "\n", "\\t": "\t"}[pair], rest[2:]
        else:
            unescaped, rest = unescaped + rest[0], rest[1:]
    words = re.findall(r'"((?:\\.|[^"\\])*)"|([^ "]+)', unescaped)
    return [(re.sub(r'\\(["`$\\])', r"\1", quoted) if quoted else plain).replace("%%", "%") for quoted, plain in words]


# ---- Linux ----


def test_the_desktop_file_comes_and_goes_with_the_setting(tmp_path: Path) -> None:
    entry = DesktopFile(tmp_path / "autostart")
    assert keep_in_step(Settings(), entry, COMMAND) is False
    assert not entry.file.parent.exists(), "nothing is made for nothing"
    assert keep_in_step(on(), entry, COMMAND) is True
    parsed = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parsed.optionxform = str  # type: ignore[assignment, method-assign]
    parsed.read(entry.file, encoding="utf-8")
    held = parsed["Desktop Entry"]
    assert held["Exec"] == "/opt/vidconf/vidconf --background"
    assert held["X-GNOME-Autostart-enabled"] == "true"
    assert held["Type"] == "Application"
    assert entry.file.stat().st_mode & 0o777 == 0o644
    assert keep_in_step(on(False), entry, COMMAND) is False
    assert list(entry.file.parent.iterdir()) == []


def test_it_follows_the_program_to_another_place(tmp_path: Path) -> None:
    entry = DesktopFile(tmp_path)
    keep_in_step(on(), entry, ["/home/an/old/vidconf", "--background"])
    keep_in_step(on(), entry, COMMAND)
    assert "Exec=/opt/vidconf/vidconf --background\n" in entry.file.read_text()


def test_what_the_desktop_switched_off_stays_off_unless_policy_says_on(tmp_path: Path) -> None:
    entry = DesktopFile(tmp_path / "autostart")
    for switched in ("X-GNOME-Autostart-enabled=false", "Hidden = true"):
        keep_in_step(on(), entry, COMMAND)
        entry.file.write_text(entry.file.read_text().replace("X-GNOME-Autostart-enabled=true", switched))
        keep_in_step(on(), entry, ["/elsewhere/vidconf", "--background"])
        assert switched in entry.file.read_text()
        keep_in_step(by_policy(tmp_path, True), entry, COMMAND)
        assert entry.file.read_text() == desktop_entry(COMMAND)


def test_policy_off_takes_it_away(tmp_path: Path) -> None:
    entry = DesktopFile(tmp_path / "autostart")
    keep_in_step(on(), entry, COMMAND)
    settings = by_policy(tmp_path, False)
    assert keep_in_step(settings, entry, COMMAND) is False
    assert not entry.held()


@pytest.mark.skipif(shutil.which("desktop-file-validate") is None, reason="needs desktop-file-validate (desktop-file-utils)")
@pytest.mark.parametrize("command", [COMMAND, ["/home/Trần An/100% `vidconf` $HOME", "--background"], ['/a\\b"c', "-m", "x y"]])
def test_the_desktops_own_judge_has_no_complaint(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "vidconf.desktop"
    file.write_text(desktop_entry(command), encoding="utf-8")
    done = subprocess.run(["desktop-file-validate", "--no-hints", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@given(st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1), min_size=1, max_size=4))
def test_whatever_the_program_is_called_it_is_what_is_run(command: list[str]) -> None:
    assert exec_words(desktop_entry(command)) == command


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "autostart").write_text("a file where the folder should be")
    entry = DesktopFile(tmp_path / "autostart")
    with pytest.raises(AutostartError):
        keep_in_step(on(), entry, COMMAND)
    assert keep_in_step(on(False), entry, COMMAND) is False


@pytest.mark.skipif(sys.platform != "linux", reason="the XDG folder")
def test_the_systems_own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = system_autostart()
    assert isinstance(made, DesktopFile)
    assert made.file == tmp_path / "autostart" / "vidconf.desktop"


# ---- Windows ----


class Registry:
    """The part of `winreg` that is used, over a dictionary. `locked`: writing is refused."""

    HKEY_CURRENT_USER, KEY_SET_VALUE, KEY_QUERY_VALUE, REG_SZ = "HKCU", 2, 1, 1

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.exists = False
        self.locked = False
        self.written = 0

    def OpenKey(self, root: str, path: str, reserved: int, access: int) -> Registry:
        assert (root, path) == ("HKCU", autostart.RUN_KEY)
        if not self.exists:
            raise FileNotFoundError(2, "no such key")
        if self.locked and access == self.KEY_SET_VALUE:
            raise PermissionError(13, "denied")
        return self

    def CreateKeyEx(self, root: str, path: str, reserved: int, access: int) -> Registry:
        self.exists = True
        return self.OpenKey(root, path, reserved, access)

    def SetValueEx(self, key: Registry, name: str, reserved: int, kind: int, value: str) -> None:
        self.written += 1
        self.values[name] = value

    def QueryValueEx(self, key: Registry, name: str) -> tuple[str, int]:
        if name not in self.values:
            raise FileNotFoundError(2, "no such value")
        return self.values[name], self.REG_SZ

    def DeleteValue(self, key: Registry, name: str) -> None:
        if name not in self.values:
            raise FileNotFoundError(2, "no such value")
        del self.values[name]

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: Any) -> None:
        return None


def test_the_run_value_comes_and_goes_with_the_setting() -> None:
    registry = Registry()
    entry = RunKey(registry)
    keep_in_step(Settings(), entry)
    assert not registry.exists
    keep_in_step(on(), entry, [r"C:\Program Files\Vidconf\vidconf.exe", "--background"])
    assert registry.values == {"Vidconf": r'"C:\Program Files\Vidconf\vidconf.exe" --background'}
    keep_in_step(on(), entry, [r"C:\Program Files\Vidconf\vidconf.exe", "--background"])
    assert registry.written == 1, "what is right is not written again"
    registry.values["Other"] = "stays"
    keep_in_step(on(False), entry)
    assert registry.values == {"Other": "stays"}
    entry.remove()


def test_a_registry_that_refuses_is_told() -> None:
    registry = Registry()
    registry.exists, registry.locked = True, True
    with pytest.raises(AutostartError):
        keep_in_step(on(), RunKey(registry))
    registry.values["Vidconf"] = "old"
    with pytest.raises(AutostartError):
        keep_in_step(on(False), RunKey(registry))


# ---- macOS ----


def test_the_launch_agent_comes_and_goes_with_the_setting(tmp_path: Path) -> None:
    entry = LaunchAgent(tmp_path / "LaunchAgents")
    keep_in_step(on(), entry, ["/Applications/vidconf.app/Contents/MacOS/vidconf", "--background"])
    told = plistlib.loads((tmp_path / "LaunchAgents" / "vn.vidconf.client.plist").read_bytes())
    assert told["ProgramArguments"] == ["/Applications/vidconf.app/Contents/MacOS/vidconf", "--background"]
    assert told["Label"] == "vn.vidconf.client"
    assert told["RunAtLoad"] is True
    keep_in_step(on(False), entry)
    assert not entry.held()


# ---- what is run ----


def test_the_command_is_this_installation() -> None:
    assert start_command() == [sys.executable, "-m", "vidconf.cli.main", "--background"]


@pytest.mark.parametrize(("program", "run"), [("vidconf.exe", "vidconf.exe"), ("vidconf-cli.exe", "vidconf.exe"), ("vidconf", "vidconf")])
def test_an_installed_program_is_run_without_its_console(monkeypatch: pytest.MonkeyPatch, program: str, run: str) -> None:
    monkeypatch.setattr(sys, "executable", f"/Program Files/Vidconf/{program}")
    assert start_command() == [f"/Program Files/Vidconf/{run}", "--background"]
