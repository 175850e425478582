"""What of ours is published over one connection: asked for, given a section and streams, taken back. Made by `transport`.

Loop's thread only. One negotiation at a time: what changes meanwhile goes into the next. Whether anything leaves is not decided
here but in the publication (`engine.publication`).
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from livekit.protocol import models, rtc

from vidconf.engine import codec_choice
from vidconf.engine.allocation import Allocator, Need, useful_bps
from vidconf.engine.ladder import Layer
from vidconf.engine.outgoing import OutgoingStream, TransportNumbers
from vidconf.engine.pacer import Pacer
from vidconf.engine.publication import Publication
from vidconf.engine.video_publication import VideoPublication
from vidconf.protocol.livekit import SOURCE_NUMBERS
from vidconf.rtp.rtcp import Fir, Nack, Pli, ReceiverReport, RtcpPacket, SenderReport
from vidconf.webrtc.description import LEVEL, MID, REPAIRED_RID, RID, TRANSPORT_CC, Accepted, Section, accepted
from vidconf.webrtc.peer import Peer

log = logging.getLogger("vidconf.transport")

CONNECT_TIMEOUT_S = 10.0
PUBLISH_TIMEOUT_S = 10.0
OPENING_S = 2.0
AIM = 0.95
"""Part of what pictures may take that encoders are told: what they make is a few per cent more or less."""
SOUND_BPS = 64_000
"""Kept for each sound whose packets the target covers, with what it sends twice (RED) and the packets around it."""
NAMES = {"opus": "opus", "vp8": "VP8", "vp9": "VP9", "h264": "H264"}
"""As reports call them."""
CLOCK_HZ = {"audio": 48_000, "video": 90_000}


@dataclass
class _Published:
    publication: Publication
    cid: str
    sid: str = ""
    muted: bool = False
    """What the server was last told …"""
    size: tuple[int, int] = (0, 0)
    """… of pictures too."""
    layers: tuple[Layer, ...] = ()
    """As they were asked for; none for sound."""
    ssrcs: dict[str, tuple[int, int]] = field(default_factory=dict)
    """rid -> SSRC and the one that repairs it, for as long as this connection lasts."""
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
        self.enabled_codecs: Sequence[str] = ()
        """What the server lets clients publish (`video/VP8`, …), as it said when it let us in; none: it did not say."""
        self._published: dict[Publication, _Published] = {}
        self._waiting: dict[str, asyncio.Future[models.TrackInfo]] = {}
        self._refused: set[Publication] = set()
        self._opening: WeakKeyDictionary[Publication, float] = WeakKeyDictionary()
        """Since when a device is waited for."""
        self._resting: set[str] = set()
        """Sections (by mid) that the server knows to be idle: only those can be used for another track."""
        self._allocator = Allocator()
        self._most_bps = 0
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
            self._unbind(publication)
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

    def state_changed(self, publication: Publication) -> None:
        """Tell the server what the publication already does: its mute, the size of its pictures."""
        published = self._published.get(publication)
        if published is None or not published.sid:
            self._changed.set()     # it may be what is waited for
            return
        if published.muted != publication.muted:
            published.muted = publication.muted
            self._send(mute=rtc.MuteTrackRequest(sid=published.sid, muted=publication.muted))
        if isinstance(publication, VideoPublication):
            if published.size != (size := (publication.width, publication.height)):
                published.size = size
                self._send(update_video_track=rtc.UpdateLocalVideoTrack(track_sid=published.sid, width=size[0], height=size[1]))
            self._told_bound()

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
                self._withdraw(published)
                changed = changed or published.section is not None
        open_ones = (p for p in self._owner.publications.values() if not p.closed and p not in self._published and p not in self._refused)
        wanted = [p for p in open_ones if self._may_ask(p)]
        added = [p for p in await asyncio.gather(*(self._announce(p) for p in wanted)) if p is not None]
        for published in added:
            self._place(published, peer.sections)
        if not added and not changed:
            return
        answer = await peer.offer(self._send_offer)
        self._resting = {section.mid for section in peer.sections if not section.active}
        if added:
            await self._bind(peer, added, accepted(answer))

    def _may_ask(self, publication: Publication) -> bool:
        """The layers that are asked for cannot be taken back, so a camera that is being opened is waited for: for a moment, since there
        is nothing to send before, but not for one that never shows anything."""
        if not isinstance(publication, VideoPublication) or publication.knows_size:
            return True
        loop = asyncio.get_running_loop()
        first = self._opening.setdefault(publication, loop.time())
        left_s = first + OPENING_S - loop.time()
        if left_s <= 0:
            return True
        loop.call_later(left_s + 0.01, self._changed.set)
        return False

    async def _announce(self, publication: Publication) -> _Published | None:
        """AddTrack, and the server's word for it. The mute goes with it: the server never believes us open when we are not."""
        published = _Published(publication, f"{publication.source}-{random.getrandbits(48):012x}", muted=publication.muted)
        video = isinstance(publication, VideoPublication)
        if isinstance(publication, VideoPublication):
            published.layers = publication.plan(self._codecs(publication)[0])
            published.size = (publication.width, publication.height)
        published.ssrcs = {rid: (_ssrc(), _ssrc() if video else 0) for rid in [layer.rid for layer in published.layers] or [""]}
        request = rtc.AddTrackRequest(
            cid=published.cid,
            name=publication.source,
            type=models.TrackType.VIDEO if video else models.TrackType.AUDIO,
            source=SOURCE_NUMBERS[publication.source],  # type: ignore[arg-type]
            muted=publication.muted,
        )
        request.width, request.height = published.size
        for spatial, layer in enumerate(published.layers):
            request.layers.add(
                quality=layer.quality, width=layer.width, height=layer.height, bitrate=layer.most_bps, ssrc=published.ssrcs[layer.rid][0],
                rid=layer.rid, spatial_layer=spatial,
            )
        future: asyncio.Future[models.TrackInfo] = asyncio.get_running_loop().create_future()
        self._waiting[published.cid] = future
        if video and (codec := self._codecs(publication)[0]) != "vp8":
            request.simulcast_codecs.add(codec=codec, cid=published.cid)     # VP8 is what servers take video for
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
        self.state_changed(publication)
        return published

    def _place(self, published: _Published, sections: list[Section]) -> None:
        """A section for it: one that lies fallow, else a new one. Sections never go away. One that became idle in this very round is
        not taken: the server would see another track in it and never that the first one ended (pion/webrtc#2899). Nor is one that
        carried or shall carry VP9: livekit-server passes on nothing of the second track there."""
        publication = published.publication
        codec = self._codecs(publication)[0]
        fallow = (s for s in sections if not s.active and s.kind == publication.kind and s.mid in self._resting)
        section = next((s for s in fallow if codec == s.codec != "vp9"), None)
        if section is None:
            section = Section(publication.kind, str(len(sections) + 1))
            section.codec = codec
            sections.append(section)
        (section.ssrc, section.repair_ssrc), *_ = published.ssrcs.values()
        section.rids = tuple(published.ssrcs) if len(published.ssrcs) > 1 else ()
        section.cid, section.active = published.cid, True
        published.section = section

    def _codecs(self, publication: Publication) -> tuple[str, ...]:
        """What it can be sent by here, the best first."""
        return codec_choice.taken(publication.codecs, self.enabled_codecs) if isinstance(publication, VideoPublication) else ("opus",)

    async def _send_offer(self, sdp: str, offer_id: int) -> None:
        self._send(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=offer_id))

    async def _bind(self, peer: Peer, added: Sequence[_Published], answered: dict[str, Accepted]) -> None:
        """When the way is up, let the publications send what the server takes of them."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await peer.connected.wait()
        for published in added:
            publication, section = published.publication, published.section
            if publication.closed or section is None or self._published.get(publication) is not published:
                continue
            taken = answered.get(section.mid)
            codec = next((name for name in self._codecs(publication) if taken is not None and name in taken.types), None)
            if taken is None or codec is None:
                log.warning("%s: the server takes none of our codecs", publication.source)
                self._refuse(published, "not_published")
                continue
            streams = self._streams(peer, published, section, taken, codec)
            self.streams |= {stream.ssrc: (stream, publication) for _, stream in streams}
            if isinstance(publication, VideoPublication):
                publication.bind_layers(streams, self._pacer, codec)
            else:
                publication.bind(streams[0][1], self._pacer)
        self._told_bound()

    def _streams(
        self, peer: Peer, published: _Published, section: Section, taken: Accepted, codec: str
    ) -> list[tuple[str, OutgoingStream]]:
        """One for each layer that the server takes, smallest first, with its rid. A server that names none knows no simulcast, and gets
        one without a name (RFC 8853 §5.3.2); one that names a single layer gets the picture in that."""
        kind = published.publication.kind
        payload_type, ids = taken.types[codec], taken.extensions
        rids = [rid for rid in section.rids if rid in taken.rids] or [""]
        unnamed = next(iter(published.ssrcs))
        streams = []
        for rid in rids:
            ssrc, repair = published.ssrcs[rid or unnamed]
            rtx = taken.repairs.get(payload_type, 0)
            streams.append((rid, OutgoingStream(
                send=peer.send, payload_type=payload_type, clock_hz=CLOCK_HZ[kind], mid=section.mid, mid_id=ids.get(MID, 0),
                level_id=ids.get(LEVEL, 0), number_id=ids.get(TRANSPORT_CC, 0), numbers=self._numbers, ssrc=ssrc, rid=rid,
                rid_id=ids.get(RID, 0), repaired_rid_id=ids.get(REPAIRED_RID, 0), rtx_ssrc=repair if rtx else 0, rtx_payload_type=rtx,
                redundant_payload_type=taken.types.get("red", 0) if kind == "audio" else 0,
            )))  # fmt: skip
        return streams

    def _withdraw(self, published: _Published) -> None:
        """Nothing of it leaves any more, and its section is idle from the next offer on."""
        publication = published.publication
        self._unbind(publication)
        self.streams = {ssrc: entry for ssrc, entry in self.streams.items() if entry[1] is not publication}
        if published.section is not None:
            published.section.active = False

    def _unbind(self, publication: Publication) -> None:
        """It is ours to untie only while it sends through us: the connection after this one may have it already."""
        if any(owner is publication and stream in publication.streams for stream, owner in self.streams.values()):
            publication.unbind()

    def _refuse(self, published: _Published, code: str) -> None:
        self._published.pop(published.publication, None)
        self._withdraw(published)
        self._refused.add(published.publication)
        self._owner.publication_refused(published.publication, code)

    # ---- the rate
    def limit(self, pictures_bps: int) -> int:
        """All pictures together may take no more from now on (0: no limit). What that is with the sound that is numbered like them."""
        self._most_bps = int(AIM * pictures_bps)
        return pictures_bps + self._sound_bps() if pictures_bps else 0

    def useful_bps(self, *, watched: bool = True) -> int:
        """The most that would make a difference to what is sent now, sound included; 0 where nothing is. Not `watched`: if everybody
        took the largest of everything."""
        needs = list(self._needs().values())
        if not watched:
            needs = [dataclasses.replace(need, wanted=(True,) * len(need.layers)) for need in needs]
        return self._limited(useful_bps(needs)) + self._sound_bps() if needs else 0

    def share(self, budget_bps: int | None, now: float) -> None:
        """Tell each layer what it may use of what the way carries; None: as much as is of use."""
        needs = self._needs()
        if budget_bps is None:
            budget_bps = useful_bps(list(needs.values())) + self._sound_bps()
        for publication, rates in self._allocator.share(self._limited(budget_bps - self._sound_bps()), needs, now).items():
            assert isinstance(publication, VideoPublication)
            publication.set_rates(rates)

    def _limited(self, pictures_bps: int) -> int:
        return min(pictures_bps, self._most_bps) if self._most_bps else pictures_bps

    def _needs(self) -> dict[Hashable, Need]:
        videos = (p for p in self._published if isinstance(p, VideoPublication))
        return {publication: need for publication in videos if (need := publication.need()) is not None}

    def _sound_bps(self) -> int:
        sounds = (p for p in self._published if p.kind == "audio" and not p.muted)
        return SOUND_BPS * sum(any(stream.numbered for stream in p.streams) for p in sounds)

    # ---- what the server says
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

    def unpublished(self, sid: str) -> None:
        """The server took one of ours away (the right to publish it is gone)."""
        publication = self.publication_of(sid)
        if publication is None:
            return
        self._refuse(self._published[publication], "not_allowed")

    def quality_wanted(self, update: rtc.SubscribedQualityUpdate) -> None:
        """Which layers anybody takes. None: encoding stops."""
        publication = self.publication_of(update.track_sid)
        if not isinstance(publication, VideoPublication):
            return
        codecs = list(update.subscribed_codecs)
        ours = [c for c in codecs if c.codec.lower().removeprefix("video/") == publication.codec] or codecs
        qualities = [q for codec in ours for q in codec.qualities] or list(update.subscribed_qualities)
        publication.want({q.quality for q in qualities if q.enabled})
        self._told_bound()

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
                if entry and not entry[1].muted and not entry[1].closed:
                    self._pacer.repair(entry[0], numbers)
            case Pli(_, media):
                self._keyframe_asked(media)
            case Fir(_, entries):
                for ssrc, _number in entries:
                    self._keyframe_asked(ssrc)

    def _keyframe_asked(self, ssrc: int) -> None:
        entry = self.streams.get(ssrc)
        if entry:
            entry[1].request_keyframe(ssrc)

    def overflowed(self) -> None:
        """The pacer has let go of what waited."""
        for stream, publication in self.streams.values():
            publication.request_keyframe(stream.ssrc)

    def reports(self, now: float) -> list[bytes]:
        """A sender report for everything that is sent."""
        reports = [stream.sender_report(now) for stream, publication in self.streams.values() if not publication.muted and not publication.closed]
        return [report for report in reports if report]

    def sent(self) -> dict[str, Any]:
        """What leaves, for the report's `sent`: the layers of a source together, and each of a picture's by itself."""
        found: dict[str, Any] = {}
        for publication in self._published:
            streams = publication.streams
            if not streams:
                continue
            trips = [stream.rtt_s for stream in streams if stream.rtt_s is not None]
            entry: dict[str, Any] = {"codec": NAMES[publication.codec if isinstance(publication, VideoPublication) else "opus"]}
            entry |= {name: sum(getattr(stream, name) for stream in streams) for name in ("packets", "octets", "repeated")}
            entry["fraction_lost"] = round(max(stream.fraction_lost for stream in streams), 3)
            entry["rtt_ms"] = round(1000 * min(trips), 1) if trips else None
            if isinstance(publication, VideoPublication):
                entry |= {"width": publication.width, "height": publication.height, "layers": [s.report() for s in publication.senders]}
            found[publication.source] = entry
        return found


def _ssrc() -> int:
    return random.randrange(1 << 16, 1 << 32)
