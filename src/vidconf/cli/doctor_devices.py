"""This PC for the help desk: its power, and its camera, microphone and loudspeaker really opened. In a child process.

The devices are those chosen in the settings. The microphone is listened to for a second, of the camera one picture is taken, the
loudspeaker is given silence; nothing is kept, and all are given back at once.
"""

from __future__ import annotations

import array
import json
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from vidconf.cli.findings import Finding
from vidconf.cli.parts import Put

OPENS_S, LISTENS_S, PICTURE_S, PLAYS_S = 5.0, 1.2, 6.0, 3.0
LOOKS_S = 0.7
RENDERER_S = 4.0
BUSY_PERCENT = 85.0
LEAST_MEMORY_MB = 500
QUIET_DB = -55.0
CARDS = Path("/sys/class/drm")
MAKERS = {"0x8086": "Intel", "0x1002": "AMD", "0x10de": "NVIDIA", "0x1af4": "virtio", "0x15ad": "VMware", "0x1234": "QEMU", "0x1a03": "ASPEED"}


def machine(put: Put, told: Mapping[str, Any]) -> None:
    """Processor and memory as they are now, and the graphics card."""
    cores = psutil.cpu_count() or 1
    busy = psutil.cpu_percent(LOOKS_S)
    detail: dict[str, Any] = {"cores": cores, "busy_percent": round(busy), "name": processor() or "CPU"}
    result = "busy" if busy >= BUSY_PERCENT else "one_core" if cores < 2 else "enough"
    put(Finding("doctor.cpu", "ok" if result == "enough" else "warning", result, detail))
    memory = psutil.virtual_memory()
    free = memory.available >> 20
    short = free < LEAST_MEMORY_MB
    put(Finding("doctor.memory", "warning" if short else "ok", "short" if short else "enough", {"free_mb": free, "total_mb": memory.total >> 20}))
    cards = graphics_cards()
    basic = any("basic display" in card.lower() for card in cards)
    renderer = painting_card(str(told.get("stage_renderer") or "auto")) if cards and not basic else ""
    result = "basic" if basic else "card" if renderer else "found" if cards else "none"
    put(Finding("doctor.graphics", "warning" if basic else "ok", result, {"cards": cards, "renderer": renderer}))


def painting_card(chosen: str) -> str:
    """The renderer by which the window will paint its pictures, "" when the processor will: asked as the window asks, in a process that a
    bad driver may end. `chosen`: the setting."""
    from vidconf.gui.stage.graphics import is_software, probe_command

    if chosen == "raster":
        return ""
    try:
        asked = subprocess.run(probe_command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=RENDERER_S)
        name = str(json.loads(asked.stdout)["renderer"])
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return ""
    return name if chosen == "gpu" or not is_software(name) else ""


def processor() -> str:
    """Its name as its maker gave it, "" where the system does not tell."""
    if sys.platform == "linux":
        try:
            lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return os.environ.get("PROCESSOR_IDENTIFIER", "")


def graphics_cards() -> list[str]:
    """What the system says it has; no driver is touched to ask."""
    found: list[str] = []
    if sys.platform == "linux":
        for card in sorted(CARDS.glob("card[0-9]")):
            try:
                vendor = (card / "device" / "vendor").read_text().strip()
                driver = (card / "device" / "driver").resolve().name
            except OSError:
                continue  # a display without a card of its own
            found.append(f"{MAKERS.get(vendor, vendor)} ({driver})")
    elif sys.platform == "win32":
        import ctypes
        from ctypes import wintypes

        class Adapter(ctypes.Structure):
            """DISPLAY_DEVICEW."""

            _fields_ = [
                ("cb", wintypes.DWORD), ("DeviceName", wintypes.WCHAR * 32), ("DeviceString", wintypes.WCHAR * 128),
                ("StateFlags", wintypes.DWORD), ("DeviceID", wintypes.WCHAR * 128), ("DeviceKey", wintypes.WCHAR * 128),
            ]  # fmt: skip

        for number in range(16):
            adapter = Adapter(cb=ctypes.sizeof(Adapter))
            if not ctypes.windll.user32.EnumDisplayDevicesW(None, number, ctypes.byref(adapter), 0):
                break
            found.append(adapter.DeviceString)
    return list(dict.fromkeys(found))


def camera(put: Put, told: Mapping[str, Any]) -> None:
    """The chosen camera gives a picture."""
    from vidconf.engine.api import find_device
    from vidconf.engine.cameras import cameras
    from vidconf.engine.capture import VideoCapture

    device = str(told.get("camera") or "default")
    try:
        listed = cameras()
    except OSError:
        listed = ()     # opening one says why
    names, chosen = [one.name for one in listed], find_device(listed, device)
    shown: dict[str, Any] = {}
    trouble: list[tuple[str, str]] = []
    settled = threading.Event()

    def on_frame(frame: Any, captured_at: float) -> None:
        shown.update(width=frame.width, height=frame.height)
        settled.set()

    def on_error(code: str, detail: str) -> None:
        trouble.append((code, detail))
        settled.set()

    capture = VideoCapture(device, 1280, 720, 30, on_frame, on_error)
    capture.start()
    settled.wait(PICTURE_S)
    capture.stop()
    capture.join(1.0)
    detail = {"device": chosen.name if chosen is not None else device, "devices": names, **shown}
    if shown:
        put(Finding("doctor.camera", "ok", "works", detail))
    else:
        put(_trouble("doctor.camera", trouble, detail))


