"""The chat panel, read: who said what to whom, what nobody may slip in, where one looks, and that long meetings stay quick."""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.chat_room import Make, maker
from gui.meeting_room import (
    change,
    change_person,
    choose,
    close_menus,
    come,
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
from gui.recording import RecordingActions
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent, QGuiApplication
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.state import PendingChat
from vidconf.client.store import Store
from vidconf.gui.panels.chat_rows import LineRow, MessageRow
from vidconf.meeting import messages as m
from vidconf.meeting.models import ChatMessage, Permissions
from vidconf.meeting.rules import CHAT_LIMIT


@pytest.fixture
def place(store: Store, actions: RecordingActions, show: Any) -> Make:
    return maker(store, actions, show)


# ---- reading ---------------------------------------------------------------------------------------------------------------------


def test_messages_with_who_when_and_role(place: Make) -> None:
    made = place()
    first, second, third = made.messages()
    assert (first.name, first.text, first.ground) == ("Trần Thị Bình", "Tài liệu phiên họp đã gửi qua trục văn bản.", "all")
    assert first.when == f"Thư ký · {words.clock(states.NOW - 300)}"
    assert second.when == words.clock(states.NOW - 120)
    assert (third.ground, third.private) == ("private", "Riêng với tôi")
    row = made.row("c3")
    assert row._frame.property("said") == "private"
    assert row._private_line.isVisible(), "private is a word, not only a ground"
    assert "Riêng với tôi" in row.accessibleName()
    assert not made.row("c1")._private_line.isVisible()


def test_ones_own_private_message_says_to_whom(place: Make) -> None:
    made = place(states.in_meeting("p2", meeting=quiet(), unsent_chat=()))
    assert made.messages()[2].private == "Riêng với Phạm Quốc Hùng"
    assert made.messages()[0].ground == "mine"
    assert made.messages()[0].name == "Trần Thị Bình (tôi)"


def test_an_empty_chat_says_what_will_be_there(place: Make) -> None:
    made = place(states.in_meeting(meeting=quiet(chat=()), unsent_chat=()))
    about = next(item.value for item in made.panel.list.items if item.kind == "about")
    assert about.title == "Chưa có tin nhắn"
    made.say(1)
    assert next(item.value for item in made.panel.list.items if item.kind == "about").title == ""


def test_lines_tell_only_what_the_state_knows(place: Make) -> None:
    made = place()
    assert made.lines() == [], "who was here before, and the beginning, are no news"
    happen(made.store, m.Admitted("p8", "Nguyễn Thị Hồng Nhung", "guest", "person", guest=True), at=states.NOW + 10)
    assert made.lines() == [f"{words.clock(states.NOW + 10)} · Nguyễn Thị Hồng Nhung vào phòng"]
    for n in range(3):
        come(made.store, states.person(f"z{n}", f"Đại biểu {n}", since=states.NOW + 20 + n))
    assert made.lines() == [f"{words.clock(states.NOW + 10)} · Nguyễn Thị Hồng Nhung, Đại biểu 0 và 2 người khác vào phòng"]
    made.say(60)
    happen(made.store, m.Left("z0"), at=states.NOW + 90)
    assert made.lines()[1:] == [f"{words.clock(states.NOW + 90)} · Đại biểu 0 rời phòng"]
    kinds = [item.kind for item in made.panel.list.items]
    assert kinds == ["about", "said", "said", "said", "line", "said", "line"]
    assert isinstance(made.panel.list.shown()[-1], LineRow)


def test_a_role_given_later_shows_on_what_was_said(place: Make) -> None:
    made = place()
    happen(made.store, m.RoleSet("p5", "delegate", co_chair=True))
    assert made.messages()[1].when.startswith("Đồng chủ trì · ")


# ---- hostile ---------------------------------------------------------------------------------------------------------------------

HOSTILE = (
    "<b>đậm</b> <img src='file:///etc/passwd'> <a href='https://x.example'>bấm</a>", "https://" + "a" * 900, "W" * 4000, "dòng\n" * 300,
    "a" + "\u0301" * 300, "‮văn bản ngược", "\u200b" * 200 + "x", "&lt;script&gt;", "😀" * 500, "# Tiêu đề\n* mục", "%s %n {name}",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: repr(text[:12]))
def test_what_others_write_is_text_and_stays_in_its_row(place: Make, text: str) -> None:
    made = place(height=900)
    made.say(1, text)
    row = made.row("n1")
    QApplication.processEvents()
    assert row.text.toPlainText().replace("\u2029", "\n") == text
    assert row.text.document().idealWidth() <= row.text.width() + 1, "broken anywhere rather than cut"
    assert row.text.height() >= row.text.document().size().height(), "all of it can be seen"
    assert row.width() <= made.panel.list.viewport().width()
    assert "anchor" not in row.text.document().toHtml().lower().replace("transition", "")
    assert made.panel.list.horizontalScrollBar().maximum() == 0
    for label in row.findChildren(QLabel):
        assert label.textFormat() == Qt.TextFormat.PlainText or not label.text()


def test_links_are_copied_never_opened(place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from PySide6.QtGui import QDesktopServices

    opened: list[object] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url))
    made = place()
    made.say(1, "Xem https://hop.vidu.gov.vn/t/7 và http://gia-mao.example/a?b=c, javascript:alert(1)")
    row = made.row("n1")
    QTest.mouseClick(row.text.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(60, 8))
    QTest.mouseDClick(row.text.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(60, 8))
    assert opened == []
    row.text.moveCursor(row.text.textCursor().MoveOperation.Start)
    QApplication.sendEvent(row, QContextMenuEvent(QContextMenuEvent.Reason.Mouse, QPoint(5, 5), row.mapToGlobal(QPoint(5, 5))))
    listed = entries(open_menu())
    assert listed == ["Chép tin nhắn", "Chép liên kết https://hop.vidu.gov.vn/t/7", "Chép liên kết http://gia-mao.example/a?b=c,"]
    choose(open_menu(), listed[1])
    assert QGuiApplication.clipboard().text() == "https://hop.vidu.gov.vn/t/7"


