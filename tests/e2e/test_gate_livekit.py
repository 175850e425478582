"""LiveKit behind nginx and the server's door, from packaging/deploy's own files (`e2e.deployed`), everything over TLS.

What the meeting decides holds at LiveKit: a mute, a removal, a ban; LiveKit's own renewed tokens open nothing.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from e2e.botproc import BotProcess, run_vidconf
from e2e.control_client import Api
from e2e.deployed import KEY, SECRET, House, certificate, deployed, needs_nginx, nginx_conf
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from livekit import api as livekit_api
from livekit.protocol import room as livekit_room

from vidconf.cli.bot_participant import Bot, BotOptions

pytestmark = [pytest.mark.livekit_server, pytest.mark.timeout(120)]

FILMS = {"camera": "lavfi:testsrc2=size=320x180:rate=30", "microphone": "lavfi:sine=frequency=440"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with deployed(tmp_path_factory.mktemp("deployed")) as house, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(house.certificate))
        yield house


@pytest.fixture
async def admin(house: House) -> AsyncIterator[Api]:
    """By the front, as everybody."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=house.trust)) as session:
        yield Api(house.front, house.server.facts()["admin_key"], session)


@pytest.fixture
async def sfu(house: House) -> AsyncIterator[livekit_api.room_service.RoomService]:
    """LiveKit as somebody with its secret sees it."""
    async with livekit_api.LiveKitAPI(house.livekit, KEY, SECRET) as lk:
        yield lk.room


@pytest.fixture
async def made(admin: Api) -> dict[str, Any]:
    reply = await admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})
    found: dict[str, Any] = reply.body
    return found


@pytest.fixture
async def chair(admin: Api, made: dict[str, Any]) -> Api:
    return admin.with_bearer(made["chair_token"])


async def external(house: House, made: dict[str, Any], identity: str) -> tuple[str, str]:
    words = ("meeting", "token", made["code"], "--identity", identity, "--data", str(house.server.data))
    granted = await asyncio.to_thread(run_vidconf, *words)
    assert granted["url"] == house.front.replace("http", "ws", 1)
    return granted["url"], granted["token"]


async def listed(sfu: livekit_api.room_service.RoomService, room: str) -> list[str]:
    found = await sfu.list_participants(livekit_room.ListParticipantsRequest(room=room))
    return sorted(p.identity for p in found.participants)


async def rooms(sfu: livekit_api.room_service.RoomService, meeting: str) -> list[str]:
    found = await sfu.list_rooms(livekit_room.ListRoomsRequest())
    return [room.name for room in found.rooms if room.name.startswith(f"{meeting}.")]


async def eventually(check: Any, timeout_s: float = 10) -> bool:
    """For what has to be asked each time."""
    ends = time.monotonic() + timeout_s
    while not await check():
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(0.1)
    return True


def raw(house: House, url: str, token: str) -> RawClient:
    return RawClient(url, token, house.trust)


def spoken(client: RawClient, sid: str) -> int:
    """Packets of a voice. For a second after a mute LiveKit sends silence of its own, so that no decoder holds on to a sound; where
    the voice comes with copies, behind the byte of RED that says Opus."""
    return sum(not packet.payload.removeprefix(b"\x6f").startswith(b"\xf8\xff\xfe") for _, packet in client.packets[sid])


def received(client: RawClient) -> int:
    return client.unrouted + sum(len(packets) for packets in client.packets.values())


async def test_bots_and_the_sdk_meet_through_the_front(house: House, admin: Api, made: dict[str, Any]) -> None:
    assert made["link"].startswith(f"{house.front}/m/")
    sdk = SdkClient("gateway")
    words = ("--camera", FILMS["camera"], "--microphone", FILMS["microphone"])
    bots = BotProcess(made["link"], "--count", "2", "--name", "Bot", "--seconds", "9", *words)
    try:
        await sdk.join(*await external(house, made, "gateway"))
        await sdk.publish_video()
        await sdk.publish_audio(880)
        assert await until(lambda: sum(frames > 30 for frames in sdk.frames.values()) == 2, 25), sdk.report()
        assert await until(lambda: sum(sounds > 50 for sounds in sdk.sounds.values()) == 2, 10), sdk.report()
        report = await bots.report()
    finally:
        await sdk.leave()
        await bots.stop()
    for bot in report["bots"]:
        assert (bot["ended"], bot["reconnects"]) == ("done", 0)
        tracks = {(track["participant"], track["source"]): track for track in bot["tracks"]}
        assert len(tracks) == 4, tracks.keys()
        assert tracks["gateway", "camera"]["frames"] > 30
        assert tracks["gateway", "microphone"]["packets"] > 50
        assert all(track["packets"] > 50 for track in tracks.values()), tracks


