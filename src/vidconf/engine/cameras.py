"""Cameras of this machine, and how each is opened: Video4Linux, DirectShow, AVFoundation, all through PyAV.

Any thread; listing blocks for some milliseconds, opening for up to seconds. A camera's id is what udev made of its maker, model and
serial number (`v4l2:usb-046d_…-video-index0`), else of the socket it is in, else its node.
"""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import Any

import av

from vidconf.engine.api import Device, find_device
from vidconf.engine.device_listings import avfoundation_devices, dshow_devices, told_apart

log = logging.getLogger("vidconf.devices")

SYSTEM, NODES = Path("/sys/class/video4linux"), Path("/dev")
OPENS_S = 5.0


def cameras() -> tuple[Device, ...]:
    """All there are now. Raises OSError where the system does not say."""
    if sys.platform == "linux":
        return linux_cameras()
    listed = _listed()
    return dshow_devices(listed, "video") if sys.platform == "win32" else avfoundation_devices(listed, "video")


def _listed() -> list[Any]:
    way = "dshow" if sys.platform == "win32" else "avfoundation"
    try:
        return list(av.enumerate_input_devices(way))
    except (av.FFmpegError, ValueError) as error:       # a build of FFmpeg without it
        raise OSError(errno.ENODEV, f"{way}: {error}") from error


def linux_cameras(system: Path = SYSTEM, nodes: Path = NODES) -> tuple[Device, ...]:
    """Of each camera its first node; further ones carry metadata. A node that is not there (a container sees the host's `/sys`) is no
    camera. Of two alike without serial numbers udev links only one by its model: the other is known by its socket."""
    links = {**_links(nodes / "v4l" / "by-path"), **_links(nodes / "v4l" / "by-id")}
    found = []
    for entry in sorted(system.glob("video*"), key=lambda p: (len(p.name), p.name)):
        try:
            if (entry / "index").read_text().strip() != "0" or not (nodes / entry.name).exists():
                continue
            name = (entry / "name").read_text(errors="replace").strip()
        except OSError as error:
            log.info("camera %s cannot be read: %s", entry.name, error)
            continue
        link = links.get(entry.name)
        found.append(Device(f"v4l2:{link or entry.name}", name or entry.name, f"/dev/{entry.name}"))
    return told_apart(found)


def _links(folder: Path) -> dict[str, str]:
    """Node -> udev's link to it."""
    try:
        return {link.resolve().name: link.name for link in sorted(folder.iterdir(), reverse=True)}
    except OSError:
        return {}       # no udev (a container), or no camera


def open_camera(device: str, width: int, height: int, fps: int) -> Any:
    """An open container. `device`: an id, a node, a name, or `default` (the first). Raises OSError, av.FFmpegError; ENODEV where there is
    no camera at all, ENOENT where there is not this one."""
    if sys.platform == "linux" and device.startswith("/dev/"):
        return _open_linux(device, width, height, fps)
    there = cameras()
    if not there:
        raise OSError(errno.ENODEV, "no camera")
    camera = there[0] if device == "default" else find_device(there, device)
    if camera is None:
        raise OSError(errno.ENOENT, f"no camera called {device}")
    if sys.platform == "linux":
        return _open_linux(camera.node, width, height, fps)
    if sys.platform == "win32":
        return _open_dshow(camera.id.removeprefix("dshow:"), width, height, fps)
    return _open_avfoundation(camera.id.removeprefix("avfoundation:"), width, height, fps)


def _open_linux(node: str, width: int, height: int, fps: int) -> Any:
    # Most cameras have the large pictures at full speed as JPEG only; one without JPEG, or of other sizes, says so by EINVAL.
    wanted = {"video_size": f"{width}x{height}", "framerate": str(fps)}
    return _first(node, "v4l2", ({"input_format": "mjpeg", **wanted}, wanted, {}))


def _open_dshow(name: str, width: int, height: int, fps: int) -> Any:
    # A camera that has not exactly this size and speed refuses it: FFmpeg then says EIO.
    wanted = {"video_size": f"{width}x{height}", "framerate": str(fps), "rtbufsize": "64M"}
    return _first(f"video={name}", "dshow", ({"vcodec": "mjpeg", **wanted}, wanted, {"rtbufsize": "64M"}))


def _open_avfoundation(name: str, width: int, height: int, fps: int) -> Any:
    wanted = {"video_size": f"{width}x{height}", "framerate": str(fps), "pixel_format": "nv12"}
    return _first(f"{name}:none", "avfoundation", (wanted, {"framerate": str(fps), "pixel_format": "nv12"}, {"pixel_format": "nv12"}, {}))


def _first(name: str, way: str, attempts: tuple[dict[str, str], ...]) -> Any:
    """What opens first; only a wish that the camera has not (EINVAL, EIO) is followed by the next."""
    for options in attempts:
        try:
            return av.open(name, format=way, options=options, timeout=OPENS_S)
        except (av.FFmpegError, OSError) as error:
            if getattr(error, "errno", 0) not in (errno.EINVAL, errno.EIO) or options is attempts[-1]:
                raise
    raise AssertionError("the last attempt returns or raises")
