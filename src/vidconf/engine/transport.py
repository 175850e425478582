"""One connection to the SFU: its signalling, its two peers, what travels between them. Made by `session`, thrown away with a loss.

Loop's thread only. Negotiation is strictly in turn on both peers: offers are queued and answered one by one, our own offers
go out one at a time with everything that has changed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from livekit.protocol import models, rtc

from vidconf.engine.api import SetLimits
from vidconf.engine.outgoing import OutgoingStream
from vidconf.engine.publication import Publication
from vidconf.engine.publishing import Publishing
from vidconf.engine.send_control import SendControl
from vidconf.engine.signalling import SignalError, Signalling
from vidconf.engine.subscription import OWN_SSRC, Subscription
from vidconf.network.options import NetworkOptions
from vidconf.rtp.packets import PacketError, parse_rtp
from vidconf.rtp.receiver_feedback import MIN_REPORT_S, ReceiverFeedback
from vidconf.rtp.rtcp import ReceiverReport, Sdes, SenderReport, TransportFeedback, parse_rtcp
from vidconf.webrtc.description import (
    DescriptionError,
    feedback_asked,
    remote_tracks,
)
from vidconf.webrtc.ice_agent import DIRECT_S
from vidconf.webrtc.peer import Peer
from vidconf.webrtc.turn import turn_servers

log = logging.getLogger("vidconf.transport")

CONNECT_TIMEOUT_S = 10.0
FAREWELL_S = 1.0
TICK_S = 0.02
REPORT_S = 1.0
MAX_WAITING_OFFERS = 64
MAX_REPORT_BLOCKS = 31


class Owner(Protocol):
    """The session, as a connection needs it."""

    publications: dict[str, Publication]
    network: NetworkOptions
    limits: SetLimits

    def subscription(self, sid: str, kind: str) -> Subscription:
        """The subscription of a track; made when it is new."""

    def subscriptions(self) -> Sequence[Subscription]: ...

    def drop_unnamed(self, named: Collection[str]) -> None:
        """An offer names these tracks (sids) and no others."""

    def on_message(self, message: rtc.SignalResponse) -> None:
        """Everything of signalling that is about the room and not about the connection."""

    def publication_refused(self, publication: Publication, code: str) -> None: ...


class Connection:
    """`open`, `begin`, then it lives until `ended` holds a reason: `signal_lost`, `ice_lost`, `network_changed`, `publish_failed`,
    `leave:<number>:<action>`. It carries media after that, too, as long as that flows: until `release`."""

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.signalling = Signalling(self._on_signal)
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.join: rtc.JoinResponse | None = None
        self.unrouted = self.malformed = 0
        self.send_control = SendControl(lambda: self.publishing.overflowed(), self._sending, self._share_rate)
        self._subscriber: Peer | None = None
        self._publisher: Peer | None = None
        self.publishing = Publishing(owner, self.send_control.pacer, self.send_control.numbers, send=self.send, bound=self._share_rate)
        self._offers: asyncio.Queue[rtc.SessionDescription] = asyncio.Queue(MAX_WAITING_OFFERS)
        self.feedback = ReceiverFeedback(OWN_SSRC)
        """What the server is told of our downlink."""
        self._by_ssrc: dict[int, Subscription] = {}
        self._told_ssrcs: tuple[int, ...] = ()
        """Those that the estimate is told for, pictures first."""
        self._report_due = 0.0
        self._repairs: dict[int, Subscription] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._early: list[rtc.SignalResponse] | None = []
        """What the server said before `begin`; None afterwards."""
        self._closed = self._closing = False

    # ---- life
    async def open(
        self, url: str, token: str, servers: Sequence[dict[str, Any]], *, subscribe: bool, adaptive: bool,
        connect_s: float = 15.0, direct_s: float = DIRECT_S,
    ) -> rtc.JoinResponse:  # fmt: skip
        """Join. Returns when the server has answered; nothing more happens before `begin`. Raises SignalError."""
        network = self.owner.network
        join = await self.signalling.connect(
            url, token, auto_subscribe=subscribe, adaptive_stream=adaptive, connect_s=connect_s, network=network
        )
        self.join = join
        self.publishing.enabled_codecs = [codec.mime for codec in join.enabled_publish_codecs]
        offered = [
            {"urls": list(s.urls), "username": s.username, "credential": s.credential}
            for s in join.ice_servers
            # LiveKit names public STUN servers when it has none of its own: an agency's client does not talk to those
            if not any("stun.l.google" in u or "twilio" in u for u in s.urls)
        ]
        chosen = turn_servers([*servers, *offered], network)
        if network.relayed_only and not chosen:
            raise SignalError("no_turn", f"media may only go by {network.ice_transport}, and no such server is named")
        # LiveKit sends so who has failed by every other way
        relayed = bool(chosen) and join.client_configuration.force_relay == models.ClientConfigSetting.ENABLED
        kinds: dict[str, Any] = {"relayed_only": relayed, "direct_s": direct_s, "network": network}
        self._subscriber = Peer("subscriber", chosen, self._on_rtp, self._on_subscriber_rtcp, **kinds)
        self._publisher = Peer("publisher", chosen, self._on_publisher_rtp, self._on_publisher_rtcp, **kinds)
        return join

    def begin(self) -> None:
        """Answer, publish, connect media (`connected`)."""
        assert self._publisher is not None
        for name, run in (
            ("answers", self._answer_in_turn()), ("publishes", self._publish(self._publisher)), ("ticks", self._tick()), ("watches", self._watch()),
        ):
            task = asyncio.create_task(run, name=f"connection {name}")
            task.add_done_callback(self._task_done)
            self._tasks.append(task)
        early, self._early = self._early or [], None
        for message in early:
            self._on_signal(message)

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

    def release(self) -> None:
        """Publications and subscriptions are free for another connection at once; `close` does the rest."""
        if self._closed:
            return
        self._closed = True
        self.publishing.close()
        for subscription in {*self._by_ssrc.values()}:
            subscription.unbind()
        self._by_ssrc, self._repairs = {}, {}
        self._end("closed")

    async def close(self, *, farewell: bool) -> None:
        """End everything that belongs to this connection; publications and subscriptions stay. Never raises."""
        self.release()
        if self._closing:
            return
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)
        self.send_control.close()
        leave = rtc.SignalRequest(leave=rtc.LeaveRequest(reason=models.DisconnectReason.CLIENT_INITIATED))
        peers = [p.close() for p in (self._subscriber, self._publisher) if p]
        await asyncio.gather(self.signalling.close(leave if farewell else None), *peers, return_exceptions=True)

    def move(self) -> None:
        """Another token or another room: this connection has served."""
        self._end("moved")

    def silent_s(self) -> float:
        """Seconds since the server was last heard on the way of media that has been silent the longest."""
        return max((p.silent_s() for p in (self._subscriber, self._publisher) if p is not None), default=0.0)

    def media_lost(self) -> bool:
        """Whether nothing can flow to us any more."""
        return self._subscriber is None or self._subscriber.failed.is_set()

    @property
    def way(self) -> str:
        """By which media comes: `udp`, `tcp`, `turn_udp`, `turn_tcp`, `turn_tls`; "" when it does not."""
        return self._subscriber.way if self._subscriber is not None else ""

    def network_changed(self, addresses: frozenset[str]) -> None:
        """These are this machine's addresses now. What went by another one is over, before its silence tells."""
        used = {self.signalling.local_address()} | {p.local_address() for p in (self._subscriber, self._publisher) if p is not None}
        if used - addresses - {""}:
            self._end("network_changed")

    def send(self, **message: Any) -> None:
        self.signalling.send(rtc.SignalRequest(**message))

    def _end(self, reason: str) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("%s failed", task.get_name(), exc_info=task.exception())
            self._end("failed")

    async def _publish(self, peer: Peer) -> None:
        try:
            await self.publishing.run(peer)
        except (DescriptionError, TimeoutError, ConnectionError) as error:
            log.warning("publishing failed: %r", error)
            self._end("publish_failed")

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
        if self._early is not None:
            self._early.append(message)
            if len(self._early) > MAX_WAITING_OFFERS:
                self._end("signal_lost")
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
                self.publishing.answered(message.track_published.cid, message.track_published.track)
            case "track_unpublished":
                self.publishing.unpublished(message.track_unpublished.track_sid)
            case "request_response":
                self.publishing.refused(message.request_response)
            case "subscribed_quality_update":
                self.publishing.quality_wanted(message.subscribed_quality_update)
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
        self.owner.drop_unnamed({subscription.sid for subscription in table.values()})
        self._told_ssrcs = tuple(sorted(table, key=lambda ssrc: table[ssrc].kind != "video"))
        self.feedback.asked(*feedback_asked(self._subscriber.remote))

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
            if isinstance(packet, TransportFeedback):
                self.send_control.on_feedback(packet, now)
            else:
                self.publishing.on_rtcp(packet, now)

    def _sending(self) -> list[OutgoingStream]:
        """What may send just now: padding, too, must not show what is muted."""
        return [stream for stream, publication in self.publishing.streams.values() if not publication.muted and not publication.closed]

    def limits_changed(self) -> None:
        """From the session."""
        self._share_rate()

    def _share_rate(self) -> None:
        """What the way carries, shared among the layers that are sent; where nobody reports about them each has what it can use."""
        limit_bps = self.publishing.limit(1000 * self.owner.limits.max_kbps)
        useful_bps = self.publishing.useful_bps()
        if not useful_bps:
            return
        self.send_control.allow(useful_bps, self.publishing.useful_bps(watched=False), limit_bps=limit_bps)
        self.publishing.share(self.send_control.media_bps if self.send_control.governs else None, time.monotonic())

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
            self.send_control.tick(now)
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
            for report in self.publishing.reports(now):
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


__all__ = ["Connection", "SignalError"]
