"""The rows of the people panel: a heading with what can be done for all, who knocks, whose hand is up, who is there.

The window's thread. A row knows nothing but the value it shows; what is clicked goes to the panel by `RowAsks`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Protocol

from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent, QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from vidconf import words
from vidconf.gui.painted import Avatar, initials
from vidconf.gui.panels.people_list import Asking, HandUp, Heading, Knocker, Note, Place, Present
from vidconf.gui.panels.row import Row
from vidconf.gui.parts import (
    Text,
    button,
    column,
    enter_presses,
    field,
    glyph,
    mark,
    pack,
    row,
    rule,
    set_button,
    set_glyph,
    set_tool,
    stack,
    tool,
)
from vidconf.gui.theme import T

EDGE = 14
"""Margin left and right, inside the list."""
NAME_LIMIT, REASON_LIMIT = 64, 500


class RowAsks(Protocol):
    """What rows ask of the panel."""

    def do_for_all(self, does: str) -> None: ...

    def admit(self, id_: str) -> None: ...

    def deny(self, id_: str, reason: str) -> None: ...

    def call(self, id_: str) -> None: ...

    def lower_hand(self, id_: str) -> None: ...

    def hand_menu(self, id_: str, button: QWidget) -> None: ...

    def person_menu(self, id_: str, button: QWidget) -> None: ...

    def ask(self, key: Place, asking: Asking | None) -> None:
        """Open the question in a row; None: close it."""

    def remove(self, id_: str, ban: bool) -> None: ...

    def rename(self, id_: str, name: str) -> None: ...

    def draft(self, key: Place) -> str:
        """What was typed into a row's field, while the row may be another's."""

    def keep_draft(self, key: Place, text: str) -> None: ...


def _face() -> Avatar:
    return Avatar("", 32)


def _put_face(face: Avatar, name: str) -> None:
    if face.initials != (wanted := initials(name)):
        face.initials = wanted
        face.update()


class HeadingRow(Row):
    def __init__(self, asks: RowAsks) -> None:
        super().__init__()
        self._text = Text("", "strong")
        self.action = button("", "quiet", do=lambda: asks.do_for_all(self._does))
        self._does = ""
        self._rule = rule()
        pack(QVBoxLayout(self), self._rule, row((self._text, 1), self.action, gap=6, margins=(EDGE, 2, 6, 0)), gap=0)
        self.setMinimumHeight(40)

    def show_value(self, value: Heading) -> None:
        self._text.setText(value.text)
        self._does = "" if value.pending else value.does
        set_button(self.action, value.action, state="pending" if value.pending else "")
        self.action.setVisible(bool(value.action))
        self._rule.setVisible(not value.first)

    def controls(self) -> list[QWidget]:
        return [self.action] if not self.action.isHidden() else []


class NoteRow(Row):
    def __init__(self) -> None:
        super().__init__()
        self._text = Text("", "muted", wrap=True)
        pack(QVBoxLayout(self), self._text, margins=(EDGE, 4, EDGE, 8))

    def show_value(self, value: Note) -> None:
        self._text.setText(value.text)

    @staticmethod
    def shape(value: Note) -> Hashable:
        return value.text


class Question(QWidget):
    """Asked in place of a dialog: words, perhaps a field, the answer and the way back."""

    def __init__(self, limit: int, decide: Any, back: Any, typed: Any) -> None:
        super().__init__()
        self._decide, self._back = decide, back
        self.words = Text("", wrap=True)
        self.field = field()
        self.field.setMaxLength(limit)
        self.field.returnPressed.connect(lambda: self._decide())
        self.field.textEdited.connect(typed)
        self.yes = button("", "risky", do=lambda: self._decide())
        self.no = button(words.text("common.cancel"), do=lambda: self._back())
        pack(QVBoxLayout(self), self.words, self.field, row(None, self.no, self.yes, gap=8), gap=6, margins=(0, 2, 0, 4))

    def ask(self, text: str, yes: str, kind: str, hint: str | None, draft: str) -> None:
        """`hint` None: no field."""
        self.words.setText(text)
        self.words.setVisible(bool(text))
        self.field.setVisible(hint is not None)
        if hint is not None:
            self.field.setPlaceholderText(hint)
            self.field.setAccessibleName(hint)
            if self.field.text() != draft:
                self.field.setText(draft)
        mark(self.yes, kind=kind)
        set_button(self.yes, yes, name=f"{text} {yes}" if text else yes)

    def controls(self) -> list[QWidget]:
        return [*([] if self.field.isHidden() else [self.field]), self.no, self.yes]

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape:
            self._back()
        else:
            super().keyPressEvent(event)


class _Warning(QWidget):
    """A line that asks to look twice."""

    def __init__(self) -> None:
        super().__init__()
        self.text = mark(Text("", wrap=True), ink="warn")
        pack(QHBoxLayout(self), column(1, glyph("warning!", T["warn_text"], 16), None, gap=0), (self.text, 1), gap=6, margins=(0, 1, 6, 1))


class KnockerRow(Row):
    def __init__(self, asks: RowAsks) -> None:
        super().__init__()
        self._asks = asks
        self._id, self._pending = "", ""
        self._face = _face()
        self._name, self._second = Text("", "strong", elide=True), Text("", "small", unit=True)
        self._third = Text("", "small", wrap=True)
        self._warnings = [_Warning(), _Warning()]
        self.admit = button("", "accent", do=self._on_admit)
        self.deny = tool("dismiss_circle", do=self._on_deny)
        self.question = Question(REASON_LIMIT, self._on_denied, self._on_back, lambda text: asks.keep_draft(("lobby", self._id), text))
        about = column(row((column(self._name, self._second, gap=0), 1), self.admit, self.deny, gap=6), self._third, *self._warnings, self.question, gap=2)
        pack(QHBoxLayout(self), column(6, self._face, None, gap=0), (about, 1), gap=8, margins=(EDGE, 3, 6, 5))
        enter_presses(self)

    def show_value(self, value: Knocker) -> None:
        self._id, self._pending = value.id, value.pending
        _put_face(self._face, value.name)
        self._name.setText(value.name)
        self._second.set_unit(value.position, value.unit)
        self._third.setText(value.third)
        self._third.setVisible(bool(value.third))
        for n, line in enumerate(self._warnings):
            line.setVisible(n < len(value.warnings))
            if n < len(value.warnings):
                line.text.setText(value.warnings[n])
        waits = value.pending == "admit"
        set_button(
            self.admit, words.text("people.admitting" if waits else "people.admit"), state="pending" if value.pending else "",
            name=words.text("people.admit_one", name=value.says),
        )  # fmt: skip
        tip = words.text("people.deny_one", name=value.name)
        set_tool(self.deny, "dismiss_circle", "", "pending" if value.pending == "deny" else "", tip, name=tip)
        self.question.setVisible(value.asking)
        if value.asking:
            self.question.ask(
                words.text("people.deny_question", name=value.name), words.text("people.deny"), "risky", words.text("people.deny_reason"),
                self._asks.draft(("lobby", value.id)),
            )  # fmt: skip

    def _on_admit(self) -> None:
        if not self._pending:
            self._asks.admit(self._id)

    def _on_deny(self) -> None:
        if not self._pending:
            self._asks.ask(("lobby", self._id), None if not self.question.isHidden() else "deny")

    def _on_denied(self) -> None:
        self._asks.deny(self._id, self.question.field.text().strip())

    def _on_back(self) -> None:
        self._asks.ask(("lobby", self._id), None)

    def controls(self) -> list[QWidget]:
        return [self.admit, self.deny, *([] if self.question.isHidden() else self.question.controls())]

    @staticmethod
    def shape(value: Knocker) -> Hashable:
        return bool(value.third) and value.third, value.warnings, value.asking, value.name if value.asking else ""


class HandRow(Row):
    def __init__(self, asks: RowAsks) -> None:
        super().__init__()
        self._id, self._waits = "", False
        self._number = Text("", "lead")
        self._number.setMinimumWidth(20)
        self._name, self._second = Text("", "strong", elide=True), Text("", "small", unit=True)
        self.call = button("", do=lambda: None if self._waits else asks.call(self._id))
        self.down = tool("hand_down", do=lambda: asks.lower_hand(self._id))
        self.more = tool("more_vertical", do=lambda: asks.hand_menu(self._id, self.more))
        about = column(self._name, self._second, gap=0)
        pack(QHBoxLayout(self), self._number, (about, 1), self.call, self.down, self.more, gap=4, margins=(EDGE, 3, 6, 3))
        enter_presses(self)

    def show_value(self, value: HandUp) -> None:
        self._id, self._waits = value.id, value.calling
        self._number.setText(str(value.number))
        self._name.setText(value.name)
        self._second.setText(value.second)
        mark(self.call, kind="accent" if value.first else "")
        set_button(
            self.call, words.text("people.call"), state="pending" if value.calling else "", name=words.text("people.call_one", name=value.name, number=value.number)
        )
        tip = words.text("people.lower_own" if value.mine else "people.lower_one", name=value.name)
        set_tool(self.down, "hand_down", "", "pending" if value.lowering else "", tip, name=tip)
        set_tool(self.more, "more_vertical", "", "", words.text("people.hand_more", name=value.name))
        self.call.setVisible(value.may_call)
        self.more.setVisible(value.may_call)
        self.down.setVisible(value.may_call or value.mine)

    def controls(self) -> list[QWidget]:
        return [one for one in (self.call, self.down, self.more) if not one.isHidden()]


class PresentRow(Row):
    """`⋮`, the right button of the mouse or the menu key open what can be done about somebody."""

    def __init__(self, asks: RowAsks) -> None:
        super().__init__()
        self._asks, self._id = asks, ""
        self._asking: Asking | None = None
        self._looks: dict[str, tuple[str, str]] = {}
        self._face = _face()
        self._name, self._second = Text("", "strong", elide=True), Text("", "small", unit=True)
        self._warning, self._share = glyph("warning!", T["warn_text"], 18), glyph("share_screen", T["accent"])
        self._mic, self._camera = glyph("mic_off", T["muted"]), glyph("video_off", T["muted"])
        self.more = tool("more_vertical", do=lambda: asks.person_menu(self._id, self.more))
        self.question = Question(NAME_LIMIT, self._on_decided, self._on_back, lambda text: asks.keep_draft(("room", self._id), text))
        about = column(self._name, self._second, gap=0)
        signs = row(self._warning, self._share, self._mic, self._camera, gap=8)
        line = row(self._face, (about, 1), signs, self.more, gap=8, margins=(0, 0, 0, 0))
        pack(QVBoxLayout(self), line, stack(self.question, margins=(40, 0, 8, 0)), gap=0, margins=(EDGE, 3, 6, 3))
        enter_presses(self)

    def show_value(self, value: Present) -> None:
        self._id, self._asking = value.id, value.asking
        _put_face(self._face, value.face)
        self._name.setText(value.name)
        mark(self._name, role="muted" if value.faded else "strong")
        self._second.setText(value.second)
        sign, ink = {"on": ("mic!", "accent"), "speaking": ("speaking", "good_text"), "off": ("mic_off", "muted")}[value.microphone]
        self._look("mic", self._mic, sign, ink)
        self._look("camera", self._camera, "video" if value.camera else "video_off", "muted")
        self._share.setVisible(value.sharing)
        self._warning.setVisible(bool(value.warning))
        self._warning.setToolTip(value.warning)
        if value.says != self.accessibleName():
            self.setAccessibleName(value.says)
            set_tool(self.more, "more_vertical", "", "", words.text("people.more", name=value.name), name=words.text("people.more", name=value.says))
        self._show_question(value)

    def _look(self, which: str, label: Any, sign: str, ink: str) -> None:
        if self._looks.get(which) != (sign, ink):
            self._looks[which] = (sign, ink)
            set_glyph(label, sign, T[ink])

    def _show_question(self, value: Present) -> None:
        holder = self.question.parentWidget()
        if holder is not None:
            holder.setVisible(value.asking is not None)
        match value.asking:
            case "remove":
                self.question.ask(words.text("people.remove_question", name=value.name), words.text("people.remove"), "danger", None, "")
            case "ban":
                self.question.ask(words.text("people.ban_question", name=value.name), words.text("people.ban"), "danger", None, "")
            case "rename":
                draft = self._asks.draft(("room", value.id))
                self.question.ask(words.text("people.rename_question"), words.text("people.rename"), "accent", words.text("people.rename_hint"), draft)

    def _on_decided(self) -> None:
        match self._asking:
            case "remove" | "ban":
                self._asks.remove(self._id, self._asking == "ban")
            case "rename":
                self._asks.rename(self._id, self.question.field.text().strip())

    def _on_back(self) -> None:
        self._asks.ask(("room", self._id), None)

    def controls(self) -> list[QWidget]:
        return [self.more, *(self.question.controls() if self._asking is not None else [])]

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        self._asks.person_menu(self._id, self.more)
        event.accept()

    @staticmethod
    def shape(value: Present) -> Hashable:
        return value.asking, value.name if value.asking else ""


def menu_point(button: QWidget) -> QPoint:
    """Below a row's button, where its menu opens."""
    return button.mapToGlobal(button.rect().bottomLeft())

