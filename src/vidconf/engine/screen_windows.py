"""Screens and windows of a Windows desktop, grabbed by FFmpeg's gdigrab. See `engine.screen`.

A window is grabbed by its handle through GDI: what covers it is not in the picture, but a program that paints past GDI (some
browsers and players with hardware acceleration) may come out black; then its whole screen has to be shared.
"""

from __future__ import annotations

import ctypes
from typing import Any

from vidconf.engine.api import Shareable
from vidconf.engine.desktop import Area, clean_name, number_of, open_grabber
from vidconf.engine.sources import SourceError

_PER_MONITOR_AWARE_V2 = -4
_PRIMARY, _CLOAKED, _TOOL_WINDOW, _EX_STYLE = 1, 14, 0x80, -20
LEAST_SIDE = 32


class _Rect(ctypes.Structure):
    _fields_ = [("left", ctypes.c_long), ("top", ctypes.c_long), ("right", ctypes.c_long), ("bottom", ctypes.c_long)]


class _Point(ctypes.Structure):
    _fields_ = [("x", ctypes.c_long), ("y", ctypes.c_long)]


class _MonitorInfo(ctypes.Structure):
    _fields_ = [("size", ctypes.c_ulong), ("monitor", _Rect), ("work", _Rect), ("flags", ctypes.c_ulong), ("device", ctypes.c_wchar * 32)]


class _Api:
    """user32 and dwmapi; made once. Raises OSError where they are not."""

    def __init__(self) -> None:
        library: Any = getattr(ctypes, "WinDLL", None)
        callback: Any = getattr(ctypes, "WINFUNCTYPE", None)
        if library is None or callback is None:
            raise OSError("not Windows")
        self.user: Any = library("user32")
        self.dwm: Any = library("dwmapi")
        handle, rect = ctypes.c_void_p, ctypes.POINTER(_Rect)
        self.on_monitor = callback(ctypes.c_int, handle, handle, rect, ctypes.c_ssize_t)
        self.on_window = callback(ctypes.c_int, handle, ctypes.c_ssize_t)
        for name in ("IsWindow", "IsWindowVisible", "IsIconic", "GetWindowTextLengthW"):
            getattr(self.user, name).argtypes = [handle]
        self.user.GetWindowTextW.argtypes = [handle, ctypes.c_wchar_p, ctypes.c_int]
        self.user.GetClientRect.argtypes = [handle, rect]
        self.user.ClientToScreen.argtypes = [handle, ctypes.POINTER(_Point)]
        self.user.GetWindowThreadProcessId.argtypes = [handle, ctypes.POINTER(ctypes.c_ulong)]
        self.user.GetWindowLongW.argtypes, self.user.GetWindowLongW.restype = [handle, ctypes.c_int], ctypes.c_long
        self.user.GetMonitorInfoW.argtypes = [handle, ctypes.POINTER(_MonitorInfo)]
        self.user.EnumDisplayMonitors.argtypes = [handle, handle, self.on_monitor, ctypes.c_ssize_t]
        self.user.EnumWindows.argtypes = [self.on_window, ctypes.c_ssize_t]
        self.dwm.DwmGetWindowAttribute.argtypes = [handle, ctypes.c_ulong, handle, ctypes.c_ulong]
        if hasattr(self.user, "SetProcessDpiAwarenessContext"):     # else places come scaled, and the picture is cut
            self.user.SetProcessDpiAwarenessContext.argtypes = [handle]
            self.user.SetProcessDpiAwarenessContext(_PER_MONITOR_AWARE_V2)

    def monitors(self) -> list[tuple[str, Area]]:
        """(name, place), the primary first."""
        found: list[tuple[bool, str, Area]] = []

        def take(monitor: int, _context: int, _rect: Any, _data: int) -> int:
            info = _MonitorInfo(size=ctypes.sizeof(_MonitorInfo))
            if self.user.GetMonitorInfoW(monitor, ctypes.byref(info)):
                r = info.monitor
                found.append((bool(info.flags & _PRIMARY), info.device, Area(r.left, r.top, r.right - r.left, r.bottom - r.top)))
            return 1

        self.user.EnumDisplayMonitors(None, None, self.on_monitor(take), 0)
        found.sort(key=lambda one: not one[0])
        return [(name.removeprefix("\\\\.\\"), area) for _, name, area in found]

    def windows(self) -> list[int]:
        """Visible top-level windows, the uppermost first."""
        found: list[int] = []

        def take(window: int, _data: int) -> int:
            if self.user.IsWindowVisible(window):
                found.append(window)
            return 1

        self.user.EnumWindows(self.on_window(take), 0)
        return found

    def area(self, window: int) -> Area:
        """What gdigrab takes of a window: its inside, without frame and title."""
        rect, corner = _Rect(), _Point(0, 0)
        self.user.GetClientRect(window, ctypes.byref(rect))
        self.user.ClientToScreen(window, ctypes.byref(corner))
        shown = not self.user.IsIconic(window) and rect.right > 1 and rect.bottom > 1
        return Area(corner.x, corner.y, rect.right, rect.bottom, bool(shown))

    def cloaked(self, window: int) -> bool:
        """Kept out of sight by the system: another desktop, a suspended program."""
        state = ctypes.c_ulong(0)
        return self.dwm.DwmGetWindowAttribute(window, _CLOAKED, ctypes.byref(state), ctypes.sizeof(state)) == 0 and bool(state.value)

    def title(self, window: int) -> str:
        room = ctypes.create_unicode_buffer(self.user.GetWindowTextLengthW(window) + 1)
        self.user.GetWindowTextW(window, room, len(room))
        return clean_name(room.value)

    def pid(self, window: int) -> int:
        number = ctypes.c_ulong(0)
        self.user.GetWindowThreadProcessId(window, ctypes.byref(number))
        return int(number.value)


