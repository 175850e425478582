"""Others' clients on the relay: the official SDK and livekit-client in Chromium, in one room; churn, kill -9, a cut socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from e2e.browser.chromium import Browser
from e2e.raw_client import RawClient
from e2e.relayproc import KEY, SECRET, RelayProcess
from e2e.sdk_client import SdkClient, token, until
from livekit import api, rtc

TESTS = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayProcess]:
    with RelayProcess() as process:
        yield process
        assert process.is_alive()
        assert process.counters()["port"]["faults"] == 0


@pytest.fixture
async def service(relay: RelayProcess) -> AsyncIterator[api.room_service.RoomService]:
    async with aiohttp.ClientSession() as session:
        yield api.room_service.RoomService(session, relay.url, KEY, SECRET)


async def test_two_of_the_sdk_see_and_hear_each_other(relay: RelayProcess) -> None:
    a, b = SdkClient("a"), SdkClient("b")
    try:
        assert await a.join(relay.ws_url, token("two", "a")) < 3
        await a.publish_video()
        await a.publish_audio()
        await b.join(relay.ws_url, token("two", "b"))
        await b.publish_video(simulcast=True)
        await b.publish_audio(880)
        assert await until(lambda: a.frames["b"] > 20 and a.sounds["b"] > 50 and b.frames["a"] > 20 and b.sounds["a"] > 50, 15)
        assert b.first_frame_s["a"] < 2
        # Who speaks; data; mute by the owner.
        assert await until(lambda: any("b" in s for s in a.speakers) and any("a" in s for s in b.speakers), 5)
        await a.room.local_participant.publish_data(b"hello", reliable=True, topic="greeting")
        assert await until(lambda: ("a", b"hello", "greeting") in b.data, 5)
        await a.room.local_participant.send_text("xin chào", topic="lk.chat")
        sound = next(p for p in a.publications if p.kind == rtc.TrackKind.KIND_AUDIO)
        sound.track.mute()
        assert await until(lambda: ("track_muted", "a") in b.events, 5)
        sound.track.unmute()
        before = b.sounds["a"]
        assert await until(lambda: b.sounds["a"] > before + 50, 5)
        # Unpublish and publish again: the section is used again.
        picture = next(p for p in a.publications if p.kind == rtc.TrackKind.KIND_VIDEO)
        await a.room.local_participant.unpublish_track(picture.sid)
        assert await until(lambda: ("track_unpublished", "a") in b.events, 5)
        before = b.frames["a"]
        await a.publish_video()
        assert await until(lambda: b.frames["a"] > before + 20, 10)
    finally:
        await a.leave()
        await b.leave()


async def test_the_service_mutes_and_removes_the_sdk(relay: RelayProcess, service: api.room_service.RoomService) -> None:
    a, b = SdkClient("a"), SdkClient("b")
    raw = RawClient(relay.ws_url, token("removal", "listener"))
    try:
        await a.join(relay.ws_url, token("removal", "a"))
        await b.join(relay.ws_url, token("removal", "b"))
        await raw.join()
        publication = await a.publish_video()
        assert await until(lambda: b.frames["a"] > 10 and raw.count(publication.sid) > 10, 10)
        await service.mute_published_track(api.MuteRoomTrackRequest(room="removal", identity="a", track_sid=publication.sid, muted=True))
        assert await until(lambda: ("track_muted", "a") in b.events, 5)
        await asyncio.sleep(0.5)
        before = b.frames["a"]
        await asyncio.sleep(0.7)
        assert b.frames["a"] - before <= 1
        publication.track.unmute()
        assert await until(lambda: b.frames["a"] > before + 10, 10)
        # Removed: out, not one packet more, and nothing it holds opens the door again.
        assert await until(lambda: bool(raw.refresh_token))
        assert raw.refresh_token != raw.token
        await service.remove_participant(api.RoomParticipantIdentity(room="removal", identity="listener"))
        leave = await raw.wait("leave")
        assert leave.reason == 4
        await asyncio.wait_for(raw.closed.wait(), 3)
        count = raw.count(publication.sid) + raw.unrouted
        await asyncio.sleep(0.7)
        assert raw.count(publication.sid) + raw.unrouted == count
        for old in (raw.refresh_token, raw.token):
            again = RawClient(relay.ws_url, old)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await again.join()
            assert refused.value.status == 403
            await again.close()
        anew = RawClient(relay.ws_url, token("removal", "listener"))  # let in again by whoever mints tokens
        await asyncio.sleep(1.1)
        anew.token = token("removal", "listener")
        await anew.join()
        assert await until(lambda: anew.count(publication.sid) > 5, 5)
        await anew.close()
        await service.remove_participant(api.RoomParticipantIdentity(room="removal", identity="b"))
        await asyncio.wait_for(b.disconnected.wait(), 5)
        left = await service.list_participants(api.ListParticipantsRequest(room="removal"))
        assert "b" not in [p.identity for p in left.participants]
    finally:
        await raw.close()
        await a.leave()
        await b.leave()


async def test_killed_with_nine_it_is_held_and_then_gone(relay: RelayProcess) -> None:
    """kill -9 of a publishing SDK; the others see it a few seconds longer, then it is gone, and its return is seen."""
    a = SdkClient("a")
    await a.join(relay.ws_url, token("kill", "a"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "e2e.sdk_client", relay.ws_url, token("kill", "victim"), "60", "--publish",
        cwd=TESTS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert await until(lambda: a.frames["victim"] > 10, 20)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await asyncio.sleep(1.5)
        assert ("participant_disconnected", "victim") not in a.events
        assert await until(lambda: ("participant_disconnected", "victim") in a.events, 12)
        again = SdkClient("victim")
        await again.join(relay.ws_url, token("kill", "victim"))
        before = a.frames["victim"]
        await again.publish_video()
        assert await until(lambda: a.frames["victim"] > before + 10, 10)
        await again.leave()
        counted = relay.counters()
        assert await until(lambda: relay.counters()["participants"] == 1, 5), counted
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await a.leave()


async def test_coming_and_going(relay: RelayProcess) -> None:
    """Twelve come and go while one stays; it gets every track."""
    stayer = RawClient(relay.ws_url, token("churn", "stayer"))
    await stayer.join()
    seen: list[str] = []

    async def visit(k: int) -> None:
        visitor = RawClient(relay.ws_url, token("churn", f"v{k}"))
        await visitor.join()
        senders = [await visitor.publish("video"), await visitor.publish("audio")]
        for sender in senders:
            assert await until(lambda sid=sender.sid: stayer.count(sid) > 10, 8), (k, sender.sid)
            seen.append(sender.sid)
        if k % 3 == 0:
            await visitor.vanish()
        elif k % 3 == 1:
            await visitor.say(leave={})
        await visitor.close()

    try:
        for start in range(0, 12, 3):
            await asyncio.gather(*(visit(k) for k in range(start, start + 3)))
        assert len(seen) == 24
        assert await until(lambda: relay.counters()["participants"] == 1, 15)
        assert await until(lambda: relay.counters()["sessions"] == 2, 5)
        assert stayer.subscriber.remote is not None
        assert len(stayer.subscriber.remote.media) <= 25
    finally:
        await stayer.close()


@pytest.mark.chromium
@pytest.mark.timeout(180)
async def test_chromium_the_sdk_and_ours_in_one_room(relay: RelayProcess, service: api.room_service.RoomService) -> None:
    room = "everybody"
    async with Browser() as browser:
        page = await browser.page()
        sdk, ours = SdkClient("sdk"), RawClient(relay.ws_url, token(room, "ours"))
        try:
            await sdk.join(relay.ws_url, token(room, "sdk"))
            await sdk.publish_video()
            await sdk.publish_audio()
            await ours.join()
            own = await ours.publish("audio")
            options = {"adaptiveStream": True, "dynacast": True}
            assert await page.evaluate("([u, t, o]) => join(u, t, o)", [relay.ws_url, token(room, "js"), options]) < 5
            await page.evaluate("() => publish({simulcast: true})")

            async def counts(identity: str) -> dict[str, float]:
                found: dict[str, dict[str, float]] = await page.evaluate("() => counts()")
                return found.get(identity, {})

            for _ in range(40):
                seen = await counts("sdk")
                if seen.get("frames", 0) > 40 and seen.get("audio", 0) > 0.01 and (await counts("ours")).get("packets", 0) > 50:
                    break
                await asyncio.sleep(0.25)
            else:
                pytest.fail(f"the browser saw {seen}, {await counts('ours')}")
            assert seen["freezes"] == 0
            assert await until(lambda: sdk.frames["js"] > 20 and sdk.sounds["js"] > 2, 15)
            js = ours.participants["js"]
            assert await until(lambda: len(ours.participants["js"].tracks) == 2, 5)
            assert all(ours.count(t.sid) > 5 for t in ours.participants["js"].tracks), js
            assert (await page.evaluate("() => room.activeSpeakers.map((p) => p.identity)"))[:1] != []
            # Data both ways.
            await page.evaluate("() => room.localParticipant.publishData(new TextEncoder().encode('from js'), {reliable: true, topic: 'x'})")
            assert await until(lambda: ("js", b"from js", "x") in sdk.data, 5)
            await sdk.room.local_participant.publish_data(b"to js", reliable=True)
            for _ in range(40):
                if ["sdk", "to js", ""] in await page.evaluate("() => data"):
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail("no data in the browser")
            # The service mutes its camera: the page obeys, and nothing comes until it unmutes itself.
            camera = next(t for t in ours.participants["js"].tracks if t.type == 1)
            await service.mute_published_track(api.MuteRoomTrackRequest(room=room, identity="js", track_sid=camera.sid, muted=True))
            assert await until(lambda: ("track_muted", "js") in sdk.events, 5)
            await asyncio.sleep(0.5)
            before = ours.count(camera.sid)
            await asyncio.sleep(0.5)
            assert ours.count(camera.sid) == before
            await page.evaluate("() => room.localParticipant.setCameraEnabled(true)")
            camera_sids = lambda: [t.sid for t in ours.participants["js"].tracks if t.type == 1]  # noqa: E731
            assert await until(lambda: sum(ours.count(s) for s in camera_sids()) > before + 20, 15)
            # Its signalling breaks: it joins anew by itself.
            await page.evaluate("() => room.engine.client.ws ? room.engine.client.ws.close() : room.simulateScenario('signal-reconnect')")
            for _ in range(80):
                if ["reconnected", ""] in await page.evaluate("() => events"):
                    break
                await asyncio.sleep(0.25)
            else:
                pytest.fail(f"not reconnected: {await page.evaluate('() => events')}")
            # What the SDK makes of it is left out: now and then its receivers stay switched off for who came back so soon ("packets
            # discarded" counts them all), whoever reused or did not reuse an m-line for it.
            assert await until(lambda: len(ours.participants["js"].tracks) == 2 and sdk.events[-1] == ("track_subscribed", "js"), 15)
            back = [track.sid for track in ours.participants["js"].tracks]
            assert await until(lambda: all(ours.count(sid) > 100 for sid in back), 15), {sid: ours.count(sid) for sid in back}
            assert own.sid in ours.senders[own.section.cid].sid
            assert not browser.errors
        finally:
            with contextlib.suppress(Exception):
                await page.evaluate("() => room.disconnect()")
            await ours.close()
            await sdk.leave()


@pytest.mark.soak
async def test_thirty_joins_in_a_row(relay: RelayProcess) -> None:
    publisher = SdkClient("publisher")
    await publisher.join(relay.ws_url, token("thirty", "publisher"))
    await publisher.publish_video()
    for k in range(30):
        client = SdkClient(f"c{k}")
        assert await client.join(relay.ws_url, token("thirty", f"c{k}")) < 2
        assert await until(lambda client=client: client.frames["publisher"] > 3, 5), k
        await client.leave()
    await publisher.leave()
