"""A small X11 client: what windows and screens there are, where they lie, and their pictures kept apart. Linux; any thread, one at a time.

Through libxcb, which answers errors instead of ending the process as Xlib does; requests are written here byte by byte (X Window System
Protocol, X.Org; RandR 1.5 and Composite 0.2 by their protocol texts), so that no further library is needed. A window may be gone at
any moment: whoever asks about one must expect `XError`.
"""

from __future__ import annotations

import ctypes
import functools
import os
import struct
from dataclasses import dataclass
from typing import Any

from vidconf.engine import wheel

BAD_WINDOW, BAD_MATCH, BAD_DRAWABLE = 3, 8, 9
_RAW, _CHECKED = 2, 1
_VIEWABLE = 2
_EVENT_MASK, _STRUCTURE, _DESTROYED = 0x800, 0x20000, 17
MAX_PROPERTY = 16_384
"""Words of four bytes of one property: 4,096 windows, or a very long title."""
MAX_WINDOWS = 4096


class XError(Exception):
    """The X server refused: `code` is the protocol's. 0: the connection is gone."""

    def __init__(self, code: int) -> None:
        super().__init__(f"X error {code}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Place:
    """Pixels of the device, from the desktop's upper left."""

    left: int
    top: int
    width: int
    height: int


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_char_p), ("length", ctypes.c_size_t)]


class _Request(ctypes.Structure):
    _fields_ = [("count", ctypes.c_size_t), ("extension", ctypes.c_void_p), ("opcode", ctypes.c_uint8), ("isvoid", ctypes.c_uint8)]


@functools.cache
def _library() -> Any:
    """The system's libxcb, else the one that came with PyAV. Raises OSError."""
    for name in ("libxcb.so.1", *map(str, wheel.libraries("xcb-[0-9a-f]"))):
        try:
            xcb: Any = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        raise OSError("no libxcb on this system")
    pointer, number = ctypes.c_void_p, ctypes.c_int
    xcb.xcb_connect.argtypes, xcb.xcb_connect.restype = [ctypes.c_char_p, ctypes.POINTER(number)], pointer
    xcb.xcb_connection_has_error.argtypes = [pointer]
    xcb.xcb_get_setup.argtypes, xcb.xcb_get_setup.restype = [pointer], pointer
    xcb.xcb_send_request.argtypes = [pointer, number, ctypes.POINTER(_Vector), ctypes.POINTER(_Request)]
    xcb.xcb_send_request.restype = ctypes.c_uint
    xcb.xcb_wait_for_reply.argtypes, xcb.xcb_wait_for_reply.restype = [pointer, ctypes.c_uint, ctypes.POINTER(pointer)], pointer
    xcb.xcb_request_check.argtypes, xcb.xcb_request_check.restype = [pointer, ctypes.c_uint], pointer
    xcb.xcb_poll_for_event.argtypes, xcb.xcb_poll_for_event.restype = [pointer], pointer
    xcb.xcb_disconnect.argtypes = [pointer]
    xcb.free = ctypes.CDLL(None).free
    xcb.free.argtypes = [pointer]
    return xcb