async def test_mute_removal_and_the_door_hold_against_a_client_that_obeys_nobody(
    house: House, admin: Api, made: dict[str, Any], chair: Api
) -> None:
    """Packets are counted where they arrive; the stubborn one sends on whatever it is told."""
    listener = raw(house, *await external(house, made, "listener"))
    url, token = await external(house, made, "stubborn")
    stubborn = raw(house, url, token)
    try:
        await listener.join()
        own = await listener.publish("audio")
        await stubborn.join()
        voice, picture = await stubborn.publish("audio"), await stubborn.publish("video")
        assert await until(lambda: listener.count(voice.sid) > 20 and listener.count(picture.sid) > 20, 15), (listener.count(voice.sid), listener.count(picture.sid), listener.unrouted)
        assert await until(lambda: stubborn.count(own.sid) > 20, 15), "it hears, too"
        assert (await chair.command(made["id"], "mute", participant="stubborn")).status == 200
        assert await until(lambda: any(t.sid == voice.sid and t.muted for t in listener.participants["stubborn.1"].tracks), 5)
        await asyncio.sleep(0.2)  # what was on its way
        heard, seen = spoken(listener, voice.sid), listener.count(picture.sid)
        await asyncio.sleep(1.2)
        assert spoken(listener, voice.sid) == heard, "it sends on, and not one packet arrives"
        assert listener.count(picture.sid) > seen + 10, "its picture is another matter"
        await stubborn.wait("refresh_token", timeout_s=10)
        refreshed = stubborn.refresh_token
        assert refreshed != token
        assert (await chair.command(made["id"], "remove", participant="stubborn")).status == 200
        await asyncio.wait_for(stubborn.closed.wait(), 5)
        await asyncio.sleep(0.2)
        before = received(stubborn), listener.count(picture.sid)
        for kept in (token, refreshed):
            headers = {"Authorization": f"Bearer {kept}"}
            for asked in ({"headers": headers}, {"params": {"access_token": kept}}):  # as a program asks, and as a browser
                async with admin.session.get(f"{house.front}/rtc/validate", **asked) as answer:
                    assert answer.status == 403
                    assert answer.headers["Access-Control-Allow-Origin"] == "*"
            for path in ("/rtc", "/rtc/v1"):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await admin.session.ws_connect(url + path, headers=headers)
                assert refused.value.status == 403
        await asyncio.sleep(1)
        assert (received(stubborn), listener.count(picture.sid)) == before, "not one packet, neither way"
        assert spoken(listener, voice.sid) == heard
    finally:
        await stubborn.close()
        await listener.close()


async def test_a_bot_is_muted_and_removed_at_livekit(house: House, admin: Api, made: dict[str, Any], chair: Api) -> None:
    listener = raw(house, *await external(house, made, "listener"))
    bot = Bot(BotOptions(link=made["link"], name="An", **FILMS))
    running = asyncio.create_task(bot.run())
    try:
        await listener.join()
        assert await until(lambda: sum(len(packets) > 20 for packets in listener.packets.values()) == 2, 15)
        [identity] = [identity for identity in listener.participants if identity != "listener.1"]
        kinds = {track.type: track.sid for track in listener.participants[identity].tracks}
        assert (await chair.command(made["id"], "mute", participant=identity.split(".")[0])).status == 200
        assert await until(lambda: any(t.muted for t in listener.participants[identity].tracks), 5)
        await asyncio.sleep(0.2)
        heard, seen = spoken(listener, kinds[0]), listener.count(kinds[1])
        await asyncio.sleep(1.2)
        assert spoken(listener, kinds[0]) == heard
        assert listener.count(kinds[1]) > seen + 10
        assert (await chair.command(made["id"], "remove", participant=identity.split(".")[0])).status == 200
        report = await asyncio.wait_for(running, 10)
        assert (report["ended"], bot.failed) == ("removed", True)
    finally:
        bot.stop()
        await running
        await listener.close()


