"""A narrow line's subscriber: smaller layers at once, no picture where only sound fits and the client told of it, all of it back when
the line is wide again. With the simulcast camera of `test_simulcast`, and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from livekit.protocol import rtc
from unit.relay.test_forwarder import FakeSession, Scene, contiguous
from unit.relay.test_simulcast import HIDDEN, LARGE, Publisher, is_one_stream, layer_of

from vidconf.relay import delivery as module
from vidconf.relay.delivery import FREE_AFTER_S, PADDING_PACKET, Delivery
from vidconf.relay.downstream import NO_LIMIT, Down
from vidconf.relay.line import WAIT_S

PAUSED, ACTIVE = rtc.StreamState.PAUSED, rtc.StreamState.ACTIVE


class Viewer:
    """One subscriber of some cameras and a voice."""

    def __init__(self, cameras: int = 1) -> None:
        self.cameras = [Publisher() for _ in range(cameras)]
        for camera in self.cameras:
            for encoding, size in zip(camera.encodings, (600, 1800, 5400), strict=True):
                encoding.size = size
        self.voice = Scene("audio")
        self.seen = [camera.subscriber() for camera in self.cameras]
        self.heard = self.voice.subscriber()
        self.heard[0].layers = None
        self.said: list[tuple[str, int]] = []
        self.delivery = Delivery(self.downs, lambda down: ("PA_1", f"TR_{self.downs().index(down)}"), self._say)

    def downs(self) -> list[Down]:
        return [down for down, _ in (*self.seen, self.heard)]

    def _say(self, stream_state_update: rtc.StreamStateUpdate) -> None:
        self.said += [(one.track_sid, one.state) for one in stream_state_update.stream_states]

    @property
    def now(self) -> float:
        return self.cameras[0].clock.now

    def watch(self, seconds: float, told: int = 0) -> None:
        """So long pictures and sound, looked at as in a room; `told`: what it estimates."""
        for k in range(round(seconds * 30)):
            for camera in self.cameras:
                camera.frame()
            self.voice.clock.now = self.now
            self.voice.send(self.voice.frame()[0])
            if k % 6 == 5:
                self.voice.up.measure(self.now)
                if told:
                    self.delivery.told(told, self.now)
                self.delivery.look(self.now)

    def layers(self) -> list[int]:
        """What came last of each camera."""
        return [layer_of(session.sent[-1]) for _, session in self.seen]


def test_a_wide_line_is_left_alone() -> None:
    viewer = Viewer()
    viewer.watch(4, told=3_000_000)
    assert viewer.layers() == [2]
    assert viewer.delivery.limit_bps is None
    assert viewer.seen[0][0].most == NO_LIMIT


def test_a_smaller_layer_at_once_and_nothing_of_the_larger_meanwhile() -> None:
    viewer = Viewer()
    (down, session), camera = viewer.seen[0], viewer.cameras[0]
    viewer.watch(3, told=3_000_000)
    camera.answers_after_s = 0.3
    smallest = camera.encodings[0].up.rate_bps
    viewer.delivery.told(round(viewer.heard[0].costs_bps + 1.3 * smallest), viewer.now)
    count = len(session.sent)
    assert down.most == 0
    viewer.watch(1)
    assert {layer_of(packet) for packet in session.sent[count:]} == {0}
    is_one_stream(session)
    assert viewer.said == []
    viewer.watch(1, told=1_100_000)
    assert layer_of(session.sent[-1]) == 1, "as much as fits"


def test_where_only_sound_fits_pictures_are_paused_and_that_is_said() -> None:
    viewer = Viewer()
    down, session = viewer.seen[0]
    viewer.watch(3, told=3_000_000)
    low = round(viewer.heard[0].costs_bps + 5_000)
    viewer.watch(0.5, told=low)
    assert viewer.said == [], "an estimate may be low for a moment"
    viewer.watch(1.5, told=low)
    assert viewer.said == [("TR_0", PAUSED)]
    count, heard = len(session.sent), len(viewer.heard[1].sent)
    viewer.watch(1, told=low)
    assert len(session.sent) == count
    assert len(viewer.heard[1].sent) == heard + 30, "the voice goes on"
    viewer.watch(WAIT_S + 60, told=low)
    assert viewer.said[:2] == [("TR_0", PAUSED), ("TR_0", ACTIVE)], "it cannot be padded: it is tried, with a small picture"
    assert down.has_begun


def test_the_line_is_wide_again_all_comes_back_and_it_is_free() -> None:
    viewer = Viewer(2)
    viewer.watch(3, told=5_000_000)
    viewer.watch(3, told=round(viewer.heard[0].costs_bps + 5_000))
    assert viewer.said == [("TR_0", PAUSED), ("TR_1", PAUSED)]
    viewer.cameras[1].layers.wish(viewer.seen[1][0], HIDDEN)
    viewer.watch(4, told=9_000_000)
    assert viewer.said[2:] == [("TR_0", ACTIVE)]
    viewer.watch(FREE_AFTER_S + 1, told=9_000_000)
    assert viewer.delivery.limit_bps is None
    viewer.cameras[1].layers.wish(viewer.seen[1][0], LARGE)
    viewer.watch(1)
    assert viewer.layers() == [2, 2], "also what was hidden when the limit fell"
    assert [down.most for down, _ in viewer.seen] == [NO_LIMIT, NO_LIMIT]
    for _, session in viewer.seen:
        assert contiguous(session)


async def test_padding_asks_where_repairs_go(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Viewer()
    down, session = viewer.seen[0]
    down.takes_rtx, down.rtx_ssrc = True, 77
    viewer.watch(3, told=3_000_000)
    viewer.watch(0.4, told=300_000)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: viewer.now))
    session.sent.clear()
    for _ in range(round(5 * (WAIT_S + 2))):
        viewer.watch(0.2)
        await asyncio.sleep(0.025)
    padding = [packet for packet in session.sent if packet.ssrc == 77]
    assert padding
    assert all((packet.payload, packet.padding, packet.payload_type) == (b"", PADDING_PACKET, 97) for packet in padding)
    assert all(3 in packet.extensions for packet in padding), "what it is for: it says when it was sent"
    assert [packet.sequence for packet in padding] == [(padding[0].sequence + k) & 0xFFFF for k in range(len(padding))]
    assert viewer.voice.counters.padding_sent == 0
    assert viewer.cameras[0].counters.padding_sent == len(padding)
    viewer.delivery.close()
    count = len(session.sent)
    await asyncio.sleep(0.06)
    assert len(session.sent) == count


def test_a_line_without_a_picture_has_nothing_to_share() -> None:
    scene = Scene("audio")
    down, session = scene.subscriber()
    delivery = Delivery(lambda: [down], lambda down: ("", ""), lambda **said: None)
    scene.send(scene.frame()[0])
    delivery.told(1_000, 1.0)
    delivery.reported(0.5, 1.0, 2.0)
    delivery.look(3.0)
    assert isinstance(session, FakeSession)
    scene.send(scene.frame()[0])
    assert len(session.sent) == 2


