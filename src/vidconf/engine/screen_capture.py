"""A shared screen or window: its pictures as they change, where it is, and when it is gone. One thread a share.

Pictures come as often as something moves, up to the shape's rate, and STILL_FPS times a second while nothing does: what is equal to
the picture before is neither converted nor scaled again (a comparison of memory instead). Measured at 1920×1080, without the encoder:
2 % of a core while nothing moves, 9 % at 12 pictures a second. A window that has no picture now (minimised, on another desktop) goes on
with its last one. Its new size, or a screen's new resolution, opens the grabber again.
"""

from __future__ import annotations

import ctypes
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import av

from vidconf.engine.capture import OPENS_S, STILL_FPS, OnError, VideoCapture, fitted
from vidconf.engine.desktop import Area, Grab
from vidconf.engine.screen import is_share, open_grab

log = logging.getLogger("vidconf.screen")

LOOK_S = 0.2
"""How soon one that shows nothing now is looked at again."""
MAX_FAILURES = 10
"""Grabs that fail one after another though the window is there; each is tried again LOOK_S later."""

_memcmp = ctypes.CDLL("msvcrt" if hasattr(ctypes, "WinDLL") else None).memcmp
_memcmp.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

OnArea = Callable[[Area], None]
OnFrame = Callable[[av.VideoFrame, float], None]


class ScreenCapture(VideoCapture):
    """As `VideoCapture`, for `screen:<number>` and `window:<id>`; `on_area` tells where it is, at first and whenever that changes, on
    the capture's thread. Errors besides a camera's: `window_closed`, `screen_gone`, and those of `screen.open_desktop`."""

    def __init__(self, device: str, width: int, height: int, fps: int, on_frame: OnFrame, on_error: OnError, on_area: OnArea) -> None:
        super().__init__(device, width, height, fps, on_frame, on_error)
        self.name = "screen"
        self._on_area = on_area
        self._area: Area | None = None
        self._grabbed: av.VideoFrame | None = None
        """As it came from the screen …"""
        self._shown: av.VideoFrame | None = None
        """… and as it was last handed on."""
        self._shown_at = 0.0

    def _capture(self) -> None:
        grab = open_grab(self.device)
        self._dead_at = math.inf        # from here on it is there, if only to be waited for
        try:
            failures = 0
            while not self._stopping.is_set():
                area = self._look(grab)
                if area.shown:
                    try:
                        self._follow(grab, area)
                        failures = 0
                    except (av.FFmpegError, OSError) as error:
                        failures += 1
                        log.info("a grab failed, tried again: %s", error)
                        if failures > MAX_FAILURES:
                            raise
                    finally:
                        self._dead_at = math.inf
                self._repeat()
                self._stopping.wait(LOOK_S)
        finally:
            grab.close()

    def _look(self, grab: Grab) -> Area:
        """Raises SourceError when it is gone."""
        area = grab.look()
        if area != self._area and not self._stopping.is_set():
            self._area = area
            self._on_area(area)
        return area

    def _follow(self, grab: Grab, area: Area) -> None:
        """Its pictures, as long as it stays as large as it is, and shown. The grabber paces."""
        self._dead_at = time.monotonic() + OPENS_S
        container = grab.open(replace(area, width=area.width // 2 * 2, height=area.height // 2 * 2), self._fps)
        try:
            is_screen = self.device.startswith("screen:")
            stream = container.streams.video[0]
            stream.thread_count = 1
            for frame in self._live_frames(container.decode(stream)):
                now = time.monotonic()
                # Each picture is looked at before it counts, or it could be of what nobody shares: a screen is grabbed by where it lies,
                # and moves when another is unplugged; a window by its number, which may be another window's when it has closed.
                seen = self._look(grab)
                moved = is_screen and (seen.left, seen.top) != (area.left, area.top)
                if moved or (seen.width, seen.height, seen.shown) != (area.width, area.height, True):
                    return
                self._take(frame, now)
        finally:
            container.close()

    def _take(self, frame: av.VideoFrame, now: float) -> None:
        before, self._grabbed = self._grabbed, frame
        if before is not None and self._shown is not None and _same(before, frame):
            if now - self._shown_at < 1 / STILL_FPS - 0.25 / self._fps:
                return
        else:
            self._shown = self._scaled(frame)
        self._shown_at = now
        if not self._stopping.is_set():
            self._on_frame(self._shown, now)

    def _repeat(self) -> None:
        """The last picture once more: who joins now must get one, too."""
        if self._shown is not None and not self._stopping.is_set():
            self._shown_at = time.monotonic()
            self._on_frame(self._shown, self._shown_at)

    def _scaled(self, frame: av.VideoFrame) -> av.VideoFrame:
        """At most as large as the shape; each pixel of a smaller one is the mean of those it stands for, which keeps thin strokes."""
        width, height = fitted(frame.width, frame.height, *self._size)
        if (width, height) == (frame.width, frame.height):
            return frame.reformat(format="yuv420p")
        return frame.reformat(width=width, height=height, format="yuv420p", interpolation="AREA")


def _same(one: av.VideoFrame, other: av.VideoFrame) -> bool:
    """Every byte of the only plane."""
    if (one.width, one.height, one.format.name) != (other.width, other.height, other.format.name):
        return False
    a: Any = one.planes[0]
    b: Any = other.planes[0]
    if len(one.planes) != 1 or (a.line_size, a.buffer_size) != (b.line_size, b.buffer_size):
        return False
    return bool(_memcmp(a.buffer_ptr, b.buffer_ptr, min(a.buffer_size, a.line_size * one.height)) == 0)


def picture_capture(device: str, width: int, height: int, fps: int, on_frame: OnFrame, on_error: OnError, on_area: OnArea) -> VideoCapture:
    """For a camera, a file, a graph, a page image; or a screen or a window, which alone tells where it is."""
    if is_share(device):
        return ScreenCapture(device, width, height, fps, on_frame, on_error, on_area)
    return VideoCapture(device, width, height, fps, on_frame, on_error)
