"""RoomService by the official package and by hand, webhooks, the door, rooms that end; and garbage on every door while media flows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import aiohttp
import pylibsrtp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from e2e.raw_client import RawClient
from e2e.relayproc import KEY, SECRET, RelayProcess, cpu_of
from e2e.sdk_client import token, until
from livekit import api
from livekit.protocol import rtc

from vidconf.protocol.livekit import Grants, make_token


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


@pytest.fixture
async def make(relay: RelayProcess) -> AsyncIterator[Callable[[str, str], RawClient]]:
    """A client for (room, identity), closed at the end whatever happens."""
    made: list[RawClient] = []

    def go(room: str, identity: str) -> RawClient:
        made.append(RawClient(relay.ws_url, token(room, identity)))
        return made[-1]

    yield go
    for client in made:
        await client.close()


Make = Callable[[str, str], RawClient]


async def status_of(relay: RelayProcess, access: str, path: str = "/rtc/validate", **query: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(relay.url + path, params={"access_token": access, **query}) as answer:
        assert answer.headers.get("Access-Control-Allow-Origin") == "*"
        return answer.status, await answer.text()


async def test_the_door(relay: RelayProcess) -> None:
    assert await status_of(relay, token("door", "a")) == (200, "success")
    now = time.time()
    join = Grants(room="door", room_join=True)
    refused = {
        "": 401,
        "garbage": 401,
        "a.b.c": 401,
        make_token(KEY, "another secret", "a", join, 60): 401,
        make_token("nobody", SECRET, "a", join, 60): 401,
        make_token(KEY, SECRET, "a", join, 60, now=now - 300): 401,
        make_token(KEY, SECRET, "a", join, 600, now=now + 300): 401,
        make_token(KEY, SECRET, "a", Grants(room="door"), 60): 401,
        make_token(KEY, SECRET, "a", Grants(room_join=True), 60): 401,
        make_token(KEY, SECRET, "", join, 60): 400,
        make_token(KEY, SECRET, "x" * 300, join, 60): 400,
    }
    for access, status in refused.items():
        assert (await status_of(relay, access))[0] == status, access
        assert (await status_of(relay, access, "/rtc"))[0] == status
    assert (await status_of(relay, token("door", "a"), "/rtc"))[0] == 426
    assert (await status_of(relay, token("door", "a"), "/rtc/v1"))[0] == 404
    assert (await status_of(relay, token("door", "a"), "/rtc/v1/validate"))[0] == 404
    assert (await status_of(relay, "", "/"))[0] == 200


async def test_the_official_service_client(relay: RelayProcess, make: Make, service: api.room_service.RoomService) -> None:
    room = await service.create_room(api.CreateRoomRequest(name="official", empty_timeout=600, max_participants=2, metadata="m"))
    assert (room.name, room.sid[:3], room.metadata) == ("official", "RM_", "m")
    assert (await service.create_room(api.CreateRoomRequest(name="official"))).sid == room.sid
    assert "official" in [r.name for r in (await service.list_rooms(api.ListRoomsRequest())).rooms]
    assert [r.name for r in (await service.list_rooms(api.ListRoomsRequest(names=["official"]))).rooms] == ["official"]
    a, b = make("official", "a"), make("official", "b")
    try:
        await a.join()
        await b.join()
        third = make("official", "c")
        with pytest.raises(aiohttp.WSServerHandshakeError) as full:
            await third.join()
        assert full.value.status == 429
        for client in (a, b):
            assert await until(lambda client=client: client.subscriber.connected.is_set())
        await asyncio.sleep(0.3)
        info = await service.get_participant(api.RoomParticipantIdentity(room="official", identity="a"))
        assert (info.identity, info.name, info.state) == ("a", "name of a", 2)
        since = len(b.messages)
        request = api.UpdateParticipantRequest(room="official", identity="a", name="Ông A", metadata="x", attributes={"hand": "1"})
        assert (await service.update_participant(request)).name == "Ông A"
        told = await b.wait("update", since=since)
        assert (told.participants[0].name, dict(told.participants[0].attributes)) == ("Ông A", {"hand": "1"})
        await service.update_room_metadata(api.UpdateRoomMetadataRequest(room="official", metadata="new"))
        assert (await b.wait("room_update", since=since)).room.metadata == "new"
        await service.send_data(api.SendDataRequest(room="official", data=b"notice", kind=0, destination_identities=["b"], topic="t"))
        assert await until(lambda: bool(b.data))
        assert (b.data[0][1].user.payload, b.data[0][1].user.topic, b.data[0][1].participant_identity) == (b"notice", "t", "")
        assert not a.data
        for wrong in (
            service.get_participant(api.RoomParticipantIdentity(room="official", identity="nobody")),
            service.list_participants(api.ListParticipantsRequest(room="nowhere")),
            service.delete_room(api.DeleteRoomRequest(room="nowhere")),
            service.mute_published_track(api.MuteRoomTrackRequest(room="official", identity="a", track_sid="TR_no", muted=True)),
        ):
            with pytest.raises(api.TwirpError) as error:
                await wrong
            assert error.value.code == "not_found"
        await service.delete_room(api.DeleteRoomRequest(room="official"))
        assert (await a.wait("leave")).reason == 5
        assert (await b.wait("leave")).action == 0
        await asyncio.wait_for(a.closed.wait(), 3)
    finally:
        await a.close()
        await b.close()


async def test_twirp_by_hand(relay: RelayProcess) -> None:
    def bearer(**grants: object) -> dict[str, str]:
        return {"Authorization": "Bearer " + make_token(KEY, SECRET, "", Grants(**grants), 60)}  # type: ignore[arg-type]

    async with aiohttp.ClientSession() as session:

        async def call(method: str, body: bytes, headers: dict[str, str], kind: str = "application/json") -> tuple[int, object]:
            url = f"{relay.url}/twirp/livekit.RoomService/{method}"
            async with session.post(url, data=body, headers={**headers, "Content-Type": kind}) as answer:
                return answer.status, await answer.json() if "json" in answer.content_type else await answer.read()

        status, room = await call("CreateRoom", b'{"name": "hand", "emptyTimeout": 5}', bearer(room_create=True))
        assert status == 200
        assert isinstance(room, dict)
        assert room["name"] == "hand"
        assert (await call("ListParticipants", b'{"room":"hand"}', bearer(room_admin=True, room="hand")))[0] == 200
        assert (await call("ListParticipants", b'{"room":"hand"}', bearer(room_admin=True, room="other")))[0] == 403
        assert (await call("CreateRoom", b'{"name": "x"}', bearer(room_list=True)))[0] == 403
        assert (await call("CreateRoom", b'{"name": ""}', bearer(room_create=True)))[0] == 400
        assert (await call("CreateRoom", b"{]", bearer(room_create=True)))[0] == 400
        assert (await call("CreateRoom", b"\xff\xff\xff", bearer(room_create=True), "application/protobuf"))[0] == 400
        assert (await call("CreateRoom", b"{}", {}))[0] == 401
        assert (await call("NoSuchMethod", b"{}", bearer(room_create=True)))[0] == 404
        assert (await call("ListRooms", b"", bearer(room_list=True), "text/plain"))[0] == 404
        assert (await call("SendData", json.dumps({"room": "hand", "data": "A" * 200_000}).encode(), bearer(room_admin=True, room="hand")))[0] == 400


async def test_webhooks_are_signed_tried_again_and_told_apart() -> None:
    got: list[dict[str, object]] = []
    refusals = [1]
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))

    async def hook(request: web.Request) -> web.Response:
        body = await request.read()
        event = receiver.receive(body.decode(), request.headers["Authorization"])
        if refusals and event.event == "participant_joined":
            refusals.pop()
            return web.Response(status=503)
        got.append({"event": event.event, "id": event.id, "room": event.room.name, "who": event.participant.identity, "track": event.track.sid})
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", hook)
    async with TestServer(app) as server:
        with RelayProcess("--webhook", str(server.make_url("/hook")), "--no-auto-create") as relay:
            assert (await status_of(relay, token("hooks", "a")))[0] == 404
            async with aiohttp.ClientSession() as session:
                service = api.room_service.RoomService(session, relay.url, KEY, SECRET)
                await service.create_room(api.CreateRoomRequest(name="hooks", departure_timeout=1))
                a = RawClient(relay.ws_url, token("hooks", "a"))
                await a.join()
                sender = await a.publish("video")
                await asyncio.sleep(0.3)
                await a.unpublish(sender)
                await a.say(leave=rtc.LeaveRequest())
                await asyncio.wait_for(a.closed.wait(), 3)
                await a.close()
                wanted = ["room_started", "participant_joined", "track_published", "track_unpublished", "participant_left", "room_finished"]
                assert await until(lambda: sorted(str(e["event"]) for e in got) == sorted(wanted), 10), got
                assert len({e["id"] for e in got}) == len(wanted)
                assert (await service.list_rooms(api.ListRoomsRequest())).rooms == []


async def test_duplicate_identity_and_reconnect(relay: RelayProcess, make: Make) -> None:
    a, other = make("twice", "a"), make("twice", "b")
    await a.join()
    await other.join()
    newer = make("twice", "a")
    joined = await newer.join()
    assert (await a.wait("leave")).reason == 2
    assert [p.identity for p in joined.other_participants] == ["b"]
    assert await until(lambda: other.participants["a"].sid == joined.participant.sid)
    # A resume is answered by: begin again.
    async with aiohttp.ClientSession() as session, session.ws_connect(
        f"{relay.ws_url}/rtc", params={"access_token": newer.refresh_token, "reconnect": "1", "sid": joined.participant.sid}
    ) as ws:  # fmt: skip
        message = rtc.SignalResponse.FromString((await ws.receive()).data)
        assert message.leave.action == rtc.LeaveRequest.Action.RECONNECT
        assert (await ws.receive()).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)


async def test_signalling_in_json_too(relay: RelayProcess) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{relay.ws_url}/rtc", params={"access_token": token("json", "a")}) as ws:
        await ws.receive()
        await ws.send_str('{"pingReq": {"timestamp": "5"}, "unknown": 1}')
        while True:
            frame = await ws.receive(timeout=3)
            if frame.type is aiohttp.WSMsgType.TEXT and "pongResp" in (found := json.loads(frame.data)):
                assert found["pongResp"]["lastPingTimestamp"] == "5"
                break


async def test_a_holder_that_never_connects_is_forgotten_and_the_name_is_free(relay: RelayProcess, make: Make) -> None:
    a = make("hold", "a")
    await a.join()
    assert await until(lambda: a.subscriber.connected.is_set())
    watcher = make("hold", "w")
    await watcher.join()
    await a.vanish()
    await asyncio.sleep(1.5)
    assert watcher.participants == {} or watcher.participants.get("a") is None or watcher.participants["a"].state != 3
    back = make("hold", "a")
    joined = await back.join()
    assert await until(lambda: watcher.participants.get("a") is not None and watcher.participants["a"].sid == joined.participant.sid)


async def test_garbage_on_every_door_while_media_flows(
    relay: RelayProcess, make: Make, service: api.room_service.RoomService
) -> None:
    """Noise, STUN of all sorts, protobuf of all sorts: the picture goes on, nothing is lost, everything is counted."""
    a, b = make("noise", "a"), make("noise", "b")
    await a.join()
    await b.join()
    video = await a.publish("video")
    assert await until(lambda: b.count(video.sid) > 10)
    assert b.subscriber.remote is not None
    udp_port = b.subscriber.remote.media[0].ice_candidates[0].port
    dice = random.Random(5)
    stun = b"\x00\x01\x00\x10\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\x00\x0cabcdefgh:xyz"
    started = b.count(video.sid)

    async def udp() -> None:
        for k in range(4000):
            size = dice.choice((0, 1, 5, 12, 19, 20, 36, 60, 300, 1400))
            noise = dice.randbytes(size)
            if k % 3 == 0:
                noise = stun[: dice.randrange(len(stun) + 1)] + noise[: dice.choice((0, 4, 24))]
            elif k % 3 == 1 and noise:
                noise = bytes((dice.choice((0, 1, 20, 22, 63, 128, 144, 191, 255)),)) + noise[1:]
            sock.sendto(noise, ("127.0.0.1", udp_port))
            if k % 40 == 0:
                await asyncio.sleep(0.01)

    async def inside() -> None:
        """From a participant's own, lawful connections."""
        for k in range(600):
            noise = dice.randbytes(dice.choice((12, 13, 20, 40, 200)))
            head = bytes((dice.choice((0x80, 0x90, 0xBF, 0xB0)), dice.choice((96, 111, 224, 200, 201, 205, 206, 207, 203))))
            ssrc = video.section.ssrc.to_bytes(4, "big") if k % 2 else noise[8:12]
            packet = head + noise[2:8] + ssrc + noise[12:]
            with contextlib.suppress(pylibsrtp.Error):  # some are too broken even to be encrypted
                if k % 2 == 0 or 192 <= head[1] <= 223:
                    a.publisher.send(packet)
                b.subscriber.send(packet)
            await asyncio.sleep(0.002)

    async def socket_noise() -> None:
        for k in range(12):
            access = token("noise", f"x{k}")
            async with aiohttp.ClientSession() as session, session.ws_connect(f"{relay.ws_url}/rtc", params={"access_token": access}) as ws:
                for _ in range(30):
                    if ws.closed:
                        break
                    await ws.send_bytes(dice.randbytes(dice.choice((0, 1, 30, 3000))))
                    offers = ("", "v=0", "m=", "m=audio x", "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/0\r\na=extmap:x", "\0" * 500)
                    sdp = rtc.SessionDescription(type="offer", sdp=dice.choice(offers), id=dice.getrandbits(31))
                    await ws.send_bytes(rtc.SignalRequest(offer=sdp).SerializeToString())
                    await ws.send_bytes(rtc.SignalRequest(answer=sdp).SerializeToString())
                    await ws.send_str(dice.choice(("{", "[]", '{"offer": 5}', '{"mute": {"sid": 3}}', "é" * 50)))
        await a.say(mute=rtc.MuteTrackRequest(sid="TR_no", muted=True))
        await a.say(track_setting=rtc.UpdateTrackSettings(track_sids=["TR_no"] * 50, disabled=True))
        await a.say(subscription=rtc.UpdateSubscription(track_sids=["TR_no"] * 50, subscribe=True))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await asyncio.gather(udp(), inside(), socket_noise())
    await asyncio.sleep(0.5)
    assert b.count(video.sid) > started + 30
    assert relay.is_alive()
    counted = relay.counters()
    assert counted["port"]["faults"] == 0
    assert counted["port"]["stun_refused"] > 500
    assert counted["port"]["unknown_address"] > 1000
    assert counted["signal_malformed"] > 50
    before = b.count(video.sid)
    video.want_keyframe = True
    assert await until(lambda: b.count(video.sid) > before + 30, 5)
    listed = await service.list_participants(api.ListParticipantsRequest(room="noise"))
    assert {"a", "b"} <= {p.identity for p in listed.participants}


@pytest.mark.soak
async def test_a_flood_of_stun_costs_less_than_packets(relay: RelayProcess, make: Make) -> None:
    a = make("flood", "a")
    await a.join()
    assert await until(lambda: a.subscriber.connected.is_set())
    assert a.subscriber.remote is not None
    port = a.subscriber.remote.media[0].ice_candidates[0].port
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stun = b"\x00\x01\x00\x10\x21\x12\xa4\x42" + bytes(12) + b"\x00\x06\x00\x0cabcdefgh:xyz"
    sent = 0
    with cpu_of(relay.pid) as cpu:
        ends = time.monotonic() + 3
        while time.monotonic() < ends:
            for _ in range(20):
                sock.sendto(stun, ("127.0.0.1", port))
                sent += 1
            await asyncio.sleep(0.001)
    sock.close()
    print(f"{sent / 3:.0f} a second, {cpu[0] * 1e4 * 3 / sent:.1f} µs each")


def test_it_stops_when_told_and_says_so() -> None:
    with RelayProcess() as relay:
        assert urlsplit(relay.url).hostname == "127.0.0.1"
        assert relay.stop() == 0
