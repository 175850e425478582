"""No text is cut, nothing lies over anything, nothing is without a name: every page and sheet, in both languages, at the least size,
at 800×600, at 1280×800, and on a screen of 200 %."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gui import fitting, states

import vidconf
from vidconf import words
from vidconf.client.settings import Settings
from vidconf.client.store import Store
from vidconf.gui.page import Page
from vidconf.gui.parts import Text, breakable

TESTS, SRC = Path(__file__).parent.parent, Path(vidconf.__file__).parent.parent


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Page, "now", staticmethod(lambda: states.NOW))


@pytest.mark.parametrize("size", fitting.SIZES, ids=["640x480", "800x600", "1280x800"])
def test_everything_has_its_room(size: tuple[int, int]) -> None:
    assert fitting.walk((size,)) == []


def test_everything_has_its_room_at_200_percent() -> None:
    """The scale is a process's. 1920×1080 at 200 % is 960×540."""
    environment = {**os.environ, "QT_SCALE_FACTOR": "2", "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": f"{SRC}:{TESTS}"}
    done = subprocess.run([sys.executable, "-m", "gui.fitting"], env=environment, capture_output=True, text=True, timeout=110, cwd=TESTS, check=False)
    assert (done.stdout.strip(), done.returncode) == ("", 0), done.stderr[-2000:]


# ---- that the measure would find what is wrong ----


def test_the_measure_finds_what_is_cut() -> None:
    words.set_language("vi")
    store = Store()
    window = fitting.show(store, Settings(), states.home(), None, 1280, 800)
    page = window.page
    assert page is not None
    assert fitting.faults(window) == []
    narrow = Text("Máy chủ hình và tiếng chưa sẵn sàng", "strong")
    narrow.setParent(page)
    narrow.setGeometry(300, 600, 80, 20)
    narrow.show()
    low = Text("Một câu dài hơn một dòng, nên cần nhiều dòng hơn chỗ đang có", wrap=True)
    low.setParent(page)
    low.setGeometry(300, 640, 120, 20)
    low.show()
    host = Text("hoi-nghi.nongnghiepvamoitruong.thuathienhue.example.vn".replace("-", ""), wrap=True)
    host.setParent(page)
    host.setGeometry(600, 640, 120, 100)
    host.show()
    over = Text("Ở trên", "strong")
    over.setParent(page)
    over.setGeometry(620, 650, 100, 20)
    over.show()
    found = " / ".join(fitting.faults(window))
    assert "'Máy chủ hình và tiếng chưa sẵn sàng' needs" in found
    assert "lines of pixels" in found
    assert "a word of" in found
    assert "lie over one another" in found
    fitting.let_go(window)


def test_a_host_breaks_at_its_dots_and_before_it_is_too_long() -> None:
    assert breakable("hop.example.vn") == "hop.\u200bexample.\u200bvn"
    broken = breakable("a" * 63 + ".vn")
    assert max(len(part) for part in broken.split("\u200b")) <= 25
    assert broken.replace("\u200b", "") == "a" * 63 + ".vn"
