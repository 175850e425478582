"""A running meeting when something goes wrong: garbage on every door, the relay killed, the server killed. Everybody is back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import threading
import time
import urllib.request
from typing import Any

import aiohttp
import psutil
import pylibsrtp
from e2e.botproc import BotProcess
from e2e.control_client import Api, Seat, open_socket
from e2e.meetings import FILMS, came, counted, external, meeting, newly, people, seen
from e2e.raw_client import RawClient
from e2e.sdk_client import SdkClient, until
from e2e.serverproc import ServeProcess

from vidconf.cli.bot_participant import Bot, BotOptions

BACK_S = 10.0
"""Everybody has picture and sound again; a second or two where the machine is not busy with other things."""


# ---- garbage -----------------------------------------------------------------------------------------------------------


class Machine:
    """Counts how often this machine itself let a thread wait too long, with nothing of ours in between."""

    def __init__(self) -> None:
        self.stalls = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tick)

    def __enter__(self) -> Machine:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _tick(self) -> None:
        while True:
            began = time.monotonic()
            if self._over.wait(0.02):
                return
            self.stalls += time.monotonic() - began > 0.12


class Garbage:
    """What a stranger, a guest and a participant can send. Bounded, reproducible."""

    def __init__(self, server: ServeProcess, udp_port: int, seat: Seat, insider: RawClient, session: aiohttp.ClientSession) -> None:
        self.url, self.udp_port, self.seat, self.insider, self.session = server.url, udp_port, seat, insider, session
        self.dice = random.Random(11)

    async def everywhere(self) -> None:
        await asyncio.gather(self._udp(), self._rest(), self._control(), self._door(), self._media())
        await self._signalling()

    async def _udp(self) -> None:
        dice = self.dice
        stun = b"\x00\x01\x00\x10\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\x00\x0cabcdefgh:xyz"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for k in range(3000):
                noise = dice.randbytes(dice.choice((0, 1, 5, 12, 19, 20, 60, 300, 1400)))
                if k % 3 == 0:
                    noise = stun[: dice.randrange(len(stun) + 1)] + noise[:24]
                elif noise:
                    noise = bytes((dice.choice((0, 1, 20, 22, 63, 128, 144, 191, 255)),)) + noise[1:]
                sock.sendto(noise, ("127.0.0.1", self.udp_port))
                if k % 30 == 0:
                    await asyncio.sleep(0.02)

    async def _rest(self) -> None:
        bodies = (b"", b"{", b"[" * 5000, b'{"code": 1e999}', b"\xff\xfe", b'{"code": "\\ud800"}', self.dice.randbytes(3000), b"[]", b'{"a":' * 50 + b"1")
        paths = ("join", "auth/login", "auth/refresh", "meetings", "meetings/x/commands", f"meetings/{self.seat.meeting}/commands", "media/webhook")
        for path in (*(f"/api/v1/{path}" for path in paths), "/twirp/livekit.RoomService/ListRooms", "/twirp/livekit.RoomService/DeleteRoom"):
            for body in bodies:
                for headers in ({}, {"Authorization": "Bearer " + "x" * 200}, {"Authorization": "\xff"}):
                    async with self.session.post(self.url + path, data=body, headers=headers) as answer:
                        assert 400 <= answer.status < 500, (path, body[:20], answer.status)
                        assert answer.status == 404 or not path.startswith("/twirp"), "it is not there"
        async with self.session.post(self.url + "/api/v1/join", data=bytes(1 << 20)) as answer:
            assert answer.status in (400, 413)

    async def _control(self) -> None:
        stranger = Api(self.url, session=self.session)
        hello = '{"id":0,"do":"hello","token":"no","protocol":1,"client":"x","resume_from":null}'
        for text in ("", "{", "[]", '{"id": 0, "do": "hello"}', hello, hello.replace("1,", "9,"), "x" * 60_000, "[" * 60_000):
            socket = await open_socket(stranger)
            await socket.raw.send_str(text)
            assert await socket.ended() >= 1000
        for frame in (b"", self.dice.randbytes(500)):
            socket = await open_socket(stranger)
            await socket.raw.send_bytes(frame)
            assert await socket.ended() >= 1000
        # Somebody of the meeting: answered by code as long as it is readable, then put out; the seat can be taken again.
        inside = await self.seat.connect()
        for k, fields in enumerate(({"do": "fly"}, {"do": "mute"}, {"do": "mute", "participant": {}}, {"do": ["mute"]}, {"do": "end", "x": 1}), 1):
            await inside.say({"id": k, **fields})
            answer = await inside.wait(lambda frame, k=k: frame.get("re") == k)
            assert "ok" not in answer, answer
        await inside.raw.send_str('{"id": "x"')
        assert await inside.ended() >= 4000
        again = await self.seat.connect()
        await again.close()

    async def _door(self) -> None:
        for path in ("/rtc", "/rtc/validate"):
            for token in ("", "x.y.z", "." * 100, "é", self.seat.session_token, "x" * 7000):
                async with self.session.get(self.url + path, params={"access_token": token}) as answer:
                    assert answer.status == 401, (path, token[:10], answer.status)
        for path in ("/rtc/v1", "/rtc/v9/validate", "/rtc/../twirp", "/rtc/%00"):
            async with self.session.get(self.url + path) as answer:
                assert answer.status in (401, 404), (path, answer.status)

    async def _media(self) -> None:
        """By a participant's own, lawful connections, encrypted as they should be."""
        dice, voice = self.dice, await self.insider.publish("audio")
        for k in range(300):
            noise = dice.randbytes(dice.choice((12, 13, 20, 40, 200)))
            head = bytes((dice.choice((0x80, 0x90, 0xBF, 0xB0)), dice.choice((96, 111, 224, 200, 201, 205, 206, 207, 203))))
            packet = head + noise[2:8] + (voice.section.ssrc.to_bytes(4, "big") if k % 2 else noise[8:12]) + noise[12:]
            with contextlib.suppress(pylibsrtp.Error):  # some are too broken even to be encrypted
                self.insider.publisher.send(packet)
            await asyncio.sleep(0.004)

    async def _signalling(self) -> None:
        ws = self.insider.ws
        assert ws is not None
        for k in range(60):
            if ws.closed:
                break
            with contextlib.suppress(ConnectionError):
                await (ws.send_str("{" * k) if k % 5 == 0 else ws.send_bytes(self.dice.randbytes(self.dice.choice((0, 1, 30, 3000)))))


