"""Which sounds a change calls for, that a group of knocks is one, and that one switch silences all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vidconf.client import changes as c
from vidconf.client.settings import Settings
from vidconf.client.sounds import AGAIN_S, Sounds, called_for
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rules import decide


def after(meeting: Meeting, *commands: tuple[str, m.Command]) -> Meeting:
    for actor, command in commands:
        decided = decide(meeting, actor, command, 1.0)
        assert isinstance(decided, tuple), decided
        for event in decided:
            meeting = apply(meeting, m.Recorded(meeting.seq + 1, 1.0, actor, event))
    return meeting


def a_meeting() -> Meeting:
    fresh = start("m", "code", "Giao ban")
    return after(fresh, ("server", m.Knock("chair", "Chủ trì", role="chair", straight_in=True)), ("server", m.Connect("chair")))


def inside(meeting: Meeting, me: str = "chair") -> ClientState:
    return ClientState(phase="meeting", me=me, meeting=meeting, control="connected", media="connected")


def knock(meeting: Meeting, name: str) -> Meeting:
    return after(meeting, ("server", m.Knock(name, f"Khách {name}", guest=True, badge=name * 20)))


def test_a_knock_is_heard_by_who_can_let_in_and_by_nobody_else() -> None:
    quiet = a_meeting()
    knocked = knock(quiet, "a")
    assert called_for(inside(quiet), inside(knocked)) == ("knock",)
    assert called_for(inside(knocked), inside(quiet)) == (), "who goes away makes no sound"
    admitted = after(knocked, ("chair", m.Admit(("a",))))
    assert called_for(inside(admitted, "a"), inside(knock(admitted, "b"), "a")) == ()


def test_who_waited_before_one_came_in_is_heard_once() -> None:
    waiting = knock(a_meeting(), "a")
    assert called_for(replace(inside(waiting), phase="joining", meeting=None), inside(waiting)) == ("knock",)


def test_loss_and_return_and_the_page_in_between() -> None:
    here, lost = inside(a_meeting()), replace(inside(a_meeting()), reconnecting=True)
    assert called_for(here, lost) == ("lost",)
    assert called_for(lost, here) == ("back",)
    assert called_for(lost, replace(here, phase="ended")) == ()
    assert called_for(replace(lost, phase="home"), replace(here, phase="home")) == ()


def test_being_asked_to_unmute_and_being_given_the_floor_call() -> None:
    meeting = after(knock(a_meeting(), "a"), ("chair", m.Admit(("a",))))
    before = inside(meeting, "a")
    assert called_for(before, replace(before, unmute_asked=True)) == ("called",)
    floor = after(meeting, ("chair", m.GiveFloor("a", 180)))
    assert called_for(before, inside(floor, "a")) == ("called",)
    assert called_for(inside(meeting), inside(floor)) == (), "not for the others"


@pytest.mark.parametrize("code", ["muted_by", "camera_stopped_by", "share_stopped_by"])
def test_what_a_moderator_did_to_me_is_heard(code: str) -> None:
    store = Store(inside(a_meeting()))
    before = store.state
    store.dispatch(c.Told("warn", code, {"name": "Chủ trì"}, 1.0))
    assert called_for(before, store.state) == ("muted",)
    seen = store.state
    store.dispatch(c.NoticeDismissed(seen.notices[-1].id))
    assert called_for(seen, store.state) == ()
    store.dispatch(c.Told("info", "copied_link", {}, 1.0))
    assert called_for(seen, store.state) == ()


class Engine:
    def __init__(self) -> None:
        self.sent: list[api.Command] = []

    def send(self, command: api.Command) -> None:
        self.sent.append(command)


def test_a_group_of_knocks_is_one_sound_and_one_switch_silences_all() -> None:
    engine, now, settings = Engine(), [100.0], Settings()
    store = Store(inside(a_meeting()))
    sounds = Sounds(store, settings, engine, clock=lambda: now[0])  # type: ignore[arg-type]
    meeting = store.state.meeting
    assert meeting is not None
    for n, name in enumerate("abcd"):
        meeting = knock(meeting, name)
        now[0] += 0.5 * n
        store.dispatch(c.Set({"meeting": meeting}))
    assert engine.sent == [api.PlaySound("knock")]
    now[0] += AGAIN_S["knock"]
    store.dispatch(c.Set({"meeting": knock(meeting, "e")}))
    assert len(engine.sent) == 2
    settings.set("sounds", False)
    store.dispatch(c.Set({"reconnecting": True}))
    assert len(engine.sent) == 2
    settings.set("sounds", True)
    store.dispatch(c.Set({"reconnecting": False}))
    assert engine.sent[2:] == [api.PlaySound("back")]
    sounds.close()
    store.dispatch(c.Set({"reconnecting": True}))
    assert len(engine.sent) == 3
