"""Our engine at a real SFU, with the official SDK as the other participant: livekit-server and our relay alike."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import psutil
import pytest
from e2e.livekitproc import KEY, SECRET, SdkPeer, token, until
from livekit import api as lkapi

from vidconf.engine import api
from vidconf.engine.local import LocalEngine
from vidconf.engine.session import Options

SINE = "lavfi:sine=frequency=440:sample_rate=48000"
PICTURE = "lavfi:testsrc2=size=320x180:rate=25"


class Ours:
    """An engine and all it said."""

    def __init__(self, sfu: Any, identity: str = "ours", room: str = "room") -> None:
        self.sfu, self.identity, self.room = sfu, identity, room
        self.engine = LocalEngine(Options(decode_unwatched=True, speaker="none"))
        self.events: list[api.EngineEvent] = []
        self._task: asyncio.Task[None] | None = None
        self.answer_token = True

    async def start(self) -> Ours:
        await self.engine.start()
        self._task = asyncio.create_task(self._collect())
        return self

    async def _collect(self) -> None:
        async for event in self.engine.events():
            self.events.append(event)
            if isinstance(event, api.TokenNeeded) and self.answer_token:
                self.join()

    def join(self, **grants: Any) -> None:
        self.engine.send(api.Join(self.sfu.url, token(self.room, self.identity, **grants)))

    def publish(self, *, muted: bool = False) -> None:
        self.engine.send(api.OpenSource("microphone", SINE, muted=muted))
        self.engine.send(api.OpenSource("camera", PICTURE))

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    def state(self) -> str:
        return self.engine.session.state

    def report(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {(t["identity"], t["source"]): t for t in self.engine.session.tracks_report()}

    def frames(self, identity: str) -> int:
        return int(self.report().get((identity, "camera"), {}).get("frames", 0))

    def heard(self, identity: str) -> bool:
        return any(
            s.identity == identity and s.kind == "audio" and s.first_sound_at() is not None for s in self.engine.session.subscriptions()
        )

    async def close(self) -> None:
        await self.engine.close()
        if self._task is not None:
            await self._task


@pytest.fixture
async def cast(sfu: Any) -> AsyncIterator[Callable[..., Any]]:
    """Makes participants and ends them all, the SDK's last."""
    everyone: list[Any] = []

    async def make(identity: str, *, sdk: bool = False, publish: bool = True, **options: Any) -> Any:
        if sdk:
            peer = await SdkPeer(sfu.url, token("room", identity)).join(publish=publish)
            everyone.append(peer)
            return peer
        ours = await Ours(sfu, identity, **options).start()
        everyone.insert(0, ours)
        return ours

    yield make
    for one in everyone:
        await (one.close() if isinstance(one, Ours) else one.leave())


@pytest.fixture
async def room_service(sfu: Any) -> AsyncIterator[Any]:
    service = lkapi.LiveKitAPI(sfu.url.replace("ws", "http", 1), KEY, SECRET)
    yield service
    await service.aclose()


async def test_sound_and_picture_both_ways(cast: Any) -> None:
    sdk = await cast("sdk", sdk=True)
    ours = await cast("ours")
    ours.publish()
    ours.join()
    assert await until(lambda: ours.frames("sdk") > 25 and ours.heard("sdk"), 8), ours.report()
    assert await until(lambda: sdk.video_frames.get("ours", 0) > 25 and sdk.loud.get("ours", 0) > 50, 8), (sdk.video_frames, sdk.loud)
    entry = ours.report()[("sdk", "camera")]
    assert (entry["width"], entry["height"], entry["codec"], entry["lost"]) == (320, 180, "VP8", 0)
    connection = ours.engine.session._connection
    assert connection is not None
    assert connection.malformed == 0
    assert connection._subscriber.dtls.faults == connection._publisher.dtls.faults == 0
    assert connection.send_control.numbers.reported > 0
    assert connection.send_control.numbers.lost == 0
    assert not any(e.error for e in ours.of(api.SourceChanged))


@pytest.mark.timeout(180)
async def test_twenty_joins_of_twenty(sfu: Any, cast: Any, record_property: Any) -> None:
    for name in ("one", "two"):
        await cast(name, sdk=True)
    took, first = [], []
    for k in range(20):
        began = time.monotonic()
        ours = await Ours(sfu, f"ours{k}").start()
        ours.join()
        ok = await until(lambda o=ours: o.frames("one") and o.frames("two") and o.heard("one") and o.heard("two"), 2, 0.002)
        took.append(time.monotonic() - began)
        first.append(min((s.first_at for s in ours.engine.session.subscriptions() if s.kind == "video" and s.first_at), default=99) - began)
        report = ours.report()
        await ours.close()
        assert ok, (k, report, ours.events)
    record_property("everybody_seen_p50_s", round(statistics.median(took), 3))
    record_property("first_frame_p50_s", round(statistics.median(first), 3))
    print(f"everybody seen and heard: p50 {statistics.median(took):.3f} s, worst {max(took):.3f} s; first frame p50 {statistics.median(first):.3f} s")


