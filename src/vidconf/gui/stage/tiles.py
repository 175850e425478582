"""What the stage shows: from a `ClientState` and what its viewer chose to tiles in order, and what stands on each. Pure.

Codes, never words (those are `said`'s and `overlay`'s). A tile's key is a participant's id, or `page:<track>` for a shared page.
`line_up` says which tiles there are and which is large; `content` what is on one. People never jump: see `stage_layout.keep_places`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from vidconf.client.stage_layout import Mode, TileSpec, keep_places
from vidconf.client.state import ClientState, LocalSource, TrackView
from vidconf.gui.painted import initials
from vidconf.meeting.models import Participant

PAGE = "page:"
OWN_CAMERA, OWN_SHARE = "local:camera", "local:screen_share"
Microphone = Literal["on", "muted", "off"]
Badge = Literal["", "chair", "co_chair", "secretary", "technician", "guest"]
Network = Literal["", "weak", "lost"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the viewer chose."""

    mode: Literal["grid", "speaker"] = "grid"
    pinned: str | None = None
    """A participant, large in `speaker`."""
    self_view: bool = True
    share: str | None = None
    """The track of a shared page preferred to the newest."""
    past_share: bool = False
    """Looks at the people although somebody shares."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What must be known of before, so that nothing jumps."""

    order: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    """Tracks of shared pages, the newest first."""
    main: str | None = None
    last_spoke: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LineUp:
    mode: Mode
    tiles: tuple[TileSpec, ...]
    memory: Memory
    people: int
    """Tiles that are people, on all pages."""
    shares: tuple[str, ...] = ()
    """Newest first."""
    share: str | None = None
    """The shared page that is shown large."""


@dataclass(frozen=True, slots=True)
class Content:
    """What stands on one tile."""

    key: str
    kind: Literal["person", "page"]
    participant: str
    name: str
    initials: str = ""
    track: str | None = None
    """What to watch; None: no picture can come."""
    picture: bool = False
    """It is on: paint it. Else initials."""
    mirrored: bool = False
    fill: bool = True
    own: bool = False
    position: str = ""
    unit: str = ""
    badge: Badge = ""
    microphone: Microphone = "off"
    speaking: bool = False
    hand: int = 0
    """Its number in the queue, 0: not raised."""
    network: Network = ""
    pinned: bool = False
    spotlight: bool = False
    looks_like: bool = False
    """Another person in the room has a name that looks the same."""
    held_back: bool = False
    """Its picture stands still because our line does not carry it."""
    pending: bool = False
    """Something was asked of it and is not yet answered."""
    paused: bool = False
    """A page whose last picture stands still because its owner wants it to."""

    @property
    def source(self) -> str:
        return "camera" if self.kind == "person" else "screen_share"


# ---- who and what ----------------------------------------------------------------------------------------------------------


def line_up(state: ClientState, choice: Choice, memory: Memory, visible: int, now: float) -> LineUp:
    """All tiles in order. `visible`: how many fit on the first page."""
    shares = _shares(state, memory.shares)
    share = choice.share if choice.share in shares else (shares[0] if shares else None)
    mode: Mode = "share" if share is not None and not choice.past_share else choice.mode
    present = _present(state, choice.self_view)
    spoke = _spoke(state, memory.last_spoke, present, now)
    main = _main(state, choice, memory.main, present)
    order = _trade(memory.order, memory.main, main) if mode == "speaker" else memory.order
    order = keep_places(order, present, _first_page(state, choice, present, visible), spoke, visible)
    tiles: list[TileSpec] = []
    if mode == "share":
        assert share is not None
        tiles.append(TileSpec(PAGE + share, True))
        tiles += [TileSpec(PAGE + other) for other in shares if other != share]
    else:
        tiles += [TileSpec(PAGE + track) for track in shares]
    tiles += [TileSpec(person, mode == "speaker" and person == main) for person in order]
    return LineUp(mode, tuple(tiles), replace(memory, order=order, shares=shares, main=main, last_spoke=spoke), len(order), shares, share)


def _present(state: ClientState, self_view: bool) -> list[str]:
    """In the order in which newcomers are placed: the chair, oneself, the others as they came."""
    if state.meeting is None:
        return []
    admitted = [p for p in state.meeting.admitted() if self_view or p.id != state.me]
    return [p.id for p in sorted(admitted, key=lambda p: (p.role != "chair", p.id != state.me))]


def _speaking(state: ClientState) -> list[str]:
    return [who for who, _ in state.speaking]


def _spoke(state: ClientState, before: Mapping[str, float], present: Sequence[str], now: float) -> Mapping[str, float]:
    here = set(present)
    spoke = {who: at for who, at in before.items() if who in here}
    spoke.update((who, now) for who in _speaking(state) if who in here)
    return spoke


def _first_page(state: ClientState, choice: Choice, present: Sequence[str], visible: int) -> list[str]:
    """Who belongs on the first page, the most urgent first. The chair and oneself keep their places there while they leave at
    least half of it to the others."""
    wanted = [who for who in (choice.pinned, state.meeting.spotlight if state.meeting is not None else None) if who is not None]
    wanted += _speaking(state)
    staying = [who for who in present[:2] if who == state.me or _is_chair(state, who)]
    if 2 * len(staying) < visible:
        wanted += staying
    return list(dict.fromkeys(wanted))


def _is_chair(state: ClientState, who: str) -> bool:
    person = state.meeting.participants.get(who) if state.meeting is not None else None
    return person is not None and person.role == "chair"


