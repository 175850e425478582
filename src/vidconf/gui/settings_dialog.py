"""Settings: a page a group; what policy holds is shown, greyed, "Cơ quan khóa", with its source. The window's thread.

Every change is asked of `actions.change_setting` (devices: of their own actions) and holds at once; there is nothing to save.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence, QResizeEvent
from PySide6.QtWidgets import QBoxLayout, QFrame, QHBoxLayout, QPushButton, QScrollArea, QStackedWidget, QWidget

from vidconf import words
from vidconf.client.closed import only_server
from vidconf.client.links import LinkError, parse_origin, shown_host
from vidconf.client.settings import Settings
from vidconf.client.settings_table import SETTINGS
from vidconf.client.state import ClientState
from vidconf.gui import shortcuts
from vidconf.gui.device_lists import DeviceLists, Level, devices_changed
from vidconf.gui.icons import icon
from vidconf.gui.own_sources import trouble
from vidconf.gui.page import StateSource
from vidconf.gui.parts import Choice, Item, Text, box, button, cell, check, chip, column, field, glyph, mark, pack, row, rule, scroll, stack
from vidconf.gui.preview import TRACK, Preview
from vidconf.gui.sheet import Sheet
from vidconf.gui.theme import T

VOICE = ("echo_cancellation", "noise_suppression", "gain_control", "dtx")
GROUPS = (("look", "dark_theme"), ("devices", "mic!"), ("window", "alert"), ("keyboard", "keyboard"), ("server", "server"))
NAV_WIDTH = 204
LINE_WIDTH = 400
"""Narrower, a line's parts stand below one another."""


