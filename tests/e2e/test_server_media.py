"""Media of a real `vidconf serve`, through its door and its own relay: who is put out hears nothing more, whatever token it holds; a dead relay comes back."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from e2e.control_client import Api, Seat, Socket, until
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient
from e2e.serverproc import ServeProcess, vidconf
from yarl import URL


@pytest.fixture(scope="module")
def server(shared_server: ServeProcess) -> ServeProcess:
    return shared_server


class There:
    """A participant with its control connection and its media, through the server's door."""

    def __init__(self, seat: Seat, control: Socket) -> None:
        self.seat, self.control, self.me = seat, control, seat.participant
        self.media: RawClient | None = None

    async def join_media(self) -> RawClient:
        if self.media is not None:
            await self.media.close()
        granted = await self.control.done("media")
        self.media = RawClient(granted["url"], granted["token"])
        await self.media.join()
        return self.media

    async def close(self) -> None:
        if self.media is not None:
            await self.media.close()
        await self.control.close()


class Held:
    def __init__(self, admin: Api, made: dict[str, Any]) -> None:
        self.made, self.id, self.link = made, str(made["id"]), str(made["link"])
        self.anybody, self.script = admin.with_bearer(""), admin.with_bearer(made["chair_token"])
        self.people: list[There] = []

    async def come(self, name: str) -> There:
        seat = await self.anybody.join(self.made["code"], name)
        self.people.append(There(seat, await seat.connect()))
        return self.people[-1]

    async def command(self, do: str, **fields: Any) -> None:
        reply = await self.script.command(self.id, do, **fields)
        assert reply.status == 200, reply


@pytest.fixture
async def held(admin: Api) -> AsyncIterator[Held]:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})
    meeting = Held(admin, reply.body)
    yield meeting
    for there in meeting.people:
        await there.close()


async def refused(url: str, token: str) -> int:
    """The status at the door for this token; 101 when it opens."""
    client = RawClient(url, token)
    try:
        await client.join()
    except aiohttp.WSServerHandshakeError as error:
        return error.status
    finally:
        await client.close()
    return 101


async def test_two_hear_and_see_one_another_through_one_port(held: Held, server: ServeProcess) -> None:
    an, binh = await held.come("An"), await held.come("Bình")
    granted = await an.control.done("media")
    assert granted["url"] == f"ws://127.0.0.1:{server.port}"
    one, other = await an.join_media(), await binh.join_media()
    tracks = [await one.publish("audio"), await one.publish("video")]
    for track in tracks:
        await until(lambda track=track: other.count(track.sid) > 10)


async def test_who_is_removed_gets_403_with_a_fresh_token_and_not_one_packet_more(held: Held, server: ServeProcess) -> None:
    speaker, goes = await held.come("Nói"), await held.come("Ra đi")
    sends, hears = await speaker.join_media(), await goes.join_media()
    voice = await sends.publish("audio")
    await until(lambda: hears.count(voice.sid) > 10)
    await until(lambda: hears.refresh_token)
    granted = await goes.control.done("media")
    tokens = [hears.token, hears.refresh_token, granted["token"]]
    url = granted["url"]
    await held.command("remove", participant=goes.me)
    # The call has returned: from here on nothing comes, through whatever door.
    await asyncio.wait_for(hears.closed.wait(), 3)
    await asyncio.sleep(0.1)
    received = hears.count(voice.sid)
    assert [await refused(url, token) for token in tokens] == [403] * 3
    async with aiohttp.ClientSession() as session:
        for token in tokens:
            for path in ("/rtc/validate", "/rtc"):
                async with session.get(f"{server.url}{path}", params={"access_token": token}) as answer:
                    assert answer.status == 403
    await asyncio.sleep(0.5)
    assert hears.count(voice.sid) == received
    assert hears.unrouted == 0
    assert sends.closed.is_set() is False


async def test_the_door_is_closed_to_everybody_else(held: Held, server: ServeProcess) -> None:
    an = await held.come("An")
    granted = await an.control.done("media")
    assert await refused(granted["url"], "") == 401
    assert await refused(granted["url"], "x.y.z") == 401
    assert await refused(granted["url"], an.seat.session_token) == 401
    assert await refused(granted["url"], held.made["chair_token"]) == 401
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {granted['token']}"}) as session:
        for path, status in (("/rtc/v1", 404), ("/rtc/v1/validate", 404), ("/rtc/../twirp", 404), ("/rtc", 426), ("/rtc/validate", 200)):
            async with session.get(server.url + path) as answer:
                assert answer.status == status, path
                if path.startswith("/rtc/v"):
                    assert answer.headers["Access-Control-Allow-Origin"] == "*", "a page must be able to read it, to fall back"
        for method in ("ListRooms", "ListParticipants", "CreateRoom"):
            async with session.post(f"{server.url}/twirp/livekit.RoomService/{method}", json={}) as answer:
                assert answer.status == 404, "the SFU's own interface is never exposed"
    await held.command("end")
    assert await refused(granted["url"], granted["token"]) == 403


