"""The settings' pages: every change is asked for at once; what policy holds is shown, greyed, and says by whom."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gui import states
from gui.finding import button, focusable, shown, tab_round, texts
from gui.meeting_room import cut_texts, focus, nameless, press
from gui.recording import RecordingActions, go_to
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QScrollArea, QWidget

from vidconf import words
from vidconf.client.changes import Set
from vidconf.client.policies.files import FilePolicies
from vidconf.client.settings import Settings
from vidconf.client.settings_table import SETTINGS
from vidconf.client.state import LocalSource
from vidconf.client.store import Store
from vidconf.gui import shortcuts
from vidconf.gui.parts import Choice
from vidconf.gui.settings_dialog import GROUPS, KeyButton, SettingsSheet

CONTROL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier
Make = Callable[..., SettingsSheet]
NAMES = [name for name, _ in GROUPS]


@pytest.fixture
def sheet(store: Store, actions: RecordingActions, show: Any) -> Make:
    """`sheet(group, settings)`: open in a window; what is asked for is carried out on the settings, as the client does."""

    def make(group: str = "look", settings: Settings | None = None, width: int = 1280, height: int = 800) -> SettingsSheet:
        go_to(store, states.home(devices=states.DEVICES))
        window = show(QWidget(), width, height)
        made = SettingsSheet(window, store, actions, settings or Settings(), group)
        made.open()
        QApplication.processEvents()
        actions.forget()
        return made

    return make


@pytest.fixture
def managed(tmp_path: Path) -> Settings:
    """An agency that holds one setting of each page."""
    folder = tmp_path / "managed"
    folder.mkdir(mode=0o755)
    held = {"Language": "vi", "MuteOnJoin": True, "DefaultSpeaker": "spk1", "ConfirmLeave": True, "ServerURL": "https://hop.bo.example.vn", "AllowedServers": ["*.example.vn"]}
    (folder / "10-bo.json").write_text(json.dumps({**held, "Unknown": 1}))
    return Settings(policies=FilePolicies(tmp_path, trusted=(os.getuid(),)))


def switch(made: SettingsSheet, name: str) -> QCheckBox:
    (found,) = [one for one in shown(made, QCheckBox) if one.accessibleName().startswith(name)]
    return found


def choice(made: SettingsSheet, name: str) -> Choice:
    (found,) = [one for one in shown(made, Choice) if one.accessibleName() == name]
    return found


# ---- the pages ----


def test_turned_by_keyboard(sheet: Make) -> None:
    made = sheet()
    assert focus() is made._nav["look"]
    for name in NAMES[1:]:
        press(focus(), Qt.Key.Key_Tab)
        while focus() is not made._nav[name]:
            press(focus(), Qt.Key.Key_Tab)
        press(focus(), Qt.Key.Key_Space)
        assert [group for group, one in made._nav.items() if one.property("kind") == "here"] == [name]
        made.turn_to("look")


@pytest.mark.parametrize("group", NAMES)
@pytest.mark.parametrize("size", [(1280, 800), (640, 480)])
def test_every_page_whole_named_and_reached(sheet: Make, managed: Settings, group: str, size: tuple[int, int]) -> None:
    for language in words.LANGUAGES:
        words.set_language(language)
        for settings in (Settings(), managed):
            made = sheet(group, settings, *size)
            assert cut_texts(made) == []
            assert nameless(made) == []
            assert set(tab_round(made)) == set(focusable(made))
            made.reject()


@pytest.mark.parametrize("group", ["keyboard", "devices"])
def test_what_has_the_keyboard_is_scrolled_into_sight(sheet: Make, group: str) -> None:
    made = sheet(group, None, 640, 480)
    for _ in focusable(made):
        press(focus(), Qt.Key.Key_Tab)
        assert focus().visibleRegion().boundingRect().height() >= min(30, focus().height()), focus().accessibleName()


def test_look(sheet: Make, actions: RecordingActions) -> None:
    made = sheet("look")
    language = choice(made, "Ngôn ngữ")
    assert [language.itemText(i) for i in range(language.count())] == ["Tiếng Việt", "English"]
    language.setFocus()
    press(language, Qt.Key.Key_Down)
    theme = choice(made, "Sáng, tối")
    theme.setFocus()
    press(theme, Qt.Key.Key_Down)
    assert actions.named("change_setting") == [{"key": "language", "value": "en"}, {"key": "theme", "value": "light"}]


def test_window(sheet: Make, actions: RecordingActions) -> None:
    made = sheet("window")
    for name in ("Âm báo", "Đóng cửa sổ", "Rời cuộc họp"):
        one = switch(made, name)
        assert one.isChecked()
        one.setFocus()
        press(one, Qt.Key.Key_Space)
    assert actions.named("change_setting") == [{"key": key, "value": False} for key in ("sounds", "close_to_tray", "confirm_leave")]


def test_devices_go_through_their_own_actions(sheet: Make, actions: RecordingActions, store: Store) -> None:
    made = sheet("devices")
    for one in (made.lists.microphone, made.lists.camera, made.lists.speaker):
        one.setFocus()
        press(one, Qt.Key.Key_Down)
    switch(made, "Micrô tắt sẵn khi vào họp").click()
    assert [(call.name, call.given) for call in actions.calls if call.name != "watch"] == [
        ("choose_device", {"source": "microphone", "device_id": "mic1"}), ("choose_device", {"source": "camera", "device_id": "cam1"}),
        ("choose_speaker", {"device_id": "spk1"}), ("change_setting", {"key": "start_muted", "value": True}),
    ]  # fmt: skip
    store.dispatch(Set({"sources": states.sources(microphone=LocalSource(error="device_in_use"), camera=LocalSource(error="no_device"))}))
    QApplication.processEvents()
    assert "Micrô đang được chương trình khác dùng. Đóng chương trình khác đang dùng, rồi thử lại." in texts(made)
    assert any(text.startswith("Máy chưa có camera.") for text in texts(made))


def test_server(sheet: Make, actions: RecordingActions) -> None:
    made = sheet("server")
    made._server_field.setFocus()
    made._server_field.setText(" hop.example.vn ")
    press(made._server_field, Qt.Key.Key_Return)
    assert actions.named("change_setting") == [{"key": "server", "value": "https://hop.example.vn"}]
    actions.forget()
    for wrong in ("http://hop.example.vn", "hop example", "https://hоp.vn"):
        made._server_field.setText(wrong)
        made._server_field.editingFinished.emit()
        assert "Địa chỉ máy chủ không đúng." in texts(made)
        assert made._server_field.property("wrong") == "true"
    assert actions.names() == []
    made._server_field.setText("")
    made._server_field.editingFinished.emit()
    assert actions.named("change_setting") == [{"key": "server", "value": ""}]
    assert made._server_field.property("wrong") == ""
    assert "Mọi máy chủ" in texts(made)


def test_a_readable_server_untouched_is_not_written_anew(sheet: Make, actions: RecordingActions) -> None:
    settings = Settings()
    settings.set("server", "https://họp.example.vn")
    made = sheet("server", settings)
    assert made._server_field.text() == "họp.example.vn"
    made._server_field.editingFinished.emit()
    assert actions.names() == []


# ---- what policy holds ----


def test_what_is_held_is_greyed_and_says_by_whom(sheet: Make, managed: Settings) -> None:
    locked = words.text("settings.locked")
    made = sheet("look", managed)
    assert not choice(made, "Ngôn ngữ").isEnabled()
    assert choice(made, "Sáng, tối").isEnabled()
    assert texts(made).count(locked) == 1
    assert any(one.toolTip() == "Cơ quan đặt trong 10-bo.json" for one in shown(made, QWidget))
    assert "Cơ quan quản lý: 6 mục" in texts(made)
    assert words.text("settings.locked.note") in texts(made)
    made.turn_to("devices")
    assert not made.lists.speaker.isEnabled()
    assert made.lists.microphone.isEnabled()
    assert not switch(made, "Micrô tắt sẵn khi vào họp").isEnabled()
    assert switch(made, "Micrô tắt sẵn khi vào họp").isChecked()
    assert texts(made).count(locked) == 2
    made.turn_to("window")
    assert not switch(made, "Rời cuộc họp").isEnabled()
    made.turn_to("server")
    assert made._server_field.isReadOnly()
    assert made._server_field.text() == "hop.bo.example.vn"
    assert "*.example.vn" in texts(made)
    assert "1 dòng chính sách bị bỏ qua" in texts(made)
    made._server_field.setText("x")
    made._server_field.editingFinished.emit()


def test_without_policy_nothing_speaks_of_it(sheet: Make) -> None:
    for group in NAMES:
        made = sheet(group)
        assert words.text("settings.locked.note") not in texts(made)
        assert not any("Cơ quan" in text for text in texts(made))
        made.reject()


# ---- keys ----


@pytest.fixture
def keyboard(sheet: Make, actions: RecordingActions) -> SettingsSheet:
    """The keyboard's page, on settings that take what is asked."""
    settings = Settings()
    made = sheet("keyboard", settings)
    settings.subscribe(lambda key: shortcuts.load(settings.mapping("shortcuts")))
    made.settings = settings
    return made


