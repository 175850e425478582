"""One remote sound on a clock of its own: mutes, pauses, repairs and stretching are not heard as clicks, and rubbish not at all."""

from __future__ import annotations

import ctypes
import math
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.engine.hearing import encoded
from unit.engine.media import steepest, tone
from unit.engine.test_playout import opinion, speech

from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.codecs import opus
from vidconf.engine.codecs.opus import BLOCK, BLOCK_BYTES, OpusEncoder
from vidconf.engine.loudspeaker import BLOCK as MIXED
from vidconf.engine.sound import level

Sent = tuple[float, int, int, bytes]
"""Arrival, number, timestamp, payload."""


def hear(packets: list[Sent], seconds: float, stream: AudioStream | None = None) -> tuple[bytes, AudioStream]:
    """As the playout asks, in blocks of 10 ms."""
    stream, heard, at = stream or AudioStream("a", lambda: None, MIXED), [], 0
    packets = sorted(packets)
    for tick in range(int(seconds * 100)):
        now = 100.007 + tick * 0.01
        while at < len(packets) and 100 + packets[at][0] <= now:
            arrived, number, stamp, payload = packets[at]
            stream.push(number & 0xFFFF, stamp & 0xFFFFFFFF, payload, 100 + arrived)
            at += 1
        heard.append(stream.block(now) or bytes(2 * MIXED))
    return b"".join(heard), stream


def sent(payloads: list[bytes], late: Callable[[int], float | None] = lambda k: 0.0) -> list[Sent]:
    return [(k * 0.02 + d, k, k * BLOCK, payload) for k, payload in enumerate(payloads) if (d := late(k)) is not None]


def splash_db(pcm: bytes) -> float:
    """The loudest 10 ms above 4 kHz, against a tone at 0.3: what a click of a low tone would be heard by."""
    np = pytest.importorskip("numpy")
    samples, window = np.frombuffer(pcm, np.int16).astype(float), np.hanning(480)
    frames = np.lib.stride_tricks.sliding_window_view(samples, 480)[::240]
    power = (np.abs(np.fft.rfft(frames * window)) ** 2)[:, 40:].sum(1)
    tone_power = (np.abs(np.fft.rfft(np.frombuffer(tone(0.01), np.int16) * window)) ** 2).sum()
    return float(10 * np.log10(power.max() / tone_power + 1e-12))


class DtxEncoder:
    """libopus as a browser's microphone uses it when nobody speaks: packets of a byte or two, which are not sent but every 400 ms."""

    def __init__(self) -> None:
        library = opus._library()
        assert library is not None
        self._library, error = library, ctypes.c_int()
        library.opus_encoder_create.restype = ctypes.c_void_p
        self._encoder = ctypes.c_void_p(library.opus_encoder_create(48_000, 1, 2048, ctypes.byref(error)))
        assert error.value == 0
        for request, value in ((4002, 32_000), (4016, 1)):      # OPUS_SET_BITRATE, OPUS_SET_DTX
            assert library.opus_encoder_ctl(self._encoder, request, ctypes.c_int(value)) == 0
        self._out = ctypes.create_string_buffer(1500)

    def encode(self, pcm: bytes) -> bytes:
        count = self._library.opus_encode(self._encoder, pcm, BLOCK, self._out, 1500)
        assert count > 0
        return self._out.raw[:count]


def with_pauses(spoken: bytes, pause_s: float, times: int) -> list[Sent]:
    """Speech in a room that hums softly, DTX on: in the pauses hardly a packet."""
    rnd, encoder, packets, number = random.Random(2), DtxEncoder(), [], 0
    room = b"".join(rnd.randint(-12, 12).to_bytes(2, "little", signed=True) for _ in range(BLOCK))
    quiet, skipped = [room] * int(pause_s * 50), 0
    blocks = ([spoken[at : at + BLOCK_BYTES] for at in range(0, len(spoken), BLOCK_BYTES)] + quiet) * times
    for k, pcm in enumerate(blocks):
        payload = encoder.encode(pcm)
        skipped = skipped + 1 if len(payload) <= 2 else 0
        if skipped % 20 in (0, 1):
            packets.append((k * 0.02, number, k * BLOCK, payload))
            number += 1
    assert len(packets) < 0.8 * len(blocks)
    return packets


def test_a_voice_that_is_muted_ends_and_begins_without_a_click() -> None:
    heard, _ = hear(sent(encoded(tone(4.0)), lambda k: None if 50 <= k < 100 or 140 <= k < 144 or k == 170 else 0.0), 4.2)
    assert steepest(heard) < 1000, "440 Hz at 0.3 has steps of 566"
    assert splash_db(heard) < -40
    assert level(heard[75 * BLOCK_BYTES : 95 * BLOCK_BYTES]) == 0.0
    assert level(heard[130 * BLOCK_BYTES : 135 * BLOCK_BYTES]) > 0.15


