"""One connection to the SFU: its signalling, its two peers, what travels between them. Made by `session`, thrown away with a loss.

Loop's thread only. Negotiation is strictly in turn on both peers: offers are queued and answered one by one, our own offers
go out one at a time with everything that has changed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from livekit.protocol import models, rtc

from vidconf.engine.outgoing import OutgoingStream, Pacer, TransportNumbers
from vidconf.engine.publication import Publication
from vidconf.engine.signalling import SignalError, Signalling
from vidconf.engine.subscription import OWN_SSRC, Subscription
from vidconf.engine.video_publication import VideoPublication
from vidconf.protocol.livekit import SOURCE_NUMBERS
from vidconf.rtp.congestion import SimpleRate
from vidconf.rtp.packets import PacketError, parse_rtp
from vidconf.rtp.receiver_feedback import MIN_REPORT_S, ReceiverFeedback
from vidconf.rtp.rtcp import Fir, Nack, Pli, ReceiverReport, Sdes, SenderReport, TransportFeedback, parse_rtcp
from vidconf.webrtc.description import (
    LEVEL,
    MID,
    OPUS,
    TRANSPORT_CC,
    VP8,
    DescriptionError,
    Section,
    extension_ids,
    feedback_asked,
    remote_tracks,
)
from vidconf.webrtc.peer import Peer, ice_servers

log = logging.getLogger("vidconf.transport")

CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0
FAREWELL_S = 1.0
TICK_S = 0.02
REPORT_S = 1.0
MAX_WAITING_OFFERS = 64
MAX_REPORT_BLOCKS = 31
START_BPS = 1_000_000
FLOOR_BPS = 150_000


class Owner(Protocol):
    """The session, as a connection needs it."""

    publications: dict[str, Publication]

    def subscription(self, sid: str, kind: str) -> Subscription:
        """The subscription of a track; made when it is new."""

    def subscriptions(self) -> Sequence[Subscription]: ...

    def on_message(self, message: rtc.SignalResponse) -> None:
        """Everything of signalling that is about the room and not about the connection."""

    def publication_refused(self, publication: Publication, code: str) -> None: ...


@dataclass
class _Published:
    publication: Publication
    cid: str
    sid: str = ""
    muted: bool = False
    """What the server was last told."""
    section: Section | None = None


class Connection:
    """`open`, then it lives until `ended` holds a reason: `signal_lost`, `ice_lost`, `publish_failed`, `leave:<number>:<action>`."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.signalling = Signalling(self._on_signal)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.join: rtc.JoinResponse | None = None
        self.unrouted = self.malformed = 0
        self.rate: SimpleRate | None = None
        self.numbers = TransportNumbers()
        self._subscriber: Peer | None = None
        self._publisher: Peer | None = None
        self._pacer = Pacer(self._pacer_overflowed)
        self._offers: asyncio.Queue[rtc.SessionDescription] = asyncio.Queue(MAX_WAITING_OFFERS)
        self._changed = asyncio.Event()
        self._published: dict[Publication, _Published] = {}
        self._waiting: dict[str, asyncio.Future[models.TrackInfo]] = {}
        self._refused: set[Publication] = set()
        self._streams: dict[int, tuple[OutgoingStream, Publication]] = {}
        self.feedback = ReceiverFeedback(OWN_SSRC)
        """What the server is told of our downlink."""
        self._by_ssrc: dict[int, Subscription] = {}
        self._told_ssrcs: tuple[int, ...] = ()
        """Those that the estimate is told for, pictures first."""
        self._report_due = 0.0
        self._repairs: dict[int, Subscription] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    # ---- life
    async def open(self, url: str, token: str, servers: Sequence[dict[str, Any]], *, subscribe: bool, adaptive: bool) -> rtc.JoinResponse:
        """Join. Returns when the server has answered; media connects meanwhile (`connected`). Raises SignalError."""
        join = await self.signalling.connect(url, token, auto_subscribe=subscribe, adaptive_stream=adaptive)
        self.join = join
        offered = [
            {"urls": list(s.urls), "username": s.username, "credential": s.credential}
            for s in join.ice_servers
            # LiveKit names public STUN servers when it has none of its own: an agency's client does not talk to those
            if not any("stun.l.google" in u or "twilio" in u for u in s.urls)
        ]
        chosen = ice_servers([*servers, *offered][:4])
        self._subscriber = Peer("subscriber", chosen, self._on_rtp, self._on_subscriber_rtcp)
        self._publisher = Peer("publisher", chosen, self._on_publisher_rtp, self._on_publisher_rtcp)
        self._changed.set()
        for name, run in (
            ("answers", self._answer_in_turn()), ("publishes", self._publish_in_turn()), ("ticks", self._tick()), ("watches", self._watch()),
        ):
            task = asyncio.create_task(run, name=f"connection {name}")
            task.add_done_callback(self._task_done)
            self._tasks.append(task)
        return join

    async def connected(self) -> bool:
        """Wait until media can flow to us (the subscriber's way, which the server opens at once). False: it could not."""
        assert self.join is not None
        assert self._subscriber is not None
        if not self.join.subscriber_primary:
            return not self.ended.done()
        up = asyncio.ensure_future(self._subscriber.connected.wait())
        either: set[asyncio.Future[Any]] = {up, self.ended}
        try:
            await asyncio.wait(either, timeout=CONNECT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            return up.done() and not self.ended.done()
        finally:
            up.cancel()

    async def close(self, *, farewell: bool) -> None:
        """End everything that belongs to this connection; publications and subscriptions stay. Never raises."""
        if self._closed:
            return
        self._closed = True
        for publication in list(self._published):
            publication.unbind()
        for subscription in {*self._by_ssrc.values()}:
            subscription.unbind()
        self._by_ssrc, self._repairs, self._streams = {}, {}, {}
        self._end("closed")
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        self._pacer.close()
        leave = rtc.SignalRequest(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
        peers = [p.close() for p in (self._subscriber, self._publisher) if p]
        await asyncio.gather(self.signalling.close(leave if farewell else None), *peers, return_exceptions=True)
        for future in self._waiting.values():
            future.cancel()

    def move(self) -> None:
        """Another token or another room: this connection has served."""
        self._end("moved")

    def send(self, **message: Any) -> None:
        self.signalling.send(rtc.SignalRequest(**message))

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self._end("failed")

    async def _watch(self) -> None:
        assert self._subscriber is not None
        assert self._publisher is not None
        waits = {
            asyncio.ensure_future(self.signalling.lost.wait()): "signal_lost",
            asyncio.ensure_future(self._subscriber.failed.wait()): "ice_lost",
            asyncio.ensure_future(self._publisher.failed.wait()): "ice_lost",
        }
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            reason = waits[next(iter(done))]
            if reason == "ice_lost":
                # A server that sends us away closes media and says why by signalling: the two race.
                told: set[asyncio.Future[Any]] = {self.ended, *(task for task, what in waits.items() if what == "signal_lost")}
                await asyncio.wait(told, timeout=FAREWELL_S, return_when=asyncio.FIRST_COMPLETED)
            # a leave that came just before the socket closed has already ended it with the better reason
            self._end(reason)
        finally:
            for task in waits:
                task.cancel()

    # ---- signalling
    def _on_signal(self, message: rtc.SignalResponse) -> None:
        if self._closed:
            return
        match message.WhichOneof("message"):
            case "offer":
                try:
                    self._offers.put_nowait(message.offer)
                except asyncio.QueueFull:
                    self._end("signal_lost")
            case "answer":
                if self._publisher is not None:
                    self._publisher.accept(message.answer.sdp, message.answer.id)
            case "trickle":
                self._on_trickle(message.trickle)
            case "track_published":
                self._answered(message.track_published.cid, message.track_published.track)
            case "track_unpublished":
                self._on_unpublished(message.track_unpublished.track_sid)
            case "request_response":
                self._on_request_response(message.request_response)
            case "subscribed_quality_update":
                self._on_wanted(message.subscribed_quality_update)
            case "leave":
                self._end(f"leave:{message.leave.reason}:{message.leave.action}")
            case _:
                self.owner.on_message(message)

    def _on_trickle(self, trickle: rtc.TrickleRequest) -> None:
        peer = self._subscriber if trickle.target == rtc.SignalTarget.SUBSCRIBER else self._publisher
        if peer is None:
            return
        try:
            line = json.loads(trickle.candidateInit)["candidate"]
            if not isinstance(line, str):
                raise TypeError("candidate is no text")
        except (ValueError, KeyError, TypeError, RecursionError):
            self.malformed += 1
            return
        task = asyncio.create_task(self._add_candidate(peer, line), name="candidate")
        self._tasks = [t for t in self._tasks if not t.done()]
        self._tasks.append(task)

    async def _add_candidate(self, peer: Peer, line: str) -> None:
        try:
            await peer.add_candidate(line)
        except DescriptionError:
            self.malformed += 1

    async def _answer_in_turn(self) -> None:
        assert self._subscriber is not None
        while True:
            offer = await self._offers.get()

            def take(sdp: str, offer: rtc.SessionDescription = offer) -> None:
                self._route(dict(offer.mid_to_track_id))
                self.send(answer=rtc.SessionDescription(type="answer", sdp=sdp, id=offer.id))

            try:
                await self._subscriber.answer(offer.sdp, take)
            except DescriptionError as error:
                self.malformed += 1
                log.warning("an offer cannot be answered: %s", error)
                continue
            except ConnectionError as error:
                self._end("ice_lost")
                log.info("no answer: %s", error)
                return

    def _route(self, mid_to_track: dict[str, str]) -> None:
        """SSRC -> subscription from the offer alone: a section used again brings new SSRCs under an old mid."""
        assert self._subscriber is not None
        assert self._subscriber.remote is not None
        table: dict[int, Subscription] = {}
        repairs: dict[int, Subscription] = {}
        for track in remote_tracks(self._subscriber.remote):
            # older servers send no table: the msid's second token is the track then
            sid = mid_to_track.get(track.mid) or (track.msid.split(" ")[-1] if not mid_to_track else "")
            if not sid or not track.ssrcs:
                continue
            subscription = self.owner.subscription(sid, track.kind)
            if subscription.kind != track.kind:
                self.malformed += 1
                continue
            subscription.bind(track, self._subscriber.send)
            table[track.ssrcs[0]] = subscription
            for ssrc in track.repair:
                repairs[ssrc] = subscription
        for gone in set(self._by_ssrc.values()) - set(table.values()):
            gone.unbind()
        self._by_ssrc, self._repairs = table, repairs
        self._told_ssrcs = tuple(sorted(table, key=lambda ssrc: table[ssrc].kind != "video"))
        self.feedback.asked(*feedback_asked(self._subscriber.remote))

    # ---- publishing
    def publications_changed(self) -> None:
        """Something was opened or closed; or a permission has changed (then `retry`)."""
        self._changed.set()

    def permission_changed(self) -> None:
        self._refused.clear()
        self._changed.set()

    def mute_changed(self, publication: Publication) -> None:
        """Tell the server what the publication already does."""
        published = self._published.get(publication)
        if published is not None and published.sid and published.muted != publication.muted:
            published.muted = publication.muted
            self.send(mute=rtc.MuteTrackRequest(sid=published.sid, muted=publication.muted))

    def insist_on_mute(self, publication: Publication) -> None:
        """The server believes that it may open us. It may not."""
        published = self._published.get(publication)
        if published is not None and published.sid:
            self.send(mute=rtc.MuteTrackRequest(sid=published.sid, muted=True))

    def publication_of(self, sid: str) -> Publication | None:
        return next((p.publication for p in self._published.values() if p.sid == sid), None)

    async def _publish_in_turn(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish()
            except (DescriptionError, TimeoutError, ConnectionError) as error:
                log.warning("publishing failed: %r", error)
                self._end("publish_failed")
                return

    async def _publish(self) -> None:
        """Bring what is published into line with what is open, in one negotiation."""
        assert self._publisher is not None
        changed = False
        for publication, published in list(self._published.items()):
            if publication.closed or publication not in self.owner.publications.values():
                del self._published[publication]
                publication.unbind()
                if published.section is not None:
                    published.section.active = False
                    self._streams.pop(published.section.ssrc, None)
                    changed = True
        wanted = [p for p in self.owner.publications.values() if not p.closed and p not in self._published and p not in self._refused]
        added = [p for p in await asyncio.gather(*(self._announce(p) for p in wanted)) if p is not None]
        for published in added:
            self._place(published)
        if not added and not changed:
            return
        await self._publisher.offer(self._send_offer)
        if added:
            await self._bind(added)

    async def _announce(self, publication: Publication) -> _Published | None:
        """AddTrack, and the server's word for it. The mute goes with it: the server never believes us open when we are not."""
        published = _Published(publication, f"{publication.source}-{random.getrandbits(48):012x}", muted=publication.muted)
        video = isinstance(publication, VideoPublication)
        request = rtc.AddTrackRequest(
            cid=published.cid,
            name=publication.source,
            type=models.TrackType.VIDEO if video else models.TrackType.AUDIO,
            source=SOURCE_NUMBERS[publication.source],  # type: ignore[arg-type]
            muted=publication.muted,
        )
        if isinstance(publication, VideoPublication):
            width, height = publication.width or publication.shape.width, publication.height or publication.shape.height
            request.width, request.height = width, height
            request.layers.append(
                models.VideoLayer(quality=models.VideoQuality.HIGH, width=width, height=height, bitrate=publication.shape.max_bps)
            )
        future: asyncio.Future[models.TrackInfo] = asyncio.get_running_loop().create_future()
        self._waiting[published.cid] = future
        self.send(add_track=request)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                info = await future
        except (TimeoutError, PermissionError) as error:
            self._refused.add(publication)
            self.owner.publication_refused(publication, "not_allowed" if isinstance(error, PermissionError) else "not_published")
            return None
        finally:
            self._waiting.pop(published.cid, None)
        published.sid = info.sid
        self._published[publication] = published
        # the intent may have changed while the server thought about it
        self.mute_changed(publication)
        return published

    def _place(self, published: _Published) -> None:
        """A section for it: one that lies fallow, else a new one. Sections never go away."""
        assert self._publisher is not None
        publication, sections = published.publication, self._publisher.sections
        section = next((s for s in sections if not s.active and s.kind == publication.kind), None)
        if section is None:
            section = Section(publication.kind, str(len(sections) + 1))
            sections.append(section)
        section.cid, section.ssrc, section.active = published.cid, random.randrange(1 << 16, 1 << 32), True
        published.section = section

    async def _send_offer(self, sdp: str, offer_id: int) -> None:
        self.send(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=offer_id))

    async def _bind(self, added: Sequence[_Published]) -> None:
        """When the way is up, let the publications send."""
        publisher = self._publisher
        assert publisher is not None
        assert publisher.remote is not None
        ids = extension_ids(publisher.remote)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await publisher.connected.wait()
        for published in added:
            publication, section = published.publication, published.section
            if publication.closed or section is None or self._published.get(publication) is not published:
                continue
            known = ids.get(section.mid, {})
            video = publication.kind == "video"
            stream = OutgoingStream(
                send=publisher.send, payload_type=VP8 if video else OPUS, clock_hz=90_000 if video else 48_000, mid=section.mid,
                mid_id=known.get(MID, 0), level_id=known.get(LEVEL, 0), number_id=known.get(TRANSPORT_CC, 0), numbers=self.numbers,
                ssrc=section.ssrc,
            )
            self._streams[section.ssrc] = (stream, publication)
            publication.bind(stream, self._pacer)
        self._share_rate()

    def _answered(self, cid: str, info: models.TrackInfo) -> None:
        future = self._waiting.get(cid)
        if future is not None and not future.done():
            future.set_result(info)

    def _on_request_response(self, response: rtc.RequestResponse) -> None:
        if response.reason == rtc.RequestResponse.Reason.OK or not response.HasField("add_track"):
            return
        future = self._waiting.get(response.add_track.cid)
        if future is not None and not future.done():
            future.set_exception(PermissionError(response.message))

    def _on_unpublished(self, sid: str) -> None:
        """The server took one of ours away (the right to publish it is gone)."""
        publication = self.publication_of(sid)
        if publication is None:
            return
        published = self._published.pop(publication)
        publication.unbind()
        if published.section is not None:
            published.section.active = False
            self._streams.pop(published.section.ssrc, None)
        self._refused.add(publication)
        self.owner.publication_refused(publication, "not_allowed")

    def _on_wanted(self, update: rtc.SubscribedQualityUpdate) -> None:
        """All layers off: nobody watches, encoding stops."""
        publication = self.publication_of(update.track_sid)
        if publication is None:
            return
        if update.subscribed_codecs:
            wanted = any(q.enabled for codec in update.subscribed_codecs for q in codec.qualities)
        else:
            wanted = any(q.enabled for q in update.subscribed_qualities)
        if wanted and not publication.wanted:
            publication.request_keyframe()
        publication.wanted = wanted

    # ---- packets
    def _on_rtp(self, data: bytes, now: float) -> None:
        try:
            packet = parse_rtp(data)
        except PacketError:
            self.malformed += 1
            return
        self.feedback.received(packet.extensions, len(data), now)
        subscription = self._by_ssrc.get(packet.ssrc)
        if subscription is not None:
            subscription.on_rtp(packet, now)
            return
        subscription = self._repairs.get(packet.ssrc)
        if subscription is not None:
            subscription.on_repair(packet, now)
        else:
            self.unrouted += 1          # ahead of its offer, or a probe

    def _on_publisher_rtp(self, data: bytes, now: float) -> None:
        self.unrouted += 1              # nobody sends media on the way that is ours

    def _on_subscriber_rtcp(self, data: bytes, now: float) -> None:
        try:
            packets = parse_rtcp(data)
        except PacketError:
            self.malformed += 1
            return
        for packet in packets:
            if isinstance(packet, SenderReport) and (subscription := self._by_ssrc.get(packet.ssrc)):
                subscription.on_sender_report(packet, now)
            elif isinstance(packet, Sdes) and (subscription := self._by_ssrc.get(packet.ssrc)):
                subscription.cname = packet.cname

    def _on_publisher_rtcp(self, data: bytes, now: float) -> None:
        try:
            packets = parse_rtcp(data)
        except PacketError:
            self.malformed += 1
            return
        for packet in packets:
            match packet:
                case ReceiverReport(_, blocks) | SenderReport(_, _, _, _, _, blocks):
                    for block in blocks:
                        entry = self._streams.get(block.ssrc)
                        if entry:
                            entry[0].note_report(block)
                case Nack(_, media, numbers):
                    entry = self._streams.get(media)
                    if entry and not entry[1].muted:
                        entry[0].repeat(numbers, now)
                case Pli(_, media):
                    self._keyframe_asked(media)
                case Fir(_, entries):
                    for ssrc, _number in entries:
                        self._keyframe_asked(ssrc)
                case TransportFeedback():
                    self._on_feedback(packet, now)

    def _keyframe_asked(self, ssrc: int) -> None:
        entry = self._streams.get(ssrc)
        if entry:
            entry[1].request_keyframe()

    def _on_feedback(self, feedback: TransportFeedback, now: float) -> None:
        results = self.numbers.report(feedback)
        if not results:
            return
        if self.rate is None:
            # begin with the first feedback, not with the first packet: before it the server does not know the stream
            self.rate = SimpleRate(START_BPS, FLOOR_BPS, 4_000_000)
        self.rate.on_report(results, now)
        self._share_rate()

    def _share_rate(self) -> None:
        """Split the rate among the pictures that are sent, by what each could use."""
        sending = [p for p in self._published if isinstance(p, VideoPublication) and p.stream is not None and not p.muted]
        total = sum(p.ceiling_bps for p in sending)
        if not total or self.rate is None:
            return
        self.rate.ceiling_bps = max(FLOOR_BPS, int(total * 1.2))
        for publication in sending:
            publication.set_target(self.rate.target_bps * publication.ceiling_bps // total)

    def _pacer_overflowed(self) -> None:
        for _, publication in self._streams.values():
            publication.request_keyframe()

    @property
    def rtt_s(self) -> float:
        """Round trip to the server, seconds: on the media's own way where that was measured, else by signalling."""
        measured = self._subscriber.rtt_s if self._subscriber is not None else None
        return self.signalling.rtt_s if measured is None else measured

    # ---- time
    async def _tick(self) -> None:
        reported_at = time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            rtt_s = self.rtt_s
            for subscription in self._by_ssrc.values():
                subscription.tick(now, rtt_s)
            if self._subscriber is not None:
                for packet in self.feedback.due(self._told_ssrcs, now):
                    self._subscriber.send(packet)
            if now - reported_at >= REPORT_S:
                reported_at = now
                self.feedback.rate.round_trip(rtt_s, now)
                self._report(now)

    def _report(self, now: float) -> None:
        if self._publisher is not None:
            for stream, publication in self._streams.values():
                report = None if publication.muted else stream.sender_report(now)
                if report:
                    self._publisher.send(report)
        if self._subscriber is not None and now >= self._report_due:
            blocks = [b for s in self._by_ssrc.values() if (b := s.report_block(now)) is not None]
            packets = [
                ReceiverReport(OWN_SSRC, tuple(blocks[at : at + MAX_REPORT_BLOCKS])).to_bytes() for at in range(0, len(blocks), MAX_REPORT_BLOCKS)
            ]
            for packet in packets:
                self._subscriber.send(packet)
            # not a whole interval: this is asked once a second, and a moment early would cost the next
            self._report_due = now + self.feedback.report_interval_s(sum(map(len, packets)), now) - MIN_REPORT_S / 2

    def sent(self) -> dict[str, Any]:
        """What leaves, for the report's `sent`."""
        return {
            publication.source: {
                "packets": stream.packets, "octets": stream.octets, "repeated": stream.repeated,
                "fraction_lost": round(stream.fraction_lost, 3), "rtt_ms": None if stream.rtt_s is None else round(1000 * stream.rtt_s, 1),
            }
            for stream, publication in self._streams.values()
        }


__all__ = ["Connection", "SignalError"]
