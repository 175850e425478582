"""What of this machine can be shared: its screens and its windows, with small pictures of them, and how one is grabbed.

Any thread but the loop's: everything here may block for some milliseconds. One file a system does the work (`screen_x11`,
`screen_windows`, `screen_macos`), all through FFmpeg's grabbers; this one tells them apart. A share is named `screen:<number>` (the
primary is 0) or `window:<id>`; such a name is good for this session of the desktop.
"""

from __future__ import annotations

import base64
import logging
import os
import sys
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from vidconf.engine.api import Screens, Shareable, Thumbnail
from vidconf.engine.desktop import Desktop, Grab
from vidconf.engine.sources import SourceError

log = logging.getLogger("vidconf.screen")

MAX_SHAREABLE = 64
THUMBNAIL_WIDTH, THUMBNAIL_HEIGHT = 320, 200
MAX_THUMBNAIL = 40_000
"""Bytes of one; a picture that is still larger as a JPEG is left out."""


def is_share(device: str) -> bool:
    """Whether a device string names a screen or a window."""
    return device.startswith(("screen:", "window:"))


def trouble() -> str:
    """Why screens and windows cannot be shared here: a code, "" when they can."""
    if sys.platform in ("win32", "darwin"):
        return ""
    if os.environ.get("WAYLAND_DISPLAY") or os.environ.get("XDG_SESSION_TYPE") == "wayland":
        return "wayland"
    return "" if os.environ.get("DISPLAY") else "no_display"


def open_desktop() -> Desktop:
    """Raises SourceError: `wayland`, `no_display`, `screen_not_allowed` or `unsupported`."""
    code = trouble()
    if code:
        raise SourceError(code, "no screens to share")
    try:
        if sys.platform == "win32":
            from vidconf.engine.screen_windows import WindowsDesktop

            return WindowsDesktop()
        if sys.platform == "darwin":
            from vidconf.engine.screen_macos import MacDesktop

            return MacDesktop()
        from vidconf.engine.screen_x11 import X11Desktop

        return X11Desktop()
    except OSError as error:
        raise SourceError("no_display", str(error)) from error


def listed(desktop: Desktop, except_pid: int, sound: str) -> Screens:
    """What can be shared now; at most MAX_SHAREABLE, screens first. `sound`: why the computer's sound cannot, "" when it can."""
    return Screens(desktop.listed(except_pid)[:MAX_SHAREABLE], "", sound)


def thumbnails(desktop: Desktop, shareable: tuple[Shareable, ...]) -> Iterator[Thumbnail]:
    """A small picture of each that has one now."""
    for one in shareable:
        if one.hidden:
            continue
        try:
            picture = _snapshot(desktop, one.id)
        except Exception as error:      # it closes, shrinks or hides at any moment: the others have theirs all the same
            log.info("no picture of %s: %r", one.id, error)
            continue
        if picture:
            yield Thumbnail(one.id, base64.b64encode(picture).decode())


def _snapshot(desktop: Desktop, id_: str) -> bytes:
    """A JPEG of at most THUMBNAIL_WIDTH × THUMBNAIL_HEIGHT."""
    grab = desktop.grab(id_)
    try:
        area = grab.look()
        if not area.shown:
            return b""
        container = grab.open(area, 30)
        try:
            frame = next(container.decode(video=0), None)
        finally:
            container.close()
    finally:
        grab.close()
    if frame is None:
        return b""
    scale = min(1.0, THUMBNAIL_WIDTH / frame.width, THUMBNAIL_HEIGHT / frame.height)
    width, height = max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)
    small = frame.reformat(width=width, height=height, format="yuvj420p", interpolation="AREA", dst_color_range="JPEG")
    jpeg = _jpeg(small)
    return jpeg if len(jpeg) <= MAX_THUMBNAIL else b""


def _jpeg(frame: av.VideoFrame) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = frame.width, frame.height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    encoder.qmin, encoder.qmax = 3, 12
    frame.pts = 0
    return b"".join(bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None)))


def open_grab(device: str) -> Grab:
    """For a share: the one screen or window that `device` names. Raises SourceError."""
    desktop = open_desktop()
    try:
        return desktop.grab(device)
    finally:
        desktop.close()
