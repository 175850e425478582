"""An X server without a screen, and plain coloured windows on it: drawn by the server itself, so that nothing has to run behind them.

    with x_server() as name: …; desktop = XWindows(); red = desktop.add("Red", 0xFF0000, 10, 10, 300, 200); …; desktop.close()
"""

from __future__ import annotations

import contextlib
import shutil
import struct
import subprocess
from collections.abc import Iterator

import pytest

from vidconf.engine.x11 import XDisplay

needs_x = pytest.mark.skipif(shutil.which("Xvfb") is None, reason="Xvfb is missing: script/install-test-peers installs it")
_BACKGROUND, _UNMANAGED = 0x2, 0x200


@contextlib.contextmanager
def x_server(size: str = "1280x720") -> Iterator[str]:
    """Its display's name, once it answers. The caller sets DISPLAY."""
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", "1", "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        yield f":{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.communicate(timeout=10)


@contextlib.contextmanager
def x_session(display: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[XWindows]:
    """This process is in that display's session, which is no Wayland's; what is put on it goes with the context."""
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("XDG_SESSION_TYPE", raising=False)
    windows = XWindows()
    try:
        yield windows
    finally:
        windows.close()


class XWindows(XDisplay):
    """A connection that owns windows; they go with it. Colours are 0xRRGGBB."""

    def __init__(self) -> None:
        super().__init__()
        self._base = self._first_id()
        self._made = 0

    def _first_id(self) -> int:
        import ctypes

        return int(struct.unpack_from("<I", ctypes.string_at(self._xcb.xcb_get_setup(self._connection), 16), 12)[0])

    def add(self, title: str, colour: int, left: int, top: int, width: int, height: int, *, unmanaged: bool = False, pid: int = 0) -> int:
        """A window on top of the others; its id. `unmanaged`: as menus and tooltips are."""
        self._made += 1
        window = self._base + self._made
        values = struct.pack("<II", colour, int(unmanaged))
        place = struct.pack("<hhHHHHII", left, top, width, height, 0, 1, 0, _BACKGROUND | _UNMANAGED)
        self.do(struct.pack("<BBHII", 1, 0, 8 + 2, window, self.root) + place + values)
        self.put(window, "_NET_WM_NAME", "UTF8_STRING", title.encode(), 8)
        if pid:
            self.put(window, "_NET_WM_PID", "CARDINAL", struct.pack("<I", pid), 32)
        self.map(window)
        return window

    def put(self, window: int, name: str, kind: str, value: bytes, bits: int) -> None:
        """Set a property."""
        padded = value.ljust((len(value) + 3) // 4 * 4, b"\0")
        head = struct.pack("<BBHIIIB3xI", 18, 0, 6 + len(padded) // 4, window, self.atom(name), self.atom(kind), bits, len(value) * 8 // bits)
        self.do(head + padded)

    def map(self, window: int) -> None:
        self.do(struct.pack("<BxHI", 8, 2, window))

    def unmap(self, window: int) -> None:
        self.do(struct.pack("<BxHI", 10, 2, window))

    def destroy(self, window: int) -> None:
        self.do(struct.pack("<BxHI", 4, 2, window))

    def move(self, window: int, left: int, top: int, width: int, height: int) -> None:
        self.do(struct.pack("<BxHIH2xiiII", 12, 7, window, 0xF, left, top, width, height))

    def monitor(self, name: str, left: int, top: int, width: int, height: int, *, primary: bool = False, claims_output: bool = False) -> None:
        """Tell the server that there is one (RandR 1.5, SetMonitor); who claims the output takes the place of the whole screen's."""
        opcode = self._extension("RANDR", 1, 5)
        outputs = b""
        if claims_output:
            answer = self.ask(struct.pack("<BBHIB3x", opcode, 42, 3, self.root, 1))
            outputs = answer[32 + 24 : 32 + 28]
        place = struct.pack("<IBBHhhHHII", self.atom(name), primary, 0, len(outputs) // 4, left, top, width, height, width, height)
        self.do(struct.pack("<BBHI", opcode, 43, (8 + len(place) + len(outputs)) // 4, self.root) + place + outputs)

    def forget_monitor(self, name: str) -> None:
        self.do(struct.pack("<BBHII", self._extension("RANDR", 1, 5), 44, 3, self.root, self.atom(name)))

    def colour(self, window: int, colour: int) -> None:
        """Paint it anew."""
        self.do(struct.pack("<BxHIII", 2, 4, window, _BACKGROUND, colour))
        self.do(struct.pack("<BBHIhhHH", 61, 0, 4, window, 0, 0, 0, 0))
