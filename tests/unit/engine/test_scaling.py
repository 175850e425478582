"""What the window gets to paint: sizes, crops, rings that grow."""

from __future__ import annotations

from collections.abc import Callable

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.frame_ring import BGRX, BT709, FULL_RANGE, I420, RingReader
from vidconf.engine.scaling import Scaler, TileWriter, cover_size, fit_size, in_blocks

sides = st.integers(2, 3000)


def picture(width: int, height: int, luma: Callable[[int, int], int]) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    y, u, v = frame.planes
    y.update(b"".join(bytes(luma(x, row) for x in range(width)) + bytes(y.line_size - width) for row in range(height)))
    for chroma in (u, v):
        chroma.update(b"\x80" * chroma.buffer_size)
    return frame


@given(sides, sides, sides, sides)
def test_sizes_cover_or_fit(width: int, height: int, tile_width: int, tile_height: int) -> None:
    covered = cover_size(width, height, tile_width, tile_height)
    assert covered[0] >= tile_width
    assert covered[1] >= tile_height
    assert not (covered[0] | covered[1]) & 1
    assert min(covered[0] - tile_width, covered[1] - tile_height) <= 2
    inside = fit_size(width, height, tile_width, tile_height)
    assert inside[0] <= max(2, tile_width)
    assert inside[1] <= max(2, tile_height)
    assert not (inside[0] | inside[1]) & 1


def test_fill_crops_the_middle_and_fit_shows_all() -> None:
    rings: list[str] = []
    tile = TileWriter(rings.append)
    # left quarter black, middle half grey, right quarter white
    frame = picture(640, 360, lambda x, y: 16 if x < 160 else 235 if x >= 480 else 126)
    assert not tile.show(frame), "nobody watches yet"
    tile.watch(171, 203)
    assert tile.show(frame, 5)
    assert rings == [tile.ring]
    reader = RingReader(rings[0])
    shown = reader.newest()
    assert shown is not None
    assert (shown.width, shown.height, shown.format, shown.pts_us) == (171, 203, BGRX, 5)
    row = bytes(shown.data[100 * shown.stride : 100 * shown.stride + 4 * shown.width])
    assert set(row[3::4]) == {255}
    assert all(110 < v < 145 for v in row[0::4]), "the dark and the bright quarter are cropped away"
    tile.watch(171, 203, fill=False)
    assert tile.show(frame)
    shown = reader.newest()
    assert shown is not None
    assert (shown.width, shown.height) == (170, 96)
    row = bytes(shown.data[50 * shown.stride : 50 * shown.stride + 4 * shown.width])
    assert row[0] < 10
    assert row[4 * 169] > 245
    reader.close()
    tile.close()
    assert not tile.show(frame)


@given(sides, sides)
def test_whole_blocks_keep_the_shape(width: int, height: int) -> None:
    wide, high = in_blocks(width, height)
    assert wide % 8 == 0
    assert width <= wide < width + 8
    assert height <= high
    assert abs(high - height * wide / width) <= 2


@pytest.mark.parametrize("resized", [True, False])
def test_every_column_is_written_at_every_width(resized: bool) -> None:
    """What the scaler leaves out would show what lay in memory before."""
    bright = picture(640, 360, lambda x, y: 200)
    for width in range(240, 296, 2):
        frame = bright if resized else picture(width, 146, lambda x, y: 200)
        dirt = [av.VideoFrame(width, 146, "bgra") for _ in range(4)]
        for one in dirt:
            one.planes[0].update(b"\x11" * one.planes[0].buffer_size)
        del dirt, one
        plane = Scaler().bgrx(frame, width, 146).planes[0]
        data = bytes(plane)
        for row in (0, 73, 145):
            line = data[row * plane.line_size : row * plane.line_size + 4 * width]
            assert min(line) > 150, (width, row, line[-32:])


def test_a_larger_tile_makes_a_new_ring_and_a_smaller_one_does_not() -> None:
    rings: list[str] = []
    tile = TileWriter(rings.append)
    frame = picture(320, 180, lambda x, y: 100)
    for width, height in ((320, 180), (160, 90), (324, 182), (1280, 720), (640, 360)):
        tile.watch(width, height)
        assert tile.show(frame)
    assert len(rings) == 2
    reader = RingReader(rings[-1])
    assert reader.newest() is not None
    reader.close()
    tile.close()


def test_a_ring_that_is_far_too_large_is_given_back() -> None:
    """One's own tile was alone in the window, then it is one of nine."""
    rings: list[str] = []
    tile = TileWriter(rings.append)
    frame = picture(320, 180, lambda x, y: 100)
    for width, height in ((1280, 720), (416, 234), (414, 232), (416, 234)):
        tile.watch(width, height)
        assert tile.show(frame)
    assert len(rings) == 2
    reader = RingReader(rings[-1])
    shown = reader.newest()
    assert shown is not None
    assert (shown.width, shown.height) == (416, 234)
    reader.close()
    tile.close()


@pytest.mark.parametrize("form", ["yuv420p", "yuvj420p", "rgb24", "yuyv422"])
def test_i420_keeps_the_picture_as_decoded(form: str) -> None:
    rings: list[str] = []
    tile = TileWriter(rings.append)
    tile.watch(100, 100, "i420")
    assert tile.show(picture(322, 182, lambda x, y: 126).reformat(format=form))
    reader = RingReader(rings[0])
    shown = reader.newest()
    assert shown is not None
    assert (shown.width, shown.height, shown.format & 0xFF) == (322, 182, I420)
    assert 100 < shown.data[50 * shown.stride + 50] < 150
    assert shown.format & FULL_RANGE == (FULL_RANGE if form == "yuvj420p" else 0)
    reader.close()
    tile.close()


@pytest.mark.parametrize(
    ("space", "full", "said"),
    [(2, 0, 0), (5, 1, 0), (6, 1, 0), (1, 1, BT709), (1, 2, BT709 | FULL_RANGE), (5, 2, FULL_RANGE), (9, 1, 0)],
)
def test_i420_says_how_its_colours_are_meant(space: int, full: int, said: int) -> None:
    rings: list[str] = []
    tile = TileWriter(rings.append)
    tile.watch(100, 100, "i420")
    frame = picture(64, 36, lambda x, y: 126)
    frame.colorspace, frame.color_range = space, full
    assert tile.show(frame)
    reader = RingReader(rings[0])
    shown = reader.newest()
    assert shown is not None
    assert shown.format == I420 | said
    reader.close()
    tile.close()
