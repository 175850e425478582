"""Who may do what: the one table, and what the rules ask of it.

Pure; any thread. Everything else in `meeting/` that decides imports this, and nothing here imports the rules.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from vidconf.meeting.messages import CameraStopped, Event, Muted, Refusal, ShareStopped
from vidconf.meeting.models import SOURCES, Meeting, Participant, Source

Capability = Literal["admit", "quiet", "remove", "ban", "lock", "permission", "hands", "floor", "rename", "spotlight", "role", "end"]
Standing = Literal["chair", "co_chair", "secretary", "technician"]

CAPABILITIES: dict[Capability, frozenset[Standing]] = {
    # admit, deny, back to the lobby
    "admit": frozenset({"chair", "co_chair", "secretary", "technician"}),
    # mute, stop a camera or a share, ask to unmute
    "quiet": frozenset({"chair", "co_chair", "secretary", "technician"}),
    "remove": frozenset({"chair", "co_chair", "secretary", "technician"}),
    "ban": frozenset({"chair", "co_chair", "secretary"}),
    "lock": frozenset({"chair", "co_chair", "secretary", "technician"}),
    "permission": frozenset({"chair", "co_chair", "secretary", "technician"}),
    # raise, lower and move the hands of others
    "hands": frozenset({"chair", "co_chair", "secretary", "technician"}),
    # the technician works the microphones on the chair's word
    "floor": frozenset({"chair", "co_chair", "secretary", "technician"}),
    "rename": frozenset({"chair", "co_chair", "secretary", "technician"}),
    "spotlight": frozenset({"chair", "co_chair", "secretary", "technician"}),
    # all roles but the chair's, which only a chair gives or takes
    "role": frozenset({"chair", "co_chair", "secretary"}),
    "end": frozenset({"chair", "co_chair", "secretary"}),
}


class Refused(Exception):
    """Inside the rules: a rule said no. `rules.decide` turns it into a `Refusal`; it never leaves `meeting/`."""

    def __init__(self, code: str, **detail: Any) -> None:
        super().__init__(code)
        self.refusal = Refusal(code, detail)


def standing(participant: Participant) -> Standing | None:
    """The participant's column of the table; None for delegates and guests."""
    if participant.role in ("chair", "secretary", "technician"):
        return participant.role
    return "co_chair" if participant.co_chair and participant.role == "delegate" else None


def is_moderator(participant: Participant) -> bool:
    """Chair, co-chair, secretary or technician (wherever it stands: see `place`)."""
    return standing(participant) is not None


def is_authority(actor: str | None) -> bool:
    """The server, or a service key, admin or chair token by REST: no participant, but acts as a chair."""
    return actor is None or actor == "server" or actor.startswith("account:")


@dataclass(frozen=True, slots=True)
class Asked:
    """One command's circumstances, as the rules look at them."""

    state: Meeting
    actor: str

    @property
    def authority(self) -> bool:
        return is_authority(self.actor)

    def participant(self) -> Participant:
        """The participant who asks; refuses those who are none, or no longer."""
        found = self.state.participants.get(self.actor)
        if found is None or found.place not in ("lobby", "admitted"):
            raise Refused("not_in_meeting")
        return found

    def present(self) -> Participant:
        """The participant who asks, who must be in the room."""
        found = self.participant()
        if found.place == "lobby":
            raise Refused("in_lobby")
        return found

    def require(self, capability: Capability) -> None:
        """Refuse unless the actor has `capability` now. A chair that lost its connection may still end its meeting."""
        if self.authority:
            return
        found = self.state.participants.get(self.actor)
        if capability == "end" and found is not None and found.place == "left" and found.role == "chair":
            return
        if standing(self.present()) not in CAPABILITIES[capability]:
            raise Refused("not_allowed", capability=capability)

    def acts_as_chair(self) -> bool:
        return self.authority or self.state.participants[self.actor].role == "chair"

    def known(self, participant: str) -> Participant:
        found = self.state.participants.get(participant)
        if found is None:
            raise Refused("unknown_participant", participant=participant)
        return found

    def in_room(self, participants: Iterable[str]) -> list[Participant]:
        """Those named who are in the room, each once; refuses when nobody was named or none of them is.

        Some may have left while the moderator clicked: that is no reason to refuse the others."""
        named = list(dict.fromkeys(participants))
        if not named:
            raise Refused("nobody_named")
        found = [p for name in named if (p := self.state.participants.get(name)) is not None and p.place == "admitted"]
        if not found:
            raise Refused("not_here", participant=named[0])
        return found

    def one_in_room(self, participant: str) -> Participant:
        return self.in_room((participant,))[0]


def holds_floor(state: Meeting, participant: str) -> bool:
    return state.floor is not None and state.floor.participant == participant


def may_use(state: Meeting, participant: Participant, source: Source) -> str | None:
    """None when `participant` may have `source` on; else the refusal's code.

    Moderators always may. `by_floor`: the floor's holder too. `moderators`: nobody else, but the floor opens the
    microphone there as well, or inviting somebody to speak would not let them."""
    allowed = state.permissions.of(source)
    if allowed == "all" or is_moderator(participant):
        return None
    if holds_floor(state, participant.id) and (allowed == "by_floor" or source == "microphone"):
        return None
    return "needs_floor" if allowed == "by_floor" else "moderators_only"


def stop(participant: str, source: Source) -> Event:
    """The event that ends `source`; no event of this kind ever starts one."""
    match source:
        case "microphone":
            return Muted(participant)
        case "camera":
            return CameraStopped(participant)
        case "screen_share":
            return ShareStopped(participant)


def unlawful(state: Meeting) -> list[Event]:
    """What must stop: everything that is on in the room without the right to be."""
    if state.permissions.microphone == state.permissions.camera == state.permissions.screen_share == "all":
        return []
    return [
        stop(p.id, source)
        for p in state.admitted()
        for source in SOURCES
        if p.sources.get(source) == "on" and may_use(state, p, source) is not None
    ]
