"""Rooms without sockets to clients: who is told what, who is held, who must go, whose token is worthless."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from livekit.protocol import models, rtc

from vidconf.protocol.livekit import Grants, make_token, verify_token
from vidconf.relay import limits
from vidconf.relay.counters import Counters
from vidconf.relay.participant import Participant, State
from vidconf.relay.registry import Relay
from vidconf.relay.requests import handle
from vidconf.relay.tasks import end_all
from vidconf.relay.webhooks import Webhooks
from vidconf.webrtc.ice_lite import Port

KEY, SECRET = "key", "a secret that is long enough for HS256"


class Box:
    """An outbox that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[rtc.SignalResponse] = []
        self.is_finished = False

    def put(self, message: bytes) -> None:
        self.said.append(rtc.SignalResponse.FromString(message))

    async def finished(self) -> None:
        self.is_finished = True

    def names(self) -> list[str]:
        return [str(m.WhichOneof("message")) for m in self.said]

    def last(self, name: str) -> Any:
        return next(getattr(m, name) for m in reversed(self.said) if m.WhichOneof("message") == name)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    port, counters = await Port.open("127.0.0.1", 0), Counters()
    made = Relay(port, {KEY: SECRET}, Webhooks((), KEY, SECRET, counters), counters)
    yield made
    await made.close()
    for participant in list(_made):
        await participant.close()
    _made.clear()
    await end_all()
    await port.close()


_made: list[Participant] = []


def token(identity: str, room: str = "r", **grants: Any) -> str:
    return make_token(KEY, SECRET, identity, Grants(room=room, room_join=True, **grants), 600)


def join(relay: Relay, identity: str, **grants: Any) -> tuple[Participant, Box]:
    box, text = Box(), token(identity, **grants)
    participant = Participant(relay.room("r"), verify_token(text, {KEY: SECRET}), 0, True, cast(Any, box))
    _made.append(participant)
    relay.remember(participant, text)
    participant.room.join(participant)
    return participant, box


async def test_the_join_comes_first_and_the_others_are_told(relay: Relay) -> None:
    _, first = join(relay, "a")
    second, box = join(relay, "b", hidden=True)
    _, third = join(relay, "c")
    assert first.names()[:2] == ["join", "refresh_token"]
    joined = box.said[0].join
    assert [p.identity for p in joined.other_participants] == ["a"]
    assert joined.ping_interval > 0
    assert joined.ping_timeout > 0
    assert joined.server_version
    assert joined.server_info.version
    assert [p.identity for p in third.said[0].join.other_participants] == ["a"]  # b is hidden
    seen = {p.identity for m in first.said if m.WhichOneof("message") == "update" for p in m.update.participants}
    assert seen == {"a", "c"}
    assert second.room.info().num_participants == 2


async def test_one_that_never_connects_must_go(relay: Relay) -> None:
    a, box = join(relay, "a")
    b, other = join(relay, "b")
    now = time.monotonic()
    a.room.tick(now + limits.ACTIVE_WITHIN_S - 1)
    assert not a.gone
    b.was_active = True
    b.subscriber.session.checked_at = now + limits.ACTIVE_WITHIN_S
    a.room.tick(now + limits.ACTIVE_WITHIN_S + 1)
    assert a.gone
    assert not b.gone
    assert box.last("leave").action == rtc.LeaveRequest.Action.RECONNECT
    assert other.last("update").participants[0].state == State.DISCONNECTED
    a.room.tick(now + limits.ACTIVE_WITHIN_S + limits.CONSENT_S + 2)
    assert b.gone