def test_a_stall_is_squeezed_out_without_a_click() -> None:
    heard, stream = hear(sent(encoded(tone(8.0)), lambda k: max(0.0, 0.5 - 0.02 * (k - 100)) if 100 <= k < 125 else 0.0), 8.0)
    told = stream.statistics()
    assert told["jitter_buffer_ms"] <= 60
    assert told["accelerated"] > 300
    assert steepest(heard) < 1000
    assert splash_db(heard) < -40


def test_late_packets_are_joined_to_what_was_made_up_for_them() -> None:
    """Every second one comes a little too late, each time more: the delay grows by what was concealed."""
    heard, stream = hear(sent(encoded(tone(6.0)), lambda k: 0.05 * (k // 50) if k % 50 == 25 else 0.05 * (k // 50) * (k % 50 > 25)), 6.2)
    assert stream.statistics()["concealed_percent"] > 0
    assert steepest(heard) < 1000
    assert splash_db(heard) < -40


def test_the_quiet_between_words_has_no_hole_no_buzz_and_no_click() -> None:
    voice = speech()[: 50 * BLOCK_BYTES]
    packets = with_pauses(voice, 2.0, 3)
    heard, stream = hear(packets, 9.0)
    told = stream.statistics()
    assert told["concealed_percent"] == 0, "nothing was lost: nobody spoke"
    assert steepest(heard) <= 1.2 * steepest(voice)
    for k in range(3):
        pause = heard[(k * 150 + 75) * BLOCK_BYTES : (k * 150 + 145) * BLOCK_BYTES]
        assert level(pause) < 0.003
        assert steepest(pause) < 300
        blocks = [level(pause[at : at + BLOCK_BYTES]) for at in range(0, len(pause), BLOCK_BYTES)]
        assert 0.00003 < min(blocks) <= max(blocks) < 0.003, "the room is still there"


def test_the_loudest_of_voices_fades_away_when_its_network_is_gone() -> None:
    heard, stream = hear(sent(encoded(tone(1.0, amplitude=0.9))), 4.0)
    levels = [level(heard[at : at + BLOCK_BYTES]) for at in range(0, len(heard), BLOCK_BYTES)]
    assert max(levels[62:]) < 0.02, "no loop goes on"
    assert stream.block(105.0) is None
    assert splash_db(heard) < -25


@pytest.mark.parametrize("library", ["libopus", "pyav"])
def test_loss_is_borne_with_and_without_the_library(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if library == "pyav":
        monkeypatch.setattr(opus, "_library", lambda: None)
    rnd, original = random.Random(5), speech()
    lost = {k for k in range(10, 1000) if rnd.random() < 0.05}
    heard, stream = hear(sent(encoded(original), lambda k: None if k in lost else 0.0), len(original) / 96_000 + 1)
    assert opinion(original, heard) >= (2.2 if library == "libopus" else 1.5)
    assert stream.errors == 0


def test_a_pause_of_the_network_costs_no_speech() -> None:
    """What a stall held back is played, faster, not left out."""
    original = speech()
    heard, stream = hear(sent(encoded(original), lambda k: max(0.0, 0.3 - 0.02 * (k - 60)) if 60 <= k < 75 else 0.0), len(original) / 96_000 + 2)
    told = stream.statistics()
    assert told["concealed_percent"] > 0
    played = sum(level(heard[at : at + BLOCK_BYTES]) > 0.01 for at in range(0, len(heard), BLOCK_BYTES))
    spoken = sum(level(original[at : at + BLOCK_BYTES]) > 0.01 for at in range(0, len(original), BLOCK_BYTES))
    assert played == pytest.approx(spoken, abs=0.12 * spoken)
    assert told["accelerated"] >= 200


@given(st.lists(st.tuples(st.integers(-3, 40), st.integers(-3000, 6000), st.binary(max_size=80), st.floats(0, 0.1), st.booleans()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_rubbish_is_never_raised_and_always_a_block(packets: list[tuple[int, int, bytes, float, bool]]) -> None:
    stream, now, number, stamp = AudioStream("a", lambda: None), 100.0, 0, 0
    good = OpusEncoder().encode(tone(0.02))
    for step, units, payload, wait_s, copy in packets:
        now, number, stamp = now + wait_s, number + step, stamp + units
        stream.push(number & 0xFFFF, stamp & 0xFFFFFFFF, payload or good, now, copy)
        stream.worth_asking(number & 0xFFFF, 0.05, now)
        pcm = stream.block(now)
        assert pcm is None or len(pcm) == BLOCK_BYTES
        assert all(math.isfinite(v) for v in stream.statistics().values())
    assert len(stream._rest) <= 2 * (5760 + BLOCK)
