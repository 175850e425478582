"""Which size of a picture to ask the server for, so that a window being resized does not ask at each pixel.

Pure; the loop's thread. A size that another simulcast layer would serve better is asked for at once when it is larger, and when it
has been smaller for a while; within one layer nothing changes. The server picks the lowest layer that is at least as high as what
is asked for (livekit-server, GetQualityForDimension); where the layers are not known, a good part of the size stands for one.
"""

from __future__ import annotations

from collections.abc import Sequence

SMALLER_FOR_S = 2.0
GROWN, SHRUNK = 1.1, 0.75

Size = tuple[int, int]


class WantedSize:
    """One picture's. `layers`: heights that the publisher announced, in any order."""

    def __init__(self) -> None:
        self._layers: tuple[int, ...] = ()
        self._limit = 0
        self._asked: Size | None = None
        self._smaller_since: float | None = None

    def set_layers(self, heights: Sequence[int]) -> None:
        self._layers = tuple(sorted({h for h in heights if h > 0}))

    def limit(self, height: int) -> None:
        """Ask for no layer higher than this, where there is a lower one; 0: for any."""
        if height != self._limit:
            self._limit = height
            self.forget()

    def forget(self) -> None:
        """Nothing is shown, or another server asks: the next size counts at once."""
        self._asked = self._smaller_since = None

    def settled(self, size: Size, now: float) -> Size:
        """What to ask for when the picture is shown in `size` device pixels at `now` (monotonic seconds)."""
        size = self._limited(size)
        asked = self._asked
        step = 1 if asked is None else self._step(asked, size)
        if step > 0 or (step < 0 and self._smaller_since is not None and now - self._smaller_since >= SMALLER_FOR_S):
            self._asked, self._smaller_since = size, None
            return size
        assert asked is not None
        if step == 0:
            self._smaller_since = None
        elif self._smaller_since is None:
            self._smaller_since = now
        return asked

    def _limited(self, size: Size) -> Size:
        if not self._limit:
            return size
        fitting = [height for height in self._layers if height <= self._limit] or list(self._layers[:1]) or [self._limit]
        most = fitting[-1]
        return size if size[1] <= most else (max(1, size[0] * most // size[1]), most)

    def _step(self, asked: Size, size: Size) -> int:
        """1: a larger layer is needed than that of `asked`; -1: a smaller one would do; 0: the same."""
        if len(self._layers) > 1:
            before, after = self._layer(asked[1]), self._layer(size[1])
            return (after > before) - (after < before)
        grown = max(size[0] / max(1, asked[0]), size[1] / max(1, asked[1]))
        return 1 if grown > GROWN else -1 if grown < SHRUNK else 0

    def _layer(self, height: int) -> int:
        return next((k for k, layer in enumerate(self._layers) if layer >= height), len(self._layers) - 1)
