"""The main job through the real programs: knock, be admitted, see and hear each other, be muted, be removed, end.

A real `vidconf serve` with its relay, `vidconf bot`, the official SDK, livekit-client in Chromium, and a client that does what
no honest one would.
"""

from __future__ import annotations

import asyncio
import time
import wave
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from e2e.botproc import BotProcess
from e2e.browser.chromium import Browser
from e2e.control_client import Api
from e2e.meetings import FILMS, TONE_HZ, came, external, meeting, people, seen
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from e2e.serverproc import ServeProcess

from vidconf.cli.bot_participant import Bot, BotOptions

TONE = ("--microphone", FILMS["microphone"])


def tone(hz: int) -> str:
    return f"lavfi:sine=frequency={hz}:sample_rate=48000"


def heard(wav: Path, hz: float) -> float:
    """How loud a tone is in a recording, of full scale: the median over its fifths of a second."""
    with wave.open(str(wav)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16) / 32768
    size = 9600
    pure = np.exp(-2j * np.pi * hz * np.arange(size) / 48_000)
    return float(np.median([2 * abs(np.mean(samples[k : k + size] * pure)) for k in range(0, len(samples) - size, size)]))


async def test_three_bots_and_the_sdk_see_and_hear_each_other(server: ServeProcess, admin: Api, tmp_path: Path) -> None:
    made = await meeting(admin, lobby=False)
    sdk = SdkClient("gateway")
    # Each its own tone: two equal ones may meet in the mix a half wave apart, and are then silence.
    tones = {f"Bot {k}": (k + 3) * 100 for k in (1, 2, 3)}
    bots = {
        name: BotProcess(
            made["link"], "--name", name, "--seconds", "12", "--microphone", tone(hz), "--record-audio", str(tmp_path / f"{name}.wav")
        )
        for name, hz in tones.items()
    }
    try:
        await came(admin, made, *bots)
        await sdk.join(*await external(server, made, "gateway"))
        await sdk.publish_video()
        await sdk.publish_audio(2 * TONE_HZ)
        found = await came(admin, made, *bots, "gateway")
        assert found["gateway"]["kind"] == "external"
        reports = {name: await bot.report() for name, bot in bots.items()}
    finally:
        await sdk.leave()
        for process in bots.values():
            await process.stop()
    ids = {name: one["id"] for name, one in found.items()}
    own = {f"{ids[name]}.1" for name in ids if name != "gateway"}
    assert {identity for identity, frames in sdk.frames.items() if frames > 60} == own, sdk.report()
    assert {identity for identity, sounds in sdk.sounds.items() if sounds > 100} == own, sdk.report()
    for name, bot in reports.items():
        assert (bot["name"], bot["ended"], bot["reconnects"]) == (name, "done", 0)
        others = set(ids.values()) - {ids[bot["name"]]}
        cameras = {track["participant"]: track for track in bot["tracks"] if track["source"] == "camera"}
        voices = {track["participant"]: track for track in bot["tracks"] if track["source"] == "microphone"}
        assert set(cameras) == set(voices) == others, bot
        assert all(track["frames"] > 60 for track in cameras.values()), cameras
        assert all(track["packets"] > 100 for track in voices.values()), voices
        loud = {hz: heard(tmp_path / f"{name}.wav", hz) for hz in (*tones.values(), 2 * TONE_HZ)}
        own_tone, silence = loud.pop(tones[name]), heard(tmp_path / f"{name}.wav", 1.5 * TONE_HZ)
        assert min(loud.values()) > 0.01 > 3 * max(own_tone, silence), (loud, own_tone, silence)


