"""Events: what happened. Plain frozen values, pure; any thread. Used by the name of `meeting.messages`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vidconf.meeting.models import Allowed, Kind, Role, Source, SourceState


class Event:
    """Base of what happened. Applied by `reducer.apply`, filtered by `visibility.visible_to`."""

    __slots__ = ()
    name: ClassVar[str]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in its place: `seq` is 1, 2, 3, … in its meeting, `at` Unix seconds, `actor` a participant id,
    `account:<name>` (a service key or an admin by REST) or `server`."""

    seq: int
    at: float
    actor: str
    event: Event


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The meeting is live: its first chair is in, or somebody was admitted, or, without a lobby, anybody is in.
    Staff that passes the lobby to prepare the room does not start it."""

    name: ClassVar[str] = "started"


@dataclass(frozen=True, slots=True)
class Knocked(Event):
    """In the lobby. `admitted` may follow in the same decision."""

    name: ClassVar[str] = "knocked"
    participant: str
    participant_name: str
    role: Role
    kind: Kind
    unit: str = ""
    position: str = ""
    guest: bool = False
    account: str | None = None
    badge: str | None = None
    removed_before: bool = False
    looks_like: str | None = None


@dataclass(frozen=True, slots=True)
class Admitted(Event):
    """Carries all that those in the room must know of the newcomer, who they have not seen in the lobby."""

    name: ClassVar[str] = "admitted"
    participant: str
    participant_name: str
    role: Role
    kind: Kind
    unit: str = ""
    position: str = ""
    guest: bool = False
    co_chair: bool = False
    session: int = 0
    connected: bool = False
    looks_like: str | None = None
    standing_consent: bool = False


@dataclass(frozen=True, slots=True)
class Denied(Event):
    name: ClassVar[str] = "denied"
    participant: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SentToLobby(Event):
    name: ClassVar[str] = "sent_to_lobby"
    participant: str


@dataclass(frozen=True, slots=True)
class Connected(Event):
    name: ClassVar[str] = "connected"
    participant: str
    session: int


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    name: ClassVar[str] = "disconnected"
    participant: str


@dataclass(frozen=True, slots=True)
class Left(Event):
    name: ClassVar[str] = "left"
    participant: str
    reason: Literal["left", "lost", "ended"] = "left"


@dataclass(frozen=True, slots=True)
class Removed(Event):
    name: ClassVar[str] = "removed"
    participant: str


@dataclass(frozen=True, slots=True)
class Banned(Event):
    """Follows `removed`. Account and badge are seen by nobody."""

    name: ClassVar[str] = "banned"
    participant: str
    account: str | None = None
    badge: str | None = None


@dataclass(frozen=True, slots=True)
class GuestLobbyOpened(Event):
    """Guests must knock from now on."""

    name: ClassVar[str] = "guest_lobby_opened"


@dataclass(frozen=True, slots=True)
class EpochChanged(Event):
    name: ClassVar[str] = "epoch_changed"
    epoch: int


@dataclass(frozen=True, slots=True)
class SourceChanged(Event):
    """By the participant itself, or as the SFU reports it."""

    name: ClassVar[str] = "source_changed"
    participant: str
    source: Source
    state: SourceState


@dataclass(frozen=True, slots=True)
class Muted(Event):
    """A moderator muted the microphone (`actor` says who). Enforced at the SFU."""

    name: ClassVar[str] = "muted"
    participant: str


@dataclass(frozen=True, slots=True)
class CameraStopped(Event):
    name: ClassVar[str] = "camera_stopped"
    participant: str


@dataclass(frozen=True, slots=True)
class ShareStopped(Event):
    name: ClassVar[str] = "share_stopped"
    participant: str


@dataclass(frozen=True, slots=True)
class UnmuteAsked(Event):
    """Only asks: nobody is ever unmuted by a command. With `consent` (a site's standing consent, and the floor given)
    the client says yes by itself, which is still its own `set_source`."""

    name: ClassVar[str] = "unmute_asked"
    participant: str
    consent: bool = False


@dataclass(frozen=True, slots=True)
class ConsentSet(Event):
    name: ClassVar[str] = "consent_set"
    participant: str
    consent: bool


@dataclass(frozen=True, slots=True)
class Locked(Event):
    name: ClassVar[str] = "locked"


@dataclass(frozen=True, slots=True)
class Unlocked(Event):
    name: ClassVar[str] = "unlocked"


@dataclass(frozen=True, slots=True)
class PermissionSet(Event):
    name: ClassVar[str] = "permission_set"
    source: Literal["microphone", "camera", "screen_share", "chat"]
    allowed: Allowed


@dataclass(frozen=True, slots=True)
class HandRaised(Event):
    name: ClassVar[str] = "hand_raised"
    participant: str


@dataclass(frozen=True, slots=True)
class HandLowered(Event):
    name: ClassVar[str] = "hand_lowered"
    participant: str


@dataclass(frozen=True, slots=True)
class HandMoved(Event):
    name: ClassVar[str] = "hand_moved"
    participant: str
    position: int


@dataclass(frozen=True, slots=True)
class FloorGiven(Event):
    name: ClassVar[str] = "floor_given"
    participant: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class FloorEnded(Event):
    name: ClassVar[str] = "floor_ended"
    participant: str


@dataclass(frozen=True, slots=True)
class RoleSet(Event):
    name: ClassVar[str] = "role_set"
    participant: str
    role: Role
    co_chair: bool = False


@dataclass(frozen=True, slots=True)
class Renamed(Event):
    name: ClassVar[str] = "renamed"
    participant: str
    participant_name: str
    looks_like: str | None = None


@dataclass(frozen=True, slots=True)
class Spotlit(Event):
    name: ClassVar[str] = "spotlit"
    participant: str | None


@dataclass(frozen=True, slots=True)
class ChatSent(Event):
    name: ClassVar[str] = "chat_sent"
    sender: str
    sender_name: str
    text: str
    to: str | None = None
    key: str = ""
    """The command's: its sender knows by it that this one arrived."""


@dataclass(frozen=True, slots=True)
class Ended(Event):
    name: ClassVar[str] = "ended"
