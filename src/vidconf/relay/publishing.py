"""A participant's publisher connection: what it sends us. The loop's thread.

The client offers, we answer. Sections are tied to tracks by the second token of `a=msid` (AddTrackRequest's cid), SSRCs to
tracks and their layers by the offer or, where it names none (simulcast), by the MID and rid of the packets.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from aiortc import RTCDataChannel, RTCSctpCapabilities
from livekit.protocol import rtc

from vidconf.relay import description, limits
from vidconf.relay.connecting import Reports, made
from vidconf.relay.description import Agreed, Description, Section
from vidconf.relay.forwarder import Upstream
from vidconf.relay.tasks import end
from vidconf.relay.track import PublishedTrack
from vidconf.rtp.feedback import TransportFeedbackBuilder
from vidconf.rtp.packets import PacketError, parse_rtp
from vidconf.rtp.rtcp import Nack, Pli, ReceiverReport, ReportBlock, SenderReport
from vidconf.webrtc.ice_lite import LiteSession
from vidconf.webrtc.seams import DataTransport

if TYPE_CHECKING:
    from vidconf.relay.participant import Participant

FEEDBACK_S = 0.08
NACK_S = 0.02
OWN_SSRC = 1
MAX_IGNORED = 64
MAX_REPORTS = 8
"""Feedback packets at one time."""


class Publishing:
    """One participant's."""

    def __init__(self, participant: Participant) -> None:
        self._participant = participant
        self._counters = participant.room.relay.counters
        self._loop = asyncio.get_running_loop()
        self.session = LiteSession(participant.room.relay.port, self._on_rtp, self._on_rtcp)
        self.pending: dict[str, PublishedTrack] = {}
        """By cid: asked for, not yet in an offer."""
        self.tracks: dict[str, PublishedTrack] = {}
        """By sid: published."""
        self._by_mid: dict[str, PublishedTrack] = {}
        self._routes: dict[bytes, Callable[[bytes, float], None]] = {}
        self._ignored: set[bytes] = set()
        self._arrivals: list[tuple[int, float]] = []
        self._feedback = TransportFeedbackBuilder(OWN_SSRC)
        self._feedback_timer: asyncio.TimerHandle | None = None
        self._nack_timer: asyncio.TimerHandle | None = None
        self._rtcp = Reports(self._counters)
        self._connecting: asyncio.Task[None] | None = None
        self._sctp: DataTransport | None = None
        self._version = 1
        self.fraction_lost = 0.0
        """Of what should have come in the last report's time, the worst track's."""

    # ---- tracks

    def add(self, request: rtc.AddTrackRequest) -> PublishedTrack:
        """A request that was found permitted."""
        track = PublishedTrack(self._participant, request, self._on_gap)
        self.pending[request.cid] = track
        return track

    def find(self, sid: str) -> PublishedTrack | None:
        """Published or pending."""
        return self.tracks.get(sid) or next((t for t in self.pending.values() if t.sid == sid), None)

    def all(self) -> list[PublishedTrack]:
        return [*self.tracks.values(), *self.pending.values()]

    def drop(self, track: PublishedTrack) -> None:
        """Forget a track; its packets are nobody's from now on."""
        if self.pending.get(track.cid) is track:
            del self.pending[track.cid]
        self.tracks.pop(track.sid, None)
        if self._by_mid.get(track.mid) is track:
            del self._by_mid[track.mid]
        for up in track.layers.all:
            for ssrc in (up.ssrc, up.rtx_ssrc):
                if ssrc:
                    self._routes.pop(ssrc.to_bytes(4, "big"), None)
                    self.session.forget_incoming(ssrc)
        track.layers.close()

    # ---- negotiation

    def take_offer(self, sdp: str, offer_id: int) -> None:
        """Answer, tie sections to tracks, and start the connection the first time. Raises DescriptionError."""
        offer = description.read(sdp)
        if not offer.ufrag or not offer.fingerprints:
            raise description.DescriptionError("no ICE or DTLS parameters")
        self._ignored.clear()
        gone = [track for mid, track in self._by_mid.items() if not self._still_there(offer, mid, track)]
        for track in gone:
            self._participant.room.unpublish(track)
        answers: dict[str, Agreed | None] = {}
        new = [bound for section in offer.sections if (bound := self._bind(section, answers)) is not None]
        session, port = self.session, self._participant.room.relay.port
        transport = description.Transport(session.ufrag, session.password, session.fingerprint(), port.candidates, port.tcp_candidates)
        self._version += 1
        answer = rtc.SessionDescription(type="answer", sdp=description.write_answer(offer, transport, self._version, answers), id=offer_id)
        self._participant.say(answer=answer)
        if self._connecting is None:
            making = made(lambda: self._connect(offer), lambda: self._participant.media_failed("publisher"))
            self._connecting = asyncio.create_task(making, name="publisher")
        for track in new:
            self._participant.room.publish(track)

    def _still_there(self, offer: Description, mid: str, track: PublishedTrack) -> bool:
        section = next((s for s in offer.sections if s.mid == mid), None)
        return section is not None and section.sends and (not section.cid or section.cid in (track.cid, track.info.codecs[0].cid))

    def _bind(self, section: Section, answers: dict[str, Agreed | None]) -> PublishedTrack | None:
        """Put down what a section is answered with. The track that it brings, when it is a new one."""
        known = self._by_mid.get(section.mid)
        if known is not None and known.kind != section.kind:
            answers[section.mid] = None
            return None
        track = known or (self._asked_for(section) if section.sends else None)
        answers[section.mid] = agreed = description.agree(section, track.codec.name if track else "", track is None or track.has_red)
        if track is None or agreed is None:
            return None
        if known is not None and agreed.codec is not known.codec:
            # Its subscribers were offered another: they cannot be sent this under the old name.
            self._participant.room.unpublish(known, tell_owner=True)
            return None
        if known is None:
            del self.pending[track.cid]
            track.mid = track.info.mid = track.info.codecs[0].mid = section.mid
            if section.cid:
                track.info.codecs[0].cid = section.cid
            self.tracks[track.sid] = self._by_mid[section.mid] = track
        track.agree(agreed, agreed.rids or [""] * (max(1, len(section.simulcast_ssrcs)) if track.kind == "video" else 1))
        self._route(track, section, agreed)
        if known is not None:
            return None
        track.told_layers = True  # about to be, with the rest
        return track

    def _asked_for(self, section: Section) -> PublishedTrack | None:
        """By the cid; else the oldest request of the kind, as LiveKit does."""
        track = self.pending.get(section.cid)
        if track is None or track.kind != section.kind:
            track = next((t for t in self.pending.values() if t.kind == section.kind), None)
        return track if track is not None and self._participant.permission.permits(track.source) else None

    def _route(self, track: PublishedTrack, section: Section, agreed: Agreed) -> None:
        for up in track.layers.all:
            up.arrivals, up.cname = self._arrivals, self._participant.sid
            up.send_keyframe_request = self._keyframe_request(up)
            up.extension_id = agreed.extensions.get(description.LEVEL if track.kind == "audio" else description.TRANSPORT_CC, 0)
        if not section.rids:
            for up, main in zip(track.layers.all, section.simulcast_ssrcs or section.ssrcs, strict=False):
                self._tie(up, main)
                repair = next((r for r, m in section.repairs.items() if m == main), 0)
                if repair:
                    self._tie_repair(up, repair)
            track.note_layers()

    def _keyframe_request(self, up: Upstream) -> Callable[[], None]:
        return lambda: self.session.send_rtcp(Pli(OWN_SSRC, up.ssrc).to_bytes()) if up.ssrc else None

    def _tie(self, up: Upstream, ssrc: int) -> None:
        if up.ssrc == ssrc or ssrc.to_bytes(4, "big") in self._routes:
            return
        if up.ssrc:
            self._routes.pop(up.ssrc.to_bytes(4, "big"), None)
            self.session.forget_incoming(up.ssrc)
            up.restart()
        up.ssrc = ssrc
        self._routes[ssrc.to_bytes(4, "big")] = up.received

    def _tie_repair(self, up: Upstream, ssrc: int) -> None:
        if up.rtx_ssrc == ssrc or ssrc.to_bytes(4, "big") in self._routes:
            return
        if up.rtx_ssrc:
            self._routes.pop(up.rtx_ssrc.to_bytes(4, "big"), None)
            self.session.forget_incoming(up.rtx_ssrc)
        up.rtx_ssrc = ssrc
        self._routes[ssrc.to_bytes(4, "big")] = up.received_rtx

    async def _connect(self, offer: Description) -> bool:
        role = "client" if offer.setup == "passive" else "server"
        if not await self.session.connect(offer.fingerprints, role, limits.ACTIVE_WITHIN_S):
            return False
        self._participant.media_is_up("publisher")
        self._sctp = DataTransport(self.session.dtls)
        self._sctp.on("datachannel", self._on_channel)
        await self._sctp.start(RTCSctpCapabilities(maxMessageSize=limits.DATA_BYTES + 1024), 5000)
        return True

    def _on_channel(self, channel: RTCDataChannel) -> None:
        @channel.on("message")
        def on_message(message: bytes | str) -> None:
            self._participant.room.data_from(self._participant, channel.label, message)

    # ---- packets

    def _on_rtp(self, data: bytes) -> None:
        route = self._routes.get(data[8:12])
        if route is None:
            self._unknown(data)
            return
        route(data, time.monotonic())
        if self._arrivals and self._feedback_timer is None:
            self._feedback_timer = self._loop.call_later(FEEDBACK_S, self._send_feedback)

    def _unknown(self, data: bytes) -> None:
        """An SSRC seen for the first time: by MID and rid it may be a track's."""
        key = data[8:12]
        self._counters.rtp_unknown_ssrc += 1
        if key in self._ignored:
            return
        ssrc = int.from_bytes(key, "big")
        try:
            packet = parse_rtp(data)
        except PacketError:
            self._counters.rtp_malformed += 1
            self.session.forget_incoming(ssrc)
            return
        found = self._by_extensions(packet.payload_type, packet.extensions)
        if found is not None and ssrc:
            track, up = found
            (self._tie_repair if packet.payload_type == up.rtx_payload_type else self._tie)(up, ssrc)
            track.note_layers()
            if route := self._routes.get(key):
                route(data, time.monotonic())
                return
        # Of no track that we agreed on.
        if len(self._ignored) < MAX_IGNORED:
            self._ignored.add(key)
        else:
            self.session.forget_incoming(ssrc)

    def _by_extensions(self, payload_type: int, extensions: dict[int, bytes]) -> tuple[PublishedTrack, Upstream] | None:
        """The track that a packet's MID names, and the layer that its rid does."""
        named = False
        for track in self._by_mid.values():
            assert track.agreed is not None
            ids, first = track.agreed.extensions, track.layers.all[0]
            mid = extensions.get(ids.get(description.MID, 0))
            named = named or mid is not None
            if mid != track.mid.encode() or payload_type not in first.payload_types:
                continue
            if not track.agreed.rids:
                return track, first
            uri = description.REPAIRED_RID if payload_type == first.rtx_payload_type else description.RID
            rid = extensions.get(ids.get(uri, 0), b"").decode("ascii", "replace")
            return next(((track, up) for up in track.layers.all if up.layer.rid == rid), None)
        if named:
            return None
        # Neither MID nor SSRC was said: the only track of that payload type that has no SSRC yet.
        bare = [(t, t.layers.all[0]) for t in self._by_mid.values() if t.agreed is not None and not t.agreed.rids]
        bare = [(t, up) for t, up in bare if up.payload_type == payload_type and not up.ssrc]
        return bare[0] if len(bare) == 1 else None

    def _on_rtcp(self, data: bytes) -> None:
        now, packets = self._rtcp.read(data)
        for packet in packets:
            if isinstance(packet, SenderReport):
                for up in self._upstreams():
                    if up.ssrc == packet.ssrc:
                        up.pass_report(packet, now)

    def _upstreams(self) -> Iterator[Upstream]:
        return (up for track in self.tracks.values() for up in track.layers.all)

    def _on_gap(self) -> None:
        if self._nack_timer is None:
            self._nack_timer = self._loop.call_later(NACK_S / 2, self._send_nacks)

    def _send_nacks(self) -> None:
        self._nack_timer = None
        now, again = time.monotonic(), False
        for up in self._upstreams():
            if not up.missing:
                continue
            if numbers := up.due_nacks(now):
                self._counters.nacks_sent += len(numbers)
                self.session.send_rtcp(Nack(OWN_SSRC, up.ssrc, tuple(numbers)).to_bytes())
            again = again or bool(up.missing)
        if again:
            self._nack_timer = self._loop.call_later(NACK_S, self._send_nacks)

    def _send_feedback(self) -> None:
        self._feedback_timer = None
        arrivals, builder = self._arrivals, self._feedback
        for sequence, at in arrivals:
            builder.received(sequence, at)
        arrivals.clear()
        ssrc = next((up.ssrc for up in self._upstreams() if up.kind == "video" and up.ssrc), OWN_SSRC)
        for _ in range(MAX_REPORTS):  # numbers that jump about make one of each packet: the rest waits for the next turn
            report = builder.build(ssrc)
            if report is None:
                break
            self.session.send_rtcp(report.to_bytes())

    def report(self, now: float) -> None:
        """Once a second: receiver reports to the publisher."""
        blocks: list[ReportBlock] = []
        for up in self._upstreams():
            block = up.report(now)
            if block is not None:
                blocks.append(block)
        self.fraction_lost = max((b.fraction_lost / 256 for b in blocks), default=0.0)
        if self.session.is_up:
            for at in range(0, len(blocks), 31):
                self.session.send_rtcp(ReceiverReport(OWN_SSRC, tuple(blocks[at : at + 31])).to_bytes())

    async def close(self) -> None:
        for timer in (self._feedback_timer, self._nack_timer):
            if timer is not None:
                timer.cancel()
        await end(self._connecting)
        for track in self.all():
            self.drop(track)
        if self._sctp is not None:
            with contextlib.suppress(ConnectionError):
                await self._sctp.stop()
        await self.session.close()
