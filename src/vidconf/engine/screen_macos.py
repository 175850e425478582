"""Screens of macOS, grabbed by FFmpeg's avfoundation. See `engine.screen`. It knows no windows: only whole screens can be shared.

The system asks the user once whether this program may record the screen, and until it is answered gives a picture without windows;
so nothing is shared before it says that it may.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any

from vidconf.engine.api import Shareable
from vidconf.engine.desktop import Area, number_of, open_grabber
from vidconf.engine.sources import SourceError

_MAX_SCREENS = 16


class _Rect(ctypes.Structure):
    _fields_ = [("left", ctypes.c_double), ("top", ctypes.c_double), ("width", ctypes.c_double), ("height", ctypes.c_double)]


class MacDesktop:
    """`desktop.Desktop`. Raises OSError where CoreGraphics is not, SourceError(`screen_not_allowed`) until the user has allowed it."""

    def __init__(self) -> None:
        if platform.system() != "Darwin":
            raise OSError("not macOS")
        self._graphics = ctypes.CDLL("/System/Library/Frameworks/CoreGraphics.framework/CoreGraphics")
        self._graphics.CGDisplayBounds.argtypes, self._graphics.CGDisplayBounds.restype = [ctypes.c_uint32], _Rect
        for name in ("CGPreflightScreenCaptureAccess", "CGRequestScreenCaptureAccess"):
            if hasattr(self._graphics, name):       # macOS 10.15 and later
                getattr(self._graphics, name).restype = ctypes.c_bool
        may = getattr(self._graphics, "CGPreflightScreenCaptureAccess", None)
        if may is not None and not may():
            self._graphics.CGRequestScreenCaptureAccess()
            raise SourceError("screen_not_allowed", "screen recording is not allowed in the system's privacy settings")

    def close(self) -> None:
        """Nothing is held."""

    def screens(self) -> list[tuple[int, Area]]:
        """(the system's number, place in points) of each screen, in the order in which avfoundation numbers them."""
        screens, count = (ctypes.c_uint32 * _MAX_SCREENS)(), ctypes.c_uint32(0)
        self._graphics.CGGetActiveDisplayList(_MAX_SCREENS, screens, ctypes.byref(count))
        found = [(screen, self._graphics.CGDisplayBounds(screen)) for screen in screens[: count.value]]
        return [(screen, Area(int(b.left), int(b.top), int(b.width), int(b.height))) for screen, b in found]

    def listed(self, except_pid: int) -> tuple[Shareable, ...]:
        return tuple(Shareable(f"screen:{n}", "", "screen", at.left, at.top, at.width, at.height) for n, (_, at) in enumerate(self.screens()))

    def grab(self, id_: str) -> MacGrab:
        if not id_.startswith("screen:"):
            raise SourceError("unsupported", "windows cannot be shared on macOS")
        return MacGrab(self, number_of(id_))


class MacGrab:
    """`desktop.Grab` of a screen."""

    def __init__(self, desktop: MacDesktop, number: int) -> None:
        self._desktop, self._number = desktop, number
        self._screen: int | None = None
        """The system's number, once it was seen: when another screen is unplugged, the order changes, and what is shared must not."""

    def close(self) -> None:
        """Nothing is held."""

    def look(self) -> Area:
        screens = self._desktop.screens()
        if self._screen is None and self._number < len(screens):
            self._screen = screens[self._number][0]
        for number, (screen, at) in enumerate(screens):
            if screen == self._screen:
                self._number = number
                return at
        raise SourceError("screen_gone", f"there are {len(screens)} screens")

    def open(self, area: Area, fps: int) -> Any:
        return open_grabber(f"Capture screen {self._number}:none", "avfoundation", {"framerate": str(fps), "capture_cursor": "1"})
