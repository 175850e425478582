"""Speaking: sources, permissions, hands and the floor. The rules' half that says who may be heard and seen.

Pure; called by `rules.decide` only. The law: no command turns a source on but the sender's own `set_source`;
what others can do is stop, allow, and ask. Whoever is on without the right after a decision is stopped by that same
decision (`rules.decide` asks `rights.unlawful`).
"""

from __future__ import annotations

from collections.abc import Iterator

from vidconf.meeting import messages as m
from vidconf.meeting.rights import Asked, Refused, holds_floor, may_use, stop

FLOOR_LIMIT_S = 4 * 3600
"""Longest time the floor is given for."""


def mute(asked: Asked, command: m.Mute) -> Iterator[m.Event]:
    """Recorded also for who is said to be muted: a moderator who hears somebody is right, and the SFU must act."""
    asked.require("quiet")
    return (m.Muted(p.id) for p in asked.in_room(command.participants))


def mute_all(asked: Asked, command: m.MuteAll) -> Iterator[m.Event]:
    """Everybody who is on, but the one who asks and those excepted. Who comes later is not concerned: to keep people
    muted, set the permission."""
    asked.require("quiet")
    spared = {asked.actor, *command.except_}
    return (m.Muted(p.id) for p in asked.state.admitted() if p.id not in spared and p.sources.microphone == "on")


def stop_camera(asked: Asked, command: m.StopCamera) -> Iterator[m.Event]:
    asked.require("quiet")
    return (m.CameraStopped(p.id) for p in asked.in_room(command.participants))


def stop_share(asked: Asked, command: m.StopShare) -> Iterator[m.Event]:
    asked.require("quiet")
    return (m.ShareStopped(p.id) for p in asked.in_room(command.participants))


def ask_unmute(asked: Asked, command: m.AskUnmute) -> Iterator[m.Event]:
    """Only those who could then unmute are asked; when none of them could, it is refused."""
    asked.require("quiet")
    targets = asked.in_room(command.participants)
    able = [p for p in targets if may_use(asked.state, p, "microphone") is None]
    if not able:
        raise Refused("needs_floor", source="microphone", participant=targets[0].id)
    return (m.UnmuteAsked(p.id) for p in able if p.sources.microphone != "on")


def set_source(asked: Asked, command: m.SetSource) -> Iterator[m.Event]:
    own = asked.present()
    if command.state == "on":
        refused = may_use(asked.state, own, command.source)
        if refused is not None:
            raise Refused(refused, source=command.source)
    if own.sources.get(command.source) != command.state:
        yield m.SourceChanged(own.id, command.source, command.state)


def correct_source(asked: Asked, command: m.CorrectSource) -> Iterator[m.Event]:
    """The SFU's word is a fact, but a source that is on there without the right is stopped, not recorded as on."""
    sender = asked.state.participants.get(command.participant)
    if sender is None or sender.place != "admitted":
        return
    if command.state == "on" and may_use(asked.state, sender, command.source) is not None:
        yield stop(sender.id, command.source)
    elif sender.sources.get(command.source) != command.state:
        yield m.SourceChanged(sender.id, command.source, command.state)


def set_consent(asked: Asked, command: m.SetConsent) -> Iterator[m.Event]:
    own = asked.present()
    if own.kind != "site":
        raise Refused("sites_only")
    if own.standing_consent != command.consent:
        yield m.ConsentSet(own.id, command.consent)


def set_permission(asked: Asked, command: m.SetPermission) -> Iterator[m.Event]:
    asked.require("permission")
    if asked.state.permissions.of(command.source) != command.allowed:
        yield m.PermissionSet(command.source, command.allowed)


# ---- hands -----------------------------------------------------------------------------------------------------------


def raise_hand(asked: Asked, command: m.RaiseHand) -> Iterator[m.Event]:
    if _own(asked, command.participants):
        raising = [asked.present()]
    else:
        asked.require("hands")
        raising = asked.in_room(command.participants)
    for p in raising:
        if asked.state.hand_position(p.id) is None:
            yield m.HandRaised(p.id)


def lower_hand(asked: Asked, command: m.LowerHand) -> Iterator[m.Event]:
    if _own(asked, command.participants):
        lowering = [asked.present()]
    else:
        asked.require("hands")
        lowering = asked.in_room(command.participants)
    for p in lowering:
        if asked.state.hand_position(p.id) is not None:
            yield m.HandLowered(p.id)


def _own(asked: Asked, participants: tuple[str, ...]) -> bool:
    return not participants or participants == (asked.actor,)


def move_hand(asked: Asked, command: m.MoveHand) -> Iterator[m.Event]:
    asked.require("hands")
    position = asked.state.hand_position(command.participant)
    if position is None:
        raise Refused("hand_not_raised", participant=command.participant)
    wanted = min(max(command.position, 1), len(asked.state.hands))
    if wanted != position:
        yield m.HandMoved(command.participant, wanted)


# ---- the floor -------------------------------------------------------------------------------------------------------


def give_floor(asked: Asked, command: m.GiveFloor) -> Iterator[m.Event]:
    """One at a time: giving it ends the last one's. To who has it already: its time starts anew."""
    asked.require("floor")
    if command.seconds is not None and not 1 <= command.seconds <= FLOOR_LIMIT_S:
        raise Refused("bad_seconds", least=1, most=FLOOR_LIMIT_S)
    speaker = asked.one_in_room(command.participant)
    last = asked.state.floor
    if last is not None and last.participant != speaker.id:
        yield m.FloorEnded(last.participant)
    yield m.FloorGiven(speaker.id, command.seconds)
    if speaker.sources.microphone != "on":
        yield m.UnmuteAsked(speaker.id, consent=speaker.kind == "site" and speaker.standing_consent)


def end_floor(asked: Asked, command: m.EndFloor) -> Iterator[m.Event]:
    """By a moderator, by the speaker itself, or by the server when the time is up."""
    if asked.authority or not holds_floor(asked.state, asked.actor):
        asked.require("floor")
    if asked.state.floor is None:
        raise Refused("no_floor")
    yield m.FloorEnded(asked.state.floor.participant)
