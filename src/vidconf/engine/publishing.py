"""What of ours is published over one connection: asked for, given a section and a stream, taken back. Made by `transport`.

Loop's thread only. One negotiation at a time: what changes meanwhile goes into the next. Whether anything leaves is not decided
here but in the publication (`engine.publication`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from livekit.protocol import models, rtc

from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.engine.publication import Publication
from vidconf.engine.video_publication import VideoPublication
from vidconf.protocol.livekit import SOURCE_NUMBERS
from vidconf.rtp.rtcp import Fir, Nack, Pli, ReceiverReport, RtcpPacket, SenderReport
from vidconf.webrtc.description import LEVEL, MID, OPUS, TRANSPORT_CC, VP8, Section, extension_ids
from vidconf.webrtc.peer import Peer

log = logging.getLogger("vidconf.transport")

CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0


@dataclass
class _Published:
    publication: Publication
    cid: str
    sid: str = ""
    muted: bool = False
    """What the server was last told."""
    section: Section | None = None


class Owner(Protocol):
    """The session, as far as it is asked about what is open."""

    publications: dict[str, Publication]

    def publication_refused(self, publication: Publication, code: str) -> None: ...


class Publishing:
    """`run` for as long as the connection lives; then `close`."""

    def __init__(self, owner: Owner, pacer: Pacer, numbers: TransportNumbers, *, send: Callable[..., None], bound: Callable[[], None]) -> None:
        """`send` says a SignalRequest's field to the server; `bound` is called when something new may send."""
        self._owner, self._pacer, self._numbers = owner, pacer, numbers
        self._send, self._told_bound = send, bound
        self.streams: dict[int, tuple[OutgoingStream, Publication]] = {}
        """By SSRC: what sends, and for whom."""
        self._published: dict[Publication, _Published] = {}
        self._waiting: dict[str, asyncio.Future[models.TrackInfo]] = {}
        self._refused: set[Publication] = set()
        self._changed = asyncio.Event()
        self._changed.set()

    # ---- life
    async def run(self, peer: Peer) -> None:
        """Publish what is open by `peer`, again after each change. Raises DescriptionError, TimeoutError, ConnectionError: then
        nothing of ours can be published over this connection any more."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._publish(peer)

    def close(self) -> None:
        """Nothing is sent any more; the publications stay."""
        for publication in list(self._published):
            publication.unbind()
        self.streams = {}
        for future in self._waiting.values():
            future.cancel()

    @property
    def publications(self) -> Sequence[Publication]:
        """Those that the server knows of."""
        return tuple(self._published)

    def changed(self) -> None:
        """Something was opened or closed: the next negotiation takes it along."""
        self._changed.set()

    def permission_changed(self) -> None:
        self._refused.clear()
        self._changed.set()

    def mute_changed(self, publication: Publication) -> None:
        """Tell the server what the publication already does."""
        published = self._published.get(publication)
        if published is not None and published.sid and published.muted != publication.muted:
            published.muted = publication.muted
            self._send(mute=rtc.MuteTrackRequest(sid=published.sid, muted=publication.muted))

    def insist_on_mute(self, publication: Publication) -> None:
        """The server believes that it may open us. It may not."""
        published = self._published.get(publication)
        if published is not None and published.sid:
            self._send(mute=rtc.MuteTrackRequest(sid=published.sid, muted=True))

    def publication_of(self, sid: str) -> Publication | None:
        return next((p.publication for p in self._published.values() if p.sid == sid), None)

    async def _publish(self, peer: Peer) -> None:
        """Bring what is published into line with what is open, in one negotiation."""
        changed = False
        for publication, published in list(self._published.items()):
            if publication.closed or publication not in self._owner.publications.values():
                del self._published[publication]
                publication.unbind()
                if published.section is not None:
                    published.section.active = False
                    self.streams.pop(published.section.ssrc, None)
                    changed = True
        wanted = [p for p in self._owner.publications.values() if not p.closed and p not in self._published and p not in self._refused]
        added = [p for p in await asyncio.gather(*(self._announce(p) for p in wanted)) if p is not None]
        for published in added:
            self._place(published, peer.sections)
        if not added and not changed:
            return
        await peer.offer(self._send_offer)
        if added:
            await self._bind(peer, added)

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
        self._send(add_track=request)
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                info = await future
        except (TimeoutError, PermissionError) as error:
            self._refused.add(publication)
            self._owner.publication_refused(publication, "not_allowed" if isinstance(error, PermissionError) else "not_published")
            return None
        finally:
            self._waiting.pop(published.cid, None)
        published.sid = info.sid
        self._published[publication] = published
        # the intent may have changed while the server thought about it
        self.mute_changed(publication)
        return published

    def _place(self, published: _Published, sections: list[Section]) -> None:
        """A section for it: one that lies fallow, else a new one. Sections never go away."""
        publication = published.publication
        section = next((s for s in sections if not s.active and s.kind == publication.kind), None)
        if section is None:
            section = Section(publication.kind, str(len(sections) + 1))
            sections.append(section)
        section.cid, section.ssrc, section.active = published.cid, random.randrange(1 << 16, 1 << 32), True
        published.section = section

    async def _send_offer(self, sdp: str, offer_id: int) -> None:
        self._send(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=offer_id))

    async def _bind(self, peer: Peer, added: Sequence[_Published]) -> None:
        """When the way is up, let the publications send."""
        assert peer.remote is not None
        ids = extension_ids(peer.remote)
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await peer.connected.wait()
        for published in added:
            publication, section = published.publication, published.section
            if publication.closed or section is None or self._published.get(publication) is not published:
                continue
            known = ids.get(section.mid, {})
            video = publication.kind == "video"
            stream = OutgoingStream(
                send=peer.send, payload_type=VP8 if video else OPUS, clock_hz=90_000 if video else 48_000, mid=section.mid,
                mid_id=known.get(MID, 0), level_id=known.get(LEVEL, 0), number_id=known.get(TRANSPORT_CC, 0), numbers=self._numbers,
                ssrc=section.ssrc,
            )
            self.streams[section.ssrc] = (stream, publication)
            publication.bind(stream, self._pacer)
        self._told_bound()

    def answered(self, cid: str, info: models.TrackInfo) -> None:
        future = self._waiting.get(cid)
        if future is not None and not future.done():
            future.set_result(info)

    def refused(self, response: rtc.RequestResponse) -> None:
        if response.reason == rtc.RequestResponse.Reason.OK or not response.HasField("add_track"):
            return
        future = self._waiting.get(response.add_track.cid)
        if future is not None and not future.done():
            future.set_exception(PermissionError(response.message))

    # ---- what the server says
    def unpublished(self, sid: str) -> None:
        """The server took one of ours away (the right to publish it is gone)."""
        publication = self.publication_of(sid)
        if publication is None:
            return
        published = self._published.pop(publication)
        publication.unbind()
        if published.section is not None:
            published.section.active = False
            self.streams.pop(published.section.ssrc, None)
        self._refused.add(publication)
        self._owner.publication_refused(publication, "not_allowed")

    def quality_wanted(self, update: rtc.SubscribedQualityUpdate) -> None:
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

    # ---- what the receivers say
    def on_rtcp(self, packet: RtcpPacket, now: float) -> None:
        """A report, a request for packets or for a picture that stands alone."""
        match packet:
            case ReceiverReport(_, blocks) | SenderReport(_, _, _, _, _, blocks):
                for block in blocks:
                    entry = self.streams.get(block.ssrc)
                    if entry:
                        entry[0].note_report(block)
            case Nack(_, media, numbers):
                entry = self.streams.get(media)
                if entry and not entry[1].muted:
                    self._pacer.repair(entry[0], numbers)
            case Pli(_, media):
                self._keyframe_asked(media)
            case Fir(_, entries):
                for ssrc, _number in entries:
                    self._keyframe_asked(ssrc)

    def _keyframe_asked(self, ssrc: int) -> None:
        entry = self.streams.get(ssrc)
        if entry:
            entry[1].request_keyframe()

    def overflowed(self) -> None:
        """The pacer has let go of what waited."""
        for _, publication in self.streams.values():
            publication.request_keyframe()

    def reports(self, now: float) -> list[bytes]:
        """A sender report for everything that is sent."""
        reports = [stream.sender_report(now) for stream, publication in self.streams.values() if not publication.muted]
        return [report for report in reports if report]

    def sent(self) -> dict[str, Any]:
        """What leaves, for the report's `sent`."""
        return {
            publication.source: {
                "packets": stream.packets, "octets": stream.octets, "repeated": stream.repeated,
                "fraction_lost": round(stream.fraction_lost, 3), "rtt_ms": None if stream.rtt_s is None else round(1000 * stream.rtt_s, 1),
            }
            for stream, publication in self.streams.values()
        }
