"""The picture that every row publishes: a drawn scene that moves, with detail enough to cost what a camera costs, always the same.

Any thread. Two seconds of it are drawn once; after that a frame is a copy, with the time painted in.
"""

from __future__ import annotations

import av
import numpy as np

from vidconf.engine import stamp

LOOP = 60


class Scene:
    """`frame(n)`: the n-th picture as yuv420p, with the present time in it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._frames = [self._drawn(n) for n in range(LOOP)]

    def _drawn(self, n: int) -> list[bytes]:
        random = np.random.default_rng(7)
        y, x = np.mgrid[0 : self.height, 0 : self.width].astype(np.float32)
        turn = 2 * np.pi * n / LOOP
        room = 110 + 40 * np.sin(x / self.width * 5) + 25 * np.cos(y / self.height * 7)
        room += np.kron(random.normal(0, 10, (self.height // 8 + 1, self.width // 8 + 1)), np.ones((8, 8)))[: self.height, : self.width]
        # a head that sways and a hand that waves: the parts that move, textured
        for cx, cy, radius, sway in ((0.5, 0.5, 0.22, 0.02), (0.72, 0.7, 0.09, 0.1)):
            dx = x / self.width - cx - sway * np.sin(turn)
            dy = (y / self.height - cy - 0.5 * sway * np.cos(2 * turn)) * self.height / self.width
            inside = dx * dx + dy * dy < radius * radius
            room = np.where(inside, 150 + 40 * np.sin(90 * dx) * np.cos(70 * dy) - 200 * (dx * dx + dy * dy), room)
        room += np.random.default_rng(n).normal(0, 2, room.shape)
        chroma = np.full((self.height // 2, self.width // 2), 128, np.uint8)
        warm = np.clip(128 + 18 * np.sin(x[::2, ::2] / self.width * 3 + turn), 0, 255).astype(np.uint8)
        return [np.clip(room, 20, 235).astype(np.uint8).tobytes(), chroma.tobytes(), warm.tobytes()]

    def frame(self, n: int) -> av.VideoFrame:
        frame = av.VideoFrame(self.width, self.height, "yuv420p")
        for plane, data in zip(frame.planes, self._frames[n % LOOP], strict=True):
            width = self.width if plane.width == self.width else self.width // 2
            if plane.line_size == width:
                plane.update(data)
            else:
                rows = np.frombuffer(data, np.uint8).reshape(-1, width)
                padded = np.zeros((plane.height, plane.line_size), np.uint8)
                padded[:, :width] = rows
                plane.update(padded.tobytes())
        return stamp.paint(frame)


def packed(frame: av.VideoFrame) -> bytes:
    """The three planes one after another, without padding."""
    parts = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
        parts.append(rows[:, : plane.width].tobytes())
    return b"".join(parts)
