"""What each system's list of devices says, as ids that stay and names that people know. Pure: text and records in, devices out.

An id outlives a restart, another order of plugging and another language: PulseAudio's name, ALSA's card by its word (not its number),
a camera by udev's link (maker, model, serial number, else the socket), DirectShow's alternative name, AVFoundation's and PortAudio's
names. Never raises: a line that is not understood is left out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Literal, Protocol

from vidconf.engine.api import Device, Devices

Kind = Literal["microphone", "camera", "speaker"]
LONGEST = 400
"""Of an id; a longer one is no device's."""
LISTED = ("pulse:", "alsa:plughw:", "v4l2:", "dshow:", "avfoundation:", "portaudio:")
"""What ids out of a list begin with."""
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FILE_SUFFIXES = (*IMAGE_SUFFIXES, ".mp4", ".mkv", ".webm", ".mov", ".avi", ".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a")
"""What is a file and no device's name."""
_EVENT = re.compile(r"Event '(new|remove|change)' on (source|sink|server|card) #")
_SCREEN = re.compile(r"Capture screen \d+")
_OLD_API = ("MME", "Windows DirectSound", "Windows WDM-KS")


class Listed(Protocol):
    """One of PyAV's `DeviceInfo`."""

    name: str
    description: str
    media_types: list[str]


def of_kind(devices: Devices, kind: Kind) -> tuple[Device, ...]:
    return {"microphone": devices.microphones, "camera": devices.cameras, "speaker": devices.speakers}[kind]


def default_of(devices: Devices, kind: Kind) -> str:
    """The id that the system's `default` stands for, "" where it does not say."""
    if kind == "camera":
        return devices.cameras[0].id if devices.cameras else ""
    return devices.default_microphone if kind == "microphone" else devices.default_speaker


def is_device(device: str) -> bool:
    """Whether hardware is meant, which may come and go, by id, node or name, and not a file, a graph or nothing."""
    if device == "default" or device.startswith((*LISTED, "/dev/", "alsa:")):
        return True
    if device in ("", "none") or device.startswith(("lavfi:", "file:")):
        return False
    return "/" not in device and PurePath(device).suffix.lower() not in FILE_SUFFIXES


def may_be_unlisted(device: str) -> bool:
    """Whether it is opened as it is though no list has it: an ALSA name that somebody wrote."""
    return device.startswith("alsa:") and not device.startswith(LISTED)


# ---- PulseAudio, PipeWire -------------------------------------------------------------------------------------------------


def pulse_devices(text: str) -> tuple[Device, ...]:
    """`pactl list sources` or `pactl list sinks`, in English. What a sink plays (its monitor) is no microphone. `node` is the server's
    number, another one after each plugging."""
    found: list[Device] = []
    parts = re.split(r"^(?:Source|Sink) #(\d+)\s*$", text, flags=re.MULTILINE)
    for number, block in zip(parts[1::2], parts[2::2], strict=True):
        fields: dict[str, str] = {}
        for line in block.splitlines():
            match = re.fullmatch(r"\t(Name|Description|Monitor of Sink): (.*)", line)
            if match:
                fields.setdefault(match[1], match[2].strip())
        name, words = fields.get("Name", ""), fields.get("Description", "")
        if name and fields.get("Monitor of Sink", "n/a") == "n/a":
            found.append(Device(f"pulse:{name}", words if words and words != "(null)" else name, number))
    return told_apart(found)


def pulse_defaults(text: str) -> tuple[str, str]:
    """`pactl info`, in English: the names of (source, sink), "" where there is none."""
    found = dict(re.findall(r"^Default (Source|Sink): (\S.*)$", text, flags=re.MULTILINE))
    return found.get("Source", "").strip(), found.get("Sink", "").strip()


def pulse_means_change(line: str) -> bool:
    """Whether a line of `pactl subscribe` tells of devices, cards or the server's defaults, and not of somebody's stream."""
    return _EVENT.match(line) is not None


# ---- through PyAV ---------------------------------------------------------------------------------------------------------


def alsa_devices(listed: Iterable[Listed]) -> tuple[Device, ...]:
    """Each card comes under several names; `plughw` takes any format. The rest are filters, and `default` is implied. A card's word
    (`CARD=Headset`) stays where its number does not."""
    found = [Device(f"alsa:{one.name}", " ".join((one.description or one.name).split())) for one in listed if one.name.startswith("plughw:")]
    return told_apart(found)


def dshow_devices(listed: Iterable[Listed], media: Literal["audio", "video"]) -> tuple[Device, ...]:
    """DirectShow's. The name is the alternative one (`@device_pnp_…`, `@device_cm_…`), the description what Windows calls it. A device
    whose kind is not told is left out: asked for what it has not, it would hold up the opening."""
    return told_apart(Device(f"dshow:{one.name}", one.description or one.name) for one in listed if media in one.media_types)


def avfoundation_devices(listed: Iterable[Listed], media: Literal["audio", "video"]) -> tuple[Device, ...]:
    """macOS's. FFmpeg tells a number, which changes with what is plugged in, and the name, by which it opens as well. Screens, which it
    lists among the cameras, are none."""
    found = [Device(f"avfoundation:{one.description}", one.description, one.name) for one in listed
             if media in one.media_types and one.description and not _SCREEN.fullmatch(one.description)]  # fmt: skip
    return told_apart({device.id: device for device in found}.values())


# ---- PortAudio ------------------------------------------------------------------------------------------------------------


def portaudio_outputs(entries: Sequence[Mapping[str, Any]], interfaces: Sequence[Mapping[str, Any]]) -> tuple[Device, ...]:
    """`sounddevice.query_devices()` and `query_hostapis()`. Windows has each loudspeaker once for every way to reach it: where WASAPI is,
    the older ones are left out (they cut its name after 31 letters). `node` is PortAudio's number now, which older versions kept."""
    names = [str(one.get("name", "")) for one in interfaces]
    modern = any("WASAPI" in name for name in names)
    found: dict[str, Device] = {}
    for number, entry in enumerate(entries):
        way = names[entry["hostapi"]] if 0 <= int(entry.get("hostapi", -1)) < len(names) else ""
        if entry.get("max_output_channels", 0) > 0 and not (modern and way in _OLD_API):
            name = str(entry.get("name", number))
            found.setdefault(f"portaudio:{name}", Device(f"portaudio:{name}", name, str(number)))
    return told_apart(found.values())


# ---- for all --------------------------------------------------------------------------------------------------------------


def told_apart(devices: Iterable[Device]) -> tuple[Device, ...]:
    """Two of the same name get a number, in the order of their ids, so that the same one keeps it."""
    held = [device for device in devices if len(device.id) <= LONGEST]
    twice = {name for name, count in Counter(device.name for device in held).items() if count > 1}
    numbers: Counter[str] = Counter()
    named: dict[str, str] = {}
    for device in sorted(held, key=lambda one: one.id):
        if device.name in twice:
            numbers[device.name] += 1
            named[device.id] = f"{device.name} ({numbers[device.name]})"
    return tuple(Device(one.id, named.get(one.id, one.name), one.node) for one in held)