@pytest.mark.timeout(120)
async def test_ten_leaves_and_rejoins(cast: Any) -> None:
    sdk = await cast("sdk", sdk=True)
    ours = await cast("ours")
    for turn in range(10):
        ours.publish()
        began, before = time.monotonic(), sdk.video_frames.get("ours", 0)
        ours.join()
        assert await until(lambda: ours.frames("sdk") and ours.heard("sdk"), 2), (turn, ours.report(), ours.events[-8:])
        assert await until(lambda b=before: sdk.video_frames.get("ours", 0) > b, 4), (turn, time.monotonic() - began)
        ours.engine.send(api.Leave())
        assert await until(lambda: ours.state() == "closed", 3)
        assert ours.report() == {}
        ours.events.clear()


@pytest.mark.timeout(120)
async def test_tracks_come_go_and_come_back(cast: Any) -> None:
    sdk = await cast("sdk", sdk=True)
    other = await cast("other", sdk=True, publish=False)
    ours = await cast("ours")
    ours.publish()
    ours.join()
    for turn in range(4):
        if turn:
            await sdk.publish()
        assert await until(lambda: ours.frames("sdk") > 10 and ours.heard("sdk"), 5), (turn, ours.report())
        await sdk.unpublish()
        assert await until(lambda: not ours.report(), 8), (turn, ours.report())
    for turn in range(4):
        seen = other.video_frames.get("ours", 0)
        ours.engine.send(api.CloseSource("camera"))
        await asyncio.sleep(0.3)
        ours.engine.send(api.OpenSource("camera", PICTURE))
        assert await until(lambda s=seen: other.video_frames.get("ours", 0) > s + 30, 6), (turn, seen, other.video_frames)
    connection = ours.engine.session._connection
    assert len(connection._publisher.sections) == 2, "sections are used again"
    for turn in range(3):
        ours.engine.send(api.MuteSource("camera", True))
        assert await until(lambda n=turn: other.muted.count(("ours", True)) > n, 4)
        seen = other.video_frames.get("ours", 0)
        ours.engine.send(api.MuteSource("camera", False))
        assert await until(lambda s=seen: other.video_frames.get("ours", 0) > s + 10, 5), turn


@pytest.mark.timeout(120)
async def test_a_killed_server_comes_back_and_the_mute_with_it(sfu: Any, cast: Any) -> None:
    ours = await cast("ours")
    ours.publish()
    ours.join()
    assert await until(lambda: ours.state() == "connected", 5)
    ours.engine.send(api.MuteSource("microphone", True))
    await asyncio.sleep(0.2)
    sfu.kill()
    assert await until(lambda: ours.state() == "reconnecting", 10)
    await asyncio.sleep(0.5)
    sfu.start()
    assert await until(lambda: ours.state() == "connected", 15), ours.events[-10:]
    listener = await cast("listener", sdk=True)
    assert await until(lambda: listener.video_frames.get("ours", 0) > 10, 8)
    await asyncio.sleep(1.0)
    assert listener.loud.get("ours", 0) == 0, "a muted person came back live"
    assert ours.engine.session.reconnects == 1
    assert await until(lambda: ours.frames("listener") > 5, 5)
    ours.engine.send(api.MuteSource("microphone", False))
    assert await until(lambda: listener.loud.get("ours", 0) > 20, 5)