def _main(state: ClientState, choice: Choice, before: str | None, present: Sequence[str]) -> str | None:
    """Whom the speaker view shows large: my pin, the room's spotlight, who speaks, who spoke, who has the floor, the chair. Not
    oneself while there is anybody else."""
    if not present or state.meeting is None:
        return None
    here, me, meeting = set(present), state.me, state.meeting
    for chosen in (choice.pinned, meeting.spotlight):
        if chosen in here:
            return chosen
    floor = meeting.floor.participant if meeting.floor is not None else None
    for who in (state.main_speaker, before, floor, *present):
        if who in here and who != me:
            return who
    return present[0]


def _trade(order: tuple[str, ...], before: str | None, main: str | None) -> tuple[str, ...]:
    """Who was large takes the place in the strip of who becomes it, so that all others stay where they are."""
    if before == main or before not in order or main not in order:
        return order
    traded = list(order)
    there, here = traded.index(before), traded.index(main)
    traded[there], traded[here] = traded[here], traded[there]
    return tuple(traded)


def _shares(state: ClientState, before: Sequence[str]) -> tuple[str, ...]:
    """Tracks of pages that are shared now, the newest first; one that is paused (muted) keeps its place and its last picture."""
    if state.meeting is None:
        return ()
    admitted = {p.id for p in state.meeting.admitted()}
    now = [
        track.track
        for track in state.tracks.values()
        if track.source == "screen_share" and track.kind == "video"
        and not track.track.startswith("local:") and track.participant in admitted
    ]  # fmt: skip
    # One's own screen would show itself in itself, without end, and never be still: the bar says that it is seen.
    own = state.sources.get("screen_share", LocalSource()).state != "off" and state.share.kind != "screen"
    if state.me in admitted and own:
        now.append(OWN_SHARE)
    new = [track for track in now if track not in before]
    return (*reversed(new), *(track for track in before if track in now))


# ---- what stands on a tile ---------------------------------------------------------------------------------------------------


def content(state: ClientState, key: str, choice: Choice) -> Content | None:
    """None when its participant has left meanwhile."""
    meeting = state.meeting
    if meeting is None:
        return None
    if key.startswith(PAGE):
        return _page(state, key)
    person = meeting.participants.get(key)
    if person is None:
        return None
    own = key == state.me
    microphone = _microphone(state, person, own)
    track, on = _camera(state, person, own)
    return Content(
        key=key, kind="person", participant=key, name=person.name, initials=initials(person.name), track=track, picture=on,
        mirrored=own, own=own, position=person.position, unit=person.unit, badge=_badge(person), microphone=microphone,
        speaking=microphone == "on" and any(who == key for who, _ in state.speaking), hand=meeting.hand_position(key) or 0,
        network=_network(state, person, own), pinned=choice.pinned == key, spotlight=meeting.spotlight == key,
        looks_like=_looks_like(state, person), pending=any(who == key for _, who in state.pending), held_back=on and _held_back(state, track),
    )  # fmt: skip


def _page(state: ClientState, key: str) -> Content | None:
    track = key.removeprefix(PAGE)
    own = track == OWN_SHARE
    view = state.tracks.get(track)
    owner = state.me if own else view.participant if view is not None else None
    assert state.meeting is not None
    person = state.meeting.participants.get(owner or "")
    if person is None:
        return None
    paused = state.sources.get("screen_share", LocalSource()).state == "muted" if own else view is not None and view.muted
    last = not paused or (view is not None and view.ring is not None)     # who came during the pause has seen none
    return Content(key, "page", person.id, person.name, track=track, picture=last, fill=False, own=own, paused=paused, held_back=_held_back(state, track))


def _held_back(state: ClientState, track: str | None) -> bool:
    view = state.tracks.get(track or "")
    return view is not None and view.held_back


def _newest(state: ClientState, participant: str, source: str) -> TrackView | None:
    """Its last track that is not muted; else the last. (After a rejoin the old ones may linger.)"""
    found: TrackView | None = None
    for track in state.tracks.values():
        if track.participant != participant or track.source != source:
            continue
        if found is None or found.muted or not track.muted:
            found = track
    return found


def _camera(state: ClientState, person: Participant, own: bool) -> tuple[str | None, bool]:
    """(track, whether it shows something)."""
    if own:
        return OWN_CAMERA, state.sources.get("camera", LocalSource()).state == "on"
    track = _newest(state, person.id, "camera")
    return (track.track, not track.muted) if track is not None and track.kind == "video" else (None, False)


def _microphone(state: ClientState, person: Participant, own: bool) -> Microphone:
    if own:
        return state.sources.get("microphone", LocalSource()).state
    said = person.sources.microphone
    if said == "off":
        # What another LiveKit client sends is known by its track before the meeting says so.
        track = _newest(state, person.id, "microphone")
        return "on" if track is not None and not track.muted else "off"
    return said


def _badge(person: Participant) -> Badge:
    if person.role in ("chair", "secretary", "technician"):
        return person.role
    if person.co_chair and person.role == "delegate":
        return "co_chair"
    return "guest" if person.guest else ""


def _network(state: ClientState, person: Participant, own: bool) -> Network:
    if not own and person.kind != "external" and person.session > 0 and not person.connected:
        return "lost"
    quality = state.quality.get(person.id, "")
    return "weak" if quality == "poor" else "lost" if quality == "lost" else ""


def _looks_like(state: ClientState, person: Participant) -> bool:
    assert state.meeting is not None
    other = state.meeting.participants.get(person.looks_like or "")
    return other is not None and other.place == "admitted"


def alone(state: ClientState) -> bool:
    """Nobody but oneself is in the room."""
    return state.meeting is not None and state.me is not None and all(p.id == state.me for p in state.meeting.admitted())
