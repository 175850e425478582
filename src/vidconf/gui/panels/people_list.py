"""What the people panel lists: from a `ClientState` and what is being searched or answered to items. Pure; any thread may read.

Three lists in one: who knocks (moderators only see them), raised hands in order, who is in the room. Codes become words here, so
that equal items look the same and an event about one person touches one row.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.panels.row import Item
from vidconf.gui.parts import short_unit
from vidconf.meeting.models import Meeting, Participant
from vidconf.meeting.rights import is_moderator

Asking = Literal["deny", "remove", "ban", "rename"]
Place = tuple[Literal["lobby", "room"], str]
"""A row about one person."""
Microphone = Literal["on", "off", "speaking"]
_RANK = {"chair": 0, "secretary": 1, "technician": 2}
_QUIETLY = ("mute", "ask_unmute", "stop_camera", "stop_share", "remove", "ban", "to_lobby", "give_floor", "lower_hand", "set_role", "rename", "move_hand")


@dataclass(frozen=True, slots=True)
class Heading:
    text: str
    action: str = ""
    """Words of what can be done with all of them, "" when nothing."""
    does: Literal["", "admit_all", "admit_both", "lower_all"] = ""
    pending: bool = False
    first: bool = False
    """Nothing stands above it in the list."""


@dataclass(frozen=True, slots=True)
class Note:
    text: str


@dataclass(frozen=True, slots=True)
class Knocker:
    id: str
    name: str
    position: str
    unit: str
    """Without both, what else is known stands here."""
    third: str
    warnings: tuple[str, ...] = ()
    pending: Literal["", "admit", "deny"] = ""
    asking: bool = False
    """The round deny button was pressed: a reason may be written."""
    says: str = ""
    """For screen readers: all of it in one sentence."""


@dataclass(frozen=True, slots=True)
class HandUp:
    id: str
    number: int
    name: str
    second: str
    first: bool = False
    mine: bool = False
    may_call: bool = False
    calling: bool = False
    lowering: bool = False


@dataclass(frozen=True, slots=True)
class Present:
    id: str
    name: str
    face: str
    """The name without "me", for the initials."""
    second: str
    microphone: Microphone
    camera: bool
    sharing: bool = False
    warning: str = ""
    faded: bool = False
    """Lost its connection."""
    asking: Asking | None = None
    says: str = ""


@dataclass(frozen=True, slots=True)
class Looking:
    """What the panel's user is doing in the list. `asking`: rows that show a question instead of their buttons."""

    search: str = ""
    asking: Mapping[Place, Asking] = field(default_factory=dict)


# ---- searching -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def folded(text: str) -> str:
    """Without marks and case: who types `khanh`, or `dac lak`, finds Khánh and Đắc Lắk."""
    bare = "".join(char for char in unicodedata.normalize("NFD", text.casefold()) if unicodedata.category(char) != "Mn")
    return bare.replace("đ", "d")


def found(search: str, person: Participant) -> bool:
    """Every word of `search` stands somewhere in name, position or unit (written out or short)."""
    wanted = folded(search).split()
    if not wanted:
        return True
    where = folded(f"{person.name}\n{person.position}\n{person.unit}\n{short_unit(person.unit)}")
    return all(word in where for word in wanted)


# ---- words about one person ------------------------------------------------------------------------------------------------


def role_of(person: Participant) -> str:
    """The role in a word; "" for plain delegates."""
    if person.role in _RANK:
        return words.text(f"role.{person.role}")
    if person.co_chair and person.role == "delegate":
        return words.text("role.co_chair")
    return words.text("role.guest") if person.role == "guest" or person.guest else ""


def who(person: Participant) -> str:
    """Position and unit, as far as told."""
    if person.kind == "site":
        return short_unit(person.unit) or words.text("kind.site")
    return person.position or short_unit(person.unit)


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def named(person: Participant, me: str | None) -> str:
    return words.text("people.me", name=person.name) if person.id == me else person.name


# ---- the three lists -------------------------------------------------------------------------------------------------------


