"""Home: a link first, the account or the way to sign in, meetings by time; by mouse, by keyboard alone, in both widths."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from gui import states
from gui.finding import button, field, focusable, has_button, shown, tab_round, tab_to, texts
from gui.meeting_room import focus, press, write
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QAbstractButton, QApplication, QPushButton

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.links import LINK_ERRORS
from vidconf.client.rest import CODES
from vidconf.client.state import AccountView, ClientState
from vidconf.client.store import Store
from vidconf.gui.home import HomePage
from vidconf.gui.meeting_rows import SOON_S, by_day, state_of

Make = Callable[..., HomePage]
GO = "Tiếp tục"


@pytest.fixture(autouse=True)
def now(clock: list[float]) -> list[float]:
    return clock


@pytest.fixture
def home(store: Store, actions: RecordingActions, show_ready: Any) -> Make:
    """`home(state, width)`: the page, with the keyboard in the link."""

    def make(state: ClientState | None = None, width: int = 1280, height: int = 800) -> HomePage:
        go_to(store, state if state is not None else states.home())
        page: HomePage = show_ready(HomePage(store, actions), width, height)
        return page

    return make


# ---- joining ----


@pytest.mark.parametrize("by", ["enter", "button", "keyboard"])
def test_a_link_is_pasted_and_followed(home: Make, actions: RecordingActions, by: str) -> None:
    page = home()
    link = field(page, "Vào bằng liên kết hoặc mã")
    assert focus() is link
    QTest.keyClicks(link, f"  {states.SERVER}/m/{states.CODE} ")
    if by == "enter":
        press(link, Qt.Key.Key_Return)
    elif by == "button":
        QTest.mouseClick(button(page, GO), Qt.MouseButton.LeftButton)
    else:
        press(tab_to(page, lambda one: one is button(page, GO)), Qt.Key.Key_Space)
    assert [(call.name, call.given) for call in actions.calls] == [("open_link", {"text": f"{states.SERVER}/m/{states.CODE}"})]


def test_a_guest_says_the_name_here(home: Make, actions: RecordingActions, store: Store) -> None:
    page = home(states.guest_home())
    name = field(page, "Tên hiển thị")
    write(name, "Nguyễn Thị Hồng Nhung")
    assert name.text() == "Nguyễn Thị Hồng Nhung", "composed by an input method"
    QTest.keyClicks(name, "!")
    assert actions.named("set_name")[-1] == {"name": "Nguyễn Thị Hồng Nhung!"}
    page.link.setText(states.CODE)
    press(name, Qt.Key.Key_Return)
    assert actions.names()[-2:] == ["set_name", "open_link"]
    assert actions.named("open_link") == [{"text": states.CODE}]


def test_what_the_client_knows_as_the_name_does_not_disturb_who_types(home: Make, store: Store) -> None:
    page = home(states.guest_home(name="Lê Văn Cường"))
    assert page.name.text() == "Lê Văn Cường"
    page.name.setFocus()
    page.name.setText("Lê Văn C")
    store.dispatch(Set({"name": "Lê Văn Cườn"}))
    assert page.name.text() == "Lê Văn C"
    page.link.setFocus()
    store.dispatch(Set({"name": "Ai khác"}))
    assert page.name.text() == "Ai khác"


def test_a_link_is_hostile_and_a_name_has_an_end(home: Make) -> None:
    page = home(states.guest_home())
    page.link.setText("x" * 100_000)
    page.name.setText("x" * 1000)
    assert len(page.link.text()) == 4096
    assert len(page.name.text()) == 64


@pytest.mark.parametrize("code", [*CODES, *LINK_ERRORS, "a_code_of_next_year"])
def test_what_went_wrong_says_what_to_do_and_its_code(home: Make, store: Store, code: str) -> None:
    page = home(states.guest_home())
    store.dispatch(Set({"join_error": code, "join_detail": {"ref": "a1b2", "host": "hop.example.vn", "wait_s": 7}}))
    QApplication.processEvents()
    said = texts(page._trouble)
    assert words.error(code, {"host": "hop.example.vn", "wait_s": 7}) in said
    assert words.help_for(code, {"wait_s": 7}) in said
    assert f"Mã {code} · số a1b2" in said
    assert said[0] in page._trouble.accessibleName()
    assert "…" not in " ".join(said).replace(code, ""), "every gap is filled"
    store.dispatch(Set({"join_error": "", "join_detail": {}}))
    assert not page._trouble.isVisible()


# ---- who ----


def test_signed_in_there_is_no_card_to_sign_in_and_the_other_way_round(home: Make, store: Store, actions: RecordingActions) -> None:
    page = home()
    assert "Trần Thị Bình" in texts(page)
    assert "Người tổ chức" in texts(page)
    assert not has_button(page, "Đăng nhập")
    assert not page.name.isVisible()
    assert any("Vào bằng tài khoản Trần Thị Bình" in text for text in texts(page))
    button(page, "Đăng xuất").click()
    assert actions.names() == ["sign_out"]
    go_to(store, states.guest_home())
    QApplication.processEvents()
    assert not has_button(page, "Đăng xuất")
    assert page.name.isVisible()
    for one in [one for one in shown(page, QPushButton) if one.text() == "Đăng nhập"]:
        one.click()
    assert actions.names() == ["sign_out", "open_sign_in", "open_sign_in"]


def test_a_sign_in_that_is_not_kept_says_so(home: Make) -> None:
    assert any("lần chạy này" in text for text in texts(home(states.home(account=states.MEMBER))))
    assert not any("lần chạy này" in text for text in texts(home(states.home())))


def test_a_role_of_a_newer_server_is_an_account(home: Make) -> None:
    assert "Tài khoản" in texts(home(states.home(account=AccountView("A", "super_admin"))))


def test_the_server_at_hand_is_told(home: Make, store: Store) -> None:
    page = home()
    assert "Máy chủ hop.moitruong.example.vn" in texts(page)
    assert "kx7m-2pqa-9tdf" in page.link.placeholderText()
    store.dispatch(Set({"server": ""}))
    assert "Chưa chọn máy chủ" in texts(page)
    assert page.link.placeholderText() == "Dán liên kết cuộc họp"


# ---- meetings ----


def rows(page: HomePage) -> list[QPushButton]:
    return [one for one in shown(page, QPushButton) if one.objectName().startswith("join:")]


def test_today_by_time_what_runs_first_then_the_days_to_come(home: Make) -> None:
    page = home()
    assert [one.objectName() for one in rows(page)] == [f"join:m{n}" for n in (1, 2, 3, 5, 4, 6)]
    titles = [text for text in texts(page) if text in {one.title for one in states.upcoming()}]
    assert titles[0] == "Giao ban tuần"
    assert titles[-1] == "Hội nghị trực tuyến 34 tỉnh, thành phố"
    chips = [text for text in texts(page) if text in ("Đang họp", "Sắp bắt đầu", "Sau 4 giờ", "Sẵn sàng", "Đã kết thúc", "25/11")]
    assert sorted(chips) == sorted(["Đang họp", "Sắp bắt đầu", "Sau 4 giờ", "Sẵn sàng", "Đã kết thúc", "25/11"])


def test_one_button_is_the_pages_accent(home: Make) -> None:
    accents = [one.objectName() for one in rows(home()) if one.property("kind") == "accent"]
    assert accents == ["join:m1"], "the one that runs"


def test_a_meeting_is_joined_by_its_link_or_its_code(home: Make, actions: RecordingActions) -> None:
    page = home()
    by_id = {one.objectName(): one for one in rows(page)}
    by_id["join:m2"].click()
    by_id["join:m5"].click()
    assert [given["text"] for given in actions.named("open_link")] == [f"{states.SERVER}/m/{states.CODE}", "eeee-eeee-eeee"]
    assert not by_id["join:m4"].isEnabled(), "it is over"
    assert by_id["join:m2"].accessibleName() == f"Vào họp: {states.LONG_TITLE}", "told apart by who does not see the row"


def test_an_invitation_is_copied(home: Make, actions: RecordingActions) -> None:
    page, asked = home(), []
    page.asked.connect(lambda what, detail: asked.append((what, detail)))
    button(page, "Chép liên kết mời: Giao ban tuần").click()
    assert asked == [("copy_link", f"{states.SERVER}/m/aaaa-aaaa-aaaa")]
    assert not has_button(page, "Chép liên kết mời: Kiểm tra đường truyền"), "it is over"
    assert actions.calls == []


@pytest.mark.parametrize(("role", "may"), [("organiser", True), ("admin", True), ("member", False), ("auditor", False)])
def test_who_may_create_a_meeting(home: Make, role: str, may: bool) -> None:
    page, asked = home(states.home(account=AccountView("A", role), upcoming=())), []
    page.asked.connect(lambda what, detail: asked.append(what))
    assert has_button(page, "Tạo cuộc họp") == may
    assert has_button(page, "Tạo cuộc họp đầu tiên") == may
    if may:
        button(page, "Tạo cuộc họp").click()
        button(page, "Tạo cuộc họp đầu tiên").click()
        assert asked == ["create", "create"]


def test_empty_places_say_what_will_be_there(home: Make, store: Store, actions: RecordingActions) -> None:
    page = home(states.home(upcoming=(), busy=frozenset({"upcoming"})))
    assert "Đang tải lịch họp…" in texts(page)
    store.dispatch(Set({"busy": frozenset()}))
    QApplication.processEvents()
    assert "Hôm nay chưa có cuộc họp." in texts(page)
    button(page, "Tải lại danh sách").click()
    assert actions.names() == ["refresh_upcoming"]
    store.dispatch(Set({"account": None}))
    QApplication.processEvents()
    assert "Lịch họp của tài khoản sẽ hiện ở đây." in texts(page)


def test_while_it_is_loaded_again_the_list_stays(home: Make, store: Store) -> None:
    page = home()
    before = rows(page)
    store.dispatch(Set({"busy": frozenset({"upcoming"})}))
    assert rows(page) == before


def test_time_passes_and_the_keyboard_stays_where_it_was(home: Make, now: list[float]) -> None:
    page = home()
    second = next(one for one in rows(page) if one.objectName() == "join:m2")
    second.setFocus()
    now[0] += 600
    page._on_minute()
    QApplication.processEvents()
    assert "08:31" in texts(page)
    assert focus().objectName() == "join:m2"
    assert focus() is not second
    assert "Chưa bắt đầu" in texts(page), "its time has come, and it has not begun"


def test_the_servers_clock_counts(home: Make) -> None:
    assert "Chưa bắt đầu" in texts(home(states.home(clock_offset_s=600.0)))


def test_which_day_a_meeting_is_of() -> None:
    listed = states.upcoming()
    today, later = by_day(listed, states.NOW)
    assert [one.id for one in today] == ["m1", "m2", "m3", "m5", "m4"]
    assert [one.id for one in later] == ["m6"]
    yesterday = replace(listed[1], id="old", start=states.NOW - 86400)
    assert by_day([yesterday], states.NOW) == ([], [])
    assert by_day([replace(yesterday, state="live")], states.NOW)[0] != []


@pytest.mark.parametrize(("in_s", "said"), [(SOON_S, "Sắp bắt đầu"), (SOON_S + 60, "Sau 16 phút"), (0, "Chưa bắt đầu"), (-60, "Chưa bắt đầu"), (5430, "Sau 1 giờ 30 phút")])
def test_how_a_meeting_stands(in_s: float, said: str) -> None:
    one = replace(states.upcoming()[1], start=states.NOW + in_s)
    assert state_of(one, states.NOW)[0] == said


# ---- both widths, by keyboard ----


@pytest.mark.parametrize("width", [1280, 800, 640])
def test_the_side_bar_and_its_names(home: Make, width: int) -> None:
    page, asked = home(width=width, height=600), []
    page.asked.connect(lambda what, detail: asked.append(what))
    for name, what in (("Cài đặt", "settings"), ("Phím tắt", "shortcuts"), ("Giới thiệu", "about")):
        one = button(page, name)
        assert (one.text() == name) == (width >= 1000)
        assert one.toolTip() == ("" if width >= 1000 else name)
        one.click()
        assert asked.pop() == what


@pytest.mark.parametrize("width", [1280, 640])
@pytest.mark.parametrize("state", [states.home(), states.guest_home()], ids=["account", "guest"])
def test_tab_leads_everywhere(home: Make, state: ClientState, width: int) -> None:
    page = home(state, width, 800)
    assert {one.accessibleName() for one in focusable(page)} == {one.accessibleName() for one in tab_round(page)}


def test_narrow_and_wide_again_keeps_what_was_typed(home: Make) -> None:
    page = home(states.guest_home())
    page.link.setText("abcd-efgh")
    page.name.setText("Lê Văn An")
    for width in (640, 1280, 800):
        page.resize(width, 600)
        QApplication.processEvents()
    assert (page.link.text(), page.name.text()) == ("abcd-efgh", "Lê Văn An")
    assert len([one for one in shown(page, QAbstractButton) if one.accessibleName() == "Cài đặt"]) == 1
