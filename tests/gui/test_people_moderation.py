"""The people panel, worked with: admitting, calling, muting, removing and renaming, by mouse and by keyboard."""

from __future__ import annotations

from dataclasses import replace
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
from gui.people_room import Make, maker
from gui.recording import RecordingActions
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QMenu

from vidconf import words
from vidconf.client.changes import Answered, Asked
from vidconf.client.store import Store
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant


@pytest.fixture
def place(store: Store, actions: RecordingActions, show: Any) -> Make:
    return maker(store, actions, show)


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
