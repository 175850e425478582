"""The pool: order, bounds, recovery, threads that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import av
import pytest
from unit.engine.media import picture

from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.decoders import MAX_QUEUED, DecoderPool


def frames(count: int, key_every: int = 1000) -> list[tuple[bytes, int, bool]]:
    encoder = Vp8Encoder(160, 90, 30, 300_000)
    return [(encoder.encode(picture(160, 90, k), keyframe=k % key_every == 0) or b"", 3000 * k, k % key_every == 0) for k in range(count)]


def until(true: Callable[[], bool], timeout_s: float = 15.0) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.005)
    return False


def decoder_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("decoder ")]


def test_streams_share_few_threads_and_keep_their_order() -> None:
    pool = DecoderPool(2)
    shown: dict[int, list[int]] = {k: [] for k in range(5)}
    streams = [pool.open(lambda frame, at, k=k: shown[k].append(at), lambda: None) for k in range(5)]  # type: ignore[misc]
    for data, at, key in frames(10):
        for stream in streams:
            stream.push(data, at, key, "vp8")
    assert until(lambda: all(len(v) == 10 for v in shown.values()))
    assert all(v == [3000 * k for k in range(10)] for v in shown.values())
    assert len(decoder_threads()) == 2
    pool.close()
    assert until(lambda: not decoder_threads())
    streams[0].push(*frames(1)[0], "vp8")


def test_a_thread_ends_with_its_last_stream_and_another_begins_with_the_next() -> None:
    pool = DecoderPool(2)
    shown: list[int] = []
    streams = [pool.open(lambda frame, at: shown.append(at), lambda: None) for _ in range(3)]
    assert until(lambda: len(decoder_threads()) == 2)
    for stream in streams:
        pool.close_stream(stream)
    assert until(lambda: not decoder_threads())
    again = pool.open(lambda frame, at: shown.append(at), lambda: None)
    again.push(*frames(1)[0], "vp8")
    assert until(lambda: shown == [0])
    pool.close()
    assert until(lambda: not decoder_threads())


def test_a_stalled_consumer_costs_pictures_but_not_memory() -> None:
    pool, gate, trouble = DecoderPool(1), threading.Event(), threading.Event()
    shown: list[int] = []

    def show(frame: av.VideoFrame, at: int) -> None:
        gate.wait(5)
        shown.append(at)

    stream = pool.open(show, trouble.set)
    encoded = frames(110, 100)
    for item in encoded[:100]:
        stream.push(*item, "vp8")
        assert len(stream._queue) <= MAX_QUEUED
    assert trouble.is_set(), "a keyframe is asked for"
    gate.set()
    assert until(lambda: not stream._queue)
    for item in encoded[100:]:
        stream.push(*item, "vp8")
    assert until(lambda: bool(shown) and shown[-1] == 109 * 3000), "and with it the picture goes on"
    assert stream.dropped > 30
    pool.close()
    assert until(lambda: not decoder_threads())


def test_a_machine_that_cannot_keep_up_shows_fewer_pictures_and_not_old_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.engine.decoders.MAX_WAIT_S", 0.1)
    pool, ages, troubles, pushed = DecoderPool(1), [], [], {}

    def show(frame: av.VideoFrame, at: int) -> None:
        ages.append(time.monotonic() - pushed[at])
        time.sleep(0.03)

    stream = pool.open(show, lambda: troubles.append(1))
    for data, at, key in frames(90, 30):
        pushed[at] = time.monotonic()
        stream.push(data, at, key, "vp8")
        time.sleep(0.01)
    assert until(lambda: not stream._queue)
    assert troubles
    assert stream.dropped
    assert len(ages) > 10
    assert sorted(ages)[len(ages) * 9 // 10] < 0.2, "it was three times too slow for 0.9 s: the last would be 1.8 s old"
    pool.close()
    assert until(lambda: not decoder_threads())


def test_rubbish_asks_for_a_keyframe_and_is_survived() -> None:
    pool, troubles, shown = DecoderPool(1), [], []
    stream = pool.open(lambda frame, at: shown.append(at), lambda: troubles.append(1))
    encoded = frames(20, 10)
    for item in encoded[:5]:
        stream.push(*item, "vp8")
    assert until(lambda: len(shown) == 5)
    stream.push(b"\x10\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(50), 1, True, "vp8")
    for item in encoded[5:10]:
        stream.push(*item, "vp8")
    assert until(lambda: bool(troubles))
    assert until(lambda: not stream._queue)
    for item in encoded[10:]:
        stream.push(*item, "vp8")
    assert until(lambda: bool(shown) and shown[-1] == 19 * 3000)
    assert len(troubles) == 1
    assert stream.errors == 1
    pool.close()
    assert until(lambda: not decoder_threads())


def test_a_callback_that_fails_does_not_end_the_thread() -> None:
    pool, shown = DecoderPool(1), []

    def show(frame: av.VideoFrame, at: int) -> None:
        shown.append(at)
        if at == 0:
            raise RuntimeError("on purpose")

    stream = pool.open(show, lambda: None)
    for item in frames(3):
        stream.push(*item, "vp8")
    assert until(lambda: len(shown) == 3)
    pool.close_stream(stream)
    pool.close()
    assert until(lambda: not decoder_threads())


def test_a_stream_that_begins_without_a_keyframe_asks_for_one_once() -> None:
    """Whoever gives it took something else for a beginning, and would wait for ever."""
    pool, troubles = DecoderPool(1), []
    stream = pool.open(lambda frame, at: None, lambda: troubles.append(1))
    encoded = frames(10, 100)
    for item in encoded[1:]:
        stream.push(*item, "vp8")
    assert len(troubles) == 1
    assert stream.dropped == 9
    pool.close()
