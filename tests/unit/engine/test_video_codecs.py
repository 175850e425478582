"""VP8, VP9 and H.264 received: decoded for real, spoilt on the way, and changed in the middle of a track."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import av
import pytest
from unit.engine.media import difference
from unit.engine.test_decoders import until
from unit.engine.test_subscription import Owner, owner, pictures, settled  # noqa: F401 - a fixture
from unit.rtp.streams import encoded, packets
from unit.rtp.test_h264 import frame_of

from vidconf.engine.codecs import CodecError
from vidconf.engine.decoders import DECODERS, DecoderPool
from vidconf.engine.subscription import Subscription
from vidconf.rtp import vp9
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.payload_format import FORMATS
from vidconf.webrtc.description import RemoteTrack

CODECS = sorted(FORMATS)
TYPES = {"vp8": 96, "vp9": 98, "h264": 108}
TRACK = RemoteTrack("1", "video", (1000,), {2000: 1000}, {**{n: c for c, n in TYPES.items()}, 97: "rtx", 99: "rtx", 109: "rtx"}, {97: 96, 99: 98, 109: 108})


def test_there_is_a_decoder_for_each_payload_format() -> None:
    assert set(DECODERS) == set(FORMATS)
    assert all(DECODERS[name].FORMAT is known for name, known in FORMATS.items())


@pytest.mark.parametrize("codec", CODECS)
def test_one_frame_in_one_picture_out_at_once(codec: str) -> None:
    decoder = DECODERS[codec]()
    with av.open("testsrc2=s=320x180:r=30,format=yuv420p", format="lavfi") as source:
        shown = source.decode(video=0)
        for frame in encoded(codec):
            picture = decoder.decode(frame)
            assert picture is not None
            assert (picture.width, picture.height, picture.format.name) == (320, 180, "yuv420p")
            assert difference(picture, next(shown)) < 14, "of the frame that went in last, not of one before it"


@pytest.mark.parametrize("codec", CODECS)
def test_another_size_in_the_middle(codec: str) -> None:
    decoder = DECODERS[codec]()
    for frames, size in ((encoded(codec), (320, 180)), (encoded(codec, 642, 362, 4, 4), (642, 362)), (encoded(codec), (320, 180))):
        for frame in frames[:4]:
            picture = decoder.decode(frame)
            assert picture is not None
            assert (picture.width, picture.height) == size


def vp8_of(width: int, height: int) -> bytes:
    return b"\x10\x02\x00\x9d\x01\x2a" + width.to_bytes(2, "little") + height.to_bytes(2, "little") + bytes(60)


def vp9_of(width: int, height: int) -> bytes:
    bits = f"10000010{0x498342:024b}0010{width - 1:016b}{height - 1:016b}"
    return int(bits.ljust(8 * 80, "0"), 2).to_bytes(80, "big")


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        ("vp8", vp8_of(16383, 16383)), ("vp8", vp8_of(0, 0)), ("vp8", vp8_of(4096, 4096)), ("vp9", vp9_of(65536, 65536)), ("vp9", vp9_of(4097, 2)),
        ("vp9", vp9.join([(0, False, True, vp9_of(320, 180)), (0, True, True, vp9_of(16384, 16384))])),
    ],
)  # fmt: skip
def test_what_is_too_large_never_reaches_the_decoder(codec: str, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = DECODERS[codec]()
    decoder._context = None     # type: ignore[assignment]
    with pytest.raises(CodecError):
        decoder.decode(frame)


@pytest.mark.parametrize(("width", "height"), [(4112, 16), (4096, 2400)])
def test_a_parameter_set_that_is_too_large_is_refused(width: int, height: int) -> None:
    with pytest.raises(CodecError):
        DECODERS["h264"]().decode(frame_of(width, height))


@pytest.mark.parametrize(
    ("codec", "frame"),
    [
        ("h264", b"\0\0\1\x06\x80" * 80 + frame_of(4096, 2400)),
        ("vp9", vp9_of(16384, 8192)), ("vp8", vp8_of(16383, 16383)),
    ],
    ids=["h264", "vp9", "vp8"],
)  # fmt: skip
def test_ffmpeg_holds_what_our_reading_missed(codec: str, frame: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = DECODERS[codec]()
    monkeypatch.setattr(decoder, "FORMAT", FORMATS["h264"], raising=False) if codec != "h264" else None
    with pytest.raises(CodecError):
        decoder.decode(frame)


def test_pictures_of_another_kind_are_refused() -> None:
    with pytest.raises(CodecError):
        DECODERS["h264"]().decode(frame_of(320, 180, profile="high444"))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("seed", range(4))
def test_spoilt_frames_raise_codec_error_or_show_something(codec: str, seed: int) -> None:
    chance, refused = random.Random(seed), 0
    decoder = DECODERS[codec]()
    for turn in range(120):
        frame = bytearray(encoded(codec)[turn % 40])
        for _ in range(chance.choice((0, 1, 8, 200))):
            frame[chance.randrange(len(frame))] = chance.randrange(256)
        cut = chance.choice((len(frame), len(frame), chance.randrange(1, len(frame))))
        try:
            decoder.decode(bytes(frame[:cut]))
        except CodecError:
            refused += 1
            decoder = DECODERS[codec]()
    assert refused > 0
    assert decoder.decode(encoded(codec)[0]) is not None or DECODERS[codec]().decode(encoded(codec)[0]) is not None


def test_half_an_h264_picture_is_not_shown() -> None:
    decoder = DECODERS["h264"]()
    frames = encoded("h264", 640, 360, 8, 4)
    assert decoder.decode(frames[0]) is not None
    with pytest.raises(CodecError):
        decoder.decode(frames[1][: len(frames[1]) // 2])


def test_an_h264_picture_whose_reference_never_came_is_not_shown() -> None:
    decoder = DECODERS["h264"]()
    frames = encoded("h264", 640, 360, 8, 4)
    with pytest.raises(CodecError):
        decoder.decode(frames[1])


def rtp(codec: str, frames: tuple[bytes, ...], first: int = 0, at_frame: int = 0) -> list[RtpPacket]:
    """`first`: number of the first packet; `at_frame`: of the first frame."""
    return [
        RtpPacket(TYPES[codec], p.sequence, p.timestamp + 3000 * at_frame, 1000, p.marker, p.payload)
        for p in packets(codec, frames, 300, first_sequence=first)
    ]


async def test_the_codec_may_change_in_the_middle_of_a_track(owner: Owner) -> None:  # noqa: F811
    subscription = Subscription(owner, "TR_1", "video", decode_unwatched=True)
    subscription.bind(TRACK, owner.send)
    receiver, sequence, number = pictures(subscription), 100, 0
    for turn, codec in enumerate(("vp8", "h264", "vp9", "vp8", "vp9", "h264")):
        size = ((320, 180), (642, 362))[turn % 2]
        frames, before = encoded(codec, *size, 8, 8), receiver.timing.frames
        for k, frame in enumerate(frames):
            stream = rtp(codec, (frame,), sequence, number)
            for packet in stream:
                subscription.on_rtp(packet, time.monotonic())
            sequence, number = sequence + len(stream), number + 1
            # the last but one is still waiting for its moment when the next codec begins
            await asyncio.sleep(1 / 30 if k < len(frames) - 1 else 0)
        assert await settled(lambda b=before: receiver.timing.frames >= b + 4), codec
        report = subscription.report(time.monotonic())
        assert (report["codec"], report["width"], report["height"]) == (codec.upper(), *size)
    assert receiver._stream is not None
    assert receiver._assembler is not None
    assert (receiver._stream.errors, receiver._assembler.malformed, subscription.plis) == (0, 0, 0)
    subscription.close()


async def test_a_late_packet_of_the_codec_before_changes_nothing(owner: Owner) -> None:  # noqa: F811
    subscription = Subscription(owner, "TR_1", "video", decode_unwatched=True)
    subscription.bind(TRACK, owner.send)
    receiver = pictures(subscription)
    before = rtp("vp8", encoded("vp8")[:2], 100)
    late, after = before.pop(), encoded("vp9")[:8]
    stream = rtp("vp9", after, late.sequence + 1, 2)
    for packet in before:
        subscription.on_rtp(packet, time.monotonic())
    for k, packet in enumerate(stream):
        subscription.on_rtp(packet, time.monotonic())
        if k == 1:
            subscription.on_rtp(late, time.monotonic())
        await asyncio.sleep(0.005)
    assert receiver._codec == "vp9"
    assert await settled(lambda: receiver.width == 320 and receiver.timing.frames + receiver.undrawn >= 8)
    assert subscription.plis == 0
    subscription.close()


async def test_a_repair_is_of_the_codec_it_repairs(owner: Owner) -> None:  # noqa: F811
    for codec, rtx in (("vp9", 99), ("h264", 109), ("vp8", 97)):
        subscription = Subscription(owner, f"TR_{codec}", "video", decode_unwatched=True)
        subscription.bind(TRACK, owner.send)
        receiver, stream = pictures(subscription), rtp(codec, encoded(codec)[:2])
        lost = stream.pop(len(stream) // 2)
        for packet in stream:
            subscription.on_rtp(packet, time.monotonic())
        await asyncio.sleep(0.05)
        assert receiver.timing.frames <= 1
        repair = RtpPacket(rtx, 1, lost.timestamp, 2000, lost.marker, lost.sequence.to_bytes(2, "big") + lost.payload)
        subscription.on_repair(repair, time.monotonic())
        assert await settled(lambda r=receiver: r.timing.frames + r.undrawn == 2), codec
        assert receiver.timing.frames
        assert subscription.unknown_payloads == 0
        subscription.close()


async def test_rubbish_in_one_stream_does_not_touch_another(owner: Owner) -> None:  # noqa: F811
    """One worker for both: spoilt keyframes as fast as they can be pushed in one, and every picture of the other."""
    bad = Subscription(owner, "TR_bad", "video", decode_unwatched=True)
    good = Subscription(owner, "TR_good", "video", decode_unwatched=True)
    for subscription in (bad, good):
        subscription.bind(TRACK, owner.send)
    chance, at, sequence = random.Random(1), 100, 0
    for turn in range(40):
        codec = chance.choice(CODECS)
        for frame in encoded(codec)[:2] * 3:
            spoilt = bytearray(frame)
            for _ in range(30):
                spoilt[chance.randrange(12 if codec != "h264" else 40, len(spoilt))] = chance.randrange(256)
            stream = rtp(codec, (bytes(spoilt),), sequence, turn)
            sequence += len(stream)
            for packet in stream:
                bad.on_rtp(packet, time.monotonic())
        stream = rtp("vp8", (encoded("vp8")[turn],), at, turn)
        at += len(stream)
        for packet in stream:
            good.on_rtp(packet, time.monotonic())
        bad.tick(time.monotonic(), 0.02)
        good.tick(time.monotonic(), 0.02)
        await asyncio.sleep(1 / 30)
    receiver = pictures(good)
    assert await settled(lambda: receiver.timing.frames + receiver.undrawn == 40)
    assert receiver.timing.frames >= 20, "shown, not only decoded"
    assert receiver._stream is not None
    assert (receiver._stream.errors, receiver._stream.dropped, good.plis) == (0, 0, 0)
    bad.close()
    good.close()


def test_a_stream_that_floods_gets_its_turn_and_no_more() -> None:
    pool, ended = DecoderPool(1), threading.Event()
    order: list[str] = []

    def shows(name: str) -> Callable[[Any, int], None]:
        return lambda frame, at: (order.append(name), time.sleep(0.002))[0]

    flood, calm = pool.open(shows("flood"), lambda: None), pool.open(shows("calm"), lambda: None)
    frame = encoded("vp8")[0]

    def push() -> None:
        while not ended.is_set():
            flood.push(frame, 0, True, "vp8")
            time.sleep(0.0001)

    thread = threading.Thread(target=push)
    thread.start()
    try:
        assert until(lambda: order.count("flood") > 5)
        for turn in range(20):
            before = len(order)
            calm.push(frame, turn, True, "vp8")
            assert until(lambda n=turn: order.count("calm") == n + 1, 3), "starved"
            assert order.index("calm", before) - before <= 4, "no more than a turn or two of the other's in between"
        assert pool._workers[0]._ready.qsize() <= 4
    finally:
        ended.set()
        thread.join()
        pool.close()
