"""The relay as a whole: its rooms, keys, port, what was removed. The loop's thread."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Sequence

from livekit.protocol import models, rtc

from vidconf.protocol.livekit import PROTOCOL, Claims, make_token
from vidconf.relay import codecs, limits
from vidconf.relay.counters import Counters
from vidconf.relay.participant import Action, Participant, Reason
from vidconf.relay.room import Room
from vidconf.relay.simulcast import LOOK_S
from vidconf.relay.speakers import WINDOW_S
from vidconf.relay.webhooks import Webhooks
from vidconf.webrtc.ice_lite import Port

log = logging.getLogger("vidconf.relay")

SERVER_VERSION = "1.13.5"
"""Of LiveKit's, whose protocol this is: clients switch features on by it."""
PUBLISH_CODECS = [*(models.Codec(mime=codec.mime) for codec in (codecs.VP8, codecs.H264, codecs.VP9, codecs.OPUS)), models.Codec(mime="audio/red")]
"""What clients may send; the first is what they take when theirs is not among them."""
REFRESH_EVERY_S = 300.0
REFRESHED_FOR_S = 600.0
SERVER_LEEWAY_S = 10.0
"""Whoever dates `nbf` back against clocks that differ does so by this much (vidconf's server)."""


class Relay:
    def __init__(self, port: Port, keys: dict[str, str], webhooks: Webhooks, counters: Counters, *, auto_create: bool = True) -> None:
        self.port, self.keys, self.webhooks, self.counters, self.auto_create = port, keys, webhooks, counters, auto_create
        self.rooms: dict[str, Room] = {}
        self.refresh_every_s = REFRESH_EVERY_S
        self._removed: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._revoked: OrderedDict[bytes, None] = OrderedDict()
        self._tokens: OrderedDict[tuple[str, str], list[bytes]] = OrderedDict()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        works = {"relay second": self._every_second(), "speakers": self._speakers(), "layers": self._layers()}
        self._tasks = [asyncio.create_task(work, name=name) for name, work in works.items()]

    @property
    def participants(self) -> int:
        return sum(len(room.participants) for room in self.rooms.values())

    # ---- rooms

    def room(self, name: str, **settings: int) -> Room:
        """That room, made when it is not there. Raises OverflowError when there are too many."""
        room = self.rooms.get(name)
        if room is None:
            if len(self.rooms) >= limits.ROOMS:
                raise OverflowError("too many rooms")
            room = self.rooms[name] = Room(self, name, **settings)
            log.info("room %s opens", room.sid)
            room.notify("room_started")
        return room

    def delete(self, name: str) -> bool:
        room = self.rooms.pop(name, None)
        if room is None:
            return False
        room.close()
        return True

    def join_response(self, room: Room, participant: Participant, others: Sequence[models.ParticipantInfo]) -> rtc.JoinResponse:
        """The first message; what in it clients cannot do without is livekit-protocol.md §6.2."""
        return rtc.JoinResponse(
            room=room.info(), participant=participant.info(), other_participants=others, server_version=SERVER_VERSION,
            server_info=models.ServerInfo(version=SERVER_VERSION, protocol=PROTOCOL, edition=models.ServerInfo.Edition.Standard),
            subscriber_primary=participant.subscriber_primary, ping_interval=5, ping_timeout=15,
            client_configuration=models.ClientConfiguration(resume_connection=models.ClientConfigSetting.DISABLED),
            enabled_publish_codecs=PUBLISH_CODECS,
            fast_publish=participant.permission.can_publish,
        )  # fmt: skip

    # ---- tokens

    def renewed(self, participant: Participant) -> str:
        """A token for coming back, with what the participant may do now."""
        claims = participant.claims
        token = make_token(
            claims.key, self.keys[claims.key], participant.identity, participant.permission.to_grants(claims.grants), REFRESHED_FOR_S,
            name=participant.name, metadata=participant.metadata, attributes=participant.attributes,
        )  # fmt: skip
        self.remember(participant, token)
        return token

    def remember(self, participant: Participant, token: str) -> None:
        """A token that opens the door for this participant; removing it makes the token worthless."""
        name = (participant.room.name, participant.identity)
        tokens = self._tokens.setdefault(name, [])
        self._tokens.move_to_end(name)
        tokens.append(_digest(token))
        del tokens[:-8]
        while len(self._tokens) > limits.REMOVED:
            self._tokens.popitem(last=False)

    def expel(self, room: Room, participant: Participant | None, identity: str, revoke_before: float = 0.0) -> None:
        """RemoveParticipant: out, and what it holds from before is refused from now on, also when it is not there."""
        self._removed.pop((room.name, identity), None)
        self._removed[room.name, identity] = max(time.time(), min(revoke_before, time.time() + 1))
        for digest in self._tokens.pop((room.name, identity), ()):
            self._revoked[digest] = None
        if participant is not None:
            room.remove(participant, Reason.PARTICIPANT_REMOVED, Action.DISCONNECT)
        for known in (self._removed, self._revoked):
            while len(known) > limits.REMOVED:
                known.popitem(last=False)

    def is_expelled(self, token: str, claims: Claims) -> bool:
        """Whether this token is from before its identity was removed from its room. `iat` tells; a token without it is dated
        by `nbf`, which may be set back, so that the tokens seen in use are remembered one by one as well."""
        if _digest(token) in self._revoked:
            return True
        removed_at = self._removed.get((claims.grants.room, claims.identity))
        if removed_at is None:
            return False
        if claims.issued_at is not None:
            whole = claims.issued_at == math.floor(claims.issued_at)
            return claims.issued_at < (math.floor(removed_at) if whole else removed_at)
        return claims.not_before is None or claims.not_before + SERVER_LEEWAY_S < removed_at

    # ---- time

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(1)
            now = time.monotonic()
            for name, room in list(self.rooms.items()):
                try:
                    room.tick(now)
                    if room.is_over(now):
                        self.delete(name)
                except Exception:
                    log.exception("the look at room %s failed", room.sid)

    async def _speakers(self) -> None:
        while True:
            await asyncio.sleep(WINDOW_S)
            for room in self.rooms.values():
                if room.participants:
                    room.look_for_speakers()

    async def _layers(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = time.monotonic()
            for room in self.rooms.values():
                room.look_at_layers(now)

    async def close(self) -> None:
        """Everybody is told to come back: another relay may be up soon."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for room in list(self.rooms.values()):
            room.close(Reason.SERVER_SHUTDOWN, Action.RECONNECT)
        self.rooms.clear()


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
