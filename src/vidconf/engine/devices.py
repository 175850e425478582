"""Cameras, microphones and loudspeakers of this machine. `listed` blocks for some milliseconds: call it off the loop.

Never raises: a sound system that does not answer has no devices. On Linux sound goes through ALSA; where PulseAudio or PipeWire
serves it, each of their sources and sinks is a device of its own, `pulse:<name>`, when `pactl` to list them and ALSA's plugin
to reach them are installed. What the lists mean: `engine.device_listings`.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import av

from vidconf.engine import pulse
from vidconf.engine.alsa import in_turn, prepare_alsa
from vidconf.engine.api import Device, Devices
from vidconf.engine.cameras import NODES, SYSTEM, cameras
from vidconf.engine.device_listings import alsa_devices, avfoundation_devices, dshow_devices
from vidconf.engine.portaudio_output import outputs

log = logging.getLogger("vidconf.devices")

CARDS = Path("/proc/asound/cards")
_telling = threading.Lock()
_told: dict[str, str] = {}
"""What was last logged of each list that could not be had: it is asked for every few seconds."""


def listed() -> Devices:
    """What there is now. `default` always works as an id besides."""
    source, sink = pulse.defaults()
    microphones, speakers = _microphones(), _speakers()
    if sys.platform == "linux":
        defaults = (_one_of(microphones, f"pulse:{source}"), _one_of(speakers[0], f"pulse:{sink}"))
    else:
        defaults = ("", speakers[1])
    return Devices(_cameras(), microphones, speakers[0], *defaults)


def signature() -> tuple[Any, ...]:
    """Changes when a camera or a card comes or goes, or may be used by us now: cheap enough for every second (Linux; elsewhere always
    the same). Sound servers tell of themselves (`pulse.subscribe`)."""
    if sys.platform != "linux":
        return ()
    nodes = sorted(path.name for path in SYSTEM.glob("video*"))
    usable = [(name, os.access(NODES / name, os.R_OK | os.W_OK)) for name in nodes]
    try:
        cards = CARDS.read_text()
    except OSError:
        cards = ""
    return (usable, cards, pulse.runs())


def _cameras() -> tuple[Device, ...]:
    try:
        found = cameras()
    except OSError as error:
        _tell("cameras", str(error))
        return ()
    _tell("cameras", "")
    return found


def _microphones() -> tuple[Device, ...]:
    if sys.platform == "linux":
        return pulse.devices("sources") or alsa_devices(_enumerated("microphones", av.enumerate_input_devices, "alsa"))
    if sys.platform == "win32":
        return dshow_devices(_enumerated("microphones", av.enumerate_input_devices, "dshow"), "audio")
    return avfoundation_devices(_enumerated("microphones", av.enumerate_input_devices, "avfoundation"), "audio")


def _speakers() -> tuple[tuple[Device, ...], str]:
    """The loudspeakers, and which is the default where PortAudio lists them."""
    if sys.platform == "linux":
        return pulse.devices("sinks") or alsa_devices(_enumerated("loudspeakers", av.enumerate_output_devices, "alsa")), ""
    try:
        found = outputs()
    except OSError as error:        # without a list the default still plays
        _tell("loudspeakers", str(error))
        return (), ""
    _tell("loudspeakers", "")
    return found


def _enumerated(what: str, enumerate_: Callable[[str], Iterable[Any]], way: str) -> list[Any]:
    prepare_alsa()
    try:
        with in_turn():
            found = list(enumerate_(way))
    except (av.FFmpegError, ValueError, OSError) as error:
        _tell(what, str(error))
        return []
    _tell(what, "")
    return found


def _tell(what: str, trouble: str) -> None:
    """Log why a list cannot be had ("": it can), when that is news."""
    with _telling:
        news = _told.get(what, "") != trouble
        _told[what] = trouble
    if news and trouble:
        log.info("%s cannot be listed: %s", what, trouble)


def _one_of(devices: Iterable[Device], id_: str) -> str:
    """The id where it is listed: a sound server's default may be what it only pretends to have."""
    return id_ if any(device.id == id_ for device in devices) else ""