class SettingsSheet(Sheet):
    """`group`: the page shown first."""

    turned = Signal(str)
    """Another group is shown."""

    def __init__(self, window: QWidget, store: StateSource, actions: Any, settings: Settings, group: str = "look") -> None:
        super().__init__(window, words.text("settings.title"), width=980, symbol="settings", fill=True)
        self.store, self.do, self.settings = store, actions, settings
        self.body.setContentsMargins(12, 4, 12, 12)
        self.lists, self.level = DeviceLists(actions), Level(28)
        self._why_microphone, self._why_camera = Text("", "small", wrap=True), Text("", "small", wrap=True)
        self._why_voice = Text("", "small", wrap=True)
        self.preview = Preview(actions, most_width=256)
        self.preview.setMinimumSize(192, 108)
        self._nav: dict[str, QPushButton] = {}
        self._pages = QStackedWidget()
        pages = {
            "look": self._look, "devices": self._devices, "window": self._window_page, "keyboard": self._keyboard, "server": self._server,
        }  # fmt: skip
        for name, symbol in GROUPS:
            self._nav[name] = button(words.text(f"settings.group.{name}"), "nav", symbol, do=lambda name=name: self.turn_to(name))  # type: ignore[misc]
            area = scroll(stack(*pages[name](), None, gap=10, margins=(4, 0, 10, 8)))
            self._pages.addWidget(area)
        locked = sum(settings.resolved(key).locked for key in SETTINGS)
        managed: list[Item] = [rule(), row(glyph("building", T["muted"]), (Text(words.text("settings.managed", count=locked), "small", wrap=True), 1))] if locked else []
        side = stack(*self._nav.values(), None, *managed, gap=4, margins=(0, 0, 0, 4))
        side.setFixedWidth(NAV_WIDTH)
        self.put((row(side, (self._pages, 1), gap=14), 1))
        self._unsubscribe = store.subscribe(self._on_state)
        self._stop_settings = settings.subscribe(self._on_setting)
        self.turn_to(group)
        self._show(store.state)

    def turn_to(self, group: str) -> None:
        names = [name for name, _ in GROUPS]
        self._pages.setCurrentIndex(names.index(group))
        for (name, symbol), made in zip(GROUPS, self._nav.values(), strict=True):
            mark(made, kind="here" if name == group else "nav")
            made.setIcon(icon(symbol, T["accent_text" if name == group else "text"]))
        self.turned.emit(group)

    def first_focus(self) -> QWidget | None:
        return next(made for (name, _), made in zip(GROUPS, self._nav.values(), strict=True) if made.property("kind") == "here")

    def done(self, result: int) -> None:
        self._unsubscribe()
        self._stop_settings()
        self.preview.let_go()
        super().done(result)

    # ---- lines
    def _line(self, name: str, help_: str, *items: Item, key: str = "") -> QWidget:
        label = column(None, Text(name, "strong", wrap=True), *([Text(help_, "small", wrap=True)] if help_ else []), None, gap=0)
        locked = self._lock(key)
        holder = cell(*items, *([None, locked] if locked is not None and not _stretches(items) else [locked] if locked is not None else []), gap=8, margins=(0, 0, 0, 0))
        return Line(label, holder)

    def _lock(self, key: str) -> QFrame | None:
        if not key or not self.settings.resolved(key).locked:
            return None
        made = chip(words.text("settings.locked"), "info", "lock_closed!")
        made.setToolTip(words.text("settings.locked.tip", source=self.settings.resolved(key).place))
        return made

    def _switch(self, key: str, text: str) -> QWidget:
        return check(
            text, self.settings.on(key), not self.settings.resolved(key).locked, name=f"{words.text('settings.' + key)}: {text}",
            do=lambda on: self.do.change_setting(key, on),
        )  # fmt: skip

    def _choice(self, key: str, symbol: str) -> Choice:
        made = Choice(symbol, words.text(f"settings.{key}"))
        made.show_items([(one, words.text(f"settings.{key}.{one}")) for one in SETTINGS[key].choices], self.settings.text(key))
        made.setEnabled(not self.settings.resolved(key).locked)
        made.chosen.connect(lambda id_: self.do.change_setting(key, id_))
        return made

    def _note(self, *keys: str) -> list[QWidget]:
        if not any(self.settings.resolved(key).locked for key in keys):
            return []
        text = Text(words.text("settings.locked.note"), wrap=True)
        return [box([glyph("info", T["info_text"]), (text, 1)], "info", vertical=False, gap=10, margins=(14, 8, 12, 8))]

    @staticmethod
    def _card(title: str, *items: Item) -> QFrame:
        return box([Text(title, "lead"), *items], gap=2, margins=(20, 12, 20, 10))

    # ---- groups
    def _look(self) -> list[QWidget]:
        return [
            *self._note("language", "theme"),
            self._card(
                words.text("settings.group.look"),
                self._line(words.text("settings.language"), "", (self._choice("language", "globe"), 1), key="language"),
                self._line(words.text("settings.theme"), "", (self._choice("theme", "dark_theme"), 1), key="theme"),
            ),
        ]

    def _devices(self) -> list[QWidget]:
        for key, made in (("microphone", self.lists.microphone), ("speaker", self.lists.speaker), ("camera", self.lists.camera)):
            made.setEnabled(not self.settings.resolved(key).locked)
        return [
            *self._note("microphone", "speaker", *VOICE, "camera", "stage_renderer", "start_muted", "camera_off_on_join"),
            self._card(
                words.text("settings.sound"),
                self._line(words.text("settings.microphone"), "", (column(self.lists.microphone, self._why_microphone, gap=2), 1), key="microphone"),
                self._line(words.text("settings.level"), words.text("settings.level.help"), (self.level.gauge, 1), self.level.word),
                *(self._line(words.text(f"settings.{key}"), "", self._switch(key, words.text(f"settings.{key}.on")), key=key) for key in VOICE),
                self._why_voice, rule(),
                self._line(words.text("settings.speaker"), "", (column(self.lists.speaker, row(self.lists.test, None), self.lists.speaker_trouble, gap=2), 1),
                           key="speaker"),
            ),
            self._card(
                words.text("settings.picture"),
                self._line(words.text("settings.camera"), "", (column(self.lists.camera, self._why_camera, gap=2), 1), key="camera"),
                cell(None, self.preview, margins=(0, 6, 0, 6)),
                self._line(words.text("settings.stage_renderer"), words.text("settings.stage_renderer.help"),
                           (self._choice("stage_renderer", "image"), 1), key="stage_renderer"),
            ),
            self._card(
                words.text("settings.on_join"),
                *(
                    self._line_switch(key, words.text(f"settings.{key}"))
                    for key in ("start_muted", "camera_off_on_join")
                ),
            ),
        ]  # fmt: skip

    def _line_switch(self, key: str, text: str) -> QWidget:
        locked = self._lock(key)
        return cell(self._switch(key, text), None, *([locked] if locked is not None else []), margins=(0, 0, 0, 0))

    def _window_page(self) -> list[QWidget]:
        keys = ("sounds", "close_to_tray", "autostart", "confirm_leave")
        lines = [self._line(words.text(f"settings.{key}"), words.text(f"settings.{key}.help") if words.has(f"settings.{key}.help") else "",
                            self._switch(key, words.text(f"settings.{key}.on")), key=key) for key in keys]  # fmt: skip
        return [*self._note(*keys), self._card(words.text("settings.group.window"), *lines)]

    def _keyboard(self) -> list[QWidget]:
        self._key_rows: dict[str, tuple[Text, QPushButton]] = {}
        self._key_trouble = Text("", "small", wrap=True)
        cards: list[QWidget] = []
        for group in shortcuts.GROUPS:
            lines = []
            for one in shortcuts.TABLE:
                if one.group == group:
                    shown = Text(shortcuts.shown(one.id), "code")
                    name = words.text(f"shortcut.{one.id}")
                    change = KeyButton(one.id, name)
                    change.pressed_keys.connect(self._rebind)
                    self._key_rows[one.id] = (shown, change)
                    lines.append(cell((Text(name, wrap=True), 1), shown, change, margins=(0, 1, 0, 1)))
            cards.append(self._card(words.text(f"shortcuts.group.{group}"), *lines))
        reset = button(words.text("settings.shortcut.reset"), "quiet", "arrow_sync", do=lambda: self.do.change_setting("shortcuts", {}))
        return [self._key_trouble, *cards, cell(reset, None, margins=(0, 0, 0, 0))]

    def _rebind(self, id_: str, keys: str) -> None:
        one = shortcuts.BY_ID[id_]
        written = shortcuts.written(keys)
        if not shortcuts.fit(keys, held=one.held):
            self._key_trouble.setText(words.text("settings.shortcut.unfit", keys=written))
        elif taken := shortcuts.holder(keys, but=id_):
            self._key_trouble.setText(words.text("settings.shortcut.taken", keys=written, action=words.text(f"shortcut.{taken}")))
        else:
            self._key_trouble.setText("")
            self.do.change_setting("shortcuts", shortcuts.custom_with(id_, keys))
        area = self._pages.currentWidget()
        if self._key_trouble.text() and isinstance(area, QScrollArea):
            holder = self._key_trouble.parentWidget()
            layout = holder.layout() if holder is not None else None
            assert layout is not None
            layout.activate()  # it has its height only now
            area.ensureWidgetVisible(self._key_trouble)

    def _server(self) -> list[QWidget]:
        locked = self.settings.resolved("server").locked or bool(only_server(self.settings))
        origin = self.settings.text("server")
        self._server_field = field(shown_host(origin) if origin else "", "server", words.text("settings.server.hint"), locked=locked, name=words.text("settings.server"))
        self._server_shown = self._server_field.text()
        self._server_field.editingFinished.connect(self._keep_server)
        self._server_wrong = Text("", "small", wrap=True)
        allowed = self.settings.items("allowed_servers")
        allowed_text = Text(", ".join(allowed) if allowed else words.text("settings.allowed_servers.any"), wrap=True)
        ignored = [Text(words.text("settings.problems", count=len(self.settings.problems)), "small", wrap=True)] if self.settings.problems else []
        return [
            *self._note("server", "allowed_servers", "keep_signed_in"),
            self._card(
                words.text("settings.group.server"),
                self._line(words.text("settings.server"), words.text("settings.server.help"),
                           (column(self._server_field, self._server_wrong, gap=2), 1), key="server"),
                self._line(words.text("settings.allowed_servers"), "", (allowed_text, 1), key="allowed_servers"),
                self._line(words.text("settings.keep_signed_in"), "", self._switch("keep_signed_in", words.text("settings.keep_signed_in.on")),
                           key="keep_signed_in"),
                *ignored,
            ),
        ]  # fmt: skip

    def _keep_server(self) -> None:
        typed = self._server_field.text().strip()
        if typed == self._server_shown or self._server_field.isReadOnly():
            return
        try:
            origin = parse_origin(typed) if typed else ""
        except LinkError:
            mark(self._server_field, wrong="true")
            self._server_wrong.setText(words.text("settings.server.wrong"))
            return
        mark(self._server_field, wrong="")
        self._server_wrong.setText("")
        self._server_shown = typed
        self.do.change_setting("server", origin)

    # ---- following
    def _on_setting(self, key: str) -> None:
        if key == "shortcuts":
            for id_, (shown, _) in self._key_rows.items():
                shown.setText(shortcuts.shown(id_))

    def _on_state(self, old: ClientState, new: ClientState) -> None:
        if devices_changed(old, new) or old.sources is not new.sources or old.tracks is not new.tracks:
            self._show(new)

    def _show(self, state: ClientState) -> None:
        self.lists.show(state)
        missing = str(state.stats.get("engine", {}).get("voice_missing", ""))
        self._why_voice.setText(words.text("settings.voice_missing", name=missing) if missing else "")
        self._why_voice.setVisible(bool(missing))
        microphone, camera = state.sources["microphone"], state.sources["camera"]
        self.level.show(microphone)
        for kind, source, label in (("microphone", microphone, self._why_microphone), ("camera", camera, self._why_camera)):
            wrong = trouble(kind, source)
            label.setText(" ".join(wrong) if wrong else "")
            label.setVisible(wrong is not None)
        self.preview.show_sources(microphone, camera)
        self.preview.show_person("", "", "" if camera.state == "on" else words.text("prejoin.camera_off"))
        self.preview.show_track(state.tracks.get(TRACK))


