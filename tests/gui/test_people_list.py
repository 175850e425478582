"""The people panel, read: who knocks, whose hand is up, who is there; found, walked through by keyboard, and quick with hundreds."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.meeting_room import (
    change_person,
    choose,
    close_menus,
    come,
    crowd,
    cut_texts,
    focus,
    happen,
    press,
    quiet,
    write,
)
from gui.people_room import Make, maker
from gui.recording import RecordingActions
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.store import Store
from vidconf.gui.panels.people_list import Looking, PeopleList, folded, found
from vidconf.gui.panels.people_rows import HandRow, HeadingRow, KnockerRow, PresentRow
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant, Permissions, Sources


@pytest.fixture
def place(store: Store, actions: RecordingActions, show: Any) -> Make:
    return maker(store, actions, show)


# ---- what is listed ------------------------------------------------------------------------------------------------------------


def test_a_moderator_sees_three_lists_with_their_counts(place: Make) -> None:
    made = place()
    assert made.headings() == ["Phòng chờ (2)", "Giơ tay (2)", "Trong phòng (7)"]
    assert made.keys("knocker") == ["p8", "p9"]
    assert made.keys("hand") == ["p4", "p5"]
    # Chair, secretary, technician, then as they came.
    assert made.keys("present") == ["p1", "p2", "p7", "p3", "p4", "p5", "p6"]
    assert made.panel.foot.isVisible()


def test_a_delegate_sees_no_lobby_and_no_foot_and_lowers_only_the_own_hand(place: Make) -> None:
    made = place(states.in_meeting("p4"))
    assert made.headings() == ["Giơ tay (2)", "Trong phòng (7)"]
    assert not made.panel.foot.isVisible()
    assert made.row("hand", "p4").controls() == [made.row("hand", "p4").down]
    assert made.row("hand", "p5").controls() == []
    made.row("hand", "p4").down.click()
    assert made.actions.named("lower_hand") == [{"participants": []}]


def test_lists_without_anybody_are_left_out(place: Make) -> None:
    people = {id_: one for id_, one in states.people().items() if one.place == "admitted"}
    made = place(states.in_meeting(meeting=quiet(participants=people, hands=())))
    assert made.headings() == ["Trong phòng (7)"]


def test_who_knocks_is_shown_with_all_that_is_known(place: Make) -> None:
    made = place()
    first, second = made.row("lobby", "p8"), made.row("lobby", "p9")
    assert "Nguyễn Thị Hồng Nhung" in first.admit.accessibleName()
    shown = [label.text() for label in first.findChildren(QLabel) if label.isVisible()]
    assert shown[-3:] == ["Nguyễn Thị Hồng Nhung", "Khách", f"chờ từ {words.clock(states.NOW - 95)}"]
    assert [line.text.text() for line in second._warnings if line.isVisible()] == ["Từng bị đưa ra khỏi phòng này"]
    twin = Participant("p10", "Lê Văn Cường", place="lobby", connected=True, session=1, since=states.NOW, looks_like="p3", kind="site", unit=states.UNIT)
    come(made.store, twin)
    third = made.row("lobby", "p10")
    assert [line.text.text() for line in third._warnings if line.isVisible()] == ["Tên giống Lê Văn Cường. Hỏi lại trước khi cho vào."]
    assert "Điểm cầu" in third._third.text()
    QApplication.processEvents()
    assert cut_texts(made.host) == []


def test_a_row_says_microphone_camera_share_role_and_trouble(place: Make) -> None:
    made = place(states.in_meeting(quality={"p4": "poor"}))
    assert made.row("room", "p1")._second.text() == "Chủ trì · Thứ trưởng"
    assert made.row("room", "p1").accessibleName().startswith("Phạm Quốc Hùng (tôi), Chủ trì, Thứ trưởng, mic bật, camera bật")
    assert made.row("room", "p4")._second.text().startswith("Mạng yếu · ")
    assert made.row("room", "p6")._warning.isVisible()
    change_person(made.store, "p3", sources=Sources("on", "off", "on"), connected=True)
    assert made.row("room", "p3")._second.text().startswith("Đang nói · ")  # it is among those who speak
    assert made.row("room", "p3")._share.isVisible()
    assert "đang trình chiếu" in made.row("room", "p3").accessibleName()
    change_person(made.store, "p3", connected=False)
    assert made.row("room", "p3")._second.text().startswith("Mất kết nối")


def test_the_initials_are_of_the_name_alone(place: Make) -> None:
    assert place().row("room", "p1")._face.initials == "QH"


# ---- searching -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("cuong", ["Lê Văn Cường"]), ("CƯỜNG", ["Lê Văn Cường"]), ("le cuong", ["Lê Văn Cường"]), ("quang ninh", ["Điểm cầu Quảng Ninh"]),
        ("điểm", ["Điểm cầu Quảng Ninh"]), ("diem cau", ["Điểm cầu Quảng Ninh"]), ("ttcntt", []), ("nn&mt quang", ["Điểm cầu Quảng Ninh"]),
    ],
)  # fmt: skip
def test_searching_finds_without_marks_and_by_unit(place: Make, typed: str, names: list[str]) -> None:
    made = place()
    write(made.panel.search, typed)
    assert made.names() == names
    assert f"Trong phòng ({len(names)}/7)" in made.headings()
    if not names:
        assert any(item.kind == "note" and typed in item.value.text for item in made.panel.list.items)
    made.panel.search.clear()
    assert len(made.names()) == 7


def test_searching_never_hides_that_somebody_knocks(place: Make) -> None:
    made = place()
    write(made.panel.search, "quang ninh")
    assert made.headings()[0] == "Phòng chờ (0/2)"
    write(made.panel.search, "x")
    made.panel.search.setText("nhung")
    assert made.keys("knocker") == ["p8"]


def test_folding_is_for_every_vietnamese_letter() -> None:
    assert folded("Đặng Thị Ỷ Ưỡn Ngạch Ếch") == "dang thi y uon ngach ech"
    assert found("đắk", states.person("x", "Dak Lak"))
    assert found("", states.person("x", "Ai"))
    assert found("   ", states.person("x", "Ai"))


# ---- the keyboard --------------------------------------------------------------------------------------------------------------


def test_when_a_row_goes_the_next_one_has_the_keyboard(place: Make) -> None:
    made = place()
    come(made.store, Participant("p10", "Hồ Văn Lộc", place="lobby", connected=True, session=1, since=states.NOW))
    made.row("lobby", "p8").admit.setFocus()
    happen(made.store, m.Admitted("p8", "Nguyễn Thị Hồng Nhung", "guest", "person"))
    assert focus() is made.row("lobby", "p9").admit
    made.row("lobby", "p10").deny.setFocus()
    happen(made.store, m.Denied("p10"))
    assert focus() is made.row("lobby", "p9").deny, "the last one: then the one before, and the same control"
    happen(made.store, m.Denied("p9"))
    held = focus()
    assert made.panel.list.isAncestorOf(held), "then the next list"


def test_the_keyboard_goes_to_the_search_when_nothing_is_left(place: Make) -> None:
    made = place(states.in_meeting("p4"))
    made.panel.search.setText("quang ninh")
    made.row("room", "p5").more.setFocus()
    happen(made.store, m.Left("p5"))
    assert focus() is made.panel.search


def test_tab_goes_through_all_controls_in_order_and_out_again(place: Make) -> None:
    made = place()
    change_person(made.store, "p9", removed_before=False)
    made.panel.search.setFocus()
    seen = []
    for _ in range(60):
        QTest.keyClick(focus(), Qt.Key.Key_Tab)
        if focus() in (made.panel.foot.mute, made.after):
            break
        seen.append(focus())
    expected = [
        made.row("lobby").action, made.row("lobby", "p8").admit, made.row("lobby", "p8").deny, made.row("lobby", "p9").admit,
        made.row("lobby", "p9").deny, made.row("hands").action, made.row("hand", "p4").call, made.row("hand", "p4").down,
        made.row("hand", "p4").more,
    ]  # fmt: skip
    assert seen[: len(expected)] == expected
    assert seen[-1] is made.row("room", "p6").more
    assert focus() is made.panel.foot.mute
    QTest.keyClick(focus(), Qt.Key.Key_Backtab)
    assert focus() is made.row("room", "p6").more
    QTest.keyClick(focus(), Qt.Key.Key_Backtab)
    assert focus() is made.row("room", "p5").more


def test_arrows_go_from_row_to_row_through_hundreds(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(300)), height=500)
    made.row("room", "p1").more.setFocus()
    for n in range(1, 60):
        press(focus(), Qt.Key.Key_Down)
        assert focus() is made.row("room", f"q{n}").more
        assert made.panel.list.viewport().rect().contains(made.row("room", f"q{n}").geometry().center())
    press(focus(), Qt.Key.Key_End)
    assert focus() is made.row("room", "q299").more
    press(focus(), Qt.Key.Key_Home)
    assert focus() is made.row("room", "p1").more
    press(focus(), Qt.Key.Key_PageDown)
    assert focus() is not made.row("room", "p1").more


def test_a_row_scrolled_out_of_sight_keeps_the_keyboard(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(300)), height=500)
    row = made.row("room", "p1")
    row.more.setFocus()
    made.panel.list.verticalScrollBar().setValue(3000)
    QApplication.processEvents()
    assert focus() is row.more
    made.panel.list.verticalScrollBar().setValue(0)
    assert made.row("room", "p1") is row


def test_esc_closes_the_panel(place: Make) -> None:
    made = place()
    closed: list[int] = []
    made.panel.closed.connect(lambda: closed.append(1))
    press(made.panel.search, Qt.Key.Key_Escape)
    assert closed == [1]


# ---- many people ---------------------------------------------------------------------------------------------------------------


def test_of_hundreds_only_those_in_sight_are_widgets(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(300)), height=700)
    rows = made.panel.findChildren(PresentRow)
    assert len(rows) < 40
    bar = made.panel.list.verticalScrollBar()
    for value in range(0, bar.maximum(), 137):
        bar.setValue(value)
    assert len(made.panel.findChildren(PresentRow)) < 60
    assert made.panel.list.shown()[-1].item is not None
    bar.setValue(bar.maximum())
    assert made.panel.list.shown()[-1].item.key == ("room", "q299")  # type: ignore[union-attr]


def test_every_row_lies_where_it_belongs_after_any_scrolling(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(120)), height=600)
    listed, bar = made.panel.list, made.panel.list.verticalScrollBar()
    for value in (0, 1000, 37, bar.maximum(), 2222, 5, bar.maximum() // 2):
        bar.setValue(value)
        shown = listed.shown()
        for above, below in pairwise(shown):
            assert above.geometry().bottom() + 1 == below.geometry().top()
        assert shown[0].geometry().top() <= 0
        assert shown[-1].geometry().bottom() + 1 >= listed.viewport().height()


def test_one_event_among_300_people_costs_little(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(300)), height=700)
    made.panel.list.verticalScrollBar().setValue(200)
    QApplication.processEvents()
    took = []
    for n in range(60):
        id_ = f"q{n % 40 + 1}"
        state = made.store.state
        assert state.meeting is not None
        now = state.meeting.participants[id_].sources.microphone
        begun = time.perf_counter()
        happen(made.store, m.SourceChanged(id_, "microphone", "muted" if now == "on" else "on"))
        took.append(1000 * (time.perf_counter() - begun))
        QApplication.processEvents()
    assert statistics.median(took) < 10, took


def test_who_speaks_costs_less_and_touches_only_its_rows(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(300)), height=700)
    drawn: list[str] = []
    for row in made.panel.findChildren(PresentRow):
        row.show_value = lambda value, row=row: drawn.append(value.id)
    made.store.dispatch(Set({"speaking": (("q7", 0.5),)}))
    made.store.dispatch(Set({"speaking": (("q7", 0.4),)}))
    made.store.dispatch(Set({"speaking": ()}))
    assert drawn == ["q7", "q7"]


def test_a_hidden_panel_does_nothing_and_catches_up_when_shown(place: Make) -> None:
    made = place()
    made.panel.hide()
    before = made.panel.list.items
    happen(made.store, m.FloorEnded("p3"), m.Left("p3"))
    assert made.panel.list.items is before
    made.panel.show()
    assert "p3" not in made.keys("present")


def test_what_one_reads_stays_where_it_is_while_others_come(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(120)), height=600)
    bar = made.panel.list.verticalScrollBar()
    bar.setValue(1500)
    first = made.panel.list.shown()[2]
    key, y = first.item.key, first.y()  # type: ignore[union-attr]
    come(made.store, *(Participant(f"k{n}", f"Người {n}", place="lobby", connected=True, session=1, since=states.NOW) for n in range(4)))
    row = made.panel.list.row_of(key)
    assert row is not None
    assert row.y() == y
    bar.setValue(0)
    come(made.store, Participant("k9", "Người 9", place="lobby", connected=True, session=1, since=states.NOW))
    assert bar.value() == 0, "at the top one sees who comes"


def test_items_of_who_did_not_change_are_the_very_same() -> None:
    people, state = PeopleList(), states.in_meeting()
    before = {item.key: item for item in people.items(state, Looking()) if item.kind == "present"}
    meeting = state.meeting
    assert meeting is not None
    changed = replace(meeting, participants={**meeting.participants, "p3": replace(meeting.participants["p3"], position="Vụ trưởng")})
    after = {item.key: item for item in people.items(replace(state, meeting=changed), Looking()) if item.kind == "present"}
    assert {key for key in before if before[key] is not after[key]} == {("room", "p3")}


# ---- hostile ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["<b>Chủ trì</b><img src=x onerror=1>", "&File &Quit", "W" * 64, "ᏣᎳᎩ‎‮ten", "😀" * 32, "a\u0301" * 64])
def test_names_are_text_whatever_they_hold(place: Make, name: str) -> None:
    made = place()
    change_person(made.store, "p3", name=name)
    come(made.store, Participant("p10", name, place="lobby", connected=True, session=1, since=states.NOW, looks_like="p3", unit=name, position=name))
    for row in (made.row("room", "p3"), made.row("lobby", "p10")):
        for label in row.findChildren(QLabel):
            assert label.textFormat() == Qt.TextFormat.PlainText or not label.text()
        assert row.width() == made.panel.list.viewport().width()
    QApplication.processEvents()
    assert [text for text in cut_texts(made.host) if name not in text] == []
    menu = made.menu("p3")
    assert menu.width() < 600
    close_menus()
    choose(made.menu("p3"), "Đưa ra khỏi phòng…")
    assert isinstance(made.row("room", "p3").question.words, QLabel)
    assert made.panel.list.viewport().width() >= made.row("room", "p3").question.geometry().right()


def test_rows_are_of_their_kind_after_much_coming_and_going(place: Make) -> None:
    """Rows are used again for other items: none may keep what it showed before."""
    made = place(states.in_meeting(meeting=crowd(60)), height=500)
    for n in range(40):
        here = Participant(f"k{n}", f"Người {n}", place="lobby", connected=True, session=1, since=states.NOW, removed_before=n % 2 == 0)
        come(made.store, here)
        if n % 3 == 0:
            happen(made.store, m.Admitted(here.id, here.name, "delegate", "person"))
        if n % 4 == 0:
            happen(made.store, m.HandRaised(f"q{n + 1}"))
        made.panel.list.verticalScrollBar().setValue(n * 97 % 900)
        for row in made.panel.list.shown():
            kinds = {"heading": HeadingRow, "knocker": KnockerRow, "hand": HandRow, "present": PresentRow}
            assert row.item is not None
            assert type(row) is kinds[row.item.kind]
            if isinstance(row, KnockerRow):
                assert row._name.text() == row.item.value.name
                assert any(line.isVisible() for line in row._warnings) == bool(row.item.value.warnings)
            elif isinstance(row, HandRow):
                assert row._number.text() == str(row.item.value.number)
            elif isinstance(row, PresentRow):
                assert row._name.text() == row.item.value.name


def test_the_fields_take_no_more_than_the_rules(place: Make) -> None:
    made = place()
    made.row("lobby", "p8").deny.click()
    assert made.row("lobby", "p8").question.field.maxLength() == 500
    choose(made.menu("p3"), "Đổi tên hiển thị…")
    assert made.row("room", "p3").question.field.maxLength() == 64
    assert all(field.maxLength() <= 500 for field in made.panel.findChildren(QLineEdit))


def test_only_chairs_permissions_count(place: Make) -> None:
    made = place(states.in_meeting("p3", meeting=quiet(permissions=Permissions(chat="moderators"))))
    action = next(a for a in made.menu("p5").actions() if a.text() == "Nhắn riêng")
    assert not action.isEnabled()
    assert action.toolTip() == words.refusal("chat_closed")
    close_menus()
