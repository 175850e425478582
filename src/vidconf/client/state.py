"""What the window draws: one immutable `ClientState` and its parts. Plain values without behaviour beyond look-ups.

Every field has a default, so a page can be shown from a hand-made state (tests, screenshots). Codes, never words: those
are made in the window. Used on the loop's thread; the values may be read on any. `store.Store` alone makes new states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from vidconf.engine import api
from vidconf.meeting.models import Meeting, Participant, SourceState

Phase = Literal["home", "sign_in", "prejoin", "joining", "lobby", "meeting", "ended"]
LocalSourceName = Literal["microphone", "camera", "screen_share"]
LOCAL_SOURCES: tuple[LocalSourceName, ...] = ("microphone", "camera", "screen_share")

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LocalSource:
    """One of one's own sources. `state` is what the engine says, `wanted` what was chosen; while they differ it is `pending`.

    `error`: a code of `engine.api.SourceChanged` or of a refusal, "" when none; `detail` fills its words."""

    state: SourceState = "off"
    pending: bool = False
    device: str = ""
    """Id of the device that is (or was last) open."""
    error: str = ""
    level: float = 0.0
    """Microphone only: 0…1, in steps of 1/32, also while muted."""
    wanted: SourceState = "off"
    detail: str = ""
    hints: frozenset[str] = frozenset()
    """Microphone only: those of `engine.api.MicrophoneHint` that are shown now."""
    waits: bool = False
    """It has an error, and opens by itself, as it is wanted, when it can."""

    @property
    def told(self) -> SourceState:
        """What the meeting is told of it. What waits for its device counts as it is wanted: it is published still, and whoever mutes all
        mutes it too, so that it does not come live of its own afterwards."""
        return self.wanted if self.waits else self.state


@dataclass(frozen=True, slots=True)
class TrackView:
    """A picture or sound that can be watched. `ring`: name of its shared-memory ring, None before the first picture."""

    track: str
    identity: str
    participant: str
    source: str
    kind: str
    muted: bool = False
    ring: str | None = None
    first_frame: bool = False
    held_back: bool = False
    """The server sends no pictures of it: our line does not carry them."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell, once. Words: `notice.<code>`, `refusal.<code>` or `error.<code>` (`family`). `at`: Unix seconds."""

    id: int
    level: Literal["info", "warn", "error"]
    code: str
    detail: dict[str, Any] = field(default_factory=dict)
    at: float = 0.0
    family: Literal["notice", "refusal", "error"] = "notice"


@dataclass(frozen=True, slots=True)
class AccountView:
    """Who is signed in. `token_kept`: in the OS keyring; False: for this run only, and the window says so."""

    name: str
    role: str = "member"
    token_kept: bool = True


@dataclass(frozen=True, slots=True)
class UpcomingMeeting:
    id: str
    code: str
    title: str
    start: float | None = None
    duration_s: float | None = None
    state: str = "scheduled"
    chair: bool = False
    link: str = ""


@dataclass(frozen=True, slots=True)
class JoinLink:
    """A parsed link. `origin`: scheme://host[:port] of the server. `confirm`: this host was never used before and the user
    has not said yes yet: nothing has been asked of it. The chair's secret is kept out of `repr`."""

    origin: str
    code: str
    secret: str = field(default="", repr=False)
    confirm: bool = False

    @property
    def chair(self) -> bool:
        return bool(self.secret)


@dataclass(frozen=True, slots=True)
class MeetingPreview:
    """What anybody with the link may know before joining."""

    code: str
    title: str = ""
    start: float | None = None
    duration_s: float | None = None
    state: str = "scheduled"
    lobby: bool = True
    locked: bool = False


@dataclass(frozen=True, slots=True)
class ChosenDevices:
    """Ids of `engine.api.Devices`, or `default`; speaker also `none`."""

    microphone: str = "default"
    camera: str = "default"
    speaker: str = "default"


@dataclass(frozen=True, slots=True)
class ShareView:
    """What of one's own desktop is shared, as it was chosen. Whether it is, and whether it is paused, says `sources`."""

    device: str = ""
    """Id of `engine.api.Screens`, or the path of a page image."""
    name: str = ""
    sound: bool = False
    """The computer's sound goes with it."""
    area: api.SharedArea | None = None
    """Where it lies; None: not known, or a page."""

    @property
    def kind(self) -> Literal["screen", "window", "page"]:
        return "screen" if self.device.startswith("screen:") else "window" if self.device.startswith("window:") else "page"


