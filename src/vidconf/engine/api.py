"""What the window and the engine say to each other: small plain values. All that others may import of the engine.

Standard library only, so the window starts without av, numpy or aiortc. Both ends use it on their own loop's thread.
On the socket one message is one line of JSON, `{"type": <class name>, …fields}` (`encode`, `decode`).
Frames never travel here: they lie in the shared-memory ring that `RingOpened` names (`engine.frame_ring`).

A remote or local picture or sound is a *track*, named by `track` = the SFU's track sid, or `local:<source>` for one's own.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from vidconf.network.options import NetworkOptions

Source = Literal["microphone", "camera", "screen_share", "screen_share_audio"]
SourceState = Literal["on", "muted", "off"]
MediaState = Literal["idle", "connecting", "connected", "reconnecting", "closed"]
PixelFormat = Literal["bgrx", "i420"]
SoundName = Literal["knock", "called", "lost", "back", "muted", "test"]
"""The program's own sounds, `resources/sounds`."""

MAX_MESSAGE = 1 << 20
"""Longest line either side accepts, bytes."""


class MessageError(ValueError):
    """A line that is no message of ours."""


# ---- commands: window -> engine -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Join:
    """Join (or, when a token was asked for by `TokenNeeded`, rejoin) the SFU. Sources keep their state."""

    url: str
    token: str
    ice_servers: tuple[dict[str, Any], ...] = ()
    """`{"urls": [...], "username": ..., "credential": ...}`."""
    subscribe: bool = True


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave the SFU; sources close. The engine stays ready for another `Join`."""


@dataclass(frozen=True, slots=True)
class OpenSource:
    """Open `device` for `source` (also switches device). `device`: an id of `Devices`, a file, `lavfi:…`, `default`,
    for screen_share an id of `Screens` or the path of a page image, for screen_share_audio `computer`.
    Opens before or in a session; the answer is `SourceChanged`."""

    source: Source
    device: str = "default"
    muted: bool = False
    stamp: bool = False


@dataclass(frozen=True, slots=True)
class CloseSource:
    source: Source


@dataclass(frozen=True, slots=True)
class MuteSource:
    """The intent that is re-applied after every rejoin. A muted camera is closed at the device but stays published."""

    source: Source
    muted: bool


@dataclass(frozen=True, slots=True)
class WatchTrack:
    """How a picture is shown: `width` × `height` in device pixels of the tile (0 × 0 or visible=False: stop decoding).
    `format` bgrx: scaled to fit inside the tile by the engine (raster stage); i420: as decoded (GPU stage)."""

    track: str
    width: int
    height: int
    visible: bool = True
    format: PixelFormat = "bgrx"
    fill: bool = True
    """Crop to fill the tile (cameras); False: fit inside it (shares)."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Take (or drop) everything one SFU identity publishes, besides what auto-subscription does."""

    identity: str
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class SetVolume:
    """Loudness of one remote participant, 0…2; None: everybody's (the speaker)."""

    identity: str | None
    gain: float


@dataclass(frozen=True, slots=True)
class SelectSpeaker:
    """Playout device: an id of `Devices`, `default`, or `none`."""

    device: str


@dataclass(frozen=True, slots=True)
class SetVoice:
    """What is done to the microphone before it is sent, from now on. Files and drawn sounds are sent as they are."""

    echo_cancellation: bool = True
    noise_suppression: bool = True
    gain_control: bool = True
    dtx: bool = False
    """Send next to nothing while nobody speaks."""


@dataclass(frozen=True, slots=True)
class SetNetwork(NetworkOptions):
    """How the SFU is reached, from the next connection on; one that lives stays as it is."""


@dataclass(frozen=True, slots=True)
class SetLimits:
    """What administrators let this client send and ask for, from now on; 0: no limit. `max_height`: lines of a camera's picture, sent or
    asked for (a track that is sent in one size comes in that); `max_kbps`: kilobits a second of all pictures sent together."""

    max_height: int = 0
    max_kbps: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """Write exactly what the loudspeaker plays to a WAV (48 kHz, 16 bit, mono), in real time, until `path` is None."""

    path: str | None


@dataclass(frozen=True, slots=True)
class PlaySound:
    """Play one of the program's own sounds once, over whatever is heard. Without a session, too."""

    sound: SoundName