async def test_one_whose_socket_broke_is_held(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    a, _ = join(relay, "a")
    now = time.monotonic()
    a.was_active = True
    a.subscriber.session.checked_at = now + 60
    a.lost_at, a.outbox = now, None
    monkeypatch.setattr(type(a.subscriber.session), "is_up", property(lambda self: True))
    a.room.tick(now + limits.HOLD_S - 0.5)
    assert not a.gone
    a.room.tick(now + limits.HOLD_S + 0.5)
    assert a.gone


async def test_one_that_hung_up_its_media_is_not_held(relay: Relay) -> None:
    a, _ = join(relay, "a")
    a.was_active, a.lost_at, a.outbox = True, time.monotonic(), None
    a.room.tick(time.monotonic() + 0.1)
    assert a.gone


async def test_a_room_ends_when_empty_for_long(relay: Relay) -> None:
    room = relay.room("r", empty_timeout=100, departure_timeout=5)
    now = time.monotonic()
    assert not room.is_over(now + 99)
    assert room.is_over(now + 101)
    a, _ = join(relay, "a")
    assert not room.is_over(now + 1000)
    room.remove(a, 1, 0)
    now = time.monotonic()
    assert not room.is_over(now + 4)
    assert room.is_over(now + 6)


async def test_tokens_are_renewed_but_not_those_of_the_removed(relay: Relay) -> None:
    a, box = join(relay, "a", can_publish_sources=("camera",))
    first = box.last("refresh_token")
    a.was_active, a.subscriber.session.checked_at = True, time.monotonic() + 1000
    a.room.tick(time.monotonic() + relay.refresh_every_s + 1)
    second = box.last("refresh_token")
    assert verify_token(second, {KEY: SECRET}).grants.can_publish_sources == ("camera",)
    unused = token("a")
    for text in (first, second, unused):
        assert not relay.is_expelled(text, verify_token(text, {KEY: SECRET}))
    relay.expel(a.room, a, "a")
    assert box.names()[-1] == "leave"
    assert box.last("leave").reason == models.DisconnectReason.PARTICIPANT_REMOVED
    count = len(box.said)
    a.refresh_token()
    assert len(box.said) == count
    for text in (first, second, unused):
        assert relay.is_expelled(text, verify_token(text, {KEY: SECRET}))
    later = make_token(KEY, SECRET, "a", Grants(room="r", room_join=True), 600, now=time.time() + 0.01)
    assert not relay.is_expelled(later, verify_token(later, {KEY: SECRET}))
    elsewhere = token("a", "another room")
    assert not relay.is_expelled(elsewhere, verify_token(elsewhere, {KEY: SECRET}))


async def test_removing_one_who_is_on_its_way_in(relay: Relay) -> None:
    early = token("late")
    relay.expel(relay.room("r"), None, "late")
    assert relay.is_expelled(early, verify_token(early, {KEY: SECRET}))


async def test_what_is_remembered_is_bounded(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REMOVED", 50)
    room = relay.room("r")
    for k in range(200):
        relay.expel(room, None, f"p{k}")
    assert len(relay._removed) == 50
    for k in range(60):
        a, _ = join(relay, f"a{k}")
        for _ in range(10):
            a.refresh_token()
        room.remove(a, 1, 0)
    assert len(relay._tokens) == 50
    assert max(map(len, relay._tokens.values())) == 8


async def test_requests_that_are_refused_are_answered(relay: Relay) -> None:
    a, box = join(relay, "a", can_publish_sources=("camera",))
    why = rtc.RequestResponse.Reason

    def ask(**request: Any) -> int:
        handle(a, rtc.SignalRequest(**request))
        return int(box.last("request_response").reason)

    camera, microphone = models.TrackSource.CAMERA, models.TrackSource.MICROPHONE
    add = rtc.AddTrackRequest
    assert ask(add_track=add(cid="x", type=models.TrackType.AUDIO, source=microphone)) == why.NOT_ALLOWED
    assert ask(add_track=add(cid="x", type=models.TrackType.DATA, source=camera)) == why.UNSUPPORTED_TYPE
    assert ask(add_track=add(cid="", type=models.TrackType.VIDEO, source=camera)) == why.INVALID_REQUEST
    assert ask(add_track=add(cid="x", type=models.TrackType.AUDIO, source=camera)) == why.INVALID_REQUEST  # to be heard without the right
    handle(a, rtc.SignalRequest(add_track=add(cid="x", type=models.TrackType.VIDEO, source=camera)))
    assert box.last("track_published").track.sid.startswith("TR_VC")
    assert ask(add_track=add(cid="x", type=models.TrackType.VIDEO, source=camera)) == why.QUEUED
    for k in range(limits.TRACKS - 1):
        handle(a, rtc.SignalRequest(add_track=add(cid=f"y{k}", type=models.TrackType.VIDEO, source=camera)))
    assert ask(add_track=add(cid="z", type=models.TrackType.VIDEO, source=camera)) == why.LIMIT_EXCEEDED
    assert ask(mute=rtc.MuteTrackRequest(sid="TR_no", muted=True)) == why.NOT_FOUND
    assert ask(update_metadata=rtc.UpdateParticipantMetadata(metadata="x", request_id=7)) == why.NOT_ALLOWED
    assert box.last("request_response").request_id == 7
    handle(a, rtc.SignalRequest())  # nothing in it
    handle(a, rtc.SignalRequest(ping=5))
    assert box.last("pong") > 0


async def test_one_may_change_its_own_metadata_if_permitted(relay: Relay) -> None:
    a, box = join(relay, "a", can_update_own_metadata=True)
    _, other = join(relay, "b")
    update = rtc.UpdateParticipantMetadata(metadata="m", name="n", attributes={"hand": "1"}, request_id=3)
    handle(a, rtc.SignalRequest(update_metadata=update))
    assert box.last("request_response").reason == rtc.RequestResponse.Reason.OK
    told = other.last("update").participants[0]
    assert (told.metadata, told.name, dict(told.attributes)) == ("m", "n", {"hand": "1"})
    handle(a, rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(attributes={"hand": ""})))
    assert dict(other.last("update").participants[0].attributes) == {}
    handle(a, rtc.SignalRequest(update_metadata=rtc.UpdateParticipantMetadata(metadata="x" * 100_000)))
    assert box.last("request_response").reason == rtc.RequestResponse.Reason.LIMIT_EXCEEDED


async def test_quality_is_told_when_it_changes(relay: Relay) -> None:
    a, box = join(relay, "a")
    a.was_active = True
    now = time.monotonic()
    a.subscriber.session.checked_at = now + 100
    a.room.tick(now + 10)
    assert "connection_quality" not in box.names()
    a.subscriber.session.checked_at = now
    a.room.tick(now + 16)
    assert box.last("connection_quality").updates[0].quality == models.ConnectionQuality.LOST
