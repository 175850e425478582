"""The main job through the real programs: knock, be admitted, see and hear each other, be muted, removed, cut off and come back.

A real `vidconf serve` with its relay, `vidconf bot`, the official SDK, and a client that does what no honest one would.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from e2e.botproc import BotProcess, run_vidconf
from e2e.control_client import Api
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from e2e.serverproc import ServeProcess

from vidconf.cli.bot_participant import Bot, BotOptions


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServeProcess]:
    running = ServeProcess(tmp_path)
    running.start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.said()


@pytest.fixture
async def admin(server: ServeProcess) -> AsyncIterator[Api]:
    async with server.admin() as api:
        yield api


async def meeting(admin: Api, **fields: Any) -> dict[str, Any]:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban", **fields})
    assert reply.status == 201, reply
    made: dict[str, Any] = reply.body
    return made


async def people(api: Api, made: dict[str, Any], where: str = "participants") -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in (await api.state(made["id"]))[where]}


async def came(api: Api, made: dict[str, Any], count: int, where: str = "participants", timeout_s: float = 15) -> dict[str, dict[str, Any]]:
    ends = time.monotonic() + timeout_s
    while len(found := await people(api, made, where)) != count:
        assert time.monotonic() < ends, (where, list(found))
        await asyncio.sleep(0.05)
    return found


def external(server: ServeProcess, made: dict[str, Any], identity: str) -> tuple[str, str]:
    granted = run_vidconf("meeting", "token", made["code"], "--identity", identity, "--data", str(server.data))
    return granted["url"], granted["token"]


@pytest.mark.timeout(120)
async def test_three_bots_and_the_sdk_see_and_hear_each_other(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    sdk = SdkClient("gateway")
    bots = BotProcess(made["link"], "--count", "3", "--name", "Bot", "--seconds", "10")
    try:
        await came(admin, made, 3)
        url, token = await asyncio.to_thread(external, server, made, "gateway")
        await sdk.join(url, token)
        await sdk.publish_video()
        await sdk.publish_audio()
        found = await came(admin, made, 4)
        assert found["gateway"]["kind"] == "external"
        own = {one["id"] for name, one in found.items() if name != "gateway"}
        report = await bots.report()
    finally:
        await sdk.leave()
        await bots.stop()
    assert {identity.split(".")[0] for identity, frames in sdk.frames.items() if frames > 60} == own, sdk.report()
    # Some of the voices have a pause of seconds between their sentences.
    assert len({identity.split(".")[0] for identity, sounds in sdk.sounds.items() if sounds > 10} & own) >= 2, sdk.report()
    for bot in report["bots"]:
        cameras = {track["participant"]: track for track in bot["tracks"] if track["source"] == "camera"}
        voices = {track["participant"]: track for track in bot["tracks"] if track["source"] == "microphone"}
        assert len(cameras) == len(voices) == 3, bot
        assert "gateway" in cameras
        assert all(track["frames"] > 60 and track["freezes"] == 0 for track in cameras.values()), cameras
        assert all(track["packets"] > 100 for track in voices.values()), voices
        assert bot["ended"] == "done"


@pytest.mark.timeout(120)
async def test_twenty_joins_and_ten_rejoins_in_one_room(server: ServeProcess, admin: Api) -> None:
    """Each sees and hears the two who are there within 2 s; they stay undisturbed."""
    made = await meeting(admin, lobby=False)
    there = BotProcess(made["link"], "--count", "2", "--name", "There")
    try:
        await came(admin, made, 2)
        await asyncio.sleep(1.0)
        # The last ten come back one after the other under one name, as somebody does who closes and opens the program.
        for k in range(30):
            name = f"Người {k}" if k < 20 else "Người trở lại"
            report = await Bot(BotOptions(link=made["link"], name=name, seconds=1.2)).run()
            assert report["ended"] == "done", report
            assert report["first_video_s"] < 2, report
            assert report["first_audio_s"] < 2, report
            assert {t["source"] for t in report["tracks"] if t["packets"]} == {"camera", "microphone"}, report
            assert len({t["participant"] for t in report["tracks"] if t["packets"]}) == 2, report
        await came(admin, made, 2, timeout_s=3)  # who left is gone, and not only after a lease has run out
    finally:
        await there.stop()
    for bot in (await there.report())["bots"]:
        assert bot["reconnects"] == 0


@pytest.mark.timeout(120)
async def test_knocking_admitting_denying(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin)
    chair = admin.with_bearer(made["chair_token"])
    bots = {name: BotProcess(made["link"], "--name", name, "--seconds", "4") for name in ("An", "Bình", "Chi", "Dung")}
    try:
        waiting = await came(chair, made, 4, "lobby", 25)
        assert (await chair.state(made["id"]))["participants"] == []
        ids = {name: one["id"] for name, one in waiting.items()}
        assert (await chair.command(made["id"], "admit", participants=[ids["An"]])).status == 200
        assert set(await came(chair, made, 1)) == {"An"}
        denied = await chair.command(made["id"], "deny", participants=[ids["Dung"]], reason="Nhầm cuộc họp")
        assert denied.status == 200
        assert await bots["Dung"].ended() == 1
        assert (await bots["Dung"].report())["ended"] == "denied"
        assert (await chair.command(made["id"], "admit_all")).status == 200
        assert set(await came(chair, made, 3)) == {"An", "Bình", "Chi"}
        for name in ("An", "Bình", "Chi"):
            assert await bots[name].ended() == 0
            report = await bots[name].report()
            assert report["ended"] == "done"
            assert len({t["participant"] for t in report["tracks"] if t["packets"]}) >= 1, report
    finally:
        for bot in bots.values():
            await bot.stop()


@pytest.mark.timeout(120)
async def test_mute_and_removal_hold_against_a_client_that_obeys_nobody(server: ServeProcess, admin: Api) -> None:
    """A foreign client listens at the SFU; another sends on whatever it is told. Packets are counted, not asked about."""
    made = await meeting(admin, lobby=False)
    chair = admin.with_bearer(made["chair_token"])
    listener = RawClient(*await asyncio.to_thread(external, server, made, "listener"))
    url, token = await asyncio.to_thread(external, server, made, "stubborn")
    stubborn = RawClient(url, token)
    try:
        await listener.join()
        await stubborn.join()
        voice, picture = await stubborn.publish("audio"), await stubborn.publish("video")
        assert await until(lambda: listener.count(voice.sid) > 20 and listener.count(picture.sid) > 20)
        muted = await chair.command(made["id"], "mute", participant="stubborn")
        assert muted.status == 200, muted
        await asyncio.sleep(0.6)
        heard, seen = listener.count(voice.sid), listener.count(picture.sid)
        await asyncio.sleep(1.0)
        assert listener.count(voice.sid) == heard, "it sends on, and not one packet arrives"
        assert listener.count(picture.sid) > seen, "its picture is another matter"
        refreshed = await stubborn.wait("refresh_token")
        assert (await chair.command(made["id"], "remove", participant="stubborn")).status == 200
        await asyncio.sleep(0.6)
        seen, received = listener.count(picture.sid), sum(len(p) for p in stubborn.packets.values())
        await asyncio.sleep(1.0)
        assert listener.count(picture.sid) == seen
        assert sum(len(p) for p in stubborn.packets.values()) == received
        http = url.replace("ws", "http", 1)
        for kept in (token, refreshed):
            headers = {"Authorization": f"Bearer {kept}"}
            async with admin.session.get(f"{http}/rtc/validate", headers=headers) as answer:
                assert answer.status == 403
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await admin.session.ws_connect(f"{url}/rtc", headers=headers)
            assert refused.value.status == 403
    finally:
        await stubborn.close()
        await listener.close()


async def garbage(server: ServeProcess, udp_port: int, session: aiohttp.ClientSession) -> None:
    """On every door, for a while, bounded."""
    noise = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stun = bytes.fromhex("000100002112a442") + bytes(12)
    for k in range(400):
        noise.sendto(secrets.token_bytes(1 + k * 3), ("127.0.0.1", udp_port))
        noise.sendto(bytes([0x80, 111]) + secrets.token_bytes(60), ("127.0.0.1", udp_port))
        noise.sendto(stun + secrets.token_bytes(k % 40), ("127.0.0.1", udp_port))
        noise.sendto(bytes([22, 254, 253]) + secrets.token_bytes(100), ("127.0.0.1", udp_port))
        if k % 20 == 0:
            await asyncio.sleep(0.01)
    noise.close()
    for path in ("/api/v1/join", "/api/v1/auth/login", "/api/v1/meetings/x/commands", "/api/v1/media/webhook", "/twirp/livekit.RoomService/ListRooms"):
        for body in (b"", b"{", b"[" * 5000, b'{"code": 1e999}', b"\xff\xfe", b'{"code": "\\ud800"}', secrets.token_bytes(3000)):
            async with session.post(server.url + path, data=body, headers={"Authorization": "Bearer " + "x" * 200}) as answer:
                assert 400 <= answer.status < 500, (path, body[:20], answer.status)
    for frame in ("", "{", "[]", '{"id": 0, "do": "hello"}', '{"id":0,"do":"hello","token":"no","protocol":1,"client":"x","resume_from":null}', "x" * 60_000):
        async with session.ws_connect(server.url + "/api/v1/control") as ws:
            await ws.send_str(frame)
            assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.TEXT)
    async with session.get(server.url + "/rtc", headers={"Authorization": "Bearer x.y.z"}) as answer:
        assert answer.status == 401


@pytest.mark.timeout(120)
async def test_garbage_on_every_door_while_a_meeting_runs(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    bots = BotProcess(made["link"], "--count", "2", "--name", "Bot", "--seconds", "9")
    url, token = await asyncio.to_thread(external, server, made, "insider")
    insider = RawClient(url, token)
    try:
        await came(admin, made, 2 + 1)
        await insider.join()
        reply = await admin.get("/api/v1/media/where")
        udp_port = int(reply.body["udp"][0]["port"])
        async with aiohttp.ClientSession() as session:
            await garbage(server, udp_port, session)
        # From inside: signalling that is none, on a connection that was let in.
        for frame in (b"", b"\xff" * 1000, secrets.token_bytes(2000)):
            async with admin.session.ws_connect(url + "/rtc", headers={"Authorization": f"Bearer {token}"}) as ws:
                await ws.send_bytes(frame)
        report = await bots.report()
        assert (await admin.get("/healthz")).status == 200
        metrics = (await admin.get("/metrics")).body
    finally:
        await insider.close()
        await bots.stop()
    for bot in report["bots"]:
        assert bot["ended"] == "done"
        assert bot["reconnects"] == 0, "nobody noticed"
        assert next(t["freezes"] for t in bot["tracks"] if t["source"] == "camera") == 0
    assert 'vidconf_control_total{what="hello_' in metrics, "counted"


@pytest.mark.timeout(120)
async def test_the_relay_is_killed_and_everybody_comes_back(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    chair = admin.with_bearer(made["chair_token"])
    bots = [Bot(BotOptions(link=made["link"], name=name, camera="lavfi:testsrc2=size=320x180:rate=30", microphone="lavfi:sine=frequency=440"))
            for name in ("An", "Bình")]  # fmt: skip
    tasks = [asyncio.create_task(bot.run()) for bot in bots]
    try:
        found = await came(admin, made, 2)
        assert await until(lambda: all(_moving(bot) for bot in bots), 10)
        assert (await chair.command(made["id"], "mute", participant=found["An"]["id"])).status == 200
        assert await until(lambda: bots[0]._engine.session.publications["microphone"].muted)
        os.kill(server.relay_pid(), signal.SIGKILL)
        began = time.monotonic()
        assert await until(lambda: all(bot._engine.session.reconnects > 0 and bot._engine.session.state == "connected" for bot in bots), 20)
        assert await until(lambda: all(_moving(bot) for bot in bots), 10)
        assert time.monotonic() - began < 15
        assert bots[0]._engine.session.publications["microphone"].muted, "who was muted stays muted"
        assert (await people(admin, made))["An"]["sources"]["microphone"] == "muted"
    finally:
        for bot in bots:
            bot.stop()
        await asyncio.gather(*tasks)


def _moving(bot: Bot) -> bool:
    return any(t["source"] == "camera" and t["recent_fps"] > 15 for t in bot._engine.session.tracks_report())


@pytest.mark.timeout(120)
async def test_the_server_is_killed_and_nothing_said_is_lost(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    seat = await admin.with_bearer("").join(made["code"], "Người viết")
    talk = await seat.connect()
    said = []
    for k in range(9):
        await talk.done("chat", text=f"dòng {k}")
        said.append(f"dòng {k}")
    server.kill()
    await asyncio.to_thread(server.start)
    async with server.admin() as again:
        state = await again.state(made["id"])
        assert [line["text"] for line in state["chat"]] == said
        resumed = await type(seat)(again, seat.session_token, seat.meeting, seat.participant, seat.state).connect(resume_from=state["seq"])
        await resumed.done("chat", text="và tiếp")
        assert [line["text"] for line in (await again.state(made["id"]))["chat"]] == [*said, "và tiếp"]
        report = await again.get("/api/v1/audit")
        assert report.body["ok"]
        await resumed.close()


@pytest.mark.timeout(120)
async def test_the_end_of_a_meeting_is_everybodys(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    bots = BotProcess(made["link"], "--count", "2", "--name", "Bot")
    try:
        await came(admin, made, 2)
        await asyncio.sleep(1)
        assert (await admin.command(made["id"], "end")).status == 200
        assert await bots.ended(15) == 0
        assert [bot["ended"] for bot in (await bots.report())["bots"]] == ["meeting_ended"] * 2
    finally:
        await bots.stop()
    late = BotProcess(made["link"], "--name", "Muộn")
    assert await late.ended() == 1
    assert (await late.report())["ended"] == "meeting_ended"
