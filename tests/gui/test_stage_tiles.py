"""Who is on the stage, in which order, who is large, what stands on each tile: from states alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from gui.stage_room import person, room, with_person, without
from hypothesis import given
from hypothesis import strategies as st

from vidconf.client.state import ClientState, LocalSource, ShareView, TrackView
from vidconf.gui.stage import said
from vidconf.gui.stage.tiles import OWN_CAMERA, OWN_SHARE, PAGE, Choice, Content, LineUp, Memory, alone, content, line_up
from vidconf.meeting.models import Floor


def keys(found: LineUp) -> list[str]:
    return [tile.key for tile in found.tiles]


def main(found: LineUp) -> str | None:
    return next((tile.key for tile in found.tiles if tile.main), None)


def follow(*states: ClientState, choice: Choice = Choice(), visible: int = 4) -> list[LineUp]:
    found, memory = [], Memory()
    for now, state in enumerate(states):
        found.append(line_up(state, choice, memory, visible, float(now)))
        memory = found[-1].memory
    return found


def of(state: ClientState, key: str, choice: Choice = Choice()) -> Content:
    found = content(state, key, choice)
    assert found is not None
    return found


# ---- the order ------------------------------------------------------------------------------------------------------------


def test_the_chair_first_then_oneself_then_the_others_as_they_came() -> None:
    assert keys(follow(room(5, me="p3"))[0]) == ["p0", "p3", "p1", "p2", "p4"]


def test_only_those_in_the_room() -> None:
    state = with_person(with_person(room(4), "p2", place="lobby"), "p3", place="left")
    assert keys(follow(state)[0]) == ["p0", "p1"]


def test_nobody_before_there_is_a_meeting() -> None:
    found = follow(ClientState())[0]
    assert (keys(found), found.mode, alone(ClientState())) == ([], "grid", False)


def test_newcomers_come_last_and_who_leaves_moves_nobody_else() -> None:
    first, second, third = follow(room(4), room(6), without(room(6), "p2"))
    assert keys(second)[:4] == keys(first)
    assert keys(third) == [key for key in keys(second) if key != "p2"]


def test_who_speaks_unseen_takes_the_place_of_the_one_silent_longest_but_not_of_the_chair_or_oneself() -> None:
    quiet = room(9)
    states = (replace(quiet, speaking=(("p2", 0.3),)), quiet, replace(quiet, speaking=(("p8", 0.3),)))
    before, _, after = (keys(found) for found in follow(*states, visible=5))
    assert before[:5] == ["p0", "p1", "p2", "p3", "p4"]
    assert after[:5] == ["p0", "p1", "p2", "p3", "p8"]
    assert after[8] == "p4"


def test_where_hardly_anything_fits_the_speaker_comes_before_chair_and_oneself() -> None:
    assert "p8" in keys(follow(room(9), replace(room(9), speaking=(("p8", 0.3),)), visible=2)[1])[:2]


def test_pin_and_spotlight_are_on_the_first_page() -> None:
    state = room(20)
    assert state.meeting is not None
    state = replace(state, meeting=replace(state.meeting, spotlight="p18"))
    first = keys(follow(room(20), state, choice=Choice(pinned="p19"), visible=6)[1])[:6]
    assert {"p18", "p19", "p0", "p1"} <= set(first)


def test_without_self_view_one_is_not_shown() -> None:
    assert "p1" not in keys(follow(room(3), choice=Choice(self_view=False))[0])


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 14), max_size=3, unique=True), st.sets(st.integers(0, 14), max_size=10)), min_size=1, max_size=12
    ),
    st.integers(1, 9),
    st.sampled_from(["grid", "speaker"]),
)
def test_everybody_exactly_once_and_no_speaker_is_pushed_off_the_first_page(
    steps: list[tuple[list[int], set[int]]], visible: int, mode: str
) -> None:
    memory, full = Memory(), room(15)
    choice = Choice(mode="speaker" if mode == "speaker" else "grid")
    before: list[str] = []
    for now, (speaking, away) in enumerate(steps):
        state = without(full, *(f"p{n}" for n in away))
        state = replace(state, speaking=tuple((f"p{n}", 0.2) for n in speaking), main_speaker=f"p{speaking[0]}" if speaking else None)
        found = line_up(state, choice, memory, visible, float(now))
        assert state.meeting is not None
        assert sorted(keys(found)) == sorted(p.id for p in state.meeting.admitted())
        if mode == "grid":
            here = keys(found)
            kept = [key for key in before if key in here][:visible]
            for n in speaking:
                if f"p{n}" in kept:
                    assert f"p{n}" in here[:visible]
        else:
            assert sum(tile.main for tile in found.tiles) == (1 if found.tiles else 0)
        memory, before = found.memory, keys(found)


# ---- who is large ------------------------------------------------------------------------------------------------------------

SPEAKER = Choice(mode="speaker")


def test_the_speaker_is_large_and_stays_so_in_silence() -> None:
    found = follow(replace(room(5), main_speaker="p3"), replace(room(5), main_speaker=None), choice=SPEAKER)
    assert [main(one) for one in found] == ["p3", "p3"]


def test_never_oneself_while_there_is_anybody_else() -> None:
    assert main(follow(replace(room(5), main_speaker="p1"), choice=SPEAKER)[0]) == "p0"
    assert main(follow(replace(room(5), main_speaker="p3"), replace(room(5), main_speaker="p1"), choice=SPEAKER)[1]) == "p3"
    assert main(follow(room(1, me="p0"), choice=SPEAKER)[0]) == "p0"


def test_the_pin_before_the_spotlight_before_the_speaker_before_the_floor() -> None:
    state = room(6)
    assert state.meeting is not None
    floor = replace(state, meeting=replace(state.meeting, floor=Floor("p2", 0.0)))
    assert main(follow(floor, choice=SPEAKER)[0]) == "p2"
    speaking = replace(floor, main_speaker="p3")
    assert main(follow(speaking, choice=SPEAKER)[0]) == "p3"
    assert speaking.meeting is not None
    spot = replace(speaking, meeting=replace(speaking.meeting, spotlight="p4"))
    assert main(follow(spot, choice=SPEAKER)[0]) == "p4"
    assert main(follow(spot, choice=Choice(mode="speaker", pinned="p5"))[0]) == "p5"
    assert main(follow(without(spot, "p4", "p5"), choice=Choice(mode="speaker", pinned="p5"))[0]) == "p3"


def test_who_was_large_takes_the_place_in_the_strip_of_who_becomes_it() -> None:
    found = follow(replace(room(6), main_speaker="p2"), replace(room(6), main_speaker="p4"), choice=SPEAKER, visible=5)
    strips = [[key for key in keys(one) if key != main(one)] for one in found]
    assert strips == [["p0", "p1", "p3", "p4", "p5"], ["p0", "p1", "p3", "p2", "p5"]]


# ---- shared pages --------------------------------------------------------------------------------------------------------------


def test_a_shared_page_is_large_by_itself_and_the_newest_of_several() -> None:
    first, second, third = follow(room(4, shares=(2,)), room(4, shares=(2, 3)), room(4, shares=(2,)))
    assert (first.mode, main(first)) == ("share", PAGE + "page2")
    assert keys(second)[:2] == [PAGE + "page3", PAGE + "page2"]
    assert keys(third)[0] == PAGE + "page2"


def test_another_page_may_be_chosen_and_its_end_falls_back_to_the_newest() -> None:
    choice = Choice(share="page2")
    assert main(follow(room(4, shares=(2, 3)), choice=choice)[0]) == PAGE + "page2"
    assert main(follow(room(4, shares=(3,)), choice=choice)[0]) == PAGE + "page3"


def test_who_looks_at_the_people_has_the_page_among_them() -> None:
    found = follow(room(3, shares=(2,)), choice=Choice(past_share=True))[0]
    assert (found.mode, keys(found)) == ("grid", [PAGE + "page2", "p0", "p1", "p2"])


def test_ones_own_page_counts_from_the_moment_it_is_on() -> None:
    state = room(3)
    sharing = replace(state, sources={**state.sources, "screen_share": LocalSource("on", wanted="on")})
    assert keys(follow(state, sharing)[1])[0] == PAGE + OWN_SHARE
    page = of(sharing, PAGE + OWN_SHARE)
    assert (page.track, page.own, page.participant, page.fill, page.mirrored) == (OWN_SHARE, True, "p1", False, False)


def test_no_page_of_somebody_not_in_the_room() -> None:
    assert follow(with_person(room(4, shares=(3,)), "p3", place="lobby"))[0].mode == "grid"


def test_a_page_that_is_paused_keeps_its_place_and_its_last_picture() -> None:
    state = room(4, shares=(2, 3))
    held = replace(state.tracks["page2"], muted=True, ring="r2")
    paused = replace(state, tracks={**state.tracks, "page2": held})
    assert [one.tiles[0].key for one in follow(state, paused)] == [PAGE + "page3", PAGE + "page3"]
    shown = of(paused, PAGE + "page2")
    assert (shown.paused, shown.picture) == (True, True)
    assert said.sharing(shown).endswith("đang tạm dừng")
    assert said.accessible(shown).endswith("đang tạm dừng")
    assert said.marks(shown) == [("pause", "Tạm dừng", "")]
    late = replace(paused, tracks={**paused.tracks, "page2": replace(held, ring=None)})
    assert not of(late, PAGE + "page2").picture, "nothing is awaited: it would come only when it goes on"
    assert not of(state, PAGE + "page2").paused


def test_ones_own_screen_is_not_shown_in_itself() -> None:
    state = room(3)
    sources = {**state.sources, "screen_share": LocalSource("on", wanted="on")}
    shared = replace(state, sources=sources, share=ShareView("screen:0", "Màn hình 1"))
    assert follow(shared)[0].mode == "grid"
    window = replace(state, sources=sources, share=ShareView("window:7", "Dự thảo"))
    assert keys(follow(window)[0])[0] == PAGE + OWN_SHARE


def test_a_page_that_the_line_does_not_carry_says_so() -> None:
    state = room(4, shares=(2,))
    held = replace(state.tracks["page2"], held_back=True, ring="r2")
    shown = of(replace(state, tracks={**state.tracks, "page2": held}), PAGE + "page2")
    assert (shown.held_back, shown.paused, shown.picture) == (True, False, True)
    assert said.sharing(shown).endswith("tạm dừng vì mạng yếu")
    assert said.accessible(shown).endswith("tạm dừng vì mạng yếu")


def test_ones_own_page_that_is_paused_is_still_there() -> None:
    state = room(3)
    paused = replace(state, sources={**state.sources, "screen_share": LocalSource("muted", wanted="muted")})
    assert follow(paused)[0].tiles[0].key == PAGE + OWN_SHARE
    assert of(paused, PAGE + OWN_SHARE).paused


# ---- what stands on a tile ---------------------------------------------------------------------------------------------------


def test_the_camera_of_another_and_ones_own() -> None:
    state = room(3)
    other, own = of(state, "p2"), of(state, "p1")
    assert (other.track, other.picture, other.mirrored, other.fill) == ("cam2", True, False, True)
    assert (own.track, own.picture, own.mirrored, own.own) == (OWN_CAMERA, True, True, True)


def test_no_picture_where_the_camera_is_off() -> None:
    state = room(3)
    muted = replace(state, tracks={**state.tracks, "cam2": replace(state.tracks["cam2"], muted=True)})
    assert (of(muted, "p2").track, of(muted, "p2").picture) == ("cam2", False)
    none = of(room(3, camera=False), "p2")
    assert (none.track, none.picture, none.initials) == (None, False, "QN")
    closed = replace(state, sources={**state.sources, "camera": LocalSource("muted")})
    assert of(closed, "p1").picture is False


def test_after_a_rejoin_the_new_camera_is_shown_not_the_one_that_lingers() -> None:
    state = room(3)
    tracks = {**state.tracks, "new": TrackView("new", "p2.2", "p2", "camera", "video")}
    assert of(replace(state, tracks=tracks), "p2").track == "new"
    muted = {**tracks, "new": replace(tracks["new"], muted=True)}
    assert of(replace(state, tracks=muted), "p2").track == "cam2"


@pytest.mark.parametrize(
    ("fields", "badge"),
    [
        ({"role": "chair"}, "chair"), ({"role": "secretary"}, "secretary"), ({"role": "technician"}, "technician"),
        ({"co_chair": True}, "co_chair"), ({"guest": True}, "guest"), ({"role": "guest"}, ""), ({}, ""),
        ({"role": "secretary", "guest": True}, "secretary"), ({"role": "guest", "co_chair": True}, ""),
    ],
)  # fmt: skip
def test_badges(fields: dict[str, object], badge: str) -> None:
    assert of(with_person(room(3), "p2", **fields), "p2").badge == badge


def test_speaking_needs_an_open_microphone() -> None:
    state = replace(room(3), speaking=(("p2", 0.4), ("p1", 0.3)))
    assert of(state, "p2").speaking is True
    assert of(state, "p1").speaking is False  # one's own is off
    muted = with_person(state, "p2", sources=replace(person(2).sources, microphone="muted"))
    assert (of(muted, "p2").speaking, of(muted, "p2").microphone) == (False, "muted")


def test_a_client_that_tells_nothing_is_known_by_its_track() -> None:
    state = with_person(room(3), "p2", kind="external", sources=replace(person(2).sources, microphone="off"))
    assert of(state, "p2").microphone == "off"
    heard = replace(state, tracks={**state.tracks, "mic2": TrackView("mic2", "p2.1", "p2", "microphone", "audio")})
    assert of(heard, "p2").microphone == "on"


def test_marks_of_hand_network_pin_spotlight_likeness_and_what_is_asked() -> None:
    state = room(4, hands=("p3", "p2"), quality={"p2": "poor", "p3": "lost", "p0": "good"}, pending=frozenset({("mute", "p2")}))
    assert state.meeting is not None
    state = with_person(replace(state, meeting=replace(state.meeting, spotlight="p2")), "p2", looks_like="p3")
    two, three, chair = (of(state, key, Choice(pinned="p3")) for key in ("p2", "p3", "p0"))
    assert (two.hand, two.network, two.spotlight, two.pinned, two.looks_like, two.pending) == (2, "weak", True, False, True, True)
    assert (three.hand, three.network, three.pinned, three.pending) == (1, "lost", True, False)
    assert (chair.hand, chair.network) == (0, "")
    assert of(without(state, "p3"), "p2").looks_like is False


def test_who_lost_the_control_connection_is_lost_but_not_a_foreign_client_nor_oneself() -> None:
    assert of(with_person(room(3), "p2", connected=False), "p2").network == "lost"
    assert of(with_person(room(3), "p2", connected=False, kind="external"), "p2").network == ""
    assert of(with_person(room(3), "p1", connected=False), "p1").network == ""


def test_what_has_gone_has_no_content() -> None:
    assert content(room(3), "p9", Choice()) is None
    assert content(room(3), PAGE + "page9", Choice()) is None
    assert content(ClientState(), "p0", Choice()) is None


def test_alone() -> None:
    assert alone(room(1, me="p0"))
    assert alone(with_person(room(2), "p0", place="lobby"))
    assert not alone(room(2))
