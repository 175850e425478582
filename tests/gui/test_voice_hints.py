"""One's own voice in the window: speaking while muted, a microphone that gives nothing, and what is done to the sound."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from gui import states
from gui.finding import button, texts
from gui.meeting_room import cut_texts, own, press
from gui.page_room import in_room, page_of
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QWidget

from vidconf import words
from vidconf.client.changes import EngineSaid, Set
from vidconf.client.settings import Settings
from vidconf.client.store import Store
from vidconf.engine import api
from vidconf.gui.main_window import MainWindow
from vidconf.gui.settings_dialog import VOICE, SettingsSheet

Window = Callable[..., MainWindow]


def hint(store: Store, which: Any, shown: bool = True) -> None:
    store.dispatch(EngineSaid(api.MicrophoneHint(which, shown)))
    QApplication.processEvents()


def test_who_speaks_while_muted_is_told_with_the_button_that_helps(window: Window, store: Store, actions: RecordingActions) -> None:
    made = window(in_room())
    own(store, "microphone", state="muted", wanted="muted")
    hint(store, "speaking_muted")
    assert words.text("notice.speaking_muted") in texts(made.notices)
    assert made.notices.isVisible()
    assert cut_texts(made.notices) == []
    press(button(made.notices, words.text("notice.unmute_asked.yes")), Qt.Key.Key_Space)
    assert actions.named("set_microphone") == [{"on": True}]
    hint(store, "speaking_muted", shown=False)
    assert not made.notices.isVisible()


def test_put_away_it_stays_away_until_the_next(window: Window, store: Store) -> None:
    made = window(in_room())
    own(store, "microphone", state="muted", wanted="muted")
    hint(store, "speaking_muted")
    press(button(made.notices, words.text("notice.dismiss")), Qt.Key.Key_Space)
    assert not made.notices.isVisible()
    store.dispatch(Set({"unread_chat": 3}))
    own(store, "microphone", level=0.5)
    assert not made.notices.isVisible()
    hint(store, "speaking_muted", shown=False)
    hint(store, "speaking_muted")
    assert made.notices.isVisible()


def test_a_moderators_prompt_goes_before_it_and_outside_the_room_it_is_not_said(window: Window, store: Store) -> None:
    made = window(in_room())
    hint(store, "speaking_muted")
    store.dispatch(Set({"unmute_asked": True}))
    QApplication.processEvents()
    assert words.text("notice.speaking_muted") not in texts(made.notices)
    go_to(store, states.in_lobby())
    hint(store, "speaking_muted")
    assert not made.notices.isVisible()


def test_a_microphone_that_gives_nothing_says_what_to_do(window: Window, store: Store) -> None:
    page = page_of(window(in_room()))
    bar = page.bars.sources["microphone"]
    own(store, "microphone", state="on", wanted="on")
    hint(store, "silent")
    assert bar.isVisible()
    assert words.text("device.microphone.silent") in bar.accessibleName()
    assert words.text("device.help.silent") in bar.accessibleName()
    assert not bar.again.isVisible(), "to open it once more changes nothing"
    assert cut_texts(bar) == []
    hint(store, "silent", shown=False)
    assert not bar.isVisible()
    own(store, "microphone", state="off", wanted="off", error="device_lost")
    assert bar.again.isVisible()


def test_an_engine_that_crashed_hints_nothing(window: Window, store: Store) -> None:
    window(in_room())
    hint(store, "silent")
    store.dispatch(EngineSaid(api.StateChanged("closed", "engine_crashed")))
    assert store.state.sources["microphone"].hints == frozenset()


@pytest.mark.parametrize("key", VOICE)
def test_each_part_of_the_processing_has_a_switch(key: str, store: Store, actions: RecordingActions, show: Any) -> None:
    settings = Settings()
    go_to(store, states.home(devices=states.DEVICES))
    sheet = SettingsSheet(show(QWidget(), 1280, 900), store, actions, settings, "devices")
    sheet.open()
    QApplication.processEvents()
    box = next(made for made in sheet.findChildren(QCheckBox) if made.text() == words.text(f"settings.{key}.on"))
    assert box.isChecked() == settings.on(key)
    box.click()
    assert actions.named("change_setting") == [{"key": key, "value": not settings.on(key)}]
    assert words.text("settings.voice_missing", name="numpy") not in texts(sheet)
    store.dispatch(Set({"stats": {"engine": {"voice_missing": "numpy"}}}))
    sheet._show(store.state)
    assert words.text("settings.voice_missing", name="numpy") in texts(sheet)
    sheet.reject()