@dataclass(frozen=True, slots=True)
class ListDevices:
    """Answered by `Devices`, at once and at every change from then on."""


@dataclass(frozen=True, slots=True)
class ListScreens:
    """Answered by `Screens`, then a `Thumbnail` of each that has a picture. Windows of the process `except_pid` are left out."""

    except_pid: int = 0


@dataclass(frozen=True, slots=True)
class Quit:
    """End the engine's process."""


# ---- events: engine -> window -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateChanged:
    """`reason` is a code: `signal_lost`, `ice_lost`, `removed`, `duplicate`, `room_ended`, `refused`, `unreachable`, …"""

    state: MediaState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TokenNeeded:
    """The engine must rejoin and its token is used up: ask the server by `media`, then send `Join` again."""


@dataclass(frozen=True, slots=True)
class TrackAdded:
    track: str
    identity: str
    source: Source
    kind: Literal["audio", "video"]
    muted: bool = False


@dataclass(frozen=True, slots=True)
class TrackRemoved:
    track: str


@dataclass(frozen=True, slots=True)
class TrackMuted:
    track: str
    muted: bool


@dataclass(frozen=True, slots=True)
class TrackHeldBack:
    """The server sends no pictures of a track because our line does not carry them; or it does again."""

    track: str
    held_back: bool


@dataclass(frozen=True, slots=True)
class FirstFrame:
    """First decoded picture, or first sound played, of a track."""

    track: str


@dataclass(frozen=True, slots=True)
class RingOpened:
    """Pictures of `track` are in shared memory `ring` from now on; an older ring of the track is dead."""

    track: str
    ring: str


@dataclass(frozen=True, slots=True)
class RingClosed:
    track: str


@dataclass(frozen=True, slots=True)
class Speakers:
    """Who is heard now, loudest first: (identity, level 0…1)."""

    active: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class LocalLevel:
    """One's own microphone, ten times a second while it is open (also when muted): RMS 0…1."""

    level: float


@dataclass(frozen=True, slots=True)
class MicrophoneHint:
    """`speaking_muted`: who sits before the muted microphone speaks. `silent`: nothing at all comes from the open one, as when it
    is switched off at the device or kept from us by the system. `shown` False: no longer."""

    hint: Literal["speaking_muted", "silent"]
    shown: bool = True


@dataclass(frozen=True, slots=True)
class SourceChanged:
    """State of one's own source. `error` is a code when it could not open or died: `no_device`, `device_in_use`,
    `no_permission`, `not_found`, `unreadable`, `device_lost`; of a share also `window_closed`, `screen_gone` and
    those of `Screens`. `waits`: it opens by itself, as it was chosen, when it can."""

    source: Source
    state: SourceState
    device: str = ""
    error: str = ""
    detail: str = ""
    waits: bool = False


@dataclass(frozen=True, slots=True)
class DeviceSwitched:
    """The device that was chosen (`device`) is away and `stand_in` is used instead (`why` lost), or it has come back and is used
    again (back). Mute is what it was. Empty `stand_in`: there is none, or nobody knows which."""

    kind: Literal["microphone", "camera", "speaker"]
    why: Literal["lost", "back"]
    device: str
    stand_in: str = ""


@dataclass(frozen=True, slots=True)
class SpeakerChanged:
    """The loudspeaker in use. `error`: `no_speaker` (none opens), `speaker_in_use` (another program has it) or `speaker_lost`; it is
    tried again by itself."""

    device: str
    error: str = ""


@dataclass(frozen=True, slots=True)
class MutedByServer:
    """The SFU muted us for a moderator; already obeyed."""

    source: Source


@dataclass(frozen=True, slots=True)
class Device:
    """`id` stays over restarts and other orders of plugging; `node` is what the system calls it since it was plugged in, "" where that is
    the same."""

    id: str
    name: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Devices:
    """What there is now: after `ListDevices`, and whenever it has changed. The defaults are ids, "" where the system does not say."""

    cameras: tuple[Device, ...] = ()
    microphones: tuple[Device, ...] = ()
    speakers: tuple[Device, ...] = ()
    default_microphone: str = ""
    default_speaker: str = ""


