"""LiveKit behind nginx and the server's door: packaging/deploy's own files, with free ports and a certificate of the test's.

A removed client with a token that LiveKit itself renewed is refused at the front and gets not one packet.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from e2e.botproc import run_vidconf
from e2e.control_client import Api
from e2e.livekitproc import free_port, needs_livekit_server
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from e2e.serverproc import ServeProcess
from livekit import api as livekit_api
from livekit.protocol import room as livekit_room

DEPLOY = Path(__file__).resolve().parents[2] / "packaging" / "deploy"
SECRET = "a-secret-of-this-test-that-is-long-enough"

pytestmark = [pytest.mark.livekit_server, pytest.mark.timeout(120)]


@dataclass
class House:
    server: ServeProcess
    admin: Api
    front: str
    livekit: str
    nginx: subprocess.Popen[bytes]


def wait_for_port(port: int) -> None:
    ends = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < ends, port
            time.sleep(0.05)


def begun(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    needs_livekit_server()
    if shutil.which("nginx") is None:
        pytest.skip("nginx is missing: ./script/install-test-peers")
    front, signalling, udp, tcp = free_port(), free_port(), free_port(socket.SOCK_DGRAM), free_port()
    server = ServeProcess(tmp_path)
    http = server.port
    livekit = (DEPLOY / "livekit.yaml").read_text()
    livekit = livekit.replace("7880", str(signalling)).replace("7882", str(udp)).replace("7881", str(tcp)).replace("8080", str(http))
    livekit = livekit.replace("use_external_ip: false", "node_ip: 127.0.0.1\n  enable_loopback_candidate: true\n  interfaces: {includes: [lo]}  #")
    livekit = re.sub(r"change-me\S+", SECRET, livekit)
    (tmp_path / "livekit.yaml").write_text(livekit)
    # The front speaks plain HTTP here: LiveKit's SDK trusts the machine's certificates only. Everything else is as it stands.
    nginx = (DEPLOY / "nginx.conf").read_text()
    nginx = re.sub(r"\n\s*ssl_(certificate|certificate_key|protocols) [^\n]*", "", nginx)
    nginx = nginx.replace("listen 443 ssl", f"listen 127.0.0.1:{front}").replace("127.0.0.1:8080", f"127.0.0.1:{http}")
    nginx = nginx.replace("127.0.0.1:7880", f"127.0.0.1:{signalling}")
    own = f"pid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/nginx.log;\ndaemon off;\nmaster_process off;\n"
    temporary = "".join(f"    {kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(own + nginx.replace("http {\n", "http {\n" + temporary, 1))
    config = (DEPLOY / "vidconf.toml").read_text()
    config = re.sub(r"change-me[^\"]+", SECRET, config).replace("port = 8080", f"port = {http}").replace("127.0.0.1:7880", f"127.0.0.1:{signalling}")
    config = config.replace("https://hop.example.gov.vn", f"http://127.0.0.1:{front}").replace("wss://hop.example.gov.vn", f"ws://127.0.0.1:{front}")
    config = re.sub(r"(?m)^data = .*$", "", config)

    (tmp_path / "server.toml").write_text(config)
    sfu = begun("livekit-server", "--config", str(tmp_path / "livekit.yaml"))
    gate = begun("nginx", "-c", str(tmp_path / "nginx.conf"))
    try:
        server.start()
        for port in (signalling, front):
            await asyncio.to_thread(wait_for_port, port)
        async with Api(f"http://127.0.0.1:{http}", server.facts()["admin_key"]) as admin:
            yield House(server, admin, f"http://127.0.0.1:{front}", f"http://127.0.0.1:{signalling}", gate)
    finally:
        for process in (gate, sfu):
            process.terminate()
            process.wait(10)
        assert server.stop() == 0


async def external(house: House, code: str, identity: str) -> tuple[str, str]:
    words = ("meeting", "token", code, "--identity", identity, "--data", str(house.server.data))
    granted = await asyncio.to_thread(run_vidconf, *words)
    assert granted["url"] == house.front.replace("http", "ws", 1)
    return granted["url"], granted["token"]


async def test_mute_removal_and_the_door_hold_at_livekit(house: House) -> None:
    made = (await house.admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
    chair = house.admin.with_bearer(made["chair_token"])
    stayer = SdkClient("stayer")
    url, token = await external(house, made["code"], "stubborn")
    stubborn = RawClient(url, token)
    try:
        await stayer.join(*await external(house, made["code"], "stayer"))
        await stubborn.join()
        await stubborn.publish("audio")
        picture = await stubborn.publish("video")
        own = "stubborn.1"
        assert await until(lambda: ("track_subscribed", own) in stayer.events, 15), stayer.events
        await stayer.publish_audio()
        assert await until(lambda: sum(len(p) for p in stubborn.packets.values()) > 20, 15), "it hears the SDK, too"
        assert (await chair.command(made["id"], "mute", participant="stubborn")).status == 200
        assert await until(lambda: ("track_muted", own) in stayer.events, 5), stayer.events
        await stubborn.wait("refresh_token", timeout_s=10)
        refreshed = next(m.refresh_token for m in stubborn.messages if m.WhichOneof("message") == "refresh_token")
        assert (await chair.command(made["id"], "remove", participant="stubborn")).status == 200
        assert await until(lambda: ("participant_disconnected", own) in stayer.events, 5), stayer.events
        await asyncio.sleep(0.5)  # what was on its way
        received = sum(len(p) for p in stubborn.packets.values())
        for kept in (token, refreshed):
            headers = {"Authorization": f"Bearer {kept}"}
            async with house.admin.session.get(f"{house.front}/rtc/validate", headers=headers) as answer:
                assert answer.status == 403
                assert answer.headers["Access-Control-Allow-Origin"] == "*"
            async with house.admin.session.get(f"{house.front}/rtc/validate?access_token={kept}") as answer:
                assert answer.status == 403, "as a browser asks"
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await house.admin.session.ws_connect(f"{url}/rtc", headers=headers)
            assert refused.value.status == 403
        await asyncio.sleep(1)
        assert sum(len(p) for p in stubborn.packets.values()) == received, "not one packet"
        assert picture.sid
    finally:
        await stubborn.close()
        await stayer.leave()


async def test_who_comes_in_by_the_back_is_put_out(house: House) -> None:
    """LiveKit's port reached directly, as a mistake in a firewall would allow: the server's look every 5 s ends it."""
    made = (await house.admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
    stayer = SdkClient("stayer")
    await stayer.join(*await external(house, made["code"], "stayer"))
    room = f"{made['id']}.1"
    grants = livekit_api.VideoGrants(room_join=True, room=room)
    stranger = livekit_api.AccessToken("vidconf", SECRET).with_identity("stranger").with_grants(grants).to_jwt()
    intruder = SdkClient("stranger")
    try:
        async with house.admin.session.get(f"{house.front}/rtc/validate", headers={"Authorization": f"Bearer {stranger}"}) as answer:
            assert answer.status == 403, "signed well, and still nobody of the meeting's"
        await intruder.join(house.livekit.replace("http", "ws", 1), stranger)
        assert await until(lambda: intruder.disconnected.is_set(), 12)
        async with livekit_api.LiveKitAPI(house.livekit, "vidconf", SECRET) as lk:
            listed = await lk.room.list_participants(livekit_room.ListParticipantsRequest(room=room))
            assert [p.identity for p in listed.participants] == ["stayer.1"]
            # The end of the meeting ends its room.
            assert (await house.admin.command(made["id"], "end")).status == 200
            assert await until(lambda: stayer.disconnected.is_set(), 12)
            rooms = await lk.room.list_rooms(livekit_room.ListRoomsRequest())
            assert room not in [one.name for one in rooms.rooms]
    finally:
        await intruder.leave()
        await stayer.leave()


async def test_what_the_front_keeps_to_itself(house: House) -> None:
    session = house.admin.session
    for path in ("/metrics", "/api/v1/media/gate", "/api/v1/media/webhook", "/media-gate", "/twirp/livekit.RoomService/ListRooms"):
        async with session.post(house.front + path, data=b"{}") as answer:
            assert answer.status == 404, path
    async with session.get(f"{house.front}/rtc/validate") as answer:
        assert answer.status == 401
    async with session.get(f"{house.front}/healthz") as answer:
        assert answer.status == 200
    async with session.get(f"{house.front}/m/aaaa-bbbb-cccc") as answer:
        assert answer.status == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


async def test_bots_meet_through_the_front(house: House) -> None:
    from vidconf.cli.bot_participant import Bot, BotOptions

    made = (await house.admin.post("/api/v1/meetings", {"title": "Giao ban", "lobby": False})).body
    assert made["link"].startswith(house.front)
    films = {"camera": "lavfi:testsrc2=size=320x180:rate=30", "microphone": "lavfi:sine=frequency=440"}
    bots = [Bot(BotOptions(link=made["link"], name=name, seconds=5, **films)) for name in ("An", "Bình")]
    for report in await asyncio.gather(*(bot.run() for bot in bots)):
        assert report["ended"] == "done"
        assert {t["source"]: t["packets"] > 50 for t in report["tracks"]} == {"camera": True, "microphone": True}, report


def test_the_front_as_it_stands_is_good(tmp_path: Path) -> None:
    """`nginx -t` on the file itself, with a certificate where it looks for one."""
    if shutil.which("nginx") is None or shutil.which("openssl") is None:
        pytest.skip("nginx is missing: ./script/install-test-peers")
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "1", "-subj", "/CN=hop.example.gov.vn"]
    subprocess.run(command, check=True, capture_output=True)
    ssl.create_default_context(cafile=str(certificate))
    text = (DEPLOY / "nginx.conf").read_text().replace("/etc/ssl/vidconf", str(tmp_path))
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/nginx.pid;\n" + text)
    done = subprocess.run(["nginx", "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
