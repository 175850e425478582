"""What `store.Store.dispatch` takes: everything that can change the client's state, as plain frozen values.

Made by the connection, the media link and the actions; applied by `reduction.reduce`. The loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vidconf.client.phases import Happening
from vidconf.client.state import LocalSourceName, PendingChat
from vidconf.engine import api
from vidconf.meeting.messages import Recorded
from vidconf.meeting.models import Meeting, SourceState


@dataclass(frozen=True, slots=True)
class Navigate:
    """A happening of `phases`."""

    happening: Happening


@dataclass(frozen=True, slots=True)
class Set:
    """Plain fields of `ClientState`, by name: what has no rule of its own."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SnapshotTaken:
    """The server's view for `me`, in place of what was held."""

    meeting: Meeting
    me: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class EventsCame:
    """Control events, ascending."""

    events: tuple[Recorded, ...]
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A command is on its way (`busy` marks what is asked by REST, `pending` commands)."""

    command: str
    participants: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Answered:
    command: str
    participants: tuple[str, ...] = ("",)


@dataclass(frozen=True, slots=True)
class Busy:
    what: str
    on: bool


@dataclass(frozen=True, slots=True)
class ChatTyped:
    message: PendingChat


@dataclass(frozen=True, slots=True)
class ChatRefused:
    key: str
    code: str


@dataclass(frozen=True, slots=True)
class ChatSettled:
    """In the meeting, or given up by who typed it."""

    key: str


@dataclass(frozen=True, slots=True)
class SourceWanted:
    """What was chosen for one's own source; `pending` until the engine agrees."""

    source: LocalSourceName
    state: SourceState
    device: str | None = None


@dataclass(frozen=True, slots=True)
class EngineSaid:
    event: api.EngineEvent


@dataclass(frozen=True, slots=True)
class Told:
    """A notice to show."""

    level: Literal["info", "warn", "error"]
    code: str
    detail: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    family: Literal["notice", "refusal", "error"] = "notice"


@dataclass(frozen=True, slots=True)
class NoticeDismissed:
    id: int


@dataclass(frozen=True, slots=True)
class Reacted:
    participant: str
    emoji: str
    at: float


@dataclass(frozen=True, slots=True)
class TimePassed:
    """Old reactions go. `at`: Unix seconds."""

    at: float


@dataclass(frozen=True, slots=True)
class VolumeSet:
    participant: str | None
    gain: float


@dataclass(frozen=True, slots=True)
class MeetingForgotten:
    """The session is over: meeting, tracks and what belonged to them go (the page of the end keeps its reason)."""


Change = (
    Navigate
    | Set
    | SnapshotTaken
    | EventsCame
    | Asked
    | Answered
    | Busy
    | ChatTyped
    | ChatRefused
    | ChatSettled
    | SourceWanted
    | EngineSaid
    | Told
    | NoticeDismissed
    | Reacted
    | TimePassed
    | VolumeSet
    | MeetingForgotten
)
