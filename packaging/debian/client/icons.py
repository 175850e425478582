"""The program's icon in the sizes that desktops ask for, drawn from the SVG by Qt: `python icons.py --out DIR`. Needs PySide6, no display."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

SIZES = (16, 24, 32, 48, 64, 128, 256)
SOURCE = Path(__file__).resolve().parents[3] / "resources/icons/vidconf.svg"


def draw(out: Path) -> None:
    """`out`/48x48/apps/vidconf.png and so on, and the SVG itself. Raises OSError."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    from PySide6.QtCore import Qt
    from PySide6.QtGui import QGuiApplication, QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    app = QGuiApplication([])
    renderer = QSvgRenderer(str(SOURCE))
    if not renderer.isValid():
        raise OSError(f"{SOURCE} is no SVG that Qt reads")
    for size in SIZES:
        image = QImage(size, size, QImage.Format.Format_ARGB32)
        image.fill(Qt.GlobalColor.transparent)
        painter = QPainter(image)
        renderer.render(painter)
        painter.end()
        folder = out / f"{size}x{size}/apps"
        folder.mkdir(parents=True, exist_ok=True)
        if not image.save(str(folder / "vidconf.png")):
            raise OSError(f"{folder}/vidconf.png cannot be written")
    folder = out / "scalable/apps"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vidconf.svg").write_bytes(SOURCE.read_bytes())
    app.quit()


def main() -> int:
    parser = argparse.ArgumentParser(description="The program's icon in the sizes that desktops ask for.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the theme's folder (hicolor)")
    try:
        draw(parser.parse_args().out)
    except OSError as error:
        print(f"icons: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
