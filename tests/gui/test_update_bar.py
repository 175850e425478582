"""A newer version on home: said with who brings it, put away by its button, never over a meeting; and the refusal of one too old."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gui import states
from gui.finding import button, focusable, texts
from gui.meeting_room import press
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.state import UpdateView
from vidconf.client.store import Store
from vidconf.gui.home import HomePage
from vidconf.gui.prejoin import PrejoinPage
from vidconf.gui.update_bar import UpdateBar

NEW = UpdateView("1.4.0", "https://intranet.example.gov.vn/vidconf", {"vi": "Sửa lỗi tiếng vọng.", "en": "Echo fixed."})


@pytest.fixture
def home(store: Store, actions: RecordingActions, show_ready: Any) -> HomePage:
    go_to(store, states.home(update=NEW))
    page: HomePage = show_ready(HomePage(store, actions), 1280, 800)
    return page


def tell(store: Store, **fields: Any) -> None:
    """The store says so, and the page has drawn it."""
    store.dispatch(Set(fields))
    QApplication.processEvents()


def bar(page: QWidget) -> UpdateBar:
    (found,) = page.findChildren(UpdateBar)
    return found


def test_it_says_which_version_what_is_new_and_who_brings_it(home: HomePage) -> None:
    said = texts(bar(home))
    assert "Đã có phiên bản 1.4.0" in said
    assert words.text("home.update.by_it") in said
    assert "Sửa lỗi tiếng vọng." in said
    assert bar(home).accessibleName().startswith("Đã có phiên bản 1.4.0")


@pytest.mark.parametrize(("fields", "word"), [({"own_doing": True}, "coming"), ({"own_doing": True, "ready": True}, "ready")])
def test_the_portable_program_says_what_it_does_itself(home: HomePage, store: Store, fields: dict[str, bool], word: str) -> None:
    tell(store, update=replace(NEW, **fields))
    assert words.text(f"home.update.{word}") in texts(bar(home))


def test_it_is_put_away_by_mouse_or_key(home: HomePage, store: Store, actions: RecordingActions) -> None:
    gone = button(home, words.text("notice.dismiss"))
    QTest.mouseClick(gone, Qt.MouseButton.LeftButton)
    gone.setFocus()
    press(gone, Qt.Key.Key_Space)
    assert actions.names() == ["put_away_update"] * 2
    tell(store, update=None)
    assert not bar(home).isVisible()


def test_the_page_opens_in_the_browser(home: HomePage, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    QTest.mouseClick(button(home, "Xem hướng dẫn"), Qt.MouseButton.LeftButton)
    assert [one.toString() for one in opened] == ["https://intranet.example.gov.vn/vidconf"]


def test_without_a_page_there_is_no_button(home: HomePage, store: Store) -> None:
    tell(store, update=UpdateView("1.4.0"))
    assert [one.accessibleName() for one in focusable(bar(home))] == [words.text("notice.dismiss")]


def test_who_stands_on_its_button_stays_there_while_other_things_change(home: HomePage, store: Store) -> None:
    gone = button(home, words.text("notice.dismiss"))
    gone.setFocus()
    tell(store, name="Lê Văn An", busy=frozenset({"upcoming"}))
    assert button(home, words.text("notice.dismiss")) is gone
    assert gone.hasFocus()


def test_long_notes_are_shortened_and_never_taken_for_markup(home: HomePage, store: Store) -> None:
    notes = "<b>Mới</b>\n" + "rất nhiều điều mới " * 100
    tell(store, update=replace(NEW, notes={"vi": notes}))
    (said,) = [one for one in texts(bar(home)) if "rất nhiều" in one]
    assert said.startswith("<b>Mới</b> rất")
    assert len(said) <= 241


@pytest.mark.parametrize("language", words.LANGUAGES)
def test_a_version_too_old_is_told_where_one_joins(store: Store, actions: RecordingActions, show_ready: Any, language: str) -> None:
    words.set_language(language)
    go_to(store, states.prejoin(join_error="version_too_old", join_detail={"needed": "1.4.0", "own": "1.1.0"}))
    page = show_ready(PrejoinPage(store, actions), 1280, 800)
    said = texts(page)
    assert words.error("version_too_old", {"needed": "1.4.0", "own": "1.1.0"}) in said
    assert words.help_for("version_too_old") in said
    assert any("1.4.0" in one and "1.1.0" in one for one in said)