async def test_who_comes_in_by_the_back_is_put_out(
    house: House, admin: Api, made: dict[str, Any], sfu: livekit_api.room_service.RoomService
) -> None:
    """LiveKit's port reached directly, as a mistake in a firewall would allow: the server's looks end it."""
    stayer, intruder, nowhere = SdkClient("stayer"), SdkClient("stranger"), SdkClient("nowhere")
    room = f"{made['id']}.1"

    def signed(name: str) -> str:
        grants = livekit_api.VideoGrants(room_join=True, room=name)
        return livekit_api.AccessToken(KEY, SECRET).with_identity("stranger").with_grants(grants).to_jwt()

    try:
        await stayer.join(*await external(house, made, "stayer"))
        async with admin.session.get(f"{house.front}/rtc/validate", headers={"Authorization": f"Bearer {signed(room)}"}) as answer:
            assert answer.status == 403, "signed well, and still nobody of the meeting's"
        with pytest.raises(Exception, match=r"(?i)not exist|not found"):
            await nowhere.join(house.livekit.replace("http", "ws", 1), signed("nowhere.1"))
        await intruder.join(house.livekit.replace("http", "ws", 1), signed(room))
        await asyncio.wait_for(intruder.disconnected.wait(), 12)
        assert await listed(sfu, room) == ["stayer.1"]
        assert (await admin.command(made["id"], "end")).status == 200
        await asyncio.wait_for(stayer.disconnected.wait(), 12)

        async def gone() -> bool:
            return await rooms(sfu, made["id"]) == []

        assert await eventually(gone), "the end of the meeting ends its room"
    finally:
        for client in (nowhere, intruder, stayer):
            await client.leave()


async def test_a_ban_moves_everybody_and_a_deleted_room_comes_back(
    house: House, admin: Api, made: dict[str, Any], chair: Api, sfu: livekit_api.room_service.RoomService
) -> None:
    bots = {name: Bot(BotOptions(link=made["link"], name=name, **FILMS)) for name in ("An", "Bình", "Xấu")}
    running = {name: asyncio.create_task(bot.run()) for name, bot in bots.items()}
    stay = [bots["An"], bots["Bình"]]

    async def all_move() -> None:
        """Each has new pictures and sound of the other, from now on."""
        before = [_counted(bot) for bot in stay]
        assert await until(lambda: all(_newly(bot, old) >= {"camera", "microphone"} for bot, old in zip(stay, before, strict=True)), 15)

    try:
        assert await until(lambda: all(len(_counted(bot)) == 4 for bot in bots.values()), 20)
        await all_move()
        people = {one["name"]: one["id"] for one in (await chair.state(made["id"]))["participants"]}
        old = bots["An"]._last_token
        assert (await chair.command(made["id"], "ban", participant=people["Xấu"])).status == 200
        report = await asyncio.wait_for(running["Xấu"], 10)
        assert (report["ended"], bots["Xấu"].failed) == ("removed", True)
        there = sorted(f"{people[name]}.1" for name in ("An", "Bình"))

        async def moved() -> bool:
            return await rooms(sfu, made["id"]) == [f"{made['id']}.2"] and await listed(sfu, f"{made['id']}.2") == there

        assert await eventually(moved, 15)
        await all_move()
        async with admin.session.get(f"{house.front}/rtc/validate", headers={"Authorization": f"Bearer {old}"}) as answer:
            assert answer.status == 403, "a token for the room that was left"
        await sfu.delete_room(livekit_room.DeleteRoomRequest(room=f"{made['id']}.2"))
        assert await until(lambda: all(bot._engine.session.state != "connected" for bot in stay), 5)
        assert await eventually(moved, 15), "the server makes it again, everybody comes back"
        await all_move()
    finally:
        for bot in bots.values():
            bot.stop()
        await asyncio.gather(*running.values())


