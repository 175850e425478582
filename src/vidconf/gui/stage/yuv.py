"""How a tile of planar video is put down by the shader `resources/shaders/tile.*`: colours, and which part is seen. Pure arithmetic.

Used by `gpu` on the window's thread; sizes are pixels, colours 0…1.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QColor

from vidconf.engine.frame_ring import BT709, FULL_RANGE
from vidconf.gui.stage.canvas import fitted

FLOATS = 24
"""Of a vertex: six times four."""
VERTICES = 4
"""Of a tile."""
_CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))

Crop = tuple[float, float, float, float]
"""u0, v0, u1, v1 of the picture; beyond 0…1 there is none."""


def colour_terms(fmt: int) -> tuple[float, float, float, float, float, float]:
    """V to R, U to G, V to G, U to B, luma offset, luma gain: ITU-R BT.601 or BT.709, limited or full range, by a ring's `format`."""
    kr, kb = (0.2126, 0.0722) if fmt & BT709 else (0.299, 0.114)
    kg = 1 - kr - kb
    c = 1.0 if fmt & FULL_RANGE else 255 / 224
    offset, gain = (0.0, 1.0) if fmt & FULL_RANGE else (16 / 255, 255 / 219)
    return 2 * (1 - kr) * c, 2 * (1 - kb) * kb / kg * c, 2 * (1 - kr) * kr / kg * c, 2 * (1 - kb) * c, offset, gain


def crop(picture: QSize, tile: QSize, *, fill: bool, mirrored: bool) -> Crop:
    """What of `picture` the tile shows. `fill`: cut to the tile's shape, from the middle; else all of it, in the middle of the tile and
    on whole pixels, as the raster stage puts it down."""
    if fill:
        ratio = (tile.width() / tile.height()) / (picture.width() / picture.height())  # above 1: the tile is the wider one
        u, v = (1.0, 1 / ratio) if ratio > 1 else (ratio, 1.0)
        u0, v0, u1, v1 = 0.5 - u / 2, 0.5 - v / 2, 0.5 + u / 2, 0.5 + v / 2
    else:
        size = fitted(picture, tile)
        left, top = (tile.width() - size.width()) // 2, (tile.height() - size.height()) // 2
        u0, v0 = -left / size.width(), -top / size.height()
        u1, v1 = u0 + tile.width() / size.width(), v0 + tile.height() / size.height()
    return (u1, v0, u0, v1) if mirrored else (u0, v0, u1, v1)


def quad(at: QRect, seen: Crop, size: QSize, stride: int, fmt: int, ground: QColor, picture: bool) -> Iterator[float]:
    """The tile's four vertices, as tile.vert takes them: `VERTICES` × `FLOATS` numbers."""
    v_to_r, u_to_g, v_to_g, u_to_b, offset, gain = colour_terms(fmt)
    same = (
        at.x(), at.y(), at.width(), at.height(), *seen, size.width(), size.height(), stride, 1.0 if picture else 0.0,
        ground.redF(), ground.greenF(), ground.blueF(), 1.0, v_to_r, u_to_g, v_to_g, u_to_b, offset, gain,
    )  # fmt: skip
    for corner in _CORNERS:
        yield from same
        yield from corner
