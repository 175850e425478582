"""From packets to what is heard: quality, silence, loss, recording."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest
from unit.engine.hearing import Heard, encoded, feed, read, until
from unit.engine.media import steepest, tone

import vidconf.resources
from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES, OpusEncoder
from vidconf.engine.playout import Playout
from vidconf.engine.sound import level


def play(packets: list[bytes | None], delays: Callable[[int], float] = lambda k: 0.0, tail: int = 30) -> tuple[bytes, AudioStream, list[int]]:
    """Through a stream alone, on a clock of its own: None is a lost packet, `delays` in seconds."""
    sounds: list[int] = []
    stream = AudioStream("a", lambda: sounds.append(1))
    arrivals = sorted((k * 0.02 + delays(k), k, p) for k, p in enumerate(packets) if p is not None)
    heard, at = b"", 0
    for tick in range(len(packets) + tail):
        now = 100 + tick * 0.02 + 0.001
        while at < len(arrivals) and 100 + arrivals[at][0] <= now:
            _, k, payload = arrivals[at]
            stream.push(k & 0xFFFF, k * BLOCK, payload, 100 + arrivals[at][0])
            at += 1
        heard += stream.block(now) or bytes(BLOCK_BYTES)
    return heard, stream, sounds


def speech() -> bytes:
    """The demo's chair, 48 kHz mono."""
    with av.open(str(vidconf.resources.resource("speech", "chair.flac"))) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=48_000)
        return b"".join(bytes(b.planes[0])[: 2 * b.samples] for f in container.decode(audio=0) for b in resampler.resample(f))


def opinion(original: bytes, heard: bytes) -> float:
    """PESQ, wide band, of what was heard, aligned by the best correlation."""
    np = pytest.importorskip("numpy")
    pesq = pytest.importorskip("pesq")
    one, other = (np.frombuffer(pcm, np.int16).astype(np.float64)[::3] for pcm in (original, heard))
    other = other[: len(one) + 16_000]
    size = 1 << (len(one) + len(other)).bit_length()
    match = np.fft.irfft(np.fft.rfft(other, size) * np.conj(np.fft.rfft(one, size)))
    shift = int(np.argmax(match[:16_000]))
    other = other[shift : shift + len(one)]
    return float(pesq.pesq(16_000, one[: len(other)], other, "wb"))


def test_speech_comes_out_as_it_went_in() -> None:
    original = speech()
    heard, stream, sounds = play(list(encoded(original)))
    assert sounds == [1]
    assert opinion(original, heard) >= 3.5
    assert stream.statistics()["concealed_percent"] == 0


def test_speech_with_one_packet_in_twenty_lost_is_still_good() -> None:
    original = speech()
    heard, stream, _ = play([None if k % 20 == 13 else p for k, p in enumerate(encoded(original))])
    assert opinion(original, heard) >= 2.2
    told = stream.statistics()
    assert told["concealed_percent"] < 2, "most of it is repaired by what the next packet carries"
    assert told["fec"] > 100


def test_what_leaves_the_loudspeaker_is_known_by_its_timestamp() -> None:
    stream, packets = AudioStream("a", lambda: None), encoded(tone(1.0))
    assert stream.playout_point() is None
    points, first = [], 0xFFFFFFFF - 10 * BLOCK      # wraps on the way
    for k, payload in enumerate(packets):
        stream.push(k, (first + k * BLOCK) & 0xFFFFFFFF, payload, 5 + k * 0.02)
        if stream.block(5.001 + k * 0.02, latency_s=0.1):
            points.append(stream.playout_point())
    assert len(points) > 40
    assert points[0] is not None
    for k, point in enumerate(points):
        assert point is not None
        stamp, at = point
        assert at == pytest.approx(points[0][1] + k * 0.02)
        assert stamp == (points[0][0] + k * BLOCK) & 0xFFFFFFFF
    held_s = points[0][1] - 0.1 - 5 - ((points[0][0] - first) & 0xFFFFFFFF) / 48_000
    assert 0.02 < held_s < 0.09
    while stream.block(7.0):
        continue
    assert stream.playout_point() is None


def test_sound_is_held_back_for_a_late_picture() -> None:
    stream, packets, heard = AudioStream("a", lambda: None), encoded(tone(1.0)), []
    stream.set_least_delay(0.3)
    for k, payload in enumerate(packets):
        stream.push(k, k * BLOCK, payload, 5 + k * 0.02)
        heard.append(stream.block(5.001 + k * 0.02) is not None)
    assert 13 <= heard.index(True) <= 16
    assert all(heard[16:])


def test_mute_loss_and_return_never_click() -> None:
    sent: list[bytes | None] = list(encoded(tone(4.0)))
    for k in (*range(50, 100), *range(140, 144), 170):
        sent[k] = None
    heard, _, _ = play(sent)
    assert steepest(heard) < 2500
    assert level(heard[75 * BLOCK_BYTES : 95 * BLOCK_BYTES]) == 0.0
    assert level(heard[130 * BLOCK_BYTES : 135 * BLOCK_BYTES]) > 0.15


def test_a_burst_leaves_no_delay_and_no_click() -> None:
    heard, stream, _ = play(list(encoded(tone(8.0))), lambda k: max(0.0, 0.4 - 0.02 * (k - 100)) if 100 <= k < 120 else 0.0, tail=0)
    assert stream.statistics()["jitter_buffer_ms"] <= 80
    assert steepest(heard) < 3500