@pytest.mark.timeout(180)
async def test_a_muted_person_never_comes_back_live(cast: Any) -> None:
    """Losses of every kind, and the mute pressed at several moments of a rejoin: the SDK hears nothing (ours counts packets, ten losses
    and more: `test_mute_through_losses`)."""
    listener = await cast("listener", sdk=True, publish=False)
    ours = await cast("ours")
    ours.publish(muted=True)
    ours.join()
    assert await until(lambda: ours.state() == "connected", 5)
    for turn in range(6):
        connection = ours.engine.session._connection
        assert connection is not None
        if turn % 3 == 0:
            await connection.signalling._ws.close()
        elif turn % 3 == 1:
            connection._publisher.failed.set()
        else:
            connection._subscriber.ice._connection._nominated.clear()
            connection._subscriber.failed.set()
        assert await until(lambda c=connection: ours.engine.session._connection is not c, 10), "noticed"
        await asyncio.sleep((0.0, 0.02, 0.06, 0.15)[turn % 4])
        ours.engine.send(api.MuteSource("microphone", True))
        assert await until(lambda c=connection: ours.state() == "connected" and ours.engine.session._connection not in (None, c), 10), turn
        await asyncio.sleep(0.4)
        publication = ours.engine.session.publications["microphone"]
        assert publication.stream is None or publication.stream.packets == 0
        assert listener.loud.get("ours", 0) == 0, f"heard after loss {turn}"
    assert ours.engine.session.reconnects == 6
    ours.engine.send(api.MuteSource("microphone", False))
    assert await until(lambda: listener.loud.get("ours", 0) > 20, 8), (listener.loud, listener.audio_frames)


async def test_a_mute_pressed_while_reconnecting_counts(cast: Any) -> None:
    listener = await cast("listener", sdk=True, publish=False)
    ours = await cast("ours")
    ours.publish()
    ours.join()
    assert await until(lambda: listener.loud.get("ours", 0) > 10, 8)
    for _ in range(3):
        connection = ours.engine.session._connection
        await connection.signalling._ws.close()
        ours.engine.send(api.MuteSource("microphone", True))
        assert await until(lambda c=connection: ours.state() == "connected" and ours.engine.session._connection not in (None, c), 10)
        await asyncio.sleep(0.3)
        loud = listener.loud.get("ours", 0)
        await asyncio.sleep(0.8)
        assert listener.loud.get("ours", 0) == loud
        assert ours.engine.session.publications["microphone"].stream.packets == 0
        ours.engine.send(api.MuteSource("microphone", False))
        assert await until(lambda n=loud: listener.loud.get("ours", 0) > n + 10, 6)


async def test_a_moderators_mute_is_obeyed_and_nobody_opens_us(cast: Any, room_service: Any) -> None:
    listener = await cast("listener", sdk=True, publish=False)
    ours = await cast("ours")
    ours.publish()
    ours.join()
    assert await until(lambda: listener.loud.get("ours", 0) > 10, 8)
    sid = next(p.sid for p in ours.engine.session._connection.publishing._published.values() if p.publication.source == "microphone")
    await room_service.room.mute_published_track(lkapi.MuteRoomTrackRequest(room="room", identity="ours", track_sid=sid, muted=True))
    assert await until(lambda: api.MutedByServer("microphone") in ours.events, 4)
    assert ours.engine.session.publications["microphone"].muted
    await asyncio.sleep(0.5)
    loud = listener.loud["ours"]
    try:
        await room_service.room.mute_published_track(lkapi.MuteRoomTrackRequest(room="room", identity="ours", track_sid=sid, muted=False))
    except lkapi.TwirpError:
        pass        # the server itself refuses to open anybody
    await asyncio.sleep(0.8)
    assert listener.loud["ours"] == loud
    assert ours.engine.session.publications["microphone"].muted


async def test_the_servers_farewells_have_reasons(sfu: Any, cast: Any, room_service: Any) -> None:
    ours = await cast("ours")
    ours.join()
    assert await until(lambda: ours.state() == "connected", 5)
    await room_service.room.remove_participant(lkapi.RoomParticipantIdentity(room="room", identity="ours"))
    assert await until(lambda: api.StateChanged("closed", "removed") in ours.events, 5), ours.events
    ours.identity = "again"         # the relay does not let a removed identity back in
    ours.join()
    assert await until(lambda: ours.state() == "connected", 5)
    twin = await Ours(sfu, "again").start()
    twin.join()
    assert await until(lambda: api.StateChanged("closed", "duplicate") in ours.events, 5), ours.events
    assert await until(lambda: twin.state() == "connected", 5)
    await room_service.room.delete_room(lkapi.DeleteRoomRequest(room="room"))
    assert await until(lambda: api.StateChanged("closed", "room_ended") in twin.events, 5), twin.events
    await twin.close()


async def test_refused_tokens(sfu: Any, cast: Any) -> None:
    ours = await cast("ours")
    ours.engine.send(api.Join(sfu.url, "no.such.token"))
    assert await until(lambda: api.StateChanged("closed", "token_refused") in ours.events, 5), ours.events


async def test_a_used_up_token_is_asked_for_again(sfu: Any, cast: Any) -> None:
    """The token, and the one the server gave since, have run out when the connection is lost."""
    ours = await cast("ours")
    ours.join()
    assert await until(lambda: ours.state() == "connected", 5)
    session = ours.engine.session
    session.stay.refreshed = token("room", "ours").replace(".", "~", 1)
    await session._connection.signalling._ws.close()
    assert await until(lambda: ours.of(api.TokenNeeded) != [] and ours.state() == "connected", 8), ours.events


