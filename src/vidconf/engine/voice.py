"""One's own voice made fit to be sent: echo, noise and rumble out, loudness evened; and whether there is speech in it.

libwebrtc's audio processing (AEC3, NS, AGC2, high-pass) by `pywebrtc_audio`, which needs numpy. An installation without either
sends the microphone as it is, and says so (`missing`). A `Voice` belongs to its microphone's thread; `FarEnd` is what it shares.
"""

from __future__ import annotations

import functools
import importlib
import logging
from typing import Any

from vidconf.engine.api import SetVoice
from vidconf.engine.far_end import FarEnd

log = logging.getLogger("vidconf.voice")

RATE_HZ = 48_000
NOISE_LEVEL = 1
"""Of 6, 12, 18 and 21 dB: libwebrtc's "moderate". More makes two who speak at once worse (`bench/echo.py`)."""
MOST_GAIN_DB = 24.0
"""AGC2 of itself would raise a whisper, or what is left of an echo, by 50 dB."""
HEADROOM_DB = 10.0
"""Below full scale, for a voice's peaks: AGC2's own 5 dB lead a loud speaker through the limiter."""
VOICED, VOICED_BLOCKS = 0.4, 10
DELAY_MS = 60
"""A first guess at what lies between the far end and its echo. AEC3 finds out in a second."""
SPEECH = 0.6
"""A block is speech from this probability on …"""
SPEECH_LEVEL = 0.0025
"""… if it is louder than -52 dB of full scale."""
HOLD_BLOCKS = 10
"""And stays so between two syllables."""


@functools.cache
def missing() -> str:
    """Why nothing can be processed: `numpy`, `pywebrtc_audio`, or "" when all is there."""
    for name in ("numpy", "pywebrtc_audio"):
        try:
            importlib.import_module(name)
        except Exception as error:      # also a library that is there and does not load on this system
            log.warning("voice goes as the microphone gives it: %s: %s", name, error)
            return name
    return ""


def known_missing() -> str:
    """What `missing` has said; "" before it was ever asked, for to look takes a moment."""
    return missing() if missing.cache_info().currsize else ""


class Voice:
    """For one microphone while it is open. Not to be made where `missing` says something."""

    def __init__(self, far: FarEnd, settings: SetVoice) -> None:
        import numpy
        import pywebrtc_audio

        self._np, self._library, self._far = numpy, pywebrtc_audio, far
        self._settings = settings
        self._echo = self._echo_part()
        self._noise = self._noise_part()
        self._gain = self._gain_part()
        self._voiced = self._held = 0
        self.probability = 0.0
        """Of speech in the last block, 0…1."""

    def set(self, settings: SetVoice) -> None:
        """From the next block on; a part that is switched forgets what it learnt, the others go on."""
        before, self._settings = self._settings, settings
        if before.echo_cancellation != settings.echo_cancellation:
            self._echo = self._echo_part()
        if before.noise_suppression != settings.noise_suppression:
            self._noise = self._noise_part()
        if before.gain_control != settings.gain_control:
            self._gain = self._gain_part()

    # One object a part: the library's `AudioProcessor`, all in one, leaves the bands above 8 kHz noisy and distorts with its gain on.
    def _echo_part(self) -> Any:
        """With a high-pass in it, or the high-pass alone."""
        if self._settings.echo_cancellation:
            return self._library.EchoCanceller(sample_rate=RATE_HZ, stream_delay_ms=DELAY_MS)
        return self._library.AudioProcessor(sample_rate=RATE_HZ, high_pass_filter=True)

    def _noise_part(self) -> Any:
        if self._settings.noise_suppression:
            return self._library.NoiseSuppressor(sample_rate=RATE_HZ, level=NOISE_LEVEL)
        return self._library.VoiceDetector(sample_rate=RATE_HZ)

    def _gain_part(self) -> Any:
        """Also where it is off: its detector knows a voice from a keyboard."""
        on = self._settings.gain_control
        return self._library.GainController(sample_rate=RATE_HZ, adaptive_digital=on, max_gain_db=MOST_GAIN_DB, headroom_db=HEADROOM_DB)

    def process(self, pcm: bytes, at: float) -> bytes:
        """A block (a multiple of 10 ms, 48 kHz mono s16) that began at `at`, monotonic seconds, by the microphone's own clock."""
        sound = self._np.frombuffer(pcm, self._np.int16)
        if self._settings.echo_cancellation:
            sound = self._echo.process(sound, self._far.take(at, len(sound)))
        else:
            sound = self._echo.process(sound)
        if self._settings.noise_suppression:
            sound = self._noise.process(sound)
        else:
            self._noise.process(sound)
        levelled = self._gain.process(sound)
        if self._settings.gain_control:
            sound = levelled
        self._judge()
        return bytes(sound.tobytes())

    def _judge(self) -> None:
        """Of the two detectors the gain's (a small neural network) tells voices from keys and chairs, but takes a tone for one; the
        noise suppressor's does not, and is the slower to answer."""
        self._voiced = VOICED_BLOCKS if self._noise.speech_probability >= VOICED else max(0, self._voiced - 1)
        self.probability = float(self._gain.speech_probability) if self._voiced else 0.0

    def is_voice(self, loudness: float) -> bool:
        """Whether there is a voice in the block just processed, whose level (RMS 0…1) that is."""
        return self.probability >= SPEECH and loudness > SPEECH_LEVEL

    def is_speech(self, loudness: float) -> bool:
        """The same, the gaps between syllables filled. Once a block."""
        if self.is_voice(loudness):
            self._held = HOLD_BLOCKS
            return True
        self._held = max(0, self._held - 1)
        return self._held > 0 and loudness > SPEECH_LEVEL
