"""Each kind of installation starts its own parts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vidconf import __version__
from vidconf.starting import own_command


def test_an_interpreter_runs_the_module() -> None:
    printed = subprocess.run(own_command("--version"), capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed.split() == ["vidconf,", "version", __version__]


@pytest.mark.parametrize("name", ["vidconf.exe", "Vidconf-CLI.exe", "vidconf"])
def test_a_launcher_takes_the_words_as_they_are(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", f"/opt/vidconf/{name}")
    assert own_command("bot", "--count", "2") == [f"/opt/vidconf/{name}", "bot", "--count", "2"]


def test_a_packed_program_is_its_own_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/x/program")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert own_command("engine") == ["/opt/x/program", "engine"]
