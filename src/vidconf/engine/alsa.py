"""Makes ALSA usable and quiet on Linux, once a process, before the first device is opened or listed. Any thread; never raises."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
from pathlib import Path

import av

CONFIG = "/usr/share/alsa/alsa.conf"
PLUGINS = ("/usr/lib/x86_64-linux-gnu/alsa-lib", "/usr/lib/aarch64-linux-gnu/alsa-lib", "/usr/lib64/alsa-lib", "/usr/lib/alsa-lib")


@functools.cache
def prepare_alsa() -> None:
    """The wheel's ALSA looks for its configuration and plugins where it was built: show it this system's. And neither it nor
    the system's own (PortAudio's) may write to stderr about each device that is not there."""
    if sys.platform != "linux":
        return
    if Path(CONFIG).is_file():
        os.environ.setdefault("ALSA_CONFIG_PATH", CONFIG)
    for folder in PLUGINS:
        if Path(folder).is_dir():
            os.environ.setdefault("ALSA_PLUGIN_DIR", folder)
            break
    for name in ("libasound.so.2", *map(str, (Path(av.__file__).parent.parent / "av.libs").glob("libasound*.so*"))):
        with contextlib.suppress(OSError, AttributeError):
            # A handler that ignores what it is told: any C function without arguments. One of Python's could be called by a
            # thread of ALSA's while the interpreter ends.
            quiet = ctypes.cast(ctypes.CDLL(None).getppid, ctypes.c_void_p)
            library = ctypes.CDLL(name)
            library.snd_lib_error_set_handler.argtypes = [ctypes.c_void_p]
            library.snd_lib_error_set_handler(quiet)


def has_plugin(name: str) -> bool:
    """Whether ALSA can reach the sound server called so (`pulse`, `pipewire`)."""
    prepare_alsa()
    return (Path(os.environ.get("ALSA_PLUGIN_DIR", "/")) / f"libasound_module_pcm_{name}.so").is_file()
