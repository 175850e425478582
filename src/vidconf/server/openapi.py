"""The REST interface described for tools: OpenAPI 3.1, served at `/api/v1/openapi.json`. Pure; any thread.

Written by hand beside `rest.py`; `tests/unit/server/test_openapi.py` fails when a route is missing here.
"""

from __future__ import annotations

from typing import Any, get_args

from vidconf import __version__
from vidconf.meeting.models import KINDS, ROLES, SOURCES, Place, SourceState
from vidconf.protocol.control import COMMANDS

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_FLAG = {"type": "boolean"}
_TIME = {"type": ["number", "null"], "description": "Unix seconds"}


def _object(required: str = "", /, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **({"required": required.split()} if required else {})}


def _enum(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


def _list(of: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


_WHY = {
    "400": "malformed; detail says what", "401": "no bearer, or one that is no good any more", "403": "not allowed",
    "404": "no such thing", "409": "a rule of the meeting said no: {refused, detail}", "429": "too many failures; Retry-After",
    "503": "draining, or the SFU is not up",
}  # fmt: skip


def _op(
    summary: str, body: dict[str, Any] | None = None, ok: dict[str, Any] | None = None, errors: str = "", bearer: bool | None = True, status: str = "200",
    path: str = "",
) -> dict[str, Any]:  # fmt: skip
    operation: dict[str, Any] = {"summary": summary, "responses": {status: {"description": "done", "content": _content(ok or _object())}}}
    for code in errors.split():
        schema = _ref("Refused") if code == "409" else _ref("Error")
        operation["responses"][code] = {"description": _WHY[code], "content": _content(schema)}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": _content(body)}
    if path:
        operation["parameters"] = [{"name": path, "in": "path", "required": True, "schema": _TEXT}]
    operation["security"] = {True: [{"bearer": []}], None: [{}, {"bearer": []}], False: []}[bearer]  # None: may be given
    return operation


def describe(public_url: str) -> dict[str, Any]:
    """The whole document, for a server reached at `public_url`."""
    account = _object(id=_TEXT, name=_TEXT, role=_enum("member", "organiser", "admin", "auditor"))
    signed_in = _object(access_token=_TEXT, expires_in=_NUMBER, refresh_token=_TEXT, account=account)
    participant = _object(
        id=_TEXT, name=_TEXT, role=_enum(*ROLES), kind=_enum(*KINDS), unit=_TEXT, position=_TEXT,
        hand={"type": ["integer", "null"], "description": "place in the queue, from 1"},
        sources=_object("", **{str(source): _enum(*get_args(SourceState)) for source in SOURCES}),
        co_chair=_FLAG, guest=_FLAG, connected=_FLAG, session=_NUMBER, since=_NUMBER, removed_before=_FLAG,
        looks_like={"type": ["string", "null"]},
    )  # fmt: skip
    state = _object(
        id=_TEXT, code=_TEXT, title=_TEXT, state=_enum("scheduled", "live", "ended"), seq=_NUMBER, epoch=_NUMBER, start=_TIME,
        duration_s=_NUMBER, started_at=_TIME, ended_at=_TIME, lobby_on=_FLAG, guest_lobby=_FLAG, locked=_FLAG, capacity=_NUMBER,
        permissions=_object("", **{str(what): _enum("all", "moderators", "by_floor") for what in (*SOURCES, "chat")}),
        floor={"type": ["object", "null"]}, spotlight={"type": ["string", "null"]}, hands=_list(_TEXT),
        participants=_list(_ref("Participant")), lobby=_list(_ref("Participant")), chat=_list({"type": "object"}),
    )  # fmt: skip
    meeting = _object(id=_TEXT, code=_TEXT, title=_TEXT, start=_TIME, duration_s=_NUMBER, state=_TEXT, lobby=_FLAG, chair=_FLAG, link=_TEXT)
    created = _object(
        id=_TEXT, code=_TEXT, title=_TEXT, start=_TIME, duration_s=_NUMBER, lobby=_FLAG, link=_TEXT, chair_link=_TEXT, chair_token=_TEXT
    )
    joined = _object(
        session_token=_TEXT, meeting=_TEXT, participant=_TEXT, state=_enum(*get_args(Place)), code=_TEXT, title=_TEXT, badge=_TEXT, control_url=_TEXT
    )
    command = {
        "type": "object", "required": ["do"], "properties": {"do": _enum(*(name for name in COMMANDS if name != "media"))},
        "additionalProperties": True, "description": "the same as on the control socket: docs/control-protocol.md",
    }  # fmt: skip
    paths: dict[str, Any] = {
        "/api/v1/join": {
            "post": _op(
                "Take a seat: in the lobby or straight in. With an account's bearer, or as a guest without one.",
                _object("code name", code=_TEXT, name=_TEXT, kind=_enum("person", "site", "browser"), unit=_TEXT, position=_TEXT, badge=_TEXT, ticket=_TEXT),
                joined, "400 401 403 404 429 503", None,
            )
        },
        "/api/v1/meetings/by-code/{code}": {
            "get": _op("What a link leads to", None, _object(code=_TEXT, title=_TEXT, start=_TIME, duration_s=_NUMBER, state=_TEXT, lobby=_FLAG, locked=_FLAG), "404 429", False, path="code")
        },
        "/api/v1/meetings/by-code/{code}/chair": {
            "post": _op("A chair link's secret for a ticket to join with", _object("secret", secret=_TEXT), _object(ticket=_TEXT, expires_in=_NUMBER), "400 403 404 429", False, path="code")
        },
        "/api/v1/auth/login": {"post": _op("Sign in", _object("name password", name=_TEXT, password=_TEXT), signed_in, "400 401 429", False)},
        "/api/v1/auth/refresh": {"post": _op("The next pair of tokens; each refresh token is good once", _object("refresh_token", refresh_token=_TEXT), signed_in, "400 401 429", False)},
        "/api/v1/auth/logout": {"post": _op("End this sign-in", _object("refresh_token", refresh_token=_TEXT), None, "400", False)},
        "/api/v1/me": {"get": _op("Who the bearer is", None, account, "401 403")},
        "/api/v1/accounts": {
            "get": _op("All accounts (admin)", None, _object(accounts=_list(account)), "401 403"),
            "post": _op("A new account (admin)", _object("name password", name=_TEXT, password=_TEXT, role=_TEXT), account, "400 401 403 409", status="201"),
        },
        "/api/v1/accounts/{name}/disable": {"post": _op("No more sign-ins (admin)", None, None, "401 403 404", path="name")},
        "/api/v1/keys": {"post": _op("A service key (admin); shown once", _object("name", name=_TEXT), _object(key=_TEXT, name=_TEXT), "400 401 403", status="201")},
        "/api/v1/audit": {
            "get": _op("Recompute every event chain (admin, auditor)", None, _object(ok=_FLAG, meetings=_NUMBER, events=_NUMBER, erased=_NUMBER, broken=_list(_object(meeting=_TEXT, seq=_NUMBER, why=_TEXT))), "401 403")
        },
        "/api/v1/meetings": {
            "get": _op("Meetings to come and live ones: the account's own", None, _object(meetings=_list(meeting)), "401 403"),
            "post": _op("A new meeting (organiser, admin)", _object("title", title=_TEXT, start={"type": ["number", "string"]}, duration_s={"type": "integer"}, lobby=_FLAG), created, "400 401 403", status="201"),
        },
        "/api/v1/meetings/{id}": {"get": _op("The state as the bearer may see it", None, _ref("MeetingState"), "401 403 404", path="id")},
        "/api/v1/meetings/{id}/commands": {
            "post": _op("A command, as on the control socket", command, _object(ok=_object(seq=_NUMBER, events=_list(_TEXT))), "400 401 403 404 409 503", path="id")
        },
        "/api/v1/meetings/{id}/external": {
            "post": _op(
                "A seat and a media token for another LiveKit client", _object("identity", identity=_TEXT, name=_TEXT, role=_enum(*ROLES), ttl=_NUMBER),
                _object(participant=_TEXT, identity=_TEXT, url=_TEXT, token=_TEXT, expires_at=_NUMBER, ice_servers=_list({"type": "object"})),
                "400 401 403 404 409 503", path="id",
            )
        },
        "/api/v1/meetings/{id}/chair-link": {
            "post": _op("A new chair link; the old one is dead", None, _object(chair_link=_TEXT), "401 403 404", path="id"),
            "delete": _op("Kill the chair link", None, None, "401 403 404", path="id"),
        },
        "/api/v1/media/gate": {
            "get": {
                "summary": "The SFU's door, for nginx auth_request: the media token as bearer, or in X-Original-URI's access_token",
                "responses": {code: {"description": why} for code, why in {"200": "may pass", "401": "no good token", "403": "not in the meeting"}.items()},
                "security": [],
            }
        },
        "/api/v1/media/where": {
            "get": _op(
                "What may be measured before anybody is admitted: media's UDP addresses, which answer a plain STUN request, TURN servers, the clock",
                None,
                _object(
                    media=_enum("relay", "external", "none"), up=_FLAG, url=_TEXT, udp=_list(_object(host=_TEXT, port=_NUMBER)),
                    ice_servers=_list(_TEXT), time=_NUMBER,
                ),
                bearer=False,
            )
        },
        "/api/v1/media/webhook": {
            "post": {
                "summary": "From the SFU: a reason to look earlier. Signed as LiveKit signs.",
                "responses": {code: {"description": why} for code, why in {"200": "taken", "401": "not signed by the SFU"}.items()},
                "security": [],
            }
        },
        "/api/v1/control": {
            "get": {"summary": "The control WebSocket: docs/control-protocol.md", "responses": {"101": {"description": "switching"}, "403": {"description": "origin"}}, "security": []}
        },
        "/healthz": {"get": {"summary": "The process lives", "responses": {"200": {"description": "ok"}}, "security": []}},
        "/readyz": {
            "get": {
                "summary": "Meetings can be held here: storage answers, media is up, nothing is draining",
                "responses": {
                    code: {"description": why, "content": _content(_object("ready missing", ready=_FLAG, missing=_list(_TEXT)))}
                    for code, why in {"200": "ready", "503": "not ready; missing says what for"}.items()
                },
                "security": [],
            }
        },
        "/metrics": {
            "get": {
                "summary": "For Prometheus: from this machine, or by an admin's or a service's bearer",
                "responses": {code: {"description": why} for code, why in {"200": "text", "401": _WHY["401"], "403": _WHY["403"]}.items()},
                "security": [{}, {"bearer": []}],
            }
        },
        "/api/v1/openapi.json": {"get": {"summary": "This document", "responses": {"200": {"description": "OpenAPI 3.1"}}, "security": []}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "vidconf", "version": __version__, "description": "What a moderator can do in the window, a script can do here."},
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "an account's access token, a service key, or a chair_token"}},
            "schemas": {
                "Participant": participant,
                "MeetingState": state,
                "Error": _object("error detail", error=_TEXT, detail={"type": "object"}, ref=_TEXT),
                "Refused": _object("refused detail", refused=_TEXT, detail={"type": "object"}),
            },
        },
    }
