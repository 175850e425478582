"""One picture in several sizes: which are encoded, and what gives way when the machine or the rate cannot keep up."""

from __future__ import annotations

import random
from typing import Any

import av
import pytest

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.vp8 import Vp8Decoder
from vidconf.engine.layer_encoder import MAX_IN_FLIGHT, LayerEncoder, PictureEncoder
from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.rtp.vp8 import frame_size, is_keyframe

WIDTH, HEIGHT, FPS = 640, 360, 30


def made(*rids: str) -> list[LayerEncoder]:
    return [
        LayerEncoder(
            OutgoingStream(
                send=lambda data: True, payload_type=96, clock_hz=90_000, mid="1", mid_id=1, level_id=0, number_id=0,
                numbers=TransportNumbers(), ssrc=k + 1, rid=rid,
            ), rid,
        )
        for k, rid in enumerate(rids)
    ]  # fmt: skip


class Clock:
    """`encode` looks at it when it begins, before each layer and at the end: each look but the first finds it `cost_s` later."""

    def __init__(self) -> None:
        self.now, self.cost_s = 100.0, 0.0
        self.looked = False

    def __call__(self) -> float:
        self.now += self.cost_s if self.looked else 0.0
        self.looked = True
        return self.now


def noise(seed: int) -> av.VideoFrame:
    """The dearest picture there is."""
    frame, chance = av.VideoFrame(WIDTH, HEIGHT, "yuv420p"), random.Random(seed)
    for plane in frame.planes:
        plane.update(chance.randbytes(plane.buffer_size))
    return frame


def flat(grey: int = 90) -> av.VideoFrame:
    frame = av.VideoFrame(WIDTH, HEIGHT, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes([grey]) * plane.buffer_size)
    return frame


class Run:
    def __init__(self, senders: list[LayerEncoder], *, screen: bool = False) -> None:
        self.senders, self.clock = senders, Clock()
        self.encoder = PictureEncoder(FPS, 700_000, screen=screen)
        self.frames: list[tuple[str, bytes]] = []

    def show(self, frame: av.VideoFrame, times: int = 1) -> CodecError | None:
        error = None
        for _ in range(times):
            began, self.clock.looked = self.clock.now, False
            error = self.encoder.encode(frame, self.senders, self.clock, lambda sender, data: self.frames.append((sender.rid, data)))
            self.clock.now = max(self.clock.now, began + 1 / FPS)
        return error

    def rids(self) -> list[str]:
        return [rid for rid, _ in self.frames]


def test_the_smallest_comes_first_and_all_decode() -> None:
    run = Run(made("q", "h", "f"))
    run.show(flat())
    assert run.rids() == ["q", "h"], "a picture of this size has two"
    assert [frame_size(data) for _, data in run.frames] == [(320, 180), (640, 360)]
    for _, data in run.frames:
        picture = Vp8Decoder().decode(data)
        assert picture is not None
        assert abs(bytes(picture.planes[0])[0] - 90) < 4


def test_a_layer_that_stopped_begins_with_a_keyframe() -> None:
    run = Run(made("q", "h"))
    run.show(flat(), 3)
    run.senders[1].rate_bps = 0
    run.show(flat(), 3)
    assert run.senders[1].resting
    run.senders[1].rate_bps = 300_000
    run.show(flat(), 3)
    assert [is_keyframe(data) for rid, data in run.frames if rid == "h"] == [True, False, False, True, False, False]
    assert [is_keyframe(data) for rid, data in run.frames if rid == "q"] == [True] + 8 * [False]
    run.senders[0].wanted = False
    run.senders[1].wanted = False
    before = len(run.frames)
    run.show(flat(), 3)
    assert len(run.frames) == before
    assert all(sender.resting for sender in run.senders)


def test_what_the_connection_has_not_taken_is_not_added_to() -> None:
    run = Run(made("q", "h"))
    run.senders[1].in_flight = MAX_IN_FLIGHT
    run.show(flat(), 2)
    assert run.rids() == ["q", "q"]
    assert run.senders[1].left_out == 2


def test_a_machine_that_cannot_keep_up_is_given_less() -> None:
    run = Run(made("q", "h"))
    run.clock.cost_s = 0.012     # 36 ms a picture, of which there are 30 a second
    sizes = []
    for _ in range(40):
        run.show(flat(), 15)
        sizes.append((run.senders[1].width, run.senders[1].height))
    assert sizes[0] == (640, 360)
    assert sizes[-1][0] < 640
    wide, high = sizes[-1]
    assert wide % 2 == high % 2 == 0
    assert wide / high == pytest.approx(640 / 360, abs=0.02)
    assert run.senders[0].width / run.senders[1].width == pytest.approx(0.5, abs=0.02), "all layers alike"
    run.clock.cost_s = 0.0005
    for _ in range(400):
        run.show(flat(), 15)
        if run.senders[1].width == 640:
            break
    assert run.senders[1].width == 640, "when there is time again, all of it comes back"


def test_one_layer_without_bits_becomes_smaller() -> None:
    run = Run(made(""))
    run.senders[0].rate_bps = 60_000
    pictures = [noise(k) for k in range(4)]
    for k in range(30 * 8):
        run.show(pictures[k % 4])
    assert run.senders[0].width < 640
    run = Run(made("q", "h"))
    run.senders[0].rate_bps = run.senders[1].rate_bps = 60_000
    for k in range(30 * 4):
        run.show(pictures[k % 4])
    assert run.senders[1].width == 640, "of several, the largest would go before"


def test_the_largest_that_stands_for_another_has_its_size() -> None:
    run = Run(made("q", "h", "f"))
    run.encoder = PictureEncoder(FPS, 2_500_000, screen=False)
    picture = av.VideoFrame(1280, 720, "yuv420p")
    for plane in picture.planes:
        plane.update(bytes([90]) * plane.buffer_size)
    sizes, begins = [], []
    for rates in ((150_000, 500_000, 720_000), (150_000, 0, 250_000), (150_000, 0, 590_000), (150_000, 0, 721_000), (150_000, 0, 481_000),
                  (150_000, 0, 479_000), (150_000, 0, 500_000), (150_000, 200_000, 479_000)):  # fmt: skip
        for sender, rate in zip(run.senders, rates, strict=True):
            sender.rate_bps = rate
        run.frames.clear()
        run.show(picture, 2)
        largest = [data for rid, data in run.frames if rid == "f"]
        sizes.append(run.senders[2].height)
        begins.append([is_keyframe(data) for data in largest])
    assert sizes == [720, 360, 360, 720, 720, 360, 360, 720], "it changes with some room between, and only where the other is not sent"
    assert begins == [[height, False] for height in (True, True, False, True, False, True, False, True)]


def test_a_screen_never_becomes_smaller() -> None:
    run = Run(made(""), screen=True)
    run.clock.cost_s = 0.03
    for _ in range(40):
        run.show(flat(), 15)
    assert run.senders[0].width == 640
    assert run.encoder.spared > 10, "it comes more seldom"


def test_an_encoder_that_fails_costs_one_layer_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(made("q", "h"))
    run.show(flat(), 2)

    def fails(*args: Any) -> bytes:
        raise CodecError("made to fail")

    monkeypatch.setattr(run.senders[1]._encoder, "encode", fails)
    error = run.show(flat())
    assert error is not None
    assert run.rids() == ["q", "h", "q", "h", "q"]
    assert run.show(flat()) is None
    assert run.rids()[-2:] == ["q", "h"]
    assert is_keyframe(run.frames[-1][1])
