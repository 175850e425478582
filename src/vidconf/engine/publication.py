"""One's own sources: device -> encoder -> packets. A publication outlives connections: a rejoin only binds it again.

Methods on the loop's thread; capture and encoding run on threads of their own, which hand finished packets back to the loop.
**The valve**: whether something may leave is decided in `_send_*`, on the loop, from the intent (`muted`) alone, at the very
moment of sending. No state of the connection can open it; only `set_muted(False)` can.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Literal, Protocol

import av

from vidconf.engine import stamp
from vidconf.engine.api import EngineEvent, LocalLevel, Source, SourceChanged, SourceState
from vidconf.engine.capture import MicrophoneCapture, VideoCapture
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.opus import BLOCK, OpusEncoder
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.outgoing import OutgoingStream, Pacer
from vidconf.engine.scaling import TileWriter
from vidconf.engine.sound import level
from vidconf.rtp.vp8 import packetize

log = logging.getLogger("vidconf.publication")

KEYFRAME_GAP_S = 0.3
"""Requests closer together are put off, not dropped."""
MAX_VIDEO_IN_FLIGHT = 3
"""Encoded frames the loop has not taken yet; more and the encoder leaves pictures out."""
MAX_AUDIO_IN_FLIGHT = 25
LEVEL_BLOCKS = 5
"""Blocks of 20 ms in one `LocalLevel`."""
VOICE_LEVEL = 0.01
RESYNC_SAMPLES = 9600
"""0.2 s: sound that is further from its clock begins anew."""


@dataclasses.dataclass(frozen=True, slots=True)
class VideoShape:
    """Limits of a picture source."""

    width: int
    height: int
    fps: int
    max_bps: int


SHAPES: dict[str, VideoShape] = {
    "camera": VideoShape(1280, 720, 30, 1_700_000),
    "screen_share": VideoShape(1920, 1080, 10, 2_000_000),
}


class Owner(Protocol):
    """What a publication needs of its session."""

    loop: asyncio.AbstractEventLoop

    def emit(self, event: EngineEvent) -> None: ...

    def publication_changed(self, publication: Publication) -> None:
        """Its mute or its being open changed: tell the server."""


class Publication:
    """Common to all sources: intent, state, and the tie to a connection."""

    kind: Literal["audio", "video"]

    def __init__(self, owner: Owner, source: Source, device: str, *, muted: bool) -> None:
        self.owner, self.source, self.device = owner, source, device
        self.muted = muted
        self.closed = False
        self.wanted = True
        """Somebody takes it (the server's `subscribed_quality_update`)."""
        self.error = ""
        self.stream: OutgoingStream | None = None
        self.pacer: Pacer | None = None
        self._generation = 0
        """Capture threads carry it: what an old device still delivers is dropped."""

    @property
    def state(self) -> SourceState:
        if self.closed or self.error:
            return "off"
        return "muted" if self.muted else "on"

    def set_muted(self, muted: bool) -> None:
        if muted == self.muted or self.closed:
            return
        self.muted = muted
        if muted and self.stream is not None and self.pacer is not None:
            self.pacer.drop(self.stream)
        self._mute_changed()
        self.owner.publication_changed(self)
        self.announce()

    def bind(self, stream: OutgoingStream, pacer: Pacer) -> None:
        """The connection is up: send through `stream` from now on."""
        self.stream, self.pacer = stream, pacer
        self._bound()

    def unbind(self) -> None:
        self.stream, self.pacer = None, None
        self.wanted = True

    def announce(self, detail: str = "") -> None:
        self.owner.emit(SourceChanged(self.source, self.state, self.device, self.error, detail))

    def _failed(self, generation: int, code: str, detail: str) -> None:
        """A device could not be opened or was lost (loop's thread)."""
        if generation != self._generation or self.closed:
            return
        log.warning("%s: %s", self.source, code)
        self.error = code
        self.announce(detail)

    def _post(self, callback: Callable[..., None], *values: object) -> None:
        """From a capture thread to the loop; a loop that has ended takes nothing."""
        try:
            self.owner.loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("%s: the loop is gone", self.source)

    # ---- for the kinds
    def start(self) -> None:
        raise NotImplementedError

    def switch(self, device: str) -> None:
        """Another device for the same track."""
        raise NotImplementedError

    def threads(self) -> list[threading.Thread]:
        """To be waited for (off the loop) after `close`."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def request_keyframe(self) -> None:
        """Nothing to do but for pictures."""

    def _mute_changed(self) -> None:
        raise NotImplementedError

    def _bound(self) -> None:
        raise NotImplementedError


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
        self._capture = MicrophoneCapture(
            self.device,
            lambda pcm, at: self._captured(generation, pcm, at),
            lambda code, detail: self._post(self._failed, generation, code, detail),
        )
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


class VideoPublication(Publication):
    """Camera or share: a capture thread, an encoder thread with one picture between them. Muted: the device is closed."""

    kind = "video"

    def __init__(self, owner: Owner, source: Source, device: str, *, muted: bool, stamped: bool = False, shape: VideoShape | None = None,
                 on_ring: Callable[[str], None] | None = None) -> None:
        super().__init__(owner, source, device, muted=muted)
        self.shape = shape or SHAPES[source]
        self.stamped = stamped
        self.preview = TileWriter(on_ring or (lambda name: None))
        self.frames = 0
        """Encoded and handed to the connection."""
        self.left_out = 0
        self.width = self.height = 0
        self._capture: VideoCapture | None = None
        self._encoder_thread: threading.Thread | None = None
        self._slot: tuple[int, av.VideoFrame, float] | None = None
        self._wake = threading.Condition()
        self._in_flight = 0
        self._keyframe_wanted = False
        self._broken = True
        """What was encoded last has not left, or nothing has: only a keyframe may follow, throttle or not."""
        self._target_bps = 0
        self._picture_id = 0
        self._old: list[threading.Thread] = []

    def start(self) -> None:
        self.error = ""
        if self._encoder_thread is None:
            self._encoder_thread = threading.Thread(target=self._encode, name=f"encoder {self.source}", daemon=True)
            self._encoder_thread.start()
        if not self.muted:
            self._start_capture()
        self.announce()

    def switch(self, device: str) -> None:
        self._stop_capture()
        self.device = device
        self.start()

    def threads(self) -> list[threading.Thread]:
        return [t for t in (*self._old, *([self._encoder_thread] if self._encoder_thread else [])) if t.is_alive()]

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._stop_capture()
        with self._wake:
            self._wake.notify()
        self.preview.close()
        self.owner.publication_changed(self)
        self.announce()

    def set_target(self, bits_per_second: int) -> None:
        """What the rate control allows."""
        self._target_bps = bits_per_second

    def request_keyframe(self) -> None:
        """A viewer needs one. Answered with the next picture, at most every KEYFRAME_GAP_S."""
        self._keyframe_wanted = True

    @property
    def ceiling_bps(self) -> int:
        """The most that is useful at the present size."""
        if not self.width:
            return self.shape.max_bps
        return min(self.shape.max_bps, max(150_000, int(0.075 * self.width * self.height * self.shape.fps)))

    def _start_capture(self) -> None:
        self._generation += 1
        generation = self._generation
        self._capture = VideoCapture(
            self.device, self.shape.width, self.shape.height, self.shape.fps,
            lambda frame, at: self._captured(generation, frame, at),
            lambda code, detail: self._post(self._failed, generation, code, detail),
        )
        self._capture.start()

    def _stop_capture(self) -> None:
        self._generation += 1
        if self._capture is not None:
            self._capture.stop()
            self._old = [t for t in (*self._old, self._capture) if t.is_alive()]
            self._capture = None
        with self._wake:
            self._slot = None

    def _mute_changed(self) -> None:
        if self.muted:
            self._stop_capture()
        else:
            self._broken = True
            self.error = ""
            self._start_capture()

    def _bound(self) -> None:
        self._broken = True

    # capture thread
    def _captured(self, generation: int, frame: av.VideoFrame, at: float) -> None:
        with self._wake:
            if generation != self._generation:
                return
            if self._slot is not None:
                self.left_out += 1
            self._slot = (generation, frame, at)
            self._wake.notify()

    # encoder thread
    def _encode(self) -> None:
        encoder: Vp8Encoder | None = None
        last_keyframe = 0.0
        while True:
            with self._wake:
                while self._slot is None and not self.closed:
                    self._wake.wait()
                if self.closed or self._slot is None:
                    return
                (generation, frame, at), self._slot = self._slot, None
            try:
                if self.stamped:
                    frame = _stamped(frame, at)
                self.preview.show(frame)
                if self.muted or self.stream is None or not self.wanted:
                    encoder = None if self.stream is None else encoder
                    continue
                if self._in_flight >= MAX_VIDEO_IN_FLIGHT:
                    self.left_out += 1
                    continue
                if encoder is None or (encoder.width, encoder.height) != (frame.width, frame.height):
                    self.width, self.height = frame.width, frame.height
                    rate = min(self.ceiling_bps, self._target_bps or self.ceiling_bps)
                    encoder = Vp8Encoder(frame.width, frame.height, self.shape.fps, rate, screen=self.source == "screen_share")
                elif self._target_bps:
                    encoder.set_bitrate(min(self.ceiling_bps, self._target_bps))
                now = time.monotonic()
                keyframe = self._broken or (self._keyframe_wanted and now - last_keyframe >= KEYFRAME_GAP_S)
                if keyframe:
                    self._broken, self._keyframe_wanted, last_keyframe = False, False, now
                data = encoder.encode(frame, keyframe)
            except CodecError as error:
                encoder = None
                self._post(self._failed, generation, "encoder_failed", str(error))
                continue
            except Exception as error:      # whatever it is, it costs this picture and not the thread
                encoder = None
                log.exception("%s: a picture could not be encoded", self.source)
                self._post(self._failed, generation, "encoder_failed", repr(error))
                continue
            if data:
                with self._wake:
                    self._in_flight += 1
                self._post(self._send_frame, generation, data, at)

    # loop
    def _send_frame(self, generation: int, data: bytes, at: float) -> None:
        with self._wake:
            self._in_flight -= 1
        stream, pacer = self.stream, self.pacer
        if self.muted or self.closed or stream is None or pacer is None or generation != self._generation:
            self._broken = True
            return
        self._picture_id = (self._picture_id + 1) & 0x7FFF
        self.frames += 1
        payloads = packetize(data, self._picture_id)
        timestamp = stream.timestamp(at)
        last = len(payloads) - 1
        pacer.push(stream, [stream.packet(p, timestamp, marker=k == last) for k, p in enumerate(payloads)])


def _stamped(frame: av.VideoFrame, at: float) -> av.VideoFrame:
    """A copy with the instant of its capture painted in: a decoder still looks at the original."""
    copy = av.VideoFrame(frame.width, frame.height, "yuv420p")
    for target, source in zip(copy.planes, frame.planes, strict=True):
        if target.line_size == source.line_size and target.buffer_size == source.buffer_size:
            target.update(bytes(source))
            continue
        to, of, width = memoryview(target).cast("B"), memoryview(source).cast("B"), min(target.line_size, source.line_size)
        for y in range(target.height):
            to[y * target.line_size : y * target.line_size + width] = of[y * source.line_size : y * source.line_size + width]
    return stamp.paint(copy, int((time.time() - (time.monotonic() - at)) * 1000))
