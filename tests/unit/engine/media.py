"""Pictures and sounds that the engine's tests share; drawn, never recorded."""

from __future__ import annotations

import array
import itertools
import math
from pathlib import Path

import av


def picture(width: int = 320, height: int = 180, shift: int = 0) -> av.VideoFrame:
    """A soft pattern that moves with `shift`; every size, no numpy."""
    frame = av.VideoFrame(width, height, "yuv420p")
    y, u, v = frame.planes
    line = bytes(int(126 + 60 * math.sin((x + 3 * shift) / 17)) for x in range(width + height))
    y.update(b"".join(line[row : row + width] + bytes(y.line_size - width) for row in range(height)))
    u.update(b"\x70" * u.buffer_size)
    v.update(b"\x90" * v.buffer_size)
    return frame


def difference(one: av.VideoFrame, other: av.VideoFrame) -> float:
    """Mean absolute difference of the luma, 0…255."""
    a, b = one.planes[0], other.planes[0]
    first, second = bytes(a), bytes(b)
    total = count = 0
    for row in range(0, one.height, 3):
        for x in range(0, one.width, 3):
            total += abs(first[row * a.line_size + x] - second[row * b.line_size + x])
            count += 1
    return total / count


def tone(seconds: float, hz: float = 440.0, amplitude: float = 0.3, start: int = 0) -> bytes:
    """48 kHz mono s16."""
    return array.array("h", (int(32767 * amplitude * math.sin(2 * math.pi * hz * (start + k) / 48_000)) for k in range(int(seconds * 48_000)))).tobytes()


def steepest(pcm: bytes) -> int:
    """The largest step between two samples: a click is one."""
    samples = array.array("h", pcm)
    return max((abs(b - a) for a, b in itertools.pairwise(samples)), default=0)


def film(path: Path, seconds: float = 2.0, fps: int = 25, sound_s: float | None = None, width: int = 160, height: int = 90) -> Path:
    """An MP4 whose picture number k is k grey levels bright (from 16 up), with a tone that is louder each second."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt, video.gop_size = width, height, "yuv420p", 12
        video.codec_context.options = {"preset": "ultrafast", "crf": "1"}
        audio = container.add_stream("aac", rate=48_000)
        audio.codec_context.layout = "mono"
        for k in range(int(seconds * fps)):
            frame = av.VideoFrame(width, height, "yuv420p")
            frame.planes[0].update(bytes((16 + k,)) * frame.planes[0].buffer_size)
            for chroma in frame.planes[1:]:
                chroma.update(b"\x80" * chroma.buffer_size)
            frame.pts = k
            for packet in video.encode(frame):
                container.mux(packet)
        sent = 0
        for _ in range(int((sound_s if sound_s is not None else seconds) * 48_000 / 1024)):
            sound = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            loud = 0.1 * (1 + sent // 48_000)
            sound.planes[0].update(array.array("f", (loud * math.sin(2 * math.pi * 440 * (sent + i) / 48_000) for i in range(1024))).tobytes())
            sound.sample_rate, sound.pts = 48_000, sent
            sent += 1024
            for packet in audio.encode(sound):
                container.mux(packet)
        for stream in (video, audio):
            for packet in stream.encode(None):
                container.mux(packet)
    return path
