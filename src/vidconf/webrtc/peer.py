"""One WebRTC connection on aiortc's ORTC parts: one ICE, one DTLS, one SCTP; raw RTP and RTCP in and out.

Runs on the asyncio loop that made it. Negotiation is strictly in turn (one lock); sections keep their order for ever.
Packets reach `on_rtp(bytes, now)` and `on_rtcp(bytes, now)` decrypted and unparsed, `now` in monotonic seconds. The W3C
RTCPeerConnection is not used: its transceivers start per section and race (docs/architecture.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from aiortc import (
    RTCDataChannel,
    RTCDataChannelParameters,
    RTCIceTransport,
    RTCSctpCapabilities,
)
from aiortc.sdp import SessionDescription, candidate_from_sdp

from vidconf.network.options import DEFAULTS, NetworkOptions
from vidconf.network.turn_url import TurnServer
from vidconf.webrtc.description import Description, DescriptionError, Section, answer_to, offer_of, parse, transport_of
from vidconf.webrtc.ice_agent import DIRECT_S, Agent
from vidconf.webrtc.seams import (
    DataTransport,
    OnRtcp,
    OnRtp,
    PacketTransport,
    check_s,
    gatherer_over,
    quiet_aioice,
    set_dtls_role,
    set_ice_controlling,
)

log = logging.getLogger("vidconf.transport")

ANSWER_TIMEOUT_S = 15.0
GATHER_TIMEOUT_S = 2.0
ANSWER_TRAVELS_S = 0.015
PROBE_AFTER_S = 1.0
PROBE_EVERY_S = 0.25
"""Where nothing comes, so many checks are asked within the two seconds after which a way counts as silent that a bad one answers one."""
RTT_EVERY_S = 1.0
RTT_UP, RTT_DOWN = 0.6, 0.25
"""Weight of a new measurement. A queue that fills must be known of at once: who asks again too early fills it further."""
LOST_AFTER_S = 12.0
"""Neither a packet nor an answer for so long, and the far end has given us up, or soon will. Until then the way may come back."""
MAX_CANDIDATES = 64
"""A server that sends more is broken or hostile."""

quiet_aioice()


class Peer:
    """One direction of a LiveKit session: the publisher (we offer) or the subscriber (the server offers). `servers`, `relayed_only`,
    `direct_s` and `network` as `ice_agent.Agent` takes them."""

    def __init__(
        self, name: str, servers: Sequence[TurnServer], on_rtp: OnRtp, on_rtcp: OnRtcp, *,
        relayed_only: bool = False, direct_s: float = DIRECT_S, network: NetworkOptions = DEFAULTS,
    ) -> None:  # fmt: skip
        self.name = name
        self.agent = Agent(servers, relayed_only=relayed_only, direct_s=direct_s, network=network)
        self.gatherer = gatherer_over(self.agent)
        self.ice = RTCIceTransport(self.gatherer)
        self.dtls = PacketTransport(self.ice, on_rtp, on_rtcp)
        self.agent.on_media, self.agent.on_garbage = self.dtls.take, self.dtls.note_garbage
        self.sctp = DataTransport(self.dtls)
        self.sections: list[Section] = []
        self.remote: SessionDescription | None = None
        self.connected = asyncio.Event()
        self.failed = asyncio.Event()
        self.closed = False
        self.rtt_s: float | None = None
        """Round trip of the media's own way, by connectivity checks, smoothed; None before the first answer."""
        self._turn = asyncio.Lock()
        self._start: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._gathering: asyncio.Task[None] | None = None
        self._checks: set[asyncio.Task[None]] = set()
        self._check_answered_at = float("-inf")
        self._answered: asyncio.Future[str] | None = None
        self._offer_id = 0
        self._candidates = 0

    # ---- the other side offers (subscriber)
    async def answer(self, offer_sdp: str, send: Callable[[str], None]) -> None:
        """Take an offer, hand our answer to `send`; `remote` then tells each section's SSRCs. Raises DescriptionError.

        Checks begin after the answer: a full ICE agent drops those that come before it and asks again 200 ms later.
        """
        async with self._turn:
            remote = parse(offer_sdp)
            await self._gather()
            self.remote = remote
            self._offer_id += 1
            send(answer_to(remote, self.gatherer, self.dtls, self._offer_id))
            lite = bool(transport_of(remote)[0].iceLite)
            self._begin(remote, controlling=lite, role="client", delay_s=0.0 if lite else ANSWER_TRAVELS_S)

    # ---- we offer (publisher)
    async def offer(self, send: Callable[[str, int], Awaitable[None]]) -> Description:
        """Offer `sections` by `send(sdp, id)` and wait until `accept` brings the answer. Raises DescriptionError, TimeoutError."""
        async with self._turn:
            await self._gather()
            self._offer_id += 1
            self._answered = asyncio.get_running_loop().create_future()
            await send(offer_of(self.sections, self.gatherer, self.dtls, self._offer_id), self._offer_id)
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                remote = parse(await self._answered)
            self.remote = remote
            # the answer's setup says who is the DTLS client; pion answers active
            self._begin(remote, controlling=True, role="server" if transport_of(remote)[1].role == "client" else "client")
            return remote

    def accept(self, answer_sdp: str, offer_id: int) -> None:
        """The answer to our last offer; answers to older ones are ignored (0: a server that does not count)."""
        if self._answered and not self._answered.done() and offer_id in (0, self._offer_id):
            self._answered.set_result(answer_sdp)

    async def add_candidate(self, line: str) -> None:
        """A trickled candidate (`candidate:…`). Raises DescriptionError.

        The end-of-candidates mark is never passed on: aioice would ignore later ones.
        """
        if not line or self._candidates >= MAX_CANDIDATES or self.closed:
            return
        self._candidates += 1
        try:
            candidate = candidate_from_sdp(line.removeprefix("candidate:"))
        except (AssertionError, ValueError, IndexError) as error:
            raise DescriptionError(f"not a candidate: {error!r}") from error
        with contextlib.suppress(ValueError):       # an address family or a name that aioice cannot use
            await self.ice.addRemoteCandidate(candidate)

    def open_channel(self, label: str, *, ordered: bool = True, retransmits: int | None = None) -> RTCDataChannel:
        return RTCDataChannel(self.sctp, RTCDataChannelParameters(label=label, ordered=ordered, maxRetransmits=retransmits))

    def send(self, packet: bytes) -> bool:
        """One RTP or RTCP packet, at once; False (and lost, as on any network) while the transport is not up."""
        return not self.closed and self.dtls.send_packet(packet)

    def silent_s(self) -> float:
        """Seconds since the far end was last heard: a packet, or the answer to a check. 0 while it is not connected yet."""
        if not self.connected.is_set():
            return 0.0
        return time.monotonic() - max(self.dtls.last_packet_at, self._check_answered_at)

    @property
    def way(self) -> str:
        """By which it goes (`ice_agent.Way.kind`); "" without one."""
        way = self.agent.way
        return way.kind if way is not None else ""

    def local_address(self) -> str:
        """The address of this machine that packets leave from; "" while there is none, and where TURN stands between."""
        way = self.agent.way
        return way.local_candidate.host if way is not None and way.local_candidate.type == "host" else ""

    async def close(self) -> None:
        """Stop everything; never raises, safe to call twice."""
        if self.closed:
            return
        self.closed = True
        if self._answered and not self._answered.done():
            self._answered.cancel()
        for task in (self._watch, self._start, *self._checks):
            if task and not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=1)
        if self._gathering and not self._gathering.done():
            await asyncio.wait([self._gathering], timeout=GATHER_TIMEOUT_S)
        for part in (self.sctp, self.dtls, self.ice):
            try:
                async with asyncio.timeout(2):
                    await part.stop()
            except (TimeoutError, ConnectionError, OSError, AttributeError) as error:
                log.debug("%s: %s did not stop cleanly: %r", self.name, type(part).__name__, error)

    # ---- once
    async def _gather(self) -> None:
        if self.closed:
            raise ConnectionError("the peer is closed")
        if self._gathering is None:
            self._gathering = asyncio.create_task(self.gatherer.gather(), name=f"{self.name} gathers")
        # shielded: cut off in the middle, the sockets that are open already would be forgotten
        await asyncio.shield(self._gathering)

    def _begin(self, remote: SessionDescription, *, controlling: bool, role: str, delay_s: float = 0.0) -> None:
        if self._start is None and not self.closed:
            set_ice_controlling(self.ice, controlling)
            set_dtls_role(self.dtls, role)
            self._start = asyncio.create_task(self._connect(remote, delay_s), name=f"{self.name} connects")

    async def _connect(self, remote: SessionDescription, delay_s: float) -> None:
        ice, dtls = transport_of(remote)
        try:
            await asyncio.sleep(delay_s)
            for candidate in remote.media[0].ice_candidates[:MAX_CANDIDATES]:
                with contextlib.suppress(ValueError):
                    await self.ice.addRemoteCandidate(candidate)
            await self.ice.start(ice)
            if self.ice.state != "completed":
                raise ConnectionError(f"ICE is {self.ice.state}")
            await self.dtls.start(dtls)
            if self.dtls.state != "connected":
                raise ConnectionError(f"DTLS is {self.dtls.state}")
            data = next((m for m in remote.media if m.kind == "application"), None)
            if data:
                await self.sctp.start(data.sctpCapabilities or RTCSctpCapabilities(maxMessageSize=65536), data.sctp_port or 5000)
        except (ConnectionError, OSError, ValueError, AssertionError) as error:
            if not self.closed:
                log.warning("%s: no connection: %r", self.name, error)
                self.failed.set()
            return
        self.ice.on("statechange", self._ice_changed)
        self.dtls.on("statechange", self._ice_changed)
        self.connected.set()
        self._watch = asyncio.create_task(self._watch_over(), name=f"{self.name} is watched")
        self._ice_changed()

    async def _watch_over(self) -> None:
        """Measures the round trip, asks where nothing comes, and sets `failed` when nothing has come for long."""
        asked_at = float("-inf")
        while not self.closed:
            silent_s, now = self.silent_s(), time.monotonic()
            if silent_s >= LOST_AFTER_S:
                log.warning("%s: nothing has come for %.1f s", self.name, silent_s)
                self.failed.set()
                return
            if silent_s >= PROBE_AFTER_S or now - asked_at >= RTT_EVERY_S:
                asked_at = now
                check = asyncio.create_task(self._check(), name=f"{self.name} is asked")
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)
            await asyncio.sleep(PROBE_EVERY_S)

    async def _check(self) -> None:
        took_s = await check_s(self.ice)
        if took_s is not None:
            self._check_answered_at = time.monotonic()
            known_s = took_s if self.rtt_s is None else self.rtt_s
            self.rtt_s = known_s + (RTT_UP if took_s > known_s else RTT_DOWN) * (took_s - known_s)

    def _ice_changed(self) -> None:
        if not self.closed and (self.ice.state in ("failed", "closed", "disconnected") or self.dtls.state in ("failed", "closed")):
            self.failed.set()
