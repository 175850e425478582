"""VP8 and Opus, encoded and decoded for real, and fed with rubbish."""

from __future__ import annotations

import itertools
import random
import time

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.engine.media import difference, picture, steepest, tone

from vidconf.engine.codecs import CodecError, opus
from vidconf.engine.codecs.opus import BLOCK_BYTES, OpusDecoder, OpusEncoder
from vidconf.engine.codecs.vp8 import PyAvVp8Encoder, Vp8Decoder, Vp8Encoder
from vidconf.engine.sound import level
from vidconf.rtp.vp8 import is_keyframe


def test_vp8_one_frame_in_one_frame_out() -> None:
    encoder, decoder = Vp8Encoder(320, 180, 30, 500_000), Vp8Decoder()
    for k in range(20):
        shown = picture(shift=k)
        data = encoder.encode(shown, keyframe=k == 12)
        assert data
        assert is_keyframe(data) == (k in (0, 12))
        decoded = decoder.decode(data)
        assert decoded is not None
        assert (decoded.width, decoded.height, decoded.format.name) == (320, 180, "yuv420p")
        assert difference(decoded, shown) < 8


@pytest.mark.parametrize("rate", [150_000, 300_000, 600_000])
@pytest.mark.parametrize("kind", [Vp8Encoder, PyAvVp8Encoder])
def test_vp8_keeps_near_its_rate(monkeypatch: pytest.MonkeyPatch, kind: type[Vp8Encoder | PyAvVp8Encoder], rate: int) -> None:
    clock = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    encoder, sizes = kind(320, 180, 30, rate), []
    with av.open("testsrc2=s=320x180:r=15", format="lavfi") as source:     # half as fast as was said
        for frame in itertools.islice(source.decode(video=0), 90):
            sizes.append(len(encoder.encode(frame) or b""))
            clock += 1 / 15
    assert 0.6 * rate < 8 * sum(sizes[15:]) / 5 < 1.25 * rate


def test_ffmpegs_vp8_follows_a_changed_rate_with_a_keyframe_and_not_often(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = PyAvVp8Encoder(320, 180, 30, 500_000)
    assert encoder.encode(picture())
    encoder.set_bitrate(1_000_000)
    assert encoder.bitrate_bps == 500_000, "too soon"
    later = time.monotonic() + 5
    monkeypatch.setattr(time, "monotonic", lambda: later)
    encoder.set_bitrate(550_000)
    assert encoder.bitrate_bps == 500_000, "not worth a keyframe"
    encoder.set_bitrate(200_000)
    assert encoder.bitrate_bps == 200_000
    data = encoder.encode(picture())
    assert data is not None
    assert is_keyframe(data)


def test_ffmpegs_vp8_encoder_refuses_what_it_cannot_do() -> None:
    with pytest.raises(CodecError):
        PyAvVp8Encoder(0, 0, 30, 500_000)
    encoder = PyAvVp8Encoder(320, 180, 30, 500_000)
    with pytest.raises(CodecError):
        encoder.encode(picture(640, 360))
    assert encoder.encode(picture())


@given(st.binary(max_size=400))
def test_vp8_rubbish_raises_only_codec_error(data: bytes) -> None:
    decoder = Vp8Decoder()
    try:
        decoder.decode(data)
        decoder.decode(b"\x10\x02\x00\x9d\x01\x2a\x40\x01\xb4\x00" + data)
    except CodecError:
        return


def test_vp8_a_giant_is_refused_before_room_is_made() -> None:
    with pytest.raises(CodecError):
        Vp8Decoder().decode(b"\x10\x02\x00\x9d\x01\x2a\xff\x3f\xff\x3f" + bytes(100))


def test_vp8_damaged_frames_do_not_break_the_decoder_for_good() -> None:
    encoder, rnd = Vp8Encoder(320, 180, 30, 500_000), random.Random(3)
    decoder = Vp8Decoder()
    for k in range(40):
        data = bytearray(encoder.encode(picture(shift=k), keyframe=k == 30) or b"")
        if k < 30:
            for _ in range(20):
                data[rnd.randrange(len(data))] = rnd.randrange(256)
        try:
            shown = decoder.decode(bytes(data))
        except CodecError:
            assert k < 30
            decoder = Vp8Decoder()
            continue
        if k >= 30:
            assert shown is not None
            assert difference(shown, picture(shift=k)) < 8


@pytest.fixture(params=["libopus", "pyav"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OpusDecoder:
    if request.param == "pyav":
        monkeypatch.setattr(opus, "_library", lambda: None)
    else:
        assert opus._library() is not None, "the wheel's libopus is found"
    return OpusDecoder()


def packets(seconds: float, **kwargs: int) -> list[bytes]:
    encoder, pcm = OpusEncoder(**kwargs), tone(seconds)
    return [encoder.encode(pcm[at : at + BLOCK_BYTES]) for at in range(0, len(pcm), BLOCK_BYTES)]


def test_opus_one_block_in_one_packet_out(decoder: OpusDecoder) -> None:
    sent = packets(0.5)
    assert all(20 < len(p) < 400 for p in sent)
    blocks = [decoder.decode(p) for p in sent]
    assert {len(b) for b in blocks} == {BLOCK_BYTES}
    assert 0.18 < level(blocks[-1]) < 0.24


def test_opus_conceals_without_a_click(decoder: OpusDecoder) -> None:
    sent = packets(1.0)
    heard = b""
    for k, packet in enumerate(sent):
        heard += decoder.conceal() if k % 9 == 8 else decoder.decode(packet)
    assert len(heard) == len(sent) * BLOCK_BYTES
    if opus._library() is not None:
        assert steepest(heard[BLOCK_BYTES * 3 :]) < 2200, "440 Hz at 0.3 has steps of 566"
    silence = [decoder.conceal() for _ in range(30)]
    assert level(silence[-1]) < 0.15 * level(silence[0]), "it fades of itself; what goes on longer the buffer ends"


def test_opus_uses_the_repair_in_the_packet_after_a_loss() -> None:
    sent = packets(0.6, expected_loss=20)
    decoder, plain = OpusDecoder(), OpusDecoder()
    for packet in sent[:20]:
        decoder.decode(packet)
        plain.decode(packet)
    assert len(decoder.recover(sent[21])) == BLOCK_BYTES
    assert len(decoder.recover(b"\xff\xff\xff")) == BLOCK_BYTES, "no repair in rubbish: concealed"
    assert len(decoder.recover(bytes(2000), 480)) == len(decoder.conceal(480)) == 960


@given(st.binary(min_size=1, max_size=2000))
@settings(max_examples=60)
def test_opus_rubbish_raises_only_codec_error(data: bytes) -> None:
    decoder = OpusDecoder()
    for payload in (data, data[:5]):
        try:
            pcm = decoder.decode(payload)
        except CodecError:
            continue
        assert len(pcm) <= 2 * opus.MAX_SAMPLES
    assert len(decoder.conceal()) == BLOCK_BYTES


def test_opus_costs_little() -> None:
    sent, decoder = packets(1.0), OpusDecoder()
    start = time.process_time()
    for packet in itertools.islice(itertools.cycle(sent), 500):
        decoder.decode(packet)
    assert (time.process_time() - start) / 500 < 0.002
