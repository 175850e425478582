"""A whole session against an SFU that means harm, or does not know what it does: nothing crashes, nothing grows, leaving works."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from livekit.protocol import models, rtc

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.room import MAX_TRACKS
from vidconf.engine.session import Options

OFFER = (Path(__file__).parents[2] / "data" / "livekit-offer.sdp").read_bytes().decode()
JOIN = rtc.JoinResponse(
    participant=models.ParticipantInfo(sid="PA_me", identity="me"), subscriber_primary=False, ping_interval=5, ping_timeout=15,
)


class Sfu:
    """Accepts everybody, answers AddTrack and our offers as told, and says what it is made to say."""

    def __init__(self) -> None:
        self.url = ""
        self.socket: web.WebSocketResponse | None = None
        self.asked: list[rtc.SignalRequest] = []
        self.joins = 0
        self.refuse = False
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/rtc", self._talk)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"ws://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def say(self, **message: Any) -> None:
        assert self.socket is not None
        await self.socket.send_bytes(rtc.SignalResponse(**message).SerializeToString())

    async def _talk(self, request: web.Request) -> web.StreamResponse:
        self.joins += 1
        socket = self.socket = web.WebSocketResponse()
        await socket.prepare(request)
        await self.say(join=JOIN)
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                continue
            asked = rtc.SignalRequest.FromString(message.data)
            self.asked = [*self.asked[-500:], asked]
            if asked.HasField("add_track"):
                await self._on_add_track(asked.add_track)
        return socket

    async def _on_add_track(self, request: rtc.AddTrackRequest) -> None:
        if self.refuse:
            reason = rtc.RequestResponse.Reason.NOT_ALLOWED
            await self.say(request_response=rtc.RequestResponse(reason=reason, add_track=request))
        else:
            track = models.TrackInfo(sid=f"TR_{request.cid}", muted=request.muted)
            await self.say(track_published=rtc.TrackPublishedResponse(cid=request.cid, track=track))


@pytest.fixture
async def sfu() -> AsyncIterator[Sfu]:
    made = Sfu()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    made = LocalEngine(Options(decode_unwatched=True, speaker="none"))
    await made.start()
    yield made
    await made.close()


async def settled(condition: Any, timeout_s: float = 15) -> bool:
    ends = asyncio.get_running_loop().time() + timeout_s
    while asyncio.get_running_loop().time() < ends:
        if condition():
            return True
        await asyncio.sleep(0.01)
    return bool(condition())


def random_message(chance: random.Random) -> dict[str, Any]:
    sid = chance.choice(("PA_me", "PA_1", "", "TR_1", "\0", "x" * 5000))
    sdp = chance.choice(("", "v=0", OFFER, OFFER[: chance.randrange(len(OFFER))], "m=" * 1000, OFFER.replace("a=mid", "a=dim")))
    lines = [chance.choice(("", "x", "candidate:1 1 udp 1 127.0.0.1 9 typ host", "candidate:" + "9 " * 50, "candidate:1 1 udp 1 :: 0 typ host"))]
    tracks = [models.TrackInfo(sid=f"TR_{chance.randrange(5000)}", type=chance.randrange(3), source=chance.randrange(5)) for _ in range(3)]
    return chance.choice([
        {"offer": rtc.SessionDescription(type="offer", sdp=sdp, id=chance.randrange(1 << 20), mid_to_track_id={"1": sid, "2": "TR_1"})},
        {"answer": rtc.SessionDescription(type="answer", sdp=sdp, id=chance.randrange(5))},
        {"trickle": rtc.TrickleRequest(candidateInit=chance.choice(("", "{}", "[]", '{"candidate": 5}', json.dumps({"candidate": lines[0]}))), target=chance.randrange(2))},
        {"update": rtc.ParticipantUpdate(participants=[models.ParticipantInfo(sid=sid, identity=sid, tracks=tracks, state=chance.randrange(4))])},
        {"track_published": rtc.TrackPublishedResponse(cid=sid)},
        {"track_unpublished": rtc.TrackUnpublishedResponse(track_sid=sid)},
        {"mute": rtc.MuteTrackRequest(sid=sid, muted=chance.random() < 0.5)},
        {"speakers_changed": rtc.SpeakersChanged(speakers=[models.SpeakerInfo(sid=sid, level=chance.uniform(-9, 9), active=True)])},
        {"connection_quality": rtc.ConnectionQualityUpdate(updates=[rtc.ConnectionQualityInfo(participant_sid=sid)])},
        {"subscribed_quality_update": rtc.SubscribedQualityUpdate(track_sid=sid)},
        {"request_response": rtc.RequestResponse(reason=3)},
        {"refresh_token": sid},
        {"room_update": rtc.RoomUpdate()},
        {"reconnect": rtc.ReconnectResponse()},
    ])


@pytest.mark.timeout(60)
async def test_nonsense_by_the_hundred(sfu: Sfu, engine: LocalEngine) -> None:
    chance = random.Random(11)
    engine.send(api.OpenSource("microphone", "lavfi:sine=frequency=300", muted=True))
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: engine.session.state == "connected")
    for turn in range(600):
        if sfu.socket is None or sfu.socket.closed:
            assert await settled(lambda: sfu.socket is not None and not sfu.socket.closed, 15)
        try:
            await sfu.say(**random_message(chance))
        except (ConnectionError, RuntimeError):
            continue        # it rejoins meanwhile
        if turn % 20 == 0:
            await asyncio.sleep(0.01)
    assert len(engine.session.subscriptions()) <= MAX_TRACKS
    assert len(asyncio.all_tasks()) < 120
    assert engine.session.publications["microphone"].muted, "whatever a server says, nobody is opened"
    engine.send(api.Leave())
    assert await settled(lambda: engine.session.state == "closed")


async def test_the_mute_goes_with_the_request(sfu: Sfu, engine: LocalEngine) -> None:
    engine.send(api.OpenSource("microphone", "lavfi:sine=frequency=300", muted=True))
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: any(a.HasField("add_track") for a in sfu.asked))
    assert next(a.add_track for a in sfu.asked if a.HasField("add_track")).muted


async def test_a_source_the_server_does_not_want(sfu: Sfu, engine: LocalEngine) -> None:
    heard: list[api.EngineEvent] = []

    async def collect() -> None:
        async for event in engine.events():
            heard.append(event)

    task = asyncio.create_task(collect())
    sfu.refuse = True
    engine.send(api.OpenSource("microphone", "lavfi:sine=frequency=300"))
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: any(isinstance(e, api.SourceChanged) and e.error == "not_allowed" for e in heard))
    sfu.refuse = False
    for sources in ((1,), (2,)):
        permission = models.ParticipantPermission(can_publish=True, can_publish_sources=sources)
        me = models.ParticipantInfo(sid="PA_me", identity="me", permission=permission)
        await sfu.say(update=rtc.ParticipantUpdate(participants=[me]))
    assert await settled(lambda: len([a for a in sfu.asked if a.HasField("add_track")]) == 2), "a new right is tried at once"
    await engine.close()
    await task


async def test_a_server_that_never_answers_our_offer_is_left(sfu: Sfu, engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vidconf.webrtc.peer.ANSWER_TIMEOUT_S", 0.5)
    engine.send(api.OpenSource("microphone", "lavfi:sine=frequency=300"))
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: sfu.joins >= 2), "it joins again"


async def test_a_server_without_an_end_of_rejoins(sfu: Sfu, engine: LocalEngine) -> None:
    """It lets us in and throws us out at once, for ever: we do not hammer it."""
    engine.send(api.Join(sfu.url, "t"))
    for turn in range(300):
        await asyncio.sleep(0.05)
        if sfu.socket is not None and not sfu.socket.closed:
            await sfu.socket.close()
        if turn > 40 and sfu.joins >= 3:
            break
    assert 3 <= sfu.joins <= 8


async def test_media_that_ends_a_moment_before_the_farewell_does_not_bring_us_back(sfu: Sfu, engine: LocalEngine) -> None:
    """A server that sends us away closes media too; whoever came back would be thrown out again, or throw out their twin."""
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: engine.session.state == "connected")
    engine.session._connection._subscriber.failed.set()
    await asyncio.sleep(0.05)
    leave = rtc.LeaveRequest(reason=models.DisconnectReason.DUPLICATE_IDENTITY, action=rtc.LeaveRequest.Action.DISCONNECT)
    await sfu.say(leave=leave)
    assert await settled(lambda: engine.session.state == "closed")
    assert sfu.joins == 1


async def test_media_that_ends_without_a_farewell_is_come_back_to(sfu: Sfu, engine: LocalEngine) -> None:
    engine.send(api.Join(sfu.url, "t"))
    assert await settled(lambda: engine.session.state == "connected")
    engine.session._connection._publisher.failed.set()
    assert await settled(lambda: sfu.joins == 2 and engine.session.state == "connected")
