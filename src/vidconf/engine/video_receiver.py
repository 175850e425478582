"""The pictures of one remote track: packets -> whole frames -> their moment -> a decoder -> the tile's ring. Made and told by its
`Subscription`.

Loop's thread, but `_decoded` (decoder's). It outlives SSRCs and connections: what is shown stays until another picture comes, or
nobody watches. Frames wait for their moment encoded, which costs less than decoded. Asking for what is missing is the
subscription's; this one says when only a keyframe helps.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import av

from vidconf.engine import stamp
from vidconf.engine.api import EngineEvent, RingClosed, RingOpened, WatchTrack
from vidconf.engine.decoders import DecoderPool, DecoderStream
from vidconf.engine.frame_timing import FrameTiming
from vidconf.engine.recording import VideoRecorder
from vidconf.engine.scaling import TileWriter
from vidconf.engine.wanted_size import WantedSize
from vidconf.rtp.frame_assembly import AssembledFrame, FrameAssembler
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.payload_format import FORMATS
from vidconf.rtp.render_time import RenderTime

STAMPLESS, STAMPLESS_EVERY = 60, 10
BLANK_SIDE = 16
"""LiveKit sends a picture of 8 × 8 when a track is muted: it is no picture."""
FIRST_KEYFRAME_S = 0.15
"""How long the first keyframe may take before we ask: the server asks by itself when someone subscribes."""
LEAST_WAIT_S, MOST_WAIT_S = 0.2, 1.0
"""Without a frame that can be decoded before a keyframe is asked for."""
TRIES_WAITED = 5
"""Round trips that repairs get before that."""
KEYFRAME_GAP_S, MAX_KEYFRAME_GAP_S = 0.2, 1.0
"""Between two questions for a keyframe, besides a round trip; it grows while none comes."""
NO_FRAME_S = 3.0
"""Packets but no frame for so long, and a keyframe is asked for; and again after as long."""
STALLED_S = 0.06
"""The tick of 20 ms has not come for so long: it is this process that is late."""
LEAST_SKIP_S = 0.03
MAX_WAITING = 60
"""Frames that wait for their moment."""
PASSED_S = 0.04
"""A frame that is so late is not drawn when the next one's moment has come as well."""
OVERDUE_S = 0.002
"""A timer may fire so early, or a frame be let go so early."""
BEHIND, DRAW_EVERY_S = 4, 0.1
"""With so many frames waiting at the decoder it is behind: then a picture is drawn only so often."""
KEPT_S = 60.0
"""A hidden tile's last picture is kept so long, to be there at once when it is shown again."""
NOTHING = 1 << 62
"""A packet number beyond all: none is needed."""


