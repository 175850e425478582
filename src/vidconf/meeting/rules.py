"""`decide`: what follows from a command. Pure, deterministic; any thread. The server decides by it, the window greys by it.

Subjects: `lobby` (coming and going), `floor` (being heard and seen), the rest here; `rights` holds the table of who
may do what, `refusals` the codes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vidconf.meeting import floor, lobby
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting, Participant
from vidconf.meeting.names import clean_text
from vidconf.meeting.reducer import apply
from vidconf.meeting.rights import Asked, Refused, holds_floor, is_moderator, unlawful

CHAT_LIMIT = 4000
"""Characters of one message."""
CHAT_MESSAGES = 20_000
"""Messages a meeting keeps; it refuses more rather than forget any."""
CHAT_CHARACTERS = 6_000_000
"""Of all messages together: whoever comes in gets them in one frame."""
CHAT_SHARE = 20
"""One who is no moderator may write this part of both, one in so many, so that nobody fills the chat for all."""
CHAT_KEY_LIMIT = 64
CHAT_KEYS_KEPT = 500
"""How many messages back a repetition is recognised."""
REACTION_LIMIT = 12
"""Code points of one reaction: the longest emoji sequences are shorter."""


def decide(state: Meeting, actor: str, command: m.Command, now: float) -> tuple[m.Event, ...] | m.Refusal:
    """The events that `command` by `actor` makes of `state`, or why not. `now`: Unix seconds.

    `actor`: a participant's id, `account:<name>` (service key, admin, chair token: acts as a chair), or `server`.
    Events carry no time: the server records them at `now`.
    No events is an answer too: accepted, and nothing changed (a hand already up, a reaction, which is never stored).
    The events belong together: the server stores all or none, numbered on from `state.seq`.
    """
    handler = _HANDLERS.get(type(command))
    if handler is None:
        return m.Refusal("unknown_command", {"command": getattr(command, "name", "")})
    try:
        if type(command) in _SERVER_ONLY and actor != "server":
            raise Refused("server_only")
        if state.state == "ended":
            if type(command) in _VAIN_AFTER_END:
                return ()
            raise Refused("meeting_ended")
        events = tuple(handler(Asked(state, actor), command))
    except Refused as refused:
        return refused.refusal
    if not any(isinstance(event, _CHANGES_RIGHTS) for event in events):
        return events
    return events + tuple(unlawful(_after(state, actor, events, now)))


def allowed(state: Meeting, actor: str, command: m.Command) -> m.Refusal | None:
    """Why `actor` could not do `command` now; None when it could. On a client's own view it says what the server would."""
    decided = decide(state, actor, command, state.started_at or 0.0)
    return decided if isinstance(decided, m.Refusal) else None


def _after(state: Meeting, actor: str, events: Iterable[m.Event], now: float) -> Meeting:
    for event in events:
        state = apply(state, m.Recorded(state.seq + 1, now, actor, event))
    return state


# ---- the room --------------------------------------------------------------------------------------------------------


def _lock(asked: Asked, command: m.Lock) -> Iterator[m.Event]:
    asked.require("lock")
    if not asked.state.locked:
        yield m.Locked()


def _unlock(asked: Asked, command: m.Unlock) -> Iterator[m.Event]:
    asked.require("lock")
    if asked.state.locked:
        yield m.Unlocked()


def _set_role(asked: Asked, command: m.SetRole) -> Iterator[m.Event]:
    asked.require("role")
    target = asked.known(command.participant)
    if target.place not in ("lobby", "admitted", "left"):
        raise Refused("not_here", participant=target.id)
    if command.co_chair and command.role != "delegate":
        raise Refused("co_chair_is_delegate")
    co_chair = command.role == "delegate" and (target.co_chair if command.co_chair is None else command.co_chair)
    if (command.role, co_chair) == (target.role, target.co_chair):
        return
    if "chair" in (command.role, target.role):
        if not asked.acts_as_chair():
            raise Refused("target_is_chair" if target.role == "chair" else "chair_gives_chair", participant=target.id)
        keeps = command.role == "chair" or target.place == "lobby"
        if not keeps and not any(p.role == "chair" and p.id != target.id for p in asked.state.admitted()):
            raise Refused("last_chair")
    yield m.RoleSet(target.id, command.role, co_chair)


def _rename(asked: Asked, command: m.Rename) -> Iterator[m.Event]:
    if command.participant is None or command.participant == asked.actor:
        target = asked.participant()
    else:
        asked.require("rename")
        target = asked.known(command.participant)
        if target.place not in ("lobby", "admitted"):
            raise Refused("not_here", participant=target.id)
    name = lobby.named(command.new_name)
    if name == target.name:
        return
    present = asked.state.admitted()
    seen = present if target.place == "admitted" else (*present, *asked.state.knocking())
    yield m.Renamed(target.id, name, lobby.look_alike(name, seen, target.id))


def _spotlight(asked: Asked, command: m.Spotlight) -> Iterator[m.Event]:
    asked.require("spotlight")
    if command.participant is not None:
        asked.one_in_room(command.participant)
    if command.participant != asked.state.spotlight:
        yield m.Spotlit(command.participant)


