"""What the organisation has closed, in the real window: it is not offered, its keys do nothing, and what is left says why."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from gui import states
from gui.finding import button, has_button, shown, texts
from gui.meeting_room import close_menus, entries, happen, open_menu, press
from gui.page_room import in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.home import HomePage
from vidconf.gui.main_window import MainWindow
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.settings_dialog import SettingsSheet
from vidconf.gui.sign_in import SignInPage
from vidconf.meeting import messages as m

Window = Callable[..., MainWindow]
SIGN_IN = "Đăng nhập"


def closing(state: ClientState, *parts: str) -> ClientState:
    return replace(state, closed=frozenset(parts))


# ---- ways in ----


@pytest.mark.parametrize("width", [1280, 700])
def test_home_offers_no_signing_in(window: Window, width: int) -> None:
    made = window(closing(states.guest_home(), "password_login"), width)
    assert not has_button(made, SIGN_IN)
    assert words.text("home.empty.guest_only.help") in texts(made)
    assert has_button(made, words.text("home.join.go")), "the link still leads in"


def test_home_changes_when_policy_does(window: Window, store: Store) -> None:
    made = window(states.guest_home())
    assert has_button(made, SIGN_IN)
    store.dispatch(Set({"closed": frozenset({"password_login"})}))
    QApplication.processEvents()
    assert not has_button(made, SIGN_IN)
    store.dispatch(Set({"closed": frozenset()}))
    QApplication.processEvents()
    assert has_button(made, SIGN_IN)


def test_pre_join_asks_to_sign_in_where_guests_are_not_let_in(window: Window, actions: RecordingActions) -> None:
    made = window(closing(states.prejoin(), "guest_join"))
    assert isinstance(made.page, PrejoinPage)
    assert words.text("prejoin.sign_in_first") in texts(made)
    button(made, SIGN_IN).click()
    made.page.name.setFocus()
    press(made.page.name, Qt.Key.Key_Return)
    assert [name for name in actions.names() if name in ("join", "open_sign_in")] == ["open_sign_in", "open_sign_in"]


def test_pre_join_with_an_account_is_as_ever(window: Window, actions: RecordingActions) -> None:
    made = window(closing(states.prejoin(account=states.MEMBER, name=states.LONG_NAME), "guest_join"))
    assert isinstance(made.page, PrejoinPage)
    made.page.go.click()
    assert "join" in actions.names()


def test_pre_join_without_any_way_in_says_so(window: Window, actions: RecordingActions) -> None:
    made = window(closing(states.prejoin(), "guest_join", "password_login"))
    assert isinstance(made.page, PrejoinPage)
    assert words.error("no_way_in") in texts(made)
    assert not made.page.go.isEnabled()


def test_sign_in_keeps_to_the_one_server(window: Window) -> None:
    made = window(closing(ClientState(phase="sign_in", server=states.SERVER), "other_servers"))
    assert isinstance(made.page, SignInPage)
    assert made.page.server.isReadOnly()
    assert made.page.first_focus() is made.page.name


def test_the_settings_keep_to_the_one_server(window: Window, store: Store, actions: RecordingActions, tmp_path: Path, show: Callable[..., MainWindow]) -> None:
    for level, held in (("managed", {"ServerURLLocked": True}), ("recommended", {"ServerURL": states.SERVER})):
        (tmp_path / level).mkdir()
        (tmp_path / level / "1.json").write_text(json.dumps(held))
    settings = Settings(policies=FilePolicies(tmp_path, trusted=(os.getuid(),)))
    go_to(store, states.home())
    made = show(MainWindow(store, actions, settings))
    made.open_settings("server")
    QApplication.processEvents()
    assert isinstance(made._sheet, SettingsSheet)
    (server,) = [one for one in shown(made._sheet, QLineEdit) if one.accessibleName() == "Máy chủ"]
    assert server.isReadOnly()


# ---- sharing ----


def test_sharing_is_greyed_and_says_why(window: Window, actions: RecordingActions) -> None:
    made = window(closing(in_room("p1"), "screen_share"))
    page = page_of(made)
    assert page.toolbar.share.property("state") == "barred"
    assert page.toolbar.share.toolTip() == words.refusal("closed_here")
    page.toolbar.share.click()
    made.on_shortcut("share")
    page.bars.share_wanted.emit()
    QApplication.processEvents()
    assert made._sheet is None, "not even the choice"
    assert actions.names().count("tell_refusal") == 3
    assert "share" not in actions.names()


# ---- chat ----


@pytest.mark.parametrize("width", [1280, 640])
def test_there_is_no_chat(window: Window, store: Store, width: int) -> None:
    made = window(closing(in_room("p1"), "chat"), width)
    page = page_of(made)
    assert page.toolbar.chat.isHidden()
    made.on_shortcut("chat")
    assert page.open == ""
    page.toolbar.more.click()
    assert not any("Trò chuyện" in text or "chat" in text.lower() for text in entries(open_menu()))
    close_menus()
    happen(store, m.ChatSent("p2", "Trần Thị Bình", "Xin chào", None, "k1"))
    QApplication.processEvents()
    assert store.state.unread_chat == 0
    assert "1" not in page.toolbar.more.accessibleName()


def test_the_open_chat_closes_when_policy_does_and_nobody_is_written_to(window: Window, store: Store) -> None:
    made = window(in_room("p1"))
    page = page_of(made)
    page.open_panel("chat")
    assert page.open == "chat"
    store.dispatch(Set({"closed": frozenset({"chat"})}))
    QApplication.processEvents()
    assert page.open == ""
    assert page.toolbar.chat.isHidden()
    menu = page._menus.person(page, store.state, "p2")
    assert menu is not None
    assert words.text("people.write") not in entries(menu)
    store.dispatch(Set({"closed": frozenset()}))
    QApplication.processEvents()
    assert not page.toolbar.chat.isHidden()


def test_a_page_made_anew_keeps_the_chat_away(window: Window, store: Store) -> None:
    made = window(in_room("p1"))
    page_of(made).open_panel("chat")
    kept = page_of(made).keep()
    store.dispatch(Set({"closed": frozenset({"chat"})}))
    page_of(made).restore(kept)
    made.rebuild()
    QApplication.processEvents()
    assert page_of(made).open == ""
    assert page_of(made).toolbar.chat.isHidden()


def test_home_is_home(window: Window) -> None:
    """With everything closed at once, each page still stands."""
    every = ("other_servers", "password_login", "guest_join", "screen_share", "chat")
    assert isinstance(window(closing(states.guest_home(), *every)).page, HomePage)
