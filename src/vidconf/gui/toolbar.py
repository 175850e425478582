"""The bar at the foot of the meeting: left what is mine, right what is ours, last and red the way out. The window's thread.

Each button says its state in words under its icon; the tooltip says what a click does, and its key. Where the window is narrow,
buttons move into "more", always in the same order (`DROPS`); microphone, camera, hand, people and leaving never do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QKeyEvent, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QMenu, QSizePolicy, QToolButton, QWidget

from vidconf import words
from vidconf.client.state import ClientState, LocalSource
from vidconf.gui import shortcuts
from vidconf.gui.own_sources import Look, OwnSource, look, wanted_on
from vidconf.gui.painted import smooth
from vidconf.gui.panels.moderation import fill_permissions, leads, mute_all
from vidconf.gui.panels.person_menu import add, add_menu, make_menu, popup
from vidconf.gui.parts import enter_presses, set_tool, tool
from vidconf.gui.theme import BOLD, SIZES, T, font
from vidconf.meeting import messages as m

HEIGHT = 66
SIDE, GAP, ARROW = 12, 4, 36
LEAST_WIDTH = 72
DROPS = ("devices", "share", "chat")
"""What moves into "more", the first first."""
MOST = 99
"""A badge says no more than this."""


class Badge(QWidget):
    """A count over a button's upper right corner; the button's accessible name says it in words."""

    def __init__(self, button: QToolButton) -> None:
        super().__init__(button)
        self._button = button
        self._text = ""
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hide()

    def show_count(self, count: int) -> None:
        text = "" if count <= 0 else str(count) if count <= MOST else f"{MOST}+"
        if text != self._text:
            self._text = text
            self.place()
            self.update()
        self.setVisible(bool(text))

    def place(self) -> None:
        button = self._button
        width = 24 + 8 * max(0, len(self._text) - 2)
        self.setGeometry(QRect(min(button.width() - width - 2, button.width() // 2 + 6), 1, width, 20))

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = smooth(self)
        painter.setPen(T["on_hand"])
        painter.setBrush(T["hand"])
        painter.drawRoundedRect(self.rect().adjusted(0, 0, -1, -1), 9, 9)
        painter.setFont(font(13, BOLD))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, self._text)


class BarButton(QToolButton):
    """Text under the icon; as wide as the longest of its words, so that nothing jumps while states change."""

    def __init__(self, do: Callable[[], object], *said: str) -> None:
        super().__init__()
        bold = QFontMetrics(font(SIZES["small"], BOLD))
        self.wide = max(LEAST_WIDTH, max(bold.horizontalAdvance(words.text(key)) for key in said) + 22)
        self.setProperty("bar", "true")
        self.setIconSize(QSize(24, 24))
        self.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.clicked.connect(lambda *_: do())

    def sizeHint(self) -> QSize:
        return QSize(self.wide, 56)

    def minimumSizeHint(self) -> QSize:
        return self.sizeHint()


class Toolbar(QFrame):
    """`asked`: `people`, `chat`, `microphone_devices`, `camera_devices`, `share`, `settings`, `shortcuts`, `statistics`,
    `full_screen`, `leave`, `copy_link`."""

    asked = Signal(str)

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.do = actions
        self._state = ClientState()
        self._open = ""
        self._dropped: tuple[str, ...] = ()
        self.setProperty("bar", "true")
        self.setAccessibleName(words.text("toolbar.name"))
        self.setFixedHeight(HEIGHT)
        self.microphone = self._own("microphone")
        self.microphone_devices = self._arrow("microphone_devices", "toolbar.microphone_devices")
        self.camera = self._own("camera")
        self.camera_devices = self._arrow("camera_devices", "toolbar.camera_devices")
        self.share = BarButton(lambda: self.asked.emit("share"), "toolbar.share", "toolbar.share.stop", "toolbar.share.starting")
        self.hand = BarButton(self._on_hand, "hand.raise", "hand.lower")
        self.people = BarButton(lambda: self.asked.emit("people"), "toolbar.people")
        self.chat = BarButton(lambda: self.asked.emit("chat"), "toolbar.chat")
        self.more = BarButton(self._on_more, "toolbar.more")
        self.leave = BarButton(lambda: self.asked.emit("leave"), "toolbar.leave")
        set_tool(self.more, "more_horizontal", words.text("toolbar.more"), "", words.text("toolbar.more.tip"))
        set_tool(self.leave, "call_end!", words.text("toolbar.leave"), "leave", words.text("toolbar.leave.tip", key=shortcuts.shown("leave")))
        self._people_badge, self._chat_badge, self._hand_badge = Badge(self.people), Badge(self.chat), Badge(self.hand)
        self._buttons = {
            "microphone": self.microphone, "microphone_devices": self.microphone_devices, "camera": self.camera,
            "camera_devices": self.camera_devices, "share": self.share, "hand": self.hand, "people": self.people, "chat": self.chat,
            "more": self.more, "leave": self.leave,
        }  # fmt: skip
        layout = QHBoxLayout(self)
        layout.setContentsMargins(SIDE, 5, SIDE, 5)
        layout.setSpacing(GAP)
        for name, made in self._buttons.items():
            if name == "people":
                layout.addStretch(1)
            layout.addWidget(made)
        enter_presses(self)
        self.show_state(None, self._state)

    def _own(self, kind: OwnSource) -> QToolButton:
        word = "mic" if kind == "microphone" else "camera"
        return BarButton(lambda: self._on_own(kind), *(f"{word}.{state}" for state in ("on", "off", "turning_on", "turning_off")))

    def _arrow(self, ask: str, key: str) -> QToolButton:
        made = tool("chevron_up", tip=words.text(key), do=lambda: self.asked.emit(ask))
        made.setFixedSize(ARROW, 52)
        return made

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        self._state = new
        meeting_same = old is not None and old.meeting is new.meeting and old.me == new.me and old.pending == new.pending
        closed_same = old is not None and old.closed == new.closed
        if not closed_same:
            self._drop(again=True)
        if old is None or not meeting_same or not closed_same or _states(old) != _states(new):
            self._show_own(new)
            self._show_share(new)
        if not meeting_same:
            self._show_hand(new)
            self._show_people(new)
        if old is None or old.unread_chat != new.unread_chat:
            self._show_chat(new)

    def show_open(self, panel: str) -> None:
        """Which panel is open: `people`, `chat` or ""."""
        if panel != self._open:
            self._open = panel
            self._show_people(self._state)
            self._show_chat(self._state)

    def _show_own(self, state: ClientState) -> None:
        for kind, made in (("microphone", self.microphone), ("camera", self.camera)):
            source = state.sources.get(kind, LocalSource())
            shown = look(kind, source, shortcuts.shown(kind))  # type: ignore[arg-type]
            set_tool(made, *self._barred(kind, source, shown, state))

    def _barred(self, kind: str, source: LocalSource, shown: Look, state: ClientState) -> Look:
        """Off, and the rules forbid to switch on: greyed, and the tooltip says why."""
        if state.phase != "meeting" or shown.state != "off":
            return shown
        refusal = self.do.can(m.SetSource(kind, "on"))  # type: ignore[arg-type]
        return shown if refusal is None else shown._replace(state="barred", tip=words.refusal(refusal.code, refusal.detail))

    def _show_share(self, state: ClientState) -> None:
        source, key = state.sources.get("screen_share", LocalSource()), shortcuts.shown("share")
        if source.state != "off":
            set_tool(self.share, "share_screen_stop", words.text("toolbar.share.stop"), "live", words.text("toolbar.share.stop.tip", key=key))
        elif source.pending and source.wanted != "off":
            set_tool(self.share, "share_screen", words.text("toolbar.share.starting"), "pending", words.text("toolbar.share.stop.tip", key=key))
        else:
            refusal = self.do.can(m.SetSource("screen_share", "on")) if state.phase == "meeting" else None
            tip = words.text("toolbar.share.tip", key=key) if refusal is None else words.refusal(refusal.code, refusal.detail)
            set_tool(self.share, "share_screen", words.text("toolbar.share"), "" if refusal is None else "barred", tip)

    def _show_hand(self, state: ClientState) -> None:
        key = shortcuts.shown("hand")
        number = state.meeting.hand_position(state.me) if state.meeting is not None and state.me is not None else None
        asked = any((name, "") in state.pending for name in ("raise_hand", "lower_hand"))
        if number is None:
            set_tool(self.hand, "hand", words.text("hand.raise"), "pending" if asked else "", words.text("hand.raise.tip", key=key))
        else:
            tip = words.text("hand.lower.tip", key=key, number=number)
            set_tool(self.hand, "hand!", words.text("hand.lower"), "pending" if asked else "hand", tip)
        self._hand_badge.show_count(number or 0)

    def _show_people(self, state: ClientState) -> None:
        meeting = state.meeting
        knocks = sum(1 for _ in meeting.knocking()) if meeting is not None and leads(state) else 0
        hands = len(meeting.hands) if meeting is not None else 0
        opened = self._open == "people"
        said = [words.text("toolbar.people")]
        if knocks:
            said.append(words.text("toolbar.people.knocks", count=knocks))
        if hands:
            said.append(words.text("toolbar.people.hands", count=hands))
        tip = words.text("toolbar.people.tip", key=shortcuts.shown("people"))
        set_tool(self.people, "people!" if opened else "people", words.text("toolbar.people"), "open" if opened else "", tip, name=". ".join([*said, tip]))
        self._people_badge.show_count(knocks + hands)

    def _show_chat(self, state: ClientState) -> None:
        opened, unread = self._open == "chat", state.unread_chat
        said = [words.text("toolbar.chat"), *([words.text("toolbar.chat.unread", count=unread)] if unread else [])]
        tip = words.text("toolbar.chat.tip", key=shortcuts.shown("chat"))
        set_tool(self.chat, "chat!" if opened else "chat", words.text("toolbar.chat"), "open" if opened else "", tip, name=". ".join([*said, tip]))
        self._chat_badge.show_count(unread)
        if "chat" in self._dropped:
            set_tool(self.more, "more_horizontal", words.text("toolbar.more"), "", words.text("toolbar.more.tip"), name=". ".join([words.text("toolbar.more"), *said[1:]]))

    # ---- clicks
    def _on_own(self, kind: OwnSource) -> None:
        on = not wanted_on(self._state.sources.get(kind, LocalSource()))
        if kind == "microphone":
            self.do.set_microphone(on)
        else:
            self.do.set_camera(on)

    def _on_hand(self) -> None:
        meeting, me = self._state.meeting, self._state.me
        if meeting is None or me is None:
            return
        if meeting.hand_position(me) is None:
            self.do.raise_hand()
        else:
            self.do.lower_hand()

    def _on_more(self) -> None:
        menu = make_menu(self, words.text("toolbar.more"))
        self._fill_more(menu)
        popup(menu, self.more.mapToGlobal(QPoint(0, -4)), above=True)

    def _fill_more(self, menu: QMenu) -> None:
        ask = self.asked.emit
        if "chat" in self._dropped and "chat" not in self._state.closed:
            unread = self._state.unread_chat
            text = words.text("toolbar.chat_unread", count=unread) if unread else words.text("toolbar.chat")
            add(menu, text, "chat", lambda: ask("chat"))
        if "share" in self._dropped:
            add(menu, self.share.text(), "share_screen", lambda: ask("share"))
        if "devices" in self._dropped:
            add(menu, words.text("devices.sound"), "mic", lambda: ask("microphone_devices"))
            add(menu, words.text("devices.picture"), "video", lambda: ask("camera_devices"))
        menu.addSeparator()
        if leads(self._state) and self._state.meeting is not None:
            locked = self._state.meeting.locked
            add(menu, words.text("moderation.mute_all"), "mic_off", lambda: mute_all(self._state, self.do))
            add(
                menu, words.text("moderation.unlock_room" if locked else "moderation.lock_room"), "lock_open" if locked else "lock_closed",
                lambda: self.do.lock(not locked),
            )  # fmt: skip
            fill_permissions(add_menu(menu, words.text("moderation.more"), "shield"), self._state, self.do)
            menu.addSeparator()
        add(menu, words.text("toolbar.copy_link"), "link", lambda: ask("copy_link"))
        add(menu, words.text("toolbar.statistics", key=shortcuts.shown("statistics")), "network", lambda: ask("statistics"))
        add(menu, words.text("toolbar.full_screen", key=shortcuts.shown("full_screen")), "full_screen", lambda: ask("full_screen"))
        add(menu, words.text("toolbar.shortcuts", key=shortcuts.shown("help")), "keyboard", lambda: ask("shortcuts"))
        add(menu, words.text("toolbar.settings", key=shortcuts.shown("settings")), "settings", lambda: ask("settings"))

    # ---- room
    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._drop()
        for badge in (self._people_badge, self._chat_badge, self._hand_badge):
            badge.place()

    def minimumSizeHint(self) -> QSize:
        return QSize(320, HEIGHT)

    @property
    def dropped(self) -> tuple[str, ...]:
        """What stands in "more" for want of room."""
        return self._dropped

    def anchor(self, name: str) -> QToolButton:
        """The button that stands for `name` now: its own, or "more"."""
        made = self._buttons[name]
        return self.more if made.isHidden() else made

    def _needed(self, dropped: tuple[str, ...]) -> int:
        hidden = self._hidden(dropped)
        widths = [made.sizeHint().width() if isinstance(made, BarButton) else ARROW for name, made in self._buttons.items() if name not in hidden]
        return sum(widths) + GAP * len(widths) + 2 * SIDE

    def _hidden(self, dropped: tuple[str, ...]) -> set[str]:
        names = {*dropped, *({"chat"} & self._state.closed)}
        if "devices" in names:
            names = names - {"devices"} | {"microphone_devices", "camera_devices"}
        return names

    def _drop(self, *, again: bool = False) -> None:
        dropped: tuple[str, ...] = ()
        for n in range(len(DROPS) + 1):
            dropped = DROPS[:n]
            if self._needed(dropped) <= self.width():
                break
        if dropped == self._dropped and not again:
            return
        self._dropped = dropped
        hidden = self._hidden(dropped)
        for name, made in self._buttons.items():
            if made.isHidden() != (name in hidden):
                if made.hasFocus():
                    self.more.setFocus(Qt.FocusReason.OtherFocusReason)
                made.setVisible(name not in hidden)
        self._show_chat(self._state)

    def first_focus(self) -> QWidget:
        return self.microphone

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Left and right go along the bar."""
        if event.key() in (Qt.Key.Key_Left, Qt.Key.Key_Right) and event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.NoModifier:
            row = [made for made in self._buttons.values() if not made.isHidden()]
            held = next((n for n, made in enumerate(row) if made.hasFocus()), None)
            if held is not None:
                row[(held + (1 if event.key() == Qt.Key.Key_Right else -1)) % len(row)].setFocus(Qt.FocusReason.TabFocusReason)
                return
        super().keyPressEvent(event)


def _states(state: ClientState) -> list[tuple[str, str, bool]]:
    """Of one's own sources all but the level, which changes ten times a second."""
    return [(source.state, source.wanted, source.waits) for source in state.sources.values()]
