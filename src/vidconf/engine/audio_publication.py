"""One's own sound: microphone -> encoder -> packets. The device stays open while muted, and nothing leaves.

Methods on the loop's thread; what is done to each block (`engine.voice_path`) on the capture's. The valve is `_send_block` (see
`engine.publication`).
"""

from __future__ import annotations

import math
import threading
import time

from vidconf.engine.api import EngineEvent, MicrophoneHint, SetVoice, Source
from vidconf.engine.capture import MicrophoneCapture
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK
from vidconf.engine.computer_sound import COMPUTER, ComputerSound
from vidconf.engine.far_end import FarEnd
from vidconf.engine.publication import Owner, Publication
from vidconf.engine.voice_path import Spoken, Steering, VoicePath
from vidconf.rtp.opus import is_silence
from vidconf.rtp.red import Copies
from vidconf.webrtc.description import OPUS

MAX_AUDIO_IN_FLIGHT = 25
LEAST_LOSS, MOST_LOSS = 5, 30
"""Per cent of loss that the FEC is made for: a little always, for those whose own line loses; more takes too much of the voice."""
LOSS_FADES = 0.98
"""What is left of a reported loss a block of 20 ms later, while less is reported: a third in a second."""
BURSTY_LOSS = 0.1
"""From this share on each packet is repeated twice: losses come in runs then."""


class AudioPublication(Publication):
    """Microphone: the device stays open while muted (for the level, and to be back at once), but nothing is encoded or sent.
    `far`: what the loudspeaker beside it plays."""

    kind = "audio"

    def __init__(
        self, owner: Owner, source: Source, device: str, *, muted: bool, far: FarEnd | None = None, settings: SetVoice | None = None
    ) -> None:
        super().__init__(owner, source, device, muted=muted)
        self._far = far
        self._steering = Steering(settings or SetVoice(), muted)
        self._in_flight = 0
        self._lock = threading.Lock()
        self._hints: set[str] = set()
        self._open_since = float("-inf")
        """Unmuted. What was said before may lie in the device's buffers and come only now: it is not sent."""
        # what follows is about the present stream
        self._copies: Copies | None = None
        self._zero: int | None = None
        """The RTP timestamp of the device's sample 0."""
        self._last = 0
        self._talking = self._pausing = False
        self._loss = 0.0

    def start(self) -> None:
        self._generation += 1
        generation = self._generation
        self.error = ""
        self._zero = None
        path = VoicePath(self._steering, self._far, is_microphone=self.source == "microphone")

        def heard(pcm: bytes, at: float) -> None:
            self._captured(generation, path, pcm, at)

        def failed(code: str, detail: str) -> None:
            self._post(self._failed, generation, code, detail)

        shared = self.source == "screen_share_audio" and self.device == COMPUTER
        self._capture = ComputerSound(heard, failed) if shared else MicrophoneCapture(self.device, heard, failed)
        self._capture.start()
        self.announce()

    def set_voice(self, settings: SetVoice) -> None:
        """Other processing, from the next block on."""
        self._steering.settings = settings

    def _stop_capture(self) -> None:
        super()._stop_capture()
        self._take_hints_back()

    def _failed(self, generation: int, code: str, detail: str) -> None:
        super()._failed(generation, code, detail)
        if generation == self._generation:
            self._take_hints_back()

    def _mute_changed(self) -> None:
        self._steering.muted = self.muted
        self._talking = False
        if not self.muted:
            self._open_since = time.monotonic()
            if self.stream is not None and self.pacer is not None:
                self.pacer.take_up(self.stream)

    def _bound(self) -> None:
        stream = self.stream
        assert stream is not None
        self._copies = Copies(OPUS) if stream.redundant_payload_type else None
        self._zero, self._last = None, 0
        self._talking = self._pausing = False
        self._loss = 0.0
        self._look()

    def unbind(self) -> None:
        super().unbind()
        self._steering.sending = False

    # capture thread
    def _captured(self, generation: int, path: VoicePath, pcm: bytes, at: float) -> None:
        if generation != self._generation:
            return
        try:
            told, spoken = path.block(pcm, at, live=self._is_live())
        except CodecError as error:
            self._post(self._broken, generation, str(error))
            return
        if told:
            self._post(self._tell, generation, told)
        if spoken is None:
            return
        with self._lock:
            if self._in_flight >= MAX_AUDIO_IN_FLIGHT:
                return
            self._in_flight += 1
        self._post(self._send_block, generation, spoken)

    def _is_live(self) -> bool:
        capture = self._capture
        return isinstance(capture, MicrophoneCapture) and capture.live

    # loop
    def _broken(self, generation: int, detail: str) -> None:
        """The encoder gave up: without it the device is of no use."""
        if generation == self._generation and not self.closed:
            self._stop_capture()
            self._failed(self._generation, "encoder_failed", detail)

    def _tell(self, generation: int, told: list[EngineEvent]) -> None:
        if generation != self._generation or self.closed:
            return
        for event in told:
            if isinstance(event, MicrophoneHint):
                (self._hints.add if event.shown else self._hints.discard)(event.hint)
            self.owner.emit(event)

    def _take_hints_back(self) -> None:
        """Who is told must also be told that it is over."""
        for hint in sorted(self._hints):
            self.owner.emit(MicrophoneHint("silent" if hint == "silent" else "speaking_muted", shown=False))
        self._hints.clear()

    def _look(self) -> None:
        """What the far end last said of this stream, for the blocks to come."""
        stream = self.stream
        if stream is not None:
            self._loss = max(stream.fraction_lost, self._loss * LOSS_FADES)
            self._steering.expected_loss = max(LEAST_LOSS, min(MOST_LOSS, math.ceil(20 * self._loss) * 5))
            self._steering.sending = True

    def _send_block(self, generation: int, spoken: Spoken) -> None:
        with self._lock:
            self._in_flight -= 1
        stream = self.stream
        if self.muted or self.closed or stream is None or generation != self._generation or spoken.at < self._open_since:
            return
        self._look()
        quiet = is_silence(spoken.payload)
        if quiet and self._pausing:
            return      # said once; the far end makes its own silence till the next
        now_there = stream.timestamp(spoken.at)
        if self._zero is None:
            self._zero = max(now_there, self._last + BLOCK if self._last else now_there) - spoken.sample
        # one block follows another by the device's own count; what that differs from our clock by is told with the reports
        timestamp = self._zero + spoken.sample
        stream.ahead = timestamp - now_there
        self._last = timestamp
        payload = spoken.payload
        if self._copies is not None:
            payload = self._copies.wrap(timestamp, payload, 2 if self._loss >= BURSTY_LOSS else 1)
        packet = stream.packet(payload, timestamp, marker=not self._talking, level=spoken.level, redundant=self._copies is not None)
        self._talking, self._pausing = not quiet, quiet
        stream.transmit(packet, time.monotonic())
