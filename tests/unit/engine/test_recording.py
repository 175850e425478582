"""Received pictures in an MP4."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest
from unit.engine.media import picture

from vidconf.engine.recording import VideoRecorder


def test_pictures_are_there_in_their_time_even_when_the_size_changes(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    recorder = VideoRecorder(str(path))
    for k in range(30):
        while recorder._queue.full():
            threading.Event().wait(0.005)
        recorder.write(picture(321, 181) if k < 20 else picture(640, 360), 100 + k / 10)
    recorder.close()
    assert (recorder.written, recorder.dropped) == (30, 0)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 30
    assert {(f.width, f.height) for f in frames} == {(320, 180)}
    times = [float(f.time or 0.0) for f in frames]
    assert max(abs(t - k / 10) for k, t in enumerate(times)) < 0.01
    assert not [t for t in threading.enumerate() if t.name == "recorder"]


def test_what_a_crash_leaves_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    recorder = VideoRecorder(str(path))
    for k in range(150):
        while recorder._queue.full():
            threading.Event().wait(0.002)
        recorder.write(picture(160, 90, k), k / 30)
    left = path.read_bytes()
    recorder.close()
    (tmp_path / "left.mp4").write_bytes(left)
    with av.open(str(tmp_path / "left.mp4")) as container:
        assert len(list(container.decode(video=0))) >= 55


def test_a_flood_and_a_bad_path_block_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = VideoRecorder(str(tmp_path / "no such folder" / "film.mp4"))
    for k in range(100):
        recorder.write(picture(160, 90), k / 30)
    recorder.close()
    assert recorder.written == 0
    assert recorder.dropped > 50
    assert "recording" in caplog.text
    VideoRecorder(str(tmp_path / "empty.mp4")).close()
