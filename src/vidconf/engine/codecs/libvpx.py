"""libvpx's encoders (of PyAV's wheel) through ctypes: FFmpeg's wrapper can neither change the rate of an open encoder nor tell
the quantiser. `vp8` and `vp9` build on it.

One object a stream, one thread at a time; the interpreter is given up while a picture is encoded. A wrong structure would be a
crash and no error, so: exactly the one version whose structures are written down here (`vpx/vpx_encoder.h`, `vpx/vpx_image.h`)
is used, what it writes into them is looked at, pictures are encoded and decoded before anybody relies on it (`usable`), and
sizes, format and strides of each picture are checked before C sees it.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import av
import av.video

from vidconf.engine import wheel
from vidconf.engine.codecs import CodecError
from vidconf.engine.codecs.decoder import MAX_PIXELS, MAX_SIDE

log = logging.getLogger("vidconf.codecs")

VERSION, ENCODER_ABI = b"v1.16.0", 39
"""Whose structures these are."""
TICKS = 90_000
REALTIME = 1
FORCE_KEYFRAME = 1
I420 = 0x102
FRAME_PACKET = 0
CBR, KEYFRAMES_AUTO, KEYFRAMES_DISABLED = 1, 1, 0
MIN_BPS = 20_000
"""A target of nothing would make it encode nothing, and say that all went well."""
LONGEST_STEP_S = 0.5
"""Between two pictures, as the rate control sees it: after a pause nobody is owed a second's bits at once."""
SMOOTHING = 8
"""Pictures over which their distance in time is averaged: libvpx takes each one's for the frame rate from there on."""
MAX_FRAME_BYTES = 1 << 25
BUFFER_MS, FULL_MS = 600, 1000
"""What the rate control keeps in its (imagined) buffer, and the most that fits."""
LEAST_BUFFER_MS, REFILL_MS, REFILL_EVERY = 60, 16, 8
"""After a higher rate came: the buffer in time, how much it grows at once, and after how many pictures."""

CPU_USED, NOISE_SENSITIVITY, STATIC_THRESHOLD, TOKEN_PARTITIONS, LAST_QUANTIZER = 13, 15, 17, 18, 19
MAX_INTRA_PERCENT, SCREEN_CONTENT, TILE_COLUMNS, AQ_MODE, TUNE_CONTENT, ROW_MULTITHREADING = 26, 31, 33, 36, 43, 55
"""`vpx/vp8cx.h`. VP8E_GET_LAST_QUANTIZER is on the codec's own scale: 0…127 for VP8, 0…255 for VP9."""

_GUARD, _PATTERN = 256, 0xA5


def _fields(names: str, kind: Any = ctypes.c_uint) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


class _Ratio(ctypes.Structure):
    _fields_ = _fields("num den", ctypes.c_int)


class _Buffer(ctypes.Structure):
    _fields_ = [("buf", ctypes.c_void_p), ("sz", ctypes.c_size_t)]


class Config(ctypes.Structure):
    """vpx_codec_enc_cfg_t."""

    _fields_ = [
        *_fields("g_usage g_threads g_profile g_w g_h g_bit_depth g_input_bit_depth"), ("g_timebase", _Ratio),
        *_fields("g_error_resilient g_pass g_lag_in_frames rc_dropframe_thresh rc_resize_allowed rc_scaled_width rc_scaled_height"),
        *_fields("rc_resize_up_thresh rc_resize_down_thresh rc_end_usage"), ("rc_twopass_stats_in", _Buffer), ("rc_firstpass_stats_in", _Buffer),
        *_fields("rc_target_bitrate rc_min_quantizer rc_max_quantizer rc_undershoot_pct rc_overshoot_pct rc_buf_sz rc_buf_initial_sz"),
        *_fields("rc_buf_optimal_sz rc_bias rc_minsection rc_maxsection rc_corpus kf_mode kf_min_dist kf_max_dist ss_number_layers"),
        ("ss_enable_auto_alt_ref", ctypes.c_int * 5), ("ss_target_bitrate", ctypes.c_uint * 5), ("ts_number_layers", ctypes.c_uint),
        ("ts_target_bitrate", ctypes.c_uint * 5), ("ts_rate_decimator", ctypes.c_uint * 5), ("ts_periodicity", ctypes.c_uint),
        ("ts_layer_id", ctypes.c_uint * 16), ("layer_target_bitrate", ctypes.c_uint * 12), ("temporal_layering_mode", ctypes.c_int),
        ("use_vizier_rc_params", ctypes.c_int), ("factors", _Ratio * 15),
    ]  # fmt: skip


