"""One's own sound: microphone -> encoder -> packets. The device stays open while muted, and nothing leaves.

Methods on the loop's thread, capture and encoding on the capture's. The valve is `_send_block` (see `engine.publication`).
"""

from __future__ import annotations

import math
import threading
import time

from vidconf.engine.api import LocalLevel, Source
from vidconf.engine.capture import MicrophoneCapture
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK, OpusEncoder
from vidconf.engine.computer_sound import COMPUTER, ComputerSound
from vidconf.engine.publication import Owner, Publication
from vidconf.engine.sound import level

MAX_AUDIO_IN_FLIGHT = 25
LEVEL_BLOCKS = 5
"""Blocks of 20 ms in one `LocalLevel`."""
VOICE_LEVEL = 0.01
RESYNC_SAMPLES = 9600
"""0.2 s: sound that is further from its clock begins anew."""


class AudioPublication(Publication):
    """Microphone: the device stays open while muted (for the level, and to be back at once), but nothing is encoded or sent."""

    kind = "audio"

    def __init__(self, owner: Owner, source: Source, device: str, *, muted: bool) -> None:
        super().__init__(owner, source, device, muted=muted)
        self._capture: MicrophoneCapture | None = None
        self._encoder: OpusEncoder | None = None
        self._in_flight = 0
        self._levels: list[float] = []
        self._talking = False
        self._next_timestamp = 0
        self._lock = threading.Lock()
        self._old: list[threading.Thread] = []

    def start(self) -> None:
        self._generation += 1
        generation = self._generation
        self.error = ""

        def heard(pcm: bytes, at: float) -> None:
            self._captured(generation, pcm, at)

        def failed(code: str, detail: str) -> None:
            self._post(self._failed, generation, code, detail)

        shared = self.source == "screen_share_audio" and self.device == COMPUTER
        self._capture = ComputerSound(heard, failed) if shared else MicrophoneCapture(self.device, heard, failed)
        self._capture.start()
        self.announce()

    def switch(self, device: str) -> None:
        self._stop_capture()
        self.device = device
        self.start()

    def threads(self) -> list[threading.Thread]:
        return [t for t in self._old if t.is_alive()]

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._stop_capture()
        self.owner.publication_changed(self)
        self.announce()

    def _stop_capture(self) -> None:
        self._generation += 1
        if self._capture is not None:
            self._capture.stop()
            self._old = [t for t in (*self._old, self._capture) if t.is_alive()]
            self._capture = None

    def _mute_changed(self) -> None:
        self._talking = False

    def _bound(self) -> None:
        self._talking = False

    # capture thread
    def _captured(self, generation: int, pcm: bytes, at: float) -> None:
        if generation != self._generation:
            return
        loudness = level(pcm)
        self._levels.append(loudness)
        if len(self._levels) >= LEVEL_BLOCKS:
            if self.source == "microphone":
                self._post(self.owner.emit, LocalLevel(round(max(self._levels), 4)))
            self._levels.clear()
        if self.muted or self.stream is None or self._in_flight >= MAX_AUDIO_IN_FLIGHT:
            return
        try:
            if self._encoder is None:
                self._encoder = OpusEncoder()
            payload = self._encoder.encode(pcm)
        except CodecError as error:
            self._encoder = None
            self._post(self._failed, generation, "encoder_failed", str(error))
            return
        if payload:
            with self._lock:
                self._in_flight += 1
            self._post(self._send_block, generation, payload, loudness, at)

    # loop
    def _send_block(self, generation: int, payload: bytes, loudness: float, at: float) -> None:
        with self._lock:
            self._in_flight -= 1
        stream = self.stream
        if self.muted or self.closed or stream is None or generation != self._generation:
            return
        decibels = 127 if loudness <= 0 else min(127, max(0, round(-20 * math.log10(loudness))))
        due, actual = self._next_timestamp, stream.timestamp(at)
        # blocks follow each other by the sample; only after a pause is the clock read again
        timestamp = due if self._talking and abs(actual - due) < RESYNC_SAMPLES else actual
        self._next_timestamp = timestamp + BLOCK
        voice = 0x80 if loudness > VOICE_LEVEL else 0
        packet = stream.packet(payload, timestamp, marker=not self._talking, level=decibels | voice)
        self._talking = True
        stream.transmit(packet, time.monotonic())
