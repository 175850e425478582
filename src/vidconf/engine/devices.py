"""Cameras, microphones and loudspeakers of this machine. `listed` blocks for some milliseconds: call it in an executor.

Never raises: a sound system that does not answer has no devices.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import av

from vidconf.engine.api import Device, Devices

log = logging.getLogger("vidconf.devices")


def listed() -> Devices:
    return Devices(cameras=_cameras(), microphones=_microphones(), speakers=_speakers())


def _cameras() -> tuple[Device, ...]:
    found = []
    for node in sorted(Path("/sys/class/video4linux").glob("video*")):
        try:
            # a camera has several nodes; the first carries pictures, the others metadata
            if (node / "index").read_text().strip() == "0":
                found.append(Device(f"/dev/{node.name}", (node / "name").read_text().strip()))
        except OSError as error:
            log.info("camera %s cannot be read: %s", node.name, error)
    return tuple(found)


def _microphones() -> tuple[Device, ...]:
    if sys.platform != "linux":
        return ()
    for system in ("pulse", "alsa"):
        try:
            listed = av.enumerate_input_devices(system)
        except (av.FFmpegError, ValueError, OSError, AttributeError) as error:
            log.debug("%s lists no microphones: %s", system, error)
            continue
        found = tuple(Device(f"{system}:{d.name}", d.description or d.name) for d in listed if not d.name.endswith(".monitor"))
        if found:
            return found
    return ()


def _speakers() -> tuple[Device, ...]:
    try:
        import sounddevice

        return tuple(
            Device(str(number), entry["name"])
            for number, entry in enumerate(sounddevice.query_devices())
            if entry["max_output_channels"] > 0
        )
    except Exception as error:      # PortAudio's own and the loader's errors; without a list the default still plays
        log.debug("no loudspeakers listed: %s", error)
        return ()