def test_packets_of_other_lengths_and_rubbish_are_played_or_left_out() -> None:
    encoder = OpusEncoder()
    good = encoder.encode(tone(0.02))
    _, stream, _ = play([b"\xff\xff", good, b"\x03", good, b"", good * 40, good, *[good] * 30])
    assert stream.errors >= 1
    context = av.AudioCodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format, context.options = 48_000, "mono", "s16", {"frame_duration": "10"}
    context.open()
    short = []
    for _ in range(60):
        frame = av.AudioFrame(format="s16", layout="mono", samples=480)
        frame.planes[0].update(tone(0.01)[: frame.planes[0].buffer_size].ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate = 48_000
        short += [bytes(p) for p in context.encode(frame)]
    stream = AudioStream("b", lambda: None)
    for k, payload in enumerate(short):
        stream.push(k, k * 480, payload, k * 0.01)
    blocks = [stream.block(0.6) for _ in range(5)]
    assert all(b is not None and len(b) == BLOCK_BYTES for b in blocks)


@pytest.fixture
def unheard() -> Iterator[Heard]:
    heard = Heard("none")
    yield heard
    heard.end()


def test_a_recording_is_what_was_played_in_real_time(unheard: Heard, tmp_path: Path) -> None:
    path, first = tmp_path / "heard.wav", []
    started = time.monotonic()
    unheard.playout.record(str(path))
    time.sleep(0.4)
    stream, added = unheard.playout.add("a", lambda: first.append(time.monotonic())), time.monotonic()
    feed([stream], encoded(tone(0.8)))
    assert unheard.playout.levels()["a"] > 0.1
    assert until(lambda: len(read(path)) > 0.8 * 96_000), "readable while it is written"
    unheard.playout.remove("a")
    time.sleep(0.3)
    assert until(lambda: len(read(path)) / 96_000 == pytest.approx(time.monotonic() - started, abs=0.08)), "as long as the time that passed"
    unheard.playout.record(None)
    pcm = read(path)
    assert level(pcm[: int(0.35 * 96_000)]) == 0.0
    assert level(pcm[int(0.6 * 96_000) : int(1.0 * 96_000)]) > 0.18
    assert level(pcm[-9600:]) == 0.0
    assert len(first) == 1
    assert added < first[0] < added + 0.4
    assert steepest(pcm) < 2500
    assert unheard.playout.levels() == {}


def test_gains_apply_to_one_and_to_all(unheard: Heard, tmp_path: Path) -> None:
    one, other = unheard.playout.add("one", lambda: None), unheard.playout.add("other", lambda: None)
    packets = encoded(tone(0.5))
    unheard.playout.set_gain("other", 0.0)
    unheard.playout.set_gain("nobody", 1.0)
    unheard.playout.record(str(tmp_path / "a.wav"))
    feed([one, other], packets)
    unheard.playout.record(None)
    assert level(read(tmp_path / "a.wav")[-19200:]) == pytest.approx(0.21, abs=0.03), "one of the two"
    unheard.playout.set_gain(None, 0.5)
    unheard.playout.record(str(tmp_path / "b.wav"))
    start = time.monotonic()
    for k in range(len(packets)):
        one.push(len(packets) + k, (len(packets) + k) * BLOCK, packets[k], time.monotonic())
        time.sleep(max(0.0, start + (k + 1) * 0.02 - time.monotonic()))
    unheard.playout.record(None)
    assert level(read(tmp_path / "b.wav")[-19200:]) == pytest.approx(0.105, abs=0.02)


def test_a_recording_that_cannot_be_written_is_told(unheard: Heard, tmp_path: Path) -> None:
    with pytest.raises(OSError):
        unheard.playout.record(str(tmp_path / "no such folder" / "a.wav"))
    with pytest.raises(OSError):
        unheard.playout.record("/dev/full")
    unheard.playout.record(str(tmp_path / "a.wav"))
    assert unheard.playout._wav is not None
    unheard.playout._wav._file.close()
    unheard.playout._wav._file = open("/dev/full", "wb", buffering=0)   # noqa: SIM115 - the playout closes it
    assert until(lambda: unheard.errors == ["recording_failed"])


def test_no_loudspeaker_is_told_once_and_playing_goes_on(tmp_path: Path) -> None:
    heard = Heard("no such loudspeaker")
    assert until(lambda: heard.errors == ["no_speaker"])
    started = time.monotonic()
    heard.playout.record(str(tmp_path / "a.wav"))
    assert until(lambda: len(read(tmp_path / "a.wav")) / 96_000 > 0.5)
    assert until(lambda: len(read(tmp_path / "a.wav")) / 96_000 == pytest.approx(time.monotonic() - started, abs=0.1)), "in real time"
    heard.playout.record(None)
    heard.playout.select("none")
    assert until(lambda: not heard.playout._changed.is_set())
    heard.end()
    assert heard.errors == ["no_speaker"]


def test_helpers_of_this_file() -> None:
    assert steepest(array.array("h", [0, 100, -100]).tobytes()) == 200


def test_at_rest_the_thread_ends_when_all_has_been_played_and_begins_again() -> None:
    def running() -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t.name == "playout"]

    before = len(running())
    playout = Playout("none", lambda code, detail: None)
    for _ in range(2):
        playout.start()
        stream = playout.add("a", lambda: None)
        playout.play_once(bytes(BLOCK_BYTES * 10))
        playout.rest()
        time.sleep(0.8)
        assert len(running()) == before + 1, "somebody may still be heard"
        playout.remove("a")
        ends = time.monotonic() + 5
        while len(running()) > before and time.monotonic() < ends:
            time.sleep(0.02)
        assert len(running()) == before
        assert stream.level == 0.0
    playout.rest()
    playout.start()
    time.sleep(0.8)
    assert len(running()) == before + 1, "told to play after it was told to rest"
    playout.close()
    playout.join(5)
    assert len(running()) == before
