"""The chat panel, written: to whom, how much, what waits or was refused, and that no draft is lost."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from gui import states
from gui.chat_room import Make, Place, maker
from gui.meeting_room import (
    change,
    come,
    cut_texts,
    focus,
    happen,
    press,
    quiet,
    write,
)
from gui.recording import RecordingActions
from PySide6.QtCore import QEvent, QMimeData, Qt
from PySide6.QtGui import QGuiApplication, QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QApplication, QLabel, QPushButton

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.state import PendingChat
from vidconf.client.store import Store
from vidconf.gui.panels.chat import ChatPanel
from vidconf.meeting import messages as m
from vidconf.meeting.models import Participant, Permissions
from vidconf.meeting.rules import CHAT_LIMIT


@pytest.fixture
def place(store: Store, actions: RecordingActions, show: Any) -> Make:
    return maker(store, actions, show)


# ---- writing ---------------------------------------------------------------------------------------------------------------------


def test_enter_sends_and_shift_enter_begins_a_line(place: Make) -> None:
    made = place()
    made.text.setFocus()
    write(made.text, "Đề nghị các điểm cầu báo cáo")
    press(made.text, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    write(made.text, "đúng giờ.")
    assert made.chat_calls() == []
    press(made.text, Qt.Key.Key_Return)
    assert made.chat_calls() == [{"text": "Đề nghị các điểm cầu báo cáo\nđúng giờ.", "to": None}]
    assert made.text.toPlainText() == ""
    assert focus() is made.text
    press(made.text, Qt.Key.Key_Enter)
    write(made.text, "   ")
    press(made.text, Qt.Key.Key_Enter, Qt.KeyboardModifier.KeypadModifier)
    assert len(made.chat_calls()) == 1, "nothing is not sent"


def test_a_word_still_being_composed_is_not_lost(place: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Telex keeps `Chươn` open until the next key: Enter takes it in, then sends."""
    made = place()
    made.text.setFocus()
    write(made.text, "Kính gửi")
    QApplication.sendEvent(made.text, QInputMethodEvent(" Chương", []))
    committed = []

    def commit() -> None:
        committed.append(1)
        done = QInputMethodEvent()
        done.setCommitString(" Chương")
        QApplication.sendEvent(made.text, done)

    monkeypatch.setattr(QGuiApplication, "inputMethod", staticmethod(lambda: SimpleNamespace(commit=commit)))
    QApplication.sendEvent(made.text, QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier))
    assert committed == [1]
    assert made.chat_calls() == [{"text": "Kính gửi Chương", "to": None}]


@pytest.mark.parametrize("modifiers", [Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier])
def test_enter_with_other_keys_does_not_send(place: Make, modifiers: Qt.KeyboardModifier) -> None:
    made = place()
    write(made.text, "x")
    press(made.text, Qt.Key.Key_Return, modifiers)
    assert made.chat_calls() == []
    assert made.text.toPlainText() == "x"


def test_to_whom_is_chosen_above_the_text(place: Make) -> None:
    made = place()
    composer = made.panel.composer
    assert composer.to.currentText() == "Gửi tới: Tất cả"
    composer.to.setFocus()
    listed = [composer.to.itemText(n) for n in range(composer.to.count())]
    assert listed[0] == "Gửi tới: Tất cả"
    assert listed[1] == "Gửi riêng: Trần Thị Bình · Thư ký", "moderators first"
    assert not any("Phạm Quốc Hùng" in text for text in listed), "not to oneself"
    assert len(listed) == 7
    composer.to.setCurrentIndex(listed.index(next(text for text in listed if "Lê Văn Cường" in text)))
    composer.to.activated.emit(composer.to.currentIndex())
    assert focus() is made.text
    assert made.text.placeholderText() == "Viết riêng cho Lê Văn Cường…"
    write(made.text, "Mời chuẩn bị")
    press(made.text, Qt.Key.Key_Return)
    assert made.chat_calls() == [{"text": "Mời chuẩn bị", "to": "p3"}]
    assert composer.recipient == "p3", "the next one goes there too, and it says so"
    assert composer.to.currentText() == "Gửi riêng: Lê Văn Cường"


