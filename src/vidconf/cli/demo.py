"""`vidconf demo`: the main job on one machine: a server, a meeting, simulated participants, and the window as its chair.

With a display the window is the user's; without one (or `--headless`) a small script plays the chair on Qt's offscreen
platform and leaves screenshots, the sound and a report in `demo-report/`. Children are ended by their own process id.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from vidconf.cli.demo_cast import cast
from vidconf.cli.demo_scene import DemoError, Scene
from vidconf.starting import own_command

log = logging.getLogger("vidconf.demo")

TITLE = "Họp giao ban công tác quản lý đất đai"
READY_S, STOP_S, REPORT_S = 40.0, 6.0, 20.0
LATE_S = 3.0
REPORT_FOLDER = "demo-report"


def has_display() -> bool:
    return sys.platform != "linux" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@click.command("demo")
@click.option("--participants", default=5, show_default=True, type=click.IntRange(1, 40), metavar="N", help="Simulated; the last one knocks.")
@click.option("--headless", is_flag=True, help="Without a display: screenshots and a report in demo-report/.")
@click.option("--seconds", default=None, type=click.FloatRange(10, 3600), metavar="S", help="End by itself. Headless: 20.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON document on stdout.")
def command(participants: int, headless: bool, seconds: float | None, as_json: bool) -> None:
    """A meeting to look at: simulated provinces and units with moving pictures and speech, and the window as its chair."""
    headless = headless or not has_display()
    if headless:
        os.environ["QT_QPA_PLATFORM"] = "offscreen"
        seconds = 20.0 if seconds is None else seconds
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for noisy in ("qasync", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    from vidconf.cli.demo_window import play

    folder = Path(REPORT_FOLDER).resolve()
    try:
        with set_up(participants) as scene:
            report = play(scene, folder, headless=headless, seconds=seconds)
            report["bots"] = _reports_of(scene.cast)
    except DemoError as error:
        raise click.ClickException(str(error)) from None
    if headless:
        (folder / "report.json").write_text(json.dumps(report, ensure_ascii=False, indent=2), encoding="utf-8")
    if as_json:
        print(json.dumps(report, ensure_ascii=False))
    elif headless:
        _tell(report, folder)


@contextlib.contextmanager
def set_up(participants: int) -> Iterator[Scene]:
    """Server, meeting and cast; all of it gone afterwards."""
    with contextlib.ExitStack() as end:
        data = Path(end.enter_context(tempfile.TemporaryDirectory(prefix="vidconf-demo-")))
        server = _start(["serve", "--port", "0", "--data", str(data / "server")])
        end.callback(_stop, server)
        origin = _ready(server)
        made = _make_meeting(data / "server")
        parts = tuple(cast(participants))
        player = _start(["cast"], stdin=subprocess.PIPE)
        end.callback(_stop, player)
        assert player.stdin is not None
        told = {"link": made["link"], "late_s": LATE_S, "parts": [dataclasses.asdict(part) for part in parts]}
        player.stdin.write(json.dumps(told) + "\n")
        player.stdin.flush()  # `communicate` closes it at the end
        yield Scene(str(made["chair_link"]), origin, parts, player, data / "server")


def _start(words: list[str], stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    return subprocess.Popen(
        own_command(*words, "--parent", str(os.getpid())),
        stdin=stdin, stdout=subprocess.PIPE, text=True, encoding="utf-8",
    )  # fmt: skip


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _ready(server: subprocess.Popen[str]) -> str:
    """The server's URL, once it listens."""
    assert server.stdout is not None
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(server.stdout.readline() if server.stdout else ""), daemon=True)
    reader.start()
    reader.join(READY_S)
    word, _, url = (found[0] if found else "").strip().partition(" ")
    if word != "ready":
        raise DemoError("the server did not start; its own words are above")
    return url


def _make_meeting(data: Path) -> dict[str, Any]:
    facts = json.loads((data / "server.json").read_text(encoding="utf-8"))
    request = urllib.request.Request(
        f"{facts['local_url']}/api/v1/meetings", method="POST", data=json.dumps({"title": TITLE}).encode(),
        headers={"Authorization": f"Bearer {facts['admin_key']}", "Content-Type": "application/json"},
    )  # fmt: skip
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: no proxy has a say
    try:
        with opener.open(request, timeout=15) as response:
            made: dict[str, Any] = json.load(response)
            return made
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise DemoError(f"the meeting could not be made: {error}") from None


def _reports_of(player: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """What the simulated participants saw and heard; they end now."""
    if player.poll() is None:
        player.terminate()
    try:
        printed, _ = player.communicate(timeout=REPORT_S)
        reports: list[dict[str, Any]] = json.loads(printed)["bots"]
    except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
        log.error("the participants left no report: %s", error)
        return []
    return reports


def _tell(report: dict[str, Any], folder: Path) -> None:
    print(f"{report['participants']} in the meeting, {report['admitted']} admitted from the lobby, {report['chat_messages']} chat messages")
    for track in report["window"]["tracks"]:
        if track.get("painted_fps") is not None:
            print(f"  {track['name']} ({track['source']}): {track['painted_fps']} pictures a second painted, {track['width']}×{track['height']}")
    sound = report["window"]["sound"]
    print(f"sound: {sound['rms_dbfs']} dBFS over {sound['seconds']} s")
    print(f"window: {report['window']['cpu_percent']} % of a core, {report['window']['rss_mb']} MB; "
          f"engine: {report['window']['engine'].get('cpu_percent')} %, {report['window']['engine'].get('rss_mb')} MB")  # fmt: skip
    print(f"screenshots, sound and report: {folder}")
