"""What is larger than the card's textures goes into one all the same: whole, in its colours, no smaller than it must be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtGui import QImage

from vidconf.engine.frame_ring import I420, Frame, i420_bytes, i420_stride
from vidconf.gui.stage.shrinking import fits, shrunk


def frame(width: int, height: int, luma: bytes | None = None, u: int = 90, v: int = 200) -> Frame:
    stride = i420_stride(width)
    rows = (luma or bytes((50,)) * width) + bytes(stride - width)
    chroma = bytes((u,)) * (stride // 2) + bytes((v,)) * (stride // 2)
    data = rows * height + chroma * ((height + 1) // 2)
    assert len(data) == i420_bytes(height, stride)
    return Frame(1, width, height, stride, I420, 0, 0, memoryview(data))


def at(image: QImage, x: int, y: int) -> int:
    return image.pixelColor(x, y).red()


@given(st.integers(2, 900), st.integers(2, 900), st.integers(32, 256))
def test_it_fits_and_keeps_its_colours(width: int, height: int, most: int) -> None:
    image, small_width, small_height = shrunk(frame(width, height), most)
    assert (image.width(), image.height()) == (i420_stride(small_width), small_height + (small_height + 1) // 2)
    assert fits(small_width, small_height, image.width(), most)
    for x in (0, small_width - 1):
        assert at(image, x, 0) == at(image, x, small_height - 1) == 50
    for x in (0, (small_width + 1) // 2 - 1):
        for y in (small_height, image.height() - 1):
            assert (at(image, x, y), at(image, image.width() // 2 + x, y)) == (90, 200)


def test_it_is_divided_evenly_and_no_more_than_it_must_be() -> None:
    slope = bytes(k // 4 for k in range(1000))
    image, width, height = shrunk(frame(1000, 400, slope), 600)
    assert (width, height) == (500, 200)
    assert [at(image, x, 100) for x in (0, 250, 499)] == pytest.approx([0, 125, 249], abs=1)
    _, width, height = shrunk(frame(1000, 400, slope), 2000)
    assert (width, height) == (1000, 400)