async def test_twenty_joins_and_ten_rejoins_in_one_room(server: ServeProcess, admin: Api) -> None:
    """Each sees and hears all within 2 s of asking to join, and is seen and heard by then; who stays is not disturbed."""
    made = await meeting(admin, lobby=False)
    there = BotProcess(made["link"], "--count", "2", "--name", "There", "--camera", FILMS["camera"], *TONE)
    watcher = SdkClient("watcher")
    took: list[float] = []
    try:
        await watcher.join(*await external(server, made, "watcher"))
        await watcher.publish_audio(2 * TONE_HZ)
        found = await came(admin, made, "There 1", "There 2", "watcher")
        assert await until(lambda: len(watcher.frames) == len(watcher.sounds) == 2, 20)
        pictured, audible = {found["There 1"]["id"], found["There 2"]["id"]}, {one["id"] for one in found.values()}
        for k in range(20):
            known, began = set(watcher.frames), time.monotonic()
            bot = Bot(BotOptions(link=made["link"], name=f"Người {k}", **FILMS))
            running = asyncio.create_task(bot.run())

            def all_see_all(bot: Bot = bot, known: set[str] = known) -> bool:
                new = set(watcher.frames) - known
                return seen(bot) == {"camera": pictured, "microphone": audible} and len(new) == 1 and new <= set(watcher.sounds)

            assert await until(all_see_all, 10), (k, seen(bot), watcher.report())
            took.append(time.monotonic() - began)
            bot.stop()
            report = await running
            assert (report["ended"], report["reconnects"]) == ("done", 0), report
        # One and the same, who comes back as somebody does who closes the program and opens it again.
        url, token = await external(server, made, "returner")
        for k in range(10):
            frames, sounds = watcher.frames["returner.1"], watcher.sounds["returner.1"]
            returner, began = SdkClient("returner"), time.monotonic()
            await returner.join(url, token)
            await returner.publish_video()
            await returner.publish_audio(3 * TONE_HZ)

            def is_back(returner: SdkClient = returner, frames: int = frames, sounds: int = sounds) -> bool:
                sees, hears = ({identity.split(".")[0] for identity in found} for found in (returner.frames, returner.sounds))
                return (
                    sees == pictured
                    and hears == audible
                    and watcher.frames["returner.1"] > frames
                    and watcher.sounds["returner.1"] > sounds
                )

            assert await until(is_back, 10), (k, returner.report(), watcher.report())
            took.append(time.monotonic() - began)
            await returner.leave()
        # Who left is gone, and not only after a lease has run out.
        await came(admin, made, "There 1", "There 2", "watcher", timeout_s=8)
    finally:
        await watcher.leave()
        await there.stop()
    assert max(took) < 2, took
    for bot in (await there.report())["bots"]:
        assert bot["reconnects"] == 0
        pictures = {track["participant"] for track in bot["tracks"] if track["source"] == "camera" and track["frames"]}
        assert len(pictures) == 1 + 20 + 1, "the other, the twenty, and the one who came back"


async def test_knocking_admitting_denying(server: ServeProcess, admin: Api) -> None:
    """The lobby has no media: the foreign client in the room meets each one when it is admitted, and never the one who was denied."""
    made = await meeting(admin)
    chair = admin.with_bearer(made["chair_token"])
    gateway = SdkClient("gateway")
    bots = {name: BotProcess(made["link"], "--name", name, "--seconds", "5", *TONE) for name in ("An", "Bình", "Chi", "Dung")}
    try:
        await gateway.join(*await external(server, made, "gateway"))
        await gateway.publish_audio(2 * TONE_HZ)
        seat = await admin.with_bearer("").join(made["code"], "Em")
        em = await seat.connect()
        waiting = await came(chair, made, *bots, "Em", where="lobby")
        await came(chair, made, "gateway")
        assert (await em.ask("media"))["refused"]
        ids = {name: one["id"] for name, one in waiting.items()}
        assert (await chair.command(made["id"], "admit", participants=[ids["An"]])).status == 200
        await came(chair, made, "gateway", "An")
        assert await until(lambda: gateway.frames[f"{ids['An']}.1"] > 10 and gateway.sounds[f"{ids['An']}.1"] > 10, 10), gateway.report()
        denied = await chair.command(made["id"], "deny", participants=[ids["Dung"], ids["Em"]], reason="Nhầm cuộc họp")
        assert denied.status == 200
        assert (await em.event("denied"))["reason"] == "Nhầm cuộc họp"
        assert await bots["Dung"].ended() == 1
        report = await bots["Dung"].report()
        assert (report["ended"], report["tracks"], report["sent"]) == ("denied", [], {})
        assert (await chair.command(made["id"], "admit_all")).status == 200
        assert await until(lambda: all(gateway.frames[f"{ids[name]}.1"] > 10 for name in ("Bình", "Chi")), 10), gateway.report()
        for name in ("An", "Bình", "Chi"):
            assert await bots[name].ended() == 0
            report = await bots[name].report()
            assert report["ended"] == "done"
            others = {ids[other] for other in ("Bình", "Chi") if other != name} | {"gateway"}
            assert {t["participant"] for t in report["tracks"] if t["packets"]} >= others, report
        assert {identity.split(".")[0] for identity in gateway.frames} == {ids[name] for name in ("An", "Bình", "Chi")}
        await em.close()
    finally:
        await gateway.leave()
        for bot in bots.values():
            await bot.stop()