async def test_who_hangs_up_while_it_is_let_in_leaves_no_error_in_the_log(held: Held, server: ServeProcess) -> None:
    """A network that changes does that: the connection is gone before its upgrade could be answered."""
    an = await held.come("An")
    granted = await an.control.done("media")
    where = URL(granted["url"])
    lines = (
        f"GET /rtc?access_token={granted['token']}&protocol=15 HTTP/1.1", f"Host: {where.host}:{where.port}", "Upgrade: websocket",
        "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    for after_s in (0.0, 0.0, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02):
        with socket.create_connection((where.host or "", where.port or 0), timeout=5) as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            caller.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
            await asyncio.sleep(after_s)
    assert (await an.control.done("media"))["url"]
    await asyncio.sleep(0.5)
    assert "Traceback" not in server.said()


async def test_a_loop_of_joins_reaches_the_relay_no_faster_than_an_honest_client(held: Held, server: ServeProcess) -> None:
    an, binh = await held.come("An"), await held.come("Bình")
    other = await binh.join_media()
    granted = await an.control.done("media")
    answers: list[int] = []
    while 429 not in answers and len(answers) < 60:
        answers.append(await refused(granted["url"], granted["token"]))
    assert answers[:10] == [101] * 10
    assert answers[-1] == 429
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {granted['token']}"}) as session:
        for path in ("/rtc", "/rtc/validate"):
            async with session.get(server.url + path) as answer:
                assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (429, "*")
                wait_s = int(answer.headers["Retry-After"])
    await asyncio.sleep(wait_s + 0.1)
    voice = await (await an.join_media()).publish("audio")
    await until(lambda: other.count(voice.sid) > 10)


async def test_a_muted_microphone_is_silent_at_the_sfu(held: Held) -> None:
    speaker, listener = await held.come("Nói"), await held.come("Nghe")
    sends, hears = await speaker.join_media(), await listener.join_media()
    voice = await sends.publish("audio")
    await speaker.control.done("set_source", source="microphone", state="on")
    await until(lambda: hears.count(voice.sid) > 10)
    await held.command("mute", participant=speaker.me)
    await sends.wait("mute", check=lambda told: told.sid == voice.sid and told.muted)
    await asyncio.sleep(0.1)
    received = hears.count(voice.sid)
    await asyncio.sleep(0.5)
    assert hears.count(voice.sid) == received, "it goes on sending; nobody hears it"


async def test_a_dead_relay_is_started_again_and_everybody_rejoins(held: Held, server: ServeProcess) -> None:
    one, other = await held.come("An"), await held.come("Bình")
    first = await one.join_media()
    await other.join_media()
    pid = server.relay_pid()
    os.kill(pid, signal.SIGKILL)
    assert first is not None
    await asyncio.wait_for(first.closed.wait(), 5)
    assert one.control.closed is None, "the meeting goes on"
    await one.control.done("chat", text="mất tiếng rồi")

    async def ready() -> Any:
        return (await held.anybody.get("/readyz")).body

    for _ in range(200):
        if (await ready())["ready"]:
            break
        await asyncio.sleep(0.05)
    assert await ready() == {"ready": True, "missing": []}
    assert server.relay_pid() != pid
    sends, hears = await one.join_media(), await other.join_media()
    voice = await sends.publish("audio")
    await until(lambda: hears.count(voice.sid) > 10)
    assert 'vidconf_relay_starts_total 2.0' in (await held.anybody.get("/metrics")).body


async def test_while_media_is_down_it_is_said_so(held: Held, server: ServeProcess) -> None:
    an = await held.come("An")
    relay = psutil.Process(server.relay_pid())
    relay.suspend()
    try:
        began = time.monotonic()
        answer = await an.control.ask("media")
        assert (answer["error"], time.monotonic() - began < 8) == ("media_unavailable", True)
        await an.control.done("chat", text="vẫn nói chuyện được")
    finally:
        relay.resume()
    assert (await an.control.done("media"))["token"]


async def test_another_client_by_the_official_package_until_it_is_removed(held: Held, server: ServeProcess) -> None:
    an = await held.come("An")
    watches = await an.join_media()
    made = await asyncio.to_thread(
        vidconf, "meeting", "token", held.made["code"], "--identity", "gateway", "--name", "Phòng họp", "--data", str(server.data), "--json"
    )
    granted = json.loads(made.stdout)
    gateway = SdkClient("gateway")
    await gateway.join(granted["url"], granted["token"])
    await gateway.publish_audio()
    voice = await watches.publish("audio")
    await until(lambda: gateway.sounds or (gateway.events and ("track_subscribed", f"{an.me}.1") in gateway.events))
    assert voice.sid
    await until(lambda: any(len(info.tracks) for identity, info in watches.participants.items() if identity.startswith("gateway.")))
    state = await held.script.state(held.id)
    [external] = [p for p in state["participants"] if p["kind"] == "external"]
    assert (external["id"], external["name"]) == ("gateway", "Phòng họp")
    await an.control.event("connected", participant="gateway")
    await held.command("remove", participant="gateway")
    await asyncio.wait_for(gateway.disconnected.wait(), 5)
    assert await refused(granted["url"], granted["token"]) == 403
    await gateway.leave()


# ---- bots ------------------------------------------------------------------------------------------------------------


async def bot(link: str, *words: str) -> asyncio.subprocess.Process:
    argv = [sys.executable, "-m", "vidconf.cli.main", "bot", link, "--json", *words]
    return await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)


