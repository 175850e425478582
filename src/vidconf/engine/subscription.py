"""One remote track: RTP in; NACK, PLI and reports out; pictures to a decoder and on to the window, sound to the mixer.

Loop's thread, but `_decoded` (decoder's). A subscription outlives connections: after a rejoin the same track is bound to its
new SSRC and the tile keeps its last picture meanwhile. Routing by SSRC is `transport`'s; everything kept here is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

import av

from vidconf.engine import stamp
from vidconf.engine.api import EngineEvent, FirstFrame, RingClosed, RingOpened, Source, WatchTrack
from vidconf.engine.decoders import DecoderPool, DecoderStream
from vidconf.engine.frame_timing import FrameTiming
from vidconf.engine.playout import AudioStream, Playout
from vidconf.engine.recording import VideoRecorder
from vidconf.engine.scaling import TileWriter
from vidconf.rtp.frame_assembly import FrameAssembler
from vidconf.rtp.nack import NackScheduler
from vidconf.rtp.packets import RtpPacket
from vidconf.rtp.rtcp import Nack, Pli, ReportBlock, SenderReport
from vidconf.rtp.statistics import ReceiverStatistics
from vidconf.rtp.vp8 import CLOCK_HZ as VIDEO_CLOCK_HZ
from vidconf.webrtc.description import RemoteTrack

log = logging.getLogger("vidconf.subscription")

AUDIO_CLOCK_HZ = 48_000
PLI_GAP_S = 0.5
FIRST_PLI_S = 0.15
"""How long the first keyframe may take before we ask: the server asks by itself when someone subscribes."""
BLANK_SIDE = 16
"""LiveKit sends a picture of 8 × 8 when a track is muted: it is no picture."""
OWN_SSRC = 1
"""The receiver's own SSRC in reports: we send no media on that connection."""


class Owner(Protocol):
    """What a subscription needs of its session."""

    loop: asyncio.AbstractEventLoop
    pool: DecoderPool
    playout: Playout

    def emit(self, event: EngineEvent) -> None: ...


class _Incoming:
    """What belongs to one SSRC of one connection."""

    def __init__(self, ssrc: int, kind: str, payload_types: dict[int, str]) -> None:
        self.statistics = ReceiverStatistics(ssrc, VIDEO_CLOCK_HZ if kind == "video" else AUDIO_CLOCK_HZ)
        self.nack = NackScheduler(0.0 if kind == "video" else 0.01)
        self.assembler = FrameAssembler() if kind == "video" else None
        self.payload_types = payload_types
        self.since = time.monotonic()
        self.packets_at_start = 0


