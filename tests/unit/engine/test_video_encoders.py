"""What our own encoders make, as it travels: cut into payloads, put together again by the receiving side, decoded."""

from __future__ import annotations

import itertools
import time

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.engine.media import difference, picture
from unit.rtp.streams import encoded, nal_units

from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.encoders import encoder_for
from vidconf.engine.codecs.h264 import CEILING_BPS, H264Encoder
from vidconf.engine.decoders import DECODERS
from vidconf.rtp import h264, vp9
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import PacketError
from vidconf.rtp.payload_format import FORMATS

CODECS = sorted(FORMATS)
every_codec = pytest.mark.parametrize("codec", CODECS)


@every_codec
@pytest.mark.parametrize(("width", "height"), [(320, 180), (1280, 720), (642, 362)])
def test_pictures_travel_and_come_back(codec: str, width: int, height: int) -> None:
    encoder, decoder = encoder_for(codec, width, height, 30, 1_500_000, screen=True), DECODERS[codec]()
    assembler, number = FrameAssembler(FORMATS[codec]), itertools.count(65_530)
    for k in range(12):
        shown = picture(width, height, shift=k)
        data = encoder.encode(shown, keyframe=k == 7)
        assert data
        payloads = FORMATS[codec].packetize(data, k)
        assert all(0 < len(p) <= 1150 + 12 for p in payloads)
        assert FORMATS[codec].starts_keyframe(payloads[0]) == (k in (0, 7))
        assert not any(FORMATS[codec].starts_keyframe(p) for p in payloads[1:])
        found = [
            frame for n, p in enumerate(payloads)
            for frame in assembler.push(next(number) & 0xFFFF, 3000 * k, n == len(payloads) - 1, p, k / 30)
        ]  # fmt: skip
        assert len(found) == 1
        back = decoder.decode(found[0].data)
        assert back is not None
        assert (back.width, back.height, back.format.name) == (width, height, "yuv420p")
        assert difference(back, shown) < 8
        assert encoder.last_quantizer is not None
    assert assembler.malformed == 0


@every_codec
@given(number=st.integers(0, 39), limit=st.integers(40, 2000), picture_id=st.integers(0, 0x7FFF))
@settings(max_examples=60)
def test_any_limit_is_kept_and_nothing_is_lost(codec: str, number: int, limit: int, picture_id: int) -> None:
    frame = encoded(codec)[number]
    payloads = FORMATS[codec].packetize(frame, picture_id, limit)
    head = {"vp8": 4, "vp9": 3, "h264": 0}[codec]
    assert all(0 < len(p) <= limit + head for p in payloads)
    opened = [FORMATS[codec].unpack(p) for p in payloads]
    whole = FORMATS[codec].join([(0, 0, begins, data) for data, begins, _ in opened])
    assert nal_units(whole) == nal_units(frame) if codec == "h264" else whole == frame
    assert [key for _, _, key in opened] == [number in (0, 20), *[False] * (len(payloads) - 1)]


def test_vp9_says_what_each_picture_needs_and_how_large_it_is() -> None:
    key, later = encoded("vp9")[:2]
    for frame, number in ((key, 0x1234), (later, 0x1235)):
        payloads = vp9.packetize(frame, number, 400)
        described = [vp9.parse_descriptor(p)[0] for p in payloads]
        assert all(d.picture_id is not None for d in described)
        assert [d.begins for d in described] == [True, *[False] * (len(payloads) - 1)]
        assert [d.ends for d in described] == [*[False] * (len(payloads) - 1), True]
        assert all(d.inter_picture == (frame is later) and not d.flexible and d.spatial is None for d in described)
        assert described[0].sizes == (((320, 180),) if frame is key else ())
        assert all(payload[1:3] == (0x8000 | number).to_bytes(2, "big") for payload in payloads)
    with pytest.raises(PacketError):
        vp9.packetize(b"", 1)


def test_h264_aggregates_parameter_sets_and_cuts_slices() -> None:
    data = H264Encoder(640, 360, 30, 800_000).encode(picture(640, 360), keyframe=True)
    assert data
    units = nal_units(data)
    payloads = h264.packetize(data, 0, 400)
    assert payloads[0][0] & 31 == h264.STAP_A
    assert payloads[-1][0] & 31 == h264.FU_A
    assert [unit[0] & 31 for unit in units][:2] == [h264.SPS, h264.PPS]
    assert [unit[0] & 31 for unit in units].count(h264.IDR) == 1, "one slice"
    sps = h264.parse_sps(units[0])
    assert (sps.profile, units[0][2] & 0xC0) == (66, 0xC0), "constrained baseline"
    assert h264.packetize(b"") == []


@pytest.mark.parametrize("rate", [300_000, 1_500_000])
def test_h264_follows_its_rate_without_a_keyframe(monkeypatch: pytest.MonkeyPatch, rate: int) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    encoder, sizes = H264Encoder(640, 360, 30, 800_000), []
    with av.open("testsrc2=s=640x360:r=30,noise=alls=12:allf=t,format=yuv420p", format="lavfi") as source:
        for k, frame in enumerate(itertools.islice(source.decode(video=0), 120)):
            if k == 45:
                encoder.set_bitrate(rate)
            data = encoder.encode(frame) or b""
            now += 1 / 30
            assert h264.is_keyframe(data) == (k == 0)
            sizes.append(len(data))
    assert 0.8 * rate < 8 * sum(sizes[75:]) / 1.5 < 1.2 * rate
    encoder.set_bitrate(50_000_000)
    assert encoder.bitrate_bps == CEILING_BPS


def test_h264_refuses_what_it_cannot_encode() -> None:
    with pytest.raises(CodecError):
        H264Encoder(0, 0, 30, 500_000)
    encoder = H264Encoder(320, 180, 30, 500_000)
    for other in (picture(640, 360), av.VideoFrame(320, 180, "rgb24")):
        with pytest.raises(CodecError):
            encoder.encode(other)
    assert encoder.encode(picture())


def test_there_is_an_encoder_for_each_payload_format_and_for_no_other() -> None:
    for codec in CODECS:
        encoder_for(codec, 320, 180, 30, 500_000).close()
    with pytest.raises(CodecError):
        encoder_for("av1", 320, 180, 30, 500_000)