async def test_mute_and_removal_hold_also_against_a_client_that_obeys_nobody(server: ServeProcess, admin: Api) -> None:
    """A foreign client listens at the SFU; another sends on whatever it is told. Packets are counted, not asked about."""
    made = await meeting(admin, lobby=False)
    chair = admin.with_bearer(made["chair_token"])
    listener = RawClient(*await external(server, made, "listener"))
    url, token = await external(server, made, "stubborn")
    stubborn, gateway = RawClient(url, token), SdkClient("gateway")

    async def no_more(client: RawClient, sid: str) -> None:
        await asyncio.sleep(0.2)  # what was on its way
        count = client.count(sid)
        await asyncio.sleep(1.0)
        assert client.count(sid) == count, "not one packet"

    try:
        await listener.join()
        own = await listener.publish("audio")
        await stubborn.join()
        voice, picture = await stubborn.publish("audio"), await stubborn.publish("video")
        await gateway.join(*await external(server, made, "gateway"))
        film, sound = await gateway.publish_video(), await gateway.publish_audio()
        sids = (voice.sid, picture.sid, film.sid, sound.sid)
        assert await until(lambda: all(listener.count(sid) > 20 for sid in sids) and stubborn.count(own.sid) > 20, 15)

        assert (await chair.command(made["id"], "mute", participants=["stubborn", "gateway"])).status == 200
        assert await until(lambda: all(sound_of(listener, who).muted for who in ("stubborn.1", "gateway.1")), 5)
        pictures = listener.count(picture.sid), listener.count(film.sid)
        await asyncio.gather(no_more(listener, voice.sid), no_more(listener, sound.sid))
        assert min(listener.count(picture.sid) - pictures[0], listener.count(film.sid) - pictures[1]) > 10, "pictures are another matter"

        refreshed = await stubborn.wait("refresh_token")
        assert refreshed != token
        assert (await chair.command(made["id"], "remove", participants=["stubborn", "gateway"])).status == 200
        await asyncio.wait_for(gateway.disconnected.wait(), 5)
        await asyncio.wait_for(stubborn.closed.wait(), 5)
        # Neither way: nothing of theirs arrives, and nothing is sent to who keeps its sockets open.
        await asyncio.gather(no_more(listener, picture.sid), no_more(listener, film.sid), no_more(stubborn, own.sid))
        http = url.replace("ws", "http", 1)
        for kept in (token, refreshed):
            headers = {"Authorization": f"Bearer {kept}"}
            for asked in ({"headers": headers}, {"params": {"access_token": kept}}):  # as a program asks, and as a browser
                async with admin.session.get(f"{http}/rtc/validate", **asked) as answer:
                    assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await admin.session.ws_connect(f"{url}/rtc", headers=headers)
            assert refused.value.status == 403
        await no_more(stubborn, own.sid)
        assert set(await people(chair, made)) == {"listener"}
    finally:
        await gateway.leave()
        await stubborn.close()
        await listener.close()


