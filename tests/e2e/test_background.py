"""The installed program as the system starts it at login: hidden, with its logs, its entry, its crash reports; real processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import vidconf

SRC = str(Path(vidconf.__file__).parent.parent)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the folders and signals of Linux")


class Desktop:
    """A user's home, and the program started in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.logs = home / "state" / "vidconf" / "log"
        self.entry = home / "config" / "autostart" / "vidconf.desktop"
        (home / "config" / "vidconf").mkdir(parents=True)
        self.environment = {
            **os.environ, "PYTHONPATH": SRC, "QT_QPA_PLATFORM": "offscreen", "HOME": str(home), "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_STATE_HOME": str(home / "state"), "XDG_DATA_HOME": str(home / "data"), "VIDCONF_INSTANCE": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
        }  # fmt: skip
        self.started: list[subprocess.Popen[bytes]] = []

    def settings(self, **values: object) -> None:
        (self.home / "config" / "vidconf" / "settings.json").write_text(json.dumps(values))

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        command = words if words and Path(words[0]).is_absolute() else (sys.executable, "-m", "vidconf.cli.main", *words)
        process = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self.started.append(process)
        return process

    def log(self, part: str = "vidconf") -> str:
        return "".join(file.read_text(encoding="utf-8") for file in sorted(self.logs.glob(f"{part}-[0-9]*.log")))

    def reports(self) -> list[Path]:
        return sorted(self.logs.glob("vidconf-crash-*.txt"))


def until(condition: Callable[[], object], timeout_s: float = 40) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    made = Desktop(tmp_path / "home")
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.timeout(120)
def test_from_login_to_a_link_and_out(desktop: Desktop) -> None:
    desktop.settings(autostart=True, crash_reports=True, update_mode="off")
    first = desktop.start("--background")
    until(lambda: "page: home" in desktop.log() and desktop.entry.is_file())
    (run,) = [line.removeprefix("Exec=") for line in desktop.entry.read_text().splitlines() if line.startswith("Exec=")]
    again = desktop.start(*shlex.split(run))
    assert again.wait(30) == 0, "what the system runs at the next login finds the one that runs"
    linked = desktop.start("https://hop.example.vn/m/kx7m-2pqa-9tdf#k=abcdefghijklmnopqrstuvwxyz")
    assert linked.wait(30) == 0
    until(lambda: "page: prejoin" in desktop.log())
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert [file.name for file in desktop.logs.iterdir() if not re.fullmatch(r"vidconf(-engine)?-\d{4}-\d\d-\d\d\.log", file.name)] == [], (
        "nothing crashed"
    )
    assert sorted({file.name.rsplit("-", 3)[0] for file in desktop.logs.iterdir()}) == ["vidconf", "vidconf-engine"]
    assert "kx7m" not in desktop.log()
    assert "abcdefghij" not in desktop.log()


@pytest.mark.timeout(120)
def test_an_engine_that_crashes_is_started_again_and_leaves_a_report(desktop: Desktop) -> None:
    """In the user's own folder, where the one for logs that was asked for cannot be written."""
    (desktop.home / "file").write_text("")
    desktop.settings(crash_reports=True, log_dir=str(desktop.home / "file" / "logs"), update_mode="off")
    window = desktop.start("--background")
    until(lambda: list(desktop.logs.glob("vidconf-fault-engine-*.txt")))
    (engine,) = [child for child in psutil.Process(window.pid).children() if "engine" in child.cmdline()]
    engine.send_signal(signal.SIGSEGV)
    until(lambda: desktop.reports())
    (report,) = desktop.reports()
    said = report.read_text(encoding="utf-8")
    assert f"vidconf {vidconf.__version__}, engine" in said
    assert "Segmentation fault" in said
    until(lambda: [child for child in psutil.Process(window.pid).children() if (desktop.logs / f"vidconf-fault-engine-{child.pid}.txt").exists()])
    window.send_signal(signal.SIGTERM)
    assert window.wait(30) == 0
    assert "no log can be written in" in desktop.log()
    assert [file.name for file in desktop.logs.glob("vidconf-fault-*") if file.stat().st_size] == [], "what it held is in the report"