def test_a_private_draft_never_becomes_public(place: Make) -> None:
    made = place()
    made.panel.write_to("p3")
    write(made.text, "Chuyện riêng")
    happen(made.store, m.Left("p3"))
    assert made.panel.composer.recipient == "p3"
    assert made.panel.composer.to.currentText() == "Gửi tới: Lê Văn Cường (đã rời phòng)"
    press(made.text, Qt.Key.Key_Return)
    made.panel.composer.go.click()
    assert made.chat_calls() == []
    assert made.text.toPlainText() == "Chuyện riêng"
    assert made.panel.composer._why.text() == words.refusal("not_here")
    assert cut_texts(made.host) == []
    come(made.store, states.person("p3", "Lê Văn Cường"))
    press(made.text, Qt.Key.Key_Return)
    assert made.chat_calls() == [{"text": "Chuyện riêng", "to": "p3"}]


def test_the_room_left_is_shown_and_too_much_is_not_sent(place: Make) -> None:
    made = place()
    composer = made.panel.composer
    made.text.setPlainText("x" * (CHAT_LIMIT - 500))
    assert not composer._room.isVisible()
    made.text.setPlainText("x" * (CHAT_LIMIT - 100))
    assert composer._room.text() == f"{CHAT_LIMIT - 100}/{CHAT_LIMIT} ký tự"
    assert composer._room.isVisible()
    made.text.setPlainText("x" * (CHAT_LIMIT + 1))
    press(made.text, Qt.Key.Key_Return)
    assert made.chat_calls() == []
    assert composer._why.text() == words.refusal("chat_too_long", {"most": CHAT_LIMIT})
    made.text.setPlainText("x" * CHAT_LIMIT)
    press(made.text, Qt.Key.Key_Return)
    assert len(made.chat_calls()) == 1


def test_pasting_is_plain_and_bounded(place: Make) -> None:
    made = place()
    pasted = QMimeData()
    pasted.setHtml("<b>đậm</b>")
    pasted.setText("y" * 3_000_000)
    made.text.insertFromMimeData(pasted)
    assert len(made.text.toPlainText()) <= 4 * CHAT_LIMIT
    picture = QMimeData()
    picture.setImageData(made.host.grab().toImage())
    assert not made.text.canInsertFromMimeData(picture)


def test_the_field_grows_with_the_text_and_then_scrolls(place: Make) -> None:
    made = place()
    one = made.text.height()
    heights = []
    for n in range(1, 9):
        made.text.setPlainText("\n".join("dòng" for _ in range(n)))
        QApplication.processEvents()
        heights.append(made.text.height())
    assert heights[0] == one
    assert heights[0] < heights[1] < heights[2] < heights[4]
    assert heights[4] == heights[7]
    assert 36 <= one <= 48
    made.text.clear()
    QApplication.processEvents()
    assert made.text.height() == one


def test_where_writing_is_closed_it_says_so(place: Make) -> None:
    made = place(states.in_meeting("p3", meeting=quiet(permissions=Permissions(chat="moderators")), unsent_chat=()))
    composer = made.panel.composer
    assert made.text.isReadOnly()
    assert composer._why.text() == words.refusal("chat_closed")
    composer.go.click()
    assert made.chat_calls() == []
    change(made.store, permissions=Permissions())
    assert not made.text.isReadOnly()
    assert not composer._why.isVisible()


# ---- not yet sent, refused ----------------------------------------------------------------------------------------------------------


def test_what_waits_is_shown_as_waiting(place: Make) -> None:
    made = place()
    made.store.dispatch(Set({"unsent_chat": (PendingChat("k1", "Đang gửi đây", None, states.NOW),)}))
    last = made.messages()[-1]
    assert (last.text, last.ground, last.when) == ("Đang gửi đây", "pending", "Đang gửi…")
    assert made.row("k1")._frame.property("said") == "pending"
    made.store.dispatch(Set({"control": "reconnecting"}))
    assert made.messages()[-1].when == "Sẽ gửi khi nối lại"
    # It arrives: the same words, no longer waiting.
    happen(made.store, m.ChatSent("p1", "Phạm Quốc Hùng", "Đang gửi đây", None, "k1"), actor="p1")
    assert [one.ground for one in made.messages()] == ["all", "all", "private", "mine"]