async def test_nothing_is_left_after_leaving(sfu: Any, cast: Any) -> None:
    await cast("sdk", sdk=True)
    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    ours = await Ours(sfu, "ours").start()
    ours.publish()
    ours.join()
    assert await until(lambda: ours.frames("sdk") > 5, 5)
    await ours.close()
    await asyncio.sleep(0.2)

    def left() -> list[Any]:
        mine = [t for t in threading.enumerate() if t not in threads and not t.name.startswith(("asyncio", "ThreadPool", "Dummy"))]
        return [*mine, *(t for t in asyncio.all_tasks() if t not in tasks and "ours" in repr(t))]

    assert await until(lambda: not left(), 3), left()
    names = {t.get_name() for t in asyncio.all_tasks()}
    assert not any(n.startswith(("session", "connection", "signalling", "engine", "subscriber", "publisher")) for n in names), names


async def test_the_server_is_told_what_our_downlink_carries_and_cuts_nothing(sfu: Any, cast: Any) -> None:
    """Both ask for REMB. The round trip is that of the media's own way."""
    await cast("sdk", sdk=True)
    ours = await cast("ours")
    ours.join()
    assert await until(lambda: ours.frames("sdk") > 100, 20), ours.report()
    connection = ours.engine.session._connection
    assert connection.feedback.octets
    arriving = connection.feedback.rate.arriving_bps(time.monotonic())
    assert arriving > 0
    assert (connection.feedback.rate.estimate(time.monotonic()) or 0) >= 0.85 * arriving
    entry = ours.report()[("sdk", "camera")]
    assert (entry["width"], entry["height"]) == (320, 180)
    assert 0 < connection.rtt_s < 0.2
    assert connection.rtt_s == connection._subscriber.rtt_s


async def test_leave_leaves_no_thread_and_no_socket(sfu: Any, cast: Any) -> None:
    """The engine lives on, as the window's does: what a meeting needed goes with the meeting, and a second one leaves no more."""

    def sockets() -> set[tuple[Any, ...]]:
        return {(c.type, c.laddr) for c in psutil.Process().net_connections(kind="inet")}

    await cast("sdk", sdk=True)
    ours = await cast("ours")
    threads, open_before = set(threading.enumerate()), sockets()
    for _ in range(2):
        ours.publish()
        ours.join()
        assert await until(lambda: ours.frames("sdk") > 5 and ours.heard("sdk"), 10)
        ours.engine.send(api.Leave())
        assert await until(lambda: ours.state() == "closed", 5)

        def left() -> list[Any]:
            names = [t for t in threading.enumerate() if t not in threads and not t.name.startswith(("asyncio", "ThreadPool", "Dummy"))]
            return [*names, *(sockets() - open_before)]

        assert await until(lambda: not left(), 5), left()


async def test_hidden_pictures_are_neither_sent_nor_decoded(sfu: Any, cast: Any) -> None:
    await cast("sdk", sdk=True)
    engine = LocalEngine(Options(speaker="none"))
    await engine.start()
    seen: list[api.EngineEvent] = []

    async def collect() -> None:
        async for event in engine.events():
            seen.append(event)

    task = asyncio.create_task(collect())
    engine.send(api.Join(sfu.url, token("room", "window")))
    assert await until(lambda: any(isinstance(e, api.TrackAdded) and e.kind == "video" for e in seen), 5)
    track = next(e.track for e in seen if isinstance(e, api.TrackAdded) and e.kind == "video")
    engine.send(api.WatchTrack(track, 160, 90))
    assert await until(lambda: any(isinstance(e, api.RingOpened) and e.track == track for e in seen), 5)
    assert api.FirstFrame(track) in seen
    subscription = next(s for s in engine.session.subscriptions() if s.sid == track)
    engine.send(api.WatchTrack(track, 0, 0, visible=False))
    assert await until(lambda: api.RingClosed(track) in seen, 2)
    await asyncio.sleep(1.5)
    packets = subscription.report(time.monotonic())["packets"]
    await asyncio.sleep(1.0)
    assert subscription.report(time.monotonic())["packets"] <= packets + 3, "hidden, and still sent"
    seen.clear()
    engine.send(api.WatchTrack(track, 320, 180))
    assert await until(lambda: any(isinstance(e, api.RingOpened) and e.track == track for e in seen), 5)
    await engine.close()
    await task