def sound(put: Put, told: Mapping[str, Any]) -> None:
    """The chosen loudspeaker takes sound, the chosen microphone gives some."""
    from vidconf.engine.devices import listed

    devices = listed()
    hint = sound_server_hint()
    if hint is not None:
        put(hint)
    put(_speaker(str(told.get("speaker") or "default"), {device.id: device.name for device in devices.speakers}))
    put(_microphone(str(told.get("microphone") or "default"), {device.id: device.name for device in devices.microphones}))


def sound_server_hint() -> Finding | None:
    """A sound server that runs and cannot be reached: two packages a distribution may leave out."""
    from vidconf.engine import pulse
    from vidconf.engine.alsa import has_plugin

    if sys.platform != "linux" or not pulse.runs():
        return None
    if not has_plugin("pulse"):
        return Finding("doctor.sound", "warning", "no_plugin", {"package": "libasound2-plugins"})
    if shutil.which("pactl") is None:
        return Finding("doctor.sound", "warning", "no_pactl", {"package": "pulseaudio-utils"})
    return None


def _speaker(device: str, listed: Mapping[str, str]) -> Finding:
    from vidconf.engine.loudspeaker import BLOCK_S, Loudspeaker

    detail: dict[str, Any] = {"device": listed.get(device, device), "devices": list(listed.values())}
    if device == "none":
        return Finding("doctor.speaker", "warning", "off", detail)
    card = Loudspeaker(device)
    try:
        end = time.monotonic() + PLAYS_S
        for _ in range(10):
            card.write(bytes(int(BLOCK_S * 48_000) * 2))
            if time.monotonic() > end:
                break
        while not card.opened and time.monotonic() < end:
            card.write(bytes(int(BLOCK_S * 48_000) * 2))
    except OSError as error:
        result = "no_device" if not listed else "not_found" if device not in ("default", *listed) else "does_not_open"
        return Finding("doctor.speaker", "warning", result, {**detail, "reason": str(error)})
    finally:
        card.close()
        card.join(1.0)
    if not card.opened:
        return Finding("doctor.speaker", "warning", "does_not_open", {**detail, "reason": "–"})
    return Finding("doctor.speaker", "ok", "works", detail)


def _microphone(device: str, listed: Mapping[str, str]) -> Finding:
    from vidconf.engine.capture import MicrophoneCapture

    blocks: list[bytes] = []
    trouble: list[tuple[str, str]] = []
    settled = threading.Event()

    def on_block(pcm: bytes, captured_at: float) -> None:
        blocks.append(pcm)
        settled.set()

    def on_error(code: str, detail: str) -> None:
        trouble.append((code, detail))
        settled.set()

    capture = MicrophoneCapture(device, on_block, on_error)
    capture.start()
    if settled.wait(OPENS_S) and blocks:
        time.sleep(LISTENS_S)
    capture.stop()
    capture.join(1.0)
    detail: dict[str, Any] = {"device": listed.get(device, device), "devices": list(listed.values())}
    heard = list(blocks)
    if not heard:
        return _trouble("doctor.microphone", trouble, detail)
    peak, level_db = loudness(heard)
    detail |= {"level_db": level_db, "peak": peak}
    if peak <= 1:
        return Finding("doctor.microphone", "warning", "silent", detail)
    return Finding("doctor.microphone", "ok", "quiet" if level_db < QUIET_DB else "works", detail)


def loudness(blocks: list[bytes]) -> tuple[int, int]:
    """(highest sample, level in dB of full scale); what a muted microphone gives is exactly nothing."""
    samples = array.array("h", b"".join(blocks))
    peak = max(max(samples), -min(samples))
    power = sum(v * v for v in samples) / len(samples)
    return peak, round(20 * math.log10(math.sqrt(power) / 32768)) if power else -120


def _trouble(code: str, trouble: list[tuple[str, str]], detail: Mapping[str, Any]) -> Finding:
    """Why a device gave nothing. Without any device there is nothing to mend: a PC in a meeting room may listen only."""
    result, reason = trouble[0] if trouble else ("device_lost", "nothing came")
    if result not in ("no_device", "not_found", "no_permission", "device_in_use", "device_lost") or (result == "no_device" and detail["devices"]):
        result = "unreadable"  # ALSA says the same of a device that is not there and of one that does not work
    away = result == "not_found" and detail["devices"]      # the meeting is held with another, and says so
    return Finding(code, "warning" if result == "no_device" or away else "failure", result, {**detail, "reason": reason})
