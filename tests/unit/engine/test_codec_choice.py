"""What a picture is sent by, as the source, the user and the server have it."""

from __future__ import annotations

import pytest

from vidconf.engine.codec_choice import most_layers, suitable, taken

LIVEKIT = ("audio/opus", "audio/red", "video/VP8", "video/H264", "video/VP9", "video/AV1", "video/rtx")


@pytest.mark.parametrize(
    ("source", "asked", "vp9", "found"),
    [
        ("camera", "", True, ("vp8", "h264")),
        ("camera", "h264", True, ("h264", "vp8")),
        ("camera", "vp8", True, ("vp8", "h264")),
        ("camera", "av1", True, ("vp8", "h264")),
        ("screen_share", "", True, ("vp9", "vp8", "h264")),
        ("screen_share", "h264", True, ("vp9", "vp8", "h264")),
        ("screen_share", "", False, ("vp8", "h264")),
    ],
)
def test_the_best_is_first_and_the_others_follow(source: str, asked: str, vp9: bool, found: tuple[str, ...]) -> None:
    assert suitable(source, asked, vp9=vp9) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("enabled", "found"),
    [
        (LIVEKIT, ("vp9", "vp8", "h264")),
        (("audio/opus", "video/h264"), ("h264",)),
        (("video/VP8", "video/H264"), ("vp8", "h264")),
        ((), ("vp9", "vp8", "h264")),
        (("audio/opus",), ("vp9", "vp8", "h264")),
        (("video/AV1",), ("vp9", "vp8", "h264")),
    ],
)
def test_a_server_that_lists_codecs_gets_one_of_them(enabled: tuple[str, ...], found: tuple[str, ...]) -> None:
    assert taken(("vp9", "vp8", "h264"), enabled) == found


def test_only_vp9_has_a_single_size() -> None:
    assert [most_layers(codec) for codec in ("vp8", "h264", "vp9")] == [3, 3, 1]
