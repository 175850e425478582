"""vidconf's control wire: commands, events and meetings to and from plain dicts. Used by server and client; any thread.

What a dict looks like is design §5: a command is `{"do": name, …fields}`, an event `{"seq", "at", "actor", "ev": name,
…fields}`. Frames (ids, answers, pushes) are in `protocol.frames`. Input is hostile: everything that decodes raises
`WireError` and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import msgspec

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting

ID_LIMIT = 128
"""Characters of a participant id."""
TEXT_LIMIT = 20_000
"""Characters of any other string; the rules refuse sooner, with a code that says what is too long."""
LIST_LIMIT = 2_000
"""Participants named in one command."""
_NUMBER_LIMIT = 1 << 53

T = TypeVar("T")


class WireError(ValueError):
    """Not a message of ours. `code`: `malformed`, `unknown_command`, `too_large` (see `meeting.refusals`);
    `detail` fills the words; `id`: the frame's id where it could be read, so that it can be answered."""

    def __init__(self, code: str, detail: Mapping[str, Any] | None = None, id: int | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.detail = dict(detail or {})
        self.id = id

    def refusal(self) -> m.Refusal:
        return m.Refusal(self.code, self.detail)


def malformed(field: str, reason: str = "") -> WireError:
    return WireError("malformed", {"field": field, "reason": reason[:200]})


_CLIENT_COMMANDS: tuple[type[m.Command], ...] = (
    m.Admit, m.AdmitAll, m.Deny, m.ToLobby, m.Mute, m.MuteAll, m.StopCamera, m.StopShare, m.AskUnmute, m.Remove, m.Ban,
    m.Lock, m.Unlock, m.SetPermission, m.RaiseHand, m.LowerHand, m.MoveHand, m.GiveFloor, m.EndFloor, m.SetRole, m.Rename,
    m.Spotlight, m.Chat, m.React, m.SetSource, m.SetConsent, m.Media, m.Leave, m.End,
)  # fmt: skip
_EVENTS: tuple[type[m.Event], ...] = (
    m.Started, m.Knocked, m.Admitted, m.Denied, m.SentToLobby, m.Connected, m.Disconnected, m.Left, m.Removed, m.Banned,
    m.GuestLobbyOpened, m.EpochChanged, m.SourceChanged, m.Muted, m.CameraStopped, m.ShareStopped, m.UnmuteAsked, m.ConsentSet,
    m.Locked, m.Unlocked, m.PermissionSet, m.HandRaised, m.HandLowered, m.HandMoved, m.FloorGiven, m.FloorEnded, m.RoleSet,
    m.Renamed, m.Spotlit, m.ChatSent, m.Ended,
)  # fmt: skip

COMMANDS: dict[str, type[m.Command]] = {cls.name: cls for cls in _CLIENT_COMMANDS}
"""What a client may ask, by name. The server's own commands are not here: they have no wire."""
EVENTS: dict[str, type[m.Event]] = {cls.name: cls for cls in _EVENTS}

_WIRE_NAMES = {"except_": "except", "new_name": "name"}
"""Fields whose wire name is another (a Python word, a class attribute)."""


def _wire_fields(cls: type[Any]) -> dict[str, str]:
    return {_WIRE_NAMES.get(field.name, field.name): field.name for field in fields(cls)}


_COMMAND_FIELDS = {cls: _wire_fields(cls) for cls in _CLIENT_COMMANDS}
"""Of each command: wire name -> field."""


# ---- commands --------------------------------------------------------------------------------------------------------


def decode_command(message: Mapping[str, Any]) -> m.Command:
    """The command in `message`; `do` names it, `id` is the frame's and ignored.

    A field we do not know is malformed, not ignored: `mute_all` with a misspelt `except` would mute the wrong people."""
    name = message.get("do")
    if not isinstance(name, str):
        raise malformed("do", "must name a command")
    cls = COMMANDS.get(name)
    if cls is None:
        raise WireError("unknown_command", {"command": name[:64].encode("utf-8", "replace").decode()})
    known = _COMMAND_FIELDS[cls]
    given = {key: value for key, value in message.items() if key not in ("do", "id")}
    _one_or_several(given, known)
    for key, value in given.items():
        if key not in known:
            raise malformed(str(key)[:64].encode("utf-8", "replace").decode(), "no such field")
        _check(key, value, several=key in ("participants", "except"))
    return _convert({known[key]: value for key, value in given.items()}, cls)


def _one_or_several(given: dict[str, Any], known: Mapping[str, str]) -> None:
    """`participant` and `participants` are both understood wherever one of them is."""
    if "participant" in given and "participants" in given:
        raise malformed("participants", "name either participant or participants")
    if "participants" in known and "participant" in given:
        given["participants"] = [given.pop("participant")]
    elif "participant" in known and "participants" in given:
        several = given.pop("participants")
        if not isinstance(several, list | tuple) or len(several) != 1:
            raise malformed("participants", "takes exactly one")
        given["participant"] = several[0]


def _check(field: str, value: Any, several: bool = False) -> None:
    """Limits that types cannot say: length, no NUL and no half of a surrogate pair (neither can be stored), finite."""
    if isinstance(value, str):
        limit = ID_LIMIT if field in ("participant", "to") else TEXT_LIMIT
        if len(value) > limit:
            raise malformed(field, f"longer than {limit}")
        if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
            raise malformed(field, "has characters that are none")
    elif isinstance(value, list | tuple):
        if not several:
            raise malformed(field, "must not be a list")
        if len(value) > LIST_LIMIT:
            raise malformed(field, f"more than {LIST_LIMIT}")
        for one in value:
            if not isinstance(one, str):
                raise malformed(field, "must be a list of ids")
            _check("participant", one)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise malformed(field, "not a number")
    elif isinstance(value, int):
        if abs(value) > _NUMBER_LIMIT:
            raise malformed(field, "too large a number")
    elif value is not None:
        raise malformed(field, "has a wrong type")


def _convert(given: Mapping[str, Any], cls: type[T]) -> T:
    try:
        return msgspec.convert(given, cls, strict=True)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise malformed("", str(error)) from None


def encode_command(command: m.Command) -> dict[str, Any]:
    """`{"do": …}` with every field that has not its default."""
    message: dict[str, Any] = {"do": command.name}
    for field in fields(command):  # type: ignore[arg-type]
        value = getattr(command, field.name)
        if field.default is not MISSING and value == field.default:
            continue
        message[_WIRE_NAMES.get(field.name, field.name)] = list(value) if isinstance(value, tuple) else value
    return message


# ---- events ----------------------------------------------------------------------------------------------------------


def encode_event(recorded: m.Recorded) -> dict[str, Any]:
    """`{"seq", "at", "actor", "ev", …}` with every field. Also what the server stores: filter and blank by
    `visibility.visible_to` before it goes to anybody."""
    event = recorded.event
    message: dict[str, Any] = {"seq": recorded.seq, "at": recorded.at, "actor": recorded.actor, "ev": event.name}
    for field in fields(event):  # type: ignore[arg-type]
        message[field.name] = getattr(event, field.name)
    return message


def decode_event(message: Mapping[str, Any]) -> m.Recorded | None:
    """The event in `message`; None for one this version does not know (a newer server's: ignored, though its `seq`
    counts). Unknown fields are ignored, missing ones must have a default."""
    if not isinstance(message, Mapping):
        raise malformed("events", "must hold objects")
    seq, at, actor, name = message.get("seq"), message.get("at"), message.get("actor"), message.get("ev")
    if not isinstance(seq, int) or isinstance(seq, bool) or not 0 < seq < _NUMBER_LIMIT:
        raise malformed("seq", "must be a positive integer")
    if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
        raise malformed("at", "must be Unix seconds")
    if not isinstance(actor, str) or not isinstance(name, str):
        raise malformed("ev", "must have an actor and a name")
    cls = EVENTS.get(name)
    if cls is None:
        return None
    return m.Recorded(seq, float(at), actor, _convert({key: value for key, value in message.items() if isinstance(key, str)}, cls))


# ---- meetings --------------------------------------------------------------------------------------------------------


def encode_meeting(meeting: Meeting) -> dict[str, Any]:
    """A snapshot: every field by its name, sets as sorted lists. Encode a `visibility.view`, never the server's own."""
    encoded: dict[str, Any] = msgspec.to_builtins(meeting)  # participants in the order they came, which `order` would undo
    for name in ("banned_accounts", "banned_badges"):
        encoded[name] = sorted(encoded[name])
    return encoded


def decode_meeting(message: Mapping[str, Any]) -> Meeting:
    if not isinstance(message, Mapping):
        raise malformed("snapshot", "must be an object")
    return _convert(message, Meeting)
