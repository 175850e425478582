"""Files, graphs and pictures as cameras and microphones: pacing, looping, keeping together, failing with a code."""

from __future__ import annotations

import errno
import itertools
import threading
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
from unit.engine.media import film, tone

from vidconf.engine import alsa, cameras, capture, sources
from vidconf.engine.api import Device
from vidconf.engine.capture import BLOCK_BYTES, MicrophoneCapture, VideoCapture, fitted
from vidconf.engine.sound import level
from vidconf.engine.sources import SourceError, open_source, split_epoch


class Seen:
    """What a capture delivered, with the moment; ends the captures."""

    def __init__(self) -> None:
        self.frames: list[tuple[float, av.VideoFrame]] = []
        self.blocks: list[tuple[float, bytes]] = []
        self.errors: list[tuple[str, str]] = []
        self.failed = threading.Event()
        self.running: list[capture.Capture] = []

    def error(self, code: str, detail: str) -> None:
        self.errors.append((code, detail))
        self.failed.set()

    def camera(self, device: str, width: int = 640, height: int = 360, fps: int = 30) -> VideoCapture:
        camera = VideoCapture(device, width, height, fps, lambda f, at: self.frames.append((at, f)), self.error)
        self.running.append(camera)
        camera.start()
        return camera

    def microphone(self, device: str) -> MicrophoneCapture:
        microphone = MicrophoneCapture(device, lambda pcm, at: self.blocks.append((at, pcm)), self.error)
        self.running.append(microphone)
        microphone.start()
        return microphone

    def brightness(self) -> list[tuple[float, int]]:
        return [(at, memoryview(f.planes[0])[100] - 16) for at, f in self.frames]


@pytest.fixture
def seen() -> Iterator[Seen]:
    seen = Seen()
    yield seen
    for thread in seen.running:
        thread.stop()
    for thread in seen.running:
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def one_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(tmp_path_factory.mktemp("film") / "one second.mp4", 1.0)


