"""Opus by libopus: 20 ms blocks of 48 kHz mono, 16 bit, in and out (RFC 6716, RFC 7587).

One thread an object. Both are libopus itself, of PyAV's wheel, through ctypes: concealment and in-band FEC cannot be reached
through PyAV, nor can its encoder be told of a loss that changes, or of DTX. Where the library is not found PyAV's encoder and
decoder take over; concealment is a fading repetition then.
"""

from __future__ import annotations

import array
import ctypes
import functools
import logging
import sys
from typing import Any

import av
import av.audio

from vidconf.engine import time_stretch, wheel
from vidconf.engine.codecs import CodecError

log = logging.getLogger("vidconf.codecs")

RATE_HZ = 48_000
BLOCK = 960
"""Samples in 20 ms."""
BLOCK_BYTES = 2 * BLOCK
VOICE_BPS = 36_000
"""32 kb/s is where a voice stops gaining; the repair of each packet in the next one takes some of that away from it."""
COMPLEXITY = 9
"""libwebrtc's on a PC: a quarter of a millisecond for a packet."""
_VOIP, _VOICE = 2048, 3001
_BITRATE, _COMPLEXITY, _FEC, _LOSS, _DTX, _SIGNAL = 4002, 4010, 4012, 4014, 4016, 4024
"""opus_defines.h"""
MAX_SAMPLES = 5760
"""120 ms: the longest Opus packet."""
MAX_PACKET = 1500
PAST_BYTES = 2 * 1440
FADED_A_BLOCK, SILENT_AFTER = 0.7, 5 * BLOCK
"""What is left, 20 ms later, of a voice that is continued without libopus; and when nothing of it."""


class OpusEncoder:
    """Mono voice, 20 ms a packet, in-band FEC for as much loss as is expected. Through libopus all of it can be changed while it
    runs; PyAV's encoder (where the library is not found) stays as it was made, and has no DTX."""

    def __init__(self, bitrate_bps: int = VOICE_BPS, expected_loss: int = 5, *, dtx: bool = False) -> None:
        """`expected_loss`: per cent, 0: no FEC. `dtx`: next to nothing is sent while nobody speaks (RFC 6716 §2.1.9)."""
        self._library = _library()
        self.expected_loss, self.dtx = expected_loss, dtx
        if self._library:
            error = ctypes.c_int()
            self._encoder = self._library.opus_encoder_create(RATE_HZ, 1, _VOIP, ctypes.byref(error))
            if not self._encoder:
                raise CodecError(f"libopus: error {error.value}")
            self._out = ctypes.create_string_buffer(MAX_PACKET)
            for setting, value in (
                (_BITRATE, bitrate_bps), (_COMPLEXITY, COMPLEXITY), (_SIGNAL, _VOICE), (_FEC, 1 if expected_loss else 0),
                (_LOSS, expected_loss), (_DTX, 1 if dtx else 0),
            ):
                self._set(setting, value)
        else:
            self._fallback = _PyAvOpusEncoder(bitrate_bps, expected_loss)

    @property
    def can_change(self) -> bool:
        """Whether `expect_loss` and `set_dtx` reach the encoder."""
        return self._library is not None

    def expect_loss(self, percent: int) -> None:
        """How much FEC the next packets carry. Raises CodecError."""
        if self._library and percent != self.expected_loss:
            self._set(_FEC, 1 if percent else 0)
            self._set(_LOSS, percent)
        self.expected_loss = percent

    def set_dtx(self, on: bool) -> None:
        """Raises CodecError."""
        if self._library and on != self.dtx:
            self._set(_DTX, 1 if on else 0)
        self.dtx = on

    def encode(self, pcm: bytes) -> bytes:
        """One packet for BLOCK_BYTES of samples; of at most two bytes while DTX has nothing to say. Raises CodecError."""
        if not self._library:
            return self._fallback.encode(pcm)
        if len(pcm) != BLOCK_BYTES:
            raise CodecError(f"{len(pcm)} bytes are no block")
        size = self._library.opus_encode(self._encoder, pcm, BLOCK, self._out, MAX_PACKET)
        if size < 0:
            raise CodecError(f"libopus: error {size}")
        return self._out.raw[:size]

    def _set(self, setting: int, value: int) -> None:
        assert self._library is not None
        error = self._library.opus_encoder_ctl(self._encoder, setting, ctypes.c_int32(value))
        if error < 0:
            raise CodecError(f"libopus: setting {setting} to {value}: error {error}")

    def __del__(self) -> None:
        library, encoder = getattr(self, "_library", None), getattr(self, "_encoder", None)
        if library and encoder and not sys.is_finalizing():
            library.opus_encoder_destroy(encoder)


class _PyAvOpusEncoder:
    """PyAV's, fixed for its life."""

    def __init__(self, bitrate_bps: int, expected_loss: int) -> None:
        context = av.AudioCodecContext.create("libopus", "w")
        context.sample_rate, context.layout, context.format, context.bit_rate = RATE_HZ, "mono", "s16", bitrate_bps
        context.options = {"application": "voip", "fec": "1", "packet_loss": str(expected_loss), "frame_duration": "20"}
        try:
            context.open()
        except av.FFmpegError as error:
            raise CodecError(f"Opus encoder: {error}") from error
        self._context, self._pts = context, 0

    def encode(self, pcm: bytes) -> bytes:
        """Raises CodecError."""
        frame = av.AudioFrame(format="s16", layout="mono", samples=BLOCK)
        frame.planes[0].update(pcm + bytes(frame.planes[0].buffer_size - len(pcm)))
        frame.sample_rate, frame.pts = RATE_HZ, self._pts
        self._pts += BLOCK
        try:
            packets = self._context.encode(frame)
        except av.FFmpegError as error:
            raise CodecError(f"Opus encoder: {error}") from error
        return bytes(packets[0]) if packets else b""


