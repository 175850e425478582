"""Access tokens: ours read by the official package, the official ones by us, and what does not hold refused."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from livekit import api

from vidconf.protocol.livekit import Claims, Grants, TokenError, body_digest, make_token, sign, verify_token

KEY, SECRET = "key", "a secret that is long enough for HS256"
KEYS = {KEY: SECRET}


def test_the_official_package_reads_ours() -> None:
    grants = Grants(room="r", room_join=True, can_publish=True, can_publish_data=False, can_publish_sources=("camera", "microphone"))
    claims = api.TokenVerifier(KEY, SECRET).verify(make_token(KEY, SECRET, "me", grants, 60, name="Bà Lan", attributes={"a": "b"}))
    assert (claims.identity, claims.name, claims.attributes) == ("me", "Bà Lan", {"a": "b"})
    assert claims.video is not None
    assert (claims.video.room, claims.video.room_join, claims.video.can_publish_data) == ("r", True, False)
    assert claims.video.can_publish_sources == ["camera", "microphone"]


def test_we_read_the_official_ones() -> None:
    video = api.VideoGrants(room_join=True, room="r", can_publish=False, can_publish_sources=["camera"], hidden=True)
    token = api.AccessToken(KEY, SECRET).with_identity("me").with_name("n").with_metadata("m").with_grants(video).to_jwt()
    claims = verify_token(token, KEYS)
    assert (claims.key, claims.identity, claims.name, claims.metadata) == (KEY, "me", "n", "m")
    assert claims.grants == Grants(
        room="r", room_join=True, can_publish=False, can_subscribe=True, can_publish_data=True, can_publish_sources=("camera",), hidden=True
    )


def test_absent_is_not_false() -> None:
    grants = Grants.from_claim({"room": "r", "roomJoin": True})
    assert grants.permits_publishing()
    assert grants.permits_subscribing()
    assert grants.permits_data()
    assert not Grants.from_claim({"canPublish": False}).permits_data()
    assert Grants.from_claim({"canPublish": False, "canPublishData": True}).permits_data()


@pytest.mark.parametrize(
    ("at", "holds"), [(-400.0, False), (-61.0, False), (-59.0, True), (0.0, True), (90.0, True), (119.0, True), (121.0, False)]
)
def test_times(at: float, holds: bool) -> None:
    token = make_token(KEY, SECRET, "me", Grants(), 60, now=10_000.0)
    if holds:
        assert verify_token(token, KEYS, now=10_000.0 + at).expires_at == 10_060
    else:
        with pytest.raises(TokenError):
            verify_token(token, KEYS, now=10_000.0 + at)


def test_what_does_not_hold() -> None:
    good = {"iss": KEY, "exp": 4e9, "sub": "me"}
    for claims in (
        {"iss": KEY}, {**good, "exp": True}, {**good, "exp": "x"}, {**good, "exp": 1e300}, {**good, "video": 5}, {**good, "sub": 5},
        {**good, "video": {"room": 5}}, {**good, "video": {"roomJoin": "yes"}}, {**good, "video": {"canPublishSources": "camera"}},
        {**good, "attributes": {"a": 1}}, {**good, "iss": "x"}, {**good, "iss": 5}, {**good, "nbf": "x"},
    ):  # fmt: skip
        with pytest.raises(TokenError):
            verify_token(sign(claims, SECRET), KEYS)
    head, body, signature = sign(good, SECRET).split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for token in ("", "a", "a.b", "é.b.c", f"{none}.{body}.", f"{none}.{body}.{signature}", f"{head}.{body}.", f"{head}.{body}.!!!", "x" * 20000):
        with pytest.raises(TokenError):
            verify_token(token, KEYS)


@given(st.text(max_size=80), st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists), max_size=5))
def test_nothing_else_is_raised(text: str, claims: dict[str, object]) -> None:
    for token in (text, sign({"iss": KEY, "exp": 4e9, **claims}, SECRET), sign({"iss": KEY, "exp": 4e9, "video": claims}, SECRET)):
        with contextlib.suppress(TokenError):
            assert isinstance(verify_token(token, KEYS), Claims)


@given(
    st.builds(
        Grants, room=st.text(max_size=10), room_join=st.booleans(), room_admin=st.booleans(), hidden=st.booleans(),
        can_publish=st.sampled_from([None, True, False]), can_subscribe=st.sampled_from([None, True, False]),
        can_publish_sources=st.lists(st.sampled_from(["camera", "microphone"])).map(tuple),
    )
)  # fmt: skip
def test_grants_round_trip(grants: Grants) -> None:
    assert Grants.from_claim(json.loads(json.dumps(grants.to_claim()))) == grants
    assert verify_token(make_token(KEY, SECRET, "me", grants, 60), KEYS).grants == grants


def test_the_digest_of_a_body() -> None:
    assert body_digest(b"") == "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
