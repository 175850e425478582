"""The relay's media, packet by packet: what a subscriber gets, when, under which numbers; mute, rights, repair, reuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import aiohttp
import pytest
from e2e.raw_client import RawClient
from e2e.relayproc import KEY, SECRET, RelayProcess
from e2e.sdk_client import token, until
from livekit import api
from livekit.protocol import models, rtc

from vidconf.relay.description import SEND_TIME_ID
from vidconf.rtp.rtcp import Nack, ReceiverReport, SenderReport, TransportFeedback
from vidconf.rtp.vp8 import starts_keyframe

Join = Callable[..., Awaitable[RawClient]]


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayProcess]:
    with RelayProcess() as process:
        yield process
        counters = process.counters()
        assert counters["port"]["faults"] == 0
        assert process.is_alive()


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
async def join(relay: RelayProcess, room: str) -> AsyncIterator[Join]:
    clients: list[RawClient] = []

    async def go(identity: str, query: dict[str, str] | None = None, **grants: object) -> RawClient:
        client = RawClient(relay.ws_url, token(room, identity, **grants))
        clients.append(client)
        await client.join(**(query or {}))
        return client

    yield go
    for client in clients:
        await client.close()


@pytest.fixture
async def service(relay: RelayProcess) -> AsyncIterator[api.room_service.RoomService]:
    async with aiohttp.ClientSession() as session:
        yield api.room_service.RoomService(session, relay.url, KEY, SECRET)


def numbers(client: RawClient, sid: str) -> list[int]:
    return [p.sequence for _, p in client.packets[sid]]


def gaps(client: RawClient, sid: str) -> int:
    """Numbers that never came, in the order of the stream."""
    found = {0}
    base = numbers(client, sid)[0]
    at = 0
    for number in numbers(client, sid):
        step = (number - base - at + 0x8000) % 0x10000 - 0x8000
        at = max(at, at + step)
        found.add((number - base + 0x8000) % 0x10000 - 0x8000)
    return at + 1 - len([n for n in found if 0 <= n <= at])


async def test_newcomers_begin_with_a_keyframe_asked_for_at_once(join: Join) -> None:
    a, b = await join("a"), await join("b")
    sender = await a.publish("video")
    assert await until(lambda: b.count(sender.sid) > 10, 5)
    c = await join("c")
    assert await until(lambda: c.count(sender.sid) > 10, 5)
    for client in (b, c):
        assert starts_keyframe(client.packets[sender.sid][0][1].payload)
        assert gaps(client, sender.sid) == 0
    assert sender.keyframes <= 4
    assert all(p.payload_type == 96 and list(p.extensions) == [SEND_TIME_ID] for _, p in c.packets[sender.sid]), "the publisher's stay behind"


async def test_mute_by_its_owner_and_by_the_service(join: Join, service: api.room_service.RoomService, room: str) -> None:
    a, b = await join("a"), await join("b")
    video, audio = await a.publish("video"), await a.publish("audio")
    assert await until(lambda: b.count(video.sid) > 10 and b.count(audio.sid) > 10)
    # its own word
    since = len(b.messages)
    await a.say(mute=rtc.MuteTrackRequest(sid=audio.sid, muted=True))
    await b.wait("update", since=since, check=lambda u: any(t.sid == audio.sid and t.muted for p in u.participants for t in p.tracks))
    await asyncio.sleep(0.1)
    before = b.count(audio.sid)
    await asyncio.sleep(0.4)
    assert b.count(audio.sid) == before  # it goes on sending, nobody gets it
    await a.say(mute=rtc.MuteTrackRequest(sid=audio.sid, muted=False))
    assert await until(lambda: b.count(audio.sid) > before + 10)
    assert gaps(b, audio.sid) == 0
    # another's
    since = len(a.messages)
    await service.mute_published_track(api.MuteRoomTrackRequest(room=room, identity="a", track_sid=video.sid, muted=True))
    assert (await a.wait("mute", since=since)).muted
    await asyncio.sleep(0.1)
    before = b.count(video.sid)
    await asyncio.sleep(0.4)
    assert b.count(video.sid) == before
    with pytest.raises(api.TwirpError) as refused:
        await service.mute_published_track(api.MuteRoomTrackRequest(room=room, identity="a", track_sid=video.sid, muted=False))
    assert refused.value.code == "failed_precondition"
    await a.say(mute=rtc.MuteTrackRequest(sid=video.sid, muted=False))
    assert await until(lambda: b.count(video.sid) > before + 10)
    assert starts_keyframe(b.packets[video.sid][before][1].payload)
    assert gaps(b, video.sid) == 0


async def test_permission_is_enforced_at_the_packet(join: Join, service: api.room_service.RoomService, room: str) -> None:
    a = await join("a", can_publish_sources=["camera"])
    b = await join("b")
    video = await a.publish("video")
    with pytest.raises(PermissionError):
        await a.publish("audio")
    assert await until(lambda: b.count(video.sid) > 10)
    permission = api.ParticipantPermission(can_subscribe=True, can_publish=True, can_publish_sources=[models.TrackSource.MICROPHONE])
    since = len(a.messages)
    await service.update_participant(api.UpdateParticipantRequest(room=room, identity="a", permission=permission))
    assert (await a.wait("track_unpublished", since=since)).track_sid == video.sid
    await b.wait("update", check=lambda u: any(p.identity == "a" and not p.tracks for p in u.participants))
    await asyncio.sleep(0.1)
    before = b.count(video.sid)
    await asyncio.sleep(0.4)  # the client has not obeyed: it still sends
    assert b.count(video.sid) == before
    with pytest.raises(PermissionError):
        await a.publish("video")
    audio = await a.publish("audio")
    assert await until(lambda: b.count(audio.sid) > 10)
    await service.update_participant(
        api.UpdateParticipantRequest(room=room, identity="a", permission=api.ParticipantPermission(can_subscribe=True, can_publish=False))
    )
    await asyncio.sleep(0.1)
    before = b.count(audio.sid)
    await asyncio.sleep(0.3)
    assert b.count(audio.sid) == before


async def test_one_who_may_not_subscribe_gets_nothing(join: Join) -> None:
    a = await join("a")
    b = await join("b", can_subscribe=False)
    video = await a.publish("video")
    await asyncio.sleep(0.6)
    assert b.count(video.sid) == 0
    assert b.unrouted == 0


async def test_subscription_on_demand_and_pause(join: Join, service: api.room_service.RoomService, room: str) -> None:
    a = await join("a")
    b = await join("b", {"auto_subscribe": "0"})
    video = await a.publish("video")
    await asyncio.sleep(0.4)
    assert b.count(video.sid) == 0
    await b.say(subscription=rtc.UpdateSubscription(track_sids=[video.sid], subscribe=True))
    assert await until(lambda: b.count(video.sid) > 10)
    await b.say(track_setting=rtc.UpdateTrackSettings(track_sids=[video.sid], disabled=True))
    await asyncio.sleep(0.2)
    before = b.count(video.sid)
    await asyncio.sleep(0.3)
    assert b.count(video.sid) == before
    await b.say(track_setting=rtc.UpdateTrackSettings(track_sids=[video.sid], disabled=False))
    assert await until(lambda: b.count(video.sid) > before + 10)
    assert gaps(b, video.sid) == 0
    assert starts_keyframe(b.packets[video.sid][before][1].payload)
    await service.update_subscriptions(api.UpdateSubscriptionsRequest(room=room, identity="b", track_sids=[video.sid], subscribe=False))
    await asyncio.sleep(0.2)
    before = b.count(video.sid) + b.unrouted
    await asyncio.sleep(0.3)
    assert b.count(video.sid) + b.unrouted == before
    await b.say(subscription=rtc.UpdateSubscription(track_sids=["TR_nobody"], subscribe=True))
    assert (await b.wait("subscription_response")).track_sid == "TR_nobody"


async def test_nobody_watches_and_somebody_again(join: Join) -> None:
    a = await join("a")
    video = await a.publish("video")
    update = await a.wait("subscribed_quality_update", timeout_s=9)
    assert update.track_sid == video.sid
    assert not any(q.enabled for codec in update.subscribed_codecs for q in codec.qualities)
    since = len(a.messages)
    b = await join("b")
    update = await a.wait("subscribed_quality_update", since=since)
    assert all(q.enabled for codec in update.subscribed_codecs for q in codec.qualities)
    assert await until(lambda: b.count(video.sid) > 5)


async def test_nack_is_answered_from_the_history(join: Join) -> None:
    a, b = await join("a"), await join("b")
    video = await a.publish("video")
    lost: set[int] = set()

    def lose(sid: str, sequence: int) -> bool:
        if sequence % 10 == 3 and sequence not in lost and b.count(sid) > 20:
            lost.add(sequence)
            b.subscriber.send(Nack(1, b.sids[sid], (sequence,)).to_bytes())
            return True
        return False

    b.lose = lose
    assert await until(lambda: len(lost) > 10 and b.count(video.sid) > 150, 10)
    b.lose = lambda sid, sequence: False
    await asyncio.sleep(0.2)
    assert gaps(b, video.sid) == 0
    assert b.repaired >= len(lost)  # under an SSRC of their own
    # Nothing is repaired that was never sent.
    before = b.count(video.sid)
    b.subscriber.send(Nack(1, b.sids[video.sid], tuple((numbers(b, video.sid)[-1] + 5000 + k) & 0xFFFF for k in range(200))).to_bytes())
    await asyncio.sleep(0.2)
    assert len(set(numbers(b, video.sid))) == b.count(video.sid)
    assert b.count(video.sid) > before


async def test_the_publisher_is_asked_for_what_was_lost_on_its_way(join: Join) -> None:
    a, b = await join("a"), await join("b")
    video, audio = await a.publish("video", start=False), await a.publish("audio", start=False)
    for sender in (video, audio):
        sender.drop = lambda sequence: sequence % 7 == 2
        sender.start()
    assert await until(lambda: b.count(video.sid) > 200 and b.count(audio.sid) > 100, 15)
    await asyncio.sleep(0.3)
    assert gaps(b, video.sid) <= 1  # the newest may still be on its way
    assert gaps(b, audio.sid) <= 1
    asked = [p for p in a.publisher_rtcp if isinstance(p, Nack)]
    assert asked
    assert sum(len(p.numbers) for p in asked) < 150  # once each, nearly always


async def test_what_is_never_repaired_stays_a_gap_of_the_same_size(join: Join) -> None:
    a, b = await join("a"), await join("b")
    a.answer_nacks = False
    audio = await a.publish("audio", start=False)
    audio.drop = lambda sequence: sequence % 20 == 2
    audio.start()
    assert await until(lambda: b.count(audio.sid) > 90, 10)
    assert 3 <= gaps(b, audio.sid) <= 6


async def test_reports_and_feedback_reach_the_publisher(join: Join) -> None:
    a, b = await join("a"), await join("b")
    video = await a.publish("video")
    assert await until(lambda: any(isinstance(p, ReceiverReport) and p.blocks for p in a.publisher_rtcp), 4)
    await asyncio.sleep(1)
    feedback = [p for p in a.publisher_rtcp if isinstance(p, TransportFeedback)]
    assert 5 <= len(feedback) <= 60
    assert sum(x is None for p in feedback for x in p.packets) == 0
    block = next(p for p in reversed(a.publisher_rtcp) if isinstance(p, ReceiverReport)).blocks[0]
    assert block.ssrc == video.section.ssrc
    assert block.fraction_lost == 0
    # A sender report comes through under the subscriber's SSRC, with the publisher's clock and the subscriber's counts.
    a.publisher.send(SenderReport(video.section.ssrc, 77 << 32, 1234, 5, 5).to_bytes())
    assert await until(lambda: any(isinstance(p, SenderReport) for p in b.rtcp), 3)
    report = next(p for p in b.rtcp if isinstance(p, SenderReport))
    assert (report.ssrc, report.ntp, report.rtp_timestamp) == (b.sids[video.sid], 77 << 32, 1234)
    assert abs(report.packets - b.count(video.sid)) < 20


async def test_sections_are_used_again(join: Join) -> None:
    a, b = await join("a"), await join("b")
    sids = []
    for _ in range(6):
        video = await a.publish("video")
        sids.append(video.sid)
        assert await until(lambda sid=video.sid: b.count(sid) > 5)
        await a.unpublish(video)
        assert await until(lambda sid=video.sid: sid not in b.tracks.values())
    assert len(set(sids)) == 6
    assert b.subscriber.remote is not None
    assert len([m for m in b.subscriber.remote.media if m.kind == "video"]) <= 2


async def test_who_speaks(join: Join) -> None:
    a, b = await join("a"), await join("b")
    audio = await a.publish("audio")
    told = await b.wait("speakers_changed")
    assert [(s.sid, s.active) for s in told.speakers] == [(a.participants["a"].sid, True)]
    since = len(b.messages)
    audio.level = 127
    told = await b.wait("speakers_changed", since=since, check=lambda m: any(not s.active for s in m.speakers))
    assert told.speakers[0].level == 0


async def test_data_goes_to_whom_it_names_and_only_from_who_may(join: Join, relay: RelayProcess) -> None:
    a, b, c = await join("a"), await join("b"), await join("c")
    d = await join("d", can_publish_data=False)
    channels = {}
    for client in (a, d):
        channels[client] = client.publisher.open_channel("_reliable")
        await client.publish("audio")
        assert await until(lambda client=client: channels[client].readyState == "open")
    for client in (a, b, c, d):
        assert await until(lambda client=client: client.subscriber.connected.is_set())
    await asyncio.sleep(0.3)
    packet = models.DataPacket(user=models.UserPacket(payload=b"to all", topic="t"), participant_identity="somebody else", sequence=1)
    channels[a].send(packet.SerializeToString())
    packet = models.DataPacket(user=models.UserPacket(payload=b"to c"), destination_identities=["c"], sequence=2)
    channels[a].send(packet.SerializeToString())
    channels[a].send(b"\xff\xff\xff no protobuf")
    channels[d].send(models.DataPacket(user=models.UserPacket(payload=b"not allowed")).SerializeToString())
    assert await until(lambda: len(c.data) == 2 and len(b.data) == 1)
    await asyncio.sleep(0.2)
    assert [(label, p.participant_identity, p.user.payload, p.user.topic) for label, p in b.data] == [("_reliable", "a", b"to all", "t")]
    assert [p.user.payload for _, p in c.data] == [b"to all", b"to c"]
    assert [p.sequence for _, p in c.data] == [1, 2]
    assert not a.data
    assert len(d.data) == 1


async def test_a_publisher_chooses_who_may_have_its_tracks(join: Join) -> None:
    a, b, c = await join("a"), await join("b"), await join("c")
    video = await a.publish("video")
    assert await until(lambda: b.count(video.sid) > 5 and c.count(video.sid) > 5)
    await a.say(
        subscription_permission=rtc.SubscriptionPermission(
            all_participants=False, track_permissions=[rtc.TrackPermission(participant_identity="b", all_tracks=True)]
        )
    )
    told = await c.wait("subscription_permission_update")
    assert (told.track_sid, told.allowed) == (video.sid, False)
    await asyncio.sleep(0.1)
    before_b, before_c = b.count(video.sid), c.count(video.sid) + c.unrouted
    await asyncio.sleep(0.3)
    assert c.count(video.sid) + c.unrouted == before_c
    assert b.count(video.sid) > before_b