def refused(made: Place) -> list[str]:
    return [button.text() for button in made.panel.refused.findChildren(QPushButton) if button.isVisible()]


def press_refused(made: Place, text: str) -> None:
    next(button for button in made.panel.refused.findChildren(QPushButton) if button.isVisible() and button.text() == text).click()


def test_what_was_refused_can_be_sent_again_changed_or_dropped(place: Make) -> None:
    made = place()
    made.store.dispatch(Set({"unsent_chat": (PendingChat("k1", "Không được", None, states.NOW, "chat_closed"),)}))
    assert [one.text for one in made.messages()][-1] != "Không được"
    assert refused(made) == ["Gửi lại", "Sửa", "Bỏ"]
    assert cut_texts(made.host) == []
    assert any(words.refusal("chat_closed") in label.text() for label in made.panel.refused.findChildren(QLabel))
    press_refused(made, "Gửi lại")
    press_refused(made, "Bỏ")
    assert [(call.name, call.given) for call in made.actions.calls] == [("chat_again", {"key": "k1"}), ("chat_give_up", {"key": "k1"})]
    write(made.text, "đã viết")
    press_refused(made, "Sửa")
    assert made.text.toPlainText() == "đã viết\nKhông được"
    assert focus() is made.text
    made.store.dispatch(Set({"unsent_chat": ()}))
    assert not made.panel.refused.isVisible()


def test_taking_back_never_mixes_private_and_public(place: Make) -> None:
    made = place()
    made.panel.write_to("p3")
    write(made.text, "Chuyện riêng")
    made.store.dispatch(Set({"unsent_chat": (PendingChat("k1", "Cho mọi người", None, states.NOW, "chat_closed"),)}))
    press_refused(made, "Sửa")
    assert made.text.toPlainText() == "Chuyện riêng"
    assert made.panel.composer.recipient == "p3"
    assert made.actions.named("chat_give_up") == []
    assert any(words.text("chat.edit_other") == label.text() and label.isVisible() for label in made.panel.refused.findChildren(QLabel))
    made.text.clear()
    press_refused(made, "Sửa")
    assert (made.text.toPlainText(), made.panel.composer.recipient) == ("Cho mọi người", None)


def test_many_refused_do_not_fill_the_panel(place: Make) -> None:
    made = place()
    made.store.dispatch(Set({"unsent_chat": tuple(PendingChat(f"k{n}", "x", None, states.NOW, "chat_closed") for n in range(9))}))
    assert refused(made) == ["Gửi lại", "Sửa", "Bỏ"] * 2
    assert any("7" in label.text() for label in made.panel.refused.findChildren(QLabel))
    assert made.panel.list.height() > 150


# ---- what is kept ---------------------------------------------------------------------------------------------------------------------


def test_a_draft_goes_over_to_the_panel_made_anew(place: Make, store: Store, actions: RecordingActions) -> None:
    made = place()
    made.many(200)
    made.panel.list.verticalScrollBar().setValue(500)
    made.panel.write_to("p3")
    write(made.text, "Đang viết dở")
    kept = made.panel.keep()
    other = ChatPanel(store, actions)
    made.host.layout().addWidget(other)  # type: ignore[union-attr]
    made.panel.hide()
    other.show()
    QApplication.processEvents()
    other.restore(kept)
    assert other.composer.text.toPlainText() == "Đang viết dở"
    assert other.composer.recipient == "p3"
    assert kept["where"] is not None
    assert other.list.where() == kept["where"]


def test_the_recipients_are_those_in_the_room_when_it_opens(place: Make) -> None:
    made = place()
    composer = made.panel.composer
    come(made.store, Participant("p10", "Hồ Văn Lộc", place="admitted", connected=True, session=1, since=states.NOW))
    composer.to.opening.emit()
    assert any("Hồ Văn Lộc" in composer.to.itemText(n) for n in range(composer.to.count()))
    people = dict(made.store.state.meeting.participants)  # type: ignore[union-attr]
    people["p10"] = replace(people["p10"], place="left")
    change(made.store, participants=people)
    composer.to.opening.emit()
    assert not any("Hồ Văn Lộc" in composer.to.itemText(n) for n in range(composer.to.count()))
