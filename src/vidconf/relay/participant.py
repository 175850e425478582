"""A participant at the relay: its signalling, its two media connections, what it may do and wants. The loop's thread."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from livekit.protocol import models, rtc

from vidconf.protocol.livekit import Claims
from vidconf.relay import limits
from vidconf.relay.layers import HIGH, LOW, Wish
from vidconf.relay.limits import Bucket
from vidconf.relay.outbox import Outbox
from vidconf.relay.permission import Permission
from vidconf.relay.publishing import Publishing
from vidconf.relay.subscribing import Subscribing
from vidconf.relay.track import PublishedTrack

if TYPE_CHECKING:
    from vidconf.relay.room import Room

log = logging.getLogger("vidconf.relay")

State = models.ParticipantInfo.State
Reason = models.DisconnectReason
Action = rtc.LeaveRequest.Action
KINDS = {"standard": 0, "ingress": 1, "egress": 2, "sip": 3, "agent": 4, "connector": 5}


class Participant:
    """One connection's; the same person joining again is another one under the same identity."""

    def __init__(
        self, room: Room, claims: Claims, client_protocol: int, auto_subscribe: bool, outbox: Outbox | None, adaptive: bool = False
    ) -> None:
        self.room, self.claims, self.outbox = room, claims, outbox
        self.identity, self.sid = claims.identity, "PA_" + secrets.token_urlsafe(9)
        self.name = claims.name[: limits.NAME_CHARS]
        self.metadata = claims.metadata[: limits.METADATA_BYTES]
        self.attributes: dict[str, str] = dict(list(claims.attributes.items())[: limits.ATTRIBUTES])
        self.permission = Permission.from_grants(claims.grants)
        self.client_protocol, self.auto_subscribe = client_protocol, auto_subscribe
        self.subscriber_primary = self.permission.can_subscribe or not self.permission.can_publish
        self.kind = KINDS.get(claims.kind.lower(), 0)
        self.state = State.JOINING
        self.joined_at, self._began = time.time(), time.monotonic()
        self.was_active = False
        self.version = 0
        self.lost_at: float | None = None
        """Monotonic: since when its WebSocket is gone."""
        self.refresh_at = 0.0
        self.gone = False
        self.asked: dict[str, bool] = {}
        """Track sid -> whether this client asked for it or asked not to have it; else `auto_subscribe` decides."""
        self.wishes: dict[str, Wish] = {}
        """Track sid -> what this client last said of it (UpdateTrackSettings)."""
        self.first_wish = Wish(quality=LOW if adaptive else HIGH)
        """Of what it has said nothing of: a client that will say sizes begins small, as at LiveKit."""
        self.permits_all = True
        self.permitted: dict[str, frozenset[str] | None] = {}
        """What this publisher lets others have: identity -> track sids, None for all."""
        self.signals, self.data = Bucket(limits.SIGNAL_PER_S, limits.SIGNAL_BURST), Bucket(limits.DATA_PER_S, limits.DATA_BURST)
        self.quality = models.ConnectionQuality.EXCELLENT
        self.publisher, self.subscriber = Publishing(self), Subscribing(self)

    # ---- saying

    def say(self, **message: object) -> None:
        """One SignalResponse, in order; dropped when nobody listens."""
        if self.outbox is not None:
            self.outbox.put(rtc.SignalResponse(**message).SerializeToString())  # type: ignore[arg-type]

    def say_bytes(self, message: bytes) -> None:
        if self.outbox is not None:
            self.outbox.put(message)

    def info(self) -> models.ParticipantInfo:
        return models.ParticipantInfo(
            sid=self.sid, identity=self.identity, name=self.name, metadata=self.metadata, attributes=self.attributes, state=self.state,
            joined_at=int(self.joined_at), joined_at_ms=int(self.joined_at * 1000), version=self.version, kind=self.kind,  # type: ignore[arg-type]
            permission=self.permission.to_message(), is_publisher=bool(self.publisher.tracks),
            tracks=[t.info for t in self.publisher.tracks.values()],
        )  # fmt: skip

    def leave(self, reason: int, action: int) -> None:
        """Tell the client that it is over, and why."""
        self.say(leave=rtc.LeaveRequest(reason=reason, action=action, can_reconnect=action != Action.DISCONNECT))  # type: ignore[arg-type]

    def refresh_token(self) -> None:
        """A token to come back with. Never for one who was removed."""
        if not self.gone:
            self.refresh_at = time.monotonic() + self.room.relay.refresh_every_s
            self.say(refresh_token=self.room.relay.renewed(self))

    # ---- media

    def media_is_up(self, which: str) -> None:
        """`publisher` or `subscriber` has its DTLS."""
        if self.gone or self.state == State.ACTIVE or which != ("subscriber" if self.subscriber_primary else "publisher"):
            return
        self.state, self.was_active = State.ACTIVE, True
        self.version += 1
        log.info("participant %s is active in %s after %.0f ms", self.sid, self.room.sid, (time.monotonic() - self._began) * 1000)
        self.room.activated(self)

    def media_failed(self, which: str) -> None:
        """A connection could not be made or has died: the client is told to begin again."""
        if not self.gone:
            log.info("participant %s: %s failed", self.sid, which)
            self.room.remove(self, Reason.MEDIA_FAILURE if self.was_active else Reason.CONNECTION_TIMEOUT, Action.RECONNECT)

    def overdue(self, now: float) -> str:
        """Why this participant must go, or an empty string."""
        if self.lost_at is not None:
            hung_up = self.was_active and not (self.subscriber.session.is_up or self.publisher.session.is_up)
            if hung_up or now - self.lost_at > limits.HOLD_S:
                return "signalling lost"
        if not self.was_active:
            return "never connected" if now - self._began > limits.ACTIVE_WITHIN_S else ""
        checked = max(self.subscriber.session.checked_at, self.publisher.session.checked_at)
        return "media silent" if now - checked > limits.CONSENT_S else ""

    # ---- what it may do

    def lets(self, other: Participant, track: PublishedTrack) -> bool:
        """Whether this publisher lets `other` have `track` (subscription_permission)."""
        if self.permits_all:
            return True
        sids = self.permitted.get(other.identity, frozenset())
        return sids is None or track.sid in sids

    def wants(self, track: PublishedTrack) -> bool:
        return self.permission.can_subscribe and self.asked.get(track.sid, self.auto_subscribe) and track.owner.lets(self, track)

    def set_attributes(self, attributes: Mapping[str, str]) -> bool:
        """Merge; an empty value deletes. False when there would be too many or too large ones."""
        merged = {k: v for k, v in {**self.attributes, **attributes}.items() if v}
        if len(merged) > limits.ATTRIBUTES or sum(len(k) + len(v) for k, v in merged.items()) > limits.METADATA_BYTES:
            return False
        self.attributes = merged
        return True

    async def close(self) -> None:
        """Both connections, and the socket after its last words."""
        await asyncio.gather(self.publisher.close(), self.subscriber.close())
        if self.outbox is not None:
            await self.outbox.finished()
