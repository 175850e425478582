"""The relay's HTTP front: signalling /rtc, /rtc/validate, health, counters. The loop's thread.

Everything is checked before the upgrade, so that a failure is an HTTP status with words (livekit-protocol.md §1.1, §6.1).
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time

from aiohttp import WSMsgType, web
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from livekit.protocol import rtc

from vidconf.protocol.livekit import Claims, TokenError, verify_token
from vidconf.relay import limits
from vidconf.relay.description import DescriptionError
from vidconf.relay.outbox import Outbox
from vidconf.relay.participant import Action, Participant, Reason
from vidconf.relay.registry import Relay
from vidconf.relay.requests import handle

log = logging.getLogger("vidconf.relay")

_CORS = {"Access-Control-Allow-Origin": "*"}
FAULTS = 20
"""Malformed messages of one connection before it is closed."""


class Refused(Exception):
    """The door stays shut: status and words of the HTTP answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


class Signalling:
    """The handlers; `routes` for the application."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._health),
            web.get("/rtc", self._rtc),
            web.get("/rtc/validate", self._validate),
            # v1 is not spoken here; clients fall back on exactly this, readable from a web page.
            web.get("/rtc/v1", self._absent),
            web.get("/rtc/v1/validate", self._absent),
            web.get("/debug/counters", self._counters),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(text="OK", headers=_CORS)

    async def _absent(self, request: web.Request) -> web.Response:
        return web.Response(status=404, text="not found", headers=_CORS)

    async def _counters(self, request: web.Request) -> web.Response:
        """For tests and a person at the machine: loopback only."""
        remote = request.remote or ""
        try:
            is_local = ipaddress.ip_address(remote).is_loopback
        except ValueError:
            is_local = False
        if not is_local:
            return await self._absent(request)
        relay = self._relay
        gauges = {"rooms": len(relay.rooms), "participants": relay.participants, "sessions": len(relay.port.sessions)}
        return web.json_response({**gauges, **relay.counters.as_dict(), "port": relay.port.counters.as_dict()})

    # ---- the door

    def admit(self, request: web.Request) -> Claims:
        """Who this is and that it may in. Raises Refused."""
        token = request.query.get("access_token") or ""
        authorization = request.headers.get("Authorization", "")
        if authorization[:7].lower() == "bearer ":
            token = authorization[7:].strip()
        try:
            claims = verify_token(token, self._relay.keys)
        except TokenError as error:
            raise Refused(401, str(error)) from error
        room, identity = claims.grants.room, claims.identity
        if not claims.grants.room_join:
            raise Refused(401, "the token does not permit joining a room")
        if not room or len(room) > limits.ROOM_CHARS:
            raise Refused(401, "the token names no room")
        if not identity or len(identity) > limits.IDENTITY_CHARS:
            raise Refused(400, "the token names no identity")
        if self._relay.is_expelled(token, claims):
            raise Refused(403, "removed from the room")
        known = self._relay.rooms.get(room)
        if known is None and not (self._relay.auto_create or claims.grants.room_create):
            raise Refused(404, "requested room does not exist")
        newcomer = known is None or identity not in known.participants
        if newcomer and known is not None and known.max_participants and len(known.participants) >= known.max_participants:
            raise Refused(429, "the room is full")
        if newcomer and self._relay.participants >= limits.PARTICIPANTS:
            raise Refused(503, "the relay is full")
        return claims

    async def _validate(self, request: web.Request) -> web.Response:
        try:
            self.admit(request)
        except Refused as refused:
            return web.Response(status=refused.status, text=refused.text, headers=_CORS)
        return web.Response(text="success", headers=_CORS)

    async def _rtc(self, request: web.Request) -> web.StreamResponse:
        try:
            if "join_request" in request.query:
                raise Refused(404, "not found")
            claims = self.admit(request)
            ws = web.WebSocketResponse(max_msg_size=limits.SIGNAL_BYTES, compress=False, heartbeat=25.0, timeout=2.0)
            if not ws.can_prepare(request):
                raise Refused(426, "a WebSocket is wanted here")
        except Refused as refused:
            self._relay.counters.joins_refused += 1
            return web.Response(status=refused.status, text=refused.text, headers=_CORS)
        try:
            await ws.prepare(request)
        except ConnectionResetError:  # hung up before it was answered; the status is for the log only
            return web.Response(status=499)
        outbox = Outbox(ws, request.transport, self._relay.counters)
        if request.query.get("reconnect") == "1":
            # Resuming needs an ICE restart on two connections; joining anew is as fast here.
            leave = rtc.LeaveRequest(reason=Reason.STATE_MISMATCH, action=Action.RECONNECT, can_reconnect=True)
            outbox.put(rtc.SignalResponse(leave=leave).SerializeToString())
            await outbox.finished()
            return ws
        participant = self._join(request, claims, outbox)
        if participant is not None:
            await self._listen(ws, participant, outbox)
        return ws

    def _join(self, request: web.Request, claims: Claims, outbox: Outbox) -> Participant:
        relay = self._relay
        room = relay.room(claims.grants.room)
        client_protocol = request.query.get("client_protocol", "")
        participant = Participant(
            room, claims, int(client_protocol) if client_protocol.isascii() and client_protocol.isdigit() and len(client_protocol) < 6 else 0,
            request.query.get("auto_subscribe", "1") in ("1", "true"), outbox, request.query.get("adaptive_stream") in ("1", "true"),
        )  # fmt: skip
        token = request.query.get("access_token") or request.headers.get("Authorization", "")[7:].strip()
        relay.remember(participant, token)
        relay.counters.joins += 1
        room.join(participant)
        return participant

    async def _listen(self, ws: web.WebSocketResponse, participant: Participant, outbox: Outbox) -> None:
        """Until the socket ends. Then the participant is held a while, that others see no flicker (livekit-protocol.md §6.4)."""
        counters = self._relay.counters
        faults = 0
        try:
            async for message in ws:
                now = time.monotonic()
                if not participant.signals.take(now):
                    counters.signal_over_limit += 1
                    if faults > FAULTS:
                        break
                    faults += 1
                    await asyncio.sleep(0.02)
                    continue
                try:
                    if message.type is WSMsgType.BINARY:
                        outbox.as_json = False
                        request = rtc.SignalRequest.FromString(message.data)
                    elif message.type is WSMsgType.TEXT:
                        outbox.as_json = True
                        request = json_format.Parse(message.data, rtc.SignalRequest(), ignore_unknown_fields=True, max_recursion_depth=20)
                    else:
                        break
                    handle(participant, request)
                except (DecodeError, json_format.ParseError, DescriptionError) as error:
                    counters.signal_malformed += 1
                    faults += 1
                    log.debug("participant %s sent what cannot be read: %s", participant.sid, type(error).__name__)
                    if faults > FAULTS:
                        break
        except ConnectionError:
            pass  # its end is seen below
        finally:  # however it ended: who is not seen as lost would stay for ever
            if not participant.gone:
                participant.lost_at, participant.outbox = time.monotonic(), None
        if participant.gone:
            await asyncio.sleep(0)
            return
        log.info("participant %s: the signalling connection ended", participant.sid)
        await outbox.finished()
