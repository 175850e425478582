"""Where a chat message is written: to whom above, the text, how much room is left, why not when it may not be. The window's thread.

Enter sends, Shift+Enter begins a line. What an input method is still composing is taken in first, so that no Vietnamese letter is
lost. A private draft never turns into one for everybody by itself: when its reader is gone, it cannot be sent until another is
chosen.
"""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QMimeData, QSize, Qt, Signal
from PySide6.QtGui import QFocusEvent, QGuiApplication, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QPlainTextEdit, QVBoxLayout, QWidget

from vidconf import words
from vidconf.client.state import ClientState
from vidconf.gui.panels.people_list import role_of, who
from vidconf.gui.parts import Choice, Text, enter_presses, mark, pack, row, set_tool, tool
from vidconf.meeting import messages as m
from vidconf.meeting.rights import is_moderator
from vidconf.meeting.rules import CHAT_LIMIT

ALL = "all"
WARN_AT = CHAT_LIMIT - 400
"""From here on the room left is shown."""
PASTE_LIMIT = 4 * CHAT_LIMIT
LEAST_HEIGHT, AROUND = 44, 10
"""Of the field; its padding and edge, as the style sheet has them."""
LINES = 5
"""It grows so far, then scrolls."""


class Recipients(Choice):
    """Filled when it is opened or gets the keyboard: hundreds of names are not kept up to date for nobody."""

    opening = Signal()

    def showPopup(self) -> None:
        self.opening.emit()
        super().showPopup()

    def focusInEvent(self, event: QFocusEvent) -> None:
        self.opening.emit()
        super().focusInEvent(event)


class Writing(QPlainTextEdit):
    """Plain text; `sent` on Enter."""

    sent = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setTabChangesFocus(True)
        self.document().setDocumentMargin(7)  # one line stands in the middle
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.document().documentLayout().documentSizeChanged.connect(lambda _: self._fit())
        self._fit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() not in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            super().keyPressEvent(event)
            return
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self.insertPlainText("\n")
            self.ensureCursorVisible()
            return
        if event.modifiers() & ~Qt.KeyboardModifier.KeypadModifier == Qt.KeyboardModifier.NoModifier and not event.isAutoRepeat():
            if self.textCursor().block().layout().preeditAreaText():
                QGuiApplication.inputMethod().commit()
            self.sent.emit()
        event.accept()

    def insertFromMimeData(self, source: QMimeData) -> None:
        room = max(0, PASTE_LIMIT - self.document().characterCount())
        if source.hasText():
            self.textCursor().insertText(source.text()[:room])

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        return source.hasText()

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        lines = max(1, min(LINES, round(self.document().size().height())))
        height = max(LEAST_HEIGHT, lines * self.fontMetrics().lineSpacing() + 2 * round(self.document().documentMargin()) + AROUND)
        if height != self.minimumHeight():
            self.setFixedHeight(height)
        full = self.document().size().height() > LINES
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded if full else Qt.ScrollBarPolicy.ScrollBarAlwaysOff)

    def sizeHint(self) -> QSize:
        return QSize(160, self.minimumHeight())


