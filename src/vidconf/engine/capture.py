"""Camera, microphone and page: one thread a device, frames and blocks out as they are due. Newest wins, nothing queues up.

`start` and `stop` on any thread, never blocking; the callbacks run on the capture thread. Files and graphs are paced by an
absolute clock, so that they neither drift nor hurry after a stall.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import av

from vidconf.engine.sources import Opened, SourceError, open_source

log = logging.getLogger("vidconf.capture")

BLOCK_BYTES = 1920
BLOCK_S = 0.02
RATE_HZ = 48_000
BLOCK = 960
STILL_FPS = 5
DEAD_AFTER_S = 5.0
"""A camera or microphone that delivers nothing for so long is lost …"""
OPENS_S = 15.0
"""… and so is what does not open in that time."""
GIVES_BACK_S = 1.0
"""A device that is in use may be so by our own capture of before, which is just giving it back: turned off and on again quickly."""
MAX_LATE_S = 0.25
"""A paced source that is further behind jumps to now."""
MAX_SLIP = 960
"""Samples by which a file's time stamps may differ from the clock before they are obeyed."""
MAX_SILENCE = 60 * RATE_HZ

OnError = Callable[[str, str], None]


class Capture(threading.Thread):
    """One device, from its opening to its end."""

    def __init__(self, name: str, device: str, on_error: OnError) -> None:
        super().__init__(name=name, daemon=True)
        self.device = device
        self._on_error = on_error
        self._stopping = threading.Event()
        self._telling = threading.Lock()
        self._dead_at = math.inf
        """When a device that does not open, or a live one that delivers nothing, is given up."""

    def stop(self) -> None:
        """Ask the thread to end; it closes the device itself."""
        self._stopping.set()

    def run(self) -> None:
        self._dead_at = time.monotonic() + OPENS_S
        threading.Thread(target=self._watch, name=f"{self.name} watch", daemon=True).start()
        try:
            self._capture()
            self._fail("device_lost", self.device)
        except SourceError as error:
            self._fail(error.code, error.detail)
        except (av.FFmpegError, OSError) as error:
            self._fail("device_lost", str(error))
        except Exception as error:
            log.exception("%s ended", self.name)
            self._fail("device_lost", repr(error))

    def _fail(self, code: str, detail: str) -> None:
        """Tell it, once; not when it was stopped."""
        with self._telling:
            if self._stopping.is_set():
                return
            self._stopping.set()
        self._on_error(code, detail)

    def _live_frames(self, frames: Iterator[Any]) -> Iterator[Any]:
        """`frames` of a device, given up when it hangs: a driver, or a sound server that is gone, may keep a read for ever. The
        thread then ends when (if) the read does."""
        self._dead_at = time.monotonic() + DEAD_AFTER_S
        for frame in frames:
            self._dead_at = time.monotonic() + DEAD_AFTER_S
            yield frame
            if self._stopping.is_set():
                return

    def _open(self, kind: str, width: int = 0, height: int = 0, fps: int = 0) -> Opened:
        """Raises SourceError. What is not live is not watched any more."""
        until = time.monotonic() + GIVES_BACK_S
        while True:
            try:
                opened = open_source(self.device, kind, width, height, fps)
                break
            except SourceError as error:
                if error.code != "device_in_use" or time.monotonic() > until or self._stopping.wait(GIVES_BACK_S / 8):
                    raise
        self._dead_at = math.inf
        return opened

    def _watch(self) -> None:
        while not self._stopping.wait(DEAD_AFTER_S / 5) and self.is_alive():
            if time.monotonic() > self._dead_at:
                self._fail("device_lost", "it does not open, or nothing comes")

    def _capture(self) -> None:
        raise NotImplementedError

    def _wait_until(self, due: float) -> None:
        wait = due - time.monotonic()
        if wait > 0:
            self._stopping.wait(wait)


def _paced(capture: Capture, opened: Opened, kind: str) -> Iterator[tuple[Any, float | None]]:
    """Decoded frames with the monotonic time each is due (None: it is due as it comes), looping files for ever.

    A file's turns are `duration_s` apart exactly, whatever its streams' own lengths are, so that the picture and the sound of
    one file, read by two threads, never part.
    """
    container = opened.container
    stream = container.streams.video[0] if kind == "video" else container.streams.audio[0]
    stream.thread_count = 1
    if opened.live:
        for frame in capture._live_frames(container.decode(stream)):
            yield frame, None
        return
    position = opened.position_s()
    base = time.monotonic() - position
    if position:
        container.seek(int(position * av.time_base), backward=True)
    while not capture._stopping.is_set():
        seen, start = False, (container.start_time or 0) / av.time_base
        for frame in container.decode(stream):
            seen = True
            at = float(frame.time or 0.0) - start
            if opened.duration_s and at >= opened.duration_s:
                break
            if kind == "video" and (at < position - 0.001 or (opened.duration_s and time.monotonic() - base - at > MAX_LATE_S)):
                continue
            yield frame, base + at
            if capture._stopping.is_set():
                return
        if not opened.duration_s or not seen:
            return
        base += opened.duration_s
        if time.monotonic() - base > opened.duration_s:
            base += (time.monotonic() - base) // opened.duration_s * opened.duration_s      # the machine slept
        position = 0.0
        container.seek(0)