class Owner(Protocol):
    """What pictures need of their session."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    @property
    def pool(self) -> DecoderPool: ...

    def emit(self, event: EngineEvent) -> None: ...


class VideoReceiver:
    """`post(callback, *values)` calls on the loop's thread from any; `on_first` once, there; `ask_keyframe()` sends a PLI."""

    def __init__(
        self,
        owner: Owner,
        sid: str,
        *,
        post: Callable[..., None],
        on_first: Callable[[], None],
        ask_keyframe: Callable[[], None],
        decode_unwatched: bool,
    ) -> None:
        self.sid = sid
        self.timing = FrameTiming()
        self.render = RenderTime()
        self.size = WantedSize()
        self.width = self.height = 0
        self.undrawn = 0
        """Pictures that were decoded but not drawn: a later one was due already."""
        self.shown_point: tuple[int, float] | None = None
        """RTP timestamp of the picture drawn last, and when it was; monotonic."""
        self.recorder: VideoRecorder | None = None
        self.watching: WatchTrack | None = None
        self.wants_sent: tuple[bool, int, int] | None = None
        """The `track_setting` the server was last told: (disabled, width, height)."""
        self._owner, self._post, self._on_first, self._send_pli = owner, post, on_first, ask_keyframe
        self._decode_unwatched = decode_unwatched
        self._codec = "vp8"
        """Of what comes; by its name in `FORMATS`."""
        self._assembler: FrameAssembler | None = None
        self._highest: int | None = None
        """The number furthest on, of this SSRC."""
        self._waiting: deque[AssembledFrame] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._superseded: set[int] = set()
        """Timestamps of frames that are decoded only because others need them."""
        self._held_s = 0.0
        """Mean wait for the moment."""
        self._packet_at = self._frame_at = self._ticked_at = 0.0
        self._keyframe_at, self._keyframe_gap_s = 0.0, KEYFRAME_GAP_S
        """When one may be asked for again."""
        self._drawn_at = 0.0
        self._stream: DecoderStream | None = None
        self._tile: TileWriter | None = None
        self._ring: str | None = None
        self._kept: tuple[av.VideoFrame, int] | None = None
        """The last picture and its timestamp; while the tile is hidden, until `_hidden_at` is long ago."""
        self._hidden_at = 0.0
        self._closed = False
        self._stampless = 0
        """Pictures in a row without a stamp."""

    # ---- packets
    def begin(self, now: float) -> None:
        """Another SSRC: nothing of what came before can be continued."""
        self._anew()
        self._assembler, self._highest = FrameAssembler(FORMATS[self._codec]), None
        self._frame_at = now
        self._keyframe_at = now + FIRST_KEYFRAME_S

    def end(self) -> None:
        """The connection, or the section, is no more."""
        self._anew()
        self._assembler = None

    def _anew(self) -> None:
        self._waiting.clear()
        self._stop_timer()
        self.timing.pause()
        self.render.pause()
        self.shown_point = None
        self._keyframe_gap_s = KEYFRAME_GAP_S
        if self._stream is not None:
            self._stream.reset()

    def pause(self) -> None:
        """Pictures stop on purpose (muted): the gap that follows says nothing, and what was seen before is not to be seen again."""
        self._kept = None
        self.hold_back()

    def hold_back(self) -> None:
        """Pictures stop because our line does not carry them: as with `pause`, but what was seen may be seen again."""
        self.timing.pause()
        self.render.pause()
        self.shown_point = None

    @property
    def first_needed(self) -> int | None:
        """The lowest packet number that is of use; None when all may be."""
        if self._assembler is None or not self.decoding:
            return NOTHING
        return self._assembler.first_needed

    def push(self, packet: RtpPacket, number: int, codec: str, now: float, *, repaired: bool) -> None:
        """One packet of the track, `number` its unwrapped sequence number; `repaired`: it had been asked for again. Padding, of no
        codec, fills its number. With another codec than before everything begins anew."""
        if self._assembler is None or not self.decoding:
            return
        self._packet_at = now
        if codec and codec != self._codec:
            if self._highest is not None and number < self._highest:
                return  # late, and of what has been left behind
            self._anew()
            self._codec = codec
            self._assembler = FrameAssembler(FORMATS[codec])
        self._highest = number if self._highest is None else max(self._highest, number)
        frames = self._assembler.push(number, packet.timestamp, packet.marker, packet.payload, now, repaired)
        if frames:
            self._take(frames, now)

    def tick(self, now: float, rtt_s: float) -> None:
        """Every 20 ms while packets come: go on without what is not needed, ask for a keyframe when nothing else helps."""
        assembler = self._assembler
        if assembler is None or not self.decoding:
            return
        self._ticked_at = now
        self.render.rtt_s = rtt_s
        assembler.wait_s = min(MOST_WAIT_S, max(LEAST_WAIT_S, KEYFRAME_GAP_S / 2 + TRIES_WAITED * rtt_s))
        assembler.skip_s = max(LEAST_SKIP_S, self.render.delay_s)
        frames = assembler.poll(now)
        if frames:
            self._take(frames, now)
        if assembler.needs_keyframe:
            self._want_keyframe(now)
        elif self._packet_at > self._frame_at and now - self._frame_at > NO_FRAME_S:
            self._frame_at = now
            self._want_keyframe(now)

    def _want_keyframe(self, now: float) -> None:
        if now < self._keyframe_at:
            return
        self._keyframe_at = now + self.render.rtt_s + self._keyframe_gap_s
        self._keyframe_gap_s = min(MAX_KEYFRAME_GAP_S, 1.5 * self._keyframe_gap_s)
        self._send_pli()

    # ---- the moment
    def _take(self, frames: list[AssembledFrame], now: float) -> None:
        self._frame_at = now
        stalled = now - self._ticked_at > STALLED_S
        for frame in frames:
            if frame.keyframe:
                self._keyframe_gap_s = KEYFRAME_GAP_S
            self.render.arrived(frame.timestamp, len(frame.data), frame.arrived, repaired=frame.repaired, stalled=stalled)
            self._waiting.append(frame)
        self._release(now)

    def _release(self, now: float) -> None:
        """Give the decoder every frame whose moment has come."""
        waiting, render = self._waiting, self.render
        while waiting:
            frame = waiting[0]
            due = render.due(frame.timestamp, now)
            if due > now + OVERDUE_S and len(waiting) <= MAX_WAITING:
                if self._timer is None:
                    self._timer = self._owner.loop.call_later(due - now, self._on_moment)
                return
            waiting.popleft()
            if waiting and render.late_s(frame.timestamp, now) > PASSED_S and render.due(waiting[0].timestamp, now) <= now + OVERDUE_S:
                # its moment is long past and the next one's has come: nobody would see it
                self.undrawn += 1
                if frame.disposable:
                    continue
                if len(self._superseded) > MAX_WAITING:
                    self._superseded.clear()    # of frames that the decoder never came to
                self._superseded.add(frame.timestamp)
            self._held_s += (max(0.0, now - frame.arrived) - self._held_s) / 32
            render.released(frame.timestamp, now)
            self._decoder().push(frame.data, frame.timestamp, frame.keyframe, self._codec)

    def _on_moment(self) -> None:
        self._timer = None
        self._release(time.monotonic())

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    # ---- watching
    @property
    def decoding(self) -> bool:
        """Whether anyone looks."""
        if self.watching is None:
            return self._decode_unwatched
        return self.watching.visible and min(self.watching.width, self.watching.height) > 0

    def wants(self, now: float) -> tuple[bool, int, int]:
        """What the server should send us: (disabled, width, height); 0 × 0 leaves the size to it."""
        if self.watching is None:
            return (not self._decode_unwatched, 0, 0)
        if not self.decoding:
            self.size.forget()
            return (True, 0, 0)
        return (False, *self.size.settled((self.watching.width, self.watching.height), now))

    def watch(self, watching: WatchTrack) -> None:
        """How the window shows it now. Hidden: decoding stops and its ring goes; its last picture is there when it is shown again."""
        if self._closed:
            return
        before = self.decoding
        self.watching = watching
        if self.decoding:
            if self._tile is None:
                self._tile = TileWriter(lambda name: self._post(self._ring_opened, name))
            self._tile.watch(watching.width, watching.height, watching.format, watching.fill)
        if self.decoding != before:
            self._shown_again() if self.decoding else self._hide()

    def _shown_again(self) -> None:
        kept, tile, now = self._kept, self._tile, time.monotonic()
        self._anew()
        if self._assembler is not None:
            self._assembler = FrameAssembler(FORMATS[self._codec])
        self._frame_at, self._keyframe_at = now, 0.0
        if kept is not None and tile is not None and now - self._hidden_at < KEPT_S:
            # off the loop: scaling takes milliseconds. A picture that comes before it wins.
            self._owner.loop.run_in_executor(None, self._show_kept, tile, kept)

    def _show_kept(self, tile: TileWriter, kept: tuple[av.VideoFrame, int]) -> None:
        """An executor's thread. Newer pictures become the kept one before they are shown."""
        tile.show(kept[0], kept[1] * 100 // 9, still=lambda: self._kept is kept)

    def _hide(self) -> None:
        self._hidden_at = time.monotonic()
        self._anew()
        self._close_decoder()
        self._close_tile()

    def forget_old(self, now: float) -> None:
        """Once a second: a picture hidden for long is let go."""
        if self._kept is not None and self.watching is not None and not self.decoding and now - self._hidden_at >= KEPT_S:
            self._kept = None

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
        self.width, self.height = frame.width, frame.height
        if timestamp in self._superseded:
            self._superseded.discard(timestamp)
            return
        stream = self._stream
        if stream is not None and stream.waiting >= BEHIND and now - self._drawn_at < DRAW_EVERY_S:
            self.undrawn += 1
            return
        self._drawn_at = now
        painted_ms = self._stamp_of(frame) if self._decode_unwatched else None
        self.timing.shown(now, None if painted_ms is None else stamp.age_ms(painted_ms))
        self.shown_point = (timestamp, now)
        tile, recorder = self._tile, self.recorder
        if tile is not None:
            self._kept = (frame, timestamp)
            tile.show(frame, timestamp * 100 // 9)
        if recorder is not None:
            recorder.write(frame, now)
        if self.timing.frames == 1:
            self._post(self._on_first)

    def _stamp_of(self, frame: av.VideoFrame) -> int | None:
        """Looked for in every picture of a track that carries them, in few of one that does not."""
        if self._stampless > STAMPLESS and self._stampless % STAMPLESS_EVERY:
            self._stampless += 1
            return None
        found = stamp.read(frame)
        self._stampless = self._stampless + 1 if found is None else 0
        return found

    def _trouble(self) -> None:
        """What the decoder was given made no picture: nothing but a keyframe helps it."""
        self._superseded.clear()
        self._waiting.clear()
        self._stop_timer()
        if self._assembler is not None:
            self._assembler.require_keyframe()
            self._want_keyframe(time.monotonic())

    def _ring_opened(self, name: str) -> None:
        if self._tile is not None and self._tile.ring == name and not self._closed:
            self._ring = name
            self._owner.emit(RingOpened(self.sid, name))

    def _close_decoder(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self._owner.pool.close_stream(stream)
        self._superseded.clear()

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
        self._kept = None
        self._closed = True

    # ---- numbers
    def report(self, now: float) -> dict[str, Any]:
        """Its part of an entry of `tracks` in `bot --json`. `jitter_buffer_ms`: how long whole frames waited for their moment."""
        values = {"codec": self._codec.upper(), "width": self.width, "height": self.height, **self.timing.report()}
        values["jitter_buffer_ms"] = round(1000 * self._held_s)
        values["recent_fps"] = round(self.timing.fps(now), 1)
        return values