def change(made: SettingsSheet, id_: str) -> KeyButton:
    one = made._key_rows[id_][1]
    assert isinstance(one, KeyButton)
    one.setFocus()
    press(one, Qt.Key.Key_Space)
    assert one.text() == "Bấm phím mới…"
    return one


def test_a_new_key_is_pressed(keyboard: SettingsSheet, actions: RecordingActions) -> None:
    one = change(keyboard, "hand")
    press(one, Qt.Key.Key_Control, CONTROL)
    assert one.text() == "Bấm phím mới…", "not yet a chord"
    press(one, Qt.Key.Key_K, CONTROL)
    assert one.text() == "Đổi"
    assert actions.named("change_setting") == [{"key": "shortcuts", "value": {"hand": "Ctrl+K"}}]


def test_the_list_shows_the_new_key(keyboard: SettingsSheet) -> None:
    keyboard.settings.set("shortcuts", {"hand": "Ctrl+K"})
    keyboard._on_setting("shortcuts")
    assert keyboard._key_rows["hand"][0].text() == "Ctrl+K"


@pytest.mark.parametrize(
    ("key", "modifiers", "said"),
    [
        (Qt.Key.Key_D, Qt.KeyboardModifier.NoModifier, "không dùng được"), (Qt.Key.Key_Z, ALT, "Alt+Z không dùng được"),
        (Qt.Key.Key_M, CONTROL | Qt.KeyboardModifier.ShiftModifier, "Ctrl+Shift+M không dùng được"), (Qt.Key.Key_D, CONTROL, "Ctrl+D đang dùng cho: Bật, tắt micrô"),
        (Qt.Key.Key_Slash, CONTROL, "Ctrl+/ đang dùng cho: Danh sách phím tắt"),
    ],
)  # fmt: skip
def test_a_key_that_cannot_be_had_says_why(keyboard: SettingsSheet, actions: RecordingActions, key: Qt.Key, modifiers: Any, said: str) -> None:
    press(change(keyboard, "hand"), key, modifiers)
    assert said in keyboard._key_trouble.text()
    assert actions.names() == []
    press(change(keyboard, "hand"), Qt.Key.Key_K, CONTROL)
    assert keyboard._key_trouble.text() == ""