class PeopleList:
    """Keeps the last item of each person: who did not change is the very same item."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[tuple[object, ...], Item]] = {}

    def items(self, state: ClientState, looking: Looking) -> list[Item]:
        meeting = state.meeting
        if meeting is None:
            return []
        own = state.own
        leads = own is not None and is_moderator(own)
        items = [*self._lobby(state, meeting, looking, leads), *_hands(state, meeting, looking, leads), *self._room(state, meeting, looking)]
        items[0] = replace(items[0], value=replace(items[0].value, first=True))
        return items

    def _lobby(self, state: ClientState, meeting: Meeting, looking: Looking, leads: bool) -> list[Item]:
        knocking = list(meeting.knocking()) if leads else []
        if not knocking:
            return []
        shown = [p for p in knocking if found(looking.search, p)]
        will = [p for p in knocking if not p.removed_before]
        all_pending = ("admit_all", "") in state.pending
        text = words.text("people.lobby", count=_count(len(shown), len(knocking), looking))
        if len(will) == 2 and len(knocking) == 2:
            asked = all(("admit", p.id) in state.pending for p in will)
            action = Heading(text, words.text("people.admit_both"), "admit_both", asked)
        elif len(will) > 1:
            action = Heading(text, words.text("people.admit_all"), "admit_all", all_pending)
        else:
            action = Heading(text)
        return [Item("lobby", "heading", action), *(self._knocker(state, meeting, p, looking) for p in shown)]

    def _knocker(self, state: ClientState, meeting: Meeting, p: Participant, looking: Looking) -> Item:
        like = meeting.participants.get(p.looks_like or "")
        notes = [words.text("people.removed_before")] if p.removed_before else []
        if p.looks_like is not None:
            notes.append(words.text("people.looks_like", name=like.name) if like is not None else words.text("people.looks_like_one"))
        badge = words.text("people.guest") if p.guest or p.role == "guest" else role_of(p)
        kind = words.text(f"kind.{p.kind}") if p.kind != "person" else ""
        position, unit = p.position, p.unit
        known = ", ".join(part for part in (position, unit) if part)
        waits = words.text("people.waits_since", time=words.clock(p.since)) if p.since else ""
        third = _joined(badge, kind, waits)
        says = ", ".join(part for part in (p.name, known, third, *notes) if part)
        if not known:
            unit, third = _joined(badge, kind) or words.text("people.no_unit"), waits
        pending: Literal["", "admit", "deny"] = "admit" if ("admit", p.id) in state.pending or (("admit_all", "") in state.pending and not p.removed_before) else ""
        if ("deny", p.id) in state.pending:
            pending = "deny"
        key: Place = ("lobby", p.id)
        asking = looking.asking.get(key) == "deny" and not pending
        value = Knocker(p.id, p.name, position, unit, third, tuple(notes), pending, asking, says)
        return Item(key, "knocker", value)

    def _room(self, state: ClientState, meeting: Meeting, looking: Looking) -> list[Item]:
        everybody = sorted(meeting.admitted(), key=_rank)
        speaking = {id_ for id_, _ in state.speaking}
        quiet = {id_: _asked_of(name) for name, id_ in state.pending if id_ and name in _QUIETLY}
        shown = [p for p in everybody if found(looking.search, p)] if looking.search else everybody
        heading = Item("room", "heading", Heading(words.text("people.room", count=_count(len(shown), len(everybody), looking))))
        items = [heading]
        if not shown:
            items.append(Item("nobody", "note", Note(words.text("people.nobody_found", search=looking.search))))
        for p in shown:
            key: Place = ("room", p.id)
            about = (p, p.id in speaking, quiet.get(p.id, ""), state.quality.get(p.id, ""), looking.asking.get(key), p.id == state.me)
            held = self._held.get(p.id)
            if held is None or held[0] != about:
                held = self._held[p.id] = (about, Item(key, "present", _present(*about)))
            items.append(held[1])
        if len(self._held) > 2 * len(everybody) + 50:
            here = {p.id for p in everybody}
            self._held = {id_: held for id_, held in self._held.items() if id_ in here}
        return items


def _rank(person: Participant) -> int:
    """Chair, secretary, technician, co-chairs, then everybody as they came."""
    return _RANK.get(person.role, 3 if person.co_chair else 4)


def _count(shown: int, everybody: int, looking: Looking) -> str:
    return f"{shown}/{everybody}" if looking.search.strip() else str(everybody)


def _asked_of(command: str) -> str:
    return words.text(f"people.pending.{command}") if words.has(f"people.pending.{command}") else words.text("people.pending")


def _present(p: Participant, speaking: bool, pending: str, quality: str, asking: Asking | None, me: bool) -> Present:
    sources = p.sources
    heard = speaking and sources.microphone == "on"
    if pending:
        first = pending
    elif not p.connected and p.kind != "external":
        first = words.text("people.lost")
    elif heard:
        first = words.text("people.speaking")
    elif quality in ("poor", "lost"):
        first = words.text("people.weak")
    else:
        first = role_of(p)
    second = _joined(first, who(p))
    microphone: Microphone = "speaking" if heard else "on" if sources.microphone == "on" else "off"
    warning = words.text("people.looks_like_one") if p.looks_like is not None else ""
    told = [named(p, p.id if me else None), role_of(p), who(p), words.text("stage.said.mic_on" if sources.microphone == "on" else "stage.said.mic_off")]
    told.append(words.text("people.said.camera_on" if sources.camera == "on" else "stage.said.camera_off"))
    if sources.screen_share == "on":
        told.append(words.text("people.said.sharing"))
    told += [first if first != role_of(p) else "", warning]
    return Present(
        p.id, named(p, p.id if me else None), p.name, second, microphone, sources.camera == "on", sources.screen_share == "on", warning,
        not p.connected and p.kind != "external", asking, ", ".join(part for part in told if part),
    )  # fmt: skip


def _hands(state: ClientState, meeting: Meeting, looking: Looking, leads: bool) -> list[Item]:
    up = [(n, hand, p) for n, hand in enumerate(meeting.hands, 1) if (p := meeting.participants.get(hand.participant)) is not None]
    if not up:
        return []
    shown = [one for one in up if found(looking.search, one[2])] if looking.search else up
    text = words.text("people.hands", count=_count(len(shown), len(up), looking))
    if leads and len(up) > 1:
        heading = Heading(text, words.text("people.lower_all"), "lower_all", all(("lower_hand", p.id) in state.pending for _, _, p in up))
    else:
        heading = Heading(text)
    items = [Item("hands", "heading", heading)]
    for n, hand, p in shown:
        since = words.text("people.hand_since", time=words.clock(hand.raised_at))
        second = _joined(words.text("kind.site") if p.kind == "site" else who(p), since)  # a site's name says its unit
        value = HandUp(
            p.id, n, named(p, state.me), second, n == 1, p.id == state.me, leads, ("give_floor", p.id) in state.pending,
            ("lower_hand", p.id) in state.pending or (p.id == state.me and ("lower_hand", "") in state.pending),
        )  # fmt: skip
        items.append(Item(("hand", p.id), "hand", value))
    return items
