"""`reduce(state, change)`: the next `ClientState`. Pure and total; the only place where the client's state changes.

The meeting inside follows by `meeting.visibility.follow`, the same arithmetic as the server's. Used by `store.Store`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from vidconf.client import changes as c
from vidconf.client import phases
from vidconf.client.state import LOCAL_SOURCES, ClientState, LocalSource, Notice, PendingChat, Reaction, TrackView
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.visibility import follow

NOTICES = 20
"""Notices kept; beyond, the oldest go."""
REACTIONS = 30
REACTION_S = 6.0
"""How long a reaction is shown."""
LEVEL_STEPS = 32
"""The microphone's level is kept in steps of 1/32, so that a still room changes nothing."""

_STATES = ("off", "muted", "on")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


def reduce(state: ClientState, change: c.Change) -> ClientState:
    """`state` after `change`; the very same object when nothing changed."""
    return _CHANGES[type(change)](state, change)


def participant_of(identity: str) -> str:
    """The participant behind an SFU identity, `<participant>.<session>`; the identity itself where it has no session."""
    participant, dot, session = identity.rpartition(".")
    return participant if dot and session.isdigit() else identity


# ---- navigation and plain fields ---------------------------------------------------------------------------------------

_WHERE = ("phase", "control", "media", "reconnecting", "link", "lobby_since", "end_reason", "end_detail", "join_error", "join_detail")


def navigate(state: ClientState, happening: phases.Happening) -> ClientState:
    where = phases.Where(**{name: getattr(state, name) for name in _WHERE})
    after = phases.step(where, happening)
    if after is where:
        return state
    return replace(state, **{name: getattr(after, name) for name in _WHERE})


def _navigate(state: ClientState, change: c.Navigate) -> ClientState:
    after = navigate(state, change.happening)
    match change.happening:
        case phases.LinkOpened() if after is not state and after.link is not state.link:
            return replace(after, link_meeting=None)
        case phases.WentHome() if after is not state:
            return replace(after, link_meeting=None)
    return after


def _set(state: ClientState, change: c.Set) -> ClientState:
    changed = {name: value for name, value in change.fields.items() if getattr(state, name) != value}
    return replace(state, **changed) if changed else state


def _busy(state: ClientState, change: c.Busy) -> ClientState:
    busy = state.busy | {change.what} if change.on else state.busy - {change.what}
    return state if busy == state.busy else replace(state, busy=busy)


def _asked(state: ClientState, change: c.Asked) -> ClientState:
    return replace(state, pending=state.pending | {(change.command, p) for p in change.participants})


def _answered(state: ClientState, change: c.Answered) -> ClientState:
    pending = state.pending - {(change.command, p) for p in change.participants}
    return state if pending == state.pending else replace(state, pending=pending)


# ---- the meeting -------------------------------------------------------------------------------------------------------


def _snapshot(state: ClientState, change: c.SnapshotTaken) -> ClientState:
    held = state.meeting if state.me == change.me else None
    state = replace(state, meeting=change.meeting, me=change.me)
    if any(track.participant != change.me for id_, track in state.tracks.items() if id_.startswith("local:")):
        owned = {id_: replace(t, participant=change.me) if id_.startswith("local:") else t for id_, t in state.tracks.items()}
        state = replace(state, tracks=owned)
    if (
        "chat" not in state.closed
        and held is not None
        and held.id == change.meeting.id
        and held.chat
        and len(change.meeting.chat) > len(held.chat)
    ):
        known = {message.id for message in held.chat}
        missed = [message for message in change.meeting.chat if message.id not in known and message.sender != change.me]
        state = replace(state, unread_chat=state.unread_chat + len(missed))
    state = _settle_chat(state, (message.key for message in change.meeting.chat if message.sender == change.me))
    return _stand(state, change.at)


def _events(state: ClientState, change: c.EventsCame) -> ClientState:
    for recorded in change.events:
        state = _event(state, recorded, change.at)
    return state


def _event(state: ClientState, recorded: m.Recorded, at: float) -> ClientState:
    meeting, me = state.meeting, state.me
    if meeting is None or me is None or recorded.seq <= meeting.seq:
        return state
    state = replace(state, meeting=follow(meeting, recorded, me))
    match recorded.event:
        case m.ChatSent(sender=sender) if sender != me:
            return state if "chat" in state.closed else replace(state, unread_chat=state.unread_chat + 1)
        case m.ChatSent(key=key):
            return _settle_chat(state, (key,))
        case m.Denied(participant=concerned, reason=reason) if concerned == me:
            return navigate(state, phases.Over("denied", {"reason": reason} if reason else {}))
        case m.Removed(participant=concerned) if concerned == me:
            return navigate(state, phases.Over("removed", {"by": recorded.actor}))
        case m.Banned(participant=concerned) if concerned == me and state.end_reason == "removed":
            return replace(state, end_reason="banned")
        case m.Left(participant=concerned, reason=reason) if concerned == me:
            return navigate(state, phases.Over(reason if reason != "ended" else "meeting_ended"))
        case m.Ended():
            return navigate(state, phases.Over("meeting_ended", {"by": recorded.actor}))
        case m.Muted(participant=concerned) if concerned == me:
            return replace(state, unmute_asked=False) if state.unmute_asked else state
        case m.SentToLobby(participant=concerned) if concerned == me:
            return _stand(state, at)
        # One's own `admitted` changes no page: the snapshot behind it does, which alone says what is allowed in the room.
    return state


