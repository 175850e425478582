"""What is read off an Opus packet, held against libopus and PyAV's encoder."""

from __future__ import annotations

import ctypes

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine.codecs.opus import _library
from vidconf.rtp import opus


@given(st.binary(max_size=60))
def test_any_bytes_last_something_or_nothing(data: bytes) -> None:
    assert 0 <= opus.duration(data) <= opus.MAX_SAMPLES
    assert opus.has_repair(data) in (True, False)


@given(st.binary(min_size=1, max_size=60))
def test_lengths_are_libopus_own(data: bytes) -> None:
    library = _library()
    assert library is not None
    library.opus_packet_get_nb_samples.argtypes = [ctypes.c_char_p, ctypes.c_int32, ctypes.c_int32]
    told = library.opus_packet_get_nb_samples(data, len(data), 48_000)
    assert opus.duration(data) == max(0, told)


@pytest.mark.parametrize("milliseconds", ["2.5", "5", "10", "20", "40", "60"])
def test_lengths_of_real_packets(milliseconds: str) -> None:
    context = av.AudioCodecContext.create("libopus", "w")
    context.sample_rate, context.layout, context.format = 48_000, "mono", "s16"
    context.options = {"frame_duration": milliseconds, "application": "lowdelay" if float(milliseconds) < 10 else "voip"}
    context.open()
    samples = int(48 * float(milliseconds))
    frame = av.AudioFrame(format="s16", layout="mono", samples=samples)
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    frame.sample_rate = 48_000
    (packet,) = context.encode(frame)
    assert opus.duration(bytes(packet)) == samples


def test_no_packets() -> None:
    for data in (b"", b"\x03", b"\x03\x00", b"\xff\x3f"):
        assert opus.duration(data) == 0


def test_silence_is_small() -> None:
    assert opus.is_silence(b"\x78")
    assert opus.is_silence(b"\x78\x00")
    assert not opus.is_silence(b"\xf8\xff\xfe")