class VideoCapture(Capture):
    """Pictures of at most `width` × `height`, yuv420p, even sides. `on_frame(frame, captured_at)` (monotonic seconds)."""

    def __init__(
        self, device: str, width: int, height: int, fps: int, on_frame: Callable[[av.VideoFrame, float], None], on_error: OnError
    ) -> None:
        super().__init__("camera", device, on_error)
        self._size, self._fps, self._on_frame = (width, height), fps, on_frame

    def _capture(self) -> None:
        opened = self._open("video", *self._size, self._fps)
        try:
            if opened.still:
                self._show_still(opened)
                return
            next_due = 0.0
            for frame, due in _paced(self, opened, "video"):
                if due is not None:
                    self._wait_until(due)
                now = time.monotonic()
                if now < next_due - 0.25 / self._fps:
                    continue        # the source is faster than what was asked for
                next_due = max(next_due + 1 / self._fps, now - 1 / self._fps)
                if self._stopping.is_set():
                    return
                self._on_frame(self._fit(frame), now)
        finally:
            opened.container.close()

    def _show_still(self, opened: Opened) -> None:
        picture = next(opened.container.decode(video=0), None)
        if picture is None:
            raise SourceError("unreadable", "no picture in the file")
        width, height = fitted(picture.width, picture.height, *self._size)
        picture = picture.reformat(width=width, height=height, format="yuv420p", src_color_range="JPEG", dst_color_range="MPEG")
        due = time.monotonic()
        while not self._stopping.is_set():
            self._on_frame(picture, time.monotonic())
            due += 1 / STILL_FPS
            self._wait_until(due)

    def _fit(self, frame: av.VideoFrame) -> av.VideoFrame:
        width, height = fitted(frame.width, frame.height, *self._size)
        if (frame.width, frame.height, frame.format.name) == (width, height, "yuv420p"):
            return frame
        return frame.reformat(width=width, height=height, format="yuv420p")


def fitted(width: int, height: int, max_width: int, max_height: int) -> tuple[int, int]:
    """The largest even size with the picture's shape inside the limits; never larger than the picture."""
    scale = min(1.0, max_width / width, max_height / height)
    return max(2, int(width * scale) // 2 * 2), max(2, int(height * scale) // 2 * 2)


class MicrophoneCapture(Capture):
    """20 ms blocks of 48 kHz mono, 16 bit (1,920 bytes). `on_block(pcm, captured_at)` (monotonic seconds)."""

    def __init__(self, device: str, on_block: Callable[[bytes, float], None], on_error: OnError) -> None:
        super().__init__("microphone", device, on_error)
        self._on_block = on_block
        self.live = False
        """It is a device, not a file or a drawn sound: true before its first block."""

    def _capture(self) -> None:
        opened = self._open("audio")
        self.live = opened.live
        try:
            if opened.live:
                self._live(opened)
            else:
                self._file(opened)
        finally:
            opened.container.close()

    def _live(self, opened: Opened) -> None:
        """The device's own clock paces."""
        resampler = _Resampler()
        pending = bytearray()
        for frame, _ in _paced(self, opened, "audio"):
            pending += resampler.samples(frame)
            while len(pending) >= BLOCK_BYTES:
                block, now = bytes(pending[:BLOCK_BYTES]), time.monotonic()
                del pending[:BLOCK_BYTES]
                if self._stopping.is_set():
                    return
                self._on_block(block, now - len(pending) / (2 * RATE_HZ) - BLOCK_S)

    def _file(self, opened: Opened) -> None:
        """Samples lie on a clock that began with the first block: what the file leaves out (the rest of a turn whose picture is
        longer) is silence, what it has twice is left out."""
        resampler = _Resampler()
        pending = bytearray()
        start, blocks = time.monotonic(), 0
        for frame, at in _paced(self, opened, "audio"):
            samples = resampler.samples(frame)
            ahead = round(((at or start) - start) * RATE_HZ) - (blocks * BLOCK + len(pending) // 2)
            if ahead > MAX_SLIP:
                pending += bytes(2 * min(ahead, MAX_SILENCE))
            elif ahead < -MAX_SLIP:
                samples = samples[-2 * ahead :]
            pending += samples
            while len(pending) >= BLOCK_BYTES:
                late_s = time.monotonic() - start - blocks * BLOCK_S
                if late_s > MAX_LATE_S:
                    # the machine slept: go on from now, in step with the clock
                    missed = int(late_s / BLOCK_S)
                    blocks += missed
                    del pending[: missed * BLOCK_BYTES]
                    continue
                self._wait_until(start + blocks * BLOCK_S)
                if self._stopping.is_set():
                    return
                self._on_block(bytes(pending[:BLOCK_BYTES]), time.monotonic())
                del pending[:BLOCK_BYTES]
                blocks += 1


class _Resampler:
    """Whatever comes -> 48 kHz mono s16; anew when the source changes its form."""

    def __init__(self) -> None:
        self._form: tuple[str, str, int] | None = None
        self._resampler: av.AudioResampler | None = None

    def samples(self, frame: av.AudioFrame) -> bytes:
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if form == ("s16", "mono", RATE_HZ):
            return bytes(frame.planes[0])[: 2 * frame.samples]
        if self._resampler is None or form != self._form:
            self._resampler, self._form = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ), form
        frame.pts = None
        return b"".join(bytes(block.planes[0])[: 2 * block.samples] for block in self._resampler.resample(frame))