def _stand(state: ClientState, at: float) -> ClientState:
    """Go to where the own view says one stands."""
    own, meeting = state.own, state.meeting
    if meeting is None:
        return state
    if meeting.state == "ended":
        return navigate(state, phases.Over("meeting_ended"))
    if own is None:
        return state
    if own.place == "removed" and own.banned:
        return navigate(state, phases.Over("banned"))
    return navigate(state, phases.Placed(own.place, own.since or at))


def _forgotten(state: ClientState, change: c.MeetingForgotten) -> ClientState:
    # One's own pictures go on while the source is open, in the ring they have been in.
    own = {id_: replace(track, participant="") for id_, track in state.tracks.items() if id_.startswith("local:")}
    return replace(
        state, me=None, meeting=None, tracks=own or _EMPTY, speaking=(), quality=_EMPTY, pending=frozenset(), unread_chat=0,
        reactions=(), stats={}, unmute_asked=False, talk_held=False, volumes=_only_speaker(state.volumes),
        main_speaker=None,
    )  # fmt: skip


def _only_speaker(volumes: Mapping[str, float]) -> Mapping[str, float]:
    return {"": volumes[""]} if "" in volumes else _EMPTY


# ---- chat not yet in the meeting -----------------------------------------------------------------------------------------


def _settle_chat(state: ClientState, keys: Any) -> ClientState:
    if not state.unsent_chat:
        return state
    settled = {key for key in keys if key}
    left = tuple(message for message in state.unsent_chat if message.key not in settled)
    return state if len(left) == len(state.unsent_chat) else replace(state, unsent_chat=left)


def _chat_typed(state: ClientState, change: c.ChatTyped) -> ClientState:
    return replace(state, unsent_chat=(*state.unsent_chat, change.message))


def _chat_refused(state: ClientState, change: c.ChatRefused) -> ClientState:
    def told(message: PendingChat) -> PendingChat:
        return replace(message, error=change.code) if message.key == change.key else message

    return replace(state, unsent_chat=tuple(told(message) for message in state.unsent_chat))


def _chat_settled(state: ClientState, change: c.ChatSettled) -> ClientState:
    return _settle_chat(state, (change.key,))


# ---- one's own sources ---------------------------------------------------------------------------------------------------


def _put_source(before: ClientState, source: str, /, **fields: Any) -> ClientState:
    held = before.sources.get(source, LocalSource())
    after = replace(held, **fields)
    after = replace(after, pending=after.state != after.wanted)
    return before if after == held else replace(before, sources={**before.sources, source: after})


def _source_wanted(state: ClientState, change: c.SourceWanted) -> ClientState:
    fields: dict[str, Any] = {"wanted": change.state, "error": "", "detail": "", "waits": False}
    if change.device is not None:
        fields["device"] = change.device
    return _put_source(state, change.source, **fields)


# ---- the engine -----------------------------------------------------------------------------------------------------------


