"""What `screen_x11`, `screen_windows` and `screen_macos` have in common: a desktop's screens and windows as `screen.py` asks for them.

Any thread but the loop's: what these do may block for some milliseconds.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Any, Protocol

import av

from vidconf.engine.api import Shareable
from vidconf.engine.sources import SourceError

MAX_NUMBER = 0xFFFFFFFF
"""X11's window ids have 32 bits; Windows keeps to as many of a handle's."""
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Area:
    """Where a share lies on the desktop, in its device pixels. `shown` False: it has no picture now (minimised, on another desktop)."""

    left: int
    top: int
    width: int
    height: int
    shown: bool = True


class Grab(Protocol):
    """One screen or window that is looked at. Used by one thread."""

    def look(self) -> Area:
        """Where it is now. Raises SourceError(`window_closed` or `screen_gone`)."""

    def open(self, area: Area, fps: int) -> Any:
        """A container of pictures of it as it is at `area`, the pointer drawn; at most `fps` a second. Raises SourceError, av.FFmpegError."""

    def close(self) -> None: ...


class Desktop(Protocol):
    """The screens and windows of one system, while somebody chooses among them."""

    def listed(self, except_pid: int) -> tuple[Shareable, ...]: ...

    def grab(self, id_: str) -> Grab:
        """Raises SourceError."""

    def close(self) -> None: ...


def number_of(id_: str) -> int:
    """`window:77` -> 77. Raises SourceError for what is no such name."""
    _, _, number = id_.partition(":")
    if not number.isascii() or not number.isdigit() or len(number) > 20 or int(number) > MAX_NUMBER:
        raise SourceError("not_found", "no such screen or window")
    return int(number)


def clean_name(name: str) -> str:
    """A window's title as it may be shown: whatever wrote it, it is one line, and turns no text around."""
    kept = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in name if unicodedata.category(c) not in ("Cf", "Cs", "Co"))
    return " ".join(kept.split())[:MAX_NAME]


def open_grabber(name: str, format_: str, options: dict[str, str]) -> Any:
    """One of FFmpeg's grabbers. Raises SourceError, av.FFmpegError."""
    try:
        return av.open(name, format=format_, options=options)
    except ValueError as error:     # this FFmpeg was built without it
        raise SourceError("unsupported", str(error)) from error
