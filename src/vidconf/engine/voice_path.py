"""From a device's blocks to Opus packets: its clock, the voice's processing, levels and hints, the encoder. Made by `audio_publication`.

On the capture's thread, one object an opening of a device. What the loop decides meanwhile (settings, mute, the loss to expect) it
puts into plain fields, which are read a block at a time.
"""

from __future__ import annotations

import array
import math
from dataclasses import dataclass

from vidconf.engine.api import EngineEvent, LocalLevel, SetVoice
from vidconf.engine.codecs.opus import BLOCK, RATE_HZ, OpusEncoder
from vidconf.engine.far_end import FarEnd
from vidconf.engine.sound import level
from vidconf.engine.voice import Voice, missing
from vidconf.engine.voice_hints import MutedSpeech, SilentMicrophone
from vidconf.rtp.sample_clock import SampleClock

BLOCK_S = BLOCK / RATE_HZ
LEVEL_BLOCKS = 5
"""Blocks of 20 ms in one `LocalLevel`."""
LOST_S = 0.02
"""What the device was late by for a whole second, it has lost."""
LOUD = 0.01
"""Where nothing tells speech from other sound (a file, no library), this level is speech."""


@dataclass(slots=True)
class Steering:
    """What the loop's thread says, for the blocks to come."""

    settings: SetVoice
    muted: bool
    sending: bool = False
    """There is a connection, and room in what waits for it."""
    expected_loss: int = 5
    """Per cent, for the in-band FEC."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A packet. `sample`: the number of its first sample, which counts what the device lost too; `at`: when that was made, monotonic
    seconds, by the device's clock as far as we know it; `level`: as RFC 6464 writes it, voice bit and -dBov."""

    payload: bytes
    sample: int
    at: float
    level: int


class VoicePath:
    """`far`: what the loudspeaker plays, where this is a microphone beside one; None: the sound is sent as it is."""

    def __init__(self, steering: Steering, far: FarEnd | None, *, is_microphone: bool) -> None:
        self._steering, self._far, self._is_microphone = steering, far, is_microphone
        self._clock = SampleClock(RATE_HZ, jump_s=LOST_S)
        self._sample = self._lost = 0
        self._voice: Voice | None = None
        self._encoder: OpusEncoder | None = None
        self._levels: list[float] = []
        self._muted_speech, self._silence = MutedSpeech(), SilentMicrophone()

    def block(self, pcm: bytes, at: float, *, live: bool) -> tuple[list[EngineEvent], Spoken | None]:
        """20 ms of 48 kHz mono s16 that began at `at`; what is to be told, and the packet where one is to be sent. `live`: from a
        device, not from a file. Raises CodecError."""
        steering, first = self._steering, self._sample
        self._sample += BLOCK
        self._clock.note(self._sample, at + BLOCK_S)
        if self._clock.jumped_s > 0:
            self._lost += round(self._clock.jumped_s * RATE_HZ)
        made_at = self._clock.time_of(first)
        told: list[EngineEvent] = []
        peak = _peak(pcm) if live and self._is_microphone else 0
        if live and self._is_microphone and self._far is not None and not missing():
            if self._voice is None:
                self._voice = Voice(self._far, steering.settings)
            self._voice.set(steering.settings)
            pcm = self._voice.process(pcm, made_at)
        loudness = level(pcm)
        speech = loudness > LOUD if self._voice is None else self._voice.is_speech(loudness)
        if self._is_microphone:
            self._tell(told, loudness, live=live, peak=peak, at=at)
        if steering.muted or not steering.sending:
            return told, None
        return told, self._spoken(pcm, first, made_at, loudness, speech)

    def _tell(self, told: list[EngineEvent], loudness: float, *, live: bool, peak: int, at: float) -> None:
        self._levels.append(loudness)
        if len(self._levels) >= LEVEL_BLOCKS:
            told.append(LocalLevel(round(max(self._levels), 4)))
            self._levels.clear()
        if not live:
            return
        muted = self._steering.muted
        spoken = self._voice is not None and self._voice.is_voice(loudness)
        told += [hint for hint in (self._muted_speech.note(spoken, muted, at), self._silence.note(peak, muted, at)) if hint is not None]

    def _spoken(self, pcm: bytes, first: int, at: float, loudness: float, speech: bool) -> Spoken | None:
        steering = self._steering
        if self._encoder is None:
            self._encoder = OpusEncoder(expected_loss=steering.expected_loss, dtx=steering.settings.dtx)
        self._encoder.expect_loss(steering.expected_loss)
        self._encoder.set_dtx(steering.settings.dtx)
        payload = self._encoder.encode(pcm)
        if not payload:
            return None
        decibels = 127 if loudness <= 0 else min(127, max(0, round(-20 * math.log10(loudness))))
        return Spoken(payload, first + self._lost, at, decibels | (0x80 if speech else 0))


def _peak(pcm: bytes) -> int:
    samples = array.array("h", pcm)
    return max(max(samples), -min(samples)) if samples else 0
