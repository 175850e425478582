"""Commands, events and meetings as dicts; what is none raises `WireError` and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.meeting import messages as m
from vidconf.meeting.models import ChatMessage, Floor, Hand, Meeting, Participant, Sources
from vidconf.meeting.refusals import REFUSALS
from vidconf.protocol.control import (
    COMMANDS,
    EVENTS,
    ID_LIMIT,
    LIST_LIMIT,
    WireError,
    decode_command,
    decode_event,
    decode_meeting,
    encode_command,
    encode_event,
    encode_meeting,
)

DECODABLE: st.SearchStrategy[str] = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=40)


def built(cls: type[Any]) -> st.SearchStrategy[Any]:
    overrides: dict[str, Any] = {}
    for field in cls.__dataclass_fields__:
        if field in ("participants", "except_"):
            overrides[field] = st.lists(DECODABLE, max_size=4).map(tuple)
        elif cls.__dataclass_fields__[field].type == "str":
            overrides[field] = DECODABLE
        elif cls.__dataclass_fields__[field].type == "str | None":
            overrides[field] = st.one_of(st.none(), DECODABLE)
        elif "int" in cls.__dataclass_fields__[field].type:
            overrides[field] = st.integers(-(2**53), 2**53)
    return st.builds(cls, **overrides)


@given(st.one_of([built(cls) for cls in COMMANDS.values()]))
def test_every_command_comes_back(command: m.Command) -> None:
    wire = json.loads(json.dumps(encode_command(command)))
    assert wire["do"] == command.name
    assert decode_command(wire) == command


@given(st.one_of([built(cls) for cls in EVENTS.values()]), st.integers(1, 2**40), st.floats(0, 4e9))
def test_every_event_comes_back(event: m.Event, seq: int, at: float) -> None:
    recorded = m.Recorded(seq, at, "account:lịch", event)
    assert decode_event(json.loads(json.dumps(encode_event(recorded)))) == recorded


def test_every_class_has_a_wire_unless_it_is_the_servers() -> None:
    servers = {m.Knock, m.Connect, m.Disconnect, m.Expire, m.CorrectSource, m.NewEpoch}
    defined = [value for value in vars(m).values() if isinstance(value, type)]
    assert set(COMMANDS.values()) | servers == {cls for cls in defined if issubclass(cls, m.Command)} - {m.Command}
    assert set(EVENTS.values()) == {cls for cls in defined if issubclass(cls, m.Event)} - {m.Event}


def test_a_meeting_comes_back_in_order() -> None:
    people = [Participant(f"p{number}", f"Người {number}", place="admitted", sources=Sources("on")) for number in (3, 1, 2)]
    meeting = Meeting(
        "m1",
        "code",
        "Giao ban",
        participants={p.id: p for p in people},
        hands=(Hand("p1", 5.0),),
        floor=Floor("p2", 1.0, None),
        chat=(ChatMessage("7", 1.5, "p1", "Người 1", "chào\nmọi người", None),),
        banned_accounts=frozenset({"b", "a"}),
        seq=9,
    )
    wire = json.loads(json.dumps(encode_meeting(meeting)))
    assert wire["banned_accounts"] == ["a", "b"]
    back = decode_meeting(wire)
    assert back == meeting
    assert [p.id for p in back.admitted()] == ["p3", "p1", "p2"]


@pytest.mark.parametrize(
    ("wire", "command"),
    [
        ({"do": "mute", "participant": "p1"}, m.Mute(("p1",))),
        ({"do": "mute", "participants": ["p1", "p2"]}, m.Mute(("p1", "p2"))),
        ({"do": "give_floor", "participants": ["p1"], "seconds": 60}, m.GiveFloor("p1", 60)),
        ({"do": "mute_all", "except": ["p1"], "id": 4}, m.MuteAll(("p1",))),
        ({"do": "mute_all"}, m.MuteAll()),
        ({"do": "rename", "name": "An"}, m.Rename("An")),
        ({"do": "spotlight", "participant": None}, m.Spotlight(None)),
        ({"do": "raise_hand"}, m.RaiseHand()),
        ({"do": "lower_hand", "participant": "p2"}, m.LowerHand(("p2",))),
        ({"do": "set_permission", "source": "chat", "allowed": "moderators"}, m.SetPermission("chat", "moderators")),
        ({"do": "deny", "participant": "p1", "reason": "chưa tới giờ"}, m.Deny(("p1",), "chưa tới giờ")),
    ],
)
def test_ways_to_say_it(wire: dict[str, Any], command: m.Command) -> None:
    assert decode_command(wire) == command


@pytest.mark.parametrize(
    ("wire", "field"),
    [
        ({}, "do"),
        ({"do": None}, "do"),
        ({"do": "mute"}, ""),
        ({"do": "mute", "participant": 7}, "participants"),
        ({"do": "mute", "participant": "a", "participants": ["b"]}, "participants"),
        ({"do": "mute", "participants": "abc"}, ""),
        ({"do": "mute", "participants": [["a"]]}, "participants"),
        ({"do": "mute", "participants": ["a"] * (LIST_LIMIT + 1)}, "participants"),
        ({"do": "mute", "participant": "x" * (ID_LIMIT + 1)}, "participant"),
        ({"do": "give_floor", "participants": ["a", "b"]}, "participants"),
        ({"do": "give_floor", "participant": "a", "seconds": True}, ""),
        ({"do": "give_floor", "participant": "a", "seconds": 1 << 60}, "seconds"),
        ({"do": "give_floor", "participant": "a", "seconds": float("nan")}, "seconds"),
        ({"do": "mute_all", "except_": ["a"]}, "except_"),
        ({"do": "mute_all", "but": ["a"]}, "but"),
        ({"do": "rename", "new_name": "An"}, "new_name"),
        ({"do": "chat", "text": "a\x00b"}, "text"),
        ({"do": "chat", "text": "\ud800"}, "text"),
        ({"do": "chat", "text": ["a"]}, "text"),
        ({"do": "chat", "text": {"a": 1}}, "text"),
        ({"do": "set_source", "source": "microphone", "state": "loud"}, ""),
        ({"do": "set_source", "source": "everything", "state": "on"}, ""),
        ({"do": "set_role", "participant": "a", "role": "king"}, ""),
        ({"do": "lock", "\ud800": 1}, "?"),
    ],
)
def test_malformed(wire: dict[str, Any], field: str) -> None:
    with pytest.raises(WireError) as error:
        decode_command(wire)
    assert error.value.code == "malformed"
    assert error.value.detail["field"] == field
    json.dumps(error.value.detail, ensure_ascii=False).encode()  # can be answered


@pytest.mark.parametrize("name", ["knock", "connect", "expire", "correct_source", "new_epoch", "hello", "vote", "\ud800", "x" * 500, ""])
def test_unknown_commands_and_the_servers_own(name: str) -> None:
    with pytest.raises(WireError) as error:
        decode_command({"do": name, "participant": "p1"})
    assert error.value.code == "unknown_command"
    assert error.value.refusal().code == "unknown_command"
    assert len(error.value.detail["command"].encode()) <= 256


def test_unknown_events_are_ignored_and_broken_ones_are_not() -> None:
    known = encode_event(m.Recorded(4, 1.0, "server", m.Locked()))
    assert decode_event({**known, "ev": "vote_opened", "question": "?"}) is None
    assert decode_event({**known, "since_version_9": 1}) == m.Recorded(4, 1.0, "server", m.Locked())
    for broken in ({"seq": 0}, {"seq": True}, {"seq": "4"}, {"at": None}, {"at": float("inf")}, {"actor": 1}, {"ev": None}):
        with pytest.raises(WireError):
            decode_event({**known, **broken})
    with pytest.raises(WireError):
        decode_event({"seq": 1, "at": 1, "actor": "server", "ev": "muted"})
    with pytest.raises(WireError):
        decode_event("nonsense")  # type: ignore[arg-type]


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(("p1", "on", "microphone", "all"))),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)
FIELDS = st.sampled_from(("participant", "participants", "except", "name", "text", "to", "source", "state", "seconds", "role", "reason", "id"))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([*COMMANDS, "knock", "nonsense"]), st.dictionaries(st.one_of(FIELDS, FIELDS, st.text(max_size=5)), JSON, max_size=4))
def test_no_json_breaks_the_decoder(name: str, rest: dict[str, Any]) -> None:
    command, code = None, ""
    try:
        command = decode_command({**rest, "do": name})
    except WireError as error:
        code = error.code
    assert code in REFUSALS if command is None else decode_command(encode_command(command)) == command


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=6), JSON, max_size=4), st.sampled_from([*EVENTS, "nonsense"]))
def test_no_json_breaks_the_other_decoders(body: dict[str, Any], name: str) -> None:
    for decode in (decode_command, decode_event, decode_meeting):
        try:
            decode(body)
        except WireError:
            pass
    try:
        decode_event({"seq": 1, "at": 0, "actor": "server", "participant": "p", **body, "ev": name})
    except WireError:
        pass
    try:
        decode_meeting({"id": "m", "code": "c", "title": "t", "participants": body, "hands": body, "chat": list(body.values())})
    except WireError:
        pass