def relay_counters(server: ServeProcess) -> str:
    """Where the relay's own figures are: on loopback, at a port that only `serve` knows; the other is media's."""
    with urllib.request.urlopen(f"{server.url}/api/v1/media/where", timeout=5) as answer:
        media = {address["port"] for address in json.load(answer)["tcp"]}
    listening = {one.laddr.port for one in psutil.Process(server.relay_pid()).net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    [port] = listening - media
    return f"http://127.0.0.1:{port}/debug/counters"


async def test_garbage_on_every_door_while_a_meeting_runs(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    words = ("--camera", FILMS["camera"], "--microphone", FILMS["microphone"])
    bots = BotProcess(made["link"], "--count", "2", "--name", "Bot", *words)
    insider = RawClient(*await external(server, made, "insider"))
    relay = server.relay_pid()
    try:
        found = await came(admin, made, "Bot 1", "Bot 2")
        seat = await admin.with_bearer("").join(made["code"], "Khách")
        await insider.join()
        assert await until(lambda: sum(len(packets) > 20 for packets in insider.packets.values()) == 4, 15)
        udp_port = int((await admin.get("/api/v1/media/where")).body["udp"][0]["port"])
        with Machine() as machine:
            async with aiohttp.ClientSession() as session:
                await Garbage(server, udp_port, seat, insider, session).everywhere()
            await asyncio.sleep(0.5)
        assert (await admin.get("/readyz")).status == 200
        assert server.relay_pid() == relay
        metrics = (await admin.get("/metrics")).body
        async with admin.session.get(relay_counters(server)) as answer:
            counters = await answer.json()
        names = set(await people(admin, made))
    finally:
        await insider.close()
        await bots.stop()
    assert {"Bot 1", "Bot 2"} <= names
    for bot in (await bots.report())["bots"]:
        assert (bot["ended"], bot["reconnects"]) == ("done", 0), "nobody noticed"
        other = found["Bot 2" if bot["name"] == "Bot 1" else "Bot 1"]["id"]
        [picture, sound] = sorted((t for t in bot["tracks"] if t["participant"] == other), key=lambda t: str(t["source"]))
        assert picture["freezes"] <= machine.stalls, (picture, machine.stalls)
        assert picture["frames"] > 60
        assert sound["packets"] > 100

    def figure(name: str, label: str) -> float:
        return next((float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(name) and label in line), 0.0)

    assert figure("vidconf_control_total", '"hello_malformed"') >= 6
    assert figure("vidconf_control_total", '"hello_bad_token"') == 1
    assert figure("vidconf_control_total", '"binary_frames"') == 2
    assert figure("vidconf_control_total", '"unknown_command"') >= 1
    assert figure("vidconf_media_door_total", '"refused"') >= 12
    assert counters["port"]["faults"] == 0
    assert counters["port"]["unknown_address"] > 500
    assert counters["port"]["stun_refused"] > 100
    assert counters["signal_malformed"] >= 1


# ---- kill -9 -----------------------------------------------------------------------------------------------------------


class Talk:
    """An and Bình in this process, An muted by the chair; the official SDK; all with picture and sound."""

    def __init__(self, server: ServeProcess, admin: Api, made: dict[str, Any]) -> None:
        self.server, self.admin, self.made = server, admin, made
        self.bots = {name: Bot(BotOptions(link=made["link"], name=name, **FILMS)) for name in ("An", "Bình")}
        self.sdk = SdkClient("gateway")
        self.ids: dict[str, str] = {}
        self._tasks = [asyncio.create_task(bot.run()) for bot in self.bots.values()]

    async def begin(self) -> None:
        await self.sdk.join(*await external(self.server, self.made, "gateway"))
        await self.sdk.publish_video()
        await self.sdk.publish_audio()
        found = await came(self.admin, self.made, "An", "Bình", "gateway")
        self.ids = {name: one["id"] for name, one in found.items()}
        an, binh = self.ids["An"], self.ids["Bình"]
        assert await until(lambda: seen(self.bots["An"]) == {source: {binh, "gateway"} for source in ("camera", "microphone")}, 15)
        assert await until(lambda: len(self.sdk.frames) == len(self.sdk.sounds) == 2, 15), self.sdk.report()
        muted = await self.admin.with_bearer(self.made["chair_token"]).command(self.made["id"], "mute", participant=an)
        assert muted.status == 200
        assert await until(lambda: self.bots["An"]._engine.session.publications["microphone"].muted, 5)

    async def lose(self, how: Any) -> float:
        """Seconds from `how()` until everybody has everybody's picture and sound again."""
        before = {name: bot._engine.session.reconnects for name, bot in self.bots.items()}
        how()
        began = time.monotonic()
        assert await until(lambda: all(bot._engine.session.reconnects > before[name] for name, bot in self.bots.items()), 20)
        packets = {name: counted(bot) for name, bot in self.bots.items()}
        frames, sounds = dict(self.sdk.frames), dict(self.sdk.sounds)
        an, binh = self.ids["An"], self.ids["Bình"]
        gateway = {("gateway", "camera"), ("gateway", "microphone")}
        wanted = {"An": {(binh, "camera"), (binh, "microphone"), *gateway}, "Bình": {(an, "camera"), *gateway}}

        def back() -> bool:
            if any(not newly(bot, packets[name]) >= wanted[name] for name, bot in self.bots.items()):
                return False
            pictures = {identity.split(".")[0] for identity, count in self.sdk.frames.items() if count > frames.get(identity, 0) + 10}
            voices = {identity.split(".")[0] for identity, count in self.sdk.sounds.items() if count > sounds.get(identity, 0) + 20}
            return pictures >= {an, binh} and binh in voices

        assert await until(back, 20), (
            {name: newly(bot, packets[name]) for name, bot in self.bots.items()}, frames, self.sdk.report(), time.monotonic() - began
        )  # fmt: skip
        return time.monotonic() - began

    async def an_is_muted(self, admin: Api) -> None:
        """Said by the server, told by the SFU, and heard: another client gets not one packet of it."""
        assert self.bots["An"]._engine.session.publications["microphone"].muted
        assert (await people(admin, self.made))["An"]["sources"] == {"camera": "on", "microphone": "muted", "screen_share": "off"}
        listener = RawClient(*await external(self.server, self.made, "listener"))
        try:
            there = (await listener.join()).other_participants
            others = {info.identity.split(".")[0]: {track.type: track for track in info.tracks} for info in there}
            own, other = (others[self.ids[name]] for name in ("An", "Bình"))
            assert await until(lambda: listener.count(other[0].sid) > 30 and listener.count(own[1].sid) > 20, 10)
            assert (own[0].muted, listener.count(own[0].sid)) == (True, 0)
        finally:
            await listener.close()

    async def end(self) -> None:
        await self.sdk.leave()
        for bot in self.bots.values():
            bot.stop()
        for report in await asyncio.gather(*self._tasks):
            assert report["ended"] == "done"


async def test_the_relay_is_killed_and_everybody_comes_back(server: ServeProcess, admin: Api) -> None:
    talk = Talk(server, admin, await meeting(admin, lobby=False))
    try:
        await talk.begin()
        relay = server.relay_pid()
        took_s = await talk.lose(lambda: os.kill(relay, signal.SIGKILL))
        assert took_s < BACK_S
        assert server.relay_pid() != relay
        await talk.an_is_muted(admin)
    finally:
        await talk.end()


async def test_other_clients_among_themselves_come_back_when_the_relay_is_killed(server: ServeProcess, admin: Api) -> None:
    """They ask nobody for a token: their room must be there again by itself."""
    made = await meeting(admin, lobby=False)
    one, other = SdkClient("one"), SdkClient("other")
    try:
        await one.join(*await external(server, made, "one"))
        await one.publish_video()
        await other.join(*await external(server, made, "other"))
        assert await until(lambda: other.frames["one.1"] > 10, 10)
        os.kill(server.relay_pid(), signal.SIGKILL)
        assert await until(lambda: ("participant_disconnected", "one.1") in other.events or other.events[-1][0] == "reconnecting", 10), other.events
        frames = other.frames["one.1"]
        assert await until(lambda: other.frames["one.1"] > frames + 20, 20), other.report()
        await came(admin, made, "one", "other")
    finally:
        await one.leave()
        await other.leave()


async def test_the_server_is_killed_and_nothing_said_is_lost(server: ServeProcess, admin: Api) -> None:
    made = await meeting(admin, lobby=False)
    talk = Talk(server, admin, made)
    said: list[str] = []
    try:
        await talk.begin()
        seat = await admin.with_bearer("").join(made["code"], "Người viết")
        writer = await seat.connect()

        async def write() -> None:
            for k in range(1000):
                await writer.say({"id": 100 + k, "do": "chat", "text": f"dòng {k}"})
                answer = await writer.wait(lambda frame, k=k: frame.get("re") == 100 + k)
                if "ok" in answer:
                    said.append(f"dòng {k}")
                await asyncio.sleep(0.2)

        writing = asyncio.create_task(write())
        assert await until(lambda: len(said) >= 8, 10)

        relay = server.relay_pid()

        def kill_and_start() -> None:
            server.kill()
            server.start()

        took_s = await talk.lose(kill_and_start)
        assert took_s < BACK_S
        assert server.relay_pid() != relay
        assert not psutil.pid_exists(relay), "a relay without its server would go on forwarding"
        with contextlib.suppress(AssertionError, aiohttp.ClientError):  # its line is cut, that is all
            await writing
        async with server.admin() as again:
            state = await again.state(made["id"])
            lines = [line["text"] for line in state["chat"]]
            assert lines[: len(said)] == said
            assert len(lines) <= len(said) + 1, "one may have been stored whose answer was lost"
            assert {name: one["id"] for name, one in (await people(again, made)).items()}.items() >= talk.ids.items(), "each on its own seat"
            resumed = await Seat(again, seat.session_token, seat.meeting, seat.participant, seat.state).connect(resume_from=writer.seen)
            await resumed.done("chat", text="và tiếp")
            assert [line["text"] for line in (await again.state(made["id"]))["chat"]] == [*lines, "và tiếp"]
            assert (await again.get("/api/v1/audit")).body["ok"]
            await talk.an_is_muted(again)
            await resumed.close()
    finally:
        await talk.end()
