"""`apply` takes whatever is recorded: in any order, about anybody, and never raises."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vidconf.meeting import messages as m
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.visibility import follow, needs_snapshot, view, visible_to
from vidconf.protocol.control import EVENTS, decode_event, encode_event

_BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "participant": st.sampled_from(("a", "b", "ghost")),
    "sender": st.sampled_from(("a", "ghost")),
    "to": st.one_of(st.none(), st.sampled_from(("a", "b"))),
    "position": st.integers(-3, 9),
    "account": st.one_of(st.none(), st.just("acc")),
    "badge": st.one_of(st.none(), st.just("bdg")),
}


def events() -> st.SearchStrategy[m.Event]:
    def built(cls: type[m.Event]) -> st.SearchStrategy[m.Event]:
        own = {f.name: _BY_FIELD[f.name] for f in fields(cls) if f.name in _BY_FIELD}  # type: ignore[arg-type]
        if cls in (m.Knocked, m.Admitted):
            own["position"] = st.just("Giám đốc")
        return st.builds(cls, **own)

    return st.one_of([built(cls) for cls in EVENTS.values()])


recorded = st.builds(m.Recorded, st.integers(1, 60), st.floats(0, 2e9), st.sampled_from(("server", "a", "account:x")), events())


@settings(max_examples=300, deadline=None)
@given(st.lists(recorded, max_size=30), st.sampled_from((None, "a", "b", "ghost")))
def test_apply_is_total(log: list[m.Recorded], viewer: str | None) -> None:
    state = start("m1", "code", "Giao ban")
    own = view(state, viewer)
    for one in log:
        visible = visible_to(state, one, viewer)
        needs_snapshot(state, one, viewer)
        after = apply(state, one)
        assert after.seq == max(state.seq, one.seq)
        assert apply(after, one) is after
        if visible is not None:
            own = follow(own, visible, viewer)
        state = after
        view(state, viewer)


@given(recorded)
def test_every_event_crosses_the_wire(one: m.Recorded) -> None:
    assert decode_event(encode_event(one)) == one
