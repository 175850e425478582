"""The sizes one picture is sent in, and what each of them costs. Pure; any thread.

libwebrtc's figures (video/config/simulcast.cc, kSimulcastFormatsVP8) and LiveKit's names: `q`, `h`, `f` are LOW, MEDIUM, HIGH; two
layers are `q` and `h`; one has no name and is HIGH.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

LOW, MEDIUM, HIGH = 0, 1, 2
"""livekit.VideoQuality."""
NAMES = {1: ("",), 2: ("q", "h"), 3: ("q", "h", "f")}
_QUALITIES = {1: (HIGH,), 2: (LOW, MEDIUM), 3: (LOW, MEDIUM, HIGH)}
MAX_LAYERS = 3
_FORMATS = (
    # pixels, layers, most, enough when a larger one is sent as well, least: bits a second
    (0, 1, 0, 0, 30_000),
    (320 * 180, 1, 200_000, 150_000, 30_000),
    (480 * 270, 2, 450_000, 350_000, 150_000),
    (640 * 360, 2, 700_000, 500_000, 150_000),
    (960 * 540, 3, 1_200_000, 1_200_000, 350_000),
    (1280 * 720, 3, 2_500_000, 2_500_000, 600_000),
    (1920 * 1080, 3, 5_000_000, 4_000_000, 800_000),
)
_LEAST_BPS = 30_000
SCREEN_LAYERS_FROM = 960 * 540
"""A smaller window is sent in one size."""
_SCREEN_LEAST_BPS, _SCREEN_SMALL_BPS = 200_000, 300_000
"""libwebrtc's lower bound of a shared screen (kScreenshareDefaultTl0BitrateKbps), and what a page at half its size takes."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One size a picture is sent in: sides in pixels, even; rates in bits a second. Below `least_bps` it is not worth sending, at
    `enough_bps` more goes to the next larger one first, beyond `most_bps` nobody sees a difference."""

    rid: str
    quality: int
    width: int
    height: int
    least_bps: int
    enough_bps: int
    most_bps: int


def layers(width: int, height: int, *, screen: bool = False, most_bps: int | None = None, at_most: int = MAX_LAYERS) -> tuple[Layer, ...]:
    """The layers of a picture of this size (pixels, even), smallest first; the last is the picture as it is. `most_bps` caps the last
    one, `at_most` (1…3) their number."""
    pixels = width * height
    if screen:
        count = 2 if pixels >= SCREEN_LAYERS_FROM else 1
    else:
        count = next(most for least, most, *_ in reversed(_FORMATS) if pixels >= least)
    count = min(count, at_most)
    found = []
    for k, (rid, quality) in enumerate(zip(NAMES[count], _QUALITIES[count], strict=True)):
        shift = count - 1 - k
        wide, high = max(2, (width >> shift) & ~1), max(2, (height >> shift) & ~1)
        least, enough, most = _screen_rates(shift, most_bps) if screen else _rates(wide * high)
        if not shift:
            most = min(most, most_bps) if most_bps else most
            enough = most if count == 1 and not screen else min(enough, most)
        found.append(Layer(rid, quality, wide, high, min(least, most), enough, most))
    return tuple(found)


def _rates(pixels: int) -> tuple[int, int, int]:
    """(least, enough, most) of a camera's picture, between the formats by its pixels."""
    for (below, _, *low), (above, _, *high) in itertools.pairwise(_FORMATS):
        if pixels <= above:
            part = (pixels - below) / (above - below)
            most, enough, least = (round(a + part * (b - a)) for a, b in zip(low, high, strict=True))
            break
    else:
        most, enough, least = _FORMATS[-1][2:]
    return max(_LEAST_BPS, least), max(_LEAST_BPS, enough), max(2 * _LEAST_BPS, most)


def _screen_rates(shift: int, most_bps: int | None) -> tuple[int, int, int]:
    """A page that stands still takes next to nothing, and one that is turned much at once: what others need meanwhile is theirs, so
    half of the most is enough."""
    if shift:
        return _SCREEN_LEAST_BPS // 2, _SCREEN_SMALL_BPS, _SCREEN_SMALL_BPS
    most = most_bps or 2_000_000
    return _SCREEN_LEAST_BPS, most // 2, most
