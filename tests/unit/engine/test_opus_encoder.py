"""The encoder as it is steered while it runs: FEC for the loss of now, DTX, and what it costs."""

from __future__ import annotations

import time

import av
import pytest
from unit.engine.media import steepest, tone

from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.codecs import CodecError, opus
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES, OpusDecoder, OpusEncoder
from vidconf.engine.sound import level
from vidconf.resources import resource
from vidconf.rtp.opus import duration, has_repair, is_silence


def speech() -> list[bytes]:
    resampler = av.AudioResampler("s16", "mono", 48_000)
    with av.open(str(resource("speech", "hue.flac"))) as container:
        pcm = b"".join(bytes(m.planes[0])[: 2 * m.samples] for f in container.decode(audio=0) for m in resampler.resample(f))
    return [pcm[at : at + BLOCK_BYTES] for at in range(0, len(pcm) - BLOCK_BYTES, BLOCK_BYTES)][:300]


def test_fec_follows_the_loss_that_is_expected() -> None:
    encoder, blocks = OpusEncoder(expected_loss=0), speech()[:200]
    assert encoder.can_change
    without = [encoder.encode(block) for block in blocks]
    encoder.expect_loss(20)
    with_it = [encoder.encode(block) for block in blocks]
    encoder.expect_loss(0)
    again = [encoder.encode(block) for block in blocks][2:]
    assert not any(map(has_repair, (*without, *again)))
    assert sum(map(has_repair, with_it)) > 50
    assert {duration(p) for p in (*without, *with_it, *again)} == {BLOCK}
    bits = [sum(map(len, packets)) * 8 / (len(packets) * 0.02) for packets in (without, with_it)]
    assert all(22_000 < b < 42_000 for b in bits), bits


def test_dtx_sends_next_to_nothing_in_silence_and_comes_back_whole() -> None:
    encoder = OpusEncoder(dtx=True)
    spoken, silence = tone(0.6), bytes(BLOCK_BYTES)
    first = [encoder.encode(spoken[at : at + BLOCK_BYTES]) for at in range(0, len(spoken), BLOCK_BYTES)]
    quiet = [encoder.encode(silence) for _ in range(100)]
    assert not any(map(is_silence, first))
    assert sum(map(is_silence, quiet)) > 70
    assert not is_silence(encoder.encode(spoken[:BLOCK_BYTES]))
    encoder.set_dtx(False)
    assert not any(is_silence(encoder.encode(silence)) for _ in range(50))


def test_a_pause_of_dtx_is_heard_without_a_click() -> None:
    """What the silent packets leave out (all but the first of each pause) is comfort noise at the far end, and no click."""
    encoder, stream = OpusEncoder(dtx=True), AudioStream("far", lambda: None)
    spoken = tone(0.6, amplitude=0.2)
    fade = [spoken[at : at + BLOCK_BYTES] for at in range(0, len(spoken), BLOCK_BYTES)]
    blocks = [*fade, *[bytes(BLOCK_BYTES)] * 100, *fade]
    heard, sequence, quiet, now = b"", 1, False, 1000.0
    for k, block in enumerate(blocks):
        payload = encoder.encode(block)
        if not (is_silence(payload) and quiet):
            stream.push(sequence, k * BLOCK, payload, now)
            sequence += 1
        quiet = is_silence(payload)
        heard += stream.block(now, 0.06) or bytes(BLOCK_BYTES)
        now += 0.02
    assert sequence < 130, "of 160 packets a pause of two seconds left out most"
    assert steepest(heard) < 2500, "440 Hz at 0.2 has steps of 378, and begins out of nothing"
    assert level(heard[-4 * BLOCK_BYTES : -3 * BLOCK_BYTES]) > 0.08


def test_what_is_no_block_is_refused() -> None:
    with pytest.raises(CodecError):
        OpusEncoder().encode(bytes(100))


def test_without_the_library_pyav_encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = OpusDecoder()
    monkeypatch.setattr(opus, "_library", lambda: None)
    encoder = OpusEncoder(dtx=True)
    assert not encoder.can_change
    encoder.expect_loss(20)
    encoder.set_dtx(False)
    pcm = tone(0.4)
    blocks = [decoder.decode(encoder.encode(pcm[at : at + BLOCK_BYTES])) for at in range(0, len(pcm), BLOCK_BYTES)]
    assert 0.18 < level(blocks[-1]) < 0.24


def test_it_costs_little() -> None:
    encoder, blocks = OpusEncoder(), speech()[:100]
    start = time.process_time()
    for block in blocks * 3:
        encoder.encode(block)
    assert (time.process_time() - start) / 300 < 0.003