def _chat(asked: Asked, command: m.Chat) -> Iterator[m.Event]:
    sender = asked.present()
    state = asked.state
    if len(command.key) > CHAT_KEY_LIMIT:
        raise Refused("malformed", field="key", reason=f"longer than {CHAT_KEY_LIMIT}")
    if command.key and any(said.key == command.key and said.sender == sender.id for said in state.chat[-CHAT_KEYS_KEPT:]):
        return  # sent again because its answer was lost
    may_write = (
        state.permissions.chat == "all"
        or is_moderator(sender)
        or (state.permissions.chat == "by_floor" and holds_floor(state, sender.id))
    )
    if not may_write:
        raise Refused("chat_closed")
    _room_to_write(state, sender)
    if len(command.text) > 4 * CHAT_LIMIT:
        raise Refused("chat_too_long", most=CHAT_LIMIT)
    text = clean_text(command.text)
    if not text:
        raise Refused("chat_empty")
    if len(text) > CHAT_LIMIT:
        raise Refused("chat_too_long", most=CHAT_LIMIT)
    if command.to is not None:
        if command.to == sender.id:
            raise Refused("not_yourself")
        asked.one_in_room(command.to)
    yield m.ChatSent(sender.id, sender.name, text, command.to, command.key)


def _room_to_write(state: Meeting, sender: Participant) -> None:
    if len(state.chat) >= CHAT_MESSAGES or sum(len(said.text) for said in state.chat) >= CHAT_CHARACTERS:
        raise Refused("chat_full", most=len(state.chat))
    if is_moderator(sender):
        return
    own = [len(said.text) for said in state.chat if said.sender == sender.id]
    if len(own) >= CHAT_MESSAGES // CHAT_SHARE or sum(own) >= CHAT_CHARACTERS // CHAT_SHARE:
        raise Refused("chat_share_full", most=len(own))


def _react(asked: Asked, command: m.React) -> Iterator[m.Event]:
    """Makes no event: a reaction passes as a signal and is never stored."""
    asked.present()
    if not 0 < len(command.emoji) <= REACTION_LIMIT or not all(_pictorial(char) for char in command.emoji):
        raise Refused("bad_reaction")
    return iter(())


def _pictorial(char: str) -> bool:
    # Symbols, skin tones, the joiner and the variation selectors; no text, so that nobody writes past the chat's rules.
    return unicodedata.category(char) in ("So", "Sk", "Sm") or char in "\u200d\ufe0f\ufe0e\u20e3"


def _media(asked: Asked, command: m.Media) -> Iterator[m.Event]:
    """Makes no event: the server answers with a token, and only to who is in the room."""
    asked.present()
    return iter(())


def _end(asked: Asked, command: m.End) -> Iterator[m.Event]:
    asked.require("end")
    if asked.state.floor is not None:
        yield m.FloorEnded(asked.state.floor.participant)
    yield m.Ended()
    yield m.EpochChanged(asked.state.epoch + 1)


def _new_epoch(asked: Asked, command: m.NewEpoch) -> Iterator[m.Event]:
    yield m.EpochChanged(asked.state.epoch + 1)


_HANDLERS: dict[type[m.Command], Callable[[Asked, Any], Iterator[m.Event]]] = {
    m.Admit: lobby.admit,
    m.AdmitAll: lobby.admit_all,
    m.Deny: lobby.deny,
    m.ToLobby: lobby.to_lobby,
    m.Remove: lobby.remove,
    m.Ban: lobby.ban,
    m.Leave: lobby.leave,
    m.Mute: floor.mute,
    m.MuteAll: floor.mute_all,
    m.StopCamera: floor.stop_camera,
    m.StopShare: floor.stop_share,
    m.AskUnmute: floor.ask_unmute,
    m.SetSource: floor.set_source,
    m.SetConsent: floor.set_consent,
    m.SetPermission: floor.set_permission,
    m.RaiseHand: floor.raise_hand,
    m.LowerHand: floor.lower_hand,
    m.MoveHand: floor.move_hand,
    m.GiveFloor: floor.give_floor,
    m.EndFloor: floor.end_floor,
    m.Lock: _lock,
    m.Unlock: _unlock,
    m.SetRole: _set_role,
    m.Rename: _rename,
    m.Spotlight: _spotlight,
    m.Chat: _chat,
    m.React: _react,
    m.Media: _media,
    m.End: _end,
    m.Knock: lobby.knock,
    m.Connect: lobby.connect,
    m.Disconnect: lobby.disconnect,
    m.Expire: lobby.expire,
    m.CorrectSource: floor.correct_source,
    m.NewEpoch: _new_epoch,
}
_SERVER_ONLY = frozenset({m.Knock, m.Connect, m.Disconnect, m.Expire, m.CorrectSource, m.NewEpoch})
_VAIN_AFTER_END = frozenset({m.Disconnect, m.Expire, m.CorrectSource, m.NewEpoch, m.Leave})
_CHANGES_RIGHTS = (m.PermissionSet, m.FloorEnded, m.FloorGiven, m.RoleSet)
