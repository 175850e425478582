"""One's own pictures: camera or share -> encoder -> packets. Muted: the device is closed.

Methods on the loop's thread; capture and encoding run on threads of their own, with one picture between them. The valve is
`_send_frame` (see `engine.publication`).
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

import av

from vidconf.engine import stamp
from vidconf.engine.api import Source
from vidconf.engine.capture import VideoCapture
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.encoders import VideoEncoder, encoder_for
from vidconf.engine.publication import Owner, Publication
from vidconf.engine.scaling import TileWriter
from vidconf.rtp.vp8 import packetize

log = logging.getLogger("vidconf.publication")

KEYFRAME_GAP_S = 0.3
"""Requests closer together are put off, not dropped."""
MAX_VIDEO_IN_FLIGHT = 3
"""Encoded frames the loop has not taken yet; more and the encoder leaves pictures out."""


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
        encoder: VideoEncoder | None = None
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
                    encoder = encoder_for("vp8", frame.width, frame.height, self.shape.fps, rate, screen=self.source == "screen_share")
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
