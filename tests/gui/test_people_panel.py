"""The people panel: who knocks, whose hand is up, who is there; what moderators do about them, by mouse and by keyboard."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.meeting_room import (
    change,
    change_person,
    choose,
    close_menus,
    come,
    crowd,
    cut_texts,
    entries,
    focus,
    happen,
    nameless,
    open_menu,
    press,
    quiet,
    write,
)
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QMenu, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.changes import Answered, Asked, Set
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.panels.people import PeoplePanel
from vidconf.gui.panels.people_list import Looking, PeopleList, folded, found
from vidconf.gui.panels.people_rows import HandRow, HeadingRow, KnockerRow, PresentRow
from vidconf.gui.panels.person_menu import Hooks, PersonMenu
from vidconf.gui.parts import button, pack
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant, Permissions, Sources

WIDTH = 360


class Place:
    """A panel between two buttons, that follows the store; what it asks of the window is in `told`."""

    def __init__(self, store: Store, actions: RecordingActions, show: Any, state: ClientState, height: int) -> None:
        go_to(store, state)
        self.store, self.actions = store, actions
        self.told: list[tuple[str, Any]] = []
        self.pinned: str | None = None
        hooks = Hooks(lambda: self.pinned, lambda id_: self.told.append(("pin", id_)), lambda id_: self.told.append(("write", id_)), self.ask)
        self.panel = PeoplePanel(store, actions, PersonMenu(actions, hooks))
        self.before, self.after = button("before"), button("after")
        self.host = QWidget()
        pack(QVBoxLayout(self.host), self.before, (self.panel, 1), self.after, gap=0)
        store.subscribe(self.panel.show_state)
        show(self.host, WIDTH, height)
        actions.forget()

    def ask(self, id_: str, asking: Any) -> None:
        self.panel.ask_about(id_, asking)

    def row(self, *key: str) -> Any:
        row = self.panel.list.row_of(tuple(key) if len(key) > 1 else key[0])
        assert row is not None, key
        return row

    def headings(self) -> list[str]:
        return [item.value.text for item in self.panel.list.items if item.kind == "heading"]

    def keys(self, kind: str) -> list[str]:
        return [item.key[1] for item in self.panel.list.items if item.kind == kind]  # type: ignore[index]

    def names(self) -> list[str]:
        return [item.value.name for item in self.panel.list.items if item.kind == "present"]

    def menu(self, id_: str) -> QMenu:
        self.row("room", id_).more.click()
        return open_menu()


Make = Callable[..., Place]


@pytest.fixture
def place(store: Store, actions: RecordingActions, show: Any) -> Make:
    def make(state: ClientState | None = None, height: int = 1200) -> Place:
        return Place(store, actions, show, state if state is not None else states.in_meeting(), height)

    return make


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


# ---- the lobby -----------------------------------------------------------------------------------------------------------------


def test_admitting_asks_once_and_shows_that_it_was_asked(place: Make) -> None:
    made = place()
    row = made.row("lobby", "p8")
    row.admit.click()
    made.store.dispatch(Asked("admit", ("p8",)))
    assert (row.admit.text(), row.admit.property("state")) == ("Đang vào…", "pending")
    assert row.admit.isEnabled(), "a button that has the keyboard keeps it"
    row.admit.click()
    row.deny.click()
    assert made.actions.named("admit") == [{"participants": ["p8"]}]
    assert not row.question.isVisible()
    made.store.dispatch(Answered("admit", ("p8",)))
    assert row.admit.text() == "Cho vào"


def test_both_or_all_at_once(place: Make) -> None:
    made = place()
    heading = made.row("lobby")
    assert not heading.action.isVisible(), "one of the two was removed before: each wants a look"
    change_person(made.store, "p9", removed_before=False)
    assert heading.action.text() == "Cho vào cả hai"
    heading.action.click()
    assert made.actions.named("admit") == [{"participants": ["p8", "p9"]}]
    come(made.store, Participant("p10", "Hồ Văn Lộc", place="lobby", connected=True, session=1, since=states.NOW))
    assert heading.action.text() == "Cho vào tất cả"
    heading.action.click()
    heading.action.click()
    assert made.actions.names() == ["admit", "admit_all", "admit_all"]
    made.store.dispatch(Asked("admit_all"))
    heading.action.click()
    assert made.actions.names().count("admit_all") == 2
    assert made.row("lobby", "p10").admit.text() == "Đang vào…"


def test_denying_takes_a_reason_and_can_be_taken_back(place: Make) -> None:
    made = place()
    row = made.row("lobby", "p8")
    row.deny.click()
    assert row.question.isVisible()
    assert focus() is row.question.field
    assert made.actions.names() == []
    press(row.question.field, Qt.Key.Key_Escape)
    assert not row.question.isVisible()
    assert made.panel.isVisible(), "Esc closes the question, not the panel"
    assert focus() in row.controls()
    row.deny.click()
    write(row.question.field, "Họp kín")
    assert cut_texts(made.host) == []
    press(row.question.field, Qt.Key.Key_Return)
    assert made.actions.named("deny") == [{"participants": ["p8"], "reason": "Họp kín"}]
    assert not row.question.isVisible()


def test_a_half_written_reason_survives_scrolling_away(place: Make) -> None:
    made = place(states.in_meeting(meeting=crowd(80)), height=500)
    come(made.store, *(Participant(f"k{n}", f"Người {n}", place="lobby", connected=True, session=1, since=states.NOW) for n in range(3)))
    made.row("lobby", "k0").deny.click()
    write(made.row("lobby", "k0").question.field, "chưa đăng")
    made.before.setFocus()
    made.panel.list.verticalScrollBar().setValue(made.panel.list.verticalScrollBar().maximum())
    assert made.panel.list.row_of(("lobby", "k0")) is None
    made.panel.list.verticalScrollBar().setValue(0)
    row = made.row("lobby", "k0")
    assert row.question.isVisible()
    assert row.question.field.text() == "chưa đăng"
    assert not made.row("lobby", "k1").question.isVisible()


# ---- hands ---------------------------------------------------------------------------------------------------------------------


def test_hands_in_order_are_called_lowered_and_moved(place: Make) -> None:
    made = place()
    first, second = made.row("hand", "p4"), made.row("hand", "p5")
    assert [first._number.text(), second._number.text()] == ["1", "2"]
    assert [first.call.property("kind"), second.call.property("kind")] == ["accent", ""]
    first.call.click()
    assert made.actions.named("give_floor") == [{"participant": "p4", "seconds": None}]
    made.store.dispatch(Asked("give_floor", ("p4",)))
    first.call.click()
    assert len(made.actions.named("give_floor")) == 1
    second.down.click()
    assert made.actions.named("lower_hand") == [{"participants": ["p5"]}]
    second.more.click()
    menu = open_menu()
    by_text = {action.text(): action.isEnabled() for action in menu.actions() if not action.isSeparator()}
    assert by_text["Chuyển lên trước"]
    assert not by_text["Chuyển xuống sau"]
    choose(menu, "Chuyển lên trước")
    assert made.actions.named("move_hand") == [{"participant": "p5", "position": 1}]
    second.more.click()
    choose(open_menu(), "Mời phát biểu", "5 phút")
    assert made.actions.named("give_floor")[-1] == {"participant": "p5", "seconds": 300}
    made.row("hands").action.click()
    assert made.actions.named("lower_hand")[-1] == {"participants": ["p4", "p5"]}


def test_the_queue_follows_the_events(place: Make) -> None:
    made = place()
    happen(made.store, m.HandMoved("p5", 1))
    assert made.keys("hand") == ["p5", "p4"]
    assert made.row("hand", "p5")._number.text() == "1"
    happen(made.store, m.HandLowered("p5"))
    assert made.headings()[1] == "Giơ tay (1)"
    assert not made.row("hands").action.isVisible()


# ---- what can be done about one person -----------------------------------------------------------------------------------------


def test_the_menu_offers_a_moderator_what_fits_the_person(place: Make) -> None:
    made = place()
    menu = made.menu("p5")  # a site, microphone and camera on, hand up
    listed = entries(menu)
    for text in ("Tắt micrô", "Tắt camera", "Hạ tay", "Mời phát biểu", "Nhắn riêng", "Chuyển về phòng chờ", "Đưa ra khỏi phòng…", "Đưa ra và cấm vào lại…"):
        assert text in listed
    assert "Đề nghị bật micrô" not in listed
    assert "Dừng trình chiếu" not in listed
    choose(menu, "Tắt micrô")
    choose(made.menu("p5"), "Tắt camera")
    choose(made.menu("p5"), "Chuyển về phòng chờ")
    choose(made.menu("p5"), "Hạ tay")
    choose(made.menu("p3"), "Đề nghị bật micrô")
    choose(made.menu("p3"), "Giao quyền đồng chủ trì")
    assert [(call.name, *call.given.values()) for call in made.actions.calls] == [
        ("mute", ["p5"]), ("stop_camera", ["p5"]), ("to_lobby", ["p5"]), ("lower_hand", ("p5",)), ("ask_unmute", ["p3"]),
        ("set_role", "p3", "delegate", True),
    ]  # fmt: skip


def test_a_delegate_is_offered_only_what_is_his_own(place: Make) -> None:
    made = place(states.in_meeting("p4"))
    assert entries(made.menu("p5")) == ["Ghim, chỉ máy này thấy", "Nhắn riêng", "Âm lượng, chỉ máy này"]
    close_menus()
    assert entries(made.menu("p4")) == ["Ghim, chỉ máy này thấy", "Đổi tên của tôi…", "Hạ tay"]
    close_menus()
    choose(made.menu("p5"), "Âm lượng, chỉ máy này", "50 %")
    assert made.actions.named("set_volume") == [{"participant": "p5", "gain": 0.5}]
    choose(made.menu("p5"), "Nhắn riêng")
    choose(made.menu("p5"), "Ghim, chỉ máy này thấy")
    made.pinned = "p5"
    choose(made.menu("p5"), "Bỏ ghim")
    assert made.told == [("write", "p5"), ("pin", "p5"), ("pin", None)]


def test_what_the_rules_forbid_just_now_is_greyed_with_the_reason(place: Make) -> None:
    made = place(states.in_meeting("p2"))  # the secretary may remove, but no chair
    menu = made.menu("p1")
    action = next(a for a in menu.actions() if a.text() == "Đưa ra khỏi phòng…")
    assert not action.isEnabled()
    assert action.toolTip() == words.refusal("target_is_chair")
    assert menu.toolTipsVisible()
    close_menus()
    # p4 is not allowed to open its microphone: asking would be in vain.
    action = next(a for a in made.menu("p4").actions() if a.text() == "Đề nghị bật micrô")
    assert not action.isEnabled()
    assert action.toolTip() == words.refusal("needs_floor", {"source": "microphone"})
    close_menus()


def test_removing_is_confirmed_in_the_row(place: Make) -> None:
    made = place()
    choose(made.menu("p3"), "Đưa ra khỏi phòng…")
    row = made.row("room", "p3")
    assert row.question.isVisible()
    assert "Lê Văn Cường" in row.question.words.text()
    assert focus() is row.question.no, "the keyboard does not lie on what cannot be taken back"
    assert cut_texts(made.host) == []
    assert made.actions.names() == []
    row.question.no.click()
    assert not row.question.isVisible()
    choose(made.menu("p3"), "Đưa ra khỏi phòng…")
    row.question.yes.click()
    assert made.actions.named("remove") == [{"participants": ["p3"]}]
    choose(made.menu("p6"), "Đưa ra và cấm vào lại…")
    made.row("room", "p6").question.yes.click()
    assert made.actions.named("command") == [{"command": m.Ban(("p6",))}]


def test_a_question_goes_with_its_person(place: Make) -> None:
    made = place()
    choose(made.menu("p3"), "Đưa ra khỏi phòng…")
    happen(made.store, m.FloorEnded("p3"), m.Left("p3"))
    assert "p3" not in made.keys("present")
    come(made.store, states.person("p3", "Lê Văn Cường"))
    assert not made.row("room", "p3").question.isVisible()


def test_renaming_in_place(place: Make) -> None:
    made = place()
    choose(made.menu("p3"), "Đổi tên hiển thị…")
    field = made.row("room", "p3").question.field
    assert (field.text(), field.selectedText(), focus()) == ("Lê Văn Cường", "Lê Văn Cường", field)
    write(field, "Lê Văn Cường, Vụ Pháp chế")
    press(field, Qt.Key.Key_Return)
    assert made.actions.named("rename") == [{"name": "Lê Văn Cường, Vụ Pháp chế", "participant": "p3"}]
    choose(made.menu("p1"), "Đổi tên của tôi…")
    made.row("room", "p1").question.field.setText("  ")
    press(made.row("room", "p1").question.field, Qt.Key.Key_Return)
    assert len(made.actions.named("rename")) == 1


def test_the_menu_of_somebody_who_has_just_gone_does_not_open(place: Make) -> None:
    made = place()
    row = made.row("room", "p3")
    made.store._state = replace(made.store.state, meeting=quiet(participants={"p1": states.people()["p1"]}, hands=()))
    row.more.click()
    assert QApplication.activePopupWidget() is None


# ---- the foot ------------------------------------------------------------------------------------------------------------------


def test_mute_all_spares_who_has_the_floor(place: Make) -> None:
    made = place()
    assert "Lê Văn Cường" in made.panel.foot.mute.toolTip()
    made.panel.foot.mute.click()
    change(made.store, floor=None)
    made.panel.foot.mute.click()
    assert made.actions.named("mute_all") == [{"but": ["p3"]}, {"but": []}]


def test_lock_and_permissions(place: Make) -> None:
    made = place()
    foot = made.panel.foot
    assert foot.lock.text() == "Khóa"
    foot.lock.click()
    change(made.store, locked=True)
    assert foot.lock.text() == "Mở khóa"
    foot.lock.click()
    assert made.actions.named("lock") == [{"on": True}, {"on": False}]
    made.store.dispatch(Asked("unlock"))
    assert foot.lock.property("state") == "pending"
    foot.more.click()
    menu = open_menu()
    microphone = next(a.menu() for a in menu.actions() if a.text() == "Micrô")
    assert isinstance(microphone, QMenu)
    assert [(a.text(), a.isChecked()) for a in microphone.actions()] == [
        ("Mọi người", False), ("Chỉ người điều hành", False), ("Người được mời phát biểu", True)
    ]  # fmt: skip
    choose(menu, "Micrô", "Mọi người")
    assert made.actions.named("set_permission") == [{"source": "microphone", "who": "all"}]


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("height", [330, 600, 1200])
def test_no_word_is_cut_and_nothing_is_nameless(place: Make, language: str, locked: bool, height: int) -> None:
    words.set_language(language)
    made = place(states.in_meeting(meeting=states.meeting(locked=locked), pending=frozenset({("admit", "p8"), ("mute", "p5")})), height)
    assert cut_texts(made.host) == []
    assert nameless(made.host) == []


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
