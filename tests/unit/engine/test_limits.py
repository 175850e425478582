"""What administrators let a client send and ask for: height of pictures, rate of all pictures together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine import api
from vidconf.engine.allocation import Allocator, Need
from vidconf.engine.ladder import layers
from vidconf.engine.send_control import FLOOR_BPS, SendControl
from vidconf.engine.session import Session
from vidconf.engine.video_publication import SHAPES, VideoPublication, VideoShape
from vidconf.engine.wanted_size import WantedSize

# ---- what is sent ----


@pytest.mark.parametrize(
    ("height", "size"),
    [(0, (1280, 720)), (1080, (1280, 720)), (720, (1280, 720)), (540, (960, 540)), (360, (640, 360)), (181, (320, 180)), (1, (2, 2))],
)
def test_a_cameras_shape_within_a_height(height: int, size: tuple[int, int]) -> None:
    shape = SHAPES["camera"].within(height)
    assert (shape.width, shape.height) == size
    assert (shape.fps, shape.max_bps) == (30, 2_500_000)


@given(st.integers(0, 2160), st.sampled_from([(1280, 720), (1920, 1080), (640, 480), (720, 1280)]))
def test_a_shape_is_never_higher_nor_larger_than_it_was(height: int, size: tuple[int, int]) -> None:
    before = VideoShape(*size, 30, 1_000_000)
    after = before.within(height)
    assert after.width <= before.width
    assert after.height <= (min(before.height, max(2, height)) if height else before.height)
    assert (after.width | after.height) & 1 == 0


async def test_a_camera_is_asked_for_the_smaller_picture_also_when_it_is_open() -> None:
    session = Session(lambda event: None)
    try:
        session.handle(api.SetLimits(max_height=360))
        session.handle(api.OpenSource("camera", "lavfi:testsrc2=size=1280x720:rate=10", muted=True))
        camera = session.publications["camera"]
        assert isinstance(camera, VideoPublication)
        assert (camera.shape.width, camera.shape.height) == (640, 360)
        assert max(layer.height for layer in camera.plan()) == 360
        session.handle(api.SetLimits())
        assert (camera.shape.width, camera.shape.height) == (1280, 720)
        session.handle(api.SetLimits(max_height=180))
        assert (camera.shape.width, camera.shape.height) == (320, 180)
        session.handle(api.OpenSource("screen_share", "lavfi:testsrc2=size=1280x720:rate=10", muted=True))
        share = session.publications["screen_share"]
        assert isinstance(share, VideoPublication)
        assert share.shape.height == 1080, "a page that cannot be read is no use to anybody"
    finally:
        await session.close()


# ---- the rate ----


def control() -> SendControl:
    return SendControl(lambda: None, lambda: (), lambda: None)


def test_the_rate_of_all_pictures_has_its_ceiling() -> None:
    made = control()
    made.allow(3_000_000, 4_000_000)
    assert made.rate.ceiling_bps == 4_800_000
    made.allow(3_000_000, 4_000_000, limit_bps=600_000)
    assert made.rate.ceiling_bps == 600_000
    assert made.target_bps <= 600_000
    made.allow(3_000_000, 4_000_000, limit_bps=1000)
    assert made.rate.ceiling_bps == FLOOR_BPS
    made.allow(3_000_000, 4_000_000)
    assert made.rate.ceiling_bps == 4_800_000
    made.close()


# ---- what is asked for ----

LAYERS = (180, 360, 720)


@pytest.mark.parametrize(
    ("limit", "known", "shown", "asked"),
    [
        (0, LAYERS, 1080, 1080), (360, LAYERS, 1080, 360), (500, LAYERS, 1080, 360), (360, LAYERS, 100, 100), (100, LAYERS, 1080, 180),
        (360, (), 1080, 360), (360, (720,), 1080, 720),
    ],
)  # fmt: skip
def test_no_larger_layer_is_asked_for_than_the_limit(limit: int, known: tuple[int, ...], shown: int, asked: int) -> None:
    size = WantedSize()
    size.set_layers(known)
    size.limit(limit)
    assert size.settled((shown * 16 // 9, shown), 10.0)[1] == asked


def test_a_limit_that_comes_while_a_picture_is_shown_holds_at_once() -> None:
    size = WantedSize()
    size.set_layers(LAYERS)
    assert size.settled((1280, 720), 10.0) == (1280, 720)
    size.limit(360)
    assert size.settled((1280, 720), 10.1) == (640, 360)
    size.limit(0)
    assert size.settled((1280, 720), 10.2) == (1280, 720)


def test_the_layers_of_a_camera_share_what_administrators_set() -> None:
    needs = {"camera": Need(layers(1280, 720), (True, True, True))}
    for kbps in (100, 250, 600, 1500):
        assert sum(Allocator().share(kbps * 1000, needs, 10.0)["camera"]) <= kbps * 1000
