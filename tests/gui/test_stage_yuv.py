"""Colours and places that the shader is given, against the definitions they come from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QRect, QSize
from PySide6.QtGui import QColor

from vidconf.engine.frame_ring import BT709, FULL_RANGE, I420
from vidconf.engine.scaling import fit_size
from vidconf.gui.stage.canvas import fitted
from vidconf.gui.stage.yuv import FLOATS, VERTICES, colour_terms, crop, quad

sides = st.integers(2, 4000)


def rgb(fmt: int, y: int, u: int, v: int) -> tuple[int, int, int]:
    """As the shader reckons."""
    v_to_r, u_to_g, v_to_g, u_to_b, offset, gain = colour_terms(fmt)
    luma, cu, cv = gain * (y / 255 - offset), u / 255 - 0.50196, v / 255 - 0.50196
    seen = (luma + v_to_r * cv, luma - u_to_g * cu - v_to_g * cv, luma + u_to_b * cu)
    red, green, blue = (round(255 * min(1.0, max(0.0, part))) for part in seen)
    return red, green, blue


@pytest.mark.parametrize(
    ("fmt", "yuv", "expected"),
    [
        (I420, (16, 128, 128), (0, 0, 0)), (I420, (235, 128, 128), (255, 255, 255)), (I420, (81, 90, 240), (255, 0, 0)),
        (I420, (145, 54, 34), (0, 255, 0)), (I420, (41, 240, 110), (0, 0, 255)),
        (I420 | BT709, (63, 102, 240), (255, 0, 0)), (I420 | BT709, (173, 42, 26), (0, 255, 0)), (I420 | BT709, (32, 240, 118), (0, 0, 255)),
        (I420 | FULL_RANGE, (0, 128, 128), (0, 0, 0)), (I420 | FULL_RANGE, (255, 128, 128), (255, 255, 255)),
        (I420 | FULL_RANGE, (76, 85, 255), (255, 0, 0)),
    ],
)  # fmt: skip
def test_pure_colours_of_each_standard(fmt: int, yuv: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert all(abs(a - b) <= 2 for a, b in zip(rgb(fmt, *yuv), expected, strict=True)), (rgb(fmt, *yuv), expected)


@given(sides, sides, sides, sides)
def test_what_fills_keeps_its_shape_and_its_middle(width: int, height: int, w: int, h: int) -> None:
    u0, v0, u1, v1 = crop(QSize(width, height), QSize(w, h), fill=True, mirrored=False)
    assert 0 <= u0 < u1 <= 1.0000001
    assert 0 <= v0 < v1 <= 1.0000001
    assert u0 + u1 == pytest.approx(1)
    assert v0 + v1 == pytest.approx(1)
    assert (u1 - u0) * width / ((v1 - v0) * height) == pytest.approx(w / h, rel=1e-6)
    assert max(u1 - u0, v1 - v0) == pytest.approx(1)


@given(sides, sides, sides, sides)
def test_what_is_fitted_is_seen_whole_where_the_engine_would_put_it(width: int, height: int, w: int, h: int) -> None:
    picture, tile = QSize(width, height), QSize(w, h)
    size = fitted(picture, tile)
    assert (size.width(), size.height()) == fit_size(width, height, w, h)
    u0, v0, u1, v1 = crop(picture, tile, fill=False, mirrored=False)
    left, top = -u0 * size.width(), -v0 * size.height()
    assert left == pytest.approx(round(left), abs=1e-6)  # on whole pixels
    assert top == pytest.approx(round(top), abs=1e-6)
    assert (u1 - u0) * size.width() == pytest.approx(w)
    assert (v1 - v0) * size.height() == pytest.approx(h)


def test_a_mirror_changes_left_and_right_only() -> None:
    as_sent = crop(QSize(640, 360), QSize(200, 200), fill=True, mirrored=False)
    seen = crop(QSize(640, 360), QSize(200, 200), fill=True, mirrored=True)
    assert seen == (as_sent[2], as_sent[1], as_sent[0], as_sent[3])


def test_a_quad_is_four_corners_of_the_same() -> None:
    numbers = list(quad(QRect(3, 5, 40, 30), (0, 0, 1, 1), QSize(64, 36), 64, I420, QColor(255, 0, 51), True))
    assert len(numbers) == VERTICES * FLOATS
    rows = [numbers[n * FLOATS : (n + 1) * FLOATS] for n in range(VERTICES)]
    assert all(row[: FLOATS - 2] == rows[0][: FLOATS - 2] for row in rows)
    assert [row[-2:] for row in rows] == [[0, 0], [1, 0], [0, 1], [1, 1]]
    assert rows[0][:12] == [3, 5, 40, 30, 0, 0, 1, 1, 64, 36, 64, 1.0]
    assert rows[0][12:15] == pytest.approx([1, 0, 0.2], abs=1e-4)