@functools.cache
def _library() -> Any:
    """libopus of PyAV's wheel, ABI checked by decoding nothing; None where it cannot be used."""
    for path in wheel.libraries("opus"):
        try:
            # PyDLL: a decode takes 24 µs, less than giving up the interpreter and getting it back beside busy threads
            library: Any = ctypes.PyDLL(str(path))
            library.opus_decoder_create.restype = ctypes.c_void_p
            library.opus_decoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
            library.opus_decoder_destroy.argtypes = [ctypes.c_void_p]
            library.opus_decoder_destroy.restype = None
            library.opus_decode.restype = ctypes.c_int
            library.opus_decode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
            library.opus_encoder_create.restype = ctypes.c_void_p
            library.opus_encoder_create.argtypes = [ctypes.c_int32, ctypes.c_int, ctypes.c_int, ctypes.POINTER(ctypes.c_int)]
            library.opus_encoder_destroy.argtypes = [ctypes.c_void_p]
            library.opus_encoder_destroy.restype = None
            # … but encoding takes ten times as long: others run meanwhile
            library.opus_encode = ctypes.CDLL(str(path)).opus_encode
            library.opus_encode.restype = ctypes.c_int32
            library.opus_encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int32]
            # variadic: only what is always there is named, the third is passed as C does for "…" (Apple's ARM differs there)
            library.opus_encoder_ctl.argtypes = [ctypes.c_void_p, ctypes.c_int]
            error = ctypes.c_int()
            decoder = library.opus_decoder_create(RATE_HZ, 1, ctypes.byref(error))
            if decoder and error.value == 0:
                library.opus_decoder_destroy(decoder)
                return library
        except (OSError, AttributeError) as problem:
            log.info("libopus at %s cannot be used: %s", path.name, problem)
    return None


class OpusDecoder:
    """Decodes to 48 kHz mono. `conceal` continues the sound where a packet is missing, `recover` reads it off the one after it."""

    def __init__(self) -> None:
        self._library = _library()
        self._past = b""
        self._faded = 0
        if self._library:
            error = ctypes.c_int()
            self._decoder = self._library.opus_decoder_create(RATE_HZ, 1, ctypes.byref(error))
            if not self._decoder:
                raise CodecError(f"libopus: error {error.value}")
            self._out = (ctypes.c_int16 * MAX_SAMPLES)()
        else:
            self._fallback = _PyAvOpus()

    @property
    def conceals(self) -> bool:
        """Whether libopus itself decodes: a loss is continued by what it knows of the voice, not by repeating."""
        return self._library is not None

    def decode(self, payload: bytes) -> bytes:
        """Samples of one packet (usually BLOCK_BYTES). Raises CodecError for what is no Opus packet."""
        if len(payload) > MAX_PACKET:
            raise CodecError("larger than an Opus packet")
        if self._library:
            return self._decode(payload, MAX_SAMPLES, 0)
        pcm = self._fallback.decode(payload)
        if pcm:
            self._past, self._faded = (self._past + pcm)[-PAST_BYTES:], 0
        return pcm

    def conceal(self, samples: int = BLOCK) -> bytes:
        """So many samples (a multiple of 120) more of what was heard; of comfort noise after a packet that said that nobody speaks.
        Longer than some 100 ms it fades away."""
        if self._library:
            return self._decode(None, samples, 0)
        pcm = array.array("h", time_stretch.continued(self._past, samples))
        before = FADED_A_BLOCK ** (self._faded / BLOCK)
        self._faded += samples
        after = FADED_A_BLOCK ** (self._faded / BLOCK) if self._faded < SILENT_AFTER else 0.0
        step = (after - before) / max(1, samples)
        return array.array("h", (int(v * (before + step * k)) for k, v in enumerate(pcm))).tobytes()

    def recover(self, following: bytes, samples: int = BLOCK) -> bytes:
        """The packet before `following`, of so many samples (a multiple of 120), from the in-band FEC in it; concealed where there
        is none."""
        if self._library and len(following) <= MAX_PACKET:
            try:
                return self._decode(following, samples, 1)
            except CodecError:
                log.debug("no FEC in the packet after a loss")
        return self.conceal(samples)

    def _decode(self, payload: bytes | None, room: int, fec: int) -> bytes:
        assert self._library is not None
        room = min(room, MAX_SAMPLES)
        count = self._library.opus_decode(self._decoder, payload, len(payload) if payload else 0, self._out, room, fec)
        if count < 0:
            raise CodecError(f"libopus: error {count}")
        return ctypes.string_at(self._out, 2 * count)

    def __del__(self) -> None:
        library, decoder = getattr(self, "_library", None), getattr(self, "_decoder", None)
        if library and decoder and not sys.is_finalizing():
            library.opus_decoder_destroy(decoder)


class _PyAvOpus:
    """PyAV's decoder, mixed to mono."""

    def __init__(self) -> None:
        self._context: Any = av.AudioCodecContext.create("libopus", "r")
        self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)

    def decode(self, payload: bytes) -> bytes:
        try:
            frames = self._context.decode(av.Packet(payload))
            return b"".join(bytes(m.planes[0])[: 2 * m.samples] for f in frames for m in self._resampler.resample(f))
        except av.FFmpegError as error:
            raise CodecError(f"Opus decoder: {error}") from error
