"""A participant's subscriber connection: what we send it. The loop's thread.

We offer, one offer at a time; what changes meanwhile is in the next. Sections keep their order for ever; one whose track has
gone becomes inactive, and only after that was answered carries another track (pion/webrtc#2899). A track's packets flow when
its offer is answered *and* DTLS is up: a keyframe sent before would be lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiortc import RTCDataChannel, RTCDataChannelParameters, RTCSctpCapabilities
from livekit.protocol import models, rtc

from vidconf.protocol.livekit import LOSSY, RELIABLE
from vidconf.relay import description, limits
from vidconf.relay.codecs import RED
from vidconf.relay.connecting import Reports, made
from vidconf.relay.delivery import Delivery
from vidconf.relay.description import Outgoing
from vidconf.relay.downstream import Down
from vidconf.relay.layers import Wish
from vidconf.relay.tasks import end
from vidconf.relay.track import PublishedTrack
from vidconf.rtp.rtcp import Fir, Nack, Pli, ReceiverReport, Remb, ReportBlock, SenderReport
from vidconf.webrtc.ice_lite import LiteSession
from vidconf.webrtc.seams import DataTransport

if TYPE_CHECKING:
    from vidconf.relay.participant import Participant


@dataclass(slots=True)
class _Place:
    """One m-line of our offers."""

    kind: str
    mid: str
    track: PublishedTrack | None = None
    down: Down | None = None
    idle: bool = False
    """Answered as inactive: free for another track."""

    @property
    def has_red(self) -> bool:
        return self.track is not None and self.track.has_red


class Subscribing:
    """One participant's."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._counters = participant.room.relay.counters
        self.session = LiteSession(participant.room.relay.port, self._on_rtp, self._on_rtcp)
        self._places: list[_Place] = []
        self._by_track: dict[str, _Place] = {}
        self._by_ssrc: dict[int, Down] = {}
        self._repairs: set[int] = set()
        """The SSRCs of what is sent once more."""
        self._channels: dict[str, RTCDataChannel] = {}
        self._sctp: DataTransport | None = None
        self._dirty, self._answered, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._offer_id = 0
        self._refused: set[str] = set()
        """The mids that the last answer does not take, and those that take RED or RTX."""
        self._red: set[str] = set()
        self._rtx: set[str] = set()
        self._connecting: asyncio.Task[None] | None = None
        self._rtcp = Reports(self._counters)
        self.delivery = Delivery(self._by_ssrc.values, self._owner_of, participant.say)
        self._negotiating = asyncio.create_task(self._negotiate(), name="subscriber")

    @property
    def tracks(self) -> list[str]:
        """The sids subscribed to."""
        return list(self._by_track)

    def down(self, sid: str) -> Down | None:
        place = self._by_track.get(sid)
        return place.down if place is not None else None

    def _owner_of(self, down: Down) -> tuple[str, str]:
        """The sids of whoever publishes it, and of the track."""
        track = next(place.track for place in self._by_track.values() if place.down is down)
        assert track is not None
        return track.owner.sid, track.sid

    def begin(self) -> None:
        """The first offer, also when there is no track yet: data channels make it worthwhile, and clients wait for it."""
        self._dirty.set()

    # ---- tracks

    def subscribe(self, track: PublishedTrack, wish: Wish) -> None:
        """Have a track, as `wish` says. What is subscribed to already stays as it is."""
        if track.sid in self._by_track:
            return
        place = next((p for p in self._places if p.idle and p.kind == track.kind), None)
        if place is None:
            place = _Place(track.kind, str(len(self._places)))
            self._places.append(place)
        down = Down(track.layers.all[0], self.session, self._new_ssrc(), wish)
        self._by_ssrc[down.ssrc] = down
        if track.kind == "video":
            down.rtx_ssrc = self._new_ssrc()
            self._repairs.add(down.rtx_ssrc)
        place.track, place.down, place.idle = track, down, False
        self._by_track[track.sid] = place
        track.layers.add(down)
        self._dirty.set()

    def _new_ssrc(self) -> int:
        ssrc = 0
        while ssrc < 16 or ssrc in self._by_ssrc or ssrc in self._repairs:
            ssrc = secrets.randbits(32)
        return ssrc

    def unsubscribe(self, sid: str) -> None:
        place = self._by_track.pop(sid, None)
        if place is None or place.down is None or place.track is None:
            return
        del self._by_ssrc[place.down.ssrc]
        place.track.layers.remove(place.down)
        self.session.forget_outgoing(place.down.ssrc)
        if place.down.takes_rtx:
            self.session.forget_outgoing(place.down.rtx_ssrc)
        self._repairs.discard(place.down.rtx_ssrc)
        place.track = place.down = None
        self._dirty.set()

    def wish(self, sid: str, wish: Wish) -> None:
        """What this client said of a track that it may be subscribed to."""
        down = self.down(sid)
        if down is not None and down.layers is not None:
            down.layers.wish(down, wish)

    # ---- negotiation

    async def _negotiate(self) -> None:
        try:
            while True:
                await self._dirty.wait()
                self._dirty.clear()
                self._answered.clear()
                offered = [(place, place.down) for place in self._places]
                self._offer()
                async with asyncio.timeout(limits.NEGOTIATION_S):
                    await self._answered.wait()
                await self._ready.wait()
                self._go_on(offered)
        except TimeoutError:
            self._participant.media_failed("negotiation")

    def _offer(self) -> None:
        self._offer_id += 1
        session, port = self.session, self._participant.room.relay.port
        transport = description.Transport(session.ufrag, session.password, session.fingerprint(), port.candidates, port.tcp_candidates)
        sections, tracks = [], {}
        for place in self._places:
            if place.track is None or place.down is None:
                sections.append(Outgoing(place.kind, place.mid))
                continue
            owner, sid = place.track.owner.sid, place.track.sid
            codec, red = place.track.codec, place.has_red
            sections.append(Outgoing(place.kind, place.mid, place.down.ssrc, f"{owner}|{sid}", sid, owner, codec, red, place.down.rtx_ssrc))
            tracks[place.mid] = sid
        sdp = description.write_offer(sections, transport, self._offer_id)
        self._participant.say(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=self._offer_id, mid_to_track_id=tracks))

    def take_answer(self, sdp: str, offer_id: int) -> None:
        """Raises DescriptionError. An answer that is not the last offer's is ignored (Rust's always say 0)."""
        if offer_id not in (0, self._offer_id) or self._answered.is_set():
            return
        answer = description.read(sdp)
        self._refused = {s.mid for s in answer.sections if s.port == 0 or s.direction not in ("recvonly", "sendrecv")}
        self._red = {s.mid for s in answer.sections if s.kind == "audio" and RED in s.codecs}
        self._rtx = {s.mid for s in answer.sections if any(codec.name == "rtx" for codec in s.codecs.values())}
        if self._connecting is None:
            if not answer.ufrag or not answer.fingerprints:
                raise description.DescriptionError("no ICE or DTLS parameters")
            role = "client" if answer.setup == "passive" else "server"
            making = made(lambda: self._connect(answer.fingerprints, role), lambda: self._participant.media_failed("subscriber"))
            self._connecting = asyncio.create_task(making, name="subscriber connects")
        self._answered.set()

    def _go_on(self, offered: list[tuple[_Place, Down | None]]) -> None:
        """An offer is answered and the way is open: let the packets of what was in it flow."""
        for place, down in offered:
            if place.down is not down:
                continue  # changed meanwhile: the next offer says so
            if down is None:
                place.idle = True
            elif place.track is not None and not down.accepted:
                if place.mid in self._refused:
                    why = rtc.SubscriptionResponse(track_sid=place.track.sid, err=models.SubscriptionError.SE_CODEC_UNSUPPORTED)
                    self._participant.say(subscription_response=why)
                    continue
                down.accepted = True
                down.takes_red = place.has_red and place.mid in self._red
                down.takes_rtx = down.rtx_ssrc > 0 and place.mid in self._rtx
                place.track.layers.update(down)
                self._participant.room.subscribed(place.track)

    async def _connect(self, fingerprints: tuple[tuple[str, str], ...], role: str) -> bool:
        if not await self.session.connect(fingerprints, role, limits.ACTIVE_WITHIN_S):
            return False
        self._ready.set()
        self._participant.media_is_up("subscriber")
        sctp = self._sctp = DataTransport(self.session.dtls)
        await sctp.start(RTCSctpCapabilities(maxMessageSize=limits.DATA_BYTES + 1024), 5000)
        # A client counts as connected only with these open.
        for label, how in ((RELIABLE, {}), (LOSSY, {"ordered": False, "maxRetransmits": 0})):
            channel = RTCDataChannel(sctp, RTCDataChannelParameters(label=label, **how))  # type: ignore[arg-type]
            channel.on("message", self._on_message(label))
            self._channels[label] = channel
        return True

    # ---- data

    def _on_message(self, label: str):  # type: ignore[no-untyped-def]
        def on_message(message: bytes | str) -> None:
            self._participant.room.data_from(self._participant, label, message)

        return on_message

    def send_data(self, data: bytes, reliable: bool) -> None:
        """One data message; dropped and counted when the client does not keep up or has no channel yet."""
        channel = self._channels.get(RELIABLE if reliable else LOSSY)
        if channel is None or channel.readyState != "open":
            self._counters.data_dropped += 1
            return
        if channel.bufferedAmount + len(data) > limits.DATA_BUFFERED_BYTES[reliable]:
            self._counters.data_dropped += 1
            if reliable:
                # A hole in what was promised to be whole: better to begin again.
                self._participant.media_failed("data")
            return
        channel.send(data)

    # ---- packets

    def _on_rtp(self, data: bytes) -> None:
        """Nobody has leave to send media on this connection."""
        self._counters.rtp_unknown_ssrc += 1
        self.session.forget_incoming(int.from_bytes(data[8:12], "big"))

    def _on_rtcp(self, data: bytes) -> None:
        now, packets = self._rtcp.read(data)
        for packet in packets:
            match packet:
                case Nack(media=media, numbers=numbers) if down := self._by_ssrc.get(media):
                    down.upstream.resend(down, numbers, now)
                case Pli(media=media):
                    self._keyframe_asked(media)
                case Fir(entries=entries):
                    for ssrc, _ in entries[:8]:
                        self._keyframe_asked(ssrc)
                case Remb():
                    self.delivery.told(packet.bitrate_bps, now)
                case ReceiverReport(blocks=blocks) | SenderReport(blocks=blocks):
                    if trips := [trip for block in blocks if (trip := self._reported(block, now)) is not None]:
                        self.delivery.reported(self.fraction_lost, max(trips), now)

    def _keyframe_asked(self, ssrc: int) -> None:
        if (down := self._by_ssrc.get(ssrc)) and down.is_open:
            down.upstream.want_keyframe()

    def _reported(self, block: ReportBlock, now: float) -> float | None:
        """The round trip that it tells, 0 where it tells none; None of a stream that is no more."""
        down = self._by_ssrc.get(block.ssrc)
        if down is None:
            return None
        down.fraction_lost = block.fraction_lost / 256
        if down.layers is not None:
            down.layers.lost(down, down.fraction_lost, now)
        if not block.lsr or block.lsr != down.sr_ntp:
            return 0.0
        down.round_trip_s = max(0.0, now - down.sr_at - block.dlsr / 65536)
        return down.round_trip_s

    @property
    def fraction_lost(self) -> float:
        """The worst of what this client reported."""
        return max((d.fraction_lost for d in self._by_ssrc.values() if d.is_open), default=0.0)

    async def close(self) -> None:
        self.delivery.close()
        for task in (self._negotiating, self._connecting):
            await end(task)
        for sid in list(self._by_track):
            self.unsubscribe(sid)
        if self._sctp is not None:
            with contextlib.suppress(ConnectionError):
                await self._sctp.stop()
        await self.session.close()