@dataclass(frozen=True, slots=True)
class UpdateView:
    """A newer version. `ready`: it starts next time; `own_doing`: this program brings it in itself, where policy lets it."""

    version: str
    page: str = ""
    """Where to read how to get it, "" when administrators named none."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """What is new, by language."""
    ready: bool = False
    own_doing: bool = False


@dataclass(frozen=True, slots=True)
class Reaction:
    participant: str
    emoji: str
    at: float


@dataclass(frozen=True, slots=True)
class PendingChat:
    """Typed and not yet known to be in the meeting: sent (again) as soon as the control connection is up. `key` tells it
    from every other. `error`: a refusal's code when the server said no; then it stays until edited or dismissed."""

    key: str
    text: str
    to: str | None = None
    at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ClientState:
    """Everything a window shows."""

    phase: Phase = "home"
    reconnecting: bool = False
    """Either wire is down while in the lobby or the meeting: a bar, not a page."""
    server: str = ""
    """Origin of the server last used, "" when none."""
    name: str = ""
    """Own name as it will be sent; fixed when signed in."""
    account: AccountView | None = None
    upcoming: tuple[UpcomingMeeting, ...] = ()
    link: JoinLink | None = None
    link_meeting: MeetingPreview | None = None
    me: str | None = None
    """Own participant id."""
    meeting: Meeting | None = None
    """Own view of the meeting."""
    lobby_since: float | None = None
    """Unix seconds."""
    end_reason: str = ""
    """`left`, `denied`, `removed`, `banned`, `meeting_ended`, `lobby_timeout`, `replaced`, `lost` or `error:<code>`."""
    end_detail: dict[str, Any] = field(default_factory=dict)
    media: api.MediaState = "idle"
    control: Literal["idle", "connecting", "connected", "reconnecting"] = "idle"
    sources: Mapping[str, LocalSource] = field(default_factory=lambda: {source: LocalSource() for source in LOCAL_SOURCES})
    tracks: Mapping[str, TrackView] = field(default_factory=lambda: _NOTHING)
    """By track id; one's own are `local:<source>`."""
    speaking: tuple[tuple[str, float], ...] = ()
    """Participant ids with levels, loudest first, hysteresis applied."""
    main_speaker: str | None = None
    """Whom the speaker view shows large; stays while all are silent."""
    quality: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Participant → excellent | good | poor | lost."""
    devices: api.Devices | None = None
    chosen: ChosenDevices = ChosenDevices()
    device_names: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """What the chosen devices were called when they were last there."""
    speaker_error: str = ""
    """`no_speaker`, `speaker_in_use` or `speaker_lost`; it is tried again by itself."""
    screens: api.Screens | None = None
    """What can be shared, once it was asked for."""
    thumbnails: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    """Small pictures of it by id: JPEGs in base64."""
    share: ShareView = ShareView()
    pending: frozenset[tuple[str, str]] = frozenset()
    """(command name, participant or "") asked and not yet answered."""
    unread_chat: int = 0
    unsent_chat: tuple[PendingChat, ...] = ()
    reactions: tuple[Reaction, ...] = ()
    notices: tuple[Notice, ...] = ()
    noticed: int = 0
    """Id of the last notice ever made."""
    stats: dict[str, Any] = field(default_factory=dict)
    """The engine's last `Stats`: `tracks` (list of dicts) and `engine`."""
    join_error: str = ""
    """A code of `error.<code>` (or `refusal.<code>`) shown on home, sign-in or pre-join."""
    join_detail: dict[str, Any] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    """What is being asked of the server now: `preview`, `sign_in`, `upcoming`, `create`, `join`."""
    created: Mapping[str, Any] | None = None
    """Answer of the last `create_meeting`: id, code, link, chair_link."""
    unmute_asked: bool = False
    """A moderator asks to unmute and it is not answered yet: a prompt with one button."""
    talk_held: bool = False
    volumes: Mapping[str, float] = field(default_factory=lambda: _NOTHING)
    """Participant → gain 0…2 ("" is the speaker's), where changed from 1."""
    update: UpdateView | None = None
    """A version newer than this one, until its notice is put away."""
    closed: frozenset[str] = frozenset()
    """Parts that the organisation has closed on this computer: those of `closed.Part`."""
    clock_offset_s: float = 0.0
    """Server's clock minus ours, as far as known: add it to the own clock before comparing with the meeting's times."""

    @property
    def own(self) -> Participant | None:
        """Oneself in the meeting."""
        return self.meeting.participants.get(self.me) if self.meeting is not None and self.me is not None else None