def _engine(state: ClientState, change: c.EngineSaid) -> ClientState:
    event = change.event
    match event:
        case api.StateChanged(state=media, reason=reason):
            if media in ("closed", "idle") and state.tracks:
                # What was shown is gone with the session (or the crashed engine); one's own pictures come again with it.
                kept = {} if reason == "engine_crashed" else {id_: t for id_, t in state.tracks.items() if id_.startswith("local:")}
                state = replace(state, tracks=kept, speaking=(), quality=_EMPTY)
            if reason == "engine_crashed":
                for own in LOCAL_SOURCES:
                    state = _put_source(state, own, state="off", level=0.0, hints=frozenset())
            return navigate(state, phases.MediaChanged(media, reason))
        case api.TrackAdded(track=track):
            local = track.startswith("local:")
            owner = (state.me or "") if local else participant_of(event.identity)
            view = TrackView(track, event.identity, owner, event.source, event.kind, event.muted)
            held = state.tracks.get(track)
            if held is not None:  # announced again after a rejoin: its picture is still there
                view = replace(view, ring=held.ring, first_frame=held.first_frame)
            return replace(state, tracks={**state.tracks, track: view})
        case api.TrackRemoved(track=track) if track in state.tracks:
            return replace(state, tracks={id_: held for id_, held in state.tracks.items() if id_ != track})
        case api.TrackMuted(track=track, muted=muted):
            return _put_track(state, track, muted=muted)
        case api.TrackHeldBack(track=track, held_back=held_back):
            return _put_track(state, track, held_back=held_back)
        case api.FirstFrame(track=track):
            return _put_track(state, track, first_frame=True)
        case api.RingOpened(track=track, ring=ring):
            if track not in state.tracks and track.startswith("local:"):  # a preview before joining
                source = track.removeprefix("local:")
                added = TrackView(track, "", state.me or "", source, "video")
                state = replace(state, tracks={**state.tracks, track: added})
            return _put_track(state, track, ring=ring)
        case api.RingClosed(track=track) if track.startswith("local:"):
            return _engine(state, c.EngineSaid(api.TrackRemoved(track)))
        case api.RingClosed(track=track):
            return _put_track(state, track, ring=None, first_frame=False)
        case api.LocalLevel(level=level):
            return _put_source(state, "microphone", level=round(min(1.0, max(0.0, level)) * LEVEL_STEPS) / LEVEL_STEPS)
        case api.MicrophoneHint(hint=hint, shown=shown):
            hints = state.sources["microphone"].hints
            return _put_source(state, "microphone", hints=hints | {hint} if shown else hints - {hint})
        case api.SourceChanged(source=source) if source in LOCAL_SOURCES:
            return _source_said(state, event)
        case api.Devices():
            return state if state.devices == event else replace(state, devices=event)
        case api.SpeakerChanged(error=error):
            return state if state.speaker_error == error else replace(state, speaker_error=error)
        case api.Screens():
            known = {one.id for one in event.shareable}
            return replace(state, screens=event, thumbnails={id_: held for id_, held in state.thumbnails.items() if id_ in known})
        case api.Thumbnail(id=id_, picture=picture):
            known = {one.id for one in state.screens.shareable} if state.screens is not None else set()
            return replace(state, thumbnails={**state.thumbnails, id_: picture}) if id_ in known else state
        case api.SharedArea(device=device):
            return replace(state, share=replace(state.share, area=event)) if device == state.share.device else state
        case api.Quality(identity=identity, quality=quality):
            who = participant_of(identity) if identity else (state.me or "")
            return state if state.quality.get(who) == quality else replace(state, quality={**state.quality, who: quality})
        case api.Stats(tracks=tracks, engine=engine):
            return replace(state, stats={"tracks": list(tracks), "engine": engine})
    return state


def _source_said(state: ClientState, event: api.SourceChanged) -> ClientState:
    fields: dict[str, Any] = {"state": event.state, "error": event.error, "detail": event.detail, "waits": event.waits}
    if event.device:
        fields["device"] = event.device
    wanted = state.sources.get(event.source, LocalSource()).wanted
    if event.error and not event.waits and _STATES.index(event.state) < _STATES.index(wanted):
        fields["wanted"] = event.state  # what cannot be had is given up; no error ever switches on
    if event.source == "microphone" and event.state == "off":
        fields["level"] = 0.0
    return _put_source(state, event.source, **fields)


def _put_track(state: ClientState, track: str, **fields: Any) -> ClientState:
    held = state.tracks.get(track)
    if held is None:
        return state
    after = replace(held, **fields)
    return state if after == held else replace(state, tracks={**state.tracks, track: after})


# ---- telling ---------------------------------------------------------------------------------------------------------------


def _told(state: ClientState, change: c.Told) -> ClientState:
    """The same thing said again takes the place of what was said."""
    number = state.noticed + 1
    notice = Notice(number, change.level, change.code, change.detail, change.at, change.family)
    others = [held for held in state.notices if (held.family, held.code, held.detail) != (change.family, change.code, change.detail)]
    return replace(state, notices=(*others, notice)[-NOTICES:], noticed=number)


def _dismissed(state: ClientState, change: c.NoticeDismissed) -> ClientState:
    left = tuple(notice for notice in state.notices if notice.id != change.id)
    return state if len(left) == len(state.notices) else replace(state, notices=left)


def _reacted(state: ClientState, change: c.Reacted) -> ClientState:
    return replace(state, reactions=(*state.reactions, Reaction(change.participant, change.emoji, change.at))[-REACTIONS:])


def _time(state: ClientState, change: c.TimePassed) -> ClientState:
    left = tuple(reaction for reaction in state.reactions if change.at - reaction.at < REACTION_S)
    return state if len(left) == len(state.reactions) else replace(state, reactions=left)


def _volume(state: ClientState, change: c.VolumeSet) -> ClientState:
    return replace(state, volumes={**state.volumes, change.participant or "": change.gain})


def own_view(state: ClientState) -> Meeting | None:
    """The meeting while one is in it; None before and after."""
    return state.meeting if state.phase in phases.IN else None


_CHANGES: dict[type[Any], Callable[[ClientState, Any], ClientState]] = {
    c.Navigate: _navigate,
    c.Set: _set,
    c.SnapshotTaken: _snapshot,
    c.EventsCame: _events,
    c.Asked: _asked,
    c.Answered: _answered,
    c.Busy: _busy,
    c.ChatTyped: _chat_typed,
    c.ChatRefused: _chat_refused,
    c.ChatSettled: _chat_settled,
    c.SourceWanted: _source_wanted,
    c.EngineSaid: _engine,
    c.Told: _told,
    c.NoticeDismissed: _dismissed,
    c.Reacted: _reacted,
    c.TimePassed: _time,
    c.VolumeSet: _volume,
    c.MeetingForgotten: _forgotten,
}
