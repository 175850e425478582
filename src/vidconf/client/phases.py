"""Which page is shown, and whether the bar says "reconnecting": pure navigation, no widgets, no clock.

`step(where, happening)` is total: a happening that makes no sense where one stands (a late answer, an event after leaving)
changes nothing. Used by `reduction`; any thread.

    home ⇄ sign_in      home → prejoin → joining → lobby ⇄ meeting → ended → home | prejoin
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vidconf.client.state import JoinLink, Phase
from vidconf.engine.api import MediaState
from vidconf.meeting.models import Place

ControlState = Literal["idle", "connecting", "connected", "reconnecting"]


@dataclass(frozen=True, slots=True)
class Where:
    """The part of `ClientState` that navigation owns."""

    phase: Phase = "home"
    control: ControlState = "idle"
    media: MediaState = "idle"
    reconnecting: bool = False
    link: JoinLink | None = None
    lobby_since: float | None = None
    end_reason: str = ""
    end_detail: dict[str, Any] = field(default_factory=dict)
    join_error: str = ""
    join_detail: dict[str, Any] = field(default_factory=dict)


# ---- happenings -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LinkOpened:
    link: JoinLink


@dataclass(frozen=True, slots=True)
class Failed:
    """What was asked for before the meeting did not work; stays on its page (joining falls back to pre-join)."""

    code: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignInOpened:
    """The sign-in page, from home or pre-join."""


@dataclass(frozen=True, slots=True)
class SignInDone:
    """Signed in, or gave up: back to where one came from."""


@dataclass(frozen=True, slots=True)
class WentHome:
    """From anywhere but a running meeting, which is left first."""


@dataclass(frozen=True, slots=True)
class JoinStarted:
    pass


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the server says one stands. `at`: Unix seconds."""

    place: Place
    at: float = 0.0
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControlChanged:
    state: ControlState


@dataclass(frozen=True, slots=True)
class MediaChanged:
    state: MediaState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Over:
    """The meeting is over for us. `reason`: see `ClientState.end_reason`."""

    reason: str
    detail: dict[str, Any] = field(default_factory=dict)


Happening = LinkOpened | Failed | SignInOpened | SignInDone | WentHome | JoinStarted | Placed | ControlChanged | MediaChanged | Over

IN = ("lobby", "meeting")


def step(where: Where, happening: Happening) -> Where:
    """Where one stands after `happening`."""
    after = _step(where, happening)
    in_trouble = after.control == "reconnecting" or (after.phase == "meeting" and after.media in ("reconnecting", "closed"))
    reconnecting = after.phase in IN and in_trouble
    return after if after.reconnecting == reconnecting else replace(after, reconnecting=reconnecting)


def _step(where: Where, happening: Happening) -> Where:
    match happening:
        case LinkOpened(link=link) if where.phase in ("home", "sign_in", "prejoin", "ended"):
            return replace(where, phase="prejoin", link=link, join_error="", join_detail={}, end_reason="", end_detail={})
        case Failed(code=code, detail=detail) if where.phase in ("home", "sign_in", "prejoin", "joining", "ended"):
            if where.phase == "joining":
                return replace(where, phase="prejoin", control="idle", join_error=code, join_detail=detail)
            return replace(where, join_error=code, join_detail=detail)
        case SignInOpened() if where.phase in ("home", "ended", "prejoin"):
            kept = where.link if where.phase == "prejoin" else None
            return replace(where, phase="sign_in", link=kept, join_error="", join_detail={}, end_reason="", end_detail={})
        case SignInDone():
            back: Phase = "home" if where.link is None else "prejoin"
            return replace(where, phase=back if where.phase == "sign_in" else where.phase, join_error="", join_detail={})
        case WentHome() if where.phase not in (*IN, "joining"):
            return replace(where, phase="home", link=None, join_error="", join_detail={}, end_reason="", end_detail={})
        case JoinStarted() if where.phase in ("prejoin", "ended") and where.link is not None:
            return replace(where, phase="joining", join_error="", join_detail={}, end_reason="", end_detail={}, lobby_since=None)
        case Placed():
            return _placed(where, happening)
        case ControlChanged(state=state):
            return where if where.control == state else replace(where, control=state)
        case MediaChanged(state=state):
            return where if where.media == state else replace(where, media=state)
        case Over(reason=reason, detail=detail) if where.phase in (*IN, "joining"):
            return _ended(where, reason, detail)
    return where


def _placed(where: Where, placed: Placed) -> Where:
    if where.phase not in (*IN, "joining"):
        return where
    match placed.place:
        case "lobby":
            since = where.lobby_since if where.phase == "lobby" else placed.at
            return replace(where, phase="lobby", lobby_since=since)
        case "admitted":
            return replace(where, phase="meeting", lobby_since=None)
        case "denied" | "removed" | "left":
            return _ended(where, placed.place, placed.detail)
    return where


def _ended(where: Where, reason: str, detail: dict[str, Any]) -> Where:
    return replace(where, phase="ended", end_reason=reason, end_detail=detail, lobby_since=None, control="idle")
