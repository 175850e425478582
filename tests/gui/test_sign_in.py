"""Signing in: three fields and a button; what is typed goes to the action and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, field, focusable, tab_round, texts
from gui.meeting_room import focus, press, write
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.links import LINK_ERRORS
from vidconf.client.rest import CODES
from vidconf.client.state import ClientState
from vidconf.client.store import Store
from vidconf.gui.sign_in import SignInPage

Make = Callable[..., SignInPage]


@pytest.fixture
def sign_in(store: Store, actions: RecordingActions, show: Any) -> Make:
    def make(server: str = states.SERVER, **fields: Any) -> SignInPage:
        go_to(store, ClientState(phase="sign_in", server=server, **fields))
        page: SignInPage = show(SignInPage(store, actions))
        first = page.first_focus()
        assert first is not None
        first.setFocus()
        QApplication.processEvents()
        return page

    return make


def test_a_known_server_stands_there_and_the_name_comes_first(sign_in: Make) -> None:
    page = sign_in()
    assert page.server.text() == "hop.moitruong.example.vn"
    assert focus() is page.name


def test_without_a_server_it_is_asked_first(sign_in: Make) -> None:
    page = sign_in("")
    assert focus() is page.server
    assert page.server.placeholderText()


def test_name_and_password_by_keyboard_alone(sign_in: Make, actions: RecordingActions) -> None:
    page = sign_in()
    QTest.keyClicks(focus(), " binh ")
    press(focus(), Qt.Key.Key_Tab)
    assert focus() is page.password
    write(page.password, "mật khẩu dài")
    press(page.password, Qt.Key.Key_Return)
    assert actions.named("sign_in") == [{"server": "", "name": "binh", "password": "mật khẩu dài"}]


@pytest.mark.parametrize("where", ["server", "name", "password"])
def test_enter_goes_on_from_every_field(sign_in: Make, actions: RecordingActions, where: str) -> None:
    page = sign_in()
    page.name.setText("binh")
    page.password.setText(" ẩn ")
    press(getattr(page, where), Qt.Key.Key_Return)
    assert actions.named("sign_in") == [{"server": "", "name": "binh", "password": " ẩn "}], "a password is taken as it is"


def test_another_server_is_said_as_it_was_typed(sign_in: Make, actions: RecordingActions) -> None:
    page = sign_in()
    page.server.setText(" bo.example.vn ")
    page.name.setText("binh")
    page.password.setText("x")
    button(page, "Đăng nhập").click()
    assert actions.named("sign_in")[0]["server"] == "bo.example.vn"


@pytest.mark.parametrize("missing", ["server", "name", "password"])
def test_what_is_missing_is_shown_and_asked_for(sign_in: Make, actions: RecordingActions, missing: str) -> None:
    page = sign_in()
    for one in ("server", "name", "password"):
        getattr(page, one).setText("" if one == missing else "x")
    button(page, "Đăng nhập").click()
    QApplication.processEvents()
    assert actions.names() == []
    assert focus() is getattr(page, missing)
    assert getattr(page, missing).property("wrong") == "true"
    getattr(page, missing).setText("x")
    button(page, "Đăng nhập").click()
    assert getattr(page, missing).property("wrong") == ""
    assert actions.names() == ["sign_in"]


def test_the_password_can_be_looked_at(sign_in: Make) -> None:
    page = sign_in()
    page.password.setText("bí mật")
    assert page.password.echoMode() == QLineEdit.EchoMode.Password
    assert page._eye.toolTip() == "Hiện mật khẩu"
    page._eye.trigger()
    assert page.password.echoMode() == QLineEdit.EchoMode.Normal
    assert page._eye.toolTip() == "Ẩn mật khẩu"
    page._eye.trigger()
    assert page.password.echoMode() == QLineEdit.EchoMode.Password


def test_while_it_is_asked_it_is_not_asked_again(sign_in: Make, actions: RecordingActions, store: Store) -> None:
    page = sign_in()
    page.name.setText("binh")
    page.password.setText("x")
    store.dispatch(Set({"busy": frozenset({"sign_in"})}))
    assert not page.go.isEnabled()
    assert page.go.text() == "Đang đăng nhập…"
    press(page.password, Qt.Key.Key_Return)
    assert actions.names() == []
    store.dispatch(Set({"busy": frozenset()}))
    assert (page.go.isEnabled(), page.go.text()) == (True, "Đăng nhập")


def test_a_wrong_password_is_typed_over(sign_in: Make, store: Store) -> None:
    page = sign_in()
    page.name.setText("binh")
    page.password.setText("sai")
    page.go.setFocus()
    store.dispatch(Set({"join_error": "wrong_password"}))
    QApplication.processEvents()
    assert focus() is page.password
    write(page.password, "đúng")
    assert page.password.text() == "đúng"


@pytest.mark.parametrize("code", [*CODES, *LINK_ERRORS])
def test_what_went_wrong_says_what_to_do(sign_in: Make, store: Store, code: str) -> None:
    page = sign_in()
    store.dispatch(Set({"join_error": code, "join_detail": {"wait_s": 40, "host": "a.vn"}}))
    QApplication.processEvents()
    said = texts(page._trouble)
    assert words.error(code, {"host": "a.vn"}) in said
    assert words.help_for(code, {"wait_s": 40}) in said


def test_back_and_settings(sign_in: Make, actions: RecordingActions) -> None:
    page, asked = sign_in(), []
    page.asked.connect(lambda what, detail: asked.append(what))
    button(page, "Về trang chủ (Esc)").click()
    assert actions.names() == ["cancel"]
    button(page, "Cài đặt (Ctrl+,)").click()
    button(page, "Phím tắt (F1)").click()
    assert asked == ["settings", "shortcuts"]


def test_tab_leads_everywhere(sign_in: Make) -> None:
    page = sign_in()
    assert set(focusable(page)) == set(tab_round(page))


def test_what_was_typed_is_kept_over_a_change_of_language(sign_in: Make, store: Store, actions: RecordingActions, show: Any) -> None:
    page = sign_in()
    page.server.setText("bo.example.vn")
    page.name.setText("binh")
    page.password.setText("bí mật")
    words.set_language("en")
    again = show(SignInPage(store, actions))
    again.restore(page.keep())
    assert (again.server.text(), again.name.text(), again.password.text()) == ("bo.example.vn", "binh", "bí mật")
    button(again, "Sign in").click()
    assert actions.named("sign_in") == [{"server": "bo.example.vn", "name": "binh", "password": "bí mật"}]


def test_the_password_is_nowhere_but_in_its_field(sign_in: Make) -> None:
    page = sign_in()
    page.password.setText("bí mật")
    assert "bí mật" not in page.password.displayText()
    assert all("bí mật" not in text for text in texts(page))
    assert field(page, "Mật khẩu").inputMethodHints() & Qt.InputMethodHint.ImhHiddenText
