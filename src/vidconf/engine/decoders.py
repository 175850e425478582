"""A small pool of decoder threads: one stream always decodes on one of them, newest frames win, nothing ever waits for it.

Streams of one thread take turns, a frame each: one that floods costs itself pictures, not the others.
`open`, `push`, `close` on the loop's thread; `on_frame` and `on_trouble` are called on the worker's.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

import av

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import VideoDecoder
from vidconf.engine.codecs.h264 import H264Decoder
from vidconf.engine.codecs.vp8 import Vp8Decoder
from vidconf.engine.codecs.vp9 import Vp9Decoder

log = logging.getLogger("vidconf.codecs")

MAX_QUEUED = 64
"""Encoded frames a stream may have waiting (all that one repair lets go); more and the rest up to the next keyframe is dropped."""
MAX_WAIT_S = 0.7
"""And as well when the first of them has waited longer: a machine that cannot keep up shows fewer pictures, not old ones."""

DECODERS: dict[str, type[VideoDecoder]] = {d.NAME: d for d in (Vp8Decoder, Vp9Decoder, H264Decoder)}
"""By the codec's name, as in `rtp.payload_format.FORMATS`."""

OnFrame = Callable[[av.VideoFrame, int], None]


class DecoderStream:
    """One stream's queue and decoder. `on_trouble()` asks for a keyframe."""

    def __init__(self, worker: _Worker, on_frame: OnFrame, on_trouble: Callable[[], None]) -> None:
        self._worker, self._on_frame, self._on_trouble = worker, on_frame, on_trouble
        self._queue: deque[tuple[bytes, int, bool, str, float]] = deque()
        """Frame, timestamp, whether it is a keyframe, codec; and since when it waits, monotonic."""
        self._decoder: VideoDecoder | None = None
        self._needs_keyframe = True
        self._asked = False
        """For the one that is needed now."""
        self._queued = False
        """It has its turn with the worker already."""
        self.closed = False
        self.dropped = self.errors = 0

    def push(self, data: bytes, timestamp: int, keyframe: bool, codec: str) -> None:
        """Queue one whole frame; another codec than before begins with a keyframe. Never blocks."""
        if self._needs_keyframe and not keyframe:
            # whoever gave it took it for a beginning, or does not know that there must be one: without asking none need come
            self.dropped += 1
            if not self._asked:
                self._asked = True
                self._on_trouble()
            return
        self._needs_keyframe = self._asked = False
        now = time.monotonic()
        if self._is_behind(now):
            self.dropped += len(self._queue)
            self._queue.clear()
            if not keyframe:
                self._needs_keyframe = True
                self._on_trouble()
                return
        self._queue.append((data, timestamp, keyframe, codec, now))
        self._take_turn()

    def _is_behind(self, now: float) -> bool:
        """Whether too much waits, or for too long."""
        try:
            return len(self._queue) >= MAX_QUEUED or now - self._queue[0][4] > MAX_WAIT_S
        except IndexError:      # nothing waits, or the worker has just taken it
            return False

    def _take_turn(self) -> None:
        if not self._queued:
            self._queued = True
            self._worker.wake(self)

    @property
    def waiting(self) -> int:
        """Frames that wait to be decoded. Any thread."""
        return len(self._queue)

    def reset(self) -> None:
        """Forget what waits; the next frame must be a keyframe."""
        self._queue.clear()
        self._needs_keyframe = True

    def close(self) -> None:
        self.closed = True
        self._queue.clear()

    def work(self) -> None:
        """Decode one frame of what waits (worker's thread)."""
        self._queued = False    # first: what is pushed from here on asks for a turn of its own
        try:
            data, timestamp, keyframe, codec, _ = self._queue.popleft()
        except IndexError:
            return
        if self._queue:
            self._take_turn()
        if not self.closed:
            self._decode(data, timestamp, keyframe, codec)

    def _decode(self, data: bytes, timestamp: int, keyframe: bool, codec: str) -> None:
        if self._decoder is not None and codec != self._decoder.NAME:
            self._decoder = None
        if self._decoder is None and not keyframe:
            self.dropped += 1
            return
        try:
            if self._decoder is None:
                self._decoder = DECODERS[codec]()
            picture = self._decoder.decode(data)
        except CodecError as error:
            log.debug("a frame of %s could not be decoded: %s", codec, error)
            self.errors += 1
            self._decoder = None
            self._needs_keyframe = True
            self._on_trouble()
            return
        if picture is not None and not self.closed:
            try:
                self._on_frame(picture, timestamp)
            except Exception:
                log.exception("a decoded picture could not be shown")


class _Worker(threading.Thread):
    def __init__(self, number: int) -> None:
        super().__init__(name=f"decoder {number}", daemon=True)
        # not a deque with a semaphore: that one's Python costs more than a small picture's header
        self._ready: SimpleQueue[DecoderStream | None] = SimpleQueue()
        self.streams = 0

    def wake(self, stream: DecoderStream) -> None:
        self._ready.put(stream)

    def end(self) -> None:
        self._ready.put(None)

    def run(self) -> None:
        while (stream := self._ready.get()) is not None:
            try:
                stream.work()
            except Exception:
                log.exception("a stream's frame failed in a way its decoder does not know of")


class DecoderPool:
    """Threads start with the streams and end with the last one that they have."""

    def __init__(self, workers: int | None = None) -> None:
        self._count = workers or max(1, min(4, (os.cpu_count() or 2) - 1))
        self._workers: list[_Worker] = []
        self._streams: dict[DecoderStream, _Worker] = {}

    def open(self, on_frame: OnFrame, on_trouble: Callable[[], None]) -> DecoderStream:
        if len(self._workers) < self._count:
            worker = _Worker(len(self._workers))
            worker.start()
            self._workers.append(worker)
        else:
            worker = min(self._workers, key=lambda w: w.streams)
        worker.streams += 1
        stream = DecoderStream(worker, on_frame, on_trouble)
        self._streams[stream] = worker
        return stream

    def close_stream(self, stream: DecoderStream) -> None:
        stream.close()
        worker = self._streams.pop(stream, None)
        if worker is None:
            return
        worker.streams -= 1
        if not worker.streams:
            self._workers.remove(worker)
            worker.end()

    def close(self) -> None:
        """Ends the threads; does not wait for them."""
        for stream in list(self._streams):
            self.close_stream(stream)
