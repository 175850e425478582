"""The engine's messages: every one goes over the wire and comes back; nothing else does."""

from __future__ import annotations

import ast
import dataclasses
import json
import typing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vidconf.engine import api

MESSAGES = [*typing.get_args(api.Command), *typing.get_args(api.EngineEvent)]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "str": st.text(max_size=20),
    "str | None": st.none() | st.text(max_size=20),
    "int": st.integers(-(1 << 40), 1 << 40),
    "bool": st.booleans(),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "Source": st.sampled_from(typing.get_args(api.Source)),
    "SourceState": st.sampled_from(typing.get_args(api.SourceState)),
    "MediaState": st.sampled_from(typing.get_args(api.MediaState)),
    "SoundName": st.sampled_from(typing.get_args(api.SoundName)),
    "PixelFormat": st.sampled_from(typing.get_args(api.PixelFormat)),
    "tuple[str, ...]": st.lists(st.text(max_size=20), max_size=3).map(tuple),
    "tuple[dict[str, Any], ...]": st.lists(st.dictionaries(st.text(max_size=5), st.integers()), max_size=3).map(tuple),
    "dict[str, Any]": st.dictionaries(st.text(max_size=5), st.integers(), max_size=3),
    "tuple[tuple[str, float], ...]": st.lists(st.tuples(st.text(max_size=5), st.floats(0, 1)), max_size=3).map(tuple),
    "tuple[Shareable, ...]": st.lists(
        st.builds(api.Shareable, *[st.text(max_size=5)] * 2, st.sampled_from(["screen", "window"]), *[st.integers(0, 9)] * 4, st.booleans()), max_size=3
    ).map(tuple),
    "tuple[Device, ...]": st.lists(st.builds(api.Device, st.text(max_size=5), st.text(max_size=5)), max_size=3).map(tuple),
}


def values(written: str) -> st.SearchStrategy[Any]:
    """What a field of that type may be; the words of a Literal are read from where it is written."""
    if written.startswith("Literal["):
        return st.sampled_from(ast.literal_eval(written.removeprefix("Literal")))
    return VALUES[written]


def any_message() -> st.SearchStrategy[Any]:
    return st.sampled_from(MESSAGES).flatmap(lambda kind: st.builds(kind, **{f.name: values(str(f.type)) for f in dataclasses.fields(kind)}))


@given(any_message())
def test_there_and_back(message: Any) -> None:
    line = api.encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert api.decode(line) == message


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_anything_else_is_an_error(line: bytes) -> None:
    with pytest.raises(api.MessageError):
        api.decode(line)


@pytest.mark.parametrize("line", [b'{"type": "Join"}', b'{"type": "Join", "url": "u", "token": "t", "more": 1}', b'{"type": "Nothing"}', b"[" * 100_000])
def test_nearly_a_message_is_an_error(line: bytes) -> None:
    with pytest.raises(api.MessageError):
        api.decode(line)