async def report(process: asyncio.subprocess.Process) -> dict[str, Any]:
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    found: dict[str, Any] = json.loads(out)
    return found


async def test_bots_rejoin_when_the_relay_dies(held: Held, server: ServeProcess) -> None:
    chair = await held.come("Chủ trì")
    process = await bot(held.link, "--count", "2", "--seconds", "12", "--camera", "lavfi:testsrc2=size=320x180:rate=15", "--microphone", "none")
    try:
        await chair.control.until(lambda: sum(one.get("source") == "camera" and one.get("state") == "on" for one in chair.control.events) >= 2, 30)
        watching = await chair.join_media()
        await until(lambda: sum(len(packets) > 20 for packets in watching.packets.values()) == 2, 15)
        os.kill(server.relay_pid(), signal.SIGKILL)
        await asyncio.wait_for(watching.closed.wait(), 5)
        again: RawClient | None = None
        for _ in range(50):
            answer = await chair.control.ask("media")
            if "ok" in answer:
                again = await chair.join_media()
                break
            await asyncio.sleep(0.2)
        assert again is not None
        await until(lambda: sum(len(packets) > 20 for packets in again.packets.values()) == 2, 15)
        found = await report(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    for one in found["bots"]:
        assert one["ended"] == "done"
        assert one["reconnects"] >= 1
        assert sum(track["frames"] for track in one["tracks"] if track["kind"] == "video") > 20


async def test_a_bot_that_is_removed_says_so(held: Held) -> None:
    chair = await held.come("Chủ trì")
    process = await bot(held.link, "--camera", "none", "--microphone", "none", "--seconds", "30")
    try:
        came = await chair.control.event("admitted", timeout_s=30, participant_name="Bot")
        await chair.control.event("connected", timeout_s=10, participant=came["participant"])
        await held.command("remove", participant=came["participant"])
        found = await report(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, found["ended"]) == (1, "removed")


async def test_bots_come_back_when_the_server_is_killed_and_started_again(tmp_path: Path) -> None:
    with ServeProcess(tmp_path) as server:
        async with server.admin() as admin:
            held = Held(admin, (await admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body)
            chair = await held.come("Chủ trì")
            process = await bot(held.link, "--count", "2", "--seconds", "14", "--camera", "lavfi:testsrc2=size=320x180:rate=15", "--microphone", "none")
            try:
                await chair.control.until(lambda: sum(one.get("source") == "camera" and one.get("state") == "on" for one in chair.control.events) >= 2, 30)
                before = await chair.join_media()
                await until(lambda: sum(len(packets) > 20 for packets in before.packets.values()) == 2, 20)
                server.kill()
                await chair.control.ended()
                server.start()
                chair.control = await chair.seat.connect()
                media = await chair.join_media()
                await until(lambda: sum(len(packets) > 20 for packets in media.packets.values()) == 2, 20)
                state = await held.script.state(held.id)
                assert sorted(p["name"] for p in state["participants"]) == ["Bot 1", "Bot 2", "Chủ trì"], "each on its own seat, nobody twice"
                found = await report(process)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            await chair.close()
    assert process.returncode == 0
    for one in found["bots"]:
        assert one["ended"] == "done"
        assert one["reconnects"] >= 1