def test_the_trouble_with_a_key_is_seen_where_the_key_is(keyboard: SettingsSheet) -> None:
    """The page is long: what is said at its top must not be out of sight."""
    area = keyboard._pages.currentWidget()
    assert isinstance(area, QScrollArea)
    area.verticalScrollBar().setValue(area.verticalScrollBar().maximum())
    assert keyboard._key_trouble.visibleRegion().isEmpty() or area.verticalScrollBar().maximum() == 0
    press(change(keyboard, "help"), Qt.Key.Key_D, CONTROL)
    QApplication.processEvents()
    assert keyboard._key_trouble.text()
    assert not keyboard._key_trouble.visibleRegion().isEmpty()


def test_esc_and_another_click_give_up_and_the_sheet_stays(keyboard: SettingsSheet, actions: RecordingActions) -> None:
    press(change(keyboard, "hand"), Qt.Key.Key_Escape)
    assert keyboard.isVisible()
    one = change(keyboard, "hand")
    keyboard._key_rows["chat"][1].setFocus()
    assert one.text() == "Đổi"
    one = change(keyboard, "hand")
    press(one, Qt.Key.Key_F5, CONTROL)
    assert actions.named("change_setting") == [{"key": "shortcuts", "value": {"hand": "Ctrl+F5"}}]


def test_a_key_that_is_held(keyboard: SettingsSheet, actions: RecordingActions) -> None:
    press(change(keyboard, "talk"), Qt.Key.Key_K, CONTROL)
    assert "không dùng được" in keyboard._key_trouble.text()
    press(change(keyboard, "talk"), Qt.Key.Key_F9)
    assert actions.named("change_setting") == [{"key": "shortcuts", "value": {"talk": "F9"}}]


def test_all_are_put_back(keyboard: SettingsSheet, actions: RecordingActions) -> None:
    button(keyboard, "Đặt lại tất cả").click()
    assert actions.named("change_setting") == [{"key": "shortcuts", "value": {}}]


def test_every_setting_a_user_may_change_is_somewhere() -> None:
    """But for what only administrators set."""
    administrators = {"lobby_timeout_s", "log_level", "stage_renderer"}
    for key, setting in SETTINGS.items():
        if setting.hidden or key in administrators:
            continue
        assert f"settings.{key}" in words.table("vi") or key == "shortcuts", key


def test_what_is_closed_watches_nothing(sheet: Make, actions: RecordingActions, store: Store) -> None:
    made = sheet("devices")
    made.reject()
    QApplication.processEvents()
    assert not actions.named("watch")[-1]["visible"]
    store.dispatch(Set({"sources": states.sources(microphone=replace(states.MICROPHONE_ON, level=0.5))}))
