"""What a device string means, and how it is opened: cameras, microphones, files, `lavfi:` graphs, page images.

Called on capture threads (opening may block). Everything is read through PyAV, on every system. Failures become SourceError
with the codes of `api.SourceChanged`. On Linux a microphone is an ALSA name; `pulse:<source>` is one too (ALSA's plugin for
PulseAudio, which PipeWire serves as well): PyAV's wheel has no PulseAudio input of its own. Cameras: `engine.cameras`.
"""

from __future__ import annotations

import errno
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av

from vidconf.engine import pulse
from vidconf.engine.alsa import in_turn, pcm_names, prepare_alsa, refusal
from vidconf.engine.api import find_device
from vidconf.engine.cameras import open_camera
from vidconf.engine.device_listings import FILE_SUFFIXES, IMAGE_SUFFIXES, LISTED, avfoundation_devices, dshow_devices

log = logging.getLogger("vidconf.capture")

OPENS_S = 5.0


class SourceError(Exception):
    """`code` for the user's words, `detail` for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


@dataclass(frozen=True, slots=True)
class Opened:
    """An open input. `live`: it paces itself. `duration_s`: of a file that loops, 0 for the endless. `epoch`: wall-clock
    second at which the file began its first turn; several participants with one epoch stay in step. `still`: one picture."""

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
        epoch = float(value)
    except ValueError:
        return device, None
    return (path, epoch) if abs(epoch) < 1e11 else (device, None)


def open_source(device: str, kind: str, width: int, height: int, fps: int) -> Opened:
    """Open `device` for `kind` "video" or "audio". Raises SourceError."""
    device, epoch = split_epoch(device)
    try:
        if device.startswith("lavfi:"):
            return _open_graph(device.removeprefix("lavfi:"), kind)
        path = _file_of(device)
        if path is not None:
            return _open_file(path, kind, epoch)
        return Opened(open_camera(device, width, height, fps) if kind == "video" else _open_microphone(device), live=True)
    except (av.FFmpegError, OSError) as error:
        raise _explain(error, device) from error
    except ValueError as error:
        raise SourceError("not_found", str(error)) from error


def _file_of(device: str) -> Path | None:
    """The file a device string names, there or not; None for the name of a device."""
    if device.startswith("file://"):
        return Path(unquote(device.removeprefix("file://")))
    if device == "default" or device.startswith((*LISTED, "/dev/", "alsa:")):
        return None
    path = Path(device)
    return path if path.suffix.lower() in FILE_SUFFIXES or "/" in device or path.is_file() else None


def _streams(container: Any, kind: str) -> Any:
    return container.streams.video if kind == "video" else container.streams.audio


def _open_graph(graph: str, kind: str) -> Opened:
    container = av.open(graph, format="lavfi")
    if not _streams(container, kind):
        container.close()
        raise SourceError("unreadable", f"the graph has no {kind}")
    return Opened(container, live=False)


def _open_file(path: Path, kind: str, epoch: float | None) -> Opened:
    if not path.is_file():
        raise SourceError("not_found", f"no file {path.name}")
    container = av.open(str(path))
    if not _streams(container, kind):
        container.close()
        raise SourceError("unreadable", f"{path.name} has no {kind}")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Opened(container, live=False, still=True)
    return Opened(container, live=False, duration_s=(container.duration or 0) / av.time_base, epoch=epoch)


def _open_microphone(device: str) -> Any:
    """Raises SourceError, OSError, av.FFmpegError."""
    if sys.platform == "linux":
        return _open_alsa(device)
    windows = sys.platform == "win32"
    listed = av.enumerate_input_devices("dshow" if windows else "avfoundation")
    there = dshow_devices(listed, "audio") if windows else avfoundation_devices(listed, "audio")
    if not there:
        raise OSError(errno.ENODEV, "no microphone")
    if not windows and device == "default":
        return av.open("none:default", format="avfoundation", options={}, timeout=OPENS_S)
    microphone = there[0] if device == "default" else find_device(there, device)
    if microphone is None:
        raise OSError(errno.ENOENT, f"no microphone called {device}")
    if windows:
        # without the option, blocks of half a second
        name = microphone.id.removeprefix("dshow:")
        return av.open(f"audio={name}", format="dshow", options={"audio_buffer_size": "20"}, timeout=OPENS_S)
    return av.open(f"none:{microphone.id.removeprefix('avfoundation:')}", format="avfoundation", options={}, timeout=OPENS_S)


def _open_alsa(device: str) -> Any:
    prepare_alsa()
    if device == "default" and pulse.hears_only_itself():
        raise SourceError("no_device", "the sound server has loudspeakers only")
    if device != "default" and not device.startswith(("pulse:", "alsa:")) and (named := find_device(pulse.devices("sources"), device)):
        device = named.id
    problem: Exception = OSError(errno.ENODEV, "no microphone")
    for name in pcm_names(device):
        try:
            with in_turn():
                # FFmpeg would wait for a card that another program has, and say EIO for whatever ALSA says
                if not name.startswith(("pulse", "pipewire")) and (why := refusal(name)) in (errno.EBUSY, errno.EACCES, errno.EPERM):
                    raise SourceError("device_in_use" if why == errno.EBUSY else "no_permission", name)
                return av.open(name, format="alsa", options={"sample_rate": "48000", "channels": "1"}, timeout=OPENS_S)
        except (av.FFmpegError, OSError) as error:
            problem = error
    if getattr(problem, "errno", 0) in (errno.EIO, errno.ECONNREFUSED, errno.ENOENT):
        # FFmpeg says EIO for whatever ALSA could not open
        raise SourceError("no_device" if device == "default" else "not_found", str(problem)) from problem
    raise problem


def opens(device: str, kind: str) -> bool:
    """Whether it could be opened now, and is closed again at once: to know when a device that was in use is free. Blocks."""
    try:
        opened = open_source(device, kind, 640, 360, 30)
    except SourceError as error:
        log.debug("%s still does not open: %s", kind, error)
        return False
    opened.container.close()
    return True


def _explain(error: Exception, device: str) -> SourceError:
    number = getattr(error, "errno", 0) or 0
    if number == errno.EBUSY:
        return SourceError("device_in_use", str(error))
    if number in (errno.EACCES, errno.EPERM):
        return SourceError("no_permission", str(error))
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return SourceError("no_device" if device == "default" else "not_found", str(error))
    if number == errno.EIO and sys.platform == "win32":
        # DirectShow tells FFmpeg no more than that the graph did not start: another program has the device, or privacy settings close it
        return SourceError("device_in_use", str(error))
    if number == errno.EIO and sys.platform == "darwin":
        return SourceError("no_permission", str(error))     # AVFoundation's answer where the user has not allowed it
    return SourceError("unreadable" if device.startswith("lavfi:") or _file_of(device) else "no_device", str(error))
