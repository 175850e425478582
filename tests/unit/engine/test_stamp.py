"""The painted time code, through a hard encoder and scaling."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.engine.media import picture

from vidconf.engine import stamp
from vidconf.engine.codecs.vp8 import Vp8Decoder, Vp8Encoder


@given(st.integers(0, 1 << 45), st.sampled_from([(320, 180), (640, 360), (1280, 720), (854, 480), (322, 182)]))
def test_what_was_painted_is_read(at_ms: int, size: tuple[int, int]) -> None:
    assert stamp.read(stamp.paint(picture(*size), at_ms)) == at_ms & 0xFFFFFFFF


@pytest.mark.parametrize("scaled", [(640, 360), (320, 180), (1280, 720), (480, 270), (426, 240)])
def test_it_survives_150_kilobits_and_scaling(scaled: tuple[int, int]) -> None:
    encoder, decoder = Vp8Encoder(640, 360, 30, 150_000), Vp8Decoder()
    read = 0
    for k in range(40):
        sent = 1_764_000_000_000 + 33 * k
        shown = decoder.decode(encoder.encode(stamp.paint(picture(640, 360, k), sent)) or b"")
        assert shown is not None
        found = stamp.read(shown.reformat(*scaled))
        assert found in (None, sent & 0xFFFFFFFF), "never a wrong one"
        read += found is not None
    assert read >= 36


def test_pictures_without_a_stamp_have_none() -> None:
    assert sum(stamp.read(picture(640, 360, k)) is not None for k in range(50)) == 0
    assert stamp.read(picture(64, 36)) is None
    assert stamp.read(picture(640, 360).reformat(format="rgb24")) is None


def test_grey_anywhere_is_no_stamp() -> None:
    """Also in the first square, whose digit could be taken for a sign."""
    for column in (0, 7, 19):
        frame = stamp.paint(picture(640, 360), 1_764_000_000_000)
        luma, stride = memoryview(frame.planes[0]).cast("B"), frame.planes[0].line_size
        for y in range(16):
            luma[y * stride + 16 * column : y * stride + 16 * column + 16] = b"\x80" * 16
        assert stamp.read(frame) is None


def test_age() -> None:
    now = int(time.time() * 1000)
    assert 100 <= stamp.age_ms((now - 100) & 0xFFFFFFFF) < 1000
    assert stamp.age_ms((now + 50) & 0xFFFFFFFF) == 0.0
