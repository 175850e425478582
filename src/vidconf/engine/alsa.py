"""ALSA on Linux: made usable and quiet once a process, its names for what a user chose, its opening one at a time.

Any thread. Whatever wants ALSA calls `prepare_alsa` first: it writes to the process's environment, which C code of other threads
may be reading, so an engine does it before it has any.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from vidconf.engine import wheel

CONFIG = "/usr/share/alsa/alsa.conf"
PLUGINS = ("/usr/lib/x86_64-linux-gnu/alsa-lib", "/usr/lib/aarch64-linux-gnu/alsa-lib", "/usr/lib64/alsa-lib", "/usr/lib/alsa-lib")
_CAPTURE, _NONBLOCK = 1, 1
TURN_S = 2.0
"""A device that hangs while it opens holds up the next one for so long."""

_preparing = threading.Lock()
_prepared = False
_turn = threading.Lock()


def prepare_alsa() -> None:
    """The wheel's ALSA looks for its configuration and plugins where it was built: show it this system's. And neither it nor
    the system's own may write to stderr about each device that is not there. Never raises."""
    global _prepared
    with _preparing:
        if _prepared or sys.platform != "linux":
            return
        _prepared = True
        if Path(CONFIG).is_file():
            os.environ.setdefault("ALSA_CONFIG_PATH", CONFIG)
        for folder in PLUGINS:
            if Path(folder).is_dir():
                os.environ.setdefault("ALSA_PLUGIN_DIR", folder)
                break
        for name in ("libasound.so.2", *wheels_libraries()):
            with contextlib.suppress(OSError, AttributeError):
                # A handler that ignores what it is told: any C function without arguments. One of Python's could be called by
                # a thread of ALSA's while the interpreter ends.
                quiet = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p)
                library = ctypes.CDLL(name)
                library.snd_lib_error_set_handler.argtypes = [ctypes.c_void_p]
                library.snd_lib_error_set_handler(quiet)


def wheels_libraries() -> list[str]:
    """The ALSA that came with PyAV; none where the distribution built it."""
    return [str(path) for path in wheel.libraries("asound")]


def has_plugin(name: str) -> bool:
    """Whether ALSA can reach the sound server called so (`pulse`, `pipewire`)."""
    prepare_alsa()
    return (Path(os.environ.get("ALSA_PLUGIN_DIR", "/")) / f"libasound_module_pcm_{name}.so").is_file()


def refusal(name: str) -> int:
    """Why a microphone does not open, as an errno; 0 where it does, or ALSA cannot be asked. Not blocking: one that another program has
    is refused instead of waited for."""
    for library in (*wheels_libraries(), "libasound.so.2"):
        with contextlib.suppress(OSError, AttributeError, ValueError):
            alsa = ctypes.CDLL(library)
            alsa.snd_pcm_open.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
            alsa.snd_pcm_close.argtypes = [ctypes.c_void_p]
            pcm = ctypes.c_void_p()
            problem = int(alsa.snd_pcm_open(ctypes.byref(pcm), name.encode(), _CAPTURE, _NONBLOCK))
            if problem >= 0:
                alsa.snd_pcm_close(pcm)
            return max(0, -problem)
    return 0


def pcm_names(device: str) -> list[str]:
    """What to open for a device string, the best first."""
    if device != "default":
        return [device.removeprefix("alsa:")]
    # where nobody made the sound server ALSA's default
    return ["default", *(server for server in ("pipewire", "pulse") if has_plugin(server))]


@contextlib.contextmanager
def in_turn() -> Iterator[None]:
    """Opening and listing devices, one at a time: ALSA itself bears several at once, its many plugins need not. One that hangs
    there must not stop the others, so these wait for a moment and then go on."""
    mine = _turn.acquire(timeout=TURN_S)
    try:
        yield
    finally:
        if mine:
            _turn.release()
