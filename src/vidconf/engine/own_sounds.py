"""The program's own short sounds, from `resources/sounds`, read once each. Any thread."""

from __future__ import annotations

import wave
from functools import cache
from typing import get_args

from vidconf.engine.api import SoundName
from vidconf.engine.codecs.opus import RATE_HZ
from vidconf.resources import resource


@cache
def own_sound(name: str) -> bytes:
    """48 kHz mono samples of one of `api.SoundName`. Raises ValueError for any other name, or a file that is none of ours."""
    if name not in get_args(SoundName):
        raise ValueError(f"no sound is called {name[:40]}")
    with resource("sounds", f"{name}.wav").open("rb") as file, wave.open(file) as sound:
        if (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) != (RATE_HZ, 1, 2):
            raise ValueError(f"{name}.wav is not 48 kHz, 16 bit, mono")
        samples: bytes = sound.readframes(sound.getnframes())
        return samples
