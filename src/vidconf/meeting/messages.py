"""Commands (what someone asks), events (what happened), refusals (a rule said no). Plain frozen values.

Pure and shared; any thread. On the wire a command is `{"do": name, …}` and an event `{"ev": name, …}`; the names are
the classes' `name`, the fields are these fields. Conversion lives in `vidconf.protocol.control`.
Wherever one `participant` is taken, the wire also takes `participants`; the decoder makes it a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from vidconf.meeting.models import Allowed, Kind, Role, Source, SourceState


class Command:
    """Base of what a participant, a service key or the server itself may ask."""

    __slots__ = ()
    name: ClassVar[str]


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
class Refusal:
    """A rule said no. `code` has words in every language; `detail` fills them."""

    code: str
    detail: dict[str, Any] = field(default_factory=dict)


# ---- commands a client may send -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit(Command):
    name: ClassVar[str] = "admit"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AdmitAll(Command):
    name: ClassVar[str] = "admit_all"


@dataclass(frozen=True, slots=True)
class Deny(Command):
    name: ClassVar[str] = "deny"
    participants: tuple[str, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ToLobby(Command):
    name: ClassVar[str] = "to_lobby"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mute(Command):
    name: ClassVar[str] = "mute"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MuteAll(Command):
    """`except_` is `except` on the wire."""

    name: ClassVar[str] = "mute_all"
    except_: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopCamera(Command):
    name: ClassVar[str] = "stop_camera"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopShare(Command):
    name: ClassVar[str] = "stop_share"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskUnmute(Command):
    name: ClassVar[str] = "ask_unmute"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Remove(Command):
    name: ClassVar[str] = "remove"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ban(Command):
    name: ClassVar[str] = "ban"
    participants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Lock(Command):
    name: ClassVar[str] = "lock"


@dataclass(frozen=True, slots=True)
class Unlock(Command):
    name: ClassVar[str] = "unlock"


@dataclass(frozen=True, slots=True)
class SetPermission(Command):
    name: ClassVar[str] = "set_permission"
    source: Literal["microphone", "camera", "screen_share", "chat"]
    allowed: Allowed


@dataclass(frozen=True, slots=True)
class RaiseHand(Command):
    """For oneself; a moderator may raise another's (a delegate in a site)."""

    name: ClassVar[str] = "raise_hand"
    participants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LowerHand(Command):
    """Without participants: one's own. Another's, or several, by moderators."""

    name: ClassVar[str] = "lower_hand"
    participants: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MoveHand(Command):
    """To `position` in the queue, from 1."""

    name: ClassVar[str] = "move_hand"
    participant: str
    position: int


@dataclass(frozen=True, slots=True)
class GiveFloor(Command):
    name: ClassVar[str] = "give_floor"
    participant: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class EndFloor(Command):
    name: ClassVar[str] = "end_floor"


@dataclass(frozen=True, slots=True)
class SetRole(Command):
    name: ClassVar[str] = "set_role"
    participant: str
    role: Role
    co_chair: bool | None = None


@dataclass(frozen=True, slots=True)
class Rename(Command):
    """One's own name, or another's by a moderator. Server normalises before deciding."""

    name: ClassVar[str] = "rename"
    new_name: str
    participant: str | None = None


@dataclass(frozen=True, slots=True)
class Spotlight(Command):
    name: ClassVar[str] = "spotlight"
    participant: str | None


@dataclass(frozen=True, slots=True)
class Chat(Command):
    name: ClassVar[str] = "chat"
    text: str
    to: str | None = None
    key: str = ""
    """Made by the client (random): the same message sent again after a lost answer is taken once."""


@dataclass(frozen=True, slots=True)
class React(Command):
    name: ClassVar[str] = "react"
    emoji: str


@dataclass(frozen=True, slots=True)
class SetSource(Command):
    """What the sender's own device now does. The only way a source ever becomes `on`."""

    name: ClassVar[str] = "set_source"
    source: Source
    state: SourceState


@dataclass(frozen=True, slots=True)
class SetConsent(Command):
    """A site's technician agrees, for this meeting, that the floor opens the site's microphone by itself."""

    name: ClassVar[str] = "set_consent"
    consent: bool


@dataclass(frozen=True, slots=True)
class Media(Command):
    """Ask for the SFU's address and a token. Answered by the server; makes no event."""

    name: ClassVar[str] = "media"


@dataclass(frozen=True, slots=True)
class Leave(Command):
    name: ClassVar[str] = "leave"


@dataclass(frozen=True, slots=True)
class End(Command):
    name: ClassVar[str] = "end"


# ---- commands only the server itself gives (actor "server") ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Knock(Command):
    """Somebody joins by REST. Decides between the lobby, straight in, and refusal (ended, locked, full, banned).

    A participant id that is already known and `left`, `removed` or `denied` comes again under the same id.
    """

    name: ClassVar[str] = "knock"
    participant: str
    new_name: str
    role: Role = "delegate"
    kind: Kind = "person"
    unit: str = ""
    position: str = ""
    guest: bool = False
    account: str | None = None
    badge: str | None = None
    straight_in: bool = False
    """Chair links, the meeting's own staff and `meeting token` pass the lobby and the lock."""


@dataclass(frozen=True, slots=True)
class Connect(Command):
    """The control connection (or an external client's media session) is up: a new session."""

    name: ClassVar[str] = "connect"
    participant: str


@dataclass(frozen=True, slots=True)
class Disconnect(Command):
    """The control connection is gone; presence lasts until `Expire`.

    `session` names the connection that went: a late word about an older one changes nothing. None: the present one.
    """

    name: ClassVar[str] = "disconnect"
    participant: str
    session: int | None = None


@dataclass(frozen=True, slots=True)
class Expire(Command):
    """The presence lease ran out: left."""

    name: ClassVar[str] = "expire"
    participant: str


@dataclass(frozen=True, slots=True)
class CorrectSource(Command):
    """The SFU knows better what a participant sends."""

    name: ClassVar[str] = "correct_source"
    participant: str
    source: Source
    state: SourceState


@dataclass(frozen=True, slots=True)
class NewEpoch(Command):
    """All rejoin the media in a new room (a node is drained)."""

    name: ClassVar[str] = "new_epoch"


# ---- events ----------------------------------------------------------------------------------------------------------


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
