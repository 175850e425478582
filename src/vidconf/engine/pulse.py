"""What PulseAudio, or PipeWire in its place, says of its devices: asked through `pactl`. Linux; any thread, each call blocks for some
milliseconds and never raises.

Its words and not its JSON are read: the JSON of pactl 16 (Debian 12, Ubuntu 24.04) says `(null)` for every description that has a
letter outside ASCII, which most Vietnamese ones have.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from vidconf.engine.alsa import has_plugin
from vidconf.engine.api import Device
from vidconf.engine.device_listings import pulse_defaults, pulse_devices, pulse_means_change

log = logging.getLogger("vidconf.devices")

PACTL_TIMEOUT_S = 2.0
_ENVIRONMENT = {"LC_ALL": "C", "LANGUAGE": ""}
"""Its words in English, whatever the desktop's are."""


def reachable() -> bool:
    """Whether a sound server may be there, `pactl` to ask it, and ALSA's plugin to play and record through it."""
    return sys.platform == "linux" and runs() and shutil.which("pactl") is not None and has_plugin("pulse")


def runs() -> bool:
    """Whether there is the address of a server: it costs no process to look."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(os.environ.get("PULSE_SERVER")) or bool(runtime and (Path(runtime) / "pulse" / "native").exists())


def devices(kind: Literal["sources", "sinks"]) -> tuple[Device, ...]:
    """Microphones (without what is only a loudspeaker's echo), or loudspeakers; ids are `pulse:<name>`."""
    return pulse_devices(_ask("list", kind))


def defaults() -> tuple[str, str]:
    """(source, sink) that the server gives to who asks for none: bare names, "" where it has none."""
    return pulse_defaults(_ask("info"))


def hears_only_itself() -> bool:
    """The server has no microphone, and would record what its loudspeaker plays instead: nobody means that."""
    if not reachable():
        return False
    source, _ = defaults()
    return source.endswith(".monitor") and not devices("sources")


def subscribe() -> subprocess.Popen[bytes] | None:
    """A process that writes a line for everything that changes there (`means_change`), until it is killed or the server ends. One that
    outlives us ends with the next line that it cannot write."""
    try:
        return subprocess.Popen(
            ["pactl", "subscribe"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **_ENVIRONMENT}
        )
    except OSError as error:
        log.info("changes of the sound server are not told: %s", error)
        return None


def means_change(lines: Iterable[str]) -> bool:
    """Whether devices may have come or gone, or the default is another."""
    return any(pulse_means_change(line) for line in lines)


def _ask(*what: str) -> str:
    """What it answers, "" where it is not, or is silent."""
    if not reachable():
        return ""
    try:
        done = subprocess.run(
            ["pactl", *what], stdin=subprocess.DEVNULL, capture_output=True, timeout=PACTL_TIMEOUT_S, check=True, env={**os.environ, **_ENVIRONMENT}
        )
    except (OSError, subprocess.SubprocessError) as error:
        log.info("the sound server does not answer (%s): %s", " ".join(what), type(error).__name__)
        return ""
    return done.stdout.decode("utf-8", "replace")
