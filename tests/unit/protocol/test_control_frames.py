"""The frames around commands and events: they come back as they went, and what is malformed is refused by code."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.meeting import messages as m
from vidconf.meeting.models import Meeting, Participant
from vidconf.protocol import frames as f
from vidconf.protocol.control import WireError

MUTED = m.Recorded(41, 1764000000.0, "p1", m.Muted("p3"))


def test_hello() -> None:
    assert f.parse_client_frame(f.hello(0, "tok", "vidconf/0.1.0", 41)) == f.Hello(0, "tok", f.PROTOCOL, "vidconf/0.1.0", 41)
    assert f.parse_client_frame('{"id":0,"do":"hello","token":"t","protocol":1}') == f.Hello(0, "t", 1, "", None)


@pytest.mark.parametrize(
    "change",
    [{"token": ""}, {"token": None}, {"token": "x" * 9000}, {"protocol": "1"}, {"protocol": None}, {"client": 5}, {"resume_from": -1}, {"resume_from": "4"}],
)
def test_no_hello(change: dict[str, object]) -> None:
    frame = {"id": 0, "do": "hello", "token": "t", "protocol": 1, "client": "c", "resume_from": None, **change}
    with pytest.raises(WireError) as error:
        f.parse_client_frame(json.dumps(frame))
    assert (error.value.code, error.value.id) == ("malformed", 0)


def test_requests() -> None:
    assert f.parse_client_frame('{"id":7,"do":"mute","participant":"p3"}') == f.Request(7, m.Mute(("p3",)))
    assert f.parse_client_frame(f.request(8, m.Rename("Bình", "p2"))) == f.Request(8, m.Rename("Bình", "p2"))
    assert f.parse_client_frame(f.request(9, m.MuteAll(("p1",))).encode()) == f.Request(9, m.MuteAll(("p1",)))


@pytest.mark.parametrize(
    ("text", "code", "id_"),
    [
        ("", "malformed", None),
        ("[]", "malformed", None),
        ("7", "malformed", None),
        ("{", "malformed", None),
        ("[" * 100_000, "malformed", None),
        ('{"do":"lock"}', "malformed", None),
        ('{"id":true,"do":"lock"}', "malformed", None),
        ('{"id":-1,"do":"lock"}', "malformed", None),
        ('{"id":1e999,"do":"lock"}', "malformed", None),
        ('{"id":3,"do":"fly"}', "unknown_command", 3),
        ('{"id":3,"do":"knock","participant":"p","name":"x"}', "unknown_command", 3),
        ('{"id":3,"do":"lock","do2":1}', "malformed", 3),
        ('{"id":3,"do":"chat","text":"\\ud800"}', "malformed", None),
        ('{"id":3,"do":"chat","text":"\ud800"}', "malformed", None),
        ('{"id":3,"do":"chat","text":"NaN","to":NaN}', "malformed", None),
        ('{"id":1,"do":"chat","text":"' + "x" * 200_000 + '"}', "too_large", None),
        ('{"id":1,"do":"chat","text":"' + "ế" * 60_000 + '"}', "too_large", None),
        (b"\xff\xfe", "malformed", None),
    ],
    ids=range(18),
)
def test_bad_frames(text: str | bytes, code: str, id_: int | None) -> None:
    with pytest.raises(WireError) as error:
        f.parse_client_frame(text)
    assert (error.value.code, error.value.id) == (code, id_)
    f.parse_server_frame(f.refused(error.value.id or 0, error.value.refusal()))


def test_answers() -> None:
    assert f.parse_server_frame(f.ok(7)) == f.Answer(7, ok={})
    assert f.parse_server_frame(f.ok(7, {"url": "wss://x"})) == f.Answer(7, ok={"url": "wss://x"})
    assert f.parse_server_frame(f.refused(7, m.Refusal("full", {"capacity": 3}))) == f.Answer(7, refused=m.Refusal("full", {"capacity": 3}))
    assert f.parse_server_frame(f.error(7, "internal", "a1b2")) == f.Answer(7, error="internal", ref="a1b2")
    for broken in ('{"re":7}', '{"re":"7","ok":{}}', '{"re":7,"ok":[]}'):
        with pytest.raises(WireError):
            f.parse_server_frame(broken)


def test_pushes() -> None:
    assert f.parse_server_frame(f.events_frame([MUTED])) == f.Events((MUTED,), 41)
    assert json.loads(f.events_frame([MUTED])) == {"events": [{"seq": 41, "at": 1764000000.0, "actor": "p1", "ev": "muted", "participant": "p3"}]}
    newer = '{"events":[{"seq":4,"at":1,"actor":"server","ev":"locked"},{"seq":5,"at":1,"actor":"p","ev":"voted"}]}'
    assert f.parse_server_frame(newer) == f.Events((m.Recorded(4, 1.0, "server", m.Locked()),), 5)
    assert f.parse_server_frame('{"events":[]}') == f.Events((), 0)
    meeting = Meeting("m", "c", "t", participants={"p": Participant("p", "Bình")}, seq=3)
    assert f.parse_server_frame(f.snapshot_frame(meeting)) == f.Snapshot(meeting)
    assert f.parse_server_frame(f.signal_frame("reaction", {"emoji": "👍"})) == f.Signal("reaction", {"emoji": "👍"})
    assert f.parse_server_frame('{"weather":"fine"}') == f.Unknown()


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.binary(max_size=80)))
def test_noise_raises_only_its_own_error(noise: str | bytes) -> None:
    for parse in (f.parse_client_frame, f.parse_server_frame):
        try:
            parse(noise)
        except WireError:
            pass


FRAME = st.dictionaries(
    st.sampled_from(("re", "ok", "events", "snapshot", "signal", "id", "do", "refused", "detail", "error", "token", "protocol")),
    st.one_of(
        st.none(),
        st.integers(),
        st.text(max_size=5),
        st.sampled_from(("hello", "lock", "mute")),
        st.lists(st.one_of(st.integers(), st.dictionaries(st.sampled_from(("seq", "at", "actor", "ev")), st.integers(0, 3)))),
        st.dictionaries(st.sampled_from(("id", "code", "title", "participants")), st.one_of(st.text(max_size=3), st.none())),
    ),
    max_size=5,
)


@settings(max_examples=300, deadline=None)
@given(FRAME)
def test_frames_of_wrong_shape_raise_only_their_own_error(frame: dict[str, object]) -> None:
    for parse in (f.parse_client_frame, f.parse_server_frame):
        try:
            parse(json.dumps(frame))
        except WireError:
            pass
