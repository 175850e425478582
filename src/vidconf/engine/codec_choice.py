"""By which codec a picture of ours is sent: what suits the source, what was asked for, what the server takes. Pure; any thread."""

from __future__ import annotations

from collections.abc import Iterable

from vidconf.engine.api import Source
from vidconf.engine.ladder import MAX_LAYERS

CAMERA_CODECS = ("vp8", "h264")
"""What a camera can be sent by, the usual one first."""


def suitable(source: Source, asked: str = "", *, vp9: bool) -> tuple[str, ...]:
    """The codecs (`a=rtpmap`'s names in lower case) a source can be sent by, the best first. `asked`: of CAMERA_CODECS, to be preferred
    for a camera; `vp9`: this PC has an encoder of it. Letters and lines are sharper in VP9, at half the rate."""
    if source == "screen_share":
        return (*(("vp9",) if vp9 else ()), *CAMERA_CODECS)
    return (asked, *(c for c in CAMERA_CODECS if c != asked)) if asked in CAMERA_CODECS else CAMERA_CODECS


def taken(codecs: tuple[str, ...], enabled: Iterable[str]) -> tuple[str, ...]:
    """Of `codecs` those that the server lets clients publish, as it lists them (`enabled_publish_codecs`: `video/H264`, …). One that
    lists no picture's codec says nothing; of one that takes none of ours the answer to the offer will tell."""
    named = {mime.lower().removeprefix("video/") for mime in enabled if mime.lower().startswith("video/")}
    return tuple(c for c in codecs if c in named) or codecs


def most_layers(codec: str) -> int:
    """In how many sizes a picture may be sent. SFUs take several streams of VP9 for something else than they are in VP8 and H.264."""
    return 1 if codec == "vp9" else MAX_LAYERS
