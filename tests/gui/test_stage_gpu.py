"""The stage on a graphics card (Mesa's stand-in under Xvfb) beside the one without: the same looks, whatever happens to the window."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gui.stage_room import House, room
from gui.xvfb import needs_xvfb, on_a_screen
from pytestqt.qtbot import QtBot

from vidconf.client.settings import Settings
from vidconf.gui.stage import graphics as module
from vidconf.gui.stage.graphics import KEY, Graphics
from vidconf.gui.stage.raster import RasterCanvas

SCENES = Path(__file__).with_name("gpu_scenes.py")


@needs_xvfb
@pytest.mark.parametrize("scene", ["same", "moves", "passes", "slow", "named", "turns", "enters", "hostile"])
def test_on_a_screen(scene: str) -> None:
    assert on_a_screen(str(SCENES), scene).endswith("done\n")


@needs_xvfb
def test_on_a_screen_of_125_per_cent() -> None:
    assert on_a_screen(str(SCENES), "scaled", scale=1.25).endswith("done\n")


@needs_xvfb
def test_the_renderer_of_a_screen_is_named() -> None:
    name = json.loads(on_a_screen("-m", "vidconf.cli.main", "graphics"))["renderer"]
    assert module.is_software(name), name


def test_without_a_renderer_none_is_named() -> None:
    done = subprocess.run([sys.executable, "-m", "vidconf.cli.main", "graphics"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == {"renderer": ""}


@pytest.mark.qt_log_ignore("QRhi")
def test_a_window_without_a_renderer_goes_on_without_the_card(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WITHOUT", ())
    graphics = Graphics(Settings(command_line={KEY: "gpu"}))
    house = House(room(4), 960, 560, graphics)
    qtbot.waitUntil(lambda: isinstance(house.stage._canvas, RasterCanvas), timeout=5000)
    assert graphics.painter == "raster"
    house.films.write()
    qtbot.waitUntil(lambda: all(one["painted"] for one in house.stage.painted()))
    house.close()
    graphics.let_go()
