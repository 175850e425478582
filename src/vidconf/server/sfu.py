"""The SFU's server side as a caller sees it: tokens and RoomService over Twirp. The same for the relay and for LiveKit.

The loop's thread. Names: room `<meeting>.<epoch>`, identity `<participant>.<session>`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import aiohttp
from google.protobuf.message import DecodeError, Message
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from livekit.protocol import models as lk_models
from livekit.protocol import room as lk_room

from vidconf.meeting.models import Source

TOKEN_S = 60
LEEWAY_S = 10
CALL_S = 5.0
EMPTY_S = 3600
DEPARTURE_S = 600

Answer = TypeVar("Answer", bound=Message)

SOURCES: dict[Source, tuple[lk_models.TrackSource, ...]] = {
    "microphone": (lk_models.TrackSource.MICROPHONE,),
    "camera": (lk_models.TrackSource.CAMERA,),
    "screen_share": (lk_models.TrackSource.SCREEN_SHARE, lk_models.TrackSource.SCREEN_SHARE_AUDIO),
}
"""What of LiveKit's is one source of ours."""
_CLAIMS = {
    lk_models.TrackSource.MICROPHONE: "microphone",
    lk_models.TrackSource.CAMERA: "camera",
    lk_models.TrackSource.SCREEN_SHARE: "screen_share",
    lk_models.TrackSource.SCREEN_SHARE_AUDIO: "screen_share_audio",
}


