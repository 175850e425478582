"""A planar picture that is larger than the graphics card's textures, made small enough for one. Called by `gpu` on the window's thread,
only where that is so: a shared screen of 4K on an old card.
"""

from __future__ import annotations

from PySide6.QtCore import QRect
from PySide6.QtGui import QImage, QPainter

from vidconf.engine.frame_ring import Frame, i420_stride

GREY = 128
"""Of chroma: no colour. What lies between the planes is never seen, but filters may touch it."""


def fits(width: int, height: int, stride: int, most: int) -> bool:
    """Whether an I420 picture "side by side" goes into one texture of at most `most` × `most`."""
    return max(width, stride, height + (height + 1) // 2) <= most


def shrunk(frame: Frame, most: int) -> tuple[QImage, int, int]:
    """The whole picture, each side divided by the same whole number, only as small as it must be, in the same form: the image, which
    is as wide as the new stride, and the picture's width and height in it. `most` is 32 or more."""
    width, height, part = frame.width, frame.height, 1
    while not fits(width, height, i420_stride(width), most):
        part += 1
        width, height = max(2, frame.width // part), max(2, frame.height // part)
    stride = i420_stride(width)
    small = QImage(stride, height + (height + 1) // 2, QImage.Format.Format_Grayscale8)
    small.fill(GREY << 16 | GREY << 8 | GREY)
    rows = frame.height + (frame.height + 1) // 2
    whole = QImage(frame.data, frame.stride, rows, frame.stride, QImage.Format.Format_Grayscale8)
    painter = QPainter(small)
    painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
    painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_Source)
    painter.drawImage(QRect(0, 0, width, height), whole, QRect(0, 0, frame.width, frame.height))
    for half in (0, 1):
        chroma = QRect(half * frame.stride // 2, frame.height, (frame.width + 1) // 2, (frame.height + 1) // 2)
        painter.drawImage(QRect(half * stride // 2, height, (width + 1) // 2, (height + 1) // 2), whole, chroma)
    painter.end()
    return small, width, height