def test_a_selection_and_a_whole_message_can_be_copied(place: Make) -> None:
    made = place()
    row = made.row("c1")
    row.setFocus()
    press(row, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "Tài liệu phiên họp đã gửi qua trục văn bản."
    row.text.setFocus()
    row.text.selectAll()
    press(row.text, Qt.Key.Key_C, Qt.KeyboardModifier.ControlModifier)
    assert QGuiApplication.clipboard().text() == "Tài liệu phiên họp đã gửi qua trục văn bản."
    QApplication.sendEvent(row.text, QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, QPoint(5, 5), row.mapToGlobal(QPoint(5, 5))))
    assert entries(open_menu()) == ["Chép phần đã chọn", "Chép tin nhắn"], "in our words, not the toolkit's"
    close_menus()
    press(row.text, Qt.Key.Key_X)
    assert row.text.toPlainText() == "Tài liệu phiên họp đã gửi qua trục văn bản."


@pytest.mark.parametrize("name", ["<i>Chủ trì</i>", "W" * 64, "Phạm Quốc Hùng (tôi)"])
def test_a_senders_name_is_text(place: Make, name: str) -> None:
    made = place()
    assert made.store.state.meeting is not None
    change(made.store, chat=(ChatMessage("h", states.NOW, "p3", name, "x"),))
    row = made.row("h")
    assert row._name.text() == name
    assert row._name.textFormat() == Qt.TextFormat.PlainText
    assert row._when.width() >= row._when.sizeHint().width(), "the time is not pushed out by a long name"
    come(made.store, states.person("z", name, since=states.NOW + 5))
    assert made.lines()[-1].endswith(f"{name} vào phòng")
    assert "<i>" not in made.panel.list.shown()[-1].toolTip()


# ---- where one looks -----------------------------------------------------------------------------------------------------------------


def test_it_opens_at_the_newest_and_stays_there(place: Make) -> None:
    made = place()
    made.many(200)
    bar = made.panel.list.verticalScrollBar()
    assert made.panel.list.at_end
    assert bar.value() == bar.maximum() > 0
    for n in range(5):
        made.say(n, "Tin mới " * (n * 9 + 1))
        assert bar.value() == bar.maximum()
        assert made.panel.list.row_of(("said", f"n{n}")) is not None


