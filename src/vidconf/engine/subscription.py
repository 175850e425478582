"""One remote track: RTP in; NACK, PLI and reports out; pictures to a `VideoReceiver`, sound to an `AudioStream` of the playout.

Loop's thread. A subscription outlives connections: after a rejoin the same track is bound to its new SSRC and the tile keeps its
last picture meanwhile. Routing by SSRC is `transport`'s; everything kept here is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Literal, Protocol

from vidconf.engine.api import EngineEvent, FirstFrame, Source, TrackHeldBack, WatchTrack
from vidconf.engine.audio_stream import AudioStream
from vidconf.engine.decoders import DecoderPool
from vidconf.engine.playout import Playout
from vidconf.engine.video_receiver import VideoReceiver
from vidconf.rtp import opus, red
from vidconf.rtp.lip_sync import CaptureClock
from vidconf.rtp.nack import NackScheduler
from vidconf.rtp.packets import PacketError, RtpPacket
from vidconf.rtp.payload_format import FORMATS, VIDEO_CLOCK_HZ
from vidconf.rtp.rtcp import Nack, Pli, ReportBlock, SenderReport
from vidconf.rtp.statistics import ReceiverStatistics
from vidconf.webrtc.description import RemoteTrack

log = logging.getLogger("vidconf.subscription")

AUDIO_CLOCK_HZ = 48_000
SOUND_FORMATS = ("opus", "red")
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

    def __init__(self, ssrc: int, kind: str, clock_hz: int, track: RemoteTrack) -> None:
        self.statistics = ReceiverStatistics(ssrc, clock_hz)
        self.nack = NackScheduler()
        self.track = track
        """As the newest offer tells it: which codec a payload type is."""


class Subscription:
    """`sid` is the SFU's; `identity` and `source` are known when its participant has been announced."""

    def __init__(self, owner: Owner, sid: str, kind: Literal["audio", "video"], *, decode_unwatched: bool) -> None:
        self.owner, self.sid, self.kind = owner, sid, kind
        self._clock_hz = VIDEO_CLOCK_HZ if kind == "video" else AUDIO_CLOCK_HZ
        self.identity = ""
        self.source: Source = "microphone" if kind == "audio" else "camera"
        self.muted = False
        self.held_back = False
        """The server sends none of it, because our line does not carry it."""
        self.announced = False
        self.since = time.monotonic()
        self.plis = self.unknown_payloads = 0
        self.first_at: float | None = None
        """When the first picture was decoded, or the first sound played; monotonic."""
        self.audio: AudioStream | None = None
        self.video: VideoReceiver | None = None
        self._in: _Incoming | None = None
        self._totals = {"packets": 0, "lost": 0, "nacks": 0, "octets": 0}
        self._rate: tuple[float, int] = (time.monotonic(), 0)
        self._bitrate_bps = 0
        self.capture = CaptureClock(self._clock_hz)
        """When its samples were captured, by its sender's clock."""
        self.cname = ""
        """Whose that clock is (RFC 3550 §6.5.1), where the sender says it."""
        self._rtt_s = 0.1
        self._send: Callable[[bytes], bool] = lambda data: False
        self._closed = False
        if kind == "audio":
            self.audio = owner.playout.add(sid, lambda: self._post(self._first))
        else:
            self.video = VideoReceiver(
                owner, sid, post=self._post, on_first=self._first, ask_keyframe=self._ask_keyframe, decode_unwatched=decode_unwatched
            )

    # ---- connection
    def bind(self, track: RemoteTrack, send: Callable[[bytes], bool]) -> None:
        """An offer says under which SSRC the track comes. The same SSRC again changes nothing."""
        self._send = send
        ssrc = track.ssrcs[0]
        if self._in is not None and self._in.statistics.ssrc == ssrc:
            self._in.track = track
            return
        self.unbind()
        self._in = _Incoming(ssrc, self.kind, self._clock_hz, track)
        self.capture, self.cname = CaptureClock(self._clock_hz), ""
        if self.audio is not None:
            self.audio.begin()
        if self.video is not None:
            self.video.begin(time.monotonic())

    def unbind(self) -> None:
        """The connection, or the section, is no more; totals stay."""
        if self._in is None:
            return
        counts = self._in.statistics
        self._totals["packets"] += counts.packets
        self._totals["lost"] += max(0, counts.lost)
        self._totals["octets"] += counts.octets
        self._totals["nacks"] += self._in.nack.asked
        self._in = None
        self.set_held_back(False)
        if self.video is not None:
            self.video.end()

    @property
    def ssrc(self) -> int | None:
        return self._in.statistics.ssrc if self._in else None

    # ---- packets
    def on_rtp(self, packet: RtpPacket, now: float) -> None:
        incoming = self._in
        if incoming is None:
            return
        incoming.statistics.received(packet.sequence, packet.timestamp, len(packet.payload), now)
        asked = incoming.nack.received(packet.sequence, now)
        self._take(incoming, packet, now, asked)
        if now >= incoming.nack.next_due:
            self._ask(incoming, now)

    def on_repair(self, packet: RtpPacket, now: float) -> None:
        """A retransmission on its own SSRC (RFC 4588): the first two bytes are the original's number."""
        incoming = self._in
        if incoming is None or len(packet.payload) < 3:
            return
        sequence = int.from_bytes(packet.payload[:2], "big")
        asked = incoming.nack.received(sequence, now)
        if asked < 0:
            return      # nobody asked, or it has come meanwhile: a probe
        packet.sequence, packet.payload = sequence, packet.payload[2:]
        packet.payload_type = incoming.track.repaired.get(packet.payload_type, packet.payload_type)
        self._take(incoming, packet, now, asked)

    def _take(self, incoming: _Incoming, packet: RtpPacket, now: float, asked: int) -> None:
        """`asked`: how often it had been asked for; -1 when it was never missed."""
        codec = ""
        if packet.payload:
            codec = incoming.track.payload_types.get(packet.payload_type, "")
            if codec not in (FORMATS if self.video is not None else SOUND_FORMATS):
                self.unknown_payloads += 1
                return
        if self.audio is not None and codec == "red":
            self._take_redundant(self.audio, incoming, packet, now)
        elif self.audio is not None:
            self.audio.push(packet.sequence, packet.timestamp, packet.payload, now)
        elif self.video is not None:
            self.video.push(packet, incoming.nack.number, codec, now, repaired=asked > 0)

    def _take_redundant(self, audio: AudioStream, incoming: _Incoming, packet: RtpPacket, now: float) -> None:
        """The packet in a packet, and copies of those before it (RFC 2198)."""
        try:
            found = red.recover(packet.sequence, packet.timestamp, packet.payload, opus.duration)
        except PacketError:
            self.unknown_payloads += 1
            return
        for inner in found:
            if incoming.track.payload_types.get(inner.payload_type) == "opus":
                audio.push(inner.sequence, inner.timestamp, inner.payload, now, copy=inner.copy)
            else:
                self.unknown_payloads += 1

    def on_sender_report(self, report: SenderReport, now: float) -> None:
        if self._in is not None:
            self._in.statistics.sender_report(report.ntp, now)
            self.capture.report(report.ntp, report.rtp_timestamp)

    def tick(self, now: float, rtt_s: float) -> None:
        """Every 20 ms: ask again for what is missing, for a keyframe when nothing else helps."""
        self._rtt_s = rtt_s
        incoming = self._in
        if incoming is None:
            return
        if now >= incoming.nack.next_due:
            self._ask(incoming, now)
        if self.video is not None and not self.muted and not self.held_back and incoming.statistics.packets:
            self.video.tick(now, rtt_s)

    def _ask(self, incoming: _Incoming, now: float) -> None:
        """For what is missing and of use to somebody."""
        if self.video is not None and (needed := self.video.first_needed) is not None:
            incoming.nack.forget_before(needed)
        audio = self.audio
        useful = None if audio is None else lambda number: audio.worth_asking(number, self._rtt_s, now)
        numbers = incoming.nack.due(now, self._rtt_s, useful)
        if numbers:
            self._send(Nack(OWN_SSRC, incoming.statistics.ssrc, tuple(numbers)).to_bytes())

    def report_block(self, now: float) -> ReportBlock | None:
        return self._in.statistics.block(now) if self._in is not None and self._in.statistics.heard else None

    def _ask_keyframe(self) -> None:
        if self._in is not None:
            self.plis += 1
            self._send(Pli(OWN_SSRC, self._in.statistics.ssrc).to_bytes())

    # ---- the room
    def watch(self, watching: WatchTrack) -> None:
        """How the window shows it now. Sound is not watched."""
        if self.video is not None:
            self.video.watch(watching)

    def set_muted(self, muted: bool) -> None:
        """The publisher's mute: pictures stop on purpose."""
        self.muted = muted
        if muted and self.video is not None:
            self.video.pause()

    def set_held_back(self, held_back: bool) -> None:
        """The server's word. The last picture stays; that no other comes is no freeze."""
        if held_back == self.held_back:
            return
        self.held_back = held_back
        if held_back and self.video is not None:
            self.video.hold_back()
        self.owner.emit(TrackHeldBack(self.sid, held_back))

    def _first(self) -> None:
        if self.first_at is None and not self._closed:
            heard = self.audio.first_block_at if self.audio else self.video.timing.first_at if self.video else None
            self.first_at = heard or time.monotonic()
            self.owner.emit(FirstFrame(self.sid))

    def _post(self, callback: Callable[..., None], *values: object) -> None:
        try:
            self.owner.loop.call_soon_threadsafe(callback, *values)
        except RuntimeError:
            log.debug("the loop is gone")

    def close(self) -> None:
        """The track is gone."""
        self.unbind()
        self._closed = True
        if self.video is not None:
            self.video.close()
        if self.audio is not None:
            self.owner.playout.remove(self.sid)

    # ---- numbers
    def first_sound_at(self) -> float | None:
        """Audio: when its first block was played, audible or not."""
        return self.audio.first_block_at if self.audio else None

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
            "kind": self.kind, "codec": "opus" if self.kind == "audio" else "", "muted": self.muted,
            "width": 0, "height": 0, "frames": 0, "fps": 0.0, "freezes": 0, "freeze_s": 0.0,
            "packets": totals["packets"] + (counts.packets if counts else 0),
            "lost": totals["lost"] + (max(0, counts.lost) if counts else 0),
            "nacks": totals["nacks"] + (self._in.nack.asked if self._in else 0),
            "plis": self.plis, "jitter_buffer_ms": 0, "concealed_percent": 0.0, "bitrate_bps": self._bitrate_bps,
        }
        if self.audio is not None:
            values.update(self.audio.statistics())
        elif self.video is not None:
            values.update(self.video.report(now))
        return values