def until(true: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


def span(delivered: Sequence[tuple[float, object]]) -> float:
    """Seconds from the first to the last."""
    return delivered[-1][0] - delivered[0][0] if delivered else 0.0


def test_a_film_is_paced_by_the_clock_and_loops_without_a_seam(seen: Seen, one_second: Path) -> None:
    seen.camera(str(one_second))
    assert until(lambda: span(seen.frames) > 2.2)
    values = seen.brightness()
    assert 0.85 * 25 < (len(values) - 1) / span(seen.frames[: len(values)]) < 25.8, "25 a second, no drift, no pause at the turn"
    for k, (at, value) in enumerate(values):
        shown = (at - values[0][0]) * 25
        assert -1 < (shown - value + 10) % 25 - 10 < 8, "each in its time, late by what the machine was busy"
        assert k == 0 or value != values[k - 1][1]


def test_films_of_one_epoch_are_in_step(seen: Seen, one_second: Path) -> None:
    epoch = time.time() - 1000.7
    other = Seen()
    seen.camera(f"{one_second}#epoch={epoch}")
    time.sleep(0.6)
    other.camera(f"{one_second}#epoch={epoch}")
    enough = until(lambda: len(other.frames) > 20)
    other.running[0].stop()
    other.running[0].join(10)
    wall = time.time() - time.monotonic()
    assert enough
    for at, value in (*seen.brightness(), *other.brightness()):
        wanted = (at + wall - epoch) % 1.0 * 25
        assert -1.5 < (wanted - value + 10) % 25 - 10 < 8


def test_sound_and_picture_of_a_film_stay_together_though_the_sound_is_shorter(seen: Seen, tmp_path: Path) -> None:
    """Each turn of 1.6 s begins with a soft second, is louder for 0.2 s, and then has a picture but no sound."""
    path = film(tmp_path / "film.mp4", 1.6, sound_s=1.25)
    epoch = time.time()
    seen.camera(f"{path}#epoch={epoch}")
    seen.microphone(f"{path}#epoch={epoch}")
    assert until(lambda: span(seen.blocks) > 4.0)
    wall = time.time() - time.monotonic()
    right = wrong = 0
    blocks = list(seen.blocks)
    for at, pcm in blocks:
        position, loud = (at + wall - epoch) % 1.6, level(pcm)
        if 0.1 < position < 0.95:
            fits = 0.05 < loud < 0.09
        elif 1.06 < position < 1.18:
            fits = 0.12 < loud < 0.17
        elif 1.33 < position < 1.55:
            fits = loud < 0.001
        else:
            continue
        right, wrong = right + fits, wrong + (not fits)
    assert right > 100
    assert wrong <= 6, "no more than what a busy machine delivered late"
    assert 47 < (len(blocks) - 1) / span(blocks) < 52
    assert all(len(pcm) == BLOCK_BYTES for _, pcm in blocks)
    gaps = [b[0] - a[0] for a, b in itertools.pairwise(blocks)]
    assert sorted(gaps)[len(gaps) // 2] == pytest.approx(0.02, abs=0.003)


def test_a_graph_is_paced_and_a_faster_source_thinned(seen: Seen) -> None:
    seen.camera("lavfi:testsrc=size=320x240:rate=60", fps=15)
    seen.microphone("lavfi:sine=frequency=440:sample_rate=44100")
    assert until(lambda: len(seen.frames) > 26 and len(seen.blocks) > 100)
    assert 13 < (len(seen.frames) - 1) / span(seen.frames) < 16.5
    assert (seen.frames[0][1].width, seen.frames[0][1].height, seen.frames[0][1].format.name) == (320, 240, "yuv420p")
    assert 46 < (len(seen.blocks) - 1) / span(seen.blocks) < 53
    assert 0.05 < level(seen.blocks[50][1]) < 0.2
    assert not seen.errors


def test_a_graph_that_ends_says_so(seen: Seen) -> None:
    seen.camera("lavfi:testsrc=size=320x240:rate=10:duration=0.3")
    assert seen.failed.wait(5)
    assert seen.errors[0][0] == "device_lost"
    assert len(seen.frames) == 3


@pytest.mark.parametrize("size", [(1200, 800), (400, 300)])
def test_a_page_is_shown_again_and_again(seen: Seen, tmp_path: Path, size: tuple[int, int]) -> None:
    page = tmp_path / "trang 1.png"
    with av.open(str(page), "w", format="image2") as container:
        stream = container.add_stream("png")
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        frame = av.VideoFrame(*size, "rgb24")
        frame.planes[0].update(b"\xff" * frame.planes[0].buffer_size)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    seen.camera(page.as_uri(), 800, 600)
    assert until(lambda: len(seen.frames) > 5)
    assert 3.5 < (len(seen.frames) - 1) / span(seen.frames) < 6.5
    shown = seen.frames[0][1]
    assert (shown.width, shown.height) == fitted(*size, 800, 600)
    assert memoryview(shown.planes[0])[100] >= 230, "white is white"


def test_a_slow_consumer_gets_the_newest(seen: Seen, one_second: Path) -> None:
    taken: list[tuple[float, int]] = []

    def slow(frame: av.VideoFrame, at: float) -> None:
        taken.append((at, memoryview(frame.planes[0])[100] - 16))
        time.sleep(0.4)

    camera = VideoCapture(str(one_second), 640, 360, 30, slow, seen.error)
    seen.running.append(camera)
    camera.start()
    assert until(lambda: len(taken) > 4)
    first = taken[0]
    for at, value in taken[1:]:
        behind = (at - first[0]) * 25 - (value - first[1])
        assert -1 < (behind + 5) % 25 - 5 < 10, "a quarter of a second at most, and what it waited for the consumer"
    assert min(b[0] - a[0] for a, b in itertools.pairwise(taken)) >= 0.4


@pytest.mark.parametrize(
    ("device", "kind", "code"),
    [
        ("/dev/video-none", "video", "not_found"),
        ("no such camera", "video", "not_found"),
        ("no such film.mp4", "video", "not_found"),
        ("folder/film", "audio", "not_found"),
        ("file:///no/film.mp4", "audio", "not_found"),
        ("lavfi:nonsense=1", "video", "unreadable"),
        ("lavfi:sine", "video", "unreadable"),
        ("lavfi:testsrc", "audio", "unreadable"),
    ],
)
def test_what_cannot_be_opened_has_a_code(device: str, kind: str, code: str) -> None:
    with pytest.raises(SourceError) as raised:
        open_source(device, kind, 640, 360, 30)
    assert raised.value.code == code


def test_a_file_that_is_none_has_a_code(seen: Seen, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film at all")
    (tmp_path / "silent.wav").write_bytes(b"")
    seen.camera(str(tmp_path / "text.mp4"))
    assert seen.failed.wait(5)
    seen.failed.clear()
    seen.microphone(str(tmp_path / "silent.wav"))
    assert seen.failed.wait(5)
    assert [code for code, _ in seen.errors] == ["unreadable", "unreadable"]


def test_without_a_camera_the_default_says_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "cameras", tuple)
    with pytest.raises(SourceError) as raised:
        open_source("default", "video", 640, 360, 30)
    assert raised.value.code == "no_device"


@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.EBUSY, "device_in_use"), (errno.EACCES, "no_permission"), (errno.EPERM, "no_permission"), (errno.ENODEV, "no_device"), (errno.EINVAL, "no_device")],
)
def test_what_the_system_says_becomes_a_code(monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(number, "refused")

    monkeypatch.setattr(cameras, "cameras", lambda: (Device("v4l2:a", "Camera", "/dev/video0"),))
    monkeypatch.setattr(sources.av, "open", refuse)
    with pytest.raises(SourceError) as raised:
        open_source("default", "video", 640, 360, 30)
    assert raised.value.code == code


@pytest.mark.parametrize(("number", "code"), [(errno.EBUSY, "device_in_use"), (errno.EACCES, "no_permission"), (errno.ENOENT, "not_found"), (0, "not_found")])
def test_of_a_microphone_alsa_itself_is_asked_why(monkeypatch: pytest.MonkeyPatch, number: int, code: str) -> None:
    """FFmpeg says EIO for all."""
    monkeypatch.setattr(sources, "refusal", lambda name: number)
    with pytest.raises(SourceError) as raised:
        open_source("alsa:no such card", "audio", 0, 0, 0)
    assert raised.value.code == code


def test_alsa_says_why_a_microphone_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alsa.prepare_alsa()
    if not Path(alsa.CONFIG).is_file():
        pytest.skip("needs ALSA's configuration: apt install libasound2-data")
    assert alsa.refusal("null") == 0
    assert alsa.refusal("no such card") == errno.ENOENT
    monkeypatch.setenv("PULSE_SERVER", f"unix:{tmp_path}/none")
    if alsa.has_plugin("pulse"):
        assert alsa.refusal("pulse") == errno.ECONNREFUSED


def test_names_of_devices_are_not_taken_for_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("pulse:alsa_input.pci-0000_00_1f.3.analog-stereo", "alsa:hw:0,0", "default", "HD Webcam C9.20", "/dev/video2"):
        assert sources._file_of(name) is None
    for name in ("film.mp4", "a/b", "./x.wav", "file:///tmp/a%20b.png"):
        assert sources._file_of(name) is not None


def test_epochs() -> None:
    assert split_epoch("a.mp4#epoch=5.5") == ("a.mp4", 5.5)
    for plain in ("a.mp4", "a#b.mp4", "a.mp4#epoch=", "a.mp4#epoch=x"):
        assert split_epoch(plain) == (plain, None)
    for hostile in ("a.mp4#epoch=nan", "a.mp4#epoch=inf", "a.mp4#epoch=1e300"):
        assert split_epoch(hostile)[1] is None


def test_a_device_that_is_just_being_given_back_is_waited_for_and_one_in_use_is_not(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera turned off and on again quickly: the capture of before still has it."""
    tries, real = [], open_source

    def open_(device: str, *rest: Any) -> Any:
        tries.append(device)
        if device == "busy" or len(tries) < 4:
            raise SourceError("device_in_use")
        return real(device, *rest)

    monkeypatch.setattr(capture, "open_source", open_)
    seen.camera("lavfi:testsrc2=size=320x180:rate=30")
    assert until(lambda: len(seen.frames) > 3)
    assert not seen.errors
    seen.camera("busy")
    assert seen.failed.wait(5)
    assert seen.errors == [("device_in_use", "")]


def test_a_consumer_that_fails_ends_the_capture_with_a_code(seen: Seen, one_second: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(frame: av.VideoFrame, at: float) -> None:
        raise RuntimeError("on purpose")

    camera = VideoCapture(str(one_second), 640, 360, 30, broken, seen.error)
    seen.running.append(camera)
    camera.start()
    assert seen.failed.wait(5)
    assert seen.errors[0][0] == "device_lost"


def test_level_of_a_wav_as_microphone(seen: Seen, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "tone.wav"), "wb") as wav:
        wav.setparams((1, 2, 48_000, 0, "NONE", ""))
        wav.writeframes(tone(0.5))
    seen.microphone(str(tmp_path / "tone.wav"))
    assert until(lambda: len(seen.blocks) > 60)
    assert all(0.2 < level(pcm) < 0.22 for _, pcm in seen.blocks[2:60])


def test_a_device_that_hangs_is_told_once_and_may_wake_too_late(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    class Hanging:
        """A container whose third frame comes late."""

        def __init__(self) -> None:
            self.streams = SimpleNamespace(video=[SimpleNamespace()], audio=[])

        def decode(self, stream: object) -> Iterator[av.VideoFrame]:
            for k in range(100):
                if k == 2:
                    gate.wait(10)
                yield av.VideoFrame(160, 90, "yuv420p")
                time.sleep(0.05)

        def close(self) -> None:
            gate.set()

    monkeypatch.setattr(capture, "DEAD_AFTER_S", 0.4)
    monkeypatch.setattr(capture, "open_source", lambda *_: sources.Opened(Hanging(), live=True))
    camera = seen.camera("/dev/video0")
    assert seen.failed.wait(5)
    gate.set()
    camera.join(2)
    assert not camera.is_alive()
    assert [code for code, _ in seen.errors] == ["device_lost"]
    assert len(seen.frames) == 2
    assert until(lambda: not [t for t in threading.enumerate() if t.name == "camera watch"])


def test_stopping_waits_for_nobody(seen: Seen) -> None:
    """Neither for a device that opens nor for a consumer."""
    inside, goes_on = threading.Event(), threading.Event()

    def busy(frame: av.VideoFrame, at: float) -> None:
        inside.set()
        goes_on.wait(30)

    camera = VideoCapture("lavfi:testsrc=size=160x90:rate=10", 640, 360, 30, busy, seen.error)
    camera.start()
    assert inside.wait(10)
    camera.stop()
    assert camera.is_alive(), "stop returned while the thread is still in its consumer"
    goes_on.set()
    camera.join(10)
    assert not camera.is_alive()
    assert not seen.errors


def test_a_device_that_hangs_while_it_opens_is_told_once_and_given_back_when_it_wakes(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    wakes, closed = threading.Event(), threading.Event()

    def hang(*_: object) -> sources.Opened:
        wakes.wait(30)
        frames = itertools.repeat(av.VideoFrame(160, 90, "yuv420p"), 100)
        container = SimpleNamespace(streams=SimpleNamespace(video=[SimpleNamespace()]), decode=lambda stream: frames, close=closed.set)
        return sources.Opened(container, live=True)

    monkeypatch.setattr(capture, "OPENS_S", 0.3)
    monkeypatch.setattr(capture, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(capture, "open_source", hang)
    camera = seen.camera("/dev/video0")
    assert seen.failed.wait(10)
    wakes.set()
    camera.join(10)
    assert closed.is_set()
    assert [code for code, _ in seen.errors] == ["device_lost"]
    assert not seen.frames


def test_a_file_is_not_given_up_for_pausing(seen: Seen, one_second: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that takes long is no device that hangs."""
    monkeypatch.setattr(capture, "OPENS_S", 10.0)
    monkeypatch.setattr(capture, "DEAD_AFTER_S", 0.2)
    taken: list[float] = []

    def slow(frame: av.VideoFrame, at: float) -> None:
        taken.append(at)
        time.sleep(0.5)

    camera = VideoCapture(str(one_second), 640, 360, 30, slow, seen.error)
    seen.running.append(camera)
    camera.start()
    assert until(lambda: len(taken) > 2)
    assert not seen.errors
