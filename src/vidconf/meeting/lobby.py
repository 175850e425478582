"""The door: knocking, admitting, leaving, being put out, and presence. The rules' half that moves people between places.

Pure; called by `rules.decide` only. Each function takes what was asked and the command, and yields the events.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting, Participant, Role
from vidconf.meeting.names import NameRefused, clean_line, clean_name, clean_text, skeleton
from vidconf.meeting.rights import Asked, Refused, holds_floor, is_authority, is_moderator

DETAIL_LIMIT = 128
"""Characters of a unit or a position."""
REASON_LIMIT = 500


def named(text: str) -> str:
    try:
        return clean_name(text)
    except NameRefused as error:
        raise Refused("bad_name", reason=error.reason) from None


def look_alike(name: str, present: Iterable[Participant], but: str) -> str | None:
    """Id of one of `present`, other than `but`, whose name looks like `name`."""
    shape = skeleton(name)
    return next((p.id for p in present if p.id != but and skeleton(p.name) == shape), None)


# ---- coming ----------------------------------------------------------------------------------------------------------


def knock(asked: Asked, command: m.Knock) -> Iterator[m.Event]:
    state = asked.state
    if is_authority(command.participant):
        raise Refused("malformed", field="participant")
    name = named(command.new_name)
    known = state.participants.get(command.participant)
    _refuse_banned(state, command, known)
    if known is not None and known.place == "admitted":
        # The same participant from a second window, or sooner than its lease ran out. A chair link makes it the chair.
        if command.straight_in and command.role == "chair" and known.role != "chair":
            yield m.RoleSet(known.id, "chair")
        return
    returning = known is not None and known.place == "left" and known.may_return
    removed_before = known is not None and (known.place == "removed" or known.removed_before)
    if removed_before and command.kind == "external":
        raise Refused("removed")  # nobody is behind it to wait in a lobby
    # Who was put out knocks, whatever link it holds, as long as somebody is there to answer.
    put_out = removed_before or (known is not None and known.place == "denied")
    answered = any(is_moderator(p) for p in state.admitted())
    passes = returning or (command.straight_in and not (put_out and answered))
    if state.locked and not passes and not (known is not None and known.place == "lobby"):
        raise Refused("locked")
    # Who is known and not returning was in the lobby before, or put out: going and coming again must not open a door
    # that a moderator closed, not even in a meeting without a lobby.
    waits = not passes and (state.lobby or known is not None or (state.guest_lobby and command.guest))
    role = _role(command, known if returning else None)
    if role != "chair" and _free(state) <= 0:
        raise Refused("full", capacity=state.capacity)
    # Guests who fill the lobby keep out other guests, but nobody who signed in, nor who waits already and knocks again.
    newcomer = waits and not (known is not None and known.place == "lobby")
    if newcomer and sum(1 for p in state.knocking() if p.guest == command.guest) >= state.capacity:
        raise Refused("full", capacity=state.capacity)
    if known is not None and known.place == "lobby":
        if waits:
            return
        knocked = m.Knocked(
            known.id, known.name, role, known.kind, known.unit, known.position, known.guest, known.account, known.badge
        )
    else:
        knocked = m.Knocked(
            participant=command.participant,
            participant_name=name,
            role=role,
            kind=command.kind,
            unit=clean_line(command.unit, DETAIL_LIMIT),
            position=clean_line(command.position, DETAIL_LIMIT),
            guest=command.guest,
            account=command.account,
            badge=command.badge,
            removed_before=removed_before,
            looks_like=look_alike(name, (*state.admitted(), *state.knocking()), command.participant),
        )
        yield knocked
    if waits:
        return
    yield m.Admitted(
        participant=knocked.participant,
        participant_name=knocked.participant_name,
        role=role,
        kind=knocked.kind,
        unit=knocked.unit,
        position=knocked.position,
        guest=knocked.guest,
        co_chair=returning and known is not None and known.co_chair,
        session=known.session if known else 0,
        connected=known is not None and known.connected,
        looks_like=look_alike(knocked.participant_name, state.admitted(), knocked.participant),
        standing_consent=returning and known is not None and known.standing_consent,
    )
    if state.state == "scheduled" and (role == "chair" or not state.lobby):
        yield m.Started()


def _refuse_banned(state: Meeting, command: m.Knock, known: Participant | None) -> None:
    by_account = command.account is not None and command.account in state.banned_accounts
    by_badge = command.badge is not None and command.badge in state.banned_badges
    if by_account or by_badge or (known is not None and known.banned):
        raise Refused("banned")


def _role(command: m.Knock, returning: Participant | None) -> Role:
    """Who returns keeps the role the meeting gave it; a chair link makes a chair of whoever holds it."""
    if returning is None or (command.straight_in and command.role == "chair"):
        return command.role
    return returning.role


def _free(state: Meeting) -> int:
    return state.capacity - sum(1 for _ in state.admitted())


def admit(asked: Asked, command: m.Admit) -> Iterator[m.Event]:
    asked.require("admit")
    waiting = _waiting(asked, command.participants)
    if not waiting:
        return iter(())
    places = _free(asked.state)
    if sum(1 for p in waiting if p.role != "chair") > max(0, places):
        raise Refused("full", capacity=asked.state.capacity, free=max(0, places))
    return _let_in(asked.state, waiting)


def admit_all(asked: Asked, command: m.AdmitAll) -> Iterator[m.Event]:
    """Those who were removed before stay: letting one in again wants a look and a name."""
    asked.require("admit")
    knocking = list(asked.state.knocking())
    if not knocking:
        return iter(())
    waiting = [p for p in knocking if not p.removed_before]
    if not waiting:
        raise Refused("only_removed_waiting")
    places = _free(asked.state)
    if places <= 0:
        raise Refused("full", capacity=asked.state.capacity, free=0)
    return _let_in(asked.state, waiting[:places])


def _waiting(asked: Asked, participants: tuple[str, ...]) -> list[Participant]:
    """Those named who are in the lobby. Two moderators may click the same row: who is no longer there is passed over,
    and only when nobody is left, and not everybody is in already, is it refused."""
    if not participants:
        raise Refused("nobody_named")
    found = [asked.known(name) for name in dict.fromkeys(participants)]
    waiting = [p for p in found if p.place == "lobby"]
    if not waiting:
        absent = next((p for p in found if p.place != "admitted"), None)
        if absent is not None:
            raise Refused("not_in_lobby", participant=absent.id)
    return waiting


def _let_in(state: Meeting, waiting: list[Participant]) -> Iterator[m.Event]:
    shapes = {skeleton(p.name): p.id for p in state.admitted()}
    for p in waiting:
        shape = skeleton(p.name)
        yield m.Admitted(
            participant=p.id,
            participant_name=p.name,
            role=p.role,
            kind=p.kind,
            unit=p.unit,
            position=p.position,
            guest=p.guest,
            co_chair=p.co_chair,
            session=p.session,
            connected=p.connected,
            looks_like=shapes.get(shape),
            standing_consent=p.standing_consent,
        )
        shapes.setdefault(shape, p.id)
    if state.state == "scheduled":
        yield m.Started()


def deny(asked: Asked, command: m.Deny) -> Iterator[m.Event]:
    asked.require("admit")
    reason = clean_text(command.reason)[:REASON_LIMIT]
    waiting = _waiting(asked, command.participants)
    if not waiting:
        raise Refused("not_in_lobby", participant=command.participants[0])
    return (m.Denied(p.id, reason) for p in waiting)


# ---- going -----------------------------------------------------------------------------------------------------------


def leave(asked: Asked, command: m.Leave) -> Iterator[m.Event]:
    leaver = asked.participant()
    yield from _yield_floor(asked.state, leaver.id)
    yield m.Left(leaver.id, "left")


def expire(asked: Asked, command: m.Expire) -> Iterator[m.Event]:
    lost = asked.state.participants.get(command.participant)
    if lost is None or lost.connected or lost.place not in ("lobby", "admitted"):
        return  # back in time, or gone by itself
    yield from _yield_floor(asked.state, lost.id)
    yield m.Left(lost.id, "lost")


def _yield_floor(state: Meeting, participant: str) -> Iterator[m.Event]:
    if holds_floor(state, participant):
        yield m.FloorEnded(participant)


def to_lobby(asked: Asked, command: m.ToLobby) -> Iterator[m.Event]:
    asked.require("admit")
    targets = asked.in_room(command.participants)
    _guard(asked, targets)
    for target in targets:
        yield from _yield_floor(asked.state, target.id)
        yield m.SentToLobby(target.id)


def remove(asked: Asked, command: m.Remove) -> Iterator[m.Event]:
    """From the room or the lobby; also who has left, so that it does not return by itself (an external client that
    comes and goes, somebody who drops out just then)."""
    asked.require("remove")
    targets = _removable(asked, command.participants)
    if not targets:
        raise Refused("not_here", participant=command.participants[0])
    _guard(asked, targets)
    for target in targets:
        yield from _yield_floor(asked.state, target.id)
        yield m.Removed(target.id)


def _removable(asked: Asked, participants: tuple[str, ...]) -> list[Participant]:
    if not participants:
        raise Refused("nobody_named")
    found = [asked.known(name) for name in dict.fromkeys(participants)]
    return [p for p in found if p.place in ("admitted", "lobby", "left")]


def ban(asked: Asked, command: m.Ban) -> Iterator[m.Event]:
    asked.require("ban")
    state = asked.state
    if not command.participants:
        raise Refused("nobody_named")
    targets = {p.id: p for p in (asked.known(name) for name in command.participants) if not p.banned}
    if not targets:
        return
    # The account or badge is refused, so whoever else is here by it goes too.
    accounts = {p.account for p in targets.values() if p.account}
    badges = {p.badge for p in targets.values() if p.badge}
    for p in state.participants.values():
        if (p.account in accounts or p.badge in badges) and not p.banned:
            targets.setdefault(p.id, p)
    _guard(asked, list(targets.values()))
    for target in targets.values():
        yield from _yield_floor(state, target.id)
        if target.place in ("admitted", "lobby", "left"):
            yield m.Removed(target.id)
        yield m.Banned(target.id, target.account, target.badge)
    if any(p.guest for p in targets.values()) and not state.lobby and not state.guest_lobby:
        yield m.GuestLobbyOpened()
    # Tokens already handed out open the old room only.
    yield m.EpochChanged(state.epoch + 1)


def _guard(asked: Asked, targets: list[Participant]) -> None:
    """Nobody puts itself out this way, only a chair touches a chair, and one chair stays in the room."""
    going = {p.id for p in targets}
    if asked.actor in going:
        raise Refused("not_yourself")
    chairs = [p for p in targets if p.role == "chair" and p.place in ("admitted", "left")]
    if not chairs:
        return
    if not asked.acts_as_chair():
        raise Refused("target_is_chair", participant=chairs[0].id)
    if not any(p.role == "chair" and p.id not in going for p in asked.state.admitted()):
        raise Refused("last_chair")


# ---- presence --------------------------------------------------------------------------------------------------------


def connect(asked: Asked, command: m.Connect) -> Iterator[m.Event]:
    coming = asked.state.participants.get(command.participant)
    if coming is None or coming.place not in ("lobby", "admitted"):
        raise Refused("not_in_meeting")
    yield m.Connected(coming.id, coming.session + 1)


def disconnect(asked: Asked, command: m.Disconnect) -> Iterator[m.Event]:
    gone = asked.state.participants.get(command.participant)
    if gone is not None and gone.connected and command.session in (None, gone.session):
        yield m.Disconnected(gone.id)