class _Image(ctypes.Structure):
    """vpx_image_t."""

    _fields_ = [
        *_fields("fmt cs range w h bit_depth d_w d_h r_w r_h x_chroma_shift y_chroma_shift"),
        ("planes", ctypes.c_void_p * 4), ("stride", ctypes.c_int * 4), ("bps", ctypes.c_int), ("user_priv", ctypes.c_void_p),
        ("img_data", ctypes.c_void_p), *_fields("img_data_owner self_allocd", ctypes.c_int), ("fb_priv", ctypes.c_void_p),
    ]  # fmt: skip


class _Packet(ctypes.Structure):
    """The beginning of vpx_codec_cx_pkt_t, as it is for a frame. `long` is 4 bytes on Windows."""

    _fields_ = [
        ("kind", ctypes.c_int), ("buf", ctypes.c_void_p), ("sz", ctypes.c_size_t), ("pts", ctypes.c_int64), ("duration", ctypes.c_ulong),
        ("flags", ctypes.c_uint32),
    ]  # fmt: skip


class _Context(ctypes.Structure):
    """vpx_codec_ctx_t, which only libvpx reads, with room to spare."""

    _fields_ = [("name", ctypes.c_void_p), ("iface", ctypes.c_void_p), ("rest", ctypes.c_void_p * 14)]


class Library:
    """The open library. Encoding gives up the interpreter; what takes microseconds does not: getting it back beside busy threads
    would take longer."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, AttributeError where it cannot be loaded or is another library."""
        quick, slow = ctypes.PyDLL(str(path)), ctypes.CDLL(str(path))
        pointer, c_int = ctypes.c_void_p, ctypes.c_int
        self.version: bytes = _declared(quick.vpx_codec_version_str, ctypes.c_char_p)() or b""
        self.default = _declared(quick.vpx_codec_enc_config_default, c_int, pointer, pointer, ctypes.c_uint)
        self.init = _declared(slow.vpx_codec_enc_init_ver, c_int, pointer, pointer, pointer, ctypes.c_long, c_int)
        self.set_config = _declared(quick.vpx_codec_enc_config_set, c_int, pointer, pointer)
        # Variadic: what is declared here is what is not variable, and each caller says the type of the rest (Apple's arm64
        # passes that on the stack).
        self.control = _declared(quick.vpx_codec_control_, c_int, pointer, c_int)
        self.encode = _declared(
            slow.vpx_codec_encode, c_int, pointer, pointer, ctypes.c_int64, ctypes.c_ulong, ctypes.c_long, ctypes.c_ulong
        )
        self.packet = _declared(quick.vpx_codec_get_cx_data, pointer, pointer, pointer)
        self.wrap = _declared(quick.vpx_img_wrap, pointer, pointer, c_int, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint, pointer)
        self.detail = _declared(quick.vpx_codec_error_detail, ctypes.c_char_p, pointer)
        self.reason = _declared(quick.vpx_codec_err_to_string, ctypes.c_char_p, c_int)
        self.destroy = _declared(slow.vpx_codec_destroy, c_int, pointer)
        self.interfaces: dict[str, Any] = {
            "vp8": _declared(quick.vpx_codec_vp8_cx, pointer)(), "vp9": _declared(quick.vpx_codec_vp9_cx, pointer)(),
        }  # fmt: skip

    def checked(self) -> None:
        """Raises CodecError unless it is the version, and uses the structures, that are written down here."""
        if self.version != VERSION:
            raise CodecError(f"libvpx {self.version.decode(errors='replace')}, and {VERSION.decode()} is known")
        for codec in self.interfaces:
            self.default_config(codec)
        image, room = _Image(), ctypes.create_string_buffer(64)
        if not self.wrap(ctypes.byref(image), I420, 16, 2, 1, ctypes.addressof(room)):
            raise CodecError("libvpx wraps no picture")
        begins = ctypes.addressof(room)
        if (image.planes[0], image.planes[1], image.planes[2]) != (begins, begins + 32, begins + 40) or list(image.stride)[:3] != [16, 8, 8]:
            raise CodecError("libvpx's picture looks otherwise")

    def default_config(self, codec: str) -> Config:
        """The settings it begins with. Raises CodecError where they are not the structure known here: it writes all of it, and not
        one byte more."""
        room = (ctypes.c_ubyte * (ctypes.sizeof(Config) + _GUARD))(*[_PATTERN] * (ctypes.sizeof(Config) + _GUARD))
        code = self.default(self.interfaces[codec], ctypes.byref(room), 0)
        if code:
            raise CodecError(f"libvpx has no settings for {codec}: {code}")
        config = Config.from_buffer_copy(room)
        told = (config.g_w, config.g_h, config.rc_target_bitrate, config.rc_max_quantizer, config.ts_number_layers, config.g_timebase.den)
        untouched = bytes([_PATTERN])
        if told != (320, 240, 256, 63, 1, 30) or bytes(room)[-_GUARD:] != untouched * _GUARD:
            raise CodecError(f"libvpx's settings look otherwise: {told}")
        if bytes(config)[-4:] == untouched * 4:
            raise CodecError("libvpx's settings are shorter than known")
        return config


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, list(arguments)
    return function