def _tracks(bot: Bot) -> list[dict[str, Any]]:
    return bot._engine.session.tracks_report() if bot.admitted.is_set() else []


def _counted(bot: Bot) -> dict[str, int]:
    return {track["track"]: track["packets"] for track in _tracks(bot)}


def _newly(bot: Bot, before: dict[str, int]) -> set[str]:
    """Sources with twenty packets since."""
    return {track["source"] for track in _tracks(bot) if track["packets"] >= before.get(track["track"], 0) + 20}


async def answered(house: House, path: str, token: str) -> tuple[int, bytes]:
    """Status and body of a POST to exactly this path, which no client cleans up on the way."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.front.rpartition(":")[2]), ssl=house.trust)
    head = f"POST {path} HTTP/1.1\r\nHost: hop.example.gov.vn\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return int(answer.split(b" ", 2)[1]), answer.partition(b"\r\n\r\n")[2]


async def test_what_the_front_keeps_to_itself(house: House, admin: Api, made: dict[str, Any]) -> None:
    session = admin.session
    for path in ("/metrics", "/api/v1/media/gate", "/api/v1/media/webhook", "/media-gate", "/twirp/livekit.RoomService/ListRooms", "/rtcs"):
        async with session.post(house.front + path, data=b"{}") as answer:
            assert answer.status in (401, 404) if path == "/rtcs" else answer.status == 404, path
    async with session.get(f"{house.front}/rtc/validate") as answer:
        assert answer.status == 401
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    async with session.get(f"{house.front}/healthz") as answer:
        assert answer.status == 200
        assert "max-age" in answer.headers["Strict-Transport-Security"]
    async with session.get(f"{house.front}/m/aaaa-bbbb-cccc") as answer:
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    # With a token that opens the door and LiveKit's own interface alike: no way of writing the path leads to the latter.
    await external(house, made, "gateway")
    grants = livekit_api.VideoGrants(room_join=True, room=f"{made['id']}.1", room_list=True, room_admin=True, room_create=True)
    mighty = livekit_api.AccessToken(KEY, SECRET).with_identity("gateway.1").with_grants(grants).to_jwt()
    listing = "twirp/livekit.RoomService/ListRooms"
    headers = {"Authorization": f"Bearer {mighty}", "Content-Type": "application/json"}
    async with session.post(f"{house.livekit}/{listing}", data=b"{}", headers=headers) as answer:
        assert answer.status == 200, "it would open"
    async with session.get(f"{house.front}/rtc/validate", headers=headers) as answer:
        assert answer.status == 200, "so does the door"
    ways = (
        f"/{listing}", f"//{listing}", f"/rtc/../{listing}", f"/rtc/%2e%2e/{listing}", f"/rtc/..%2f{listing}", f"/rtc//..//{listing}",
        f"/{listing}/../../../rtc", f"/{listing}/%2e%2e/%2e%2e/%2e%2e/rtc", f"/{listing}/..%2f..%2f..%2frtc", f"/rtc/./../{listing}?x=/rtc",
        f"/{listing}?/rtc", f"/TWIRP/../{listing}", f"/rtc%2f..%2f{listing}", f"/rtc;/../{listing}", f"/rtc\\..\\{listing}",
    )  # fmt: skip
    for way in ways:
        status, body = await answered(house, way, mighty)
        assert status >= 300, (way, status)
        assert b'"rooms"' not in body, way


async def test_nobody_is_another_visitor_by_saying_so(admin: Api, made: dict[str, Any]) -> None:
    """Wrong secrets are counted by the address that nginx saw, whatever a client writes into the header."""
    nobody = admin.with_bearer("")
    path = f"/api/v1/meetings/by-code/{made['code']}/chair"
    replies = [await nobody.post(path, {"secret": "sai"}, headers={"X-Forwarded-For": f"198.51.100.{k}"}) for k in range(12)]
    assert [reply.status for reply in replies] == [403] * 10 + [429] * 2


def test_the_front_as_it_stands_is_good(tmp_path: Path) -> None:
    """`nginx -t` on the file itself, with a certificate where it looks for one."""
    needs_nginx()
    certificate(tmp_path)
    done = subprocess.run(["nginx", "-t", "-c", str(nginx_conf(tmp_path, {}))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr
