"""RoomService over Twirp, JSON and protobuf: how vidconf's server and LiveKit's own tools rule the relay. The loop's thread.

POST /twirp/livekit.RoomService/<Method>, a bearer with the method's grant. Errors are Twirp's: `{"code", "msg"}`.
Methods and grants: livekit-protocol.md §5.1; unmuting another is refused, as LiveKit does by default.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from livekit.protocol import models, rtc
from livekit.protocol import room as api

from vidconf.protocol.livekit import Grants, TokenError, verify_token
from vidconf.relay import limits
from vidconf.relay.participant import Participant
from vidconf.relay.permission import Permission
from vidconf.relay.registry import Relay
from vidconf.relay.requests import subscribe
from vidconf.relay.room import Room

log = logging.getLogger("vidconf.relay")

STATUS = {
    "bad_route": 404, "malformed": 400, "invalid_argument": 400, "unauthenticated": 401, "permission_denied": 403, "not_found": 404,
    "failed_precondition": 412, "resource_exhausted": 429, "internal": 500, "unimplemented": 501,
}  # fmt: skip
BODY_BYTES = 1 << 20


class TwirpError(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


class RoomService:
    """The handlers; `routes` for the application."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._methods: dict[str, tuple[type[Message], Callable[[Any, Grants], Message]]] = {
            "CreateRoom": (api.CreateRoomRequest, self._create_room),
            "ListRooms": (api.ListRoomsRequest, self._list_rooms),
            "DeleteRoom": (api.DeleteRoomRequest, self._delete_room),
            "ListParticipants": (api.ListParticipantsRequest, self._list_participants),
            "GetParticipant": (api.RoomParticipantIdentity, self._get_participant),
            "RemoveParticipant": (api.RoomParticipantIdentity, self._remove_participant),
            "MutePublishedTrack": (api.MuteRoomTrackRequest, self._mute_published_track),
            "UpdateParticipant": (api.UpdateParticipantRequest, self._update_participant),
            "UpdateSubscriptions": (api.UpdateSubscriptionsRequest, self._update_subscriptions),
            "SendData": (api.SendDataRequest, self._send_data),
            "UpdateRoomMetadata": (api.UpdateRoomMetadataRequest, self._update_room_metadata),
        }

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/twirp/livekit.RoomService/{method}", self._call)]

    async def _call(self, request: web.Request) -> web.Response:
        as_json = request.content_type == "application/json"
        try:
            if request.content_type not in ("application/json", "application/protobuf"):
                raise TwirpError("bad_route", "unexpected Content-Type")
            method = self._methods.get(request.match_info["method"])
            if method is None:
                raise TwirpError("bad_route", "no such method")
            grants = self._grants(request)
            body = await request.read()
            try:
                message = json_format.Parse(body or b"{}", method[0](), ignore_unknown_fields=True) if as_json else method[0].FromString(body)
            except (DecodeError, json_format.ParseError, UnicodeDecodeError) as error:
                raise TwirpError("malformed", "the request cannot be read") from error
            answer = method[1](message, grants)
        except TwirpError as error:
            return web.json_response({"code": error.code, "msg": error.text}, status=STATUS[error.code])
        if as_json:
            text = json_format.MessageToJson(answer, preserving_proto_field_name=True, indent=None)
            return web.Response(text=text, content_type="application/json")
        return web.Response(body=answer.SerializeToString(), content_type="application/protobuf")

    def _grants(self, request: web.Request) -> Grants:
        authorization = request.headers.get("Authorization", "")
        if authorization[:7].lower() != "bearer ":
            raise TwirpError("unauthenticated", "a bearer token is needed")
        try:
            return verify_token(authorization[7:].strip(), self._relay.keys).grants
        except TokenError as error:
            raise TwirpError("unauthenticated", str(error)) from error

    # ---- who may, and what is meant

    def _admin(self, grants: Grants, room: str) -> Room:
        if not grants.room_admin or grants.room != room:
            raise TwirpError("permission_denied", "roomAdmin for this room is needed")
        found = self._relay.rooms.get(room)
        if found is None:
            raise TwirpError("not_found", "requested room does not exist")
        return found

    def _participant(self, grants: Grants, room: str, identity: str) -> Participant:
        found = self._admin(grants, room).participants.get(identity)
        if found is None:
            raise TwirpError("not_found", "participant does not exist")
        return found

    # ---- methods

    def _create_room(self, request: api.CreateRoomRequest, grants: Grants) -> Message:
        if not grants.room_create:
            raise TwirpError("permission_denied", "roomCreate is needed")
        if not request.name or len(request.name) > limits.ROOM_CHARS or len(request.metadata) > limits.METADATA_BYTES:
            raise TwirpError("invalid_argument", "a name is needed, and sizes have limits")
        try:
            room = self._relay.room(request.name)
        except OverflowError as error:
            raise TwirpError("resource_exhausted", str(error)) from error
        room.empty_timeout = request.empty_timeout or room.empty_timeout
        room.departure_timeout = request.departure_timeout or room.departure_timeout
        room.max_participants = request.max_participants or room.max_participants
        if request.metadata and request.metadata != room.metadata:
            room.set_metadata(request.metadata)
        return room.info()

    def _list_rooms(self, request: api.ListRoomsRequest, grants: Grants) -> Message:
        if not grants.room_list:
            raise TwirpError("permission_denied", "roomList is needed")
        names = set(request.names)
        return api.ListRoomsResponse(rooms=[r.info() for r in self._relay.rooms.values() if not names or r.name in names])

    def _delete_room(self, request: api.DeleteRoomRequest, grants: Grants) -> Message:
        if not grants.room_create:
            raise TwirpError("permission_denied", "roomCreate is needed")
        if not self._relay.delete(request.room):
            raise TwirpError("not_found", "requested room does not exist")
        return api.DeleteRoomResponse()

    def _list_participants(self, request: api.ListParticipantsRequest, grants: Grants) -> Message:
        room = self._admin(grants, request.room)
        return api.ListParticipantsResponse(participants=[p.info() for p in room.participants.values()])

    def _get_participant(self, request: api.RoomParticipantIdentity, grants: Grants) -> Message:
        return self._participant(grants, request.room, request.identity).info()

    def _remove_participant(self, request: api.RoomParticipantIdentity, grants: Grants) -> Message:
        room = self._admin(grants, request.room)
        participant = room.participants.get(request.identity)
        # Also one who is not there: it may be on its way in with a token from before.
        self._relay.expel(room, participant, request.identity, float(request.revoke_token_ts))
        if participant is None:
            raise TwirpError("not_found", "participant does not exist")
        return api.RemoveParticipantResponse()

    def _mute_published_track(self, request: api.MuteRoomTrackRequest, grants: Grants) -> Message:
        participant = self._participant(grants, request.room, request.identity)
        track = participant.publisher.find(request.track_sid)
        if track is None:
            raise TwirpError("not_found", "track does not exist")
        if not request.muted and track.info.muted:
            raise TwirpError("failed_precondition", "nobody is unmuted by another")
        if request.muted and not track.info.muted:
            participant.room.set_muted(track, True)
            participant.say(mute=rtc.MuteTrackRequest(sid=track.sid, muted=True))
        return api.MuteRoomTrackResponse(track=track.info)

    def _update_participant(self, request: api.UpdateParticipantRequest, grants: Grants) -> Message:
        participant = self._participant(grants, request.room, request.identity)
        if len(request.metadata) > limits.METADATA_BYTES or len(request.name) > limits.NAME_CHARS:
            raise TwirpError("invalid_argument", "too large")
        if not participant.set_attributes(request.attributes):
            raise TwirpError("invalid_argument", "too many attributes")
        participant.metadata = request.metadata or participant.metadata
        participant.name = request.name or participant.name
        if request.HasField("permission"):
            participant.room.permit(participant, Permission.from_message(request.permission))
        else:
            participant.room.changed(participant)
            participant.refresh_token()
        return participant.info()

    def _update_subscriptions(self, request: api.UpdateSubscriptionsRequest, grants: Grants) -> Message:
        participant = self._participant(grants, request.room, request.identity)
        sids = [*request.track_sids, *(sid for entry in request.participant_tracks for sid in entry.track_sids)]
        subscribe(participant, sids, request.subscribe)
        return api.UpdateSubscriptionsResponse()

    def _send_data(self, request: api.SendDataRequest, grants: Grants) -> Message:
        room = self._admin(grants, request.room)
        if len(request.data) > limits.DATA_BYTES:
            raise TwirpError("invalid_argument", "too large")
        user = models.UserPacket(payload=request.data, destination_sids=request.destination_sids, nonce=request.nonce)
        if request.HasField("topic"):
            user.topic = request.topic
        packet = models.DataPacket(kind=request.kind, user=user, destination_identities=request.destination_identities)
        room.send_data(packet)
        return api.SendDataResponse()

    def _update_room_metadata(self, request: api.UpdateRoomMetadataRequest, grants: Grants) -> Message:
        room = self._admin(grants, request.room)
        if len(request.metadata) > limits.METADATA_BYTES:
            raise TwirpError("invalid_argument", "too large")
        room.set_metadata(request.metadata)
        return room.info()
