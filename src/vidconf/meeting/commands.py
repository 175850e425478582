"""Commands: what someone asks. Plain frozen values, pure; any thread. Used by the name of `meeting.messages`.

Wherever one `participant` is taken, the wire also takes `participants`; the decoder makes it a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vidconf.meeting.models import Allowed, Kind, Role, Source, SourceState


class Command:
    """Base of what a participant, a service key or the server itself may ask."""

    __slots__ = ()
    name: ClassVar[str]


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
