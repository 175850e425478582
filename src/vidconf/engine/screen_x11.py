"""Screens and windows of an X11 desktop, grabbed by FFmpeg's x11grab. See `engine.screen`.

A window is grabbed by its id, not by where it lies: it may be moved and covered, and nothing else gets into the picture, because the
server is asked to keep its picture by itself (`XDisplay.keep_picture`; a compositor has asked already). One that is minimised or on
another desktop has no picture until it is back.
"""

from __future__ import annotations

from typing import Any

from vidconf.engine.api import Shareable
from vidconf.engine.desktop import Area, clean_name, number_of, open_grabber
from vidconf.engine.sources import SourceError
from vidconf.engine.x11 import BAD_DRAWABLE, BAD_WINDOW, Place, XDisplay, XError

MAX_PIXELS = 1 << 25
"""8K and a little more: 134 MB a picture."""
LEAST_SIDE = 32
"""A window that is smaller holds nothing to show."""
NOT_FOR_SHARING = ("DESKTOP", "DOCK", "TOOLBAR", "MENU", "SPLASH", "DROPDOWN_MENU", "POPUP_MENU", "TOOLTIP", "NOTIFICATION", "COMBO", "DND")


class X11Desktop:
    """`desktop.Desktop`. Raises OSError where no X server answers."""

    def __init__(self) -> None:
        self._display = XDisplay()
        self._kept: set[int] = set()
        """Windows whose pictures are without what covers them, as long as somebody chooses."""

    def close(self) -> None:
        self._display.close()

    def listed(self, except_pid: int) -> tuple[Shareable, ...]:
        """Raises OSError when the server is gone."""
        display = self._display
        try:
            screens = [
                Shareable(f"screen:{number}", name, "screen", at.left, at.top, at.width, at.height)
                for number, (name, at) in enumerate(display.monitors())
            ]
            windows = [found for window in self._windows() if (found := self._described(window, except_pid)) is not None]
        except XError as error:
            raise OSError(str(error)) from error
        return (*screens, *windows)

    def _windows(self) -> list[int]:
        """Top-level windows, the uppermost first: the window manager's list, or without one all there are."""
        display = self._display
        for name in ("_NET_CLIENT_LIST_STACKING", "_NET_CLIENT_LIST"):
            found = display.numbers(display.root, name)
            if found:
                return list(reversed(found))
        return [window for window in reversed(display.children(display.root)) if self._stands_alone(window)]

    def _stands_alone(self, window: int) -> bool:
        try:
            viewable, unmanaged, _ = self._display.attributes(window)
        except XError as error:
            return _gone(error)
        return viewable and not unmanaged

    def _described(self, window: int, except_pid: int) -> Shareable | None:
        """None for what is not to be shared: a panel, a menu, our own window, one that has gone meanwhile."""
        display = self._display
        try:
            viewable, unmanaged, drawable = display.attributes(window)
            at = display.place(window)
            types = {display.atom_name(atom) for atom in display.numbers(window, "_NET_WM_WINDOW_TYPE")}
            states = {display.atom_name(atom) for atom in display.numbers(window, "_NET_WM_STATE")}
            pid = display.numbers(window, "_NET_WM_PID")
            title = display.property(window, "_NET_WM_NAME").decode("utf-8", "replace") or display.property(window, "WM_NAME").decode("latin-1")
            program = display.property(window, "WM_CLASS").split(b"\0")
        except XError as error:
            _gone(error)
            return None
        if not drawable or unmanaged or min(at.width, at.height) < LEAST_SIDE or (except_pid and except_pid in pid[:1]):
            return None
        if any(f"_NET_WM_WINDOW_TYPE_{kind}" in types for kind in NOT_FOR_SHARING) or "_NET_WM_STATE_SKIP_TASKBAR" in states:
            return None
        name = clean_name(title) or clean_name(program[1].decode("latin-1") if len(program) > 1 else "")
        hidden = not viewable or "_NET_WM_STATE_HIDDEN" in states or not _has_picture(at)
        if not hidden:
            self._keep_picture(window)
        return Shareable(f"window:{window}", name, "window", at.left, at.top, at.width, at.height, hidden)

    def _keep_picture(self, window: int) -> None:
        if window in self._kept:
            return
        self._kept.add(window)
        try:
            self._display.keep_picture(window)
        except XError as error:
            _gone(error)

    def grab(self, id_: str) -> X11Screen | X11Window:
        """Raises SourceError where it is not (any more)."""
        try:
            return X11Screen(number_of(id_)) if id_.startswith("screen:") else X11Window(number_of(id_))
        except OSError as error:
            raise SourceError("no_display", str(error)) from error


def _gone(error: XError) -> bool:
    """False for a window that is not there any more; a connection that is gone raises on."""
    if error.code == 0:
        raise error
    return False


class X11Screen:
    """`desktop.Grab` of one monitor. Raises OSError."""

    def __init__(self, number: int) -> None:
        self._number, self._display = number, XDisplay()
        self._name: str | None = None
        """What it is called, once it was seen: when another one is unplugged, the numbers change, and what is shared must not."""

    def close(self) -> None:
        self._display.close()

    def look(self) -> Area:
        try:
            monitors = self._display.monitors()
        except XError as error:
            raise SourceError("screen_gone", str(error)) from error
        if self._name is None and self._number < len(monitors):
            self._name = monitors[self._number][0]
        at = next((place for name, place in monitors if name == self._name), None)
        if at is None:
            raise SourceError("screen_gone", f"there are {len(monitors)} screens")
        return Area(at.left, at.top, at.width, at.height)

    def open(self, area: Area, fps: int) -> Any:
        size = {"video_size": f"{area.width}x{area.height}", "framerate": str(fps), "draw_mouse": "1"}
        return open_grabber(f"{self._display.name}+{area.left},{area.top}", "x11grab", size)


class X11Window:
    """`desktop.Grab` of one window. Raises OSError."""

    def __init__(self, window: int) -> None:
        self._window, self._display = window, XDisplay()
        self._watched = self._kept = False
        """`_kept`: its picture is without what covers it."""

    def close(self) -> None:
        self._display.close()

    def look(self) -> Area:
        try:
            if not self._watched:
                self._watched = True
                self._display.watch(self._window)
            at = self._display.place(self._window)
            if not self._kept and _has_picture(at):
                self._kept = True
                self._display.keep_picture(self._window)
            shown = self._display.viewable(self._window)
        except XError as error:
            code = "window_closed" if error.code in (BAD_WINDOW, BAD_DRAWABLE) else "screen_gone"
            raise SourceError(code, str(error)) from error
        if self._display.is_destroyed(self._window):
            # programs that follow each other get the same numbers: what answers now may be a window that nobody shares
            raise SourceError("window_closed", "it has ended, and its number is another's")
        return Area(at.left, at.top, at.width, at.height, shown and _has_picture(at))

    def open(self, area: Area, fps: int) -> Any:
        size = {"video_size": f"{area.width}x{area.height}", "framerate": str(fps), "draw_mouse": "1"}
        return open_grabber(self._display.name, "x11grab", {**size, "window_id": str(self._window)})


def _has_picture(at: Place) -> bool:
    """Not of one that is so large (32,767 a side are possible) that a single picture would fill the memory."""
    return at.width >= 2 and at.height >= 2 and at.width * at.height <= MAX_PIXELS
