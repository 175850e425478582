"""The session's bookkeeping, fed with the server's messages: who is here, what is theirs, who speaks, who may mute whom."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.room import MAX_TRACKS
from vidconf.engine.session import Options, Session

State = models.ParticipantInfo.State
AUDIO, VIDEO = models.TrackType.AUDIO, models.TrackType.VIDEO


def track(sid: str, kind: Any = VIDEO, *, muted: bool = False, source: Any = models.TrackSource.CAMERA) -> models.TrackInfo:
    return models.TrackInfo(sid=sid, type=kind, muted=muted, source=source)


def person(sid: str, identity: str, *tracks: models.TrackInfo, state: Any = State.ACTIVE, version: int = 1) -> models.ParticipantInfo:
    return models.ParticipantInfo(sid=sid, identity=identity, tracks=tracks, state=state, version=version)


class Told:
    """A session without a connection, and what it says."""

    def __init__(self) -> None:
        self.events: list[api.EngineEvent] = []
        self.session = Session(self.events.append, Options(speaker="none"))
        self.session.room.identity, self.session.room.own_sid = "me", "PA_me"

    def update(self, *people: models.ParticipantInfo) -> list[api.EngineEvent]:
        self.events.clear()
        self.session.on_message(rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=people)))
        return list(self.events)


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    made = Told()
    yield made
    await made.session.close()


async def test_tracks_come_mute_and_go(told: Told) -> None:
    assert told.update(person("PA_1", "ann", track("TR_V"))) == [api.TrackAdded("TR_V", "ann", "camera", "video", False)]
    assert told.update(person("PA_1", "ann", track("TR_V", muted=True), version=2)) == [api.TrackMuted("TR_V", True)]
    assert told.update(person("PA_1", "ann", track("TR_V", muted=False), version=1)) == [], "an older word than the last"
    microphone = track("TR_A", AUDIO, source=models.TrackSource.MICROPHONE)
    assert told.update(person("PA_1", "ann", microphone, version=3)) == [
        api.TrackAdded("TR_A", "ann", "microphone", "audio", False), api.TrackRemoved("TR_V"),
    ]
    assert told.update(person("PA_1", "ann", state=State.DISCONNECTED, version=4)) == [api.TrackRemoved("TR_A")]


async def test_pictures_that_our_line_does_not_carry_are_told_of(told: Told) -> None:
    told.update(person("PA_1", "ann", track("TR_V")))

    def says(state: Any, sid: str = "TR_V") -> list[api.EngineEvent]:
        told.events.clear()
        info = rtc.StreamStateInfo(participant_sid="PA_1", track_sid=sid, state=state)
        told.session.on_message(rtc.SignalResponse(stream_state_update=rtc.StreamStateUpdate(stream_states=[info])))
        return list(told.events)

    assert says(rtc.StreamState.PAUSED) == [api.TrackHeldBack("TR_V", True)]
    assert says(rtc.StreamState.PAUSED) == []
    assert says(rtc.StreamState.PAUSED, "TR_none") == []
    assert says(rtc.StreamState.ACTIVE) == [api.TrackHeldBack("TR_V", False)]


async def test_oneself_is_nobody_else(told: Told) -> None:
    assert told.update(person("PA_me", "me", track("TR_1")), person("PA_old", "me", track("TR_2"))) == []


async def test_an_old_selfs_farewell_does_not_touch_the_new(told: Told) -> None:
    told.update(person("PA_1", "ann", track("TR_1")))
    assert told.update(person("PA_2", "ann", track("TR_2"))) == [
        api.TrackAdded("TR_2", "ann", "camera", "video", False), api.TrackRemoved("TR_1"),
    ]
    assert told.update(person("PA_1", "ann", state=State.DISCONNECTED, version=9)) == []
    assert [s.sid for s in told.session.subscriptions()] == ["TR_2"]


async def test_a_rejoin_keeps_what_is_still_there(told: Told) -> None:
    told.update(person("PA_1", "ann", track("TR_1")), person("PA_2", "bob", track("TR_2")))
    kept = told.session.subscription("TR_1", "video")
    told.events.clear()
    told.session.room.joined(rtc.JoinResponse(other_participants=[person("PA_1", "ann", track("TR_1", muted=True)), person("PA_3", "eve", track("TR_3"))]))
    assert told.events == [api.TrackRemoved("TR_2"), api.TrackMuted("TR_1", True), api.TrackAdded("TR_3", "eve", "camera", "video", False)]
    assert told.session.subscription("TR_1", "video") is kept


async def test_speakers_are_deltas(told: Told) -> None:
    told.update(person("PA_1", "ann"), person("PA_2", "bob"))

    def say(*speakers: tuple[str, float, bool]) -> list[api.EngineEvent]:
        told.events.clear()
        infos = [models.SpeakerInfo(sid=s, level=level, active=active) for s, level, active in speakers]
        told.session.on_message(rtc.SignalResponse(speakers_changed=rtc.SpeakersChanged(speakers=infos)))
        return list(told.events)

    assert say(("PA_1", 0.5, True)) == [api.Speakers((("ann", 0.5),))]
    assert say(("PA_2", 0.75, True)) == [api.Speakers((("bob", 0.75), ("ann", 0.5)))]
    assert say(("PA_2", 0.75, True), ("PA_nobody", 1.0, True)) == []
    assert say(("PA_me", 7.0, True)) == [api.Speakers((("me", 1.0), ("bob", 0.75), ("ann", 0.5)))]
    assert say(("PA_1", 0.0, False), ("PA_2", 0.0, True), ("PA_me", 0, False)) == [api.Speakers(())]


async def test_who_goes_while_speaking_is_silent(told: Told) -> None:
    def speak(sid: str) -> None:
        told.session.on_message(rtc.SignalResponse(speakers_changed=rtc.SpeakersChanged(speakers=[models.SpeakerInfo(sid=sid, level=0.5, active=True)])))

    told.update(person("PA_1", "ann"), person("PA_2", "bob"))
    speak("PA_1")
    speak("PA_2")
    assert told.update(person("PA_1", "ann", state=State.DISCONNECTED, version=2)) == [api.Speakers((("bob", 0.5),))]
    told.events.clear()
    told.session.room.joined(rtc.JoinResponse(other_participants=[person("PA_3", "eve")]))
    assert told.events == [api.Speakers(())]


async def test_connection_quality(told: Told) -> None:
    told.update(person("PA_1", "ann"))
    told.events.clear()
    updates = [rtc.ConnectionQualityInfo(participant_sid=s, quality=q) for s, q in (("PA_1", 0), ("PA_me", 2), ("PA_x", 1))]
    told.session.on_message(rtc.SignalResponse(connection_quality=rtc.ConnectionQualityUpdate(updates=updates)))
    assert told.events == [api.Quality("ann", "poor"), api.Quality("me", "excellent")]


@pytest.mark.parametrize(
    ("reason", "action", "code"),
    [
        ("DUPLICATE_IDENTITY", "DISCONNECT", "duplicate"), ("PARTICIPANT_REMOVED", "DISCONNECT", "removed"), ("ROOM_DELETED", "DISCONNECT", "room_ended"),
        ("ROOM_CLOSED", "DISCONNECT", "room_ended"), ("SERVER_SHUTDOWN", "DISCONNECT", ""), ("STATE_MISMATCH", "RECONNECT", ""),
        ("PARTICIPANT_REMOVED", "RESUME", ""),
    ],
)
async def test_which_farewell_is_for_good(told: Told, reason: str, action: str, code: str) -> None:
    number = models.DisconnectReason.Value(reason)
    assert told.session.stay._final(f"leave:{number}:{rtc.LeaveRequest.Action.Value(action)}") == code
    assert told.session.stay._final("leave:999:0") == ""
    assert told.session.stay._final("signal_lost") == ""


async def test_a_server_that_tells_of_too_much_is_bounded(told: Told) -> None:
    for k in range(MAX_TRACKS + 50):
        try:
            told.session.on_message(rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=[person(f"PA_{k}", f"p{k}", track(f"TR_{k}"))])))
        except ValueError:
            break
    assert len(told.session.subscriptions()) <= MAX_TRACKS


async def test_a_track_whose_removal_came_before_its_offer_does_not_stay(told: Told) -> None:
    told.update(person("PA_1", "ann", track("TR_1"), track("TR_2")))
    told.update(person("PA_1", "ann", track("TR_2"), version=2))
    told.session.subscription("TR_1", "video")      # as by the offer that was waiting
    told.session.subscription("TR_3", "video")      # and by the one that is ahead of its announcement
    told.session.drop_unnamed({"TR_1", "TR_3"})
    assert [s.sid for s in told.session.subscriptions()] == ["TR_2", "TR_1", "TR_3"]
    told.session.drop_unnamed({"TR_3"})
    assert [s.sid for s in told.session.subscriptions()] == ["TR_2", "TR_3"], "announced, or named"
    assert told.update(person("PA_1", "ann", track("TR_2"), track("TR_3"), version=3)) == [api.TrackAdded("TR_3", "ann", "camera", "video", False)]


async def test_a_life_of_random_updates_stays_consistent(told: Told) -> None:
    """The tracks that the events tell of are the tracks that the last words of the server hold."""
    chance = random.Random(3)
    known: dict[str, str] = {}
    for version in range(1, 400):
        who = chance.randrange(4)
        tracks = [track(f"TR_{who}_{k}", muted=chance.random() < 0.3) for k in range(3) if chance.random() < 0.6]
        gone = chance.random() < 0.15
        for event in told.update(person(f"PA_{who}_{version // 100}", f"p{who}", *tracks, state=State.DISCONNECTED if gone else State.ACTIVE, version=version)):
            match event:
                case api.TrackAdded(sid, identity):
                    assert sid not in known
                    known[sid] = identity
                case api.TrackRemoved(sid):
                    del known[sid]
        assert set(known) == {s.sid for s in told.session.subscriptions()}


async def test_sources_open_mute_switch_and_close_without_a_server() -> None:
    engine = LocalEngine(Options(speaker="none"))
    await engine.start()
    sine = "lavfi:sine=frequency=300"
    engine.send(api.OpenSource("microphone", sine))
    engine.send(api.MuteSource("microphone", True))
    engine.send(api.OpenSource("microphone", "lavfi:sine=frequency=500", muted=True))
    engine.send(api.MuteSource("camera", True))
    engine.send(api.CloseSource("camera"))
    engine.send(api.Leave())
    engine.send(api.OpenSource("microphone", sine, muted=True))
    engine.send(api.CloseSource("microphone"))
    engine.send(api.WatchTrack("TR_nobody", 1, 1))
    engine.send(api.SetVolume("nobody", 5))
    engine.send(api.Record("/no/such/folder/x.wav"))
    engine.send(api.ListDevices())
    told: list[api.EngineEvent] = []

    async def collect() -> None:
        async for event in engine.events():
            told.append(event)

    task = asyncio.create_task(collect())
    for _ in range(500):
        if any(isinstance(e, api.Devices) for e in told):
            break
        await asyncio.sleep(0.01)
    await engine.close()
    await task
    states = [(e.state, e.device) for e in told if isinstance(e, api.SourceChanged)]
    assert [s for s, _ in states] == ["on", "muted", "muted", "off", "muted", "off"]
    assert any(isinstance(e, api.Devices) for e in told)
    assert any(isinstance(e, api.Failed) and e.code == "recording_failed" for e in told)


async def test_leaving_while_joining() -> None:
    engine = LocalEngine(Options(speaker="none"))
    await engine.start()
    for _ in range(5):
        engine.send(api.Join("ws://127.0.0.1:9", "a.b.c"))
        await asyncio.sleep(0.01)
        engine.send(api.Leave())
        await asyncio.sleep(0.02)
    await engine.close()
    states = [e.state async for e in engine.events() if isinstance(e, api.StateChanged)]
    assert states[-1] == "closed"
    assert states.count("connecting") == states.count("closed")


async def test_a_join_right_after_a_leave_is_not_lost() -> None:
    engine, states = LocalEngine(Options(speaker="none")), []
    await engine.start()

    async def collect() -> None:
        async for event in engine.events():
            if isinstance(event, api.StateChanged):
                states.append((event.state, event.reason))

    task = asyncio.create_task(collect())
    engine.send(api.Join("ws://127.0.0.1:9", "a.b.c"))
    await asyncio.sleep(0.01)
    engine.send(api.Leave())
    engine.send(api.Join("nowhere", "a.b.c"))
    for _ in range(1500):
        if ("closed", "bad_url") in states:
            break
        await asyncio.sleep(0.01)
    await engine.close()
    await task
    assert states == [("connecting", ""), ("closed", "left"), ("connecting", ""), ("closed", "bad_url")]


async def test_a_server_that_asks_for_a_pause_gets_it() -> None:
    asked: list[float] = []

    async def busy(request: web.Request) -> web.Response:
        asked.append(time.monotonic())
        return web.Response(status=429, headers={"Retry-After": "1"})

    app = web.Application()
    app.router.add_get("/rtc", busy)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    engine = LocalEngine(Options(speaker="none"))
    await engine.start()
    engine.send(api.Join(f"ws://127.0.0.1:{runner.addresses[0][1]}", "a.b.c"))
    for _ in range(1000):
        if len(asked) >= 3:
            break
        await asyncio.sleep(0.01)
    await engine.close()
    await runner.cleanup()
    assert len(asked) >= 3
    assert all(later - earlier >= 0.99 for earlier, later in itertools.pairwise(asked)), "the first three tries would take 0, 0.3 and 0.7 s"