class XDisplay:
    """One connection to the X server of `DISPLAY`. Raises OSError where there is none. What was redirected is so until `close`."""

    def __init__(self) -> None:
        self._xcb = _library()
        self.name = os.environ.get("DISPLAY", "")
        screen = ctypes.c_int(0)
        self._connection = self._xcb.xcb_connect(self.name.encode() or None, ctypes.byref(screen))
        if self._xcb.xcb_connection_has_error(self._connection):
            self.close()
            raise OSError(f"no X server at {self.name or 'DISPLAY'}")
        self.root, self.width, self.height = self._screen(screen.value)
        self._extensions: dict[str, int] = {}
        self._atoms: dict[str, int] = {}
        self._destroyed: set[int] = set()

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._xcb.xcb_disconnect(connection)

    def _screen(self, wanted: int) -> tuple[int, int, int]:
        """(root window, width, height) from the setup that the server sent."""
        at = self._xcb.xcb_get_setup(self._connection)
        length = struct.unpack_from("<H", ctypes.string_at(at, 8), 6)[0]
        setup = ctypes.string_at(at, 8 + 4 * length)
        vendor, roots, formats = struct.unpack_from("<H2xBB", setup, 24)
        here = 40 + (vendor + 3) // 4 * 4 + 8 * formats
        for _ in range(min(wanted, roots - 1)):
            depths, here = setup[here + 39], here + 40
            for _ in range(depths):
                here += 8 + 24 * struct.unpack_from("<H", setup, here + 2)[0]
        root, width, height = struct.unpack_from("<I16xHH", setup, here)
        return root, width, height

    # ---- requests
    def _send(self, data: bytes, *, void: bool) -> int:
        if self._connection is None:
            raise XError(0)
        vector = (_Vector * 3)()      # libxcb writes into the two before the first of ours
        vector[2].base, vector[2].length = data, len(data)
        request = _Request(1, None, 0, 1 if void else 0)
        first = ctypes.cast(ctypes.byref(vector, 2 * ctypes.sizeof(_Vector)), ctypes.POINTER(_Vector))
        return int(self._xcb.xcb_send_request(self._connection, _RAW | _CHECKED, first, ctypes.byref(request)))

    def _failed(self, error: int | None) -> XError:
        code = ctypes.string_at(error, 32)[1] if error else 0
        self._xcb.free(error)
        return XError(code)

    def ask(self, data: bytes) -> bytes:
        """Send one request and wait for its whole reply. Raises XError."""
        number, error = self._send(data, void=False), ctypes.c_void_p()
        reply = self._xcb.xcb_wait_for_reply(self._connection, number, ctypes.byref(error))
        if not reply:
            raise self._failed(error.value)
        length = struct.unpack_from("<I", ctypes.string_at(reply, 8), 4)[0]
        answer = ctypes.string_at(reply, 32 + 4 * length)
        self._xcb.free(reply)
        return answer

    def do(self, data: bytes) -> None:
        """Send one request that has no reply, and see that it was carried out. Raises XError."""
        error = self._xcb.xcb_request_check(self._connection, self._send(data, void=True))
        if error:
            raise self._failed(error)
        if self._xcb.xcb_connection_has_error(self._connection):
            raise XError(0)

    def _extension(self, name: str, major: int, minor: int) -> int:
        """Its opcode, 0 where the server has it not; the server is told which version we speak."""
        if name not in self._extensions:
            padded = name.encode().ljust((len(name) + 3) // 4 * 4, b"\0")
            answer = self.ask(struct.pack("<BxHH2x", 98, 2 + len(padded) // 4, len(name)) + padded)
            opcode = answer[9] if answer[8] else 0
            if opcode:
                self.ask(struct.pack("<BBHII", opcode, 0, 3, major, minor))
            self._extensions[name] = opcode
        return self._extensions[name]

    def atom(self, name: str) -> int:
        if name not in self._atoms:
            padded = name.encode().ljust((len(name) + 3) // 4 * 4, b"\0")
            answer = self.ask(struct.pack("<BxHH2x", 16, 2 + len(padded) // 4, len(name)) + padded)
            self._atoms[name] = struct.unpack_from("<I", answer, 8)[0]
        return self._atoms[name]

    def atom_name(self, atom: int) -> str:
        answer = self.ask(struct.pack("<BxHI", 17, 2, atom))
        return answer[32 : 32 + struct.unpack_from("<H", answer, 8)[0]].decode(errors="replace")

    # ---- windows
    def property(self, window: int, name: str) -> bytes:
        """Of any type; empty where the window has it not."""
        answer = self.ask(struct.pack("<BxHIIIII", 20, 6, window, self.atom(name), 0, 0, MAX_PROPERTY))
        size, items = answer[1] // 8, struct.unpack_from("<I", answer, 16)[0]
        return answer[32 : 32 + size * items]

    def numbers(self, window: int, name: str) -> tuple[int, ...]:
        """A property that is a list of windows, atoms or numbers."""
        found = self.property(window, name)
        return struct.unpack_from(f"<{len(found) // 4}I", found)

    def children(self, window: int) -> tuple[int, ...]:
        """The lowest first."""
        answer = self.ask(struct.pack("<BxHI", 15, 2, window))
        return struct.unpack_from(f"<{min(MAX_WINDOWS, struct.unpack_from('<H', answer, 16)[0])}I", answer, 32)

    def place(self, window: int) -> Place:
        """Where it lies, without its border."""
        width, height = struct.unpack_from("<HH", self.ask(struct.pack("<BxHI", 14, 2, window)), 16)
        left, top = struct.unpack_from("<hh", self.ask(struct.pack("<BxHIIhh", 40, 4, window, self.root, 0, 0)), 12)
        return Place(left, top, width, height)

    def attributes(self, window: int) -> tuple[bool, bool, bool]:
        """(it is on the screen, it passes the window manager by, it can have a picture)."""
        answer = self.ask(struct.pack("<BxHI", 3, 2, window))
        return answer[26] == _VIEWABLE, bool(answer[27]), struct.unpack_from("<H", answer, 12)[0] == 1

    def viewable(self, window: int) -> bool:
        """Whether it is mapped, and all it lies in: neither minimised nor on a hidden desktop."""
        return self.attributes(window)[0]

    def keep_picture(self, window: int) -> bool:
        """Let the server keep the window's picture by itself, so that what covers it is not in it, until this connection is closed
        (Composite, RedirectWindow, automatic). False where it cannot; a compositor does the same."""
        opcode = self._extension("Composite", 0, 4)
        if not opcode:
            return False
        try:
            self.do(struct.pack("<BBHIB3x", opcode, 1, 3, window, 0))
        except XError as error:
            if error.code in (0, BAD_WINDOW):
                raise
            return False
        return True

    def watch(self, window: int) -> None:
        """From now on `is_destroyed` knows its end. Raises XError."""
        self.do(struct.pack("<BxHIII", 2, 4, window, _EVENT_MASK, _STRUCTURE))

    def is_destroyed(self, window: int) -> bool:
        """Whether a window that is watched has ended before the last request was answered; its number may be another window's by now."""
        while self._connection is not None and (event := self._xcb.xcb_poll_for_event(self._connection)):
            code, of = struct.unpack_from("<B7xI", ctypes.string_at(event, 32))
            self._xcb.free(event)
            if code & 0x7F == _DESTROYED:
                self._destroyed.add(of)
        return window in self._destroyed

    # ---- screens
    def monitors(self) -> list[tuple[str, Place]]:
        """(name, place) of each, the primary first; the whole root where RandR 1.5 is missing."""
        opcode = self._extension("RANDR", 1, 5)
        found: list[tuple[bool, str, Place]] = []
        if opcode:
            try:
                answer = self.ask(struct.pack("<BBHIB3x", opcode, 42, 3, self.root, 1))
            except XError as error:
                if error.code == 0:
                    raise
                answer = bytes(32)
            at = 32
            for _ in range(struct.unpack_from("<I", answer, 12)[0]):
                name, primary, outputs, left, top, width, height = struct.unpack_from("<IBxHhhHH", answer, at)
                at += 24 + 4 * outputs
                if width and height:
                    found.append((bool(primary), self.atom_name(name), Place(left, top, width, height)))
        found.sort(key=lambda one: not one[0])
        return [(name, place) for _, name, place in found] or [("", Place(0, 0, self.width, self.height))]
