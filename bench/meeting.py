"""What the rules cost: `python bench/meeting.py` prints microseconds a call for meetings of 50 and 500. No network, no Qt."""

from __future__ import annotations

import timeit
from collections.abc import Callable

from vidconf.meeting import messages as m
from vidconf.meeting import visibility
from vidconf.meeting.models import Meeting
from vidconf.meeting.reducer import apply, start
from vidconf.meeting.rules import decide
from vidconf.protocol import frames


def room(people: int) -> Meeting:
    """A meeting with everybody in."""
    state = start("m", "code", "Giao ban", lobby=False, capacity=people)
    knocks: list[m.Command] = [m.Knock("p0", "Chủ trì", role="chair", straight_in=True)]
    knocks += [m.Knock(f"p{number}", f"Người số {number}", account=f"a{number}") for number in range(1, people)]
    for knock in knocks:
        decided = decide(state, "server", knock, 1.0)
        assert isinstance(decided, tuple), decided
        for event in decided:
            state = apply(state, m.Recorded(state.seq + 1, 1.0, "server", event))
    return state


def main() -> None:
    rooms = {people: room(people) for people in (50, 500)}
    print(f"{'microseconds a call':34}" + "".join(f"{people:>10}" for people in rooms))

    def row(name: str, call: Callable[[Meeting], object]) -> None:
        cells = []
        for state in rooms.values():
            timer = timeit.Timer(lambda state=state: call(state))  # type: ignore[misc]
            number, _ = timer.autorange()
            number = max(1, number // 4)
            cells.append(min(timer.repeat(3, number)) / number * 1e6)
        print(f"{name:34}" + "".join(f"{cell:10.1f}" for cell in cells))

    def recorded(state: Meeting, event: m.Event) -> m.Recorded:
        return m.Recorded(state.seq + 1, 2.0, "p5", event)

    live = m.SourceChanged("p5", "microphone", "on")
    row("apply source_changed", lambda state: apply(state, recorded(state, live)))
    row("apply knocked", lambda state: apply(state, recorded(state, m.Knocked("new", "Mới", "delegate", "person"))))
    row("decide set_source", lambda state: decide(state, "p5", m.SetSource("microphone", "on"), 2.0))
    row("decide knock", lambda state: decide(state, "server", m.Knock("new", "Người mới"), 2.0))
    row("decide set_permission", lambda state: decide(state, "p0", m.SetPermission("microphone", "by_floor"), 2.0))
    row("visible_to, for each of them", lambda state: [visibility.visible_to(state, recorded(state, live), p) for p in state.participants])
    row("view of a delegate", lambda state: visibility.view(state, "p5"))
    row("snapshot as text", lambda state: frames.snapshot_frame(state))
    row("parse a command", lambda state: frames.parse_client_frame('{"id":7,"do":"mute","participant":"p3"}'))


if __name__ == "__main__":
    main()
