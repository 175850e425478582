"""The client's state under any sequence of changes: nothing raises, what belongs together stays together, and nothing but the
user's choice ever wants a microphone on."""

from __future__ import annotations

import dataclasses
from dataclasses import fields, replace
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client import changes as c
from vidconf.client import phases
from vidconf.client.reduction import _CHANGES, LEVEL_STEPS, NOTICES, REACTION_S, REACTIONS, participant_of, reduce
from vidconf.client.state import LOCAL_SOURCES, ClientState, JoinLink, LocalSource, PendingChat, Phase
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting, Participant
from vidconf.meeting.visibility import view
from vidconf.protocol.control import EVENTS

ME, PEOPLE = "p1", ("p1", "p2", "p3", "px")
LINK = JoinLink("https://hop.example.vn", "abcd-efgh")

_BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "participant": st.sampled_from(PEOPLE), "sender": st.sampled_from(PEOPLE), "identity": st.sampled_from(["p1.1", "p2.1", "p2.2", "p3", "", "gateway.x"]),
    "track": st.sampled_from(["T1", "T2", "local:camera", "local:microphone", "local:screen_share"]), "link": st.just(LINK), "ring": st.sampled_from(["r1", "r2"]),
    "key": st.sampled_from(["k1", "k2", ""]), "code": st.sampled_from(["timeout", "full", ""]), "at": st.floats(0, 1e9), "active": st.just((("p2.1", 0.5),)),
    "level": st.one_of(st.floats(0, 1), st.floats(-5, 5)), "seq": st.integers(0, 60), "id": st.integers(0, 30), "devices": st.just(()), "reason": st.sampled_from(
        ["", "left", "lost", "ended", "engine_crashed", "unreachable", "removed", "banned"]),
}  # fmt: skip


