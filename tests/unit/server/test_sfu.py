"""The SFU as the server calls it: tokens held against LiveKit's own package, RoomService against a real relay, and wrong answers."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from e2e.raw_client import RawClient
from e2e.relayproc import KEY, SECRET, RelayProcess
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import OctKey
from livekit import api
from livekit.protocol import models as lk_models

from vidconf.meeting import messages as m
from vidconf.meeting.models import SOURCES, Meeting, Permissions, Source
from vidconf.meeting.reducer import apply, start
from vidconf.server.media import belongs, lawful_sources, sfu_says
from vidconf.server.sfu import Claims, Sfu, SfuError, permission, room_name, split_name

PUBLISHABLE = {"microphone": ["microphone"], "camera": ["camera"], "screen_share": ["screen_share", "screen_share_audio"]}


@pytest.fixture
async def sfu() -> AsyncIterator[Sfu]:
    async with aiohttp.ClientSession() as session:
        yield Sfu(session, KEY, SECRET)


def claims_of(token: str) -> dict[str, Any]:
    return dict(jwt.decode(token, OctKey.import_key(SECRET), algorithms=["HS256"]).claims)


# ---- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [each for n in range(4) for each in itertools.combinations(SOURCES, n)], ids=str)
async def test_a_token_grants_what_is_lawful_and_never_more(sfu: Sfu, sources: tuple[Source, ...]) -> None:
    token = sfu.token("m1.1", "p1.1", "Trần Thị Bình", sources)
    assert api.TokenVerifier(KEY, SECRET).verify(token).identity == "p1.1"
    claims = claims_of(token)
    assert (claims["iss"], claims["sub"], claims["name"]) == (KEY, "p1.1", "Trần Thị Bình")
    assert 55 <= claims["exp"] - time.time() <= 60
    video = claims["video"]
    assert (video["room"], video["roomJoin"], video["canSubscribe"]) == ("m1.1", True, True)
    assert video["canPublishData"] is video["canUpdateOwnMetadata"] is False
    assert video["canPublish"] is bool(sources)
    if sources:
        words = [word for source in sources for word in PUBLISHABLE[source]]
        if "microphone" not in sources and "screen_share" in sources:
            words.remove("screen_share_audio")  # it would be a microphone by another name
        assert video["canPublishSources"] == words
    else:
        assert not video.get("canPublishSources"), "an empty list would mean all; canPublish says no"
    assert not set(video) & {"roomAdmin", "roomCreate", "roomList", "roomRecord", "ingressAdmin", "hidden", "recorder"}
    allowed = permission(sources)
    assert (allowed.can_publish, allowed.can_publish_data, allowed.can_update_metadata, allowed.can_subscribe) == (bool(sources), False, False, True)
    assert len(allowed.can_publish_sources) == len(video.get("canPublishSources", []))


async def test_a_token_is_known_again_and_no_other_is(sfu: Sfu) -> None:
    assert sfu.verify(sfu.token("m1.1", "p1.2", "An", ())) == Claims("m1.1", "p1.2")
    renewed = api.AccessToken(KEY, SECRET).with_identity("p1.2").with_grants(api.VideoGrants(room_join=True, room="m1.1")).to_jwt()
    assert sfu.verify(renewed) == Claims("m1.1", "p1.2"), "the SFU renews them itself"
    key = OctKey.import_key(SECRET)
    now = int(time.time())
    good = {"iss": KEY, "sub": "p1.2", "nbf": now, "exp": now + 60, "video": {"room": "m1.1", "roomJoin": True}}

    def signed(**changed: Any) -> str:
        return jwt.encode({"alg": "HS256"}, {key_: value for key_, value in {**good, **changed}.items() if value is not None}, key)

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    assert sfu.verify(signed()) == Claims("m1.1", "p1.2")
    bad = {
        "another secret": api.AccessToken(KEY, "x" * 40).with_identity("p1.2").with_grants(api.VideoGrants(room_join=True, room="m1.1")).to_jwt(),
        "another key": signed(iss="other"),
        "too old": signed(exp=now - 60),
        "not yet": signed(nbf=now + 60),
        "for ever": signed(exp=None),
        "exp as text": signed(exp="never"),
        "exp as a flag": signed(exp=True),
        "nbf as text": signed(nbf="now"),
        "no join": signed(video={"room": "m1.1", "roomAdmin": True}),
        "join as text": signed(video={"room": "m1.1", "roomJoin": "true"}),
        "no room": signed(video={"roomJoin": True}),
        "room as list": signed(video={"room": ["m1.1"], "roomJoin": True}),
        "no identity": signed(sub=None),
        "identity as number": signed(sub=1),
        "video as text": signed(video="all"),
        "unsigned": f"{part({'alg': 'none'})}.{part(good)}.",
        "empty": "",
        "garbage": "a.b.c",
        "huge": "x" * 20_000,
    }
    assert {name for name, token in bad.items() if sfu.verify(token) is not None} == set()


@given(st.text(max_size=60))
def test_names_are_taken_apart_or_are_none_of_ours(name: str) -> None:
    found = split_name(name)
    if found is not None:
        assert found[0]
        assert 0 <= found[1] < 10**9
        assert name in (room_name(*found), name)


def test_names() -> None:
    assert split_name(room_name("m0123456789abcdef", 12)) == ("m0123456789abcdef", 12)
    assert split_name("a.b.3") == ("a.b", 3)
    for name in ("", ".", "m1", "m1.", ".1", "m1.-1", "m1.x", "m1.1 ", "m1.²", "m1.١", "m1." + "9" * 10):
        assert split_name(name) is None


# ---- who belongs, and what is lawful ---------------------------------------------------------------------------------


def meeting(*events: m.Event, **fields: Any) -> Meeting:
    state = start("m1", "code", "Giao ban", **fields)
    for n, event in enumerate(events, 1):
        state = apply(state, m.Recorded(n, float(n), "server", event))
    return state


def admitted(who: str, role: str = "delegate", session: int = 1, kind: str = "person") -> m.Event:
    return m.Admitted(who, f"Người {who}", role, kind, session=session, connected=True)  # type: ignore[arg-type]


def test_who_belongs_at_the_sfu() -> None:
    state = meeting(
        admitted("p1", session=3), m.Knocked("p2", "Đợi", "delegate", "person"), admitted("p3"), m.Removed("p3"), admitted("p4"), m.Left("p4"),
        admitted("gw", kind="external", session=0), admitted("p5"), m.SentToLobby("p5"),
    )  # fmt: skip
    there = [identity for identity in (
        "p1.1", "p1.2", "p1.3", "p1.4", "p1.0", "p1", "p1.", "p1.x", "p2.1", "p3.1", "p4.1", "p5.1", "gw.1", "gw.7", "ghost.1", "", "p1.3.3",
    ) if belongs(state, identity) is not None]  # fmt: skip
    assert there == ["p1.1", "p1.2", "p1.3", "gw.1", "gw.7"]
    assert belongs(apply(state, m.Recorded(99, 99.0, "server", m.Ended())), "p1.3") is None


def test_what_is_lawful_is_what_the_rules_say() -> None:
    def lawful(who: str, **permissions: Any) -> tuple[Source, ...]:
        state = meeting(admitted("chair", "chair"), admitted("p1"), admitted("p2"), m.FloorGiven("p2"), permissions=Permissions(**permissions))
        return lawful_sources(state, state.participants[who])

    closed = {"microphone": "moderators", "camera": "moderators", "screen_share": "moderators"}
    by_floor = dict.fromkeys(closed, "by_floor")
    assert lawful("p1") == SOURCES
    assert lawful("p1", **closed) == lawful("p1", **by_floor) == ()
    assert lawful("chair", **closed) == lawful("chair", **by_floor) == SOURCES
    assert lawful("p2", **closed) == ("microphone",), "who is invited to speak may"
    assert lawful("p2", **by_floor) == SOURCES
    assert lawful("p1", screen_share="moderators") == ("microphone", "camera")


def test_what_the_sfu_says_of_a_source() -> None:
    def info(*tracks: tuple[int, bool]) -> lk_models.ParticipantInfo:
        return lk_models.ParticipantInfo(tracks=[lk_models.TrackInfo(source=source, muted=muted) for source, muted in tracks])  # type: ignore[arg-type]

    microphone, camera, share, share_sound = (
        lk_models.TrackSource.MICROPHONE, lk_models.TrackSource.CAMERA, lk_models.TrackSource.SCREEN_SHARE, lk_models.TrackSource.SCREEN_SHARE_AUDIO,
    )  # fmt: skip
    assert sfu_says(info(), "microphone") == "off"
    assert sfu_says(info((camera, False)), "microphone") == "off"
    assert sfu_says(info((microphone, True)), "microphone") == "muted"
    assert sfu_says(info((microphone, True), (microphone, False)), "microphone") == "on", "one of two is enough to be heard"
    assert sfu_says(info((share, False), (share_sound, True)), "screen_share") == "on"


# ---- webhooks --------------------------------------------------------------------------------------------------------


async def test_a_webhook_is_believed_to_come_from_the_sfu_only_when_signed_over_its_body(sfu: Sfu) -> None:
    body = json.dumps({"event": "participant_joined", "room": {"name": "m1.1"}}).encode()

    def signature(over: bytes, secret: str = SECRET, key: str = KEY) -> str:
        return api.AccessToken(key, secret).with_sha256(base64.b64encode(hashlib.sha256(over).digest()).decode()).to_jwt()

    assert sfu.verify_webhook(signature(body), body) == json.loads(body)
    assert sfu.verify_webhook("Bearer " + signature(body), body) == json.loads(body)
    for authorization, sent in (
        (signature(body), body + b" "), (signature(b""), body), (signature(body, "x" * 40), body), (signature(body, key="other"), body), ("", body),
        ("Bearer", body), ("x" * 20_000, body), (sfu.token("m1.1", "p1.1", "An", ()), body), (signature(b"[]"), b"[]"), (signature(b"{"), b"{"),
        (signature(b"[" * 60_000), b"[" * 60_000), (signature(b"\xff"), b"\xff"),
    ):  # fmt: skip
        assert sfu.verify_webhook(authorization, sent) is None


# ---- calls -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def relay() -> Iterator[RelayProcess]:
    with RelayProcess("--no-auto-create") as running:
        yield running


async def test_room_service_of_a_real_relay(sfu: Sfu, relay: RelayProcess) -> None:
    sfu.api_url = relay.url
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await RawClient(relay.ws_url, sfu.token("m1.1", "p1.1", "An", SOURCES)).join()
    await sfu.create_room("m1.1")
    await sfu.create_room("m1.1")
    assert await sfu.rooms() == ["m1.1"]
    client = RawClient(relay.ws_url, sfu.token("m1.1", "p1.1", "An", ()))
    joined = await client.join()
    assert joined.participant.permission.can_publish is False
    [info] = await sfu.participants("m1.1")
    assert (info.identity, info.name) == ("p1.1", "An")
    await sfu.permit("m1.1", "p1.1", permission(("microphone",)))
    [info] = await sfu.participants("m1.1")
    assert list(info.permission.can_publish_sources) == [lk_models.TrackSource.MICROPHONE]
    for call in (sfu.remove("m1.1", "p9.1"), sfu.mute("m1.1", "p1.1", "TR_none"), sfu.permit("m1.1", "p9.1", permission(())),
                 sfu.delete_room("m9.1"), sfu.participants("m9.1")):  # fmt: skip
        with pytest.raises(SfuError) as refused:
            await call
        assert refused.value.code == "not_found"
    await sfu.remove("m1.1", "p1.1")
    await client.wait("leave")
    assert await sfu.participants("m1.1") == []
    await sfu.delete_room("m1.1")
    assert await sfu.rooms() == []
    await client.close()


async def test_a_wrong_secret_is_said_so(relay: RelayProcess) -> None:
    async with aiohttp.ClientSession() as session:
        stranger = Sfu(session, KEY, "another secret that is long enough", relay.url)
        with pytest.raises(SfuError) as refused:
            await stranger.rooms()
        assert refused.value.code in ("unauthenticated", "permission_denied", "http_401")


ANSWERS: dict[str, Callable[[], web.Response]] = {
    "http_502": lambda: web.Response(status=502, text="<html>Bad Gateway</html>"),
    "not_found": lambda: web.json_response({"code": "not_found", "msg": "no"}, status=404),
    "http_404": lambda: web.Response(status=404, text="404 page not found"),
    "http_500": lambda: web.json_response(["code"], status=500),
    "http_503": lambda: web.Response(status=503, body=b'{"code":' * 50_000),
    "malformed": lambda: web.Response(body=b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize("code", ANSWERS)
async def test_wrong_answers_are_errors_by_code(sfu: Sfu, code: str) -> None:
    async def answer(request: web.Request) -> web.Response:
        return ANSWERS[code]()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        sfu.api_url = str(server.make_url("")).rstrip("/")
        with pytest.raises(SfuError) as refused:
            await sfu.rooms()
    assert refused.value.code == code


async def test_nobody_there_is_an_error_by_code(sfu: Sfu) -> None:
    for url in ("", "http://127.0.0.1:1", "http://nowhere.invalid"):
        sfu.api_url = url
        with pytest.raises(SfuError) as refused:
            await sfu.participants("m1.1")
        assert refused.value.code == "unreachable"
