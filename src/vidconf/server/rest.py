"""REST: joining, signing in, meetings, and the same commands as the socket's. The wire is written in `server/__init__.py`.

Handlers on the loop's thread; `openapi.py` describes them, and a test holds the two together.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections import Counter
from typing import Any, get_args

import sqlalchemy as sa
from aiohttp import web

from vidconf.meeting import messages as m
from vidconf.meeting.models import KINDS, ROLES, SOURCES, Kind, Meeting, Participant, Role
from vidconf.meeting.rights import CAPABILITIES, is_authority, is_moderator, standing
from vidconf.meeting.visibility import level, view
from vidconf.protocol.control import WireError, decode_command
from vidconf.server import schedule, tables
from vidconf.server.accounts import AccountError, Accounts, Bearer, SignedIn, new_token, token_hash
from vidconf.server.control import Control
from vidconf.server.limits import Buckets, network_of
from vidconf.server.media import Media
from vidconf.server.room import Room, RoomBroken, RoomClosed, Rooms
from vidconf.server.schedule import Schedule, ScheduleError
from vidconf.server.sfu import SfuError
from vidconf.server.storage import MeetingRow, Storage
from vidconf.server.web import ApiError, Visitors, answer, body_of, number_field, text_field

log = logging.getLogger("vidconf.rest")

GUESTS_PER_S, GUESTS_BURST = 2.0, 1000
"""New guests from one address: a whole ministry may come from one at once, and is never more than two large meetings."""
JOINS_PER_S, JOINS_BURST = 0.5, 30
"""Of one account or badge in one meeting: each is a session token that is kept, and may be events that everybody hears of."""
SIGNING_IN = 50
"""Passwords of one address that are being looked at: each takes a core for a while, and the others wait behind them."""
EXTERNAL_TTL_S = 600
EXTERNAL_TTL_MAX_S = 7 * 86400
_BADGE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


class Rest:
    def __init__(
        self, storage: Storage, accounts: Accounts, meetings: Schedule, rooms: Rooms, media: Media, control: Control, visitors: Visitors,
        public_url: str,
    ) -> None:  # fmt: skip
        self.storage, self.accounts, self.schedule = storage, accounts, meetings
        self.rooms, self.media, self.control, self.visitors = rooms, media, control, visitors
        self.public_url = public_url
        limits = control.config.limits
        self._guests = Buckets(GUESTS_PER_S, max(GUESTS_BURST, 2 * limits.capacity))
        self._joins = Buckets(JOINS_PER_S, JOINS_BURST)
        self._signing_in: Counter[str] = Counter()
        self._commands = Buckets(limits.commands_per_second, 3 * limits.commands_per_second)
        self._chat = Buckets(limits.chat_per_second, 5 * limits.chat_per_second)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v1/join", self.join),
            web.get("/api/v1/meetings/by-code/{code}", self.preview),
            web.post("/api/v1/meetings/by-code/{code}/chair", self.chair_ticket),
            web.post("/api/v1/auth/login", self.login),
            web.post("/api/v1/auth/refresh", self.refresh),
            web.post("/api/v1/auth/logout", self.logout),
            web.get("/api/v1/me", self.me),
            web.get("/api/v1/accounts", self.accounts_list),
            web.post("/api/v1/accounts", self.account_add),
            web.post("/api/v1/accounts/{name}/disable", self.account_disable),
            web.post("/api/v1/keys", self.key_add),
            web.get("/api/v1/meetings", self.meetings_list),
            web.post("/api/v1/meetings", self.meeting_add),
            web.get("/api/v1/meetings/{id}", self.meeting_state),
            web.post("/api/v1/meetings/{id}/commands", self.command),
            web.post("/api/v1/meetings/{id}/external", self.external),
            web.post("/api/v1/meetings/{id}/chair-link", self.chair_link_new),
            web.delete("/api/v1/meetings/{id}/chair-link", self.chair_link_revoke),
            web.get("/api/v1/audit", self.audit),
        ]

    # ---- joining ----

    async def _by_code(self, request: web.Request, code: str) -> MeetingRow:
        self.visitors.check(request, "code")
        clean = schedule.clean_code(code)
        row = await self.storage.meeting_by_code(clean) if clean is not None else None
        if row is None:
            self.visitors.failed(request, "code")
            raise ApiError(404, "no_such_meeting")
        return row

    async def _room(self, meeting: str) -> Room:
        room = await self.rooms.get(meeting)
        if room is None:
            raise ApiError(404, "no_such_meeting")
        return room

    async def preview(self, request: web.Request) -> web.Response:
        row = await self._by_code(request, request.match_info["code"])
        state = (await self._room(row.id)).state
        return answer(
            {
                "code": row.code, "title": row.title, "start": row.start, "duration_s": row.duration_s,
                "state": state.state, "lobby": state.lobby, "locked": state.locked,
            }
        )

    async def chair_ticket(self, request: web.Request) -> web.Response:
        self.visitors.check(request, "chair")
        row = await self._by_code(request, request.match_info["code"])
        secret = text_field(await body_of(request), "secret", 200)
        ticket = await self.schedule.ticket(row, secret)
        if ticket is None:
            self.visitors.failed(request, "chair")
            raise ApiError(403, "bad_chair_link")
        return answer({"ticket": ticket, "expires_in": schedule.TICKET_S})

    async def join(self, request: web.Request) -> web.Response:
        if self.control.draining:
            raise ApiError(503, "draining", {"Retry-After": "2"})
        bearer = await self.visitors.bearer(request)
        body = await body_of(request)
        code, name = text_field(body, "code", 64), text_field(body, "name", 1024)
        kind = text_field(body, "kind", 16, "person")
        if kind not in KINDS or kind == "external":
            raise ApiError(400, "malformed", field="kind", reason="person, site or browser")
        unit, position = text_field(body, "unit", 1024, ""), text_field(body, "position", 1024, "")
        badge = text_field(body, "badge", 64, "")
        if badge and (len(badge) < 16 or not _BADGE_CHARS.issuperset(badge)):
            raise ApiError(400, "malformed", field="badge", reason="send the badge an earlier join gave")
        ticket = text_field(body, "ticket", 200, "")
        row = await self._by_code(request, code)
        if bearer is not None and bearer.kind not in ("account", "chair"):
            raise ApiError(403, "not_allowed", reason="this key belongs to no person")
        if bearer is not None and bearer.kind == "chair" and bearer.meeting != row.id:
            raise ApiError(403, "not_your_meeting")
        account = bearer.account if bearer is not None else None
        chairs = (bearer is not None and bearer.kind == "chair") or (account is not None and account.id == row.owner)
        if ticket:
            self.visitors.check(request, "chair")
            if not await self.schedule.take_ticket(row.id, ticket):
                self.visitors.failed(request, "chair")
                raise ApiError(403, "bad_ticket")
            chairs = True
        room = await self._room(row.id)
        if account is None and not badge:
            badge = secrets.token_urlsafe(24)
        seat = _seat(room.state, account.id if account else None, badge if account is None else None)
        is_new = account is None and not chairs and seat not in room.state.participants
        # Each is kept with the meeting, and shown to those who let people in.
        if is_new and not self._guests.take(network_of(self.visitors.address(request)), time.monotonic()):
            raise ApiError(429, "too_many_requests", {"Retry-After": "2"}, wait_s=2)
        if not self._joins.take((row.id, account.id if account else badge), time.monotonic()):
            raise ApiError(429, "too_many_requests", {"Retry-After": "2"}, wait_s=2)
        knock = m.Knock(
            participant=seat,
            new_name=name, role="chair" if chairs else "delegate", kind=_kind(kind), unit=unit, position=position,
            guest=account is None, account=account.id if account else None, badge=badge if account is None else None,
            straight_in=chairs,
        )  # fmt: skip
        token = new_token("vcs")
        seated = sa.insert(tables.joins).values(
            token_hash=token_hash(token), meeting=row.id, participant=knock.participant, created_at=time.time()
        )
        result = await self._ask(row.id, "server", knock, seated)
        if isinstance(result, m.Refusal):
            status = 400 if result.code == "bad_name" else 403
            return answer({"error": result.code, "refused": result.code, "detail": result.detail}, status)
        if not result:  # already there: nothing was decided, so nothing was stored along with it
            await self.storage.execute(seated)
        room = await self._room(row.id)
        place = room.state.participants[knock.participant].place
        joined = {
            "session_token": token, "meeting": row.id, "participant": knock.participant, "state": place, "code": row.code,
            "title": row.title, "control_url": self.public_url.replace("http", "ws", 1) + "/api/v1/control",
        }  # fmt: skip
        if account is None:
            joined["badge"] = badge
        return answer(joined)

    async def _ask(self, meeting: str, actor: str, command: m.Command, *also: sa.Executable) -> tuple[m.Recorded, ...] | m.Refusal:
        try:
            result = await self.rooms.ask(meeting, actor, command, also)
        except RoomClosed:
            raise ApiError(503, "draining", {"Retry-After": "2"}) from None
        except RoomBroken as error:
            ref = self.control.error_ref(f"{command.name} could not be stored", error)
            raise ApiError(500, "storage", ref=ref) from None
        if result is None:
            raise ApiError(404, "no_such_meeting")
        return result

    # ---- signing in ----

    async def login(self, request: web.Request) -> web.Response:
        self.visitors.check(request, "login")
        body = await body_of(request)
        name, password = text_field(body, "name", 256), text_field(body, "password", 4096)
        this_name = f"login {token_hash(name.casefold())}"  # one name is guessed at less often than a whole ministry mistypes
        self.visitors.check(request, this_name)
        network = network_of(self.visitors.address(request))
        if self._signing_in[network] >= SIGNING_IN:
            raise ApiError(429, "too_many_requests", {"Retry-After": "2"}, wait_s=2)
        self._signing_in[network] += 1
        self.visitors.failed(request, this_name)
        try:
            signed_in = await self.accounts.login(name, password)
        except Exception:
            self.visitors.forgive(request, this_name)
            raise
        finally:
            self._signing_in[network] -= 1
            if not self._signing_in[network]:
                del self._signing_in[network]
        if signed_in is None:
            self.visitors.failed(request, "login")
            raise ApiError(401, "wrong_password")
        self.visitors.forgive(request, this_name)
        return answer(_signed_in(signed_in))

    async def refresh(self, request: web.Request) -> web.Response:
        self.visitors.check(request, "refresh")
        signed_in = await self.accounts.refresh(text_field(await body_of(request), "refresh_token", 1024))
        if signed_in is None:
            self.visitors.failed(request, "refresh")
            raise ApiError(401, "bad_refresh_token")
        return answer(_signed_in(signed_in))

    async def logout(self, request: web.Request) -> web.Response:
        await self.accounts.logout(text_field(await body_of(request), "refresh_token", 1024))
        return answer({})

    async def me(self, request: web.Request) -> web.Response:
        bearer = await self.visitors.require(request)
        if bearer.account is None:
            raise ApiError(403, "not_allowed", reason="this key belongs to no person")
        return answer({"id": bearer.account.id, "name": bearer.account.name, "role": bearer.account.role})

    # ---- accounts and keys ----

    async def _admin(self, request: web.Request) -> Bearer:
        bearer = await self.visitors.require(request)
        if not bearer.is_admin:
            raise ApiError(403, "not_allowed")
        return bearer

    async def accounts_list(self, request: web.Request) -> web.Response:
        await self._admin(request)
        found = await self.accounts.all()
        return answer({"accounts": [{"id": a.id, "name": a.name, "role": a.role, "disabled": a.disabled} for a in found]})

    async def account_add(self, request: web.Request) -> web.Response:
        await self._admin(request)
        body = await body_of(request)
        name, password = text_field(body, "name", 256), text_field(body, "password", 4096)
        try:
            account = await self.accounts.add(name, password, text_field(body, "role", 32, "member"))
        except AccountError as error:
            raise ApiError(409 if error.code == "name_taken" else 400, error.code, reason=str(error)) from None
        return answer({"id": account.id, "name": account.name, "role": account.role}, 201)

    async def account_disable(self, request: web.Request) -> web.Response:
        await self._admin(request)
        try:
            await self.accounts.disable(request.match_info["name"])
        except AccountError as error:
            raise ApiError(404, error.code, reason=str(error)) from None
        return answer({})

    async def key_add(self, request: web.Request) -> web.Response:
        await self._admin(request)
        name = text_field(await body_of(request), "name", 64)
        return answer({"key": await self.accounts.add_key(name, "service"), "name": name}, 201)

    async def audit(self, request: web.Request) -> web.Response:
        bearer = await self.visitors.require(request)
        if not (bearer.is_admin or (bearer.account is not None and bearer.account.role == "auditor")):
            raise ApiError(403, "not_allowed")
        meetings, events, erased, broken = await self.storage.verify()
        found = [{"meeting": one.meeting, "seq": one.seq, "why": one.why} for one in broken]
        return answer({"ok": not broken, "meetings": meetings, "events": events, "erased": erased, "broken": found})

    # ---- meetings ----

    async def meetings_list(self, request: web.Request) -> web.Response:
        bearer = await self.visitors.require(request)
        if bearer.kind == "chair":
            raise ApiError(403, "not_allowed")
        account = bearer.account.id if bearer.account is not None else None
        rows = await self.storage.account_meetings(account, time.time())
        return answer(
            {
                "meetings": [
                    {
                        "id": row.id, "code": row.code, "title": row.title, "start": row.start, "duration_s": row.duration_s,
                        "state": row.state, "lobby": row.lobby, "chair": account is not None and row.owner == account,
                        "link": schedule.link(self.public_url, row.code),
                    }
                    for row in rows
                ]
            }
        )

    async def meeting_add(self, request: web.Request) -> web.Response:
        bearer = await self.visitors.require(request)
        makes = bearer.kind in ("admin", "service") or (bearer.account is not None and bearer.account.role in ("organiser", "admin"))
        if not makes:
            raise ApiError(403, "not_allowed")
        body = await body_of(request)
        unknown = set(body) - {"title", "start", "duration_s", "lobby"}
        if unknown:
            raise ApiError(400, "malformed", field=min(unknown), reason="no such field")
        try:
            created = await self.schedule.create(
                body.get("title"), body.get("start"), body.get("duration_s", 3600), body.get("lobby", True),
                bearer.account.id if bearer.account else None,
            )  # fmt: skip
        except ScheduleError as error:
            raise ApiError(400, "malformed", field=error.field, reason=str(error)) from None
        return answer(created_json(created, self.public_url), 201)

    async def _reach(self, request: web.Request) -> tuple[MeetingRow, Room, str]:
        """The meeting of the path and as whom the bearer acts in it: an id in the room, or `account:<name>` (moderator)."""
        bearer = await self.visitors.require(request)
        row = await self.schedule.find(request.match_info["id"])
        if row is None:
            raise ApiError(404, "no_such_meeting")
        room = await self._room(row.id)
        if bearer.kind in ("admin", "service") or (bearer.kind == "chair" and bearer.meeting == row.id):
            return row, room, f"account:{bearer.name}"
        if bearer.account is not None:
            # An admin of the system has no right to read a meeting: only its organiser and who takes part.
            if bearer.account.id == row.owner:
                return row, room, f"account:{bearer.name}"
            seats = [p for p in room.state.participants.values() if p.account == bearer.account.id and p.place in ("admitted", "lobby")]
            if seats:
                return row, room, max(seats, key=lambda p: (p.place == "admitted", is_moderator(p))).id
        raise ApiError(403, "not_your_meeting")

    async def _moderate(self, request: web.Request) -> tuple[MeetingRow, Room, str]:
        row, room, actor = await self._reach(request)
        if level(room.state, actor) != "staff":
            raise ApiError(403, "not_allowed")
        return row, room, actor

    async def meeting_state(self, request: web.Request) -> web.Response:
        row, room, actor = await self._reach(request)
        return answer(state_json(view(room.state, actor), row))

    async def command(self, request: web.Request) -> web.Response:
        row, _, actor = await self._reach(request)
        try:
            command = decode_command(await body_of(request))
        except WireError as error:
            raise ApiError(400, error.code, **error.detail) from None
        if isinstance(command, m.Media):
            raise ApiError(400, "malformed", field="do", reason="media is asked for over the control socket")
        if not is_authority(actor):
            name, now = (row.id, actor), time.monotonic()
            if not self._commands.take(name, now) or (isinstance(command, m.Chat | m.React) and not self._chat.take(name, now)):
                raise ApiError(429, "too_many_requests", {"Retry-After": "1"}, wait_s=1)
        result = await self._ask(row.id, actor, command)
        if isinstance(result, m.Refusal):
            return answer({"refused": result.code, "detail": result.detail}, 409)
        room = await self._room(row.id)
        return answer({"ok": {"seq": result[-1].seq if result else room.state.seq, "events": [one.event.name for one in result]}})

    async def external(self, request: web.Request) -> web.Response:
        """A seat and a media token for another LiveKit client; seen by all, and put out by `remove` like any other."""
        row, room, actor = await self._moderate(request)
        body = await body_of(request)
        identity = text_field(body, "identity", 64)
        if not _BADGE_CHARS.issuperset(identity) or identity == "server":
            raise ApiError(400, "malformed", field="identity", reason="letters, digits, - and _")
        role = text_field(body, "role", 16, "delegate")
        if role not in ROLES:
            raise ApiError(400, "malformed", field="role", reason=", ".join(ROLES))
        if not _may_give(room.state, actor, role):
            raise ApiError(403, "not_allowed")
        ttl_s = number_field(body, "ttl", 1, EXTERNAL_TTL_MAX_S, EXTERNAL_TTL_S)
        known = room.state.participants.get(identity)
        if known is not None and known.kind != "external":
            raise ApiError(409, "identity_taken")
        name = text_field(body, "name", 1024, identity)
        knock = m.Knock(identity, name, role=_role(role), kind="external", straight_in=True)
        result = await self._ask(row.id, "server", knock)
        if isinstance(result, m.Refusal):
            return answer({"refused": result.code, "detail": result.detail}, 409)
        try:
            granted = await self.media.grant(await self._room(row.id), identity, ttl_s)
        except SfuError as error:
            raise ApiError(503, "media_unavailable", ref=self.control.error_ref(f"no media token: {error}")) from None
        return answer({"participant": identity, "identity": f"{identity}.{max(1, known.session if known else 1)}", **granted})

    async def _as_chair(self, request: web.Request) -> MeetingRow:
        row, room, actor = await self._reach(request)
        if not _may_give(room.state, actor, "chair"):
            raise ApiError(403, "not_allowed")
        return row

    async def chair_link_new(self, request: web.Request) -> web.Response:
        row = await self._as_chair(request)
        secret = await self.schedule.new_chair_secret(row.id)
        return answer({"chair_link": schedule.chair_link(self.public_url, row.code, secret)})

    async def chair_link_revoke(self, request: web.Request) -> web.Response:
        row = await self._as_chair(request)
        await self.schedule.revoke_chair_secret(row.id)
        return answer({})


def _kind(kind: str) -> Kind:
    return next(known for known in get_args(Kind) if known == kind)


def _role(role: str) -> Role:
    return next(known for known in get_args(Role) if known == role)


def _may_give(state: Meeting, actor: str, role: str) -> bool:
    """The rules of `set_role`, for roles that come with a seat or a link: only a chair makes a chair."""
    if is_authority(actor):
        return True
    own = state.participants.get(actor)
    if own is None or own.place != "admitted":
        return False
    if role == "chair":
        return own.role == "chair"
    return role in ("delegate", "guest") or standing(own) in CAPABILITIES["role"]


def _seat(state: Meeting, account: str | None, badge: str | None) -> str:
    """The seat somebody comes back to, known by account or badge and free of a connection; else a new one."""

    def mine(p: Participant) -> bool:
        return p.kind != "external" and ((account is not None and p.account == account) or (badge is not None and p.badge == badge))

    # Of those that are not here the last one says how this person stands: who was put out from one seat does not return to another.
    order = {"admitted": 0, "lobby": 1}
    seats = sorted((p for p in state.participants.values() if mine(p) and not p.connected), key=lambda p: (order.get(p.place, 2), -p.since))
    return seats[0].id if seats else "p" + secrets.token_hex(8)


def _signed_in(signed_in: SignedIn) -> dict[str, Any]:
    account = signed_in.account
    return {
        "access_token": signed_in.access_token, "expires_in": signed_in.expires_in, "refresh_token": signed_in.refresh_token,
        "account": {"id": account.id, "name": account.name, "role": account.role},
    }  # fmt: skip


def created_json(created: schedule.Created, public_url: str) -> dict[str, Any]:
    """A new meeting with its links, as `meeting create --json` and POST /api/v1/meetings say it."""
    row = created.row
    return {
        "id": row.id, "code": row.code, "title": row.title, "start": row.start, "duration_s": row.duration_s, "lobby": row.lobby,
        "link": schedule.link(public_url, row.code), "chair_link": schedule.chair_link(public_url, row.code, created.chair_secret),
        "chair_token": created.chair_token,
    }  # fmt: skip


def state_json(seen: Meeting, row: MeetingRow) -> dict[str, Any]:
    """A view as `GET /api/v1/meetings/{id}` answers it."""

    def person(p: Participant) -> dict[str, Any]:
        return {
            "id": p.id, "name": p.name, "role": p.role, "kind": p.kind, "unit": p.unit, "position": p.position,
            "hand": seen.hand_position(p.id), "sources": {source: p.sources.get(source) for source in SOURCES},
            "co_chair": p.co_chair, "guest": p.guest, "connected": p.connected, "session": p.session, "since": p.since,
            "removed_before": p.removed_before, "looks_like": p.looks_like,
        }  # fmt: skip

    floor, rights = seen.floor, seen.permissions
    return {
        "id": seen.id, "code": seen.code, "title": seen.title, "state": seen.state, "seq": seen.seq, "epoch": seen.epoch,
        "start": seen.start, "duration_s": row.duration_s, "started_at": seen.started_at, "ended_at": seen.ended_at,
        "lobby_on": seen.lobby, "guest_lobby": seen.guest_lobby, "locked": seen.locked, "capacity": seen.capacity,
        "permissions": {what: rights.of(what) for what in ("microphone", "camera", "screen_share", "chat")},
        "floor": None if floor is None else {"participant": floor.participant, "given_at": floor.given_at, "until": floor.until},
        "spotlight": seen.spotlight, "hands": [hand.participant for hand in seen.hands],
        "participants": [person(p) for p in seen.admitted()], "lobby": [person(p) for p in seen.knocking()],
        "chat": [
            {"id": c.id, "at": c.at, "sender": c.sender, "sender_name": c.sender_name, "text": c.text, "to": c.to} for c in seen.chat
        ],
    }  # fmt: skip
