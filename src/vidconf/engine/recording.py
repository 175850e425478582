"""What was received, on disk: sound in a WAV, pictures of one stream in an MP4 (`bot --record-audio`, `--record-video`).

`SoundFile` writes at once, on its caller's thread. `VideoRecorder` has a thread of its own with a bounded queue: `write` never
blocks, what does not fit is counted in `dropped`.
"""

from __future__ import annotations

import fractions
import logging
import queue
import struct
import threading

import av
import av.video
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

log = logging.getLogger("vidconf.recording")

RATE_HZ = 48_000
OPTIONS = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}


class SoundFile:
    """A WAV of 48 kHz, 16 bit, mono. Its header is right after every write, so that a crash loses nothing. Raises OSError."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "wb", buffering=0)     # noqa: SIM115 - closed by close()
        self._bytes = 0
        try:
            self._file.write(bytes(44))
            self.write(b"")
        except OSError:
            self._file.close()
            raise

    def write(self, pcm: bytes) -> None:
        """Append samples."""
        self._file.seek(0, 2)
        self._file.write(pcm)
        self._bytes += len(pcm)
        size = min(self._bytes, 0xFFFFFFFF - 36)
        header = (b"RIFF", size + 36, b"WAVE", b"fmt ", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16, b"data", size)
        self._file.seek(0)
        self._file.write(struct.pack("<4sI4s4sIHHIIHH4sI", *header))

    def close(self) -> None:
        self._file.close()


class VideoRecorder:
    """H.264 at the first picture's size; later sizes are scaled to it. Written in fragments: what a crash leaves can be played."""

    def __init__(self, path: str) -> None:
        self.dropped = self.written = 0
        self._queue: queue.Queue[tuple[av.VideoFrame, float] | None] = queue.Queue(8)
        self._thread = threading.Thread(target=self._run, args=(path,), name="recorder", daemon=True)
        self._thread.start()

    def write(self, frame: av.VideoFrame, at_s: float) -> None:
        """`at_s`: when it was shown, monotonic seconds."""
        try:
            self._queue.put_nowait((frame, at_s))
        except queue.Full:
            self.dropped += 1

    def close(self, timeout_s: float = 5.0) -> None:
        """Finish the file. Blocks: call it in an executor."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            log.warning("the recorder hangs")
            return
        self._thread.join(timeout_s)

    def _run(self, path: str) -> None:
        try:
            with av.open(path, "w", format="mp4", options=OPTIONS) as container:
                self._record(container)
        except (av.FFmpegError, OSError, ValueError):
            log.exception("the recording ended")
            while self._queue.get() is not None:
                self.dropped += 1

    def _record(self, container: av.container.OutputContainer) -> None:
        stream: av.VideoStream | None = None
        reformatter = VideoReformatter()
        start, last = 0.0, -1
        while (item := self._queue.get()) is not None:
            frame, at_s = item
            if stream is None:
                stream = container.add_stream("libx264", rate=30)
                stream.width, stream.height, stream.pix_fmt = max(2, frame.width & ~1), max(2, frame.height & ~1), "yuv420p"
                stream.codec_context.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": "26"}
                stream.codec_context.gop_size, stream.codec_context.thread_count = 60, 1
                stream.codec_context.time_base = fractions.Fraction(1, 1000)
                start = at_s
            picture = reformatter.reformat(frame, width=stream.width, height=stream.height, format="yuv420p", threads=1)
            picture.pict_type = PictureType.NONE
            last = max(last + 1, int((at_s - start) * 1000))
            picture.pts, picture.time_base = last, fractions.Fraction(1, 1000)
            for packet in stream.encode(picture):
                container.mux(packet)
            self.written += 1
        if stream is not None:
            for packet in stream.encode(None):
                container.mux(packet)
