"""The keyboard: one table of what keys do, rebindable, and the keys of one window. The window's thread.

Rules (look.md, and what Vietnamese input methods need): no bare letters, nothing with Ctrl+Shift, never Alt+Z; keys that are
plain (Space, F-keys) never act while a text field has the focus, except F-keys, which type nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QWidget

from vidconf import words

Group = Literal["own", "meeting", "window"]
GROUPS: tuple[Group, ...] = ("own", "meeting", "window")


@dataclass(frozen=True, slots=True)
class Shortcut:
    """`id` names it in settings and words (`shortcut.<id>`); `also`: a second key that is not rebound."""

    id: str
    keys: str
    group: Group
    also: str = ""
    held: bool = False
    """Acts while it is held (push to talk): a plain key, handled by the main window."""


TABLE: tuple[Shortcut, ...] = (
    Shortcut("microphone", "Ctrl+D", "own"),
    Shortcut("camera", "Ctrl+E", "own"),
    Shortcut("talk", "Space", "own", held=True),
    Shortcut("hand", "Ctrl+Alt+H", "own"),
    Shortcut("share", "Ctrl+Alt+S", "own"),
    Shortcut("pause_share", "Ctrl+Alt+B", "own"),
    Shortcut("people", "Ctrl+Alt+P", "meeting"),
    Shortcut("chat", "Ctrl+Alt+C", "meeting"),
    Shortcut("admit", "Ctrl+Alt+Y", "meeting"),
    Shortcut("view", "Ctrl+Alt+V", "meeting"),
    Shortcut("statistics", "Ctrl+Alt+I", "meeting"),
    Shortcut("leave", "Ctrl+W", "meeting"),
    Shortcut("full_screen", "F11", "window"),
    Shortcut("next_pane", "F6", "window"),
    Shortcut("toolbar", "F2", "window"),
    Shortcut("settings", "Ctrl+,", "window"),
    Shortcut("help", "F1", "window", also="Ctrl+/"),
)
BY_ID: Mapping[str, Shortcut] = {one.id: one for one in TABLE}

_bound: dict[str, str] = {one.id: one.keys for one in TABLE}


def load(custom: Mapping[str, str]) -> None:
    """Take the user's own keys; what is unknown, unfit or taken keeps its default."""
    for one in TABLE:
        wanted = custom.get(one.id, "")
        own = bool(wanted) and QKeySequence(wanted) != QKeySequence(one.also) and fit(wanted, held=one.held)
        _bound[one.id] = wanted if own else one.keys
    # Two on the same keys would both be silent: the user's own gives way to what the table says (a newer version may say more).
    while doubled := next((one for one in TABLE if _bound[one.id] != one.keys and holder(_bound[one.id], but=one.id)), None):
        _bound[doubled.id] = doubled.keys


def keys(id_: str) -> str:
    """As kept in settings: `Ctrl+D`."""
    return _bound[id_]


def shown(id_: str) -> str:
    """As the system writes it, for tooltips and lists."""
    return written(_bound[id_])


def written(keys_: str) -> str:
    if keys_ == "Space":
        return words.text("shortcuts.space")
    return QKeySequence(keys_).toString(QKeySequence.SequenceFormat.NativeText)


def fit(keys_: str, *, held: bool = False) -> bool:
    """Whether the rules above allow it: one chord, Ctrl (or Ctrl+Alt) with something, or a function key; held: a plain key."""
    sequence = QKeySequence(keys_)
    if sequence.count() != 1:
        return False
    chord = sequence[0]  # type: ignore[index]
    key, modifiers = chord.key(), chord.keyboardModifiers()
    function_key = Qt.Key.Key_F1 <= key <= Qt.Key.Key_F24
    if held:
        return modifiers == Qt.KeyboardModifier.NoModifier and (function_key or key in (Qt.Key.Key_Space, Qt.Key.Key_Pause, Qt.Key.Key_Insert))
    if key in (Qt.Key.Key_Control, Qt.Key.Key_Shift, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_Tab, Qt.Key.Key_Escape, Qt.Key.Key_unknown):
        return False
    control = bool(modifiers & Qt.KeyboardModifier.ControlModifier)
    if modifiers & Qt.KeyboardModifier.ShiftModifier and control:
        return False
    if control and key in (Qt.Key.Key_A, Qt.Key.Key_C, Qt.Key.Key_V, Qt.Key.Key_X, Qt.Key.Key_Z, Qt.Key.Key_Y) and not modifiers & Qt.KeyboardModifier.AltModifier:
        return False  # writing needs them
    if control and key == Qt.Key.Key_Space:
        return False  # input methods are switched by it
    return control or (function_key and modifiers == Qt.KeyboardModifier.NoModifier)


def holder(keys_: str, but: str = "") -> str:
    """Id of what these keys do now, "" when nothing."""
    wanted = QKeySequence(keys_)
    for one in TABLE:
        if one.id != but and (QKeySequence(_bound[one.id]) == wanted or (one.also and QKeySequence(one.also) == wanted)):
            return one.id
    return ""


def custom_with(id_: str, keys_: str) -> dict[str, str]:
    """What settings are to keep when `id_` gets `keys_`: only what differs from the table."""
    bound = {**_bound, id_: keys_}
    return {one.id: bound[one.id] for one in TABLE if bound[one.id] != one.keys}


class WindowKeys(QObject):
    """The shortcuts of one window. `pressed(id)`; held keys are the window's own business (`is_talk`)."""

    pressed = Signal(str)

    def __init__(self, window: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._made: list[QShortcut] = []
        self.bind()

    def bind(self) -> None:
        """Again after `load`."""
        for old in self._made:
            old.setEnabled(False)
            old.deleteLater()
        self._made = []
        for one in TABLE:
            if one.held:
                continue
            for chord in filter(None, (_bound[one.id], one.also)):
                made = QShortcut(QKeySequence(chord), self._window)
                made.setAutoRepeat(False)
                made.setContext(Qt.ShortcutContext.WindowShortcut)
                made.activated.connect(lambda id_=one.id: self.pressed.emit(id_))
                self._made.append(made)

    @staticmethod
    def is_talk(key: int, modifiers: Qt.KeyboardModifier) -> bool:
        """Whether this key is the one that is held to talk."""
        sequence = QKeySequence(_bound["talk"])
        return modifiers == Qt.KeyboardModifier.NoModifier and sequence.count() == 1 and sequence[0].key() == key  # type: ignore[index]
