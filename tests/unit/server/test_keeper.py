"""What the meeting decides becomes true at the SFU: a real relay, clients that obey nobody, and no door in front."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from e2e.control_client import Seat, Socket, until
from e2e.raw_client import RawClient
from e2e.relayproc import KEY, SECRET, RelayProcess
from livekit import api
from livekit.protocol import models, rtc
from unit.server.conftest import House, Serving

from vidconf.server import media as media_module
from vidconf.server.config import MediaConfig
from vidconf.server.sfu import Sfu


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayProcess]:
    with RelayProcess("--no-auto-create") as running:
        yield running


@pytest.fixture
async def house(relay: RelayProcess, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    assert (media_module.LOOK_S, media_module.BELIEVE_S) == (5.0, 2.0)
    monkeypatch.setattr(media_module, "LOOK_S", 0.2)
    monkeypatch.setattr(media_module, "BELIEVE_S", 0.4)
    media = MediaConfig(url=relay.ws_url, api_url=relay.url, api_key=KEY, api_secret=SECRET)
    async with serving(media=media) as running:
        yield running


class There:
    """A participant in the room, with its control connection and its media."""

    def __init__(self, seat: Seat, control: Socket, media: RawClient) -> None:
        self.seat, self.control, self.media = seat, control, media
        self.me = seat.participant

    async def say(self, source: str, state: str) -> None:
        await self.control.done("set_source", source=source, state=state)

    async def close(self) -> None:
        await self.media.close()
        await self.control.close()


async def joined(control: Socket) -> RawClient:
    granted = await control.done("media")
    assert 50 < granted["expires_at"] - time.time() <= 60
    client = RawClient(granted["url"], granted["token"])
    await client.join()
    return client


async def come(house: House, made: dict[str, Any], name: str) -> There:
    seat = await house.anybody.join(made["code"], name)
    control = await seat.connect()
    return There(seat, control, await joined(control))


@pytest.fixture
async def made(house: House) -> dict[str, Any]:
    return await house.meeting(lobby=False)


@pytest.fixture
async def chair(house: House, made: dict[str, Any]) -> AsyncIterator[Socket]:
    socket = await (await house.chair(made).join(made["code"], "Chủ trì")).connect()
    yield socket
    await socket.close()


@pytest.fixture
async def pair(house: House, made: dict[str, Any], chair: Socket) -> AsyncIterator[tuple[There, There]]:
    """One to speak and one to listen."""
    one, other = await come(house, made, "Nói"), await come(house, made, "Nghe")
    yield one, other
    await one.close()
    await other.close()


def sfu_of(house: House) -> Sfu:
    sfu = house.server.media.sfu
    assert sfu is not None
    return sfu


def said(house: House, made: dict[str, Any], who: str) -> tuple[str, str, str]:
    room = house.server.rooms.peek(made["id"])
    assert room is not None
    sources = room.state.participants[who].sources
    return sources.microphone, sources.camera, sources.screen_share


async def heard(listener: There, sid: str, for_s: float = 0.2) -> int:
    """Packets that come within a while."""
    before = listener.media.count(sid)
    await asyncio.sleep(for_s)
    return listener.media.count(sid) - before


async def test_a_mute_is_enforced_on_who_goes_on_sending(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    speaker, listener = pair
    voice = await speaker.media.publish("audio")
    picture = await speaker.media.publish("video")
    await speaker.say("microphone", "on")
    await speaker.say("camera", "on")
    await until(lambda: listener.media.count(voice.sid) > 5 and listener.media.count(picture.sid) > 5)
    await chair.done("mute", participant=speaker.me)
    await speaker.control.event("muted")
    await speaker.media.wait("mute", check=lambda told: told.sid == voice.sid and told.muted)
    await asyncio.sleep(0.2)
    assert await heard(listener, voice.sid) == 0, "it goes on sending; nobody hears it"
    assert await heard(listener, picture.sid) > 0
    assert said(house, made, speaker.me) == ("muted", "on", "off")
    await chair.done("stop_camera", participant=speaker.me)
    await speaker.media.wait("mute", check=lambda told: told.sid == picture.sid and told.muted)
    await asyncio.sleep(0.2)
    assert await heard(listener, picture.sid) == 0
    # Nobody unmutes it, and it may unmute itself.
    await asyncio.sleep(0.5)
    assert await heard(listener, voice.sid) == 0
    await speaker.media.say(mute=rtc.MuteTrackRequest(sid=voice.sid, muted=False))
    await speaker.say("microphone", "on")
    await until(lambda: listener.media.count(voice.sid) > 0)
    assert await heard(listener, voice.sid) > 5
    await asyncio.sleep(0.5)
    assert await heard(listener, voice.sid) > 5, "an old mute is not owed for ever"


@pytest.mark.parametrize("unmutes", [False, True])
async def test_a_mute_is_owed_while_the_sfu_cannot_be_reached_unless_its_owner_lawfully_unmutes(
    house: House, chair: Socket, pair: tuple[There, There], unmutes: bool
) -> None:
    speaker, listener = pair
    voice = await speaker.media.publish("audio")
    await speaker.say("microphone", "on")
    await until(lambda: listener.media.count(voice.sid) > 5)
    sfu = sfu_of(house)
    url, sfu.api_url = sfu.api_url, ""  # as while the relay is started again
    await chair.done("mute", participant=speaker.me)
    await speaker.control.event("muted")
    if unmutes:
        await speaker.say("microphone", "on")
    await asyncio.sleep(0.3)
    assert await heard(listener, voice.sid) > 0
    sfu.api_url = url
    if unmutes:
        await asyncio.sleep(1.0)
        assert await heard(listener, voice.sid) > 5
    else:
        await speaker.media.wait("mute", check=lambda told: told.sid == voice.sid and told.muted)
        await asyncio.sleep(0.2)
        assert await heard(listener, voice.sid) == 0


async def test_mute_all_reaches_everybody_but_who_is_excepted(house: House, chair: Socket, pair: tuple[There, There]) -> None:
    one, other = pair
    voices = [await each.media.publish("audio") for each in pair]
    for each in pair:
        await each.say("microphone", "on")
    await chair.done("mute_all", **{"except": [other.me]})
    await one.media.wait("mute", check=lambda told: told.sid == voices[0].sid and told.muted)
    await until(lambda: one.media.count(voices[1].sid) > 5)
    await asyncio.sleep(0.5)
    assert await heard(one, voices[1].sid) > 5
    assert await heard(other, voices[0].sid) == 0


async def test_who_has_no_business_in_the_room_is_thrown_out(house: House, made: dict[str, Any], pair: tuple[There, There]) -> None:
    room = f"{made['id']}.1"
    for identity in ("ghost.1", f"{pair[0].me}.9", "no name of ours"):
        grants = api.VideoGrants(room_join=True, room=room, hidden=False)
        intruder = RawClient(pair[0].media._url, api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt())
        await intruder.join()
        await asyncio.wait_for(intruder.closed.wait(), 5)
        await intruder.close()
    assert {info.identity.partition(".")[0] for info in await sfu_of(house).participants(room)} == {there.me for there in pair}


async def test_who_is_put_out_of_the_meeting_is_out_of_its_media_at_once(chair: Socket, pair: tuple[There, There]) -> None:
    for there, do in zip(pair, ("remove", "to_lobby"), strict=True):
        began = time.monotonic()
        await chair.done(do, participant=there.me)
        await asyncio.wait_for(there.media.closed.wait(), 3)
        assert time.monotonic() - began < 2
        assert (await there.control.ask("media"))["refused"] in ("not_in_meeting", "in_lobby")


async def test_a_ban_moves_all_media_to_a_new_room(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    stays, goes = pair
    await chair.done("ban", participant=goes.me)
    await stays.control.event("epoch_changed", epoch=2)
    await asyncio.wait_for(asyncio.gather(stays.media.closed.wait(), goes.media.closed.wait()), 5)
    again = await joined(stays.control)
    assert again.joined is not None
    assert again.joined.room.name == f"{made['id']}.2"
    assert f"{made['id']}.1" not in await sfu_of(house).rooms(), "nobody waits in the old one"
    await again.close()


async def test_the_end_ends_the_media(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    await chair.done("end")
    await asyncio.wait_for(asyncio.gather(*(there.media.closed.wait() for there in pair)), 5)
    assert not [room for room in await sfu_of(house).rooms() if room.startswith(made["id"])]


async def test_what_is_no_longer_allowed_is_stopped_and_refused(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    speaker, listener = pair
    voice = await speaker.media.publish("audio")
    await speaker.say("microphone", "on")
    await until(lambda: listener.media.count(voice.sid) > 5)
    await chair.done("set_permission", source="microphone", allowed="by_floor")
    await speaker.control.event("muted", participant=speaker.me)
    # Who may not publish loses the track, as LiveKit has it; the client goes on sending.
    await speaker.media.wait("track_unpublished", check=lambda told: told.track_sid == voice.sid)
    await asyncio.sleep(0.2)
    assert await heard(listener, voice.sid) == 0
    assert (await speaker.control.ask("set_source", source="microphone", state="on"))["refused"] == "needs_floor"
    assert said(house, made, speaker.me)[0] == "muted"
    for there in pair:
        with pytest.raises(PermissionError):
            await there.media.publish("audio")
    assert (await listener.media.publish("video")).sid, "the camera is another matter"
    await chair.done("give_floor", participant=speaker.me)
    assert (await speaker.control.event("unmute_asked"))["consent"] is False
    await until(lambda: _may(speaker, models.TrackSource.MICROPHONE))
    again = await speaker.media.publish("audio")
    await speaker.say("microphone", "on")
    await until(lambda: listener.media.count(again.sid) > 5)
    await chair.done("end_floor")
    await speaker.media.wait("track_unpublished", check=lambda told: told.track_sid == again.sid)
    with pytest.raises(PermissionError):
        await speaker.media.publish("audio")


async def test_nobody_is_heard_by_another_name_of_a_microphone(house: House, chair: Socket, pair: tuple[There, There]) -> None:
    speaker, listener = pair
    sound = await speaker.media.publish("audio", models.TrackSource.SCREEN_SHARE_AUDIO)
    await until(lambda: listener.media.count(sound.sid) > 5)  # a film with its sound, while everybody may speak
    await chair.done("set_permission", source="microphone", allowed="moderators")
    await speaker.media.wait("track_unpublished", check=lambda told: told.track_sid == sound.sid)
    await asyncio.sleep(0.2)
    assert await heard(listener, sound.sid) == 0
    for source in (models.TrackSource.SCREEN_SHARE_AUDIO, models.TrackSource.CAMERA, models.TrackSource.SCREEN_SHARE):
        with pytest.raises(PermissionError):
            await speaker.media.publish("audio", source)
    assert (await speaker.media.publish("video", models.TrackSource.SCREEN_SHARE)).sid


def _may(there: There, source: int) -> bool:
    info = next((p for identity, p in there.media.participants.items() if identity.startswith(there.me)), None)
    return info is not None and source in info.permission.can_publish_sources


async def test_with_everything_forbidden_nothing_can_be_published(house: House, made: dict[str, Any], chair: Socket) -> None:
    for source in ("microphone", "camera", "screen_share"):
        await chair.done("set_permission", source=source, allowed="moderators")
    there = await come(house, made, "Chỉ nghe")
    assert there.media.joined is not None
    assert there.media.joined.participant.permission.can_publish is False
    for kind, source in (("audio", models.TrackSource.MICROPHONE), ("video", models.TrackSource.CAMERA), ("video", models.TrackSource.SCREEN_SHARE)):
        with pytest.raises(PermissionError):
            await there.media.publish(kind, source)
    moderator = await joined(chair)
    assert (await moderator.publish("audio")).sid
    await moderator.close()
    await there.close()


async def test_a_token_from_before_gives_no_right_from_before(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    seat = await house.anybody.join(made["code"], "Đến sau")
    control = await seat.connect()
    granted = await control.done("media")
    await chair.done("set_permission", source="camera", allowed="moderators")
    late = RawClient(granted["url"], granted["token"])
    await late.join()
    try:
        picture = await late.publish("video")
    except PermissionError:
        picture = None  # corrected before it could
    await asyncio.sleep(1.0)
    if picture is not None:
        assert await heard(pair[0], picture.sid) == 0
    with pytest.raises(PermissionError):
        await late.publish("video")
    assert said(house, made, seat.participant)[1] == "off"
    await late.close()
    await control.close()


async def test_where_a_client_and_the_sfu_differ_the_sfu_is_believed(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    silent, boaster = pair
    voice = await silent.media.publish("audio")
    await boaster.say("microphone", "on")
    await boaster.say("camera", "on")
    changed = await chair.event("source_changed", participant=silent.me, source="microphone", state="on")
    assert changed["actor"] == "server"
    await chair.event("source_changed", participant=boaster.me, source="microphone", state="off")
    await chair.event("source_changed", participant=boaster.me, source="camera", state="off")
    await silent.media.unpublish(voice)
    await chair.event("source_changed", participant=silent.me, source="microphone", state="off")
    assert said(house, made, silent.me) == said(house, made, boaster.me) == ("off", "off", "off")


async def test_a_client_that_has_only_just_said_so_is_not_corrected(house: House, made: dict[str, Any], chair: Socket, pair: tuple[There, There]) -> None:
    there, _ = pair
    await there.say("microphone", "on")
    await there.media.publish("audio")
    await asyncio.sleep(0.9)
    assert said(house, made, there.me)[0] == "on"
    assert [one["state"] for one in chair.events if one["ev"] == "source_changed"] == ["on"]


async def test_of_two_media_sessions_of_one_participant_the_newer_stays(house: House, made: dict[str, Any], pair: tuple[There, There]) -> None:
    there, _ = pair
    newer = await there.seat.connect()
    media = await joined(newer)
    await asyncio.wait_for(there.media.closed.wait(), 5)
    assert not media.closed.is_set()
    mine = [info.identity for info in await sfu_of(house).participants(f"{made['id']}.1") if info.identity.startswith(there.me)]
    assert mine == [f"{there.me}.2"]
    await media.close()
    await newer.close()


async def test_another_client_is_present_when_the_sfu_says_so_and_comes_and_goes_until_it_is_removed(
    house: House, made: dict[str, Any], chair: Socket
) -> None:
    ask = f"/api/v1/meetings/{made['id']}/external"
    granted = (await house.chair(made).post(ask, {"identity": "gateway", "name": "Phòng họp số 1", "ttl": 3600})).body
    assert 3500 < granted["expires_at"] - time.time() <= 3600
    admitted = await chair.event("admitted", participant="gateway")
    assert (admitted["kind"], admitted["participant_name"]) == ("external", "Phòng họp số 1")
    for _ in range(2):
        client = RawClient(granted["url"], granted["token"])
        await client.join()
        await chair.until(lambda: _connected(house, made, "gateway"))
        await client.close()
        await until(lambda: not _connected(house, made, "gateway"))
        room = house.server.rooms.peek(made["id"])
        assert room is not None
        assert room.state.participants["gateway"].place == "admitted", "it may come and go"
    client = RawClient(granted["url"], granted["token"])
    await client.join()
    await chair.done("remove", participant="gateway")
    await asyncio.wait_for(client.closed.wait(), 3)
    await client.close()
    reply = await house.chair(made).post(ask, {"identity": "gateway"})
    assert (reply.status, reply.code) == (409, "removed")


def _connected(house: House, made: dict[str, Any], who: str) -> bool:
    room = house.server.rooms.peek(made["id"])
    return room is not None and room.state.participants[who].connected


async def test_what_was_left_at_the_sfu_by_an_earlier_process_is_swept_and_nothing_of_others(relay: RelayProcess, serving: Serving) -> None:
    media = MediaConfig(url=relay.ws_url, api_url=relay.url, api_key=KEY, api_secret=SECRET)
    async with serving(media=media) as house:
        live, over = await house.meeting(lobby=False), await house.meeting(lobby=False)
        await house.chair(over).command(over["id"], "end")
        sfu = sfu_of(house)
        for name in (f"{live['id']}.1", f"{live['id']}.0", f"{over['id']}.1", "somebody else's", "m0123456789abcdef.1"):
            await sfu.create_room(name)
    async with serving(media=media) as house:
        sfu = sfu_of(house)
        rooms: list[str] = []
        for _ in range(100):
            rooms = await sfu.rooms()
            if f"{over['id']}.1" not in rooms and f"{live['id']}.0" not in rooms:
                break
            await asyncio.sleep(0.05)
        assert not {f"{over['id']}.1", f"{live['id']}.0"} & set(rooms)
        assert {f"{live['id']}.1", "somebody else's", "m0123456789abcdef.1"} <= set(rooms)
        for name in (f"{live['id']}.1", "somebody else's", "m0123456789abcdef.1"):
            await sfu.delete_room(name)


async def test_webhooks_prompt_a_look_but_not_one_each(
    house: House, made: dict[str, Any], chair: Socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = house.server.media
    monkeypatch.setattr(media_module, "LOOK_S", 60.0)
    await asyncio.sleep(0.5)  # the look that was due sooner
    before = media.looks
    content = {"event": "track_published", "room": {"name": f"{made['id']}.1"}}
    media.webhook(content)
    await until(lambda: media.looks > before, 2)
    before, began = media.looks, time.monotonic()
    while time.monotonic() - began < 1.0:
        media.webhook(content)
        await asyncio.sleep(0.002)
    assert 2 <= media.looks - before <= 1.0 / media_module.PROMPTED_S + 1
    before = media.looks
    await until(lambda: media.looks > before, 2)  # the last one is not forgotten
