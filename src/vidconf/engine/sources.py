"""What a device string means, and how it is opened: cameras, microphones, files, `lavfi:` graphs, page images.

Called on capture threads (opening may block). Everything is read through PyAV, on every system. Failures become SourceError
with the codes of `api.SourceChanged`.
"""

from __future__ import annotations

import errno
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class SourceError(Exception):
    """`code` for the user's words, `detail` for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Opened:
    """An open input. `live`: it paces itself. `duration_s`: of a file that loops, 0 for the endless. `epoch`: wall-clock
    second at which the file began its first turn; several participants with one epoch stay in step."""

    container: Any
    live: bool
    duration_s: float = 0.0
    epoch: float | None = None
    still: bool = False

    def position_s(self) -> float:
        """Where in the file to be now."""
        if self.epoch is None or not self.duration_s:
            return 0.0
        return (time.time() - self.epoch) % self.duration_s


def split_epoch(device: str) -> tuple[str, float | None]:
    """`film.mp4#epoch=1764000000` -> ("film.mp4", 1764000000.0)."""
    path, mark, value = device.rpartition("#epoch=")
    if not mark:
        return device, None
    try:
        return path, float(value)
    except ValueError:
        return device, None


def open_source(device: str, kind: str, width: int, height: int, fps: int) -> Opened:
    """Open `device` for `kind` "video" or "audio". Raises SourceError."""
    device, epoch = split_epoch(device)
    try:
        if device.startswith("lavfi:"):
            return Opened(av.open(device.removeprefix("lavfi:"), format="lavfi"), live=False)
        path = Path(unquote(device.removeprefix("file://")))
        if device != "default" and not device.startswith("/dev/") and path.is_file():
            return _open_file(path, kind, epoch)
        if kind == "video":
            return Opened(_open_camera(device, width, height, fps), live=True)
        return Opened(_open_microphone(device), live=True)
    except (av.FFmpegError, OSError) as error:
        raise _explain(error, device) from error
    except ValueError as error:
        raise SourceError("not_found", str(error)) from error


def _open_file(path: Path, kind: str, epoch: float | None) -> Opened:
    container = av.open(str(path))
    streams = container.streams.video if kind == "video" else container.streams.audio
    if not streams:
        container.close()
        raise SourceError("unreadable", f"{path.name} has no {kind}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Opened(container, live=False, still=True)
    seconds = (container.duration or 0) / av.time_base
    return Opened(container, live=False, duration_s=seconds, epoch=epoch)


def _open_camera(device: str, width: int, height: int, fps: int) -> Any:
    if sys.platform == "linux":
        if device == "default":
            nodes = sorted(Path("/dev").glob("video*"))
            if not nodes:
                raise SourceError("no_device", "no /dev/video*")
            device = str(nodes[0])
        elif not device.startswith("/dev/"):
            device = _camera_by_name(device)
        return av.open(device, format="v4l2", options={"video_size": f"{width}x{height}", "framerate": str(fps)})
    raise SourceError("no_device", f"cameras of {sys.platform} are not supported in this version")


def _camera_by_name(name: str) -> str:
    for node in sorted(Path("/sys/class/video4linux").glob("video*")):
        try:
            if (node / "name").read_text().strip() == name:
                return f"/dev/{node.name}"
        except OSError:
            continue
    raise SourceError("not_found", f"no camera called {name}")


def _open_microphone(device: str) -> Any:
    if sys.platform != "linux":
        raise SourceError("no_device", f"microphones of {sys.platform} are not supported in this version")
    problem: Exception | None = None
    for system in ("pulse", "alsa"):
        if device.startswith(("pulse:", "alsa:")) and not device.startswith(system):
            continue
        try:
            return av.open(device.removeprefix(f"{system}:"), format=system, options={"sample_rate": "48000", "channels": "1"})
        except (av.FFmpegError, OSError, ValueError) as error:
            problem = error
    if device == "default":
        raise SourceError("no_device", str(problem))
    assert problem is not None
    raise problem


def _explain(error: Exception, device: str) -> SourceError:
    number = getattr(error, "errno", 0) or 0
    if number == errno.EBUSY:
        return SourceError("device_in_use", str(error))
    if number in (errno.EACCES, errno.EPERM):
        return SourceError("no_permission", str(error))
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return SourceError("no_device" if device == "default" else "not_found", str(error))
    return SourceError("unreadable" if Path(device).exists() and not device.startswith("/dev/") else "no_device", str(error))
