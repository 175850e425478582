"""Which layer of a simulcast track a subscriber should have. Pure; any thread.

LiveKit's rules, so that a client need not know which server it talks to: sizes are compared by height with a tolerance of a
tenth (pkg/rtc/mediatrackreceiver.go GetQualityForDimension), a quality stands for the first layer that is as good
(pkg/sfu/buffer/videolayerutils.go), encodings are called q, h, f or 2, 1, 0 (smallest first).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LOW, MEDIUM, HIGH, OFF = 0, 1, 2, 3
"""livekit.VideoQuality."""
TOLERANCE = 0.9
"""A layer that lacks less than a tenth of the height asked for is large enough."""
MAX_LAYERS = 3
_RANKS = {"q": 0, "h": 1, "f": 2, "2": 0, "1": 1, "0": 2}
_QUALITIES = {1: (HIGH,), 2: (LOW, MEDIUM), 3: (LOW, MEDIUM, HIGH)}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a subscriber last said of a track (UpdateTrackSettings): sizes in device pixels; a width wins over the quality."""

    disabled: bool = False
    quality: int = HIGH
    width: int = 0
    height: int = 0
    priority: int = 0
    """Among this subscriber's tracks, the larger the earlier."""


def importance(wish: Wish) -> tuple[int, ...]:
    """The larger, the earlier it gets what a narrow line carries: what the client says of itself, then the size it is shown at."""
    return wish.priority, wish.height or wish.width or (wish.quality + 1) * 180


@dataclass(slots=True)
class Layer:
    """One encoding of a track. Sizes are 0 until somebody has said or shown them."""

    rid: str = ""
    quality: int = HIGH
    width: int = 0
    height: int = 0
    bitrate: int = 0


def in_order(rids: Iterable[str]) -> tuple[str, ...]:
    """The encodings' names, smallest first, at most MAX_LAYERS; names that nobody knows keep the order they were offered in."""
    found = list(dict.fromkeys(rids))[:MAX_LAYERS]
    if all(rid in _RANKS for rid in found):
        found.sort(key=_RANKS.__getitem__)
    return tuple(found)


def described(rids: Sequence[str], declared: Sequence[Layer], width: int, height: int) -> list[Layer]:
    """The layers that `rids` (smallest first; one empty name for a track without simulcast) bring, with what the publisher
    declared of each: by name where it names them, else by rank when there are as many. What is not declared is taken as
    LiveKit's clients make it: two layers are LOW and MEDIUM, each half as wide as the next."""
    named = {layer.rid: layer for layer in declared if layer.rid}
    ranked = sorted(declared, key=lambda layer: (layer.quality, layer.height))
    if len(ranked) != len(rids):
        ranked = []
    layers = []
    for k, rid in enumerate(rids):
        known = named.get(rid) or (ranked[k] if ranked else None)
        if known is not None:
            quality = known.quality if len(rids) > 1 else HIGH
            layers.append(Layer(rid, quality, known.width, known.height, known.bitrate))
        else:
            part = 1 << len(rids) - 1 - k
            layers.append(Layer(rid, _QUALITIES[len(rids)][k], width // part, height // part))
    qualities = [layer.quality for layer in layers]
    if len(set(qualities)) != len(qualities) or sorted(qualities) != qualities:
        for layer, quality in zip(layers, _QUALITIES[len(rids)], strict=True):
            layer.quality = quality
    return layers


def choose(layers: Sequence[Layer], wish: Wish) -> int:
    """The index of the layer wished for, whether it is being sent or not."""
    last = len(layers) - 1
    if wish.width > 0:
        heights = [layer.height for layer in layers]
        if not all(heights):
            return last
        asked = int(wish.height * TOLERANCE)
        for k, height in enumerate(heights):
            if k == last or (height >= asked and height != heights[k + 1]):
                return k
    return next((k for k, layer in enumerate(layers) if layer.quality >= wish.quality), last)


def living(alive: Sequence[bool], wanted: int) -> int | None:
    """What to have of the layers that are being sent: the one wanted, else the next below, else the next above; None when
    nothing is sent."""
    return next((k for k in [*range(wanted, -1, -1), *range(wanted + 1, len(alive))] if alive[k]), None)
