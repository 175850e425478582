"""libvpx through ctypes: real pictures, a rate that changes under way, and everything that must be refused before C sees it."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from unit.engine.media import difference, picture
from unit.engine.test_publication import PICTURE, SHAPE, Owner, Wire, settled

from vidconf.engine import wheel
from vidconf.engine.codecs import CodecError, libvpx
from vidconf.engine.codecs.encoders import VideoEncoder, encoder_for
from vidconf.engine.codecs.vp8 import EASY_SPEED, HARD_SPEED, PyAvVp8Encoder, Vp8Encoder
from vidconf.engine.codecs.vp9 import Vp9Encoder
from vidconf.engine.video_publication import VideoPublication
from vidconf.rtp import vp8, vp9

KINDS: dict[str, type[libvpx.LibvpxEncoder]] = {"vp8": Vp8Encoder, "vp9": Vp9Encoder}
IS_KEYFRAME: dict[str, Callable[[bytes], bool]] = {"vp8": vp8.is_keyframe, "vp9": vp9.is_keyframe}
MOVING = "mandelbrot=s=640x360:r=30:start_scale=0.5:end_pts=200,noise=alls=4:allf=t,format=yuv420p"
FPS = 30

codecs = pytest.mark.parametrize("codec", sorted(KINDS))


@functools.cache
def film(count: int = 180) -> list[av.VideoFrame]:
    """Detail that moves and grains: no rate here is enough for all of it."""
    with av.open(MOVING, format="lavfi") as source:
        return list(itertools.islice(source.decode(video=0), count))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Each call lets one picture's time go by; none else does."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    def tick() -> None:
        nonlocal now
        now += 1 / FPS

    return tick


def luma(frame: av.VideoFrame) -> Any:
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].astype(np.float32)


def psnr(one: av.VideoFrame, other: av.VideoFrame) -> float:
    return 10 * math.log10(255**2 / max(1e-3, float(((luma(one) - luma(other)) ** 2).mean())))


@codecs
def test_one_frame_in_one_frame_out_and_keyframes_when_asked(codec: str) -> None:
    encoder, decoder = KINDS[codec](320, 180, FPS, 500_000), av.CodecContext.create(codec, "r")
    for k in range(20):
        shown = picture(shift=k)
        data = encoder.encode(shown, keyframe=k == 12)
        assert data
        assert IS_KEYFRAME[codec](data) == (k in (0, 12))
        decoded: Any = decoder.decode(av.Packet(data))
        assert (decoded[0].width, decoded[0].height, decoded[0].format.name) == (320, 180, "yuv420p")
        assert difference(decoded[0], shown) < 8


@codecs
def test_a_changed_rate_is_held_within_half_a_second_and_costs_no_keyframe(codec: str, clock: Callable[[], None]) -> None:
    frames, rates, sizes = film(), (1_500_000, 400_000, 2_500_000), []
    encoder = KINDS[codec](640, 360, FPS, rates[0])
    for part, rate in enumerate(rates):
        encoder.set_bitrate(rate)
        assert encoder.bitrate_bps == rate
        for k in range(2 * FPS):
            data = encoder.encode(frames[part * 2 * FPS + k]) or b""
            assert not (data and IS_KEYFRAME[codec](data)) or part == k == 0
            sizes.append(len(data))
            clock()
    for part, rate in enumerate(rates):
        settled = sizes[part * 2 * FPS + FPS // 2 : (part + 1) * 2 * FPS]
        assert 0.8 * rate < 8 * sum(settled) * FPS / len(settled) < 1.15 * rate, f"{rate} from half a second on"


def quality(encoder: VideoEncoder, clock: Callable[[], None]) -> tuple[float, float]:
    """Bits a second and mean PSNR, the first second left out."""
    decoder: Any = av.CodecContext.create("vp8", "r")
    size, found, shown = 0, [], []
    for number, source in enumerate(film()[:90]):
        frame = source.reformat(width=encoder.width, height=encoder.height)
        data = encoder.encode(frame)
        clock()
        shown = decoder.decode(av.Packet(data)) if data else shown
        if number >= FPS:
            size += len(data or b"")
            found.append(psnr(shown[0], frame))
    return 8 * size * FPS / len(found), sum(found) / len(found)


@pytest.mark.parametrize(("width", "height", "rate"), [(320, 180, 200_000), (1280, 720, 1_500_000)])
def test_pictures_are_as_good_as_those_of_ffmpegs_wrapper(width: int, height: int, rate: int, clock: Callable[[], None]) -> None:
    """At sizes where both are told to look for as much; it may say more with a fiftieth more bits."""
    other_bps, other = quality(PyAvVp8Encoder(width, height, FPS, rate), clock)
    bps, ours = quality(Vp8Encoder(width, height, FPS, rate), clock)
    assert bps < 1.02 * other_bps
    assert ours > other - 0.1


@codecs
def test_a_source_of_half_the_pictures_still_fills_the_rate(codec: str, clock: Callable[[], None]) -> None:
    encoder, size = KINDS[codec](640, 360, FPS, 600_000), 0
    for k, frame in enumerate(film()):
        data = encoder.encode(frame)
        size += len(data or b"") if k >= FPS else 0
        clock()
        clock()
    assert 0.8 * 600_000 < 8 * size * (FPS / 2) / (len(film()) - FPS) < 1.15 * 600_000


@codecs
def test_the_quantiser_tells_how_coarse_a_picture_is(codec: str, clock: Callable[[], None]) -> None:
    told = []
    for rate in (150_000, 3_000_000):
        encoder = KINDS[codec](640, 360, FPS, rate)
        for frame in film()[:40]:
            encoder.encode(frame)
            clock()
        told.append(encoder.last_quantizer)
    assert 0 <= told[1] < told[0] <= (127 if codec == "vp8" else 255)


def test_it_looks_harder_only_where_that_pays(clock: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    control = libvpx.LibvpxEncoder._control

    def spied(self: libvpx.LibvpxEncoder, which: int, value: int) -> None:
        if which == libvpx.CPU_USED:
            told.append(value)
        control(self, which, value)

    monkeypatch.setattr(libvpx.LibvpxEncoder, "_control", spied)
    encoder = Vp8Encoder(640, 360, FPS, 5_000_000)
    for rate in (5_000_000, 200_000):
        encoder.set_bitrate(rate)
        for frame in film()[:65]:
            encoder.encode(frame)
            clock()
    assert told == [EASY_SPEED, HARD_SPEED]
    encoder.set_hurry(True)
    encoder.set_hurry(True)
    encoder.set_hurry(False)
    assert told[2:] == [EASY_SPEED, HARD_SPEED]


@codecs
def test_what_it_cannot_encode_is_refused_before_libvpx_sees_it(codec: str) -> None:
    for size in ((0, 0), (320, -2), (321, 180), (320, 181), (16384, 16), (4096, 4096)):
        with pytest.raises(CodecError):
            KINDS[codec](*size, FPS, 500_000)
    with pytest.raises(CodecError):
        KINDS[codec](320, 180, 0, 500_000)
    encoder = KINDS[codec](320, 180, FPS, 500_000)
    for other in (picture(640, 360), picture(318, 180), picture(320, 182), *(av.VideoFrame(320, 180, f) for f in ("yuvj420p", "yuv422p", "rgb24", "nv12"))):
        with pytest.raises(CodecError):
            encoder.encode(other)
    assert encoder.encode(picture()), "it is none the worse for it"


def planes(*, luma_stride: int = 320, luma_bytes: int = 320 * 180, u_stride: int = 160, v_stride: int = 160, pointer: int = 1) -> Any:
    """What PyAV does not make today: a picture whose planes are not what its size says."""
    made = [
        SimpleNamespace(line_size=stride, buffer_size=size, buffer_ptr=pointer)
        for stride, size in ((luma_stride, luma_bytes), (u_stride, 160 * 90), (v_stride, 160 * 90))
    ]
    return SimpleNamespace(width=320, height=180, format=SimpleNamespace(name="yuv420p"), planes=made)


@pytest.mark.parametrize("shape", [
    {"luma_stride": 300}, {"luma_stride": -320}, {"luma_bytes": 320 * 180 - 1}, {"v_stride": 159}, {"pointer": 0}, {"u_stride": 161},
])  # fmt: skip
def test_planes_that_are_not_what_the_size_says_are_refused(shape: dict[str, int]) -> None:
    with pytest.raises(CodecError):
        Vp8Encoder(320, 180, FPS, 500_000).encode(planes(**shape))


def test_closed_is_closed_and_twice_is_no_harm() -> None:
    encoder = Vp8Encoder(320, 180, FPS, 500_000)
    encoder.close()
    encoder.close()
    with pytest.raises(CodecError):
        encoder.encode(picture())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    shown = picture(1280, 720)
    for turn in range(25):
        encoder = Vp8Encoder(1280, 720, FPS, 1_000_000)
        assert encoder.encode(shown)
        if turn == 4:
            before = resident()
    assert resident() - before < 40_000_000, "an encoder of 720p has some 15 MB"


def test_others_run_while_it_encodes() -> None:
    interval, turns, ended = sys.getswitchinterval(), 0, threading.Event()

    def count() -> None:
        nonlocal turns
        while not ended.is_set():
            turns += 1
            time.sleep(0)

    encoder, shown = Vp8Encoder(1920, 1080, FPS, 2_000_000), picture(1920, 1080)
    thread = threading.Thread(target=count)
    sys.setswitchinterval(10)       # who does not give it up keeps it
    try:
        thread.start()
        before = turns
        encoder.encode(shown)
        assert turns > before
    finally:
        sys.setswitchinterval(interval)
        ended.set()
        thread.join()


def test_the_end_of_the_process_finds_an_open_encoder() -> None:
    code = "from vidconf.engine.codecs.vp8 import Vp8Encoder; kept = Vp8Encoder(320, 180, 30, 500_000); print('made')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "made", "")


# ---- where there is any doubt -------------------------------------------------------------------------------------------------


@pytest.fixture
def afresh() -> Iterator[None]:
    """Nothing is remembered of what was found before, nor afterwards of what a test pretends."""
    for kept in (libvpx.library, libvpx.usable):
        kept.cache_clear()
    yield
    for kept in (libvpx.library, libvpx.usable):
        kept.cache_clear()


def test_the_library_that_is_locked_is_the_one_that_is_known(afresh: None) -> None:
    assert libvpx.library() is not None
    assert isinstance(encoder_for("vp8", 320, 180, FPS, 500_000), Vp8Encoder)
    assert isinstance(encoder_for("vp9", 320, 180, FPS, 500_000), Vp9Encoder)


def longer() -> type[ctypes.Structure]:
    return type("Longer", (ctypes.Structure,), {"_fields_": [*libvpx.Config._fields_, ("more", ctypes.c_int)]})


def shorter() -> type[ctypes.Structure]:
    return type("Shorter", (ctypes.Structure,), {"_fields_": libvpx.Config._fields_[:-1]})


@pytest.mark.parametrize(("name", "value"), [
    ("VERSION", b"v1.17.0"), ("ENCODER_ABI", 38), ("ENCODER_ABI", 40), ("Config", longer()), ("Config", shorter()), ("FORCE_KEYFRAME", 0),
    ("_TRIAL_DIFFERENCE", 0.0),
])  # fmt: skip
def test_with_another_version_abi_structure_or_result_ffmpeg_encodes(afresh: None, monkeypatch: pytest.MonkeyPatch, name: str, value: Any) -> None:
    monkeypatch.setattr(libvpx, name, value)
    assert libvpx.usable(Vp8Encoder) is None
    encoder = encoder_for("vp8", 320, 180, FPS, 500_000)
    assert isinstance(encoder, PyAvVp8Encoder)
    assert encoder.encode(picture())
    assert encoder.last_quantizer is None
    with pytest.raises(CodecError):
        encoder_for("vp9", 320, 180, FPS, 500_000)


def test_without_the_library_ffmpeg_encodes(afresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(wheel.av, "__file__", str(tmp_path / "av" / "__init__.py"))
    assert isinstance(encoder_for("vp8", 320, 180, FPS, 500_000), PyAvVp8Encoder)


def test_what_is_called_libvpx_and_is_not(afresh: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "av.libs").mkdir()
    (tmp_path / "av.libs" / "libvpx-1.so.12").write_bytes(b"no library")
    monkeypatch.setattr(wheel.av, "__file__", str(tmp_path / "av" / "__init__.py"))
    assert libvpx.library() is None


async def test_a_publication_sends_by_ffmpeg_where_libvpx_is_unknown(afresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvpx, "VERSION", b"v1.17.0")
    owner, wire = Owner(), Wire()
    publication = VideoPublication(owner, "camera", PICTURE, muted=False, shape=SHAPE)  # type: ignore[arg-type]
    try:
        publication.bind(wire.stream(90_000), wire.pacer)
        publication.start()
        assert await settled(lambda: len(wire.packets) > 20)
        assert vp8.starts_keyframe(wire.packets[0].payload)
        assert not publication.error
    finally:
        publication.close()
