"""The pictures of one remote track: packets -> whole frames -> a decoder -> the tile's ring. Made and told by its `Subscription`.

Loop's thread, but `_decoded` (decoder's). It outlives SSRCs and connections: what is shown stays until another picture comes, or
nobody watches. Asking for what is missing is the subscription's; this one says when only a keyframe helps.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import av

from vidconf.engine import stamp
from vidconf.engine.api import EngineEvent, RingClosed, RingOpened, WatchTrack
from vidconf.engine.decoders import DecoderPool, DecoderStream
from vidconf.engine.frame_timing import FrameTiming
from vidconf.engine.recording import VideoRecorder
from vidconf.engine.scaling import TileWriter
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.payload_format import FORMATS

BLANK_SIDE = 16
"""LiveKit sends a picture of 8 × 8 when a track is muted: it is no picture."""


class Owner(Protocol):
    """What pictures need of their session."""

    @property
    def pool(self) -> DecoderPool: ...

    def emit(self, event: EngineEvent) -> None: ...


class VideoReceiver:
    """`post(callback, *values)` calls on the loop's thread from any; `on_first` once, there; `ask_keyframe(now)` sends a PLI
    unless one has just gone."""

    def __init__(
        self,
        owner: Owner,
        sid: str,
        *,
        post: Callable[..., None],
        on_first: Callable[[], None],
        ask_keyframe: Callable[[float], None],
        decode_unwatched: bool,
    ) -> None:
        self.sid = sid
        self.timing = FrameTiming()
        self.width = self.height = 0
        self.recorder: VideoRecorder | None = None
        self.watching: WatchTrack | None = None
        self.wants_sent: tuple[bool, int, int] | None = None
        """The `track_setting` the server was last told: (disabled, width, height)."""
        self._owner, self._post, self._on_first, self._ask_keyframe = owner, post, on_first, ask_keyframe
        self._decode_unwatched = decode_unwatched
        self._codec = "vp8"
        """Of what comes; by its name in `FORMATS`."""
        self._assembler: FrameAssembler | None = None
        self._stream: DecoderStream | None = None
        self._tile: TileWriter | None = None
        self._ring: str | None = None
        self._closed = False

    # ---- packets
    def begin(self) -> None:
        """Another SSRC: nothing of what came before can be continued."""
        self._assembler = FrameAssembler(FORMATS[self._codec])
        if self._stream is not None:
            self._stream.reset()

    def end(self) -> None:
        """The connection, or the section, is no more."""
        self._assembler = None
        self.timing.pause()

    def push(self, packet: RtpPacket, codec: str, now: float) -> None:
        """One packet of the track, repaired or not. Padding, of no codec, fills its number. With another codec than before
        everything begins anew."""
        if self._assembler is None or not self.decoding:
            return
        if codec and codec != self._codec:
            self._codec = codec
            self._assembler = FrameAssembler(FORMATS[codec])
        for frame in self._assembler.push(packet.sequence, packet.timestamp, packet.marker, packet.payload, now):
            self._decoder().push(frame.data, frame.timestamp, frame.keyframe, self._codec)

    def tick(self, now: float) -> None:
        """Every 20 ms while packets come: give up what is waited for in vain, ask for a keyframe when nothing else helps."""
        if self._assembler is not None and self.decoding:
            self._assembler.poll(now)
            if self._assembler.needs_keyframe:
                self._ask_keyframe(now)

    # ---- watching
    @property
    def decoding(self) -> bool:
        """Whether anyone looks."""
        if self.watching is None:
            return self._decode_unwatched
        return self.watching.visible and min(self.watching.width, self.watching.height) > 0

    @property
    def wants(self) -> tuple[bool, int, int]:
        """What the server should send us: (disabled, width, height); 0 × 0 leaves the size to it."""
        if self.watching is None:
            return (not self._decode_unwatched, 0, 0)
        return (False, self.watching.width, self.watching.height) if self.decoding else (True, 0, 0)

    def watch(self, watching: WatchTrack) -> bool:
        """How the window shows it now. Hidden: decoding stops and its ring goes. True when decoding begins again."""
        if self._closed:
            return False
        before = self.decoding
        self.watching = watching
        if self.decoding:
            if self._tile is None:
                self._tile = TileWriter(lambda name: self._post(self._ring_opened, name))
            self._tile.watch(watching.width, watching.height, watching.format, watching.fill)
        if self.decoding == before:
            return False
        self.timing.pause()
        if not self.decoding:
            self._close_decoder()
            self._close_tile()
            return False
        if self._assembler is not None:
            self._assembler = FrameAssembler(FORMATS[self._codec])
        return True

    # ---- decoding
    def _decoder(self) -> DecoderStream:
        if self._stream is None:
            self._stream = self._owner.pool.open(self._decoded, lambda: self._post(self._trouble))
        return self._stream

    def _decoded(self, frame: av.VideoFrame, timestamp: int) -> None:
        """Decoder's thread."""
        if min(frame.width, frame.height) <= BLANK_SIDE:
            return
        now = time.monotonic()
        painted_ms = stamp.read(frame) if self._decode_unwatched else None
        self.width, self.height = frame.width, frame.height
        self.timing.shown(now, None if painted_ms is None else stamp.age_ms(painted_ms))
        tile, recorder = self._tile, self.recorder
        if tile is not None:
            tile.show(frame, timestamp * 100 // 9)
        if recorder is not None:
            recorder.write(frame, now)
        if self.timing.frames == 1:
            self._post(self._on_first)

    def _trouble(self) -> None:
        if self._assembler is not None:
            self._assembler.needs_keyframe = True
            self._ask_keyframe(time.monotonic())

    def _ring_opened(self, name: str) -> None:
        if self._tile is not None and self._tile.ring == name and not self._closed:
            self._ring = name
            self._owner.emit(RingOpened(self.sid, name))

    def _close_decoder(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._owner.pool.close_stream(stream)

    def _close_tile(self) -> None:
        tile, self._tile = self._tile, None
        if tile is not None:
            tile.close()
        if self._ring is not None:
            self._ring = None
            self._owner.emit(RingClosed(self.sid))

    def close(self) -> None:
        """The track is gone."""
        self.end()
        self._close_decoder()
        self._close_tile()
        self._closed = True

    # ---- numbers
    def report(self, now: float) -> dict[str, Any]:
        """Its part of an entry of `tracks` in `bot --json`."""
        values = {"codec": self._codec.upper(), "width": self.width, "height": self.height, **self.timing.report()}
        values["recent_fps"] = round(self.timing.fps(now), 1)
        return values