def test_who_reads_further_up_is_not_moved_and_told(place: Make) -> None:
    made = place()
    made.many(200)
    bar = made.panel.list.verticalScrollBar()
    bar.setValue(bar.maximum() // 2)
    row = made.panel.list.shown()[2]
    key, y = row.item.key, row.y()  # type: ignore[union-attr]
    made.actions.forget()
    for n in range(3):
        made.say(n)
        made.store.dispatch(Set({"unread_chat": n + 1}))
    held = made.panel.list.row_of(key)
    assert held is not None
    assert held.y() == y
    assert made.actions.named("chat_seen") == [], "not read yet"
    assert made.panel.newer.isVisible()
    assert made.panel.newer.text() == "3 tin mới"
    area = made.panel.list.geometry()
    assert area.contains(made.panel.newer.geometry())
    made.panel.newer.click()
    assert bar.value() == bar.maximum()
    assert made.actions.named("chat_seen")
    made.store.dispatch(Set({"unread_chat": 0}))
    assert not made.panel.newer.isVisible()


def test_what_is_seen_is_read_but_not_in_a_minimised_window(place: Make, qtbot: Any) -> None:
    made = place()
    made.store.dispatch(Set({"unread_chat": 1}))
    assert len(made.actions.named("chat_seen")) == 1
    made.host.showMinimized()
    made.actions.forget()
    made.store.dispatch(Set({"unread_chat": 2}))
    assert made.actions.named("chat_seen") == []
    made.host.showNormal()
    made.host.activateWindow()
    qtbot.waitUntil(lambda: bool(made.actions.named("chat_seen")))


def test_sending_leads_to_the_end(place: Make) -> None:
    made = place()
    made.many(100)
    bar = made.panel.list.verticalScrollBar()
    bar.setValue(0)
    write(made.text, "Xong")
    press(made.text, Qt.Key.Key_Return)
    assert bar.value() == bar.maximum()


def test_scrolling_up_a_long_chat_does_not_jump(place: Make) -> None:
    """Heights are guessed until a row is seen; what is seen must not move by it."""
    made = place()
    made.many(400)
    listed, bar = made.panel.list, made.panel.list.verticalScrollBar()
    for _ in range(120):
        tracked = listed.shown()[3]
        key, before = tracked.item.key, tracked.y()  # type: ignore[union-attr]
        value = bar.value()
        bar.setValue(value - 60)
        row = listed.row_of(key)
        if row is not None:
            assert abs((row.y() - before) - 60) <= 1
        shown = listed.shown()
        for above, below in pairwise(shown):
            assert above.geometry().bottom() + 1 == below.geometry().top()


def test_another_width_keeps_what_one_reads(place: Make) -> None:
    made = place()
    made.many(300)
    bar = made.panel.list.verticalScrollBar()
    bar.setValue(bar.maximum() // 3)
    top = made.panel.list.shown()[0].item.key  # type: ignore[union-attr]
    made.host.resize(520, 700)
    QApplication.processEvents()
    assert top in [row.item.key for row in made.panel.list.shown()[:2]]  # type: ignore[union-attr]


# ---- the keyboard --------------------------------------------------------------------------------------------------------------------


def test_the_list_is_one_stop_and_arrows_read_it(place: Make) -> None:
    made = place()
    made.many(60)
    made.panel.close_button.setFocus()
    QTest.keyClick(focus(), Qt.Key.Key_Tab)
    assert focus() is made.row("x59"), "the newest first"
    press(focus(), Qt.Key.Key_Up)
    assert focus() is made.row("x58")
    for _ in range(30):
        press(focus(), Qt.Key.Key_Up)
    assert focus() is made.row("x28")
    press(focus(), Qt.Key.Key_End)
    assert focus() is made.row("x59")
    QTest.keyClick(focus(), Qt.Key.Key_Tab)
    assert focus() is made.panel.composer.to
    QTest.keyClick(focus(), Qt.Key.Key_Tab)
    assert focus() is made.text
    QTest.keyClick(focus(), Qt.Key.Key_Tab)
    assert focus() is made.panel.composer.go, "Tab leaves the text"
    QTest.keyClick(made.text, Qt.Key.Key_Escape)


def test_esc_closes_the_panel_also_from_the_text(place: Make) -> None:
    made = place()
    closed: list[int] = []
    made.panel.closed.connect(lambda: closed.append(1))
    made.text.setFocus()
    press(made.text, Qt.Key.Key_Escape)
    assert closed == [1]


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("height", [370, 700])
def test_no_word_is_cut_and_nothing_is_nameless(place: Make, language: str, height: int) -> None:
    words.set_language(language)
    made = place(
        states.in_meeting(
            "p3", meeting=quiet(permissions=Permissions(chat="moderators")), control="reconnecting",
            unsent_chat=(PendingChat("k1", "chờ", "p2", states.NOW), PendingChat("k2", "hỏng " * 90, None, states.NOW, "chat_full")),
        ), height,
    )  # fmt: skip
    made.text.setPlainText("x" * CHAT_LIMIT)
    QApplication.processEvents()
    assert cut_texts(made.host) == []
    assert nameless(made.host) == []


# ---- long meetings -------------------------------------------------------------------------------------------------------------------


def test_2000_messages_are_quick(place: Make) -> None:
    made = place()
    begun = time.perf_counter()
    made.many(2000)
    opened = 1000 * (time.perf_counter() - begun)
    assert len(made.panel.findChildren(MessageRow)) < 60
    assert opened < 1500
    took = []
    for n in range(30):
        begun = time.perf_counter()
        made.say(n)
        took.append(1000 * (time.perf_counter() - begun))
    assert statistics.median(took) < 25, took
    begun = time.perf_counter()
    made.host.resize(500, 700)
    QApplication.processEvents()
    assert 1000 * (time.perf_counter() - begun) < 1500


def test_what_happens_to_people_does_not_rebuild_the_messages(place: Make) -> None:
    made = place()
    made.many(500)
    before = [item for item in made.panel.list.items if item.kind == "said"]
    change_person(made.store, "p4", position="Vụ trưởng")
    after = [item for item in made.panel.list.items if item.kind == "said"]
    assert all(a is b for a, b in zip(before, after, strict=True))