class SfuError(Exception):
    """The SFU refused or could not be reached. `code` is Twirp's, or `unreachable`."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


@dataclass(frozen=True, slots=True)
class Claims:
    """What a media token says, once its signature and times hold."""

    room: str
    identity: str


def room_name(meeting: str, epoch: int) -> str:
    return f"{meeting}.{epoch}"


def split_name(name: str) -> tuple[str, int] | None:
    """`<meeting>.<epoch>` or `<participant>.<session>` taken apart; None for a name that is not ours."""
    head, dot, tail = name.rpartition(".")
    if not dot or not head or not tail.isascii() or not tail.isdigit() or len(tail) > 9:
        return None
    return head, int(tail)


def numbers(sources: Iterable[Source]) -> list[lk_models.TrackSource]:
    """What of LiveKit's may be published by who may use `sources`. A shared screen has sound only with the right to speak:
    else it would be a second microphone, which no rule about speaking reaches."""
    lawful = frozenset(sources)
    found = [number for source, its in SOURCES.items() if source in lawful for number in its]
    return found if "microphone" in lawful else [number for number in found if number != lk_models.TrackSource.SCREEN_SHARE_AUDIO]


def is_honest(track: lk_models.TrackInfo) -> bool:
    """Whether a track is of the kind that its source says: sound that calls itself a camera is heard all the same."""
    heard = track.source in (lk_models.TrackSource.MICROPHONE, lk_models.TrackSource.SCREEN_SHARE_AUDIO)
    return track.type == (lk_models.TrackType.AUDIO if heard else lk_models.TrackType.VIDEO)


def permission(sources: Iterable[Source]) -> lk_models.ParticipantPermission:
    """What a participant who may use `sources` may do. An empty list would mean all: then publishing is off altogether."""
    allowed = numbers(sources)
    return lk_models.ParticipantPermission(
        can_subscribe=True, can_publish=bool(allowed), can_publish_data=False, can_publish_sources=allowed, can_update_metadata=False
    )


class Sfu:
    """One SFU (or one cluster behind one address). `api_url` may change when the relay is started again."""

    def __init__(self, session: aiohttp.ClientSession, key: str, secret: str, api_url: str = "") -> None:
        self.api_url = api_url.rstrip("/")
        self.key, self.secret = key, secret
        self._session = session
        self._jwk = OctKey.import_key(secret)

    # ---- tokens ----

    def _sign(self, claims: dict[str, Any], ttl_s: float) -> str:
        now = int(time.time())
        return jwt.encode({"alg": "HS256", "typ": "JWT"}, {"iss": self.key, "nbf": now - LEEWAY_S, "exp": now + int(ttl_s), **claims}, self._jwk)

    def token(self, room: str, identity: str, name: str, sources: Sequence[Source], ttl_s: float = TOKEN_S) -> str:
        """A participant's way in. With no sources `canPublish` is false, because an empty list means all."""
        video: dict[str, Any] = {
            "room": room, "roomJoin": True, "canSubscribe": True, "canPublishData": False, "canUpdateOwnMetadata": False,
            "canPublish": bool(sources),
        }  # fmt: skip
        if sources:
            video["canPublishSources"] = [_CLAIMS[number] for number in numbers(sources)]
        return self._sign({"sub": identity, "name": name, "video": video}, ttl_s)

    def _claims(self, token: str) -> dict[str, Any] | None:
        try:
            claims = dict(jwt.decode(token, self._jwk, algorithms=["HS256"]).claims)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            return None
        now = time.time()
        exp, nbf = claims.get("exp"), claims.get("nbf", 0)
        if isinstance(exp, bool) or not isinstance(exp, int | float) or not isinstance(nbf, int | float):
            return None
        if claims.get("iss") != self.key or exp < now - LEEWAY_S or nbf > now + LEEWAY_S:
            return None
        return claims

    def verify(self, token: str) -> Claims | None:
        """A token to join with, ours or one the SFU renewed; None when it is neither or is too old."""
        claims = self._claims(token) if token and len(token) <= 16384 else None
        video = claims.get("video") if claims else None
        if claims is None or not isinstance(video, dict) or video.get("roomJoin") is not True:
            return None
        room, identity = video.get("room"), claims.get("sub")
        return Claims(room, identity) if isinstance(room, str) and isinstance(identity, str) else None

    def verify_webhook(self, authorization: str, body: bytes) -> dict[str, Any] | None:
        """A webhook's content when it is signed by the SFU over exactly this body, else None."""
        claims = self._claims(authorization.removeprefix("Bearer ").strip()) if len(authorization) <= 16384 else None
        if claims is None:
            return None
        digest = hashlib.sha256(body).digest()
        if claims.get("sha256") not in (base64.b64encode(digest).decode(), base64.urlsafe_b64encode(digest).decode()):
            return None
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            return None
        return content if isinstance(content, dict) else None

    # ---- RoomService ----

    async def _call(self, method: str, request: Message, answer: Answer, **grant: Any) -> Answer:
        if not self.api_url:
            raise SfuError("unreachable", "the SFU is not up")
        headers = {"Authorization": f"Bearer {self._sign({'video': grant}, TOKEN_S)}", "Content-Type": "application/protobuf"}
        url = f"{self.api_url}/twirp/livekit.RoomService/{method}"
        try:
            timeout = aiohttp.ClientTimeout(total=CALL_S)
            async with self._session.post(url, data=request.SerializeToString(), headers=headers, timeout=timeout) as response:
                body = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise SfuError("unreachable", f"{method}: {type(error).__name__}") from None
        if status != 200:
            try:
                code = str(json.loads(body)["code"])[:40]
            except (ValueError, KeyError, TypeError, RecursionError):
                code = f"http_{status}"
            raise SfuError(code, f"{method} answered {status}")
        try:
            answer.ParseFromString(body)
        except DecodeError:
            raise SfuError("malformed", f"{method} answered what is no {type(answer).__name__}") from None
        return answer

    async def create_room(self, room: str) -> None:
        """Also for a room that exists: then nothing happens."""
        request = lk_room.CreateRoomRequest(name=room, empty_timeout=EMPTY_S, departure_timeout=DEPARTURE_S)
        await self._call("CreateRoom", request, lk_models.Room(), roomCreate=True)

    async def delete_room(self, room: str) -> None:
        await self._call("DeleteRoom", lk_room.DeleteRoomRequest(room=room), lk_room.DeleteRoomResponse(), roomCreate=True)

    async def rooms(self) -> list[str]:
        found = await self._call("ListRooms", lk_room.ListRoomsRequest(), lk_room.ListRoomsResponse(), roomList=True)
        return [room.name for room in found.rooms]

    async def participants(self, room: str) -> list[lk_models.ParticipantInfo]:
        request = lk_room.ListParticipantsRequest(room=room)
        found = await self._call("ListParticipants", request, lk_room.ListParticipantsResponse(), roomAdmin=True, room=room)
        return list(found.participants)

    async def remove(self, room: str, identity: str) -> None:
        request = lk_room.RoomParticipantIdentity(room=room, identity=identity)
        await self._call("RemoveParticipant", request, lk_room.RemoveParticipantResponse(), roomAdmin=True, room=room)

    async def mute(self, room: str, identity: str, track: str) -> None:
        request = lk_room.MuteRoomTrackRequest(room=room, identity=identity, track_sid=track, muted=True)
        await self._call("MutePublishedTrack", request, lk_room.MuteRoomTrackResponse(), roomAdmin=True, room=room)

    async def permit(self, room: str, identity: str, allowed: lk_models.ParticipantPermission) -> None:
        request = lk_room.UpdateParticipantRequest(room=room, identity=identity, permission=allowed)
        await self._call("UpdateParticipant", request, lk_models.ParticipantInfo(), roomAdmin=True, room=room)
