"""The meeting's toolbar: what its buttons say, what a click asks, what moves into "more" when there is no room."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from gui import states
from gui.meeting_room import change, choose, close_menus, cut_texts, entries, focus, open_menu, own, press, quiet
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QToolButton, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.changes import Asked, Set
from vidconf.client.state import LocalSource
from vidconf.client.store import Store
from vidconf.gui.parts import pack
from vidconf.gui.toolbar import DROPS, Toolbar

Make = Any


@pytest.fixture
def bar(store: Store, actions: RecordingActions, show: Any) -> Make:
    """`bar(state, width)`: a toolbar that follows the store."""

    def make(state: Any = None, width: int = 1280) -> Toolbar:
        go_to(store, state if state is not None else states.in_meeting())
        host = QWidget()
        made = Toolbar(actions)
        pack(QVBoxLayout(host), made)
        made.show_state(None, store.state)
        store.subscribe(made.show_state)
        show(host, width, 66)
        actions.forget()
        return made

    return make


def state_of(button: QToolButton) -> str:
    return str(button.property("state") or "")


@pytest.mark.parametrize(
    ("source", "text", "state", "asks"),
    [
        (LocalSource("on", wanted="on"), "Mic bật", "live", False), (LocalSource("muted", wanted="muted"), "Mic tắt", "off", True),
        (LocalSource("off"), "Mic tắt", "off", True), (LocalSource("muted", True, wanted="on"), "Đang bật…", "pending", False),
        (LocalSource("on", True, wanted="muted"), "Đang tắt…", "pending", True),
    ],
)  # fmt: skip
def test_the_microphone_says_its_state_and_a_click_turns_the_wish_round(
    bar: Make, actions: RecordingActions, store: Store, source: LocalSource, text: str, state: str, asks: bool
) -> None:
    made = bar(states.in_meeting(sources=states.sources(microphone=source)))
    assert (made.microphone.text(), state_of(made.microphone)) == (text, state)
    made.microphone.click()
    assert actions.named("set_microphone") == [{"on": asks}]


def test_state_is_told_by_shape_and_word_and_the_key_stands_in_the_tooltip(bar: Make, store: Store) -> None:
    made = bar()
    off = made.microphone.icon().cacheKey()
    assert "Ctrl+D" in made.microphone.toolTip()
    assert "Bật micrô" in made.microphone.toolTip()
    own(store, "microphone", state="on", wanted="on")
    assert made.microphone.icon().cacheKey() != off
    assert "Tắt micrô" in made.microphone.toolTip()
    assert made.microphone.accessibleName().startswith("Mic bật")


def test_what_the_rules_forbid_is_greyed_and_says_why(bar: Make, store: Store, actions: RecordingActions) -> None:
    made = bar(states.in_meeting("p4"))  # microphones by floor, and p3 has it
    assert state_of(made.microphone) == "barred"
    assert made.microphone.toolTip() == words.refusal("needs_floor", {"source": "microphone"})
    made.microphone.click()  # asked all the same: the action tells why
    assert actions.named("set_microphone") == [{"on": True}]
    change(store, permissions=quiet().permissions)
    assert state_of(made.microphone) == "off"
    change(store, permissions=states.meeting(permissions=quiet().permissions).permissions.__class__(screen_share="moderators"))
    assert state_of(made.share) == "barred"


def test_nothing_is_drawn_anew_for_the_level(bar: Make, store: Store) -> None:
    made = bar(states.in_meeting(sources=states.sources(microphone=states.MICROPHONE_ON)))
    before = made.microphone.icon().cacheKey()
    asked: list[str] = []
    made.microphone.setText = lambda text: asked.append(text)
    for n in range(10):
        own(store, "microphone", level=n / 32)
    assert asked == []
    assert made.microphone.icon().cacheKey() == before


def test_camera_and_devices(bar: Make, actions: RecordingActions) -> None:
    made = bar()
    assert made.camera.text() == "Camera bật"
    made.camera.click()
    assert actions.named("set_camera") == [{"on": False}]
    asked: list[str] = []
    made.asked.connect(asked.append)
    made.microphone_devices.click()
    made.camera_devices.click()
    assert asked == ["microphone_devices", "camera_devices"]


def test_the_hand_goes_up_and_down_and_shows_its_number(bar: Make, store: Store, actions: RecordingActions) -> None:
    made = bar(states.in_meeting("p3", meeting=quiet()))
    assert made.hand.text() == "Giơ tay"
    made.hand.click()
    assert actions.names() == ["raise_hand"]
    store.dispatch(Asked("raise_hand"))
    assert state_of(made.hand) == "pending"
    actions.forget()
    mine = states.in_meeting("p4", meeting=quiet())  # first in the queue
    go_to(store, mine)
    assert (made.hand.text(), state_of(made.hand)) == ("Hạ tay", "hand")
    assert "thứ 1" in made.hand.toolTip()
    assert made._hand_badge.isVisible()
    made.hand.click()
    assert actions.named("lower_hand") == [{"participants": ()}]


def test_people_count_who_knocks_and_hands_for_moderators_only(bar: Make, store: Store) -> None:
    made = bar(states.in_meeting(meeting=quiet()))
    assert made._people_badge._text == "4"  # two knock, two hands
    assert "2 người ở phòng chờ" in made.people.accessibleName()
    assert "2 tay đang giơ" in made.people.accessibleName()
    go_to(store, states.in_meeting("p3", meeting=quiet()))
    assert made._people_badge._text == "2"
    assert "phòng chờ" not in made.people.accessibleName()
    change(store, hands=())
    assert not made._people_badge.isVisible()


def test_unread_is_a_badge_and_said(bar: Make, store: Store) -> None:
    made = bar(states.in_meeting(unread_chat=5))
    assert made._chat_badge._text == "5"
    assert "5 tin chưa đọc" in made.chat.accessibleName()
    store.dispatch(Set({"unread_chat": 1234}))
    assert made._chat_badge._text == "99+"
    assert made._chat_badge.geometry().right() < made.chat.width()
    store.dispatch(Set({"unread_chat": 0}))
    assert not made._chat_badge.isVisible()


def test_sharing_turns_the_button_into_the_way_to_stop(bar: Make, store: Store) -> None:
    made = bar(states.in_meeting(meeting=quiet()))
    assert (made.share.text(), state_of(made.share)) == ("Trình chiếu", "")
    own(store, "screen_share", wanted="on", pending=True)
    assert state_of(made.share) == "pending"
    own(store, "screen_share", state="on", wanted="on", pending=False)
    assert (made.share.text(), state_of(made.share)) == ("Dừng chiếu", "live")


@pytest.mark.parametrize("language", ["vi", "en"])
@pytest.mark.parametrize("width", [640, 700, 760, 800, 860, 900, 1000, 1280, 1920])
def test_what_has_no_room_moves_into_more_in_order_and_no_word_is_cut(bar: Make, store: Store, language: str, width: int) -> None:
    words.set_language(language)
    made = bar(states.in_meeting(unread_chat=120), width)
    assert made.dropped == DROPS[: len(made.dropped)]
    assert cut_texts(made) == []
    for name in ("microphone", "camera", "hand", "people", "more", "leave"):
        assert made._buttons[name].isVisible(), name
    shown = [button for button in made._buttons.values() if button.isVisible()]
    for left, right in pairwise(shown):
        assert left.geometry().right() < right.geometry().left()
    assert shown[-1].geometry().right() <= made.width()
    # The longest words of every state have their room too.
    for kind in ("microphone", "camera"):
        for source in (LocalSource("muted", True, wanted="on"), LocalSource("on", True, wanted="muted"), LocalSource("on", wanted="on")):
            own(store, kind, state=source.state, wanted=source.wanted, pending=source.pending)
            QApplication.processEvents()
            assert cut_texts(made) == []


def test_widths_do_not_change_with_the_state(bar: Make, store: Store) -> None:
    made = bar()
    before = [button.geometry() for button in made._buttons.values()]
    own(store, "microphone", state="on", wanted="muted", pending=True)
    own(store, "screen_share", state="on", wanted="on")
    change(store, hands=())
    store.dispatch(Set({"unread_chat": 0}))
    QApplication.processEvents()
    assert [button.geometry() for button in made._buttons.values()] == before


def test_a_narrow_bar_keeps_everything_within_reach(bar: Make, store: Store, actions: RecordingActions) -> None:
    made = bar(states.in_meeting(meeting=quiet(), unread_chat=3), 620)
    assert made.dropped == DROPS
    asked: list[str] = []
    made.asked.connect(asked.append)
    assert "3 tin chưa đọc" in made.more.accessibleName()
    made.more.click()
    menu = open_menu()
    listed = entries(menu)
    assert listed[0] == "Trò chuyện (3 tin chưa đọc)"
    choose(menu, listed[0])
    for text in ("Trình chiếu", "Micrô và loa", "Camera"):
        made.more.click()
        choose(open_menu(), text)
    assert asked == ["chat", "share", "microphone_devices", "camera_devices"]
    assert made.anchor("chat") is made.more


def test_the_keyboard_is_not_lost_when_its_button_moves_into_more(bar: Make, show: Any) -> None:
    made = bar(width=1280)
    made.chat.setFocus()
    assert focus() is made.chat
    made.window().resize(620, 66)
    QApplication.processEvents()
    assert focus() is made.more


def test_more_offers_moderation_to_moderators_only(bar: Make, store: Store, actions: RecordingActions) -> None:
    made = bar(states.in_meeting())  # p3 has the floor
    made.more.click()
    choose(open_menu(), "Tắt tiếng tất cả")
    assert actions.named("mute_all") == [{"but": ["p3"]}]
    made.more.click()
    choose(open_menu(), "Khóa phòng")
    assert actions.named("lock") == [{"on": True}]
    made.more.click()
    choose(open_menu(), words.text("moderation.more"), "Micrô", "Chỉ người điều hành")
    assert actions.named("set_permission") == [{"source": "microphone", "who": "moderators"}]
    change(store, locked=True)
    made.more.click()
    choose(open_menu(), "Mở khóa phòng")
    assert actions.named("lock")[-1] == {"on": False}
    go_to(store, states.in_meeting("p4"))
    made.more.click()
    listed = entries(open_menu())
    close_menus()
    assert "Tắt tiếng tất cả" not in listed
    assert any("Cài đặt" in text for text in listed)


def test_keys_go_along_the_bar_and_enter_presses(bar: Make, actions: RecordingActions) -> None:
    made = bar()
    made.microphone.setFocus()
    press(made.microphone, Qt.Key.Key_Right)
    assert focus() is made.microphone_devices
    press(made.microphone_devices, Qt.Key.Key_Left)
    press(made.microphone, Qt.Key.Key_Left)
    assert focus() is made.leave
    made.microphone.setFocus()
    press(made.microphone, Qt.Key.Key_Return)
    press(made.microphone, Qt.Key.Key_Space)
    assert actions.named("set_microphone") == [{"on": True}, {"on": True}]
