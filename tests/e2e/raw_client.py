"""A participant that does exactly what a test says, also what no honest client would: our Peer, and a WebSocket read by hand.

Its pictures are made-up VP8 frames; nothing is decoded. `packets` keeps what came, by track sid.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import ssl
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import aiohttp
from livekit.protocol import models, rtc

from vidconf.rtp.packets import PacketError, RtpPacket, build_rtp, parse_rtp
from vidconf.rtp.rtcp import Nack, Pli, RtcpPacket, parse_rtcp
from vidconf.rtp.vp8 import packetize
from vidconf.webrtc.description import EXTENSIONS, LEVEL, MID, OPUS, TRANSPORT_CC, VP8, Section, accepted, parse, remote_tracks
from vidconf.webrtc.peer import Peer

KEYFRAME = b"\x10\x02\x00\x9d\x01\x2a" + (320).to_bytes(2, "little") + (180).to_bytes(2, "little") + bytes(1500)
DELTA = b"\x31\x02\x00" + bytes(700)


class Sender:
    """One published track: made-up packets at its pace until `stop`."""

    def __init__(self, client: RawClient, section: Section, sid: str) -> None:
        self.client, self.section, self.sid = client, section, sid
        self.sequence, self.timestamp, self.picture = random.randrange(1 << 16), random.randrange(1 << 32), 0
        self.sent: dict[int, bytes] = {}
        self.keyframes = 0
        self.want_keyframe = True
        self.drop: Callable[[int], bool] = lambda sequence: False
        """Sequence numbers that get lost on the way the first time."""
        self.extensions: dict[str, int] = {}
        self.level = 20
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        due = time.monotonic()
        while True:
            self.send_frame()
            due += 1 / 30 if self.section.kind == "video" else 0.02
            await asyncio.sleep(max(0.0, due - time.monotonic()))

    def send_frame(self) -> None:
        if self.section.kind == "audio":
            self._send(b"\xf8" + bytes(60), True, [(EXTENSIONS[LEVEL], bytes((self.level,)))])
            self.timestamp += 960
            return
        frame = KEYFRAME if self.want_keyframe else DELTA
        self.keyframes += self.want_keyframe
        self.want_keyframe = False
        self.picture += 1
        payloads = packetize(frame, self.picture)
        for k, payload in enumerate(payloads):
            number = self.client.next_transport_number()
            extension = [(EXTENSIONS[TRANSPORT_CC], number.to_bytes(2, "big"))] if TRANSPORT_CC in self.extensions else []
            self._send(payload, k == len(payloads) - 1, extension)
        self.timestamp += 3000

    def _send(self, payload: bytes, marker: bool, extensions: list[tuple[int, bytes]]) -> None:
        self.sequence = (self.sequence + 1) & 0xFFFF
        payload_type = VP8 if self.section.kind == "video" else OPUS
        named = [(EXTENSIONS[MID], self.section.mid.encode()), *extensions]
        packet = build_rtp(payload_type, self.sequence, self.timestamp, self.section.ssrc, marker, payload, named)
        self.sent[self.sequence] = packet
        if len(self.sent) > 1000:
            del self.sent[next(iter(self.sent))]
        if not self.drop(self.sequence):
            self.client.publisher.send(packet)


class RawClient:
    """One participant."""

    def __init__(self, url: str, token: str, trust: ssl.SSLContext | bool = True) -> None:
        self._url, self.token, self._trust = url, token, trust
        self.refresh_token = ""
        self.messages: list[rtc.SignalResponse] = []
        self.joined: rtc.JoinResponse | None = None
        self.packets: dict[str, list[tuple[float, RtpPacket]]] = defaultdict(list)
        self.unrouted = self.repaired = 0
        """Packets under SSRCs of no track, and those that came once more (RTX, RFC 4588)."""
        self.repairs: dict[int, tuple[int, dict[int, int]]] = {}
        self.rtcp: list[RtcpPacket] = []
        self.publisher_rtcp: list[RtcpPacket] = []
        self.lose: Callable[[str, int], bool] = lambda sid, sequence: False
        """What gets lost on the way to us."""
        self.tracks: dict[int, str] = {}
        self.sids: dict[str, int] = {}
        self.subscriber = Peer("subscriber", [], self._on_rtp, lambda data, now: self.rtcp.extend(parse_rtcp(data)))
        take = self.subscriber.dtls.take
        # Lost on the way is lost before SRTP, whose replay window would refuse the repaired packet.
        self.subscriber.agent.on_media = lambda data: None if self._is_lost(data) else take(data)
        self.publisher = Peer("publisher", [], lambda data, now: None, self._on_publisher_rtcp)
        self.data: list[tuple[str, models.DataPacket]] = []
        self.senders: dict[str, Sender] = {}
        self.answer_nacks = True
        self._number = 0
        self._session: aiohttp.ClientSession | None = None
        self.ws: aiohttp.ClientWebSocketResponse | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.closed = asyncio.Event()
        self.participants: dict[str, models.ParticipantInfo] = {}
        self.offers = 0

    def next_transport_number(self) -> int:
        self._number = (self._number + 1) & 0xFFFF
        return self._number

    async def join(self, **query: object) -> rtc.JoinResponse:
        """Raises aiohttp.WSServerHandshakeError with the status when refused."""
        self._session = aiohttp.ClientSession()
        parameters = {"protocol": "17", "sdk": "python", "auto_subscribe": "1", **{k: str(v) for k, v in query.items()}}
        try:
            self.ws = await self._session.ws_connect(
                f"{self._url}/rtc", params=parameters, headers={"Authorization": f"Bearer {self.token}"}, ssl=self._trust
            )
        except BaseException:
            await self._session.close()
            raise
        self._tasks.append(asyncio.create_task(self._listen()))
        await self.wait("join")
        assert self.joined is not None
        return self.joined

    async def say(self, **message: Any) -> None:
        assert self.ws is not None
        await self.ws.send_bytes(rtc.SignalRequest(**message).SerializeToString())

    async def wait(self, name: str, timeout_s: float = 5.0, since: int = 0, check: Callable[[Any], bool] = lambda m: True) -> Any:
        """The first message of that name from number `since` on."""
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends:
            for message in self.messages[since:]:
                if message.WhichOneof("message") == name and check(getattr(message, name)):
                    return getattr(message, name)
            await asyncio.sleep(0.005)
        raise TimeoutError(f"no {name}; had {[m.WhichOneof('message') for m in self.messages[since:]]}")

    async def _listen(self) -> None:
        assert self.ws is not None
        async for frame in self.ws:
            if frame.type is not aiohttp.WSMsgType.BINARY:
                break
            message = rtc.SignalResponse.FromString(frame.data)
            self.messages.append(message)
            match message.WhichOneof("message"):
                case "join":
                    self.joined = message.join
                case "refresh_token":
                    self.refresh_token = message.refresh_token
                case "update":
                    for info in message.update.participants:
                        self.participants[info.identity] = info
                case "offer":
                    self._tasks.append(asyncio.create_task(self._answer(message.offer)))
                case "trickle":
                    peer = self.subscriber if message.trickle.target == rtc.SignalTarget.SUBSCRIBER else self.publisher
                    candidate = json.loads(message.trickle.candidateInit)["candidate"]
                    self._tasks.append(asyncio.create_task(peer.add_candidate(candidate)))
                case "answer":
                    self.publisher.accept(message.answer.sdp, message.answer.id)
        self.closed.set()

    async def _answer(self, offer: rtc.SessionDescription) -> None:
        self.offers += 1
        table, sids, repairs = {}, {}, {}
        for track in remote_tracks(parse(offer.sdp)):
            sid = offer.mid_to_track_id.get(track.mid, "")
            for ssrc in track.ssrcs:
                table[ssrc], sids[sid] = sid, ssrc
            repairs |= {repair: (main, track.repaired) for repair, main in track.repair.items()}
        self.tracks, self.sids, self.repairs = table, sids, repairs
        answers: list[str] = []
        await self.subscriber.answer(offer.sdp, answers.append)
        if self.subscriber.sctp is not None and not self.data_listening:
            self.data_listening = True
            self.subscriber.sctp.on("datachannel", self._on_channel)
        await self.say(answer=rtc.SessionDescription(type="answer", sdp=answers[-1], id=offer.id))

    data_listening = False

    def _on_channel(self, channel: Any) -> None:
        channel.on("message", lambda m: self.data.append((channel.label, models.DataPacket.FromString(m))))

    def _is_lost(self, data: bytes) -> bool:
        if 192 <= data[1] <= 223:
            return False
        return self.lose(self.tracks.get(int.from_bytes(data[8:12], "big"), ""), int.from_bytes(data[2:4], "big"))

    def _on_rtp(self, data: bytes, now: float) -> None:
        with contextlib.suppress(PacketError):
            packet = parse_rtp(data)
            if packet.ssrc in self.repairs:
                self.repaired += 1
                packet.ssrc, types = self.repairs[packet.ssrc]
                packet.payload_type = types.get(packet.payload_type, -1)
                packet.sequence, packet.payload = int.from_bytes(packet.payload[:2], "big"), packet.payload[2:]
            sid = self.tracks.get(packet.ssrc)
            if sid is None:
                self.unrouted += 1
            else:
                self.packets[sid].append((now, packet))

    def _on_publisher_rtcp(self, data: bytes, now: float) -> None:
        packets = parse_rtcp(data)
        self.publisher_rtcp += packets
        for packet in packets:
            for sender in self.senders.values():
                if isinstance(packet, Pli) and packet.media == sender.section.ssrc:
                    sender.want_keyframe = True
                if isinstance(packet, Nack) and packet.media == sender.section.ssrc and self.answer_nacks:
                    for number in packet.numbers:
                        if again := sender.sent.get(number):
                            self.publisher.send(again)

    async def publish(self, kind: str = "video", source: int = 0, start: bool = True, disable_red: bool = True) -> Sender:
        """`disable_red`: what it sends is plain Opus, and LiveKit would wait for the other. Raises PermissionError when the relay refuses."""
        n = len(self.publisher.sections) + 1
        cid = f"{kind}-{n}-{id(self)}"
        since = len(self.messages)
        source = source or (models.TrackSource.CAMERA if kind == "video" else models.TrackSource.MICROPHONE)
        await self.say(
            add_track=rtc.AddTrackRequest(
                cid=cid, name=kind, source=source, width=320, height=180,  # type: ignore[arg-type]
                type=models.TrackType.VIDEO if kind == "video" else models.TrackType.AUDIO,
                disable_red=disable_red,
            )
        )  # fmt: skip
        ends = time.monotonic() + 5
        while time.monotonic() < ends:
            for message in self.messages[since:]:
                if message.WhichOneof("message") == "request_response":
                    raise PermissionError(message.request_response.message)
                if message.WhichOneof("message") == "track_published" and message.track_published.cid == cid:
                    section = Section(kind, str(n), cid, random.randrange(1000, 1 << 31))
                    self.publisher.sections.append(section)
                    sender = self.senders[cid] = Sender(self, section, message.track_published.track.sid)
                    answer = await self.negotiate()
                    sender.extensions = accepted(answer)[section.mid].extensions
                    await asyncio.wait_for(self.publisher.connected.wait(), 5)
                    if start:
                        sender.start()
                    return sender
            await asyncio.sleep(0.005)
        raise TimeoutError("no track_published")

    async def negotiate(self) -> Any:
        async def send(sdp: str, offer_id: int) -> None:
            await self.say(offer=rtc.SessionDescription(type="offer", sdp=sdp, id=offer_id))

        return await self.publisher.offer(send)

    async def unpublish(self, sender: Sender) -> None:
        await sender.stop()
        del self.senders[sender.section.cid]
        sender.section.active = False
        await self.negotiate()

    def count(self, sid: str) -> int:
        return len(self.packets[sid])

    async def vanish(self) -> None:
        """Only the WebSocket goes, without a word."""
        assert self.ws is not None
        assert self.ws._response.connection is not None
        transport = self.ws._response.connection.transport
        assert transport is not None
        transport.abort()
        await self.ws.close()

    async def close(self) -> None:
        for sender in self.senders.values():
            await sender.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.publisher.close()
        await self.subscriber.close()
        if self.ws is not None:
            await self.ws.close()
        if self._session is not None:
            await self._session.close()
