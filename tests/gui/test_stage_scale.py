"""On screens of 125 % and 200 %: pictures land pixel for pixel. The scale is a process's, so each is tried in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from PySide6.QtCore import QEventLoop, QTimer
from PySide6.QtGui import QColor, QImage
from PySide6.QtWidgets import QApplication
app = QApplication([])
from gui.stage_room import House, room
from vidconf.gui import theme
theme.apply(app, "dark")

def spin(ms):
    loop = QEventLoop()
    QTimer.singleShot(ms, loop.quit)
    loop.exec()

house = House(room(7, me="p6"), 701, 397)
spin(150)
ratio = house.stage.devicePixelRatioF()
assert ratio == float(sys.argv[1]), ratio
sizes = house.films.sizes()
shown = {one.content.track: one for one in house.stage._shown}
for track, one in shown.items():
    assert sizes[track] == (one.pixels.width(), one.pixels.height())
    assert abs(one.pixels.width() - one.area.width() * ratio) <= 1
    assert abs(one.pixels.x() - one.area.x() * ratio) <= 0.5
    width, height = sizes[track]
    row = b"".join((0xFF000000 | (0xFFFFFF if x % 2 else 0)).to_bytes(4, "little") for x in range(width))
    house.films.put(track, QImage(row * height, width, height, 4 * width, QImage.Format.Format_RGB32).copy())
spin(300)
image = house.grab()
assert (image.width(), image.height()) == (round(701 * ratio), round(397 * ratio)), image.size()
for track, one in shown.items():
    area, y = one.pixels, one.pixels.y() + one.pixels.height() // 2
    seen = [image.pixelColor(x, y).lightness() for x in range(area.x(), area.x() + area.width())]
    wanted = [255 if x % 2 else 0 for x in range(area.width())]
    assert seen == (wanted[::-1] if one.content.mirrored else wanted), track
    corner = image.pixelColor(area.x(), area.y())
    assert abs(corner.lightness() - QColor(theme.T["stage"]).lightness()) < 4, corner.name()
    for x in (area.x() - 1, area.x() + area.width()):
        assert image.pixelColor(x, y).lightness() < 20, (track, x)
house.close()
print("sharp")
"""


@pytest.mark.parametrize("scale", ["1.25", "1.5", "2"])
def test_every_pixel_of_a_picture_is_one_of_the_screen(scale: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, scale], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "QT_SCALE_FACTOR": scale, "QT_QPA_PLATFORM": "offscreen", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "sharp\n"), done.stderr