def _stretches(items: tuple[Item, ...]) -> bool:
    return any(isinstance(item, tuple) and item[1] for item in items)


class Line(QWidget):
    """What is set, and with what: beside it, or below it in a narrow window."""

    def __init__(self, label: QBoxLayout, holder: QWidget) -> None:
        super().__init__()
        self._row = pack(QHBoxLayout(self), (label, 2), (holder, 3), gap=16, margins=(0, 3, 0, 3))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        beside = event.size().width() >= LINE_WIDTH
        self._row.setDirection(QBoxLayout.Direction.LeftToRight if beside else QBoxLayout.Direction.TopToBottom)
        self._row.setSpacing(16 if beside else 2)


class KeyButton(QPushButton):
    """Pressed, it takes the next chord as the new shortcut; Esc or another click gives up."""

    pressed_keys = Signal(str, str)

    def __init__(self, id_: str, name: str) -> None:
        super().__init__(words.text("settings.shortcut.change"))
        self._id = id_
        self._listening = False
        self.setProperty("kind", "quiet")
        self.setAutoDefault(False)
        self.setAccessibleName(words.text("settings.shortcut.change_name", action=name))
        self.clicked.connect(lambda *_: self._listen(not self._listening))
        self.installEventFilter(self)

    def _listen(self, on: bool) -> None:
        self._listening = on
        self.setText(words.text("settings.shortcut.press" if on else "settings.shortcut.change"))
        mark(self, state="pending" if on else "")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if not self._listening:
            return False
        if event.type() == QEvent.Type.ShortcutOverride:
            event.accept()
            return True
        if event.type() == QEvent.Type.KeyPress and isinstance(event, QKeyEvent):
            self._take(event)
            return True
        if event.type() == QEvent.Type.FocusOut:
            self._listen(False)
        return False

    def _take(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Control, Qt.Key.Key_Shift, Qt.Key.Key_Alt, Qt.Key.Key_Meta, Qt.Key.Key_AltGr):
            return
        self._listen(False)
        if event.key() != Qt.Key.Key_Escape:
            chord = QKeySequence(event.keyCombination())
            self.pressed_keys.emit(self._id, chord.toString(QKeySequence.SequenceFormat.PortableText))
