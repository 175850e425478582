"""Pictures of a track on a bad way: what is shown after a loss, when a keyframe is asked for, what is not drawn, what stays."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from typing import Any

import av
import pytest
from unit.engine.media import difference, picture
from unit.engine.test_subscription import VIDEO, Film, Owner, feed, owner, pictures, settled  # noqa: F401 - a fixture

from vidconf.engine import api
from vidconf.engine.codecs.vp8 import Vp8Encoder
from vidconf.engine.frame_ring import RingReader
from vidconf.engine.scaling import TileWriter
from vidconf.engine.subscription import Subscription
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.rtcp import Nack, Pli


class Moving(Film):
    """A pattern that moves a little with each frame, so that what is shown can be told and a frame without the one before it
    would show."""

    def __init__(self) -> None:
        super().__init__(width=320, height=180)
        self.encoder = Vp8Encoder(320, 180, 30, 1_000_000)
        self.drawn: list[av.VideoFrame] = []

    def frame(self, *, keyframe: bool = False, size: int = 1150) -> list[RtpPacket]:
        self.drawn.append(picture(320, 180, shift=self.number))
        data = self.encoder.encode(self.drawn[-1], keyframe)
        assert data is not None
        return self.packets(data, size)


class Watcher:
    """Keeps what would be drawn."""

    def __init__(self) -> None:
        self.frames: list[av.VideoFrame] = []

    def write(self, frame: av.VideoFrame, at_s: float) -> None:
        self.frames.append(frame)


def watched(owner: Owner) -> tuple[Subscription, Watcher]:  # noqa: F811
    subscription, watcher = Subscription(owner, "TR_1", "video", decode_unwatched=True), Watcher()
    pictures(subscription).recorder = watcher  # type: ignore[assignment]
    subscription.bind(VIDEO, owner.send)
    return subscription, watcher


def plis(owner: Owner) -> int:  # noqa: F811
    return sum(isinstance(p, Pli) for p in owner.sent)


async def test_after_a_loss_the_last_good_picture_stays_and_nothing_spoilt_is_shown(owner: Owner) -> None:  # noqa: F811
    subscription, watcher = watched(owner)
    film = Moving()
    for _ in range(5):
        feed(subscription, film.frame(size=300))
        await asyncio.sleep(0.02)
    assert await settled(lambda: len(watcher.frames) == 5)
    film.frame()        # lost
    for _ in range(10):
        feed(subscription, film.frame(size=300))
        subscription.tick(time.monotonic(), 0.02)
        await asyncio.sleep(0.02)
    assert len(watcher.frames) == 5
    feed(subscription, film.frame(keyframe=True))
    assert await settled(lambda: len(watcher.frames) == 6)
    assert difference(watcher.frames[-1], film.drawn[-1]) < 8
    for shown, drawn in zip(watcher.frames, film.drawn, strict=False):
        if shown is not watcher.frames[-1]:
            assert difference(shown, drawn) < 8
    subscription.close()


async def test_a_repair_that_comes_goes_on_without_a_keyframe(owner: Owner) -> None:  # noqa: F811
    subscription, watcher = watched(owner)
    film = Moving()
    feed(subscription, film.frame(size=300))
    lost, *rest = film.frame(size=40)
    feed(subscription, rest)
    assert [n.numbers for n in owner.sent if isinstance(n, Nack)] == [(lost.sequence,)], "asked at once"
    for _ in range(6):
        await asyncio.sleep(1 / 30)
        feed(subscription, film.frame(size=300))
    subscription.on_rtp(lost, time.monotonic())
    assert await settled(lambda: pictures(subscription).undrawn + len(watcher.frames) >= 8)
    assert difference(watcher.frames[-1], film.drawn[-1]) < 8
    assert 2 <= len(watcher.frames) < 8, "those whose moment was long past were decoded only"
    assert plis(owner) == 0
    subscription.close()


async def test_a_repair_after_a_second_lets_all_go_that_waited_for_it(owner: Owner) -> None:  # noqa: F811
    subscription, watcher = watched(owner)
    film = Moving()
    feed(subscription, film.frame(size=300))
    assert await settled(lambda: len(watcher.frames) == 1)
    lost, *rest = film.frame(size=40)
    feed(subscription, rest)
    for _ in range(30):
        feed(subscription, film.frame())
    subscription.on_rtp(lost, time.monotonic())
    feed(subscription, film.frame())
    assert await settled(lambda: len(watcher.frames) >= 2 and difference(watcher.frames[-1], film.drawn[-1]) < 8)
    assert plis(owner) == 0
    subscription.close()


async def test_a_keyframe_is_asked_for_again_but_ever_more_rarely(owner: Owner) -> None:  # noqa: F811
    subscription, _ = watched(owner)
    film = Moving()
    film.frame()
    begun, asked = time.monotonic(), 0.0
    at = []
    while asked < 3.0:
        feed(subscription, film.frame(size=300)) if int(asked * 50) % 10 == 0 else None
        before = plis(owner)
        subscription.tick(begun + asked, 0.05)
        if plis(owner) > before:
            at.append(asked)
        asked += 0.02
    assert 0.1 <= at[0] <= 0.2
    gaps = [b - a for a, b in itertools.pairwise(at)]
    assert 0.2 <= gaps[0] <= 0.3
    assert gaps == sorted(gaps)
    assert gaps[-1] <= 1.1
    assert len(at) <= 8
    subscription.close()


async def test_packets_without_a_frame_for_three_seconds_ask_for_a_keyframe_and_silence_does_not(owner: Owner) -> None:  # noqa: F811
    subscription, watcher = watched(owner)
    film = Moving()
    feed(subscription, film.frame())
    assert await settled(lambda: len(watcher.frames) == 1)
    now = time.monotonic()
    for k in range(300):
        subscription.tick(now + 0.02 * k, 0.02)
    assert plis(owner) == 0, "nothing comes: a still share, a pause"
    for k in range(300):
        film.sequence = (film.sequence + 1) & 0xFFFF
        subscription.on_rtp(RtpPacket(96, film.sequence, 9, 1000, False, b""), now + 6 + 0.02 * k)
        subscription.tick(now + 6 + 0.02 * k, 0.02)
    assert 1 <= plis(owner) <= 2
    subscription.close()


async def test_what_waits_for_its_moment_is_shown_then_and_not_before(owner: Owner) -> None:  # noqa: F811
    subscription, watcher = watched(owner)
    film = Moving()
    video = pictures(subscription)
    for _ in range(5):
        feed(subscription, film.frame())
        await asyncio.sleep(1 / 30)
    assert await settled(lambda: len(watcher.frames) == 5)
    video.render.delay_s = video.render.least_delay_s = 1.0
    packets = film.frame()
    due = video.render.due(packets[0].timestamp, time.monotonic())
    feed(subscription, packets)
    assert await settled(lambda: len(watcher.frames) == 6)
    assert video.shown_point is not None
    assert due - 0.01 < video.shown_point[1]
    video.render.delay_s = video.render.least_delay_s = 30.0
    feed(subscription, film.frame())
    subscription.unbind()
    await asyncio.sleep(0.1)
    assert (len(watcher.frames), len(video._waiting), video._timer) == (6, 0, None), "what belonged to the old connection does not come"
    subscription.close()


WATCH = api.WatchTrack("TR_1", 320, 180)


def watched_camera(by: Owner) -> tuple[Subscription, Moving]:
    """A camera that is watched, and its first picture on its way."""
    subscription, film = Subscription(by, "TR_1", "video", decode_unwatched=False), Moving()
    subscription.bind(VIDEO, by.send)
    subscription.watch(WATCH)
    feed(subscription, film.frame())
    return subscription, film


async def test_shown_again_the_last_picture_is_there_at_once(owner: Owner) -> None:  # noqa: F811
    subscription, film = watched_camera(owner)
    assert await settled(lambda: any(isinstance(e, api.RingOpened) for e in owner.events))
    subscription.watch(api.WatchTrack("TR_1", 0, 0, visible=False))
    assert isinstance(owner.events[-1], api.RingClosed)
    owner.events.clear()
    subscription.watch(WATCH)
    assert await settled(lambda: any(isinstance(e, api.RingOpened) for e in owner.events))
    ring = next(e.ring for e in owner.events if isinstance(e, api.RingOpened))
    reader = RingReader(ring)
    shown: Any = reader.newest()
    assert (shown.width, shown.height) == (320, 180)
    shown.data.release()
    reader.close()
    feed(subscription, film.frame())
    subscription.tick(time.monotonic(), 0.02)
    assert plis(owner) == 1
    subscription.close()


async def test_the_kept_picture_never_covers_a_newer_one(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """Its thread is held up between the last look and the tile, while the stream goes on."""
    subscription, film = watched_camera(owner)
    assert await settled(lambda: any(isinstance(e, api.RingOpened) for e in owner.events))
    subscription.watch(api.WatchTrack("TR_1", 0, 0, visible=False))
    owner.events.clear()
    begun, goes_on, shown = threading.Event(), threading.Event(), TileWriter.show

    def held_up(tile: TileWriter, *what: Any, **how: Any) -> bool:
        if not threading.current_thread().name.startswith("decoder"):
            begun.set()
            goes_on.wait(10)
        return shown(tile, *what, **how)

    monkeypatch.setattr(TileWriter, "show", held_up)
    subscription.watch(WATCH)
    assert await settled(begun.is_set)
    for _ in range(3):
        newer = film.frame(keyframe=True)
        feed(subscription, newer)
    assert await settled(lambda: any(isinstance(e, api.RingOpened) for e in owner.events))
    assert await settled(lambda: pictures(subscription).timing.frames == 4)
    goes_on.set()
    reader = RingReader(next(e.ring for e in owner.events if isinstance(e, api.RingOpened)))
    await asyncio.sleep(0.1)
    newest: Any = reader.newest()
    assert newest.pts_us == newer[0].timestamp * 100 // 9
    newest.data.release()
    reader.close()
    subscription.close()


async def test_a_picture_hidden_for_long_is_let_go(owner: Owner) -> None:  # noqa: F811
    subscription, _ = watched_camera(owner)
    video = pictures(subscription)
    assert await settled(lambda: video._kept is not None)
    subscription.watch(api.WatchTrack("TR_1", 0, 0, visible=False))
    video.forget_old(time.monotonic() + 10)
    assert video._kept is not None
    video.forget_old(time.monotonic() + 100)
    assert video._kept is None
    subscription.close()


async def test_a_muted_camera_leaves_no_picture_to_come_back(owner: Owner) -> None:  # noqa: F811
    subscription, _ = watched_camera(owner)
    video = pictures(subscription)
    assert await settled(lambda: video._kept is not None)
    subscription.set_muted(True)
    subscription.watch(api.WatchTrack("TR_1", 0, 0, visible=False))
    owner.events.clear()
    subscription.watch(WATCH)
    await asyncio.sleep(0.2)
    assert not any(isinstance(e, api.RingOpened) for e in owner.events)
    subscription.close()


async def test_nothing_is_asked_for_while_nobody_looks(owner: Owner) -> None:  # noqa: F811
    subscription = Subscription(owner, "TR_1", "video", decode_unwatched=False)
    film = Moving()
    subscription.bind(VIDEO, owner.send)
    for _ in range(10):
        _, *rest = film.frame(size=300)
        feed(subscription, rest)
        subscription.tick(time.monotonic(), 0.02)
        await asyncio.sleep(0.005)
    assert owner.sent == []
    subscription.close()