def sound_of(client: RawClient, identity: str) -> Any:
    """The audio track of somebody, as the SFU last told it."""
    return next(track for track in client.participants[identity].tracks if track.type == 0)


@pytest.mark.chromium
async def test_livekit_client_in_chromium_and_a_bot_see_and_hear_each_other(server: ServeProcess, admin: Api, tmp_path: Path) -> None:
    made = await meeting(admin, lobby=False)
    wav = tmp_path / "heard.wav"
    bot = BotProcess(made["link"], "--name", "Bot", *TONE, "--record-audio", str(wav))
    try:
        own = (await came(admin, made, "Bot"))["Bot"]["id"]
        url, token = await external(server, made, "trinh-duyet")
        async with Browser() as browser:
            page = await browser.page()
            await page.evaluate("([u, t]) => join(u, t, {adaptiveStream: true, dynacast: true})", [url, token])
            await page.evaluate("() => publish({simulcast: true})")
            await came(admin, made, "Bot", "trinh-duyet")
            ends = time.monotonic() + 20
            while True:
                found = (await page.evaluate("() => counts()")).get(f"{own}.1", {})
                if found.get("frames", 0) > 60 and found.get("audio", 0) > 0.001:
                    break
                assert time.monotonic() < ends, found
                await asyncio.sleep(0.2)
            assert found["width"] > 0
            assert (await people(admin, made))["trinh-duyet"]["sources"] == {"microphone": "on", "camera": "on", "screen_share": "off"}
            # Muted by REST it is muted for itself, too, and opens again by itself as anybody may.
            assert (await admin.with_bearer(made["chair_token"]).command(made["id"], "mute", participant="trinh-duyet")).status == 200
            await page.wait_for_function("() => !room.localParticipant.isMicrophoneEnabled", timeout=5000)
            await page.evaluate("() => room.localParticipant.setMicrophoneEnabled(true)")
            await asyncio.sleep(2)  # its microphone beeps once a second
            assert not browser.errors
            await page.evaluate("() => room.disconnect()")
        await came(admin, made, "Bot", timeout_s=8)
    finally:
        await bot.stop()
    report = await bot.report()
    assert (report["ended"], report["reconnects"]) == ("done", 0)
    tracks = {track["source"]: track for track in report["tracks"] if track["participant"] == "trinh-duyet"}
    assert tracks["camera"]["frames"] > 30, tracks
    assert tracks["microphone"]["packets"] > 50, tracks
    with wave.open(str(wav)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    assert np.abs(samples.astype(int)).max() > 1000, "it beeps"


async def test_the_end_of_a_meeting_is_everybodys(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    chair = admin.with_bearer(made["chair_token"])
    bots = BotProcess(made["link"], "--count", "2", "--name", "Bot")
    out = BotProcess(made["link"], "--name", "Ra")
    try:
        found = await came(admin, made, "Bot 1", "Bot 2", "Ra")
        assert (await chair.command(made["id"], "remove", participant=found["Ra"]["id"])).status == 200
        assert await out.ended(15) == 1
        assert (await out.report())["ended"] == "removed"
        # who never had sound or picture has failed, whatever ended the meeting
        for _ in range(200):
            if "vidconf_media_signalling_connections 2.0" in (await admin.get("/metrics")).body:
                break
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert (await chair.command(made["id"], "end")).status == 200
        assert await bots.ended(15) == 0
        assert [bot["ended"] for bot in (await bots.report())["bots"]] == ["meeting_ended"] * 2
    finally:
        await bots.stop()
        await out.stop()
    late = BotProcess(made["link"], "--name", "Muộn")
    assert await late.ended() == 1
    assert (await late.report())["ended"] == "meeting_ended"
