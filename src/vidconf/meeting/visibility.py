"""What each viewer may know: `view` of the state, `visible_to` of an event, and how a client keeps up. Pure; any thread.

A viewer is a participant's id; None, `server` or `account:<name>` see what a moderator in the room sees.

| level | who | sees |
|---|---|---|
| staff | moderators in the room, accounts | all but accounts, badges, and others' private chats |
| room | everybody else in the room | those in the room and what happens there; not the lobby, nor who was denied or has left |
| outside | in the lobby, left, removed, denied, unknown | title, state, start, itself, and what happens to itself; by whom is not told |

Private chats are seen by their two parties and nobody else, moderators included.

**The property** (`tests/unit/meeting/test_view_property.py`): a client that starts from `view(state, me)`, takes each event
that `visible_to` gives it through `follow`, and takes `view` afresh wherever `needs_snapshot` says so, holds
`view(state, me)` after every event, but for `seq`: its own is the number of the last event it *saw*, which is what
it resumes from. (`follow` is `reducer.apply` and then forgetting: `apply` keeps who left the room, a delegate does not.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Literal

from vidconf.meeting import messages as m
from vidconf.meeting.models import ChatMessage, Meeting, Participant
from vidconf.meeting.reducer import apply
from vidconf.meeting.rights import is_authority, is_moderator

Level = Literal["staff", "room", "outside"]

_NOBODY: frozenset[str] = frozenset()
HIDDEN_ACTOR = "server"
"""Who did it, for those who may not know."""


def level(state: Meeting, viewer: str | None) -> Level:
    """How much `viewer` sees of `state`."""
    if viewer is None or is_authority(viewer):
        return "staff"
    own = state.participants.get(viewer)
    if own is None or own.place != "admitted":
        return "outside"
    return "staff" if is_moderator(own) else "room"


def view(state: Meeting, viewer: str | None) -> Meeting:
    """What `viewer` may know of `state`. Idempotent; O(participants + chat)."""
    match level(state, viewer):
        case "staff":
            return replace(
                state,
                participants=_blanked(state.participants),
                chat=_own_chat(state, viewer),
                banned_accounts=_NOBODY,
                banned_badges=_NOBODY,
            )
        case "room":
            return replace(
                state,
                participants=_blanked({p.id: p for p in state.admitted()}),
                chat=_own_chat(state, viewer),
                banned_accounts=_NOBODY,
                banned_badges=_NOBODY,
            )
        case "outside":
            own = state.participants.get(viewer or "")
            return Meeting(
                id=state.id,
                code=state.code,
                title=state.title,
                state=state.state,
                start=state.start,
                participants={} if own is None else {own.id: _self_outside(own)},
                seq=state.seq,
            )


def _blanked(participants: Mapping[str, Participant]) -> Mapping[str, Participant]:
    return {id_: p if p.account is None and p.badge is None else _blank(p) for id_, p in participants.items()}


@lru_cache(maxsize=4096)  # the same people for each of hundreds of viewers
def _blank(participant: Participant) -> Participant:
    return replace(participant, account=None, badge=None)


def _self_outside(own: Participant) -> Participant:
    return replace(own, account=None, badge=None, looks_like=None, removed_before=False, banned=False)


def _own_chat(state: Meeting, viewer: str | None) -> tuple[ChatMessage, ...]:
    if all(message.to is None for message in state.chat):
        return state.chat
    return tuple(message for message in state.chat if message.to is None or viewer in (message.to, message.sender))


def visible_to(before: Meeting, recorded: m.Recorded, viewer: str | None) -> m.Recorded | None:
    """`recorded` as `viewer` may see it, or None. `before`: the server's whole state just before this event.

    Most often it is `recorded` itself (the same object: encode it once for all); accounts and badges are blanked,
    and for those outside also who did it and whom they look like."""
    seen = _seen(before, recorded.event, viewer)
    if seen is None:
        return None
    depth = level(before, viewer)
    actor = recorded.actor
    if actor not in (viewer, HIDDEN_ACTOR):
        doer = before.participants.get(actor)
        if depth == "outside" or (depth == "room" and (doer is None or doer.place != "admitted")):
            actor = HIDDEN_ACTOR
    if seen is recorded.event and actor == recorded.actor:
        return recorded
    return replace(recorded, event=seen, actor=actor)


def _seen(before: Meeting, event: m.Event, viewer: str | None) -> m.Event | None:
    depth = level(before, viewer)
    match event:
        case m.ChatSent():
            if depth == "outside":
                return None
            return event if event.to is None or viewer in (event.sender, event.to) else None
        case m.Ended():
            return event
        case m.Started():
            return None if depth == "outside" else event  # outside it comes as a snapshot
        case m.Knocked():
            if depth == "staff":
                return event if event.account is None and event.badge is None else replace(event, account=None, badge=None)
            if event.participant == viewer:
                return replace(event, account=None, badge=None, removed_before=False, looks_like=None)
            return None
        case m.Banned():
            if depth == "staff" or event.participant == viewer:
                return event if event.account is None and event.badge is None else replace(event, account=None, badge=None)
            return None
        case m.Admitted():
            if event.participant == viewer or depth != "outside":
                return event
            return None
        case m.Renamed() if event.participant == viewer and depth == "outside":
            return event if event.looks_like is None else replace(event, looks_like=None)
    concerned = getattr(event, "participant", None)
    if concerned is None:  # the room's own settings; spotlight taken from everybody
        return event if depth != "outside" else None
    if concerned == viewer or depth == "staff":
        return event
    if depth == "outside":
        return None
    known = before.participants.get(concerned)
    return event if known is not None and known.place == "admitted" else None


def needs_snapshot(before: Meeting, recorded: m.Recorded, viewer: str | None) -> bool:
    """Whether what `viewer` may see changed with this event by more than the event tells: admission, the way back to
    the lobby, becoming or ceasing to be a moderator, and for who waits, the meeting's start.

    The server then sends `view(after, viewer)` behind the visible event (which is sent all the same: it says why)."""
    match recorded.event:
        case m.Admitted(participant=concerned) | m.SentToLobby(participant=concerned):
            return concerned == viewer
        case m.RoleSet(participant=concerned) if concerned == viewer:
            return level(before, viewer) != level(apply(before, recorded), viewer)
        case m.Started():
            return level(before, viewer) == "outside"
    return False


def missed(steps: Iterable[tuple[Meeting, m.Recorded]], viewer: str | None) -> tuple[m.Recorded, ...] | None:
    """What to send to `viewer`, who saw everything before `steps`: its visible events, or None when only a snapshot
    will do. `steps`: each event with the whole state just before it (states share what did not change: keeping the
    last few hundred is cheap). With the state of today, events of yesterday would be shown to whom they were hidden."""
    seen: list[m.Recorded] = []
    for before, recorded in steps:
        if needs_snapshot(before, recorded, viewer):
            return None
        visible = visible_to(before, recorded, viewer)
        if visible is not None:
            seen.append(visible)
    return tuple(seen)


def follow(own: Meeting, recorded: m.Recorded, viewer: str | None) -> Meeting:
    """A client's state after an event it was sent: `apply`, then forget what `viewer` no longer may know."""
    after = apply(own, recorded)
    return after if after.participants is own.participants else view(after, viewer)
