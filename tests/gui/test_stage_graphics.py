"""Who paints: the setting, what a process of its own has found, and what the first passes show."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QProcess
from pytestqt.qtbot import QtBot

from vidconf.client.settings import Settings
from vidconf.gui.stage import graphics as module
from vidconf.gui.stage.graphics import BUSY_MS, KEY, PASSES, SLOW_MS, WARM_UP, Graphics, Trial, is_software

Make = Callable[..., Graphics]
CARD, SOFTWARE = "Mesa Intel(R) UHD Graphics 630 (CFL GT2)", "llvmpipe (LLVM 15.0.6, 256 bits)"

pytestmark = pytest.mark.usefixtures("qapp")


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch, qtbot: QtBot) -> Iterator[Make]:
    """`make(chosen, code)`: as on a platform that has renderers; the question is answered by the Python `code`."""
    monkeypatch.setattr(module, "WITHOUT", ())
    monkeypatch.setattr(module, "ASK_AFTER_MS", 0)
    monkeypatch.setattr(sys, "platform", "linux")
    made: list[Graphics] = []

    def build(chosen: str = "auto", code: str = "", settings: Settings | None = None) -> Graphics:
        settings = settings or Settings()
        settings.set(KEY, chosen)
        made.append(Graphics(settings, command=[sys.executable, "-c", code]))
        return made[-1]

    yield build
    for one in made:
        one.let_go()
        one.let_go()
        one.deleteLater()


def says(name: str) -> str:
    return f"import json; print(json.dumps({{'renderer': {name!r}}}))"


def asked(qtbot: QtBot, graphics: Graphics) -> None:
    graphics.start()
    qtbot.waitUntil(lambda: graphics._process is None, timeout=10_000)


def test_a_card_is_used_once_it_is_known(make: Make, qtbot: QtBot) -> None:
    graphics = make("auto", says(CARD))
    assert graphics.painter == "raster"  # until it has answered
    with qtbot.waitSignal(graphics.changed, timeout=10_000):
        graphics.start()
    assert (graphics.painter, graphics.renderer, graphics.on_trial) == ("gpu", CARD, True)


@pytest.mark.parametrize(
    "code",
    [
        says(SOFTWARE), says(""), "", "print('{')", "print('[]')", "print('[' * 100000)", "import os; os.abort()", "raise SystemExit(3)",
        "import os; os.write(1, bytes(range(256)) * 4000)", "print('{\"renderer\": null}')",
    ],
    ids=["software", "nameless", "silent", "broken", "no object", "deep", "crash", "failure", "garbage", "null"],
)  # fmt: skip
def test_anything_but_the_name_of_a_card_leaves_it_to_the_processor(make: Make, qtbot: QtBot, code: str) -> None:
    graphics = make("auto", code)
    changes: list[None] = []
    graphics.changed.connect(lambda: changes.append(None))
    asked(qtbot, graphics)
    assert (graphics.painter, changes) == ("raster", [])


def test_a_question_that_cannot_be_put_or_is_never_answered(make: Make, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    graphics = make()
    graphics._command = ["/no/such/program"]
    asked(qtbot, graphics)
    assert graphics.painter == "raster"
    monkeypatch.setattr(module, "ANSWER_MS", 300)
    hanging = make("auto", "import time; time.sleep(60)")
    asked(qtbot, hanging)
    assert hanging.painter == "raster"


def test_who_is_gone_does_not_wait_for_an_answer(make: Make, qtbot: QtBot) -> None:
    graphics = make("auto", "import time; time.sleep(60)")
    graphics.start()
    process = graphics._process
    assert process is not None
    qtbot.waitUntil(lambda: process.state() == QProcess.ProcessState.Running)
    pid = process.processId()
    graphics.let_go()
    assert not Path(f"/proc/{pid}").exists()


def test_the_setting_is_obeyed_at_once_and_needs_no_question(make: Make) -> None:
    settings = Settings()
    graphics = make("gpu", settings=settings)
    told: list[str] = []
    graphics.changed.connect(lambda: told.append(graphics.painter))
    graphics.start()
    assert (graphics.painter, graphics.on_trial, graphics._process) == ("gpu", False, None)
    settings.set(KEY, "raster")
    graphics.start()
    assert graphics._process is None
    settings.set(KEY, "gpu")
    assert told == ["raster", "gpu"]


def test_back_to_finding_out_by_itself(make: Make, qtbot: QtBot) -> None:
    settings = Settings()
    graphics = make("raster", says(CARD), settings)
    with qtbot.waitSignal(graphics.changed, timeout=10_000):
        settings.set(KEY, "auto")
    assert graphics.painter == "gpu"


def test_a_card_that_fails_is_left_alone_even_when_asked_for(make: Make) -> None:
    graphics = make("gpu")
    told: list[str] = []
    graphics.changed.connect(lambda: told.append(graphics.painter))
    graphics.failed("unavailable")
    graphics.failed("unavailable")
    assert told == ["raster"]


def test_a_card_that_is_slow_is_left_alone_until_it_is_asked_for(make: Make, qtbot: QtBot) -> None:
    settings = Settings()
    graphics = make("auto", says(CARD), settings)
    asked(qtbot, graphics)
    graphics.failed("slow")
    assert graphics.painter == "raster"
    graphics.start()
    assert graphics._process is None
    settings.set(KEY, "gpu")
    assert (graphics.painter, graphics.on_trial) == ("gpu", False)


def test_where_qt_has_no_renderer_nobody_is_asked() -> None:
    graphics = Graphics(Settings(command_line={KEY: "gpu"}))  # these tests' own platform
    graphics.start()
    assert (graphics.painter, graphics._process) == ("raster", None)
    graphics.let_go()


@pytest.mark.parametrize("name", [SOFTWARE, "softpipe", "SwiftShader Device (Subzero)", "Microsoft Basic Render Driver", "GDI Generic", "Software Rasterizer"])
def test_names_of_the_processor_in_disguise(name: str) -> None:
    assert is_software(name)


@pytest.mark.parametrize("name", [CARD, "NVIDIA GeForce GT 710/PCIe/SSE2", "AMD Radeon(TM) Graphics", "Apple M2", "virgl (AMD)", "V3D 4.2"])
def test_names_of_cards(name: str) -> None:
    assert not is_software(name)


@given(st.text(max_size=300))
def test_any_name_will_do(name: str) -> None:
    assert is_software(name) in (True, False)


@pytest.mark.parametrize(("took", "cpu", "verdict"), [(2, 1, "good"), (17, 2, "good"), (SLOW_MS + 1, 1, "slow"), (20, BUSY_MS + 1, "slow"), (SLOW_MS - 0.1, BUSY_MS - 0.1, "good")])
def test_a_second_of_passes_decides(took: float, cpu: float, verdict: str) -> None:
    trial = Trial()
    said = [trial.add(80.0, 60.0) for _ in range(WARM_UP)]  # shaders are made in these
    said += [trial.add(took if n % 3 else 3 * took, cpu) for n in range(PASSES - 1)]  # now and then the machine is busy
    assert said == [None] * (WARM_UP + PASSES - 1)
    assert trial.add(took, cpu) == verdict