class Subscription:
    """`sid` is the SFU's; `identity` and `source` are known when its participant has been announced."""

    def __init__(self, owner: Owner, sid: str, kind: Literal["audio", "video"], *, decode_unwatched: bool) -> None:
        self.owner, self.sid, self.kind = owner, sid, kind
        self.identity = ""
        self.source: Source = "microphone" if kind == "audio" else "camera"
        self.muted = False
        self.announced = False
        self.since = time.monotonic()
        self.timing = FrameTiming()
        self.plis = self.unknown_payloads = 0
        self.width = self.height = 0
        self.first_at: float | None = None
        """When the first picture was decoded, or the first sound played; monotonic."""
        self.recorder: VideoRecorder | None = None
        self._decode_unwatched = decode_unwatched
        self._in: _Incoming | None = None
        self._totals = {"packets": 0, "lost": 0, "nacks": 0, "octets": 0}
        self._rate: tuple[float, int] = (time.monotonic(), 0)
        self._bitrate_bps = 0
        self._pli_at = 0.0
        self._send: Callable[[bytes], bool] = lambda data: False
        self._stream: DecoderStream | None = None
        self._audio: AudioStream | None = None
        self._tile: TileWriter | None = None
        self._ring: str | None = None
        self.watching: WatchTrack | None = None
        self.wants_sent: tuple[bool, int, int] | None = None
        """The `track_setting` the server was last told: (disabled, width, height)."""
        self._closed = False
        if kind == "audio":
            self._audio = owner.playout.add(sid, lambda: self._post(self._first))

    # ---- connection
    def bind(self, track: RemoteTrack, send: Callable[[bytes], bool]) -> None:
        """An offer says under which SSRC the track comes. The same SSRC again changes nothing."""
        self._send = send
        ssrc = track.ssrcs[0]
        if self._in is not None and self._in.statistics.ssrc == ssrc:
            self._in.payload_types = track.payload_types
            return
        self.unbind()
        self._in = _Incoming(ssrc, self.kind, track.payload_types)
        self._pli_at = time.monotonic() - PLI_GAP_S + FIRST_PLI_S
        if self._stream is not None:
            self._stream.reset()

    def unbind(self) -> None:
        """The connection, or the section, is no more; totals stay."""
        if self._in is not None:
            counts = self._in.statistics
            self._totals["packets"] += counts.packets
            self._totals["lost"] += max(0, counts.lost)
            self._totals["octets"] += counts.octets
            self._totals["nacks"] += self._in.nack.asked
            self._in = None
            self.timing.pause()

    @property
    def ssrc(self) -> int | None:
        return self._in.statistics.ssrc if self._in else None

    # ---- packets
    def on_rtp(self, packet: RtpPacket, now: float) -> None:
        incoming = self._in
        if incoming is None:
            return
        incoming.statistics.received(packet.sequence, packet.timestamp, len(packet.payload), now)
        incoming.nack.received(packet.sequence, now)
        self._take(incoming, packet, now)

    def on_repair(self, packet: RtpPacket, now: float) -> None:
        """A retransmission on its own SSRC (RFC 4588): the first two bytes are the original's number."""
        incoming = self._in
        if incoming is None or len(packet.payload) < 3:
            return
        sequence = int.from_bytes(packet.payload[:2], "big")
        if not incoming.nack.received(sequence, now):
            return      # nobody asked, or it has come meanwhile: a probe
        original = {apt for apt, name in incoming.payload_types.items() if name != "rtx"}
        packet.sequence, packet.payload = sequence, packet.payload[2:]
        packet.payload_type = next(iter(original), packet.payload_type)
        self._take(incoming, packet, now)

    def _take(self, incoming: _Incoming, packet: RtpPacket, now: float) -> None:
        if packet.payload:
            codec = incoming.payload_types.get(packet.payload_type)
            if codec != ("opus" if self.kind == "audio" else "vp8"):
                self.unknown_payloads += 1
                return
        if self._audio is not None:
            self._audio.push(packet.sequence, packet.timestamp, packet.payload, now)
        elif self._decoding and incoming.assembler is not None:
            for frame in incoming.assembler.push(packet.sequence, packet.timestamp, packet.marker, packet.payload, now):
                self._decoder().push(frame.data, frame.timestamp, frame.keyframe)

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        if self._in is not None:
            self._in.statistics.sender_report(report.ntp, now)

    def tick(self, now: float, rtt_s: float) -> None:
        """Every 20 ms: ask again for what is missing, for a keyframe when nothing else helps."""
        incoming = self._in
        if incoming is None:
            return
        if incoming.nack.missing:
            numbers = incoming.nack.due(now, max(0.02, rtt_s))
            if numbers and (self.kind == "audio" or self._decoding):
                self._send(Nack(OWN_SSRC, incoming.statistics.ssrc, tuple(numbers)).to_bytes())
        if incoming.assembler is not None and self._decoding and not self.muted:
            incoming.assembler.poll(now)
            if incoming.assembler.needs_keyframe and incoming.statistics.packets:
                self._ask_keyframe(now)

    def report_block(self, now: float) -> ReportBlock | None:
        return self._in.statistics.block(now) if self._in is not None and self._in.statistics.packets else None

    def _ask_keyframe(self, now: float) -> None:
        if self._in is not None and now - self._pli_at >= PLI_GAP_S:
            self._pli_at = now
            self.plis += 1
            self._send(Pli(OWN_SSRC, self._in.statistics.ssrc).to_bytes())

    # ---- watching
    @property
    def _decoding(self) -> bool:
        if self.watching is None:
            return self._decode_unwatched
        return self.watching.visible and min(self.watching.width, self.watching.height) > 0

    @property
    def wants(self) -> tuple[bool, int, int]:
        """What the server should send us: (disabled, width, height); 0 × 0 leaves the size to it."""
        if self.watching is None:
            return (not self._decode_unwatched, 0, 0)
        return (not self._decoding, self.watching.width, self.watching.height) if self._decoding else (True, 0, 0)

    def watch(self, watching: WatchTrack) -> None:
        """How the window shows it now. Hidden: decoding stops and its ring goes."""
        if self.kind != "video" or self._closed:
            return
        before = self._decoding
        self.watching = watching
        if self._decoding:
            if self._tile is None:
                self._tile = TileWriter(lambda name: self._post(self._ring_opened, name))
            self._tile.watch(watching.width, watching.height, watching.format, watching.fill)
        if self._decoding == before:
            return
        self.timing.pause()
        if self._decoding:
            self._restart_decoding()
        else:
            self._close_decoder()
            self._close_tile()

    def _restart_decoding(self) -> None:
        if self._in is not None:
            self._in.assembler = FrameAssembler()
            self._pli_at = 0.0

    def set_muted(self, muted: bool) -> None:
        self.muted = muted
        if muted:
            self.timing.pause()

    # ---- decoding
    def _decoder(self) -> DecoderStream:
        if self._stream is None:
            self._stream = self.owner.pool.open(self._decoded, lambda: self._post(self._trouble))
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
        if self.first_at is None:
            self._post(self._first)

    def _trouble(self) -> None:
        if self._in is not None and self._in.assembler is not None:
            self._in.assembler.needs_keyframe = True
            self._ask_keyframe(time.monotonic())

    def _first(self) -> None:
        if self.first_at is None and not self._closed:
            heard = self._audio.first_block_at if self._audio else self.timing.first_at
            self.first_at = heard or time.monotonic()
            self.owner.emit(FirstFrame(self.sid))

    def _ring_opened(self, name: str) -> None:
        if self._tile is not None and self._tile.ring == name and not self._closed:
            self._ring = name
            self.owner.emit(RingOpened(self.sid, name))

    def _post(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self.owner.loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("the loop is gone")

    def _close_decoder(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            self.owner.pool.close_stream(stream)

    def _close_tile(self) -> None:
        tile, self._tile = self._tile, None
        if tile is not None:
            tile.close()
        if self._ring is not None:
            self._ring = None
            self.owner.emit(RingClosed(self.sid))

    def close(self) -> None:
        """The track is gone."""
        self.unbind()
        self._close_decoder()
        self._close_tile()
        self._closed = True
        if self._audio is not None:
            self.owner.playout.remove(self.sid)

    # ---- numbers
    def first_sound_at(self) -> float | None:
        """Audio: when its first block was played, audible or not."""
        return self._audio.first_block_at if self._audio else None

    def report(self, now: float) -> dict[str, Any]:
        """One entry of `tracks` in `bot --json`."""
        counts, totals = (self._in.statistics if self._in else None), self._totals
        octets = totals["octets"] + (counts.octets if counts else 0)
        since, before = self._rate
        if now - since >= 0.9:
            self._bitrate_bps = int(8 * (octets - before) / (now - since))
            self._rate = (now, octets)
        values: dict[str, Any] = {
            "track": self.sid, "identity": self.identity, "participant": self.identity.partition(".")[0], "source": self.source,
            "kind": self.kind, "codec": "opus" if self.kind == "audio" else "VP8", "muted": self.muted,
            "width": self.width, "height": self.height, "frames": 0, "fps": 0.0, "freezes": 0, "freeze_s": 0.0,
            "packets": totals["packets"] + (counts.packets if counts else 0),
            "lost": totals["lost"] + (max(0, counts.lost) if counts else 0),
            "nacks": totals["nacks"] + (self._in.nack.asked if self._in else 0),
            "plis": self.plis, "jitter_buffer_ms": 0, "concealed_percent": 0.0, "bitrate_bps": self._bitrate_bps,
        }
        if self._audio is not None:
            values.update(self._audio.statistics())
        else:
            values.update(self.timing.report())
            values["recent_fps"] = round(self.timing.fps(now), 1)
        return values
