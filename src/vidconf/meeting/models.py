"""What a meeting is: frozen values, no behaviour beyond look-ups.

Pure and shared by server and client; any thread may read them. State changes only through `reducer.apply`.
Times (`at`, `since`, …) are Unix seconds (float, UTC) given by the server; nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Role = Literal["chair", "secretary", "delegate", "guest", "technician"]
Kind = Literal["person", "site", "browser", "external"]
Source = Literal["microphone", "camera", "screen_share"]
SourceState = Literal["on", "muted", "off"]
Allowed = Literal["all", "moderators", "by_floor"]
Place = Literal["lobby", "admitted", "denied", "left", "removed"]
"""Where a participant stands: knocking, in the room, refused entry, gone by itself, put out."""
MeetingState = Literal["scheduled", "live", "ended"]

ROLES: tuple[Role, ...] = get_args(Role)
KINDS: tuple[Kind, ...] = get_args(Kind)
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True, slots=True)
class Sources:
    """What each client says of its own devices, corrected by the SFU's list where they differ."""

    microphone: SourceState = "off"
    camera: SourceState = "off"
    screen_share: SourceState = "off"

    def get(self, source: Source) -> SourceState:
        state: SourceState = getattr(self, source)
        return state


@dataclass(frozen=True, slots=True)
class Participant:
    """One participant of one meeting; survives reconnecting (`session` counts connections, 0 = never connected)."""

    id: str
    name: str
    role: Role = "delegate"
    kind: Kind = "person"
    unit: str = ""
    position: str = ""
    place: Place = "lobby"
    session: int = 0
    connected: bool = False
    """Control connection alive. False for up to the presence lease (30 s) before `left`."""
    guest: bool = False
    """Not signed in: shown with a badge."""
    account: str | None = None
    """Account id; never leaves the server (`visibility.view` blanks it for everybody)."""
    badge: str | None = None
    """A guest's badge (random, kept by the client between joins), for `ban`; blanked like `account`."""
    co_chair: bool = False
    """A delegate given the moderators' right."""
    standing_consent: bool = False
    """A site whose technician agreed that the floor opens its microphone by itself."""
    removed_before: bool = False
    """Knocks again after a removal: marked in the lobby."""
    may_return: bool = False
    """Left the room, or lost it, without having been put out: comes back without knocking."""
    banned: bool = False
    """Never let in again under this id, whatever account or badge it shows."""
    looks_like: str | None = None
    """Id of somebody present whose name looks the same."""
    sources: Sources = Sources()
    since: float = 0.0
    """Since when in the present `place`."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A raised hand. The tuple `Meeting.hands` is the queue: first is next."""

    participant: str
    raised_at: float


@dataclass(frozen=True, slots=True)
class Floor:
    """Who was invited to speak, since when, until when (None: no limit)."""

    participant: str
    given_at: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class ChatMessage:
    id: str
    at: float
    sender: str
    sender_name: str
    text: str
    to: str | None = None
    """Participant id of a private message; None: everybody in the room."""
    key: str = ""
    """Its sender's own mark on it; tells a repetition."""


@dataclass(frozen=True, slots=True)
class Permissions:
    """Who may switch each thing on. Moderators always may."""

    microphone: Allowed = "all"
    camera: Allowed = "all"
    screen_share: Allowed = "all"
    chat: Allowed = "all"

    def of(self, what: Literal["microphone", "camera", "screen_share", "chat"]) -> Allowed:
        allowed: Allowed = getattr(self, what)
        return allowed


@dataclass(frozen=True, slots=True)
class Meeting:
    """The whole of a live meeting, or, after `visibility.view`, what one viewer may know of it.

    `epoch` grows on end, on ban and when a node is drained; the media room is `<id>.<epoch>`.
    """

    id: str
    code: str
    title: str
    epoch: int = 1
    state: MeetingState = "scheduled"
    lobby: bool = True
    """People knock and wait. False: the link lets in (a ban of a guest turns it on for guests, see `guest_lobby`)."""
    guest_lobby: bool = False
    locked: bool = False
    capacity: int = 500
    start: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    permissions: Permissions = Permissions()
    participants: Mapping[str, Participant] = field(default_factory=dict)
    hands: tuple[Hand, ...] = ()
    floor: Floor | None = None
    spotlight: str | None = None
    chat: tuple[ChatMessage, ...] = ()
    banned_accounts: frozenset[str] = frozenset()
    banned_badges: frozenset[str] = frozenset()
    seq: int = 0
    """Number of the last event applied."""

    def admitted(self) -> Iterator[Participant]:
        """Those in the room, in the order they came."""
        return (p for p in self.participants.values() if p.place == "admitted")

    def knocking(self) -> Iterator[Participant]:
        """Those in the lobby, longest waiting first."""
        return (p for p in self.participants.values() if p.place == "lobby")

    def hand_position(self, participant: str) -> int | None:
        """1 for the next to speak; None when the hand is down."""
        return next((n for n, hand in enumerate(self.hands, 1) if hand.participant == participant), None)