def made(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Any value of a dataclass, with ids that meet each other."""
    hints = get_type_hints(cls)
    given_ = {}
    for one in fields(cls):
        hint = hints[one.name]
        by_name = _BY_FIELD.get(one.name)
        if by_name is not None and not (one.name in ("reason", "level", "code") and hint not in (str, float)):
            given_[one.name] = by_name
        elif hint is dict or "dict[str" in str(hint):
            given_[one.name] = st.just({})
        elif "Device" in str(hint):
            given_[one.name] = st.sampled_from([(), (api.Device("d1", "Micrô"),)])
        else:
            given_[one.name] = st.from_type(hint)
    return st.builds(cls, **given_)


_EVENTS = st.one_of([made(cls) for cls in EVENTS.values()])
_RECORDED = st.builds(m.Recorded, st.integers(0, 60), st.floats(0, 1e9), st.sampled_from([*PEOPLE, "server", "account:x"]), _EVENTS)
_MEETINGS = st.builds(
    lambda people, state, seq: view(Meeting("M1", "c", "T", state=state, participants={p.id: p for p in people}, seq=seq), ME),
    st.lists(st.builds(lambda id_, place, role: Participant(id_, f"Tên {id_}", place=place, role=role), st.sampled_from(PEOPLE), st.sampled_from(
        ["lobby", "admitted", "denied", "left", "removed"]), st.sampled_from(["chair", "delegate", "guest"])), max_size=4),
    st.sampled_from(["scheduled", "live", "ended"]), st.integers(0, 60),
)  # fmt: skip
_ENGINE = st.one_of([made(cls) for cls in get_args(api.EngineEvent)])
_CHANGES_MADE = st.one_of(
    st.builds(c.Navigate, st.one_of([made(cls) for cls in get_args(phases.Happening)])), st.builds(c.EngineSaid, _ENGINE), st.builds(c.EngineSaid, _ENGINE),
    st.builds(c.SnapshotTaken, _MEETINGS, st.sampled_from([ME, "p2"]), st.floats(0, 1e9)), st.builds(c.EventsCame, st.lists(_RECORDED, max_size=3).map(tuple)),
    st.builds(c.Asked, st.sampled_from(["mute", "admit"]), st.just(("p2",))), st.builds(c.Answered, st.sampled_from(["mute", "admit"]), st.just(("p2",))),
    st.builds(c.Busy, st.sampled_from(["join", "preview"]), st.booleans()), st.builds(c.ChatTyped, made(PendingChat)), made(c.ChatRefused), made(c.ChatSettled),
    st.builds(c.SourceWanted, st.sampled_from(LOCAL_SOURCES), st.sampled_from(["on", "muted", "off"]), st.sampled_from([None, "", "d1"])), made(c.Told),
    made(c.NoticeDismissed), made(c.Reacted), made(c.TimePassed), made(c.VolumeSet), st.just(c.MeetingForgotten()), st.just(c.Set({"talk_held": True})),
)  # fmt: skip


_JOINING = ClientState(phase="joining", link=LINK)
_INSIDE = Meeting("M1", "c", "T", state="live", participants={id_: Participant(id_, id_, place="admitted") for id_ in PEOPLE[:3]}, seq=5)
_BEGINNINGS = st.sampled_from([
    ClientState(), ClientState(phase="prejoin", link=LINK), _JOINING,
    reduce(_JOINING, c.SnapshotTaken(view(replace(_INSIDE, participants={ME: Participant(ME, ME)}), ME), ME, 7.0)),
    reduce(_JOINING, c.SnapshotTaken(_INSIDE, ME)),
])  # fmt: skip


def sane(state: ClientState) -> None:
    """What always belongs together."""
    assert state.phase in get_args(Phase)
    assert not state.reconnecting or state.phase in phases.IN
    assert (state.lobby_since is not None) == (state.phase == "lobby")
    assert set(state.sources) == set(LOCAL_SOURCES)
    for source in state.sources.values():
        assert source.pending == (source.state != source.wanted)
        assert 0.0 <= source.level <= 1.0
    assert all(id_ == track.track for id_, track in state.tracks.items())
    assert len(state.notices) <= NOTICES
    assert len({notice.id for notice in state.notices}) == len(state.notices)
    assert all(notice.id <= state.noticed for notice in state.notices)
    assert len(state.reactions) <= REACTIONS
    assert state.unread_chat >= 0
    if state.phase == "ended":
        assert state.control == "idle" or state.end_reason
    assert state.phase != "prejoin" or state.link is not None


def test_every_change_is_known() -> None:
    assert set(_CHANGES) == set(get_args(c.Change))


@given(_BEGINNINGS, st.lists(_CHANGES_MADE, max_size=25))
def test_nothing_raises_and_what_belongs_together_stays_so(state: ClientState, changes: list[c.Change]) -> None:
    for change in changes:
        wanted = {name: source.wanted for name, source in state.sources.items()}
        after = reduce(state, change)
        sane(after)
        for name, source in after.sources.items():
            if source.wanted == "on" and wanted[name] != "on":
                assert isinstance(change, c.SourceWanted), "only what the user chose is wanted on"
        state = after


@given(_BEGINNINGS, st.lists(_CHANGES_MADE, max_size=15))
def test_a_change_said_twice_changes_nothing_more(state: ClientState, changes: list[c.Change]) -> None:
    """Snapshots and events come again after a loss."""
    for change in changes:
        state = reduce(state, change)
        if isinstance(change, c.SnapshotTaken | c.EventsCame):
            again = reduce(state, change)
            assert again.meeting == state.meeting
            assert again.unread_chat == state.unread_chat
            assert again.phase == state.phase


@given(st.lists(st.builds(c.EngineSaid, _ENGINE), max_size=20))
def test_a_muted_microphone_is_not_wanted_on_whatever_the_engine_says(said: list[c.EngineSaid]) -> None:
    state = reduce(ClientState(phase="prejoin", link=LINK), c.SourceWanted("microphone", "muted", "d1"))
    for change in said:
        state = reduce(state, change)
        assert state.sources["microphone"].wanted in ("muted", "off")


# ---- single changes ----


def test_an_identity_names_its_participant() -> None:
    assert participant_of("p1.2") == "p1"
    assert participant_of("phòng.1.14") == "phòng.1"
    assert participant_of("gateway") == "gateway"
    assert participant_of("gateway.x") == "gateway.x"
    assert participant_of("") == ""


def test_a_still_room_changes_nothing() -> None:
    state = reduce(ClientState(), c.EngineSaid(api.LocalLevel(0.5)))
    assert reduce(state, c.EngineSaid(api.LocalLevel(0.5 + 0.4 / LEVEL_STEPS))) is state
    assert reduce(state, c.EngineSaid(api.Devices())).devices is not None
    once = reduce(state, c.EngineSaid(api.Devices()))
    assert reduce(once, c.EngineSaid(api.Devices())) is once


def test_a_source_that_cannot_open_is_given_up_and_says_why() -> None:
    state = reduce(ClientState(), c.SourceWanted("camera", "on", "d1"))
    assert state.sources["camera"].pending
    state = reduce(state, c.EngineSaid(api.SourceChanged("camera", "off", "d1", "device_in_use", "busy")))
    assert state.sources["camera"] == LocalSource("off", device="d1", error="device_in_use", detail="busy")
    state = reduce(state, c.SourceWanted("camera", "on"))
    assert (state.sources["camera"].error, state.sources["camera"].pending) == ("", True)


def test_the_same_notice_takes_the_place_of_the_older() -> None:
    state = reduce(ClientState(), c.Told("warn", "muted_by", {"name": "A"}))
    state = reduce(state, c.Told("warn", "muted_by", {"name": "B"}))
    state = reduce(state, c.Told("warn", "muted_by", {"name": "A"}))
    assert [(n.detail["name"], n.id) for n in state.notices] == [("B", 2), ("A", 3)]
    assert [n.id for n in reduce(state, c.NoticeDismissed(2)).notices] == [3]
    assert reduce(state, c.NoticeDismissed(99)) is state


def test_reactions_pass() -> None:
    state = reduce(ClientState(), c.Reacted("p2", "👏", 100.0))
    assert reduce(state, c.TimePassed(100.0 + REACTION_S / 2)) is state
    assert reduce(state, c.TimePassed(100.0 + REACTION_S)).reactions == ()


def test_the_speakers_volume_outlives_the_meeting() -> None:
    state = reduce(reduce(ClientState(), c.VolumeSet(None, 0.5)), c.VolumeSet("p2", 2.0))
    assert reduce(state, c.MeetingForgotten()).volumes == {"": 0.5}


def test_ones_own_picture_before_the_meeting_is_there_in_it() -> None:
    """The engine goes on writing into the same ring, and says nothing of it again."""
    state = replace(ClientState(phase="meeting", me="p7"), sources={**ClientState().sources, "camera": LocalSource("on", wanted="on")})
    for event in (api.TrackAdded("T1", "p2.1", "camera", "video"), api.RingOpened("local:camera", "r2")):
        state = reduce(state, c.EngineSaid(event))
    state = reduce(state, c.MeetingForgotten())
    assert {id_: (track.ring, track.participant) for id_, track in state.tracks.items()} == {"local:camera": ("r2", "")}
    state = reduce(state, c.SnapshotTaken(Meeting("m", "c", "t", participants={ME: Participant(ME, "Lê Thu Hà", place="admitted")}), ME))
    assert state.tracks["local:camera"].participant == ME
    assert reduce(state, c.EngineSaid(api.RingClosed("local:camera"))).tracks == {}


def test_a_crash_of_the_engine_takes_the_pictures_a_rejoin_does_not() -> None:
    state = replace(ClientState(phase="meeting", me=ME), sources={**ClientState().sources, "camera": LocalSource("on", wanted="on")})
    for event in (
        api.TrackAdded("T1", "p2.1", "camera", "video"),
        api.RingOpened("T1", "r1"),
        api.FirstFrame("T1"),
        api.RingOpened("local:camera", "r2"),
    ):
        state = reduce(state, c.EngineSaid(event))
    again = reduce(state, c.EngineSaid(api.TrackAdded("T1", "p2.2", "camera", "video")))
    assert (again.tracks["T1"].ring, again.tracks["T1"].identity) == ("r1", "p2.2")
    closed = reduce(state, c.EngineSaid(api.StateChanged("closed", "ice_lost")))
    assert set(closed.tracks) == {"local:camera"}
    crashed = reduce(state, c.EngineSaid(api.StateChanged("closed", "engine_crashed")))
    assert crashed.tracks == {}
    assert (crashed.sources["camera"].state, crashed.sources["camera"].wanted) == ("off", "on")
    assert crashed.reconnecting


# ---- phases ----


@given(st.lists(st.one_of([made(cls) for cls in get_args(phases.Happening)]), max_size=25))
def test_navigation_is_total(happenings: list[phases.Happening]) -> None:
    where = phases.Where()
    for happening in happenings:
        after = phases.step(where, happening)
        assert after.phase in get_args(Phase)
        assert not after.reconnecting or after.phase in phases.IN
        if where.phase in phases.IN and after.phase not in phases.IN:
            assert isinstance(happening, phases.Over | phases.Placed), "a meeting is left by its end, never by a link or an error"
        if after.phase == "meeting" and where.phase != "meeting":
            assert isinstance(happening, phases.Placed), "only the server lets in"
            assert where.phase in ("joining", "lobby")
        where = after


@pytest.mark.parametrize("phase", get_args(Phase))
def test_what_makes_no_sense_changes_nothing(phase: Phase) -> None:
    where = phases.Where(phase=phase, link=LINK if phase != "home" else None)
    if phase not in (*phases.IN, "joining"):
        assert phases.step(where, phases.Placed("admitted")) is where, "a late answer"
        assert phases.step(where, phases.Over("removed")) is where
    if phase in phases.IN:
        assert phases.step(where, phases.LinkOpened(LINK)) is where
        assert phases.step(where, phases.WentHome()) is where
        assert phases.step(where, phases.Failed("timeout")) is where


def test_waiting_counts_from_the_first_knock() -> None:
    where = phases.step(phases.Where(phase="joining", link=LINK), phases.Placed("lobby", 100.0))
    assert (where.phase, where.lobby_since) == ("lobby", 100.0)
    assert phases.step(where, phases.Placed("lobby", 200.0)).lobby_since == 100.0
    inside = phases.step(where, phases.Placed("admitted", 300.0))
    assert (inside.phase, inside.lobby_since) == ("meeting", None)
    assert phases.step(inside, phases.Placed("lobby", 400.0)).lobby_since == 400.0


def test_reconnecting_is_either_wire() -> None:
    inside = phases.Where(phase="meeting", control="connected", media="connected", link=LINK)
    assert phases.step(inside, phases.ControlChanged("reconnecting")).reconnecting
    for media in ("reconnecting", "closed"):
        assert phases.step(inside, phases.MediaChanged(media)).reconnecting  # type: ignore[arg-type]
    waiting = replace(inside, phase="lobby", media="closed")
    assert not phases.step(waiting, phases.ControlChanged("connected")).reconnecting, "no media in the lobby"
    both = phases.step(phases.step(inside, phases.MediaChanged("closed")), phases.ControlChanged("reconnecting"))
    half = phases.step(both, phases.ControlChanged("connected"))
    assert half.reconnecting
    assert not phases.step(half, phases.MediaChanged("connected")).reconnecting


# ---- the store ----


def test_listeners_see_states_in_order_even_when_one_dispatches() -> None:
    store, seen = Store(), []

    def answers(old: ClientState, new: ClientState) -> None:
        if new.name == "một":
            store.dispatch(c.Set({"name": "hai"}))
            assert store.state.name == "một", "after the change at hand"

    store.subscribe(answers)
    store.subscribe(lambda old, new: seen.append((old.name, new.name)))
    store.dispatch(c.Set({"name": "một"}))
    assert seen == [("", "một"), ("một", "hai")]
    store.dispatch(c.Set({"name": "hai"}))
    assert len(seen) == 2, "a change that changes nothing tells nobody"


def test_a_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    store, seen = Store(), []

    def broken(old: ClientState, new: ClientState) -> None:
        raise RuntimeError("no")

    stop = store.subscribe(broken)
    store.subscribe(lambda old, new: seen.append(new.name))
    store.dispatch(c.Set({"name": "một"}))
    stop()
    stop()
    store.dispatch(c.Set({"name": "hai"}))
    assert seen == ["một", "hai"]
    assert store.counts == {"listener_failed": 1}
    assert "listener" in caplog.text


def test_a_state_is_never_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ClientState().name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        ClientState().tracks["T"] = None  # type: ignore[index]