class Composer(QWidget):
    """`said`: something was sent."""

    said = Signal()

    def __init__(self, actions: Any) -> None:
        super().__init__()
        self.do = actions
        self._state = ClientState()
        self._to: str | None = None
        self._to_name = ""
        self._told: tuple[object, ...] = ()
        self.to = Recipients("people", words.text("chat.to"))
        self.to.opening.connect(lambda: self._fill_recipients(whole=True))
        self.to.chosen.connect(self._on_chosen)
        self.text = Writing()
        self.text.sent.connect(self.send)
        self.text.textChanged.connect(self._show)
        self.go = tool("send!", do=self.send)
        self._why, self._room = mark(Text("", wrap=True), ink="warn"), Text("", "small")
        self._room.setAlignment(Qt.AlignmentFlag.AlignRight)
        self._foot = QWidget()
        pack(QVBoxLayout(self._foot), self._why, self._room, gap=0, margins=(0, 0, 40, 0))
        line = row((self.text, 1), self.go, gap=4)
        line.setAlignment(self.go, Qt.AlignmentFlag.AlignBottom)
        pack(QVBoxLayout(self), row((self.to, 1), margins=(0, 0, 4, 0)), line, self._foot, gap=6, margins=(14, 6, 6, 10))
        enter_presses(self)

    # ---- following
    def show_state(self, old: ClientState | None, new: ClientState) -> None:
        self._state = new
        if old is None or old.meeting is not new.meeting or old.me != new.me:
            self._fill_recipients(whole=False)
            self._show()

    def _fill_recipients(self, *, whole: bool) -> None:
        meeting = self._state.meeting
        entries = [("all", words.text("chat.to_all"))]
        if meeting is not None and whole:
            others = sorted((p for p in meeting.admitted() if p.id != self._state.me), key=lambda p: not is_moderator(p))
            for p in others:
                about = role_of(p) or who(p)
                entries.append((p.id, words.text("chat.to_one", name=f"{p.name} · {about}" if about else p.name)))
        if self._to is not None and self._to not in [id_ for id_, _ in entries]:
            person = meeting.participants.get(self._to) if meeting is not None else None
            here = person is not None and person.place == "admitted"
            if person is not None:
                self._to_name = person.name
            entries.append((self._to, words.text("chat.to_one" if here else "chat.to_gone", name=self._to_name)))
        elif self._to is not None and meeting is not None and (found := meeting.participants.get(self._to)) is not None:
            self._to_name = found.name
        self.to.show_items(entries, self._to or ALL)

    def _on_chosen(self, id_: str) -> None:
        self.write_to(None if id_ == ALL else id_)

    def write_to(self, participant: str | None) -> None:
        """Everybody, or one in private."""
        self._to = participant
        self._fill_recipients(whole=False)
        self._show()
        self.text.setFocus(Qt.FocusReason.OtherFocusReason)

    @property
    def recipient(self) -> str | None:
        return self._to

    # ---- what may be sent
    def refusal(self) -> m.Refusal | None:
        """Why the text at hand could not be sent."""
        found: m.Refusal | None = self.do.can(m.Chat("…", self._to))
        if found is None and len(self.text.toPlainText().strip()) > CHAT_LIMIT:
            return m.Refusal("chat_too_long", {"most": CHAT_LIMIT})
        return found

    def _show(self) -> None:
        length = len(self.text.toPlainText().strip())
        refusal = self.refusal()
        told = (refusal.code if refusal is not None else "", length if length >= WARN_AT else 0, self._to, self._to_name, bool(length))
        if told == self._told:
            return
        self._told = told
        why = words.refusal(refusal.code, refusal.detail) if refusal is not None else ""
        self._why.setText(why)
        self._why.setVisible(bool(why))
        self._room.setText(words.text("chat.room", used=length, most=CHAT_LIMIT))
        self._room.setVisible(length >= WARN_AT)
        self._foot.setVisible(bool(why) or length >= WARN_AT)
        private = self._to is not None
        hint = words.text("chat.hint_one", name=self._to_name) if private else words.text("chat.hint_all")
        if self.text.placeholderText() != hint:
            self.text.setPlaceholderText(hint)
            self.text.setAccessibleName(hint)
        closed = refusal is not None and refusal.code not in ("chat_too_long", "not_here")
        if self.text.isReadOnly() != closed:
            self.text.setReadOnly(closed)
        set_tool(self.go, "send!", "", "barred" if refusal is not None or not length else "", why or words.text("chat.send"), name=words.text("chat.send"))

    def send(self) -> None:
        text = self.text.toPlainText().strip()
        if not text or self.refusal() is not None:
            return
        self.text.clear()
        self.do.chat(text, self._to)
        self.said.emit()

    # ---- what is kept
    def keep(self) -> dict[str, Any]:
        return {"text": self.text.toPlainText(), "to": self._to, "to_name": self._to_name}

    def restore(self, kept: dict[str, Any]) -> None:
        self._to, self._to_name = kept.get("to"), str(kept.get("to_name", ""))
        self.text.setPlainText(str(kept.get("text", "")))
        self.text.moveCursor(self.text.textCursor().MoveOperation.End)
        self._fill_recipients(whole=False)
        self._show()
