"""The page of components and licences, and the folder of logs: from About, by mouse and keyboard, in both languages, at every size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gui import states
from gui.finding import button, focusable, has_button, tab_round, texts
from gui.meeting_room import cut_texts, focus, nameless, press
from gui.recording import RecordingActions
from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from vidconf import licences, words
from vidconf.client.store import Store
from vidconf.gui.licences_sheet import LicencesSheet
from vidconf.gui.main_window import MainWindow
from vidconf.gui.questions import AboutSheet

Window = Callable[..., MainWindow]


@pytest.fixture
def opened(window: Window, qtbot: QtBot) -> Callable[..., LicencesSheet]:
    """From About, once the list is there."""

    def make(width: int = 1280, height: int = 800) -> LicencesSheet:
        made = window(states.home(), width, height)
        made._on_asked("about", None)
        about = made._sheet
        assert isinstance(about, AboutSheet)
        button(about, words.text("about.licences")).click()
        sheet = made._sheet
        assert isinstance(sheet, LicencesSheet)
        qtbot.waitUntil(lambda: sheet.list.count() > 0)
        QApplication.processEvents()
        return sheet

    return make


def test_each_component_shows_its_licence(opened: Callable[..., LicencesSheet]) -> None:
    sheet = opened()
    listed = [sheet.list.item(row).text() for row in range(sheet.list.count())]
    assert listed == [f"{one.name} {one.version}".strip() for one in licences.components()]
    assert "GNU GENERAL PUBLIC LICENSE" in sheet.text.toPlainText(), "one's own comes first"
    for name, licence, said in (
        ("Qt", "LGPL-3.0-only", "GNU LESSER GENERAL PUBLIC LICENSE"),
        ("x264", "GPL-2.0-or-later", "Version 2, June 1991"),
        ("aiohttp", "Apache-2.0 AND MIT", "Apache License"),
    ):
        (row,) = [n for n, one in enumerate(licences.components()) if one.name == name]
        sheet.list.setCurrentRow(row)
        assert said in sheet.text.toPlainText()
        assert any(words.text("licences.under", licence=licence) in text for text in texts(sheet))
    assert sheet.text.isReadOnly()


def test_by_keyboard(opened: Callable[..., LicencesSheet]) -> None:
    sheet = opened()
    assert focus() is sheet.list
    before = sheet.text.toPlainText()
    press(sheet.list, Qt.Key.Key_Down)
    assert sheet.list.currentRow() == 1
    assert sheet.text.toPlainText() != before
    assert {sheet.list, sheet.text} <= set(tab_round(sheet.window()))
    assert set(tab_round(sheet.window())) == set(focusable(sheet))
    press(sheet.text, Qt.Key.Key_Escape)
    QApplication.processEvents()
    window = sheet.window()
    assert isinstance(window, MainWindow)
    assert window._sheet is None


def test_the_list_can_be_taken_along(opened: Callable[..., LicencesSheet]) -> None:
    button(opened(), words.text("licences.copy")).click()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert len(lines) == len(licences.components())
    assert any(line.startswith("FFmpeg\t") and line.endswith("\tav") for line in lines)


@pytest.mark.parametrize("language", words.LANGUAGES)
@pytest.mark.parametrize("size", [(640, 480), (800, 600), (1280, 800)])
def test_nothing_is_cut_off(opened: Callable[..., LicencesSheet], language: str, size: tuple[int, int]) -> None:
    words.set_language(language)
    sheet = opened(*size)
    assert cut_texts(sheet) == []
    assert nameless(sheet) == []
    assert sheet.text.height() >= 120, "room to read"
    assert sheet.list.width() >= 200


def test_closed_before_the_list_is_read(window: Window, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    made = window(states.home())
    for _ in range(3):
        made._on_asked("licences", None)
        assert made._sheet is not None
        made._sheet.reject()
    qtbot.wait(300)
    assert made._sheet is None


# ---- the logs' folder ----


def test_the_folder_of_logs_is_opened(
    window: Window, store: Store, actions: RecordingActions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[QUrl] = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url) or True)
    made = window(states.home())
    made.log_folder = tmp_path / "nhật ký"
    made._on_asked("about", None)
    assert made._sheet is not None
    button(made._sheet, words.text("about.logs")).click()
    assert [url.toLocalFile() for url in opened] == [str(tmp_path / "nhật ký")]
    assert store.state.notices == ()


def test_a_system_that_cannot_open_it_says_where_it_is(
    window: Window, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: False)
    made = window(states.home())
    made.log_folder = tmp_path
    made._on_asked("log_folder", None)
    QApplication.processEvents()
    assert any(str(tmp_path) in text for text in texts(made))


def test_without_logs_there_is_no_such_button(window: Window) -> None:
    made = window(states.home())
    made._on_asked("about", None)
    assert made._sheet is not None
    assert not has_button(made._sheet, words.text("about.logs"))