@dataclass(frozen=True, slots=True)
class Shareable:
    """A screen or a window, as an `OpenSource` of screen_share takes it by its `id`. `hidden`: it is minimised, and has no picture now."""

    id: str
    name: str
    kind: Literal["screen", "window"]
    left: int
    top: int
    width: int
    height: int
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Screens:
    """What can be shared. `trouble`: why nothing can (`wayland`, `no_display`, `screen_not_allowed`, `unsupported`), `sound`: why
    the computer's sound cannot come with it (`no_sound_server`, `unsupported`); "" when it can."""

    shareable: tuple[Shareable, ...] = ()
    trouble: str = ""
    sound: str = ""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of a shareable: a JPEG in base64."""

    id: str
    picture: str


@dataclass(frozen=True, slots=True)
class SharedArea:
    """Where what is shared lies on the desktop, in its device pixels. Not `shown`: it is minimised; others see its last picture."""

    device: str
    left: int
    top: int
    width: int
    height: int
    shown: bool = True


def find_device(devices: Iterable[Device], chosen: str) -> Device | None:
    """The device that was chosen, by its id, by what older versions kept (`/dev/video0`, a number), or by its name where only one has it
    (policies name devices so)."""
    held = list(devices)
    for device in held:
        if chosen == device.id:
            return device
    for device in held:
        if chosen and chosen == device.node:
            return device
    named = [device for device in held if device.name == chosen]
    return named[0] if len(named) == 1 else None


@dataclass(frozen=True, slots=True)
class Quality:
    """Connection quality by identity: `excellent`, `good`, `poor`, `lost`."""

    identity: str
    quality: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Once a second. `tracks`: dicts with the fields of `bot --json`'s `tracks`; `engine`: cpu_percent, rss_mb, reconnects, sent,
    `way` (by which media comes or came last: `udp`, `tcp`, `turn_udp`, `turn_tcp`, `turn_tls`; "" before it did)."""

    tracks: tuple[dict[str, Any], ...] = ()
    engine: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """Something in the engine broke and was contained; `code` for the help desk, `detail` for the log."""

    code: str
    detail: str = ""


Command = (
    Join | Leave | OpenSource | CloseSource | MuteSource | WatchTrack | Subscribe | SetVolume | SelectSpeaker | SetVoice | SetNetwork | SetLimits | Record | PlaySound | ListDevices | ListScreens | Quit
)
EngineEvent = (
    StateChanged
    | TokenNeeded
    | TrackAdded
    | TrackRemoved
    | TrackMuted
    | TrackHeldBack
    | FirstFrame
    | RingOpened
    | RingClosed
    | Speakers
    | LocalLevel
    | MicrophoneHint
    | SourceChanged
    | DeviceSwitched
    | SpeakerChanged
    | MutedByServer
    | Devices
    | Screens
    | Thumbnail
    | SharedArea
    | Quality
    | Stats
    | Failed
)


class Engine(Protocol):
    """One participant's media: `engine.host.EngineHost` (a process) and `engine.local.LocalEngine` (in-process) alike."""

    async def start(self) -> None: ...

    def send(self, command: Command) -> None:
        """Never blocks; commands are carried out in order."""

    def events(self) -> AsyncIterator[EngineEvent]:
        """All events from now on, one reader; ends when the engine is closed. A crash of the process appears as
        `StateChanged("closed", "engine_crashed")` and the host starts it again."""

    async def close(self) -> None: ...


_TYPES: dict[str, type[Any]] = {t.__name__: t for t in (*Command.__args__, *EngineEvent.__args__)}


def encode(message: Command | EngineEvent) -> bytes:
    """One line of JSON, newline included."""
    return json.dumps({"type": type(message).__name__, **dataclasses.asdict(message)}, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Command | EngineEvent:
    """Raises MessageError for anything that is not exactly one of the messages above."""
    try:
        fields = json.loads(line)
        kind = _TYPES[fields.pop("type")]
        for item in dataclasses.fields(kind):
            if isinstance(fields.get(item.name), list):
                fields[item.name] = _tuples(item.name, fields[item.name])
        message: Command | EngineEvent = kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MessageError(f"not a message of the engine's: {error}") from error
    return message


def _tuples(name: str, values: list[Any]) -> tuple[Any, ...]:
    if name in ("cameras", "microphones", "speakers"):
        return tuple(Device(**v) for v in values)
    if name == "shareable":
        return tuple(Shareable(**v) for v in values)
    return tuple(tuple(v) if isinstance(v, list) else v for v in values)
