"""The frames of the control WebSocket: hello, requests, answers, pushes, as text. Used by server and client; any thread.

Client to server: `{"id": 0, "do": "hello", …}` once, then `{"id": n, "do": command, …}`.
Server to client: `{"re": n, "ok"|"refused"|"error": …}` once for each id, `{"events": […]}`, `{"snapshot": {…}}` unasked
where `visibility.needs_snapshot` says so (behind the events), `{"signal": name, …}`.
A frame the other side's newer version has added is ignored by the client (`Unknown`) and refused by the server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vidconf.meeting.messages import Command, Recorded, Refusal
from vidconf.meeting.models import Meeting
from vidconf.protocol.control import (
    WireError,
    decode_command,
    decode_event,
    decode_meeting,
    encode_command,
    encode_event,
    encode_meeting,
    malformed,
)

PROTOCOL = 1
"""Version in `hello`; the server refuses a client that speaks another major one."""
CLIENT_FRAME_LIMIT = 128 * 1024
"""Longest frame a server takes, bytes."""
SERVER_FRAME_LIMIT = 32 * 1024 * 1024
"""Longest frame a client takes, bytes: a snapshot carries the whole chat."""
_ID_LIMIT = 1 << 53
_TOKEN_LIMIT = 8192


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame. `resume_from`: seq of the last event seen, None for a snapshot."""

    id: int
    token: str
    protocol: int
    client: str
    resume_from: int | None


@dataclass(frozen=True, slots=True)
class Request:
    id: int
    command: Command


@dataclass(frozen=True, slots=True)
class Answer:
    """Exactly one of `ok`, `refused`, `error` is set."""

    re: int
    ok: dict[str, Any] | None = None
    refused: Refusal | None = None
    error: str | None = None
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Events:
    """Ascending. `last_seq` counts those of unknown name too, so that a resume does not ask for them again."""

    events: tuple[Recorded, ...]
    last_seq: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The viewer's whole view, to be put in place of what it held; its `seq` is where to resume from."""

    meeting: Meeting


@dataclass(frozen=True, slots=True)
class Signal:
    """What passes and is never stored."""

    name: str
    body: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A frame of a newer server."""


def _load(text: str | bytes, limit: int) -> dict[str, Any]:
    # A code point is at most four bytes and at least one: the cheap test first.
    if len(text) > limit or (isinstance(text, str) and 4 * len(text) > limit and len(text.encode("utf-8", "surrogatepass")) > limit):
        raise WireError("too_large", {"most": limit})
    try:
        loaded = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError) as error:
        raise malformed("", str(error)) from None
    if not isinstance(loaded, dict):
        raise malformed("", "a frame is an object")
    return loaded


def _id(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _ID_LIMIT:
        raise malformed(name, "must be an integer from 0")
    return value


def parse_client_frame(text: str | bytes, limit: int = CLIENT_FRAME_LIMIT) -> Hello | Request:
    """What a client sent. Raises `WireError`, with the frame's `id` once that is known."""
    frame = _load(text, limit)
    id_ = _id(frame.get("id"), "id")
    try:
        return _hello(id_, frame) if frame.get("do") == "hello" else Request(id_, decode_command(frame))
    except WireError as error:
        error.id = id_
        raise


def _hello(id_: int, frame: Mapping[str, Any]) -> Hello:
    token, client, protocol = frame.get("token"), frame.get("client", ""), frame.get("protocol")
    resume = frame.get("resume_from")
    if not isinstance(token, str) or not token or len(token) > _TOKEN_LIMIT:
        raise malformed("token", "must be a token")
    if not isinstance(client, str) or len(client) > 200:
        raise malformed("client", "must be a short text")
    return Hello(id_, token, _id(protocol, "protocol"), client, None if resume is None else _id(resume, "resume_from"))


def parse_server_frame(text: str | bytes, limit: int = SERVER_FRAME_LIMIT) -> Answer | Events | Snapshot | Signal | Unknown:
    """What a server sent. Raises `WireError`."""
    frame = _load(text, limit)
    if "re" in frame:
        return _answer(frame)
    if "events" in frame:
        listed = frame["events"]
        if not isinstance(listed, list):
            raise malformed("events", "must be a list")
        decoded = [decode_event(one) for one in listed]
        last = listed[-1]["seq"] if listed else 0
        return Events(tuple(one for one in decoded if one is not None), last)
    if "snapshot" in frame:
        return Snapshot(decode_meeting(frame["snapshot"]))
    if "signal" in frame:
        name = frame.pop("signal")
        if not isinstance(name, str):
            raise malformed("signal", "must be a name")
        return Signal(name, frame)
    return Unknown()


def _answer(frame: Mapping[str, Any]) -> Answer:
    re = _id(frame["re"], "re")
    ok, refused_, error_ = frame.get("ok"), frame.get("refused"), frame.get("error")
    if isinstance(ok, dict):
        return Answer(re, ok=ok)
    if isinstance(refused_, str):
        detail = frame.get("detail", {})
        return Answer(re, refused=Refusal(refused_, detail if isinstance(detail, dict) else {}))
    if isinstance(error_, str):
        ref = frame.get("ref", "")
        return Answer(re, error=error_, ref=ref if isinstance(ref, str) else "")
    raise malformed("re", "answers nothing")


def _text(frame: Mapping[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def hello(id: int, token: str, client: str, resume_from: int | None = None, protocol: int = PROTOCOL) -> str:
    return _text({"id": id, "do": "hello", "token": token, "protocol": protocol, "client": client, "resume_from": resume_from})


def request(id: int, command: Command) -> str:
    return _text({"id": id, **encode_command(command)})


def ok(id: int, body: Mapping[str, Any] | None = None) -> str:
    return _text({"re": id, "ok": dict(body or {})})


def refused(id: int, refusal: Refusal) -> str:
    return _text({"re": id, "refused": refusal.code, "detail": refusal.detail})


def error(id: int, code: str, ref: str = "") -> str:
    return _text({"re": id, "error": code, "ref": ref})


def events_frame(events: Iterable[Recorded]) -> str:
    return _text({"events": [encode_event(one) for one in events]})


def snapshot_frame(own_view: Meeting) -> str:
    """`own_view`: of `visibility.view` for the one it is sent to."""
    return _text({"snapshot": encode_meeting(own_view)})


def signal_frame(name: str, body: Mapping[str, Any] | None = None) -> str:
    return _text({"signal": name, **(body or {})})
