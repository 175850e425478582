"""What the program itself can do under Wine: its own test of itself, the window, a meeting on a real server of this checkout."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from winbuild import payload, product
from winbuild.running import RunError
from winbuild.wine import end, windows_path

from wincheck.machine import Machine
from wincheck.report import Report, must

EXPECTED = {"selftest.numpy": "warning", "selftest.voice": "warning"}
"""Of the copy without numpy."""
SLOW = ("selftest.keyring",)
"""Wine's keyring answers in its own time: a warning is no failure here."""
WINDOW_S, MEETING_S, TALK_S = 90, 150, 10
LINK = "vidconf://hop.example.gov.vn/m/abcd-efgh-ijkl"
"""Of a server that the installer was told to allow."""


def imports(report: Report, machine: Machine) -> None:
    """Needs `Machine.make_copy`."""
    with report.promise("its Python imports every dependency but numpy; codecs, shared memory, TLS and Qt work: selftest") as told:
        done = machine.copied("selftest", "--json", seconds=180)
        must(done.out.strip().startswith("{"), f"exit {done.code} {done.out[-500:]} {done.err[-1500:]}")
        document = json.loads(done.out)
        checks = {check["code"]: check for check in document["checks"]}
        for code, check in checks.items():
            fine = check["status"] == EXPECTED.get(code, "ok") or (code in SLOW and check["status"] == "warning")
            must(fine, f"{code}: {check['status']} {check.get('result')} {check.get('detail')}")
        must(done.code == 0 and document["ok"], f"exit {done.code}")
        told += [f"{len(checks)} checks in {done.took_s:.0f} s, Python {checks['selftest.program']['detail']['python']}"]
        told += [f"{code} {check['status']}" for code, check in checks.items() if check["status"] != "ok"]


def window(report: Report, machine: Machine) -> None:
    """Needs `Machine.make_copy`, and the language English."""
    process = machine.wine.start([machine.copy / product.WINDOW])
    try:
        with report.promise("the window opens, on Qt's own Windows plugin, without a console") as told:
            told.append(f"{_seen(machine, 'Home – vidconf', process):.1f} s from the start")
        with report.promise("a vidconf:// link goes to the window that runs, which shows the way in") as told:
            key = rf"HKLM\Software\Classes\{product.SCHEME}\shell\open\command"
            installed = machine.value(key) or ""
            # what is installed lacks Wine's three libraries: the link starts the copy meanwhile
            copy = installed.replace(rf"C:\Program Files\{product.NAME}", windows_path(machine.copy))
            must(copy != installed, f"the link starts {installed}")
            machine.wine.checked(["reg", "add", key, "/ve", "/d", copy, "/f"])
            try:
                machine.wine.run(["start", LINK], seconds=WINDOW_S)
                told.append(f"{_seen(machine, 'Get ready – vidconf', process):.1f} s")
            finally:
                machine.wine.checked(["reg", "add", key, "/ve", "/d", installed, "/f"])
    finally:
        machine.wine.run(["taskkill", "/F", "/IM", product.WINDOW])
        end(process)
        process.communicate()


def _seen(machine: Machine, title: str, process: subprocess.Popen[str]) -> float:
    """Seconds until a window of this title is there. Raises `Broken`."""
    began = time.monotonic()
    seen = ""
    while title not in seen and time.monotonic() - began < WINDOW_S and process.poll() is None:
        time.sleep(0.5)
        seen = machine.screen.windows()
    must(title in seen, f"no window {title!r} after {time.monotonic() - began:.0f} s; exit {process.poll()}")
    return time.monotonic() - began


def meeting(report: Report, machine: Machine, python: Path) -> None:
    """Needs `Machine.make_copy`. `python`: a Linux one that has the server's dependencies."""
    with (
        report.promise("a bot under Wine joins a meeting on a Linux server; sound and pictures flow both ways") as told,
        server(python, machine.folder) as link,
    ):
        words = [str(python), "-m", "vidconf.cli.main", "bot", link, "--name", "Linux", "--seconds", str(TALK_S + 60), "--json"]
        peer = subprocess.Popen(words, env=_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            done = machine.copied("bot", link, "--name", "Windows", "--seconds", str(TALK_S), "--json", seconds=MEETING_S)
            must(done.code == 0, f"exit {done.code} {done.out[-500:]} {done.err[-1500:]}")
            ours = json.loads(done.out)
            peer.terminate()
            out, _ = peer.communicate(timeout=30)
            theirs = json.loads(out)
        finally:
            peer.kill()
            peer.wait()
        for whose, told_by in (("Wine's", ours), ("Linux's", theirs)):
            tracks = {track["source"]: track for track in told_by["tracks"]}
            must(tracks["camera"]["frames"] > 5 * TALK_S, f"{whose} picture: {tracks.get('camera')}")
            must(tracks["microphone"]["packets"] > 25 * TALK_S, f"{whose} sound: {tracks.get('microphone')}")
            told.append(f"{whose} side: {tracks['camera']['frames']} pictures at {tracks['camera']['fps']:.0f}/s, "
                        f"{tracks['microphone']['packets']} packets of sound")  # fmt: skip
        told.append(f"joined after {ours['joined_s']} s by {ours['way']}")


@contextmanager
def server(python: Path, folder: Path) -> Iterator[str]:
    """A server of this checkout with one meeting; its link. Raises `RunError`."""
    data = folder / "server"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "server.log"
    with log.open("w") as errors:
        words = [str(python), "-m", "vidconf.cli.main", "serve", "--port", str(port), "--data", str(data)]
        process = subprocess.Popen(words, env=_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert process.stdout is not None
        if not process.stdout.readline().startswith("ready "):
            raise RunError(f"the server did not start: {log.read_text(encoding='utf-8', errors='replace')[-1500:]}")
        words = [str(python), "-m", "vidconf.cli.main", "meeting", "create", "--title", "Wine", "--no-lobby", "--data", str(data), "--json"]
        made = subprocess.run(words, env=_environment(), capture_output=True, text=True, timeout=60, check=False)
        if made.returncode:
            raise RunError(f"no meeting was made: {made.stderr[-1500:]}")
        document: dict[str, Any] = json.loads(made.stdout)
        yield str(document["link"])
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(payload.CHECKOUT / "src")}


def own_python() -> Path:
    """The checkout's, which script/setup makes."""
    return Path(os.environ.get("VIDCONF_CHECK_PYTHON") or payload.CHECKOUT / ".venv" / "bin" / "python")
