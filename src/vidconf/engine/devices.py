"""Cameras, microphones and loudspeakers of this machine. `listed` blocks for some milliseconds: call it in an executor.

Never raises: a sound system that does not answer has no devices. On Linux sound goes through ALSA; where PulseAudio or PipeWire
serves it, each of their sources and sinks is a device of its own, `pulse:<name>`, when `pactl` to list them and ALSA's plugin
to reach them are installed.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import av

from vidconf.engine.alsa import has_plugin, in_turn, prepare_alsa
from vidconf.engine.api import Device, Devices
from vidconf.engine.portaudio_output import outputs
from vidconf.engine.sources import cameras

log = logging.getLogger("vidconf.devices")

PACTL_TIMEOUT_S = 2.0


def listed() -> Devices:
    """What there is now. `default` always works as an id besides."""
    return Devices(cameras=_cameras(), microphones=_microphones(), speakers=_speakers())


def _cameras() -> tuple[Device, ...]:
    try:
        return tuple(Device(node, name) for node, name in cameras())
    except OSError as error:
        log.info("cameras cannot be listed: %s", error)
        return ()


def _microphones() -> tuple[Device, ...]:
    if sys.platform != "linux":
        return ()
    found = [Device(f"pulse:{name}", words) for name, words in _pulse("sources") if not name.endswith(".monitor")]
    if found:
        return tuple(found)
    return _cards("microphones", av.enumerate_input_devices)


def _speakers() -> tuple[Device, ...]:
    found = [Device(f"pulse:{name}", words) for name, words in _pulse("sinks")]
    if found:
        return tuple(found)
    if sys.platform == "linux":
        return _cards("loudspeakers", av.enumerate_output_devices)
    try:
        return tuple(Device(number, name) for number, name in outputs())
    except OSError as error:        # without a list the default still plays
        log.info("loudspeakers cannot be listed: %s", error)
        return ()


def _cards(what: str, enumerated: Callable[[str], Iterable[Any]]) -> tuple[Device, ...]:
    """ALSA's own."""
    prepare_alsa()
    try:
        with in_turn():
            names = list(enumerated("alsa"))
    except (av.FFmpegError, ValueError, OSError) as error:
        log.info("%s cannot be listed: %s", what, error)
        return ()
    # each card comes under several names; this is the one that takes any format. The rest are filters, and `default` is implied.
    return tuple(Device(f"alsa:{d.name}", " ".join((d.description or d.name).split())) for d in names if d.name.startswith("plughw:"))


def _pulse(kind: str) -> list[tuple[str, str]]:
    """(name, description) of PulseAudio's `sources` or `sinks`; none where it is not, or does not answer."""
    program = shutil.which("pactl") if sys.platform == "linux" else None
    if program is None or not has_plugin("pulse"):
        return []
    try:
        done = subprocess.run([program, "--format=json", "list", kind], capture_output=True, timeout=PACTL_TIMEOUT_S, check=True)
        entries: Any = json.loads(done.stdout)
        return [(str(e["name"]), str(e.get("description") or e["name"])) for e in entries]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
        log.info("PulseAudio's %s cannot be listed: %s", kind, type(error).__name__)
        return []