class WindowsDesktop:
    """`desktop.Desktop`."""

    def __init__(self) -> None:
        self._api = _Api()

    def close(self) -> None:
        """Nothing is held."""

    def listed(self, except_pid: int) -> tuple[Shareable, ...]:
        api = self._api
        found = [
            Shareable(f"screen:{number}", name, "screen", at.left, at.top, at.width, at.height) for number, (name, at) in enumerate(api.monitors())
        ]
        for window in api.windows():
            title, at = api.title(window), api.area(window)
            iconic = bool(api.user.IsIconic(window))
            if not title or api.cloaked(window) or (except_pid and api.pid(window) == except_pid):
                continue
            if api.user.GetWindowLongW(window, _EX_STYLE) & _TOOL_WINDOW or (not iconic and min(at.width, at.height) < LEAST_SIDE):
                continue
            found.append(Shareable(f"window:{window}", title, "window", at.left, at.top, at.width, at.height, iconic))
        return tuple(found)

    def grab(self, id_: str) -> WindowsGrab:
        return WindowsGrab(self._api, id_.startswith("screen:"), number_of(id_))


class WindowsGrab:
    """`desktop.Grab` of a screen or a window."""

    def __init__(self, api: _Api, is_screen: bool, number: int) -> None:
        self._api, self._is_screen, self._number = api, is_screen, number
        self._name: str | None = None
        """Of a screen, once it was seen: when another one is unplugged, the numbers change, and what is shared must not."""

    def close(self) -> None:
        """Nothing is held."""

    def look(self) -> Area:
        if self._is_screen:
            monitors = self._api.monitors()
            if self._name is None and self._number < len(monitors):
                self._name = monitors[self._number][0]
            at = next((place for name, place in monitors if name == self._name), None)
            if at is None:
                raise SourceError("screen_gone", f"there are {len(monitors)} screens")
            return at
        if not self._api.user.IsWindow(self._number):
            raise SourceError("window_closed", "there is no such window")
        return self._api.area(self._number)

    def open(self, area: Area, fps: int) -> Any:
        options = {"framerate": str(fps), "draw_mouse": "1", "video_size": f"{area.width}x{area.height}"}
        if not self._is_screen:
            return open_grabber(f"hwnd={self._number}", "gdigrab", options)
        return open_grabber("desktop", "gdigrab", options | {"offset_x": str(area.left), "offset_y": str(area.top)})