@functools.cache
def library() -> Library | None:
    """libvpx of PyAV's wheel, its version and structures checked; None (and a line in the log) where it cannot be used."""
    for path in wheel.libraries("vpx"):
        try:
            found = Library(path)
            found.checked()
        except (OSError, AttributeError, CodecError) as problem:
            log.warning("libvpx at %s cannot be used: %s", path.name, problem)
        else:
            return found
    return None


class LibvpxEncoder:
    """Real-time, constant bit rate, one frame in, one frame or none out. What VP8 and VP9 have in common."""

    CODEC: ClassVar[str]

    def __init__(self, width: int, height: int, fps: int, bitrate_bps: int, *, screen: bool = False, library: Library | None = None) -> None:
        """`width` and `height` in pixels, even. Raises CodecError where there is no such encoder here."""
        self._open = False
        if not (2 <= width <= MAX_SIDE and 2 <= height <= MAX_SIDE and width * height <= MAX_PIXELS and not (width | height) & 1):
            raise CodecError(f"no {self.CODEC} encoder for {width}×{height}")
        if not 1 <= fps <= 120:
            raise CodecError(f"no {self.CODEC} encoder for {fps} pictures a second")
        lib = library or usable(type(self))  # type: ignore[arg-type]    # the checker asks for the hash of an instance
        if lib is None:
            raise CodecError("no libvpx that is known")
        self._library = lib
        self.width, self.height, self.fps, self.screen = width, height, fps, screen
        self.bitrate_bps = max(MIN_BPS, bitrate_bps)
        self.hurry = False
        self.last_quantizer = 0
        """Of the picture encoded last, on the codec's own scale (VP8 0…127, VP9 0…255)."""
        self._config = self._settings(lib.default_config(self.CODEC))
        self._context = _Context()
        code = lib.init(ctypes.byref(self._context), lib.interfaces[self.CODEC], ctypes.byref(self._config), 0, ENCODER_ABI)
        self._check(code, "open")
        self._open = True
        for control, value in self._controls().items():
            self._check(lib.control(ctypes.byref(self._context), control, ctypes.c_int(value)), f"control {control}")
        self._image, self._room = _Image(), ctypes.create_string_buffer(1)
        # what it points at is never read: each picture's own planes take its place
        if not lib.wrap(ctypes.byref(self._image), I420, width, height, 1, ctypes.addressof(self._room)):
            raise CodecError(f"{self.CODEC} encoder: no picture of {width}×{height}")
        self._pts, self._step_s = 0, 1 / fps
        self._last_at: float | None = None
        self._until_refill = 0

    def _settings(self, config: Config) -> Config:
        """libwebrtc's for one layer (`libvpx_vp8_encoder.cc`, `libvpx_vp9_encoder.cc`)."""
        config.g_w, config.g_h = self.width, self.height
        config.g_timebase.num, config.g_timebase.den = 1, TICKS
        config.g_error_resilient, config.g_lag_in_frames, config.g_pass = 0, 0, 0
        config.rc_end_usage, config.rc_resize_allowed = CBR, 0
        config.rc_target_bitrate = self.bitrate_bps // 1000
        config.rc_undershoot_pct, config.rc_overshoot_pct = 100, 15
        config.rc_buf_initial_sz, config.rc_buf_optimal_sz, config.rc_buf_sz = 500, BUFFER_MS, FULL_MS
        config.kf_mode = KEYFRAMES_DISABLED
        return config

    def _controls(self) -> dict[int, int]:
        """What is set after opening."""
        return {}

    @property
    def _max_intra_percent(self) -> int:
        """Of a picture's share: a keyframe may take half of the buffer that is kept full, and three pictures' share at least."""
        return max(300, int(0.5 * BUFFER_MS * self.fps / 10))

    def set_bitrate(self, bitrate_bps: int) -> None:
        """From the next picture on, and without a keyframe. Raises CodecError.

        libvpx counts its buffer in bits and judges it in time. Left alone it would go on spending, at a lower rate, what was
        saved at the higher one (a tenth too much for seconds), and after a rise send half a second of less than half, to fill
        it anew. So what is over is forgotten, and what is missing may come slowly.
        """
        bitrate_bps = max(MIN_BPS, bitrate_bps)
        config, kbps = self._config, bitrate_bps // 1000
        before, self.bitrate_bps = config.rc_target_bitrate, bitrate_bps
        if kbps == before:
            return
        config.rc_target_bitrate = kbps
        if kbps > before:
            config.rc_buf_optimal_sz = max(LEAST_BUFFER_MS, config.rc_buf_optimal_sz * before // kbps)
        else:
            config.rc_buf_optimal_sz = min(BUFFER_MS, config.rc_buf_optimal_sz * before // kbps)
            config.rc_buf_sz = config.rc_buf_optimal_sz
            self._configure()
            config.rc_buf_sz = FULL_MS
        self._configure()

    def _refill(self) -> None:
        self._until_refill -= 1
        if self._config.rc_buf_optimal_sz < BUFFER_MS and self._until_refill <= 0:
            self._until_refill = REFILL_EVERY
            self._config.rc_buf_optimal_sz = min(BUFFER_MS, self._config.rc_buf_optimal_sz + REFILL_MS)
            self._configure()

    def _configure(self) -> None:
        self._check(self._library.set_config(ctypes.byref(self._context), ctypes.byref(self._config)), "settings")

    def set_fps(self, fps: int) -> None:
        """How many pictures a second are to be expected; what really comes is believed all the same. Raises CodecError."""
        if fps != self.fps:
            self.fps = max(1, min(120, fps))
            self._control(MAX_INTRA_PERCENT, self._max_intra_percent)

    def set_hurry(self, hurry: bool) -> None:
        """Whether the machine has little time: then less is looked for. Raises CodecError."""
        if hurry != self.hurry:
            self.hurry = hurry
            self._set_speed()

    def _set_speed(self) -> None:
        self._control(CPU_USED, self._speed)

    @property
    def _speed(self) -> int:
        """libvpx's `cpu_used`: the further from 0, the less is looked for."""
        raise NotImplementedError

    def encode(self, frame: av.VideoFrame, keyframe: bool = False) -> bytes | None:
        """One encoded frame, None when the encoder left this one out. `frame` is yuv420p of our size. Raises CodecError."""
        if not self._open:
            raise CodecError(f"the {self.CODEC} encoder is closed")
        if (frame.width, frame.height, frame.format.name) != (self.width, self.height, "yuv420p"):
            raise CodecError(f"{frame.format.name} of {frame.width}×{frame.height} for an encoder of {self.width}×{self.height}")
        planes, image = frame.planes, self._image
        for k, plane in enumerate(planes):
            width, height = (self.width, self.height) if k == 0 else (self.width // 2, self.height // 2)
            stride = plane.line_size
            if stride < width or stride * (height - 1) + width > plane.buffer_size or not plane.buffer_ptr:
                raise CodecError("a picture's plane is smaller than the picture")
            image.planes[k], image.stride[k] = plane.buffer_ptr, stride
        if len(planes) != 3 or image.stride[1] != image.stride[2]:
            raise CodecError("a picture whose colours are laid out otherwise")
        self._refill()
        step = self._next_step()
        lib, context = self._library, ctypes.byref(self._context)
        code = lib.encode(context, ctypes.byref(image), self._pts, step, FORCE_KEYFRAME if keyframe else 0, REALTIME)
        self._pts += step
        self._check(code, "encode")
        data, at = b"", ctypes.c_void_p()
        while address := lib.packet(context, ctypes.byref(at)):
            packet = _Packet.from_address(address)
            if packet.kind == FRAME_PACKET and packet.buf and 0 < packet.sz <= MAX_FRAME_BYTES:
                data += ctypes.string_at(packet.buf, packet.sz)
        if not data:
            return None
        quantizer = ctypes.c_int()
        self._check(lib.control(context, LAST_QUANTIZER, ctypes.byref(quantizer)), "quantizer")
        self.last_quantizer = quantizer.value
        return data

    def _next_step(self) -> int:
        """Ticks from this picture to the next: as they really come, so that a source slower than `fps` still fills the rate, and
        smoothly. Never less than half of what was said: pictures that come in a bunch are not each given a long one's bits."""
        now = time.monotonic()
        if self._last_at is not None:
            shortest = 1 / (2 * self.fps)
            came = min(LONGEST_STEP_S, max(shortest, now - self._last_at))
            self._step_s += (came - self._step_s) / SMOOTHING
        self._last_at = now
        return int(self._step_s * TICKS)

    def _control(self, control: int, value: int) -> None:
        self._check(self._library.control(ctypes.byref(self._context), control, ctypes.c_int(value)), f"control {control}")

    def _check(self, code: int, what: str) -> None:
        if code:
            reason = (self._library.reason(code) or b"").decode(errors="replace")
            detail = (self._library.detail(ctypes.byref(self._context)) or b"").decode(errors="replace") if self._open else ""
            raise CodecError(f"{self.CODEC} encoder, {what}: {reason} {detail}".rstrip())

    def close(self) -> None:
        """Gives its memory back; `encode` raises from then on."""
        if self._open:
            self._open = False
            self._library.destroy(ctypes.byref(self._context))

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:     # `sys` itself may be gone by then
        if not is_finalizing():
            self.close()


_TRIAL_SIZE = (64, 48)
_TRIAL_DIFFERENCE = 10.0


@functools.cache
def usable(kind: type[LibvpxEncoder]) -> Library | None:
    """The library where this encoder works so that FFmpeg decodes what went in, and obeys a change of rate and the wish for a
    keyframe; None where there is any doubt. Takes some milliseconds, once."""
    found = library()
    if found is None:
        return None
    try:
        _try(kind, found)
    except (CodecError, av.FFmpegError, ValueError) as problem:
        log.warning("libvpx does not encode %s as it should: %s", kind.CODEC, problem)
        return None
    return found


def _try(kind: type[LibvpxEncoder], found: Library) -> None:
    """Raises CodecError where what comes out is not what went in."""
    width, height = _TRIAL_SIZE
    encoder = kind(width, height, 30, 300_000, library=found)
    decoder: Any = av.CodecContext.create(kind.CODEC, "r")
    for k in range(6):
        frame = av.VideoFrame(width, height, "yuv420p")
        luma = frame.planes[0]
        luma.update(b"".join(bytes(60 + (x + y + 4 * k) % 128 for x in range(luma.line_size)) for y in range(height)))
        for plane in frame.planes[1:]:
            plane.update(bytes([110]) * plane.buffer_size)
        if k == 3:
            encoder.set_bitrate(500_000)
        data = encoder.encode(frame, keyframe=k == 4)
        if not data:
            raise CodecError("a picture is missing")
        shown = decoder.decode(av.Packet(data))
        if not shown:
            raise CodecError("a picture does not come back")
        back = shown[-1].planes[0]
        sent, got = bytes(luma), bytes(back)
        apart = sum(abs(sent[y * luma.line_size + x] - got[y * back.line_size + x]) for y in range(height) for x in range(0, width, 3))
        if apart / (height * len(range(0, width, 3))) > _TRIAL_DIFFERENCE:
            raise CodecError("a picture comes back as another")
        if bool(shown[-1].key_frame) != (k in (0, 4)):
            raise CodecError("keyframes come as they like")
    encoder.close()
