"""One's own sources: the valve above all, then devices, keyframes, numbering and repair."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from typing import Any

import av
import pytest

from vidconf.engine import api, stamp
from vidconf.engine.audio_publication import AudioPublication
from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.engine.publication import Publication
from vidconf.engine.video_publication import VideoPublication, VideoShape, _stamped
from vidconf.rtp.packets import RtpPacket, parse_rtp
from vidconf.rtp.vp8 import keyframe_size, parse_descriptor, starts_keyframe

SINE = "lavfi:sine=frequency=440:sample_rate=48000"
PICTURE = "lavfi:testsrc2=size=160x90:rate=25"
LARGE = "lavfi:testsrc2=size=1280x720:rate=25"
SHAPE = VideoShape(160, 90, 25, 300_000)


class Owner:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.events: list[api.EngineEvent] = []
        self.changes: list[tuple[str, bool]] = []

    def emit(self, event: api.EngineEvent) -> None:
        self.events.append(event)

    def publication_changed(self, publication: Publication) -> None:
        self.changes.append((publication.source, publication.muted))


class Wire:
    """Takes packets; fails the test when one comes while the publication is muted."""

    def __init__(self, number_id: int = 0) -> None:
        self.packets: list[RtpPacket] = []
        self.publication: Publication | None = None
        self.leaks = 0
        self.pacer = Pacer(lambda: None)
        self.numbers = TransportNumbers()
        self.number_id = number_id

    def send(self, data: bytes) -> bool:
        if self.publication is not None and self.publication.muted:
            self.leaks += 1
        self.packets.append(parse_rtp(data))
        return True

    def stream(self, clock_hz: int = 48_000) -> OutgoingStream:
        return OutgoingStream(
            send=self.send, payload_type=111, clock_hz=clock_hz, mid="1", mid_id=1, level_id=2, number_id=self.number_id, numbers=self.numbers,
            ssrc=random.randrange(1, 1 << 32),
        )


@pytest.fixture
async def owner() -> Owner:
    return Owner()


async def settled(condition: Any, timeout_s: float = 15) -> bool:
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        if condition():
            return True
        await asyncio.sleep(0.005)
    return bool(condition())


async def still(count: Any, timeout_s: float = 15) -> bool:
    """Whether it stops changing: at ten pictures a second and more, half a second without one is no accident."""
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends:
        before = count()
        await asyncio.sleep(0.5)
        if count() == before:
            return True
    return False


async def end(publication: Publication) -> None:
    publication.close()
    for thread in publication.threads():
        await asyncio.to_thread(thread.join, 10)
    assert publication.threads() == []


async def test_sound_leaves_in_order_with_its_level(owner: Owner) -> None:
    wire = Wire()
    microphone = AudioPublication(owner, "microphone", SINE, muted=False)
    microphone.start()
    microphone.bind(wire.stream(), wire.pacer)
    assert await settled(lambda: len(wire.packets) > 20)
    await end(microphone)
    first, *rest = wire.packets
    assert first.marker
    assert not any(p.marker for p in rest)
    stamps = [p.timestamp for p in wire.packets]
    assert all(b - a == 960 for a, b in itertools.pairwise(stamps)), stamps
    numbers = [p.sequence for p in wire.packets]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    level = first.extensions[2][0]
    assert level & 0x80
    assert 10 < level & 0x7F < 40
    assert first.extensions[1] == b"1"
    assert any(isinstance(e, api.LocalLevel) and e.level > 0.05 for e in owner.events)


@pytest.mark.parametrize("seed", range(4))
async def test_the_valve(owner: Owner, seed: int) -> None:
    """Whatever is pressed and whatever connections come and go: nothing leaves while muted, everything else does."""
    chance = random.Random(seed)
    wire = Wire()
    sound = AudioPublication(owner, "microphone", SINE, muted=True)
    picture = VideoPublication(owner, "camera", PICTURE, muted=True, shape=SHAPE)
    leaks = 0
    for publication in (sound, picture):
        publication.start()
    for _ in range(60):
        publication = chance.choice((sound, picture))
        match chance.randrange(5):
            case 0:
                publication.set_muted(True)
            case 1:
                publication.set_muted(False)
            case 2:
                own = Wire()
                own.publication = publication
                publication.bind(own.stream(), own.pacer)
                wire = own
            case 3:
                publication.unbind()
            case _:
                publication.request_keyframe()
        await asyncio.sleep(chance.choice((0, 0, 0.01, 0.04)))
        leaks += wire.leaks
    assert leaks == 0
    last = Wire()
    sound.set_muted(True)
    sound.bind(last.stream(), last.pacer)
    await asyncio.sleep(0.2)
    assert last.packets == []
    sound.set_muted(False)
    assert await settled(lambda: len(last.packets) > 3)
    await end(sound)
    await end(picture)


def three(wire: Wire) -> list[tuple[str, OutgoingStream]]:
    return [(rid, wire.stream(90_000)) for rid in ("q", "h", "f")]


@pytest.mark.parametrize("seed", range(3))
async def test_the_valve_holds_for_all_layers(owner: Owner, seed: int) -> None:
    """Mutes, rates, viewers and connections come and go as they like: of a muted camera nothing leaves, in no size."""
    chance = random.Random(seed)
    camera = VideoPublication(owner, "camera", LARGE, muted=True)
    camera.start()
    wires = []
    for _ in range(60):
        match chance.randrange(7):
            case 0:
                camera.set_muted(True)
            case 1 | 2:
                camera.set_muted(False)
            case 3:
                wires.append(Wire())
                wires[-1].publication = camera
                camera.bind_layers(three(wires[-1]), wires[-1].pacer)
            case 4:
                camera.set_rates([chance.choice((0, 100_000, 900_000)) for _ in range(3)])
            case 5:
                camera.want(chance.sample(range(3), chance.randrange(4)))
            case _:
                camera.request_keyframe()
        await asyncio.sleep(chance.choice((0, 0.01, 0.05)))
    assert sum(wire.leaks for wire in wires) == 0
    last = Wire()
    last.publication = camera
    camera.set_muted(True)
    camera.want((0, 1, 2))
    camera.bind_layers(three(last), last.pacer)
    await asyncio.sleep(0.2)
    assert last.packets == []
    camera.set_muted(False)
    assert await settled(lambda: len({p.ssrc for p in last.packets}) == 3)
    camera.set_muted(True)
    count = len(last.packets)
    await asyncio.sleep(0.2)
    assert len(last.packets) == count
    assert last.leaks == 0
    await end(camera)


async def test_one_picture_leaves_in_three_sizes_as_far_as_they_are_wanted(owner: Owner) -> None:
    wire = Wire()
    camera = VideoPublication(owner, "camera", LARGE, muted=False)
    camera.start()
    streams = three(wire)
    camera.bind_layers(streams, wire.pacer)
    ssrcs = [stream.ssrc for _, stream in streams]

    def sizes(ssrc: int) -> list[tuple[int, int]]:
        return [keyframe_size(p.payload[parse_descriptor(p.payload)[1] :]) for p in wire.packets if p.ssrc == ssrc and starts_keyframe(p.payload)]

    def count(ssrc: int) -> int:
        return sum(p.ssrc == ssrc for p in wire.packets)

    assert await settled(lambda: all(sizes(ssrc) for ssrc in ssrcs))
    assert [sizes(ssrc) for ssrc in ssrcs] == [[(320, 180)], [(640, 360)], [(1280, 720)]]
    camera.set_rates((100_000, 300_000, 0))     # no room for the largest
    assert await settled(lambda: camera.senders[2].resting)
    before = [count(ssrc) for ssrc in ssrcs]
    assert await settled(lambda: count(ssrcs[0]) > before[0] + 5 and count(ssrcs[1]) > before[1] + 5)
    assert count(ssrcs[2]) == before[2]
    camera.want((0,))       # only thumbnails are looked at
    assert await settled(lambda: camera.senders[1].resting)
    before = [count(ssrc) for ssrc in ssrcs]
    assert await settled(lambda: count(ssrcs[0]) > before[0] + 5)
    assert count(ssrcs[1]) == before[1]
    camera.want((0, 1, 2))
    camera.set_rates((100_000, 300_000, 900_000))
    assert await settled(lambda: len(sizes(ssrcs[1])) > 1 and len(sizes(ssrcs[2])) > 1), "each begins anew with a picture that stands alone"
    before = [sender.keyframes for sender in camera.senders]
    camera.request_keyframe(ssrcs[1])
    assert await settled(lambda: len(sizes(ssrcs[1])) > 2)
    assert [sender.keyframes for sender in camera.senders] == [before[0], before[1] + 1, before[2]], "the others go on as they are"
    await end(camera)


async def test_a_small_picture_uses_the_smaller_layers_only(owner: Owner) -> None:
    wire = Wire()
    camera = VideoPublication(owner, "camera", "lavfi:testsrc2=size=640x360:rate=25", muted=False)
    camera.start()
    streams = three(wire)
    camera.bind_layers(streams, wire.pacer)
    assert await settled(lambda: camera.frames > 20)
    assert {p.ssrc for p in wire.packets} == {streams[0][1].ssrc, streams[1][1].ssrc}
    assert [(s.width, s.height) for s in camera.senders] == [(320, 180), (640, 360), (0, 0)]
    assert ("camera", False) in owner.changes, "the connection was told that it is another size"
    await end(camera)


async def test_muted_from_the_start_still_shows_a_level(owner: Owner) -> None:
    wire = Wire()
    microphone = AudioPublication(owner, "microphone", SINE, muted=True)
    microphone.start()
    microphone.bind(wire.stream(), wire.pacer)
    assert await settled(lambda: any(isinstance(e, api.LocalLevel) for e in owner.events))
    assert wire.packets == []
    assert microphone.state == "muted"
    await end(microphone)


async def test_pictures_and_keyframes_on_request(owner: Owner) -> None:
    wire = Wire()
    camera = VideoPublication(owner, "camera", PICTURE, muted=False, shape=SHAPE)
    camera.start()
    camera.bind(wire.stream(90_000), wire.pacer)
    assert await settled(lambda: camera.frames > 10)
    keyframes = [p for p in wire.packets if starts_keyframe(p.payload)]
    assert len(keyframes) == 1
    began = time.monotonic()
    for _ in range(50):
        camera.request_keyframe()       # a storm of requests is one keyframe, at most every 300 ms
        await asyncio.sleep(0.01)
    stormed = time.monotonic() - began
    assert await settled(lambda: sum(starts_keyframe(p.payload) for p in wire.packets) > 1)
    assert sum(starts_keyframe(p.payload) for p in wire.packets) - 1 <= stormed / 0.3 + 2
    frames = camera.frames
    camera.want(())
    assert await still(lambda: camera.frames), "nobody watches, nothing is encoded"
    camera.want((0, 1, 2))
    assert await settled(lambda: camera.frames > frames + 5)
    await end(camera)


async def test_a_muted_camera_is_closed_and_opens_again(owner: Owner) -> None:
    wire = Wire()
    camera = VideoPublication(owner, "camera", PICTURE, muted=False, shape=SHAPE)
    camera.start()
    camera.bind(wire.stream(90_000), wire.pacer)
    assert await settled(lambda: camera.frames > 3)
    camera.set_muted(True)
    assert camera._capture is None
    assert await settled(lambda: len(camera.threads()) == 1), "only the encoder's thread is left"
    count = len(wire.packets)
    await asyncio.sleep(0.15)
    assert len(wire.packets) == count
    camera.set_muted(False)
    assert await settled(lambda: len(wire.packets) > count)
    assert starts_keyframe(wire.packets[count].payload)
    assert owner.changes[-2:] == [("camera", True), ("camera", False)]
    await end(camera)


async def test_switching_the_device_keeps_the_track(owner: Owner) -> None:
    wire = Wire()
    camera = VideoPublication(owner, "camera", PICTURE, muted=False, shape=SHAPE)
    camera.start()
    camera.bind(wire.stream(90_000), wire.pacer)
    assert await settled(lambda: camera.frames > 3)
    ssrc = wire.packets[0].ssrc
    camera.switch("lavfi:testsrc=size=120x90:rate=10")
    assert await settled(lambda: (camera.width, camera.height) == (120, 90))
    assert {p.ssrc for p in wire.packets} == {ssrc}
    await end(camera)


async def test_a_device_that_is_not_there(owner: Owner) -> None:
    camera = VideoPublication(owner, "camera", "/dev/no-such-video", muted=False, shape=SHAPE)
    camera.start()
    assert await settled(lambda: camera.error != "")
    assert camera.state == "off"
    assert isinstance(owner.events[-1], api.SourceChanged)
    assert owner.events[-1].error in ("no_device", "not_found")
    camera.switch(PICTURE)
    assert camera.state == "on"
    await end(camera)


def test_a_stamp_is_painted_into_a_copy() -> None:
    frame = av.VideoFrame(320, 180, "yuv420p")
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    began = time.monotonic()
    painted = _stamped(frame, began - 0.1)
    code = stamp.read(painted)
    assert code is not None
    assert 80 < stamp.age_ms(code) < 120 + 1000 * (time.monotonic() - began)
    assert not any(bytes(frame.planes[0])), "the decoder's own picture is untouched"
