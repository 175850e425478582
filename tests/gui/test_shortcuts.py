"""Keys: one table that leaves the Vietnamese input methods theirs; rebound by the user, never two on one key; acting while one types."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
from gui import states
from gui.meeting_room import press
from gui.recording import RecordingActions
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui import shortcuts
from vidconf.gui.main_window import MainWindow
from vidconf.gui.shortcuts import BY_ID, TABLE, WindowKeys

Window = Callable[..., MainWindow]
CONTROL, ALT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.AltModifier


# ---- the table ----


def test_the_table_keeps_its_own_rules() -> None:
    for one in TABLE:
        assert shortcuts.fit(one.keys, held=one.held), one
        assert not one.also or shortcuts.fit(one.also), one
        assert f"shortcut.{one.id}" in words.table("vi")
        assert "Shift" not in one.keys + one.also
    assert len({one.id for one in TABLE}) == len(TABLE)


def test_no_two_do_on_the_same_keys() -> None:
    chords = [QKeySequence(chord) for one in TABLE for chord in filter(None, (one.keys, one.also))]
    assert all(a != b for a, b in combinations(chords, 2))


@pytest.mark.parametrize(
    "keys", ["D", "Space", "Shift+D", "Alt+Z", "Alt+D", "Ctrl+Shift+M", "Ctrl+Alt+Shift+M", "Ctrl", "Ctrl+C", "Ctrl+V", "Ctrl+X", "Ctrl+A", "Ctrl+Z", "Ctrl+Y", "Ctrl+Space",
             "Esc", "Tab", "Ctrl+Tab", "Shift+F5", "Ctrl+K, Ctrl+D", "", "nonsense", "Ctrl+"]
)  # fmt: skip
def test_keys_that_are_somebody_elses(keys: str) -> None:
    assert not shortcuts.fit(keys)


@pytest.mark.parametrize("keys", ["Ctrl+K", "Ctrl+Alt+C", "Ctrl+Alt+Z", "F5", "F12", "Ctrl+/", "Ctrl+1", "Ctrl+Return"])
def test_keys_that_may_be_had(keys: str) -> None:
    assert shortcuts.fit(keys)


def test_what_is_held_is_a_plain_key() -> None:
    assert all(shortcuts.fit(keys, held=True) for keys in ("Space", "F9", "Pause", "Ins"))
    assert not any(shortcuts.fit(keys, held=True) for keys in ("Ctrl+Space", "V", "Return", "Tab", "Esc", "Ctrl+F9"))


# ---- the user's own ----


def test_rebound_and_shown() -> None:
    shortcuts.load({"hand": "Ctrl+K"})
    assert (shortcuts.keys("hand"), shortcuts.holder("Ctrl+K"), shortcuts.holder("Ctrl+Alt+H")) == ("Ctrl+K", "hand", "")
    assert shortcuts.shown("talk") == "Phím cách"
    words.set_language("en")
    assert shortcuts.shown("talk") == "Space"
    shortcuts.load({})
    assert shortcuts.keys("hand") == "Ctrl+Alt+H"


def test_what_is_unknown_or_unfit_keeps_its_default() -> None:
    shortcuts.load({"hand": "Alt+Z", "microphone": "M", "talk": "Ctrl+D", "no_such": "Ctrl+K", "chat": "\x00"})
    assert {one.id: shortcuts.keys(one.id) for one in TABLE} == {one.id: one.keys for one in TABLE}


def test_two_never_share_their_keys() -> None:
    """Qt would do neither."""
    shortcuts.load({"hand": "Ctrl+D"})
    assert (shortcuts.keys("hand"), shortcuts.keys("microphone")) == ("Ctrl+Alt+H", "Ctrl+D")
    shortcuts.load({"hand": "Ctrl+K", "chat": "Ctrl+K"})
    assert shortcuts.keys("hand") != shortcuts.keys("chat")
    shortcuts.load({"hand": "Ctrl+/"})
    assert shortcuts.keys("hand") == "Ctrl+Alt+H", "the second key of help"
    shortcuts.load({"microphone": "Ctrl+E", "camera": "Ctrl+D"})
    assert (shortcuts.keys("microphone"), shortcuts.keys("camera")) == ("Ctrl+E", "Ctrl+D"), "exchanged"


@given(st.dictionaries(st.sampled_from([*BY_ID, "other"]), st.sampled_from([one.keys for one in TABLE] + ["Ctrl+K", "Ctrl+L", "F5", "X", "", "Ctrl+/"])))
def test_whatever_a_file_says_every_key_does_one_thing(custom: dict[str, str]) -> None:
    shortcuts.load(custom)
    chords = [QKeySequence(chord) for one in TABLE for chord in filter(None, (shortcuts.keys(one.id), one.also))]
    assert all(a != b for a, b in combinations(chords, 2))
    shortcuts.load({})


def test_only_what_differs_is_kept() -> None:
    assert shortcuts.custom_with("hand", "Ctrl+K") == {"hand": "Ctrl+K"}
    shortcuts.load({"hand": "Ctrl+K"})
    assert shortcuts.custom_with("chat", "Ctrl+L") == {"hand": "Ctrl+K", "chat": "Ctrl+L"}
    assert shortcuts.custom_with("hand", "Ctrl+Alt+H") == {}


# ---- in a window ----


@pytest.fixture
def keys(show: Any) -> tuple[QWidget, list[str]]:
    window = QWidget()
    layout = QVBoxLayout(window)
    layout.addWidget(QLineEdit())
    layout.addWidget(QPlainTextEdit())
    pressed: list[str] = []
    made = WindowKeys(window)
    made.pressed.connect(pressed.append)
    window.setProperty("keys", made)
    show(window, 300, 200)
    return window, pressed


@pytest.mark.parametrize("kind", [QLineEdit, QPlainTextEdit])
def test_they_act_while_one_types_and_type_nothing(keys: tuple[QWidget, list[str]], kind: type[QWidget]) -> None:
    window, pressed = keys
    field = window.findChild(kind)
    assert isinstance(field, QLineEdit | QPlainTextEdit)
    field.setFocus()
    for one in TABLE:
        if one.held:
            continue
        for chord in filter(None, (one.keys, one.also)):
            combination = QKeySequence(chord)[0]  # type: ignore[index]
            press(field, combination.key(), combination.keyboardModifiers())
            assert pressed == [one.id], f"{chord} in {kind.__name__}"
            pressed.clear()
    text = field.text() if isinstance(field, QLineEdit) else field.toPlainText()
    assert text == ""


def test_letters_and_spaces_are_letters_and_spaces(keys: tuple[QWidget, list[str]]) -> None:
    window, pressed = keys
    field = window.findChild(QLineEdit)
    assert field is not None
    field.setFocus()
    QTest.keyClicks(field, "m d e v y z")
    assert (field.text(), pressed) == ("m d e v y z", [])
    press(field, Qt.Key.Key_Z, ALT)
    assert pressed == [], "UniKey's own switch"


def test_rebound_keys_take_the_place_of_the_old(keys: tuple[QWidget, list[str]]) -> None:
    window, pressed = keys
    shortcuts.load({"hand": "Ctrl+K"})
    made = window.property("keys")
    assert isinstance(made, WindowKeys)
    made.bind()
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    press(window, Qt.Key.Key_H, CONTROL | ALT)
    press(window, Qt.Key.Key_K, CONTROL)
    assert pressed == ["hand"]


# ---- what they do ----


@pytest.mark.parametrize("where", ["prejoin", "lobby", "meeting"])
def test_microphone_and_camera_wherever_there_are_some(window: Window, actions: RecordingActions, where: str) -> None:
    state = {"prejoin": states.prejoin(), "lobby": states.in_lobby(), "meeting": states.in_meeting()}[where]
    made = window(state)
    actions.forget()
    on = state.sources["microphone"].state == "on"
    press(made, Qt.Key.Key_D, CONTROL)
    press(made, Qt.Key.Key_E, CONTROL)
    assert actions.named("set_microphone") == [{"on": not on}]
    assert actions.named("set_camera") == [{"on": state.sources["camera"].state != "on"}]


def test_where_there_is_no_meeting_they_do_nothing(window: Window, actions: RecordingActions) -> None:
    made = window(states.home())
    actions.forget()
    for id_ in ("microphone", "camera", "hand", "admit", "leave", "talk", "share", "pause_share", "people", "chat", "view", "toolbar", "next_pane"):
        made.on_shortcut(id_)
    assert actions.names() == []
    assert made._sheet is None


def test_the_hand_goes_up_and_down(window: Window, actions: RecordingActions) -> None:
    made = window(states.in_meeting("p3"))
    press(made, Qt.Key.Key_H, CONTROL | ALT)
    assert actions.names()[-1] == "raise_hand"
    made = window(states.in_meeting("p4"))
    press(made, Qt.Key.Key_H, CONTROL | ALT)
    assert actions.named("lower_hand") == [{"participants": ()}]


def test_the_longest_waiting_is_let_in(window: Window, actions: RecordingActions) -> None:
    made = window(states.in_meeting())
    press(made, Qt.Key.Key_Y, CONTROL | ALT)
    assert actions.named("admit") == [{"participants": ["p8"]}]
